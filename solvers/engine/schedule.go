package engine

import (
	"fmt"
	"math"
	"strings"

	"bilevel/internal/nearest"
)

// Schedule is the name of a factor on step sizes that falls over the iterations of a run; the empty one is constant. It
// is a text in configuration files.
type Schedule string

// ScheduleInfo is a schedule with its formula: the factor of iteration k, counted from 0, of n.
type ScheduleInfo struct {
	Name   Schedule
	About  string
	Factor func(k, n int) float64
	Whole  bool // the factor depends on n
}

// Schedules lists the schedules.
func Schedules() []ScheduleInfo {
	return []ScheduleInfo{
		{"constant", "1", func(int, int) float64 { return 1 }, false},
		{"sqrt", "1/√(k+1)", func(k, _ int) float64 { return 1 / math.Sqrt(float64(k+1)) }, false},
		{"linear", "1 - k/n", func(k, n int) float64 { return 1 - float64(k)/float64(n) }, true},
		{"cosine", "(1 + cos(πk/n))/2",
			func(k, n int) float64 { return 0.5 + 0.5*math.Cos(math.Pi*float64(k)/float64(n)) }, true},
		{"step", "1, 1/10 from n/2 on, 1/100 from 3n/4 on", func(k, n int) float64 {
			switch {
			case 4*k >= 3*n:
				return 0.01
			case 2*k >= n:
				return 0.1
			}
			return 1
		}, true},
		{"cyclic", "rises from 0 to 1 at n/2 and falls to 0 at n", func(k, n int) float64 {
			return 1 - math.Abs(2*float64(k)/float64(n)-1)
		}, true},
		{"one-cycle", "rises from 1/25 to 1 at 0.3 n - 1 and falls to 4e-6 at n - 1, along cosines", oneCycle, true},
	}
}

// oneCycle is the factor of torch.optim.lr_scheduler.OneCycleLR with its defaults.
func oneCycle(k, n int) float64 {
	const first, last = 1. / 25, 1. / 25e4
	top, at := 0.3*float64(n)-1, float64(k)
	from, to, part := first, 1.0, at/top
	if at > top {
		from, to, part = 1, last, (at-top)/(float64(n)-1-top)
	}
	return to + (from-to)/2*(1+math.Cos(math.Pi*part))
}

func (s Schedule) find() (ScheduleInfo, bool) {
	for _, row := range Schedules() {
		if row.Name == s || s == "" && row.Name == "constant" {
			return row, true
		}
	}
	return ScheduleInfo{}, false
}

// At is the factor of iteration k of n. The name must be one that Check takes.
func (s Schedule) At(k, n int) float64 {
	row, _ := s.find()
	return row.Factor(k, n)
}

// Whole tells whether the factor depends on the number of iterations, so that one must be given.
func (s Schedule) Whole() bool {
	row, _ := s.find()
	return row.Whole
}

// Check refuses a name that is not in the list; its error names the nearest one.
func (s Schedule) Check() error {
	if _, ok := s.find(); ok {
		return nil
	}
	var names []string
	for _, row := range Schedules() {
		names = append(names, string(row.Name))
	}
	return fmt.Errorf("unknown schedule %q (there are %s)%s", string(s), strings.Join(names, ", "),
		nearest.Hint(string(s), names))
}

// Scaled is a rate that is a step size times the schedule's factor in a run of n iterations.
func (s Schedule) Scaled(name string, step float64, n int) Rate {
	row, _ := s.find()
	return Rate{name, func(k int) float64 { return step * row.Factor(k, n) }}
}
