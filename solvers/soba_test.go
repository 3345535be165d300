package solvers_test

import (
	"context"
	"fmt"
	"math"
	"testing"

	"bilevel/solvers"
	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
)

// The first two iterates on Q1, computed by hand from the paper's algorithm.
func TestSOBATrace(t *testing.T) {
	ex := executor(t)
	s := begin(t, ex, load(t, ex, solvertest.Scalar{}), solvers.SOBA{Step: 0.1, OuterStep: 0.05}, 2, 0)
	for k, want := range [][]float64{{0.19, 0.65, -0.03}, {0.182, 0.604, -0.062}} {
		step(t, s, k, 1)
		for i, a := range arrays(t, s) {
			require.InDelta(t, want[i], a[0], 1e-15)
		}
	}
	require.Equal(t, problem.Counts{LowerGradients: 1, UpperGradients: 1, HVP: 1, JVP: 1}, s.Counts(0))
}

// pairs lists every combination of minibatches of the given sizes, with repetition and order, as sampling with
// replacement draws them with equal probability.
func pairs(n, size int) (out [][]int32) {
	total := int(math.Pow(float64(n), float64(size)))
	for c := range total {
		b := make([]int32, size)
		for i := range b {
			b[i] = int32(c % n)
			c /= n
		}
		out = append(out, b)
	}
	return out
}

// The directions are unbiased: their mean over all pairs of minibatches is the full-batch direction.
func TestSOBAIsUnbiased(t *testing.T) {
	const rho, gamma = 0.1, 0.3
	m := solvertest.NewFiniteSum(1, 4, 3, 2, solvertest.Spectrum(3, 10))
	at := [][]float64{{0.5, -1}, {1, 2, -0.5}, {0.3, -0.2, 0.7}}
	directions := func(s *engine.Engine, k int) []float64 {
		write(t, s, at)
		step(t, s, k, 1)
		var d []float64
		for i, a := range arrays(t, s) {
			for j := range a {
				d = append(d, (at[i][j]-a[j])/[]float64{gamma, rho, rho}[i])
			}
		}
		return d
	}
	algorithm := solvers.SOBA{Step: rho, OuterStep: gamma}
	ex := executor(t)
	p := load(t, ex, m)
	full := directions(begin(t, ex, p, algorithm, 1, 0), 0)

	// The full-batch directions are those of the mean quadratic.
	mean := m.Mean()
	q := mean.Direction(at[0], at[1], at[2])
	require.InDeltaSlice(t, q, full[:2], 1e-12)

	for _, size := range []int{1, 2} {
		lower, upper := pairs(4, size), pairs(3, size)
		var l, u rows
		for _, a := range lower {
			for _, b := range upper {
				l, u = append(l, a), append(u, b)
			}
		}
		p := load(t, ex, m)
		p.Lower.Sampler, p.Upper.Sampler = l, u
		s := begin(t, ex, p, algorithm, len(l), 0)
		require.EqualValues(t, 2*size, s.Counts(0).Samples)
		sum := make([]float64, len(full))
		spread := 0.0
		for k := range l {
			d := directions(s, k)
			floats.Add(sum, d)
			spread = max(spread, floats.Distance(d, full, 2))
		}
		floats.Scale(1/float64(len(l)), sum)
		require.InDeltaSlice(t, full, sum, 1e-12)
		require.Greater(t, spread, 0.1, "single directions differ")
	}
}

func TestSOBAReachesTheOptimum(t *testing.T) {
	for name, c := range map[string]interface {
		solvertest.Closed
		Optimum() []float64
	}{
		"scalar":     solvertest.Scalar{},
		"quadratic":  solvertest.NewQuadratic(2, 3, solvertest.Spectrum(5, 3)),
		"finite sum": solvertest.NewFiniteSum(3, 4, 5, 2, solvertest.Spectrum(4, 2)),
	} {
		ex := executor(t)
		res := solve(t, ex, load(t, ex, c), solvers.SOBA{Step: 0.5, OuterStep: 0.02}, solvers.Options{Iterations: 4000})
		x := c.Optimum()
		y, _ := c.Exact(x)
		require.InDeltaSlice(t, x, res.X.Flat, 1e-9, name)
		require.InDeltaSlice(t, y, res.Y.Flat, 1e-9, name)
	}
}

// A run is a function of seed and iteration alone: stopped after 37 of 100 iterations and continued in a fresh state,
// on another executor, it ends with the same bits.
func TestSOBAResumes(t *testing.T) {
	m := solvertest.NewFiniteSum(4, 7, 5, 2, solvertest.Spectrum(3, 5))
	for _, schedule := range []engine.Schedule{"constant", "sqrt", "linear", "cosine"} {
		start := func(seed uint64) *engine.Engine {
			ex := executor(t)
			p := load(t, ex, m)
			p.Lower.Sampler, p.Upper.Sampler = problem.WithReplacement(2), problem.Epochs(3)
			return begin(t, ex, p, solvers.SOBA{Step: 0.1, OuterStep: 0.05, Schedule: schedule}, 100, seed)
		}
		whole := start(1)
		step(t, whole, 0, 100)
		want := bits(arrays(t, whole))

		first := start(1)
		step(t, first, 0, 37)
		require.NotEqual(t, want, bits(arrays(t, first)))
		second := start(1)
		write(t, second, arrays(t, first))
		step(t, second, 37, 63)
		require.Equal(t, want, bits(arrays(t, second)), schedule)

		one := start(1)
		for k := range 100 {
			step(t, one, k, 1)
		}
		require.Equal(t, want, bits(arrays(t, one)), "one iteration at a time")
		other := start(2)
		step(t, other, 0, 100)
		require.NotEqual(t, want, bits(arrays(t, other)), "another seed, another run")
	}
}

// Steps that are too large: the first iteration after which y or v is not finite, by a plain loop.
func TestSOBANotFinite(t *testing.T) {
	const rho, gamma = 3.0, 0.01
	x, y, v := 0.2, 0.7, 0.0
	want := 0
	for finite := true; finite; want++ {
		x, y, v = x-gamma*(x+v), y-rho*(y-x), v-rho*(v-(y-1))
		finite = !math.IsNaN(y-y) && !math.IsNaN(v-v)
	}
	require.Greater(t, want, 2*256, "beyond the first looks of the host")
	ex := executor(t)
	records := 0
	res, err := solvers.Solve(context.Background(), load(t, ex, solvertest.Scalar{}),
		solvers.SOBA{Step: rho, OuterStep: gamma},
		solvers.Options{Executor: ex, Iterations: 5000, Record: func(engine.Progress) error { records++; return nil }})
	require.ErrorContains(t, err, "smaller step sizes", "a run that diverged is an error")
	require.Equal(t, engine.NotFinite, res.Status)
	require.Equal(t, want, res.Iterations)
	require.EqualValues(t, want, res.Counts.HVP)
	require.Equal(t, 1, records, "no record of a state that is not finite")
}

// A NaN in the data shows in the iteration that draws its row, whatever the chunk it falls in.
func TestSOBANotFiniteRow(t *testing.T) {
	for _, k := range []int{0, 1, 63, 64, 70, 255, 256, 300} {
		m := solvertest.NewFiniteSum(5, 3, 3, 2, solvertest.Spectrum(3, 2))
		m.Lower[2].LowerA[1] = math.NaN()
		ex := executor(t)
		p := load(t, ex, m)
		drawn := make(rows, k+2)
		for i := range drawn {
			drawn[i] = []int32{int32(i % 2)}
		}
		drawn[k][0] = 2
		p.Lower.Sampler, p.Upper.Sampler = drawn, rows{{0}}
		res, err := solvers.Solve(context.Background(), p, solvers.SOBA{Step: 1e-3, OuterStep: 1e-3},
			solvers.Options{Executor: ex, Iterations: 400})
		require.ErrorContains(t, err, fmt.Sprintf("after iteration %d:", k+1))
		require.Equal(t, engine.NotFinite, res.Status)
		require.Equal(t, k+1, res.Iterations)
	}
}

// What goes wrong in x alone, in the last iteration, is seen at the end.
func TestSOBANotFiniteX(t *testing.T) {
	m := solvertest.NewFiniteSum(6, 3, 3, 2, solvertest.Spectrum(3, 2))
	m.Upper[1].UpperE[0] = math.Inf(1)
	ex := executor(t)
	p := load(t, ex, m)
	p.Lower.Sampler, p.Upper.Sampler = rows{{0}}, rows{{0}, {0}, {1}}
	res, err := solvers.Solve(context.Background(), p, solvers.SOBA{Step: 0.1, OuterStep: 0.1},
		solvers.Options{Executor: ex, Iterations: 3})
	require.Error(t, err)
	require.Equal(t, engine.NotFinite, res.Status)
	require.Equal(t, 3, res.Iterations)
}

func TestSOBARefuses(t *testing.T) {
	ex := executor(t)
	try := func(p *problem.Problem, a solvers.SOBA, want string) {
		_, err := solvers.Solve(context.Background(), p, a, solvers.Options{Executor: ex, Iterations: 1})
		require.ErrorContains(t, err, want, "%+v", a)
	}
	for _, a := range []solvers.SOBA{{Step: -1, OuterStep: 1}, {Step: 1, OuterStep: -1},
		{Step: math.NaN(), OuterStep: 1}, {Step: 1, OuterStep: math.Inf(1)}} {
		try(load(t, ex, solvertest.Scalar{}), a, "wants a positive, finite number")
	}
	one := solvers.SOBA{Step: 1, OuterStep: 1}
	try(load(t, ex, solvertest.Scalar{}), solvers.SOBA{Step: 1, OuterStep: 1, Schedule: "liner"},
		`did you mean "linear"?`)
	p := load(t, ex, solvertest.Scalar{})
	p.Lower.Set = problem.Box{Lo: 0, Hi: 1}
	try(p, one, "keeps y in a set, which this algorithm cannot use")

	p = load(t, ex, solvertest.NewQuadratic(1, 2, solvertest.Spectrum(3, 2)))
	p.Upper.Start = problem.Vector(1)
	try(p, one, "shapes [1] and [2] differ") // a wrong shape is an error, not a panic

	p = load(t, ex, solvertest.NewFiniteSum(1, 3, 3, 1, solvertest.Spectrum(2, 2)))
	p.Lower.Sampler, p.Upper.Sampler = rows{{7}}, rows{{0}}
	try(p, solvers.SOBA{Step: 1e-3, OuterStep: 1e-3}, "index out of range")
}
