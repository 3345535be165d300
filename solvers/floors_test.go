package solvers_test

import (
	"math"
	"testing"

	"bilevel/solvers"
	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
)

// noise is what a run with constant steps on minibatches of a finite sum (Q11) shows: |∇h|² at the start, and its means
// over the third and the last quarter of the run.
type noise struct{ start, third, last float64 }

func noiseOf(t *testing.T, m *solvertest.FiniteSum, a solvers.Algorithm, n int) (out noise) {
	ex := executor(t)
	p := load(t, ex, m)
	p.Lower.Sampler, p.Upper.Sampler = problem.WithReplacement(3), problem.WithReplacement(3)
	if a.Needs().FixedBatches {
		p.Lower.Sampler, p.Upper.Sampler = problem.Fixed(3), problem.Fixed(3)
	}
	p.Upper.Start = problem.Vector(20, -20)
	suit(p, a)
	counts := [2]float64{}
	solve(t, ex, p, a, solvers.Options{Iterations: n, Seed: 1, Every: n / 100, Record: func(at engine.Progress) error {
		x, err := at.Engine.Variable("x").Read()
		_, g := m.Exact(x)
		size := math.Pow(floats.Norm(g, 2), 2)
		switch {
		case at.Iteration == 0:
			out.start = size
		case at.Iteration > 3*n/4:
			out.last, counts[1] = out.last+size, counts[1]+1
		case at.Iteration > n/2:
			out.third, counts[0] = out.third+size, counts[0]+1
		}
		return err
	}})
	out.third, out.last = out.third/counts[0], out.last/counts[1]
	return out
}

// With constant steps every stochastic algorithm falls to a floor of |∇h|² and stays there, and every variance-reduced
// one, with the same steps, falls below that of the algorithm whose variance it reduces. BSG-H and its kin are not
// here: they solve a system with the Hessian of a minibatch of three rows, which may be nearly singular, and have no
// floor.
func TestFloorsOfNoise(t *testing.T) {
	const n, rho, gamma, eta, terms = 3000, 0.1, 0.02, 0.3, 12
	m := solvertest.NewFiniteSum(3, 6, 6, 2, solvertest.Spectrum(4, 2))
	plain := []solvers.Algorithm{
		solvers.SOBA{Step: rho, OuterStep: gamma},
		solvers.MASOBA{Step: rho, OuterStep: gamma},
		solvers.AmIGO{Step: rho, OuterStep: gamma, InnerSteps: 3},
		solvers.StocBiO{Step: rho, OuterStep: gamma, NeumannStep: eta, Terms: terms, InnerSteps: 3},
		solvers.ALSET{Step: rho, OuterStep: gamma, NeumannStep: eta, Terms: terms},
		solvers.TTSA{Step: rho, OuterStep: gamma, NeumannStep: eta, Terms: terms, Delay: 1e300},
		solvers.BSA{Step: rho, OuterStep: gamma, NeumannStep: eta, Terms: terms, InnerExponent: -1, InnerSteps: 3},
		solvers.F2SA{YStep: rho / 20, ZStep: rho, OuterStep: gamma / 10, Multiplier: 10, InnerSteps: 1},
		solvers.VPBGD{YStep: rho, ZStep: rho, OuterStep: 10 * gamma, Penalty: 10, InnerSteps: 5},
		solvers.FSLA{Step: rho, OuterStep: gamma, Momentum: 0.03, Exponent: -1},
		solvers.MSTSA{Step: rho, OuterStep: gamma, NeumannStep: eta, Terms: terms, Momentum: 0.03, Exponent: -1},
		solvers.STABLE{Step: rho, OuterStep: gamma, Momentum: 0.03},
		solvers.MMB{Step: rho, OuterStep: gamma},
		solvers.MORBiT{Step: rho, OuterStep: gamma, NeumannStep: eta, Terms: terms},
	}
	floor := map[string]float64{}
	for _, a := range plain {
		is := noiseOf(t, m, a, n)
		floor[a.Name()] = is.last + is.third
		t.Logf("%-8s start %.3g, floor %.3g, before %.3g", a.Name(), is.start, is.last, is.third)
		assert.Less(t, is.last, 0.1*is.start, a.Name())
		assert.Less(t, is.last, 3*is.third, "%s stays", a.Name())
		assert.Greater(t, is.last, is.third/3, "%s does not fall any more", a.Name())
	}
	for _, c := range []struct {
		a     solvers.Algorithm
		below string // the algorithm whose variance it reduces
	}{
		{solvers.SABA{Step: rho, OuterStep: gamma}, "soba"},
		{solvers.SRBA{Step: rho, OuterStep: gamma, Period: 6}, "soba"},
		{solvers.SUSTAIN{Step: rho, OuterStep: gamma, NeumannStep: eta, Terms: terms, Momentum: 0.03, Exponent: -1},
			"alset"},
		{solvers.MRBO{Step: rho, OuterStep: gamma, NeumannStep: eta, Terms: terms, Momentum: 0.03, Exponent: -1},
			"stocbio"},
		{solvers.VRBO{Step: rho, OuterStep: gamma, NeumannStep: eta, Terms: terms, InnerSteps: 2, Period: 6},
			"stocbio"},
		{solvers.SVRB{Step: rho, OuterStep: gamma, Momentum: 0.03, Exponent: -1}, "soba"},
		{solvers.F3SA{YStep: rho / 20, ZStep: rho, OuterStep: gamma / 10, Multiplier: 10, Momentum: 0.03}, "f2sa"},
	} {
		is := noiseOf(t, m, c.a, n)
		t.Logf("%-8s floor %.3g, that of %s %.3g", c.a.Name(), (is.last+is.third)/2, c.below, floor[c.below]/2)
		assert.Less(t, is.last+is.third, floor[c.below], "%s beside %s", c.a.Name(), c.below)
	}
}

// SABA and SRBA converge linearly on a finite sum: over three equal parts of a run log |x - x*| falls at one rate, down
// to where rounding ends it, while the rate of SOBA is lost at its floor.
func TestLinearRates(t *testing.T) {
	m := solvertest.NewFiniteSum(3, 6, 6, 2, solvertest.Spectrum(4, 2))
	const n = 1200
	rates := func(a solvers.Algorithm) (out []float64) {
		ex := executor(t)
		p := load(t, ex, m)
		p.Lower.Sampler, p.Upper.Sampler = problem.Fixed(2), problem.Fixed(2)
		last := 0.0
		record := func(at engine.Progress) error {
			x, err := at.Engine.Variable("x").Read()
			now := math.Log(floats.Distance(m.Optimum(), x, 2))
			if at.Iteration > 0 {
				out = append(out, (now-last)/(n/3))
			}
			last = now
			return err
		}
		solve(t, ex, p, a, solvers.Options{Iterations: n, Seed: 1, Every: n / 3, Record: record})
		return out
	}
	for _, a := range []solvers.Algorithm{
		solvers.SABA{Step: 0.1, OuterStep: 0.01}, solvers.SRBA{Step: 0.1, OuterStep: 0.01, Period: 6},
	} {
		r := rates(a)
		t.Logf("%s: log |x - x*| falls by %.3g an iteration in three parts of the run", a.Name(), r)
		for _, rate := range r {
			require.Less(t, rate, -1e-3)
			require.InEpsilon(t, r[0], rate, 0.3, a.Name())
		}
	}
	r := rates(solvers.SOBA{Step: 0.1, OuterStep: 0.01})
	require.Greater(t, r[2], 0.3*r[0], "SOBA stands still in the end")
}
