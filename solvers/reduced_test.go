package solvers_test

import (
	"context"
	"math"
	"testing"

	"bilevel/solvers"
	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// Tests of the algorithms with reduced variance: SABA, SRBA, SUSTAIN and VRBO.

// drawing prepares a run in which every series has the length that lengths gives.
func drawing(t *testing.T, ex *tensor.Executor, p *problem.Problem, a solvers.Algorithm, n int,
	lengths func(k, limit int) int) *engine.Engine {
	b, err := p.Bind(ex)
	require.NoError(t, err)
	e, _, err := solvers.InitDrawing(context.Background(), b, a, n, lengths)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

// vector reads an entry of the state, put writes one.
func vector(t *testing.T, e *engine.Engine, name string) []float64 {
	values, err := e.Variable(name).Read()
	require.NoError(t, err)
	return values
}

func put(t *testing.T, e *engine.Engine, name string, values []float64) {
	require.NoError(t, e.Variable(name).Write(values))
}

// The first two iterates on Q1 from x = 0.2, y = 0.7, v = 0, computed by hand from the papers' algorithms. With full
// batches SABA and SRBA are SOBA. SUSTAIN's series of length 2 is scaled by Qη = 3.5, so that v = 3.5·0.25 b is the sum
// of the series of three terms, 0.5 (1 + 0.5 + 0.25) b, by which the values were computed.
func TestReducedTraces(t *testing.T) {
	soba := [2][]float64{{0.19, 0.65, -0.03}, {0.182, 0.604, -0.062}}
	for _, c := range []struct {
		a    solvers.Algorithm
		want [2][]float64
		tol  float64 // rounding, or of values with six digits
	}{
		{solvers.SABA{Step: 0.1, OuterStep: 0.05}, soba, 1e-15},
		{solvers.SABA{Step: 0.1, OuterStep: 0.05, Start: "full"}, soba, 1e-15},
		{solvers.SRBA{Step: 0.1, OuterStep: 0.05, Period: 1}, soba, 1e-15},
		{solvers.SRBA{Step: 0.1, OuterStep: 0.05, Period: 3}, soba, 1e-15},
		{solvers.VRBO{Step: 0.1, OuterStep: 0.05, NeumannStep: 0.5, Terms: 2, InnerSteps: 2, Period: 3},
			[2][]float64{{0.203125, 0.605594}, {0.210224, 0.530474}}, 1e-6},
		{solvers.SUSTAIN{Step: 0.1, OuterStep: 0.05, NeumannStep: 0.5, Terms: 7, Momentum: 0.3, Exponent: -1},
			[2][]float64{{0.203125, 0.65}, {0.208281, 0.605312}}, 1e-6},
	} {
		ex := executor(t)
		s := drawing(t, ex, load(t, ex, solvertest.Scalar{}), c.a, 2, func(int, int) int { return 2 })
		for k, want := range c.want {
			step(t, s, k, 1)
			for i, name := range []string{"x", "y", "v"}[:len(want)] {
				require.InDelta(t, want[i], vector(t, s, name)[0], c.tol, "%+v, iteration %d, %s", c.a, k+1, name)
			}
		}
	}
}

// On full batches SABA and SRBA do what SOBA does, up to rounding that a few dozen iterations add up.
func TestReducedIsSOBAOnFullBatches(t *testing.T) {
	m := solvertest.NewFiniteSum(3, 4, 5, 2, solvertest.Spectrum(4, 2))
	const n = 30
	run := func(a solvers.Algorithm) *engine.Engine {
		ex := executor(t)
		return begin(t, ex, load(t, ex, m), a, n, 0)
	}
	soba := run(solvers.SOBA{Step: 0.2, OuterStep: 0.02, Schedule: "cosine"})
	for _, e := range []*engine.Engine{
		run(solvers.SABA{Step: 0.2, OuterStep: 0.02, Schedule: "cosine"}),
		run(solvers.SABA{Step: 0.2, OuterStep: 0.02, Schedule: "cosine", Start: "full"}),
		run(solvers.SRBA{Step: 0.2, OuterStep: 0.02, Schedule: "cosine", Period: 7}),
	} {
		require.NoError(t, soba.Variable("x").Write(make([]float64, 2)))
		for _, name := range []string{"y", "v"} {
			put(t, soba, name, make([]float64, 4))
		}
		for k := range n {
			step(t, soba, k, 1)
			step(t, e, k, 1)
			for _, name := range []string{"x", "y", "v"} {
				require.InDeltaSlice(t, vector(t, soba, name), vector(t, e, name), 1e-13, "iteration %d, %s", k, name)
			}
		}
		require.Greater(t, floats.Norm(vector(t, soba, "x"), 2), 1e-3)
	}
}

// plain is a quadratic problem in plain loops.
type plain struct{ *solvertest.Quadratic }

func times(m mat.Matrix, v []float64) []float64 {
	r, _ := m.Dims()
	var out mat.VecDense
	out.MulVec(m, mat.NewVecDense(len(v), v))
	return append(make([]float64, 0, r), out.RawVector().Data...)
}

func sum(terms ...[]float64) []float64 {
	out := make([]float64, len(terms[0]))
	for _, v := range terms {
		floats.Add(out, v)
	}
	return out
}

func scaled(c float64, v []float64) []float64 {
	out := make([]float64, len(v))
	floats.AddScaled(out, c, v)
	return out
}

func (q plain) lowerY(x, y []float64) []float64 {
	return sum(times(q.A, y), times(q.C.T(), x), q.LowerA)
}
func (q plain) upperY(x, y []float64) []float64 { return sum(times(q.B, y), times(q.K.T(), x), q.F) }
func (q plain) upperX(x, y []float64) []float64 { return sum(times(q.E, x), times(q.K, y), q.UpperE) }

// factors is (I - ηH)^n b.
func (q plain) factors(b []float64, step float64, n int) []float64 {
	for range n {
		b = sum(b, scaled(-step, times(q.A, b)))
	}
	return b
}

// d is ∇xF - C v with v = scale (I - ηH)^n ∇yF.
func (q plain) d(x, y []float64, scale, step float64, n int) []float64 {
	v := scaled(scale, q.factors(q.upperY(x, y), step, n))
	return sum(q.upperX(x, y), scaled(-1, times(q.C, v)))
}

// SUSTAIN on full batches against its doc comment in plain loops: with lengths that change, and with one length, where
// h and d are the plain gradients.
func TestSUSTAINOnFullBatches(t *testing.T) {
	m := solvertest.NewFiniteSum(3, 4, 5, 2, solvertest.Spectrum(4, 2))
	q := plain{m.Mean()}
	const n, terms, eta, beta, alpha, c = 12, 4, 0.4, 0.3, 0.05, 0.6
	for _, lengths := range []func(k, limit int) int{
		func(k, limit int) int { return (3*k + 1) % limit },
		func(int, int) int { return 2 },
	} {
		ex := executor(t)
		p := load(t, ex, m)
		a := solvers.SUSTAIN{Step: beta, OuterStep: alpha, NeumannStep: eta, Terms: terms, Momentum: c}
		e := drawing(t, ex, p, a, n, lengths)
		x, y := make([]float64, 2), make([]float64, 4)
		before := [2][]float64{x, y}
		h, d := make([]float64, 4), make([]float64, 2)
		for k := range n {
			keep := 1 - c/math.Pow(float64(k+1), 2.0/3)
			if k == 0 {
				keep = 0
			}
			fall, length := math.Pow(float64(k+1), -1.0/3), lengths(k, terms)
			h = sum(q.lowerY(x, y), scaled(keep, h), scaled(-keep, q.lowerY(before[0], before[1])))
			d = sum(q.d(x, y, terms*eta, eta, length), scaled(keep, d),
				scaled(-keep, q.d(before[0], before[1], terms*eta, eta, length)))
			require.InDeltaSlice(t, q.lowerY(x, y), h, 1e-13, "on full batches h is the gradient")
			if lengths(0, terms) == lengths(1, terms) {
				require.InDeltaSlice(t, q.d(x, y, terms*eta, eta, length), d, 1e-13)
			}
			before = [2][]float64{x, y}
			x, y = sum(x, scaled(-alpha*fall, d)), sum(y, scaled(-beta*fall, h))
			step(t, e, k, 1)
			for name, want := range map[string][]float64{"x": x, "y": y, "h": h, "d": d} {
				require.InDeltaSlice(t, want, vector(t, e, name), 1e-13, "%s after iteration %d", name, k)
			}
		}
	}
}

// VRBO on full batches against its doc comment in plain loops: h and d are the plain gradients at every moment, so that
// they need not be followed.
func TestVRBOOnFullBatches(t *testing.T) {
	m := solvertest.NewFiniteSum(3, 4, 5, 2, solvertest.Spectrum(4, 2))
	q := plain{m.Mean()}
	const n, eta, beta, alpha = 12, 0.4, 0.3, 0.05
	series := func(x, y []float64) []float64 { // two factors: three terms
		var d []float64
		for length := range 3 {
			term := q.d(x, y, eta, eta, length)
			if d == nil {
				d = term
				continue
			}
			d = sum(d, term, scaled(-1, q.upperX(x, y)))
		}
		return d
	}
	ex := executor(t)
	e := begin(t, ex, load(t, ex, m),
		solvers.VRBO{Step: beta, OuterStep: alpha, NeumannStep: eta, Terms: 2, InnerSteps: 3, Period: 5}, n, 0)
	x, y := make([]float64, 2), make([]float64, 4)
	for k := range n {
		x = sum(x, scaled(-alpha, series(x, y)))
		for range 3 {
			y = sum(y, scaled(-beta, q.lowerY(x, y)))
		}
		step(t, e, k, 1)
		for name, want := range map[string][]float64{"x": x, "y": y, "h": q.lowerY(x, y), "d": series(x, y)} {
			require.InDeltaSlice(t, want, vector(t, e, name), 1e-13, "%s after iteration %d", name, k)
		}
	}
	require.Equal(t, problem.Counts{LowerGradients: 9, UpperGradients: 9, HVP: 18, JVP: 9, Samples: 5 * 9}, e.Counts(0))
	require.Equal(t, problem.Counts{LowerGradients: 8, UpperGradients: 8, HVP: 16, JVP: 8, Samples: 4 * 9}, e.Counts(1))
}

// listed is a sampler of fixed minibatches of consecutive rows whose draws follow a list, over and over.
type listed struct {
	size, slots int
	order       []int32
}

func (s listed) Size() int       { return s.size }
func (s listed) Check(int) error { return nil }
func (s listed) Slots(int) int   { return s.slots }
func (s listed) Slot(_ problem.Source, draw uint64) (int32, error) {
	return s.order[draw%uint64(len(s.order))], nil
}

func (s listed) Minibatch(dst []int32, _ problem.Source, slot int32) error {
	for i := range dst {
		dst[i] = slot*int32(s.size) + int32(i)
	}
	return nil
}

func (s listed) Fill(dst []int32, from problem.Source, first uint64) error {
	for i := 0; i < len(dst); i += s.size {
		slot, _ := s.Slot(from, first+uint64(i/s.size))
		if err := s.Minibatch(dst[i:i+s.size], from, slot); err != nil {
			return err
		}
	}
	return nil
}

// mean makes an algorithm do its next iteration from one state with every combination of the digits of a number, each
// below its limit, and gives the means of entries of the state, and the largest deviation from them.
func meanOver(limits []int, once func(digits []int) []float64) (average []float64, spread float64) {
	total := 1
	for _, l := range limits {
		total *= l
	}
	all := make([][]float64, total)
	for c := range total {
		digits, left := make([]int, len(limits)), c
		for i, l := range limits {
			digits[i], left = left%l, left/l
		}
		all[c] = once(digits)
		average = sum(append([][]float64{all[c]}, average)[:min(c+1, 2)]...)
	}
	average = scaled(1/float64(total), average)
	for _, v := range all {
		spread = max(spread, floats.Distance(v, average, 2))
	}
	return average, spread
}

// The means of what SRBA, VRBO and SUSTAIN learn from a pair of minibatches, over all of them, are the full
// differences; VRBO's series, which has one minibatch for all factors, is cut to its first term for it. SUSTAIN's mean
// over lengths is the series of fixed length.
func TestRecursiveDirectionsAreUnbiased(t *testing.T) {
	const rho, gamma, eta, momentum = 0.1, 0.3, 0.4, 0.6
	m := solvertest.NewFiniteSum(1, 2, 2, 2, solvertest.Spectrum(3, 10))
	q := plain{m.Mean()}
	x, y, v := []float64{0.5, -1}, []float64{1, 2, -0.5}, []float64{0.3, -0.2, 0.7}
	dx, dy, dv := []float64{0.2, 0.4}, []float64{-0.3, 0.1, 0.2}, []float64{0.5, -0.4, 0.1}
	nextX, nextY, nextV := sum(x, scaled(-gamma, dx)), sum(y, scaled(-rho, dy)), sum(v, scaled(-rho, dv))
	try := func(a solvers.Algorithm, lower, upper []int, lengths int, state map[string][]float64, names ...string,
	) ([]float64, float64) {
		limits := []int{lengths}
		for range len(lower) + len(upper) {
			limits = append(limits, 2)
		}
		return meanOver(limits, func(digits []int) []float64 {
			ex := executor(t)
			p := load(t, ex, m)
			order := func(places []int) (o []int32) {
				for _, place := range places {
					o = append(o, int32(digits[1+place]))
				}
				return o
			}
			p.Lower.Sampler, p.Upper.Sampler = listed{1, 2, order(lower)}, listed{1, 2, order(upper)}
			e := drawing(t, ex, p, a, 2, func(int, int) int { return digits[0] })
			for name, values := range state {
				put(t, e, name, values)
			}
			step(t, e, 1, 1) // not iteration 0, which has a pass over all rows or no memory
			var out []float64
			for _, name := range names {
				out = append(out, vector(t, e, name)...)
			}
			return out
		})
	}

	mean, spread := try(solvers.SRBA{Step: rho, OuterStep: gamma, Period: 5}, []int{0}, []int{1}, 1,
		map[string][]float64{"x": x, "y": y, "v": v, "direction of x": dx, "direction of y": dy, "direction of v": dv},
		"direction of x", "direction of y", "direction of v", "x", "y", "v")
	direction := func(x, y, v []float64) []float64 {
		return append(append(q.Direction(x, y, v), q.lowerY(x, y)...),
			sum(times(q.A, v), scaled(-1, q.upperY(x, y)))...)
	}
	want := sum(append(append(append([]float64{}, dx...), dy...), dv...), direction(nextX, nextY, nextV),
		scaled(-1, direction(x, y, v)))
	require.InDeltaSlice(t, append(append(append(want, nextX...), nextY...), nextV...), mean, 1e-13)
	require.Greater(t, spread, 0.01)

	// The lower batches of VRBO's iteration 1 begin with number 2, after those of iteration 0; the list repeats.
	mean, spread = try(solvers.VRBO{Step: rho, OuterStep: gamma, NeumannStep: eta, Terms: -1, InnerSteps: 1, Period: 5},
		[]int{0, 1}, []int{2, 3}, 1, map[string][]float64{"x": x, "y": y, "h": dy, "d": dx}, "d", "x")
	y2 := sum(y, scaled(-rho, sum(dy, q.lowerY(nextX, y), scaled(-1, q.lowerY(x, y)))))
	require.InDeltaSlice(t, nextX, mean[2:], 1e-13)
	require.Greater(t, spread, 0.01)
	// d is linear in y, which is linear in h, so that its mean is that at the mean y; but the step of y and the
	// difference at it draw minibatches of their own.
	want = sum(dx, q.d(nextX, y2, eta, eta, 0), scaled(-1, q.d(x, y, eta, eta, 0)))
	require.InDeltaSlice(t, want, mean[:2], 1e-13)

	// SUSTAIN with Q = 2. Iteration 1 of a run whose every series has the length of the digits begins with lower
	// minibatch 2 + length.
	const terms = 2
	keep := 1 - momentum*math.Pow(2, -2.0/3)
	series := func(x, y []float64) []float64 {
		sum0, sum1 := q.d(x, y, terms*eta, eta, 0), q.d(x, y, terms*eta, eta, 1)
		return scaled(0.5, sum(sum0, sum1))
	}
	state := map[string][]float64{"x": nextX, "y": nextY, "x before": x, "y before": y, "h": dy, "d": dx}
	a := solvers.SUSTAIN{Step: rho, OuterStep: gamma, NeumannStep: eta, Terms: terms, Momentum: momentum}
	short, _ := try(a, []int{0, 1}, []int{2}, 1, state, "h", "d")
	long := make([]float64, len(short))
	mean, spread = meanOver([]int{2, 2, 2, 2}, func(digits []int) []float64 {
		ex := executor(t)
		p := load(t, ex, m)
		lower := []int32{int32(digits[0]), int32(digits[1]), int32(digits[2])}
		p.Lower.Sampler, p.Upper.Sampler = listed{1, 2, lower}, listed{1, 2, []int32{int32(digits[3])}}
		e := drawing(t, ex, p, a, 2, func(int, int) int { return 1 })
		for name, values := range state {
			put(t, e, name, values)
		}
		step(t, e, 1, 1)
		return append(vector(t, e, "h"), vector(t, e, "d")...)
	})
	copy(long, mean)
	want = sum(q.lowerY(nextX, nextY), scaled(keep, dy), scaled(-keep, q.lowerY(x, y)))
	want = append(want, sum(series(nextX, nextY), scaled(keep, dx), scaled(-keep, series(x, y)))...)
	require.InDeltaSlice(t, want, scaled(0.5, sum(short, long)), 1e-13)
	require.Greater(t, spread, 0.01)
}

// On a finite sum SABA comes as near to the optimum as rounding lets it with constant steps, and so does SRBA; SOBA
// with the same steps stays where its noise holds it.
func TestReducedNoise(t *testing.T) {
	m := solvertest.NewFiniteSum(3, 6, 6, 2, solvertest.Spectrum(4, 2))
	optimum := m.Optimum()
	distance := func(a solvers.Algorithm) float64 {
		ex := executor(t)
		p := load(t, ex, m)
		p.Lower.Sampler, p.Upper.Sampler = problem.Fixed(2), problem.Fixed(2)
		res := solve(t, ex, p, a, solvers.Options{Iterations: 12_000, Seed: 1})
		return floats.Distance(optimum, res.X.Flat, 2)
	}
	require.Less(t, distance(solvers.SABA{Step: 0.1, OuterStep: 0.01}), 1e-10)
	require.Less(t, distance(solvers.SRBA{Step: 0.1, OuterStep: 0.01, Period: 6}), 1e-10)
	require.Greater(t, distance(solvers.SOBA{Step: 0.1, OuterStep: 0.01}), 1e-4)
}

func TestReducedRefuses(t *testing.T) {
	for want, a := range map[string]solvers.Algorithm{
		"saba: step is -1: wants a positive":             solvers.SABA{Step: -1, OuterStep: 1},
		`saba: start is "half": wants zero or full`:      solvers.SABA{Step: 1, OuterStep: 1, Start: "half"},
		"srba: period is -1: wants at least 1":           solvers.SRBA{Step: 1, OuterStep: 1, Period: -1},
		`vrbo: variant is "new": wants paper`:            solvers.VRBO{Step: 1, OuterStep: 1, Variant: "new"},
		"vrbo: -2 terms":                                 solvers.VRBO{Step: 1, OuterStep: 1, Terms: -2},
		"sustain: momentum is 2: wants a number above 0": solvers.SUSTAIN{Step: 1, OuterStep: 1, Momentum: 2},
		"sustain: exponent is -2: wants a number from 0": solvers.SUSTAIN{Step: 1, OuterStep: 1, Exponent: -2},
		`sustain: memory is "no": wants true or zero`:    solvers.SUSTAIN{Step: 1, OuterStep: 1, Memory: "no"},
		"sustain: terms is -1: wants at least 1":         solvers.SUSTAIN{Step: 1, OuterStep: 1, Terms: -1},
	} {
		ex := executor(t)
		_, err := solvers.Solve(context.Background(), load(t, ex, solvertest.Scalar{}), a,
			solvers.Options{Executor: ex, Iterations: 1})
		require.ErrorContains(t, err, want)
	}
	ex := executor(t)
	p := load(t, ex, solvertest.NewFiniteSum(1, 4, 4, 1, solvertest.Spectrum(2, 2)))
	p.Lower.Sampler = problem.WithReplacement(2)
	_, err := solvers.Solve(context.Background(), p, solvers.SABA{Step: 1, OuterStep: 1},
		solvers.Options{Executor: ex, Iterations: 1})
	require.ErrorContains(t, err, "give the lower level problem.Fixed(2) as its sampler")
}
