package compare

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"bilevel/solvers"
	"bilevel/solvers/problem"
)

// searchIterations is how many iterations of BiSLS look for steps; those of the second half are heeded.
const searchIterations = 20

// checkTune refuses an unknown way to the steps that the factors of a configuration multiply.
func (c Config) checkTune() error {
	switch c.Tune {
	case "", "scale", "bisls", "trial":
		return nil
	}
	return fmt.Errorf("tune is %q: wants scale, the steps that algorithms choose at the start values, bisls, those "+
		"that line searches find in %d iterations, or trial, those of scale with a step of x that is quartered until "+
		"a run does not diverge", c.Tune, searchIterations)
}

// searched is by how much the steps that BiSLS's line searches take on a problem differ from those that are measured at
// its start values: the medians, over the second half of a short run, of the steps of y and of x divided by the first
// ones. Without Tune "bisls" both are 1.
func (c Config) searched(ctx context.Context, b *problem.Bound, seed uint64) (inner, outer float64, err error) {
	if c.Tune != "bisls" {
		return 1, 1, nil
	}
	e, a, err := solvers.Init(ctx, b, solvers.BiSLS{}, searchIterations, seed)
	if err != nil {
		return 0, 0, fmt.Errorf("tune is bisls: %w", err)
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	var of [2][]float64
	for k := range searchIterations {
		if err := e.Step(ctx, k, 1); err != nil {
			return 0, 0, err
		}
		for i, name := range []string{"inner", "outer"} {
			v, err := e.Variable(name).Read()
			if err != nil {
				return 0, 0, err
			}
			if k >= searchIterations/2 {
				of[i] = append(of[i], v[0])
			}
		}
	}
	first := a.(solvers.BiSLS)
	return median(of[0]) / first.Step, median(of[1]) / first.OuterStep, nil
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
