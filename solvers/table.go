package solvers

import (
	"fmt"
	"strings"

	"bilevel/internal/nearest"
)

// Entry is one algorithm's row: what it is, where it comes from, what it needs and what an iteration costs.
type Entry struct {
	Name   string
	Source string
	Needs  string
	Cost   string // per iteration
	// New makes the algorithm from the two step sizes and the schedule that every command has flags for.
	New func(step, outerStep float64, s Schedule) Algorithm
}

// Algorithms lists every algorithm.
func Algorithms() []Entry {
	return []Entry{
		{
			Name: "soba", Source: "Dagréou, Ablin, Vaiter, Moreau, NeurIPS 2022",
			Needs: "lower level strongly convex and unconstrained, x unconstrained",
			Cost:  "1 ∇G, 1 ∇F, 1 Hv, 1 Cv",
			New: func(step, outer float64, s Schedule) Algorithm {
				return SOBA{Step: step, OuterStep: outer, Schedule: s}
			},
		},
		{
			Name: "f2sa", Source: "Kwon, Kwon, Wright, Nowak, ICML 2023",
			Needs: "lower level strongly convex and unconstrained, x unconstrained",
			Cost:  "22 ∇G, 11 ∇F (10 inner steps)",
			New: func(step, outer float64, s Schedule) Algorithm {
				const multiplier = 10 // y then moves at the pace of z
				return F2SA{YStep: step / multiplier, ZStep: step, OuterStep: outer, Multiplier: multiplier, InnerSteps: 10, Schedule: s}
			},
		},
		{
			Name: "stocbio", Source: "Ji, Yang, Liang, ICML 2021",
			Needs: "lower level strongly convex and unconstrained, x unconstrained",
			Cost:  "10 ∇G (10 inner steps), 1 ∇F, 10 Hv, 1 Cv",
			New: func(step, outer float64, s Schedule) Algorithm {
				return StocBiO{Step: step, OuterStep: outer, NeumannStep: step, Terms: 10, InnerSteps: 10, Schedule: s}
			},
		},
	}
}

// AlgorithmByName finds an algorithm; its error names the nearest one.
func AlgorithmByName(name string) (Entry, error) {
	var names []string
	for _, a := range Algorithms() {
		if a.Name == name {
			return a, nil
		}
		names = append(names, a.Name)
	}
	return Entry{}, fmt.Errorf("unknown algorithm %q (there are %s)%s", name, strings.Join(names, ", "), nearest.Hint(name, names))
}
