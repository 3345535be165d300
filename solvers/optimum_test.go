package solvers_test

import (
	"testing"

	"bilevel/solvers"
	"bilevel/solvers/solvertest"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
)

// Every algorithm reaches the optimum of a quadratic problem to a tenth of the distance from where it starts, with the
// step sizes that it chooses and settings under which its bias is small: F²SA's is of the order of one over its
// multiplier, and the series of stocBiO, SUSTAIN and VRBO miss (1 - μ/L)^60.
func TestOptimumFromOwnSteps(t *testing.T) {
	settings := map[string]solvers.Algorithm{
		"f2sa": solvers.F2SA{Multiplier: 1000}, "stocbio": solvers.StocBiO{Terms: 60},
		"sustain": solvers.SUSTAIN{Terms: 60}, "vrbo": solvers.VRBO{Terms: 60},
	}
	q := solvertest.NewQuadratic(1, 4, solvertest.Spectrum(12, 10))
	for _, entry := range solvers.Algorithms() {
		t.Run(entry.Name(), func(t *testing.T) {
			ex := executor(t)
			p := load(t, ex, q)
			a := entry.Zero
			if s, ok := settings[entry.Name()]; ok {
				a = s
			}
			res := solve(t, ex, p, a, solvers.Options{Iterations: 3000})
			optimum := q.Optimum()
			start := floats.Distance(optimum, p.Upper.Start.Flat, 2)
			require.Less(t, floats.Distance(res.X.Flat, optimum, 2), start/10)
		})
	}
}
