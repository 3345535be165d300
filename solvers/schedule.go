package solvers

import (
	"fmt"
	"math"
	"strings"

	"bilevel/internal/nearest"
)

// Schedule is a factor on step sizes: iteration k, counted from 0, of n.
type Schedule struct {
	Name   string
	About  string
	Factor func(k, n int) float64
}

// at is the factor of iteration k of n; the zero Schedule is constant.
func (s Schedule) at(k, n int) float64 {
	if s.Factor == nil {
		return 1
	}
	return s.Factor(k, n)
}

// Schedules lists the schedules that have names.
func Schedules() []Schedule {
	return []Schedule{
		{"constant", "1", func(int, int) float64 { return 1 }},
		{"sqrt", "1/√(k+1)", func(k, _ int) float64 { return 1 / math.Sqrt(float64(k+1)) }},
		{"linear", "1 - k/n", func(k, n int) float64 { return 1 - float64(k)/float64(n) }},
		{"cosine", "(1 + cos(πk/n))/2", func(k, n int) float64 { return 0.5 + 0.5*math.Cos(math.Pi*float64(k)/float64(n)) }},
	}
}

// ScheduleByName finds a schedule; its error names the nearest one.
func ScheduleByName(name string) (Schedule, error) {
	var names []string
	for _, s := range Schedules() {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	return Schedule{}, fmt.Errorf("unknown schedule %q (there are %s)%s", name, strings.Join(names, ", "), nearest.Hint(name, names))
}
