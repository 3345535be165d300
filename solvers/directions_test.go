package solvers_test

import (
	"context"
	"math"
	"testing"

	"bilevel/device"
	"bilevel/device/cpudevice"
	"bilevel/device/ref"
	"bilevel/solvers"
	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"
	"bilevel/tensor/tensortest"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
)

// combinations lists all sequences of n numbers below limit.
func combinations(n, limit int) (out [][]int32) {
	for c := range int(math.Pow(float64(limit), float64(n))) {
		one := make([]int32, n)
		for i := range one {
			one[i] = int32(c % limit)
			c /= limit
		}
		out = append(out, one)
	}
	return out
}

// slotted gives listed minibatches of one row each, as fixed ones: draw d is row list[d], the last one for ever.
type slotted struct{ rows }

func (s slotted) Slots(rows int) int { return rows }

func (s slotted) Slot(_ problem.Source, draw uint64) (int32, error) {
	return s.rows[min(int(draw), len(s.rows)-1)][0], nil
}

func (slotted) Minibatch(dst []int32, _ problem.Source, slot int32) error {
	dst[0] = slot
	return nil
}

// directions is an algorithm whose directions are looked at, with the number of minibatches of each level that an
// iteration draws.
type directions struct {
	a            solvers.Algorithm
	lower, upper int
	full         solvers.Algorithm // what it is on all rows; nil: itself
}

// unbiased are algorithms whose iteration is, for objectives that are quadratic in (x, y), linear in each of its
// minibatches.
func unbiased() []directions {
	soba := solvers.SOBA{Step: 0.1, OuterStep: 0.3}
	return []directions{
		{soba, 1, 1, nil},
		{solvers.MMB{Step: 0.1, OuterStep: 0.3, Average: 0.4}, 1, 1, nil},
		{solvers.MASOBA{Step: 0.1, OuterStep: 0.3, Average: 0.4}, 1, 1, nil},
		{solvers.AmIGO{Step: 0.1, VStep: 0.2, OuterStep: 0.3, InnerSteps: 1, VSteps: 2}, 4, 1, nil},
		{solvers.TTSA{Step: 0.1, OuterStep: 0.3, NeumannStep: 0.2, Terms: 4, Delay: 1e300}, 4, 1, nil},
		{solvers.ALSET{Step: 0.1, OuterStep: 0.3, NeumannStep: 0.2, Terms: 4, InnerSteps: 2}, 5, 1, nil},
		{solvers.AiPOD{Step: 0.1, OuterStep: 0.3, NeumannStep: 0.2, Terms: 4, InnerSteps: 2}, 5, 1, nil},
		{solvers.EAiPOD{Step: 0.1, OuterStep: 0.3, NeumannStep: 0.2, Terms: 4, InnerSteps: 1, UpperSteps: 1,
			Probability: 1}, 4, 2, nil},
		{solvers.F2SA{YStep: 0.1, ZStep: 0.2, OuterStep: 0.3, Multiplier: 2, InnerSteps: 2}, 3, 3, nil},
		{solvers.VPBGD{YStep: 0.1, ZStep: 0.2, OuterStep: 0.3, Penalty: 2, InnerSteps: 2}, 3, 1, nil},
		{solvers.SUSTAIN{Step: 0.1, OuterStep: 0.3, NeumannStep: 0.2, Terms: 4, Momentum: 0.5, Exponent: -1},
			4, 1, nil},
		{solvers.SABA{Step: 0.1, OuterStep: 0.3, Start: "full"}, 1, 1, soba},
		{solvers.SRBA{Step: 0.1, OuterStep: 0.3, Period: 1000}, 1, 1, nil},
		{solvers.BSA{Step: 0.1, OuterStep: 0.3, NeumannStep: 0.2, Terms: 4, InnerExponent: -1}, 4, 1, nil},
		{solvers.FSLA{Step: 0.1, OuterStep: 0.3, Momentum: 0.4, Exponent: -1}, 3, 2, nil},
		{solvers.Alternation{Step: 0.1, OuterStep: 0.3, InnerSteps: 2}, 2, 1, nil},
		{solvers.F3SA{YStep: 0.1, ZStep: 0.2, OuterStep: 0.3, Multiplier: 2}, 2, 2, nil},
		{solvers.GPBGD{Step: 0.1, OuterStep: 0.3, Penalty: 2}, 2, 1, nil},
		{solvers.MSTSA{Step: 0.1, OuterStep: 0.3, NeumannStep: 0.2, Terms: 4, Momentum: 0.5, Exponent: -1}, 4, 1, nil},
	}
}

// biased are those whose directions have a bias, because a minibatch serves twice in a product or a quotient.
func biased() []directions {
	return []directions{
		{solvers.StocBiO{Step: 0.1, OuterStep: 0.3, NeumannStep: 0.2, Terms: 2, InnerSteps: 1}, 2, 1, nil},
		{solvers.AIDBiO{Step: 0.1, OuterStep: 0.3, InnerSteps: 1, CGSteps: 2}, 2, 1, nil},
		{solvers.ITDBiO{Step: 0.1, OuterStep: 0.3, InnerSteps: 2}, 2, 1, nil},
		{solvers.BOME{Step: 0.1, ZStep: 0.2, OuterStep: 0.3, Eta: 0.5, InnerSteps: 1}, 2, 1, nil},
		{solvers.VRBO{Step: 0.1, OuterStep: 0.3, NeumannStep: 0.2, Terms: 2, InnerSteps: 1, Period: 1000}, 2, 2, nil},
		{solvers.AIDFP{Step: 0.1, OuterStep: 0.3, InnerSteps: 1, VSteps: 2}, 2, 1, nil},
		{solvers.BA{Step: 0.1, OuterStep: 0.3, InnerExponent: -1}, 2, 1, nil},
		{solvers.SIGD{Step: 0.1, OuterStep: 0.3, InnerSteps: 1, CGSteps: 2}, 2, 1, nil},
		{solvers.BiSLS{Step: 0.1, OuterStep: 0.3, InnerSteps: 1, CGSteps: 2}, 2, 1, nil},
		{solvers.BSG1{Step: 0.1, OuterStep: 0.3, InnerExponent: -1}, 2, 1, nil},
		{solvers.BSGH{Step: 0.1, OuterStep: 0.3, InnerExponent: -1}, 2, 1, nil},
		{solvers.BSGNFD{Step: 0.1, OuterStep: 0.3, InnerExponent: -1}, 2, 1, nil},
		{solvers.GALET{Step: 0.1, OuterStep: 0.3, VSteps: 3}, 2, 1, nil},
		{solvers.BDA{Step: 0.1, OuterStep: 0.3, InnerSteps: 2}, 2, 3, nil},
		{solvers.IAPTTGM{Step: 0.1, OuterStep: 0.3, InnerSteps: 2}, 2, 1, nil},
		{solvers.PDBO{Step: 0.1, OuterStep: 0.3, InnerSteps: 1}, 2, 1, nil},
		{solvers.STABLE{Step: 0.1, OuterStep: 0.3}, 2, 1, nil},
		{solvers.SVRB{Step: 0.1, OuterStep: 0.3, Exponent: -1}, 1, 1, nil},
		{solvers.KRMD{Step: 0.1, OuterStep: 0.3, InnerSteps: 2}, 2, 1, nil},
		{solvers.MEHA{YStep: 0.1, ZStep: 0.2, OuterStep: 0.3, Multiplier: 2, Proximal: 0.5}, 1, 1, nil},
		{solvers.MRBO{Step: 0.1, OuterStep: 0.3, NeumannStep: 0.2, Terms: 2, Exponent: -1}, 1, 1, nil},
		{solvers.MORBiT{Step: 0.1, OuterStep: 0.3, NeumannStep: 0.2, Terms: 2}, 2, 2, nil},
		{solvers.BVFIM{Step: 0.1, OuterStep: 0.3, InnerSteps: 1, UpperSteps: 1}, 3, 2, nil},
	}
}

// warm is the number of iterations before the one that is looked at.
const warm = 3

// begun prepares n iterations of an algorithm on a finite sum, with listed rows of both levels (nil: all rows).
// Series have the length 2.
func begun(t *testing.T, m *solvertest.FiniteSum, a solvers.Algorithm, n int, lower, upper rows) *engine.Engine {
	ex := executor(t)
	p := load(t, ex, m)
	if lower != nil {
		p.Lower.Sampler, p.Upper.Sampler = slotted{lower}, slotted{upper}
	}
	suit(p, a)
	b, err := p.Bind(ex)
	require.NoError(t, err)
	e, _, err := solvers.InitDrawing(context.Background(), b, a, n, func(int, int) int { return 2 })
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

// iterations is an iteration from a state that is not special, on all rows, and as the mean over all its minibatches:
// every choice of one of two rows for each draw. spread is how far single choices are from the mean.
func (d directions) iterations(t *testing.T) (full, mean map[string][]float64, spread float64) {
	m := solvertest.NewFiniteSum(1, 2, 2, 2, solvertest.Spectrum(3, 4))
	var lower, upper rows
	extra := 0 // draws of SABA's pass over the minibatches of both levels
	if s, ok := d.a.(solvers.SABA); ok && s.Start == "full" {
		extra = 2
	}
	for i := range extra + warm*d.lower {
		lower = append(lower, []int32{int32(i % 2)})
	}
	for i := range extra + warm*d.upper {
		upper = append(upper, []int32{int32((i + 1) % 2)})
	}
	choices := combinations(d.lower+d.upper, 2)
	for _, c := range choices {
		for i, row := range c {
			if i < d.lower {
				lower = append(lower, []int32{row})
			} else {
				upper = append(upper, []int32{row})
			}
		}
	}
	e := begun(t, m, d.a, warm+len(choices), lower, upper)
	step(t, e, 0, warm)
	at := arrays(t, e)
	from := states(t, e)
	mean = map[string][]float64{}
	var all []map[string][]float64
	for k := range choices {
		write(t, e, at)
		step(t, e, warm+k, 1)
		now := states(t, e)
		all = append(all, now)
		for name, values := range now {
			if mean[name] == nil {
				mean[name] = make([]float64, len(values))
			}
			floats.AddScaled(mean[name], 1/float64(len(choices)), values)
		}
	}
	for _, now := range all {
		spread = max(spread, farthest(now, mean))
	}
	other := d.full
	if other == nil {
		other = d.a
	}
	whole := begun(t, m, other, warm+1, nil, nil)
	for _, name := range whole.Names() {
		require.NoError(t, whole.Variable(name).Write(from[name]))
	}
	step(t, whole, warm, 1)
	return states(t, whole), mean, spread
}

// farthest is the largest distance between vectors of one name.
func farthest(a, b map[string][]float64) (distance float64) {
	for name, values := range a {
		distance = max(distance, floats.Distance(values, b[name], 2))
	}
	return distance
}

// The mean of an iteration over all its minibatches is the iteration on all rows, for x, y and everything else that the
// algorithm remembers, where its directions are unbiased; else it is not.
func TestDirectionsAreUnbiased(t *testing.T) {
	// Steps of Adam, of signs and to a corner are no linear functions of gradients; every iteration of PZOBO has
	// directions of its own.
	seen := map[string]bool{"f2sa-adam": true, "pzobo": true, "sbfw": true, "sign-unrolling": true}
	seen["hoag"], seen["shine"] = true, true // which take all rows
	for _, d := range unbiased() {
		seen[d.a.Name()] = true
		full, mean, spread := d.iterations(t)
		require.Greater(t, spread, 0.01, "%s: single choices differ", d.a.Name())
		for name, want := range full {
			require.InDeltaSlice(t, want, mean[name], 1e-12, "%s: %s", d.a.Name(), name)
		}
	}
	for _, d := range biased() {
		seen[d.a.Name()] = true
		full, mean, _ := d.iterations(t)
		require.Greater(t, farthest(full, mean), 1e-4, "%s has a bias", d.a.Name())
	}
	for _, e := range solvers.Algorithms() {
		require.True(t, seen[e.Name()], "%s is in none of the lists", e.Name())
	}
}

// Over all its lengths the series of random length is that of fixed length with as many terms: an iteration of ALSET is
// then, on average, one of stocBiO with one factor less.
func TestMeanOverLengths(t *testing.T) {
	const terms, eta = 4, 0.3
	q := solvertest.NewQuadratic(3, 2, solvertest.Spectrum(3, 4))
	iteration := func(a solvers.Algorithm, length int) map[string][]float64 {
		ex := executor(t)
		b, err := load(t, ex, q).Bind(ex)
		require.NoError(t, err)
		e, _, err := solvers.InitDrawing(context.Background(), b, a, 1, func(int, int) int { return length })
		require.NoError(t, err)
		defer func() { require.NoError(t, e.Close()) }()
		require.NoError(t, e.Variable("y").Write([]float64{0.5, -1, 2}))
		require.NoError(t, e.Variable("x").Write([]float64{-0.3, 1}))
		step(t, e, 0, 1)
		return states(t, e)
	}
	mean := map[string][]float64{"x": make([]float64, 2), "v": make([]float64, 3)}
	for length := range terms {
		now := iteration(solvers.ALSET{Step: 0.1, OuterStep: 0.3, NeumannStep: eta, Terms: terms}, length)
		for name := range mean {
			floats.AddScaled(mean[name], 1.0/terms, now[name])
		}
	}
	want := iteration(solvers.StocBiO{Step: 0.1, OuterStep: 0.3, NeumannStep: eta, Terms: terms - 1, InnerSteps: 1}, 0)
	for name := range mean {
		require.InDeltaSlice(t, want[name], mean[name], 1e-13, name)
	}
}

// On minibatches of all rows, in any order, every algorithm takes the iterations that it takes on all rows.
func TestMinibatchesOfAllRows(t *testing.T) {
	m := solvertest.NewFiniteSum(8, 6, 5, 2, solvertest.Spectrum(3, 4))
	for name, row := range rowsByName(t) {
		run := func(lower, upper problem.Sampler) map[string][]float64 {
			ex := executor(t)
			p := load(t, ex, m)
			p.Lower.Sampler, p.Upper.Sampler = lower, upper
			suit(p, row.small)
			e := begin(t, ex, p, row.small, 5, 1)
			step(t, e, 0, 5)
			return states(t, e)
		}
		want, got := run(nil, nil), run(problem.Fixed(6), problem.Fixed(5))
		for part := range want {
			require.InDeltaSlice(t, want[part], got[part], 1e-12, "%s: %s", name, part)
		}
	}
}

// The processor computes in float32 what the reference does in float64, for every algorithm, on minibatches.
func TestIterationsOnTheProcessor(t *testing.T) {
	m := solvertest.NewFiniteSum(8, 6, 6, 2, solvertest.Spectrum(3, 4))
	for name, row := range rowsByName(t) {
		var results []map[string][]float64
		for _, dev := range []device.Device{ref.New(), cpudevice.New(1)} {
			ex := tensortest.Executor(t, dev)
			p := load(t, ex, m)
			p.Lower.Sampler, p.Upper.Sampler = problem.Fixed(3), problem.Fixed(2)
			suit(p, row.small)
			e := begin(t, ex, p, row.small, 5, 1)
			step(t, e, 0, 5)
			results = append(results, states(t, e))
		}
		for part, want := range results[0] {
			scale := 1 + floats.Norm(want, 2)
			// Five iterations of some hundred roundings of 6e-8 each; Adam and BOME divide by gradients.
			require.InDeltaSlice(t, want, results[1][part], 1e-4*scale, "%s: %s", name, part)
		}
	}
}
