package solvers_test

import (
	"context"
	"math"
	"testing"

	"bilevel/data"
	"bilevel/internal/philox"
	"bilevel/solvers"
	"bilevel/solvers/solvertest"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
)

// The first two iterates on Q1, computed by hand from the paper's algorithm.
func TestSOBATrace(t *testing.T) {
	ex := executor(t)
	s, err := solvers.SOBA{Step: 0.1, OuterStep: 0.05}.Init(ex, load(t, ex, solvertest.Scalar{}), 2)
	require.NoError(t, err)
	defer s.Close()
	for k, want := range [][]float64{{0.19, 0.65, -0.03}, {0.182, 0.604, -0.062}} {
		require.NoError(t, s.Step(k, 1))
		for i, a := range arrays(t, s) {
			require.InDelta(t, want[i], a[0], 1e-15)
		}
	}
	require.Equal(t, solvers.Counts{LowerGradients: 1, UpperGradients: 1, HVP: 1, JVP: 1}, s.Counts())
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
	directions := func(p *solvers.Problem, s solvers.State, k int) []float64 {
		write(t, s, at)
		require.NoError(t, s.Step(k, 1))
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
	s, err := algorithm.Init(ex, p, 1)
	require.NoError(t, err)
	full := directions(p, s, 0)
	require.NoError(t, s.Close())

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
		minibatches(p, l, u, size, size)
		s, err := algorithm.Init(ex, p, len(l))
		require.NoError(t, err)
		require.EqualValues(t, 2*size, s.Counts().Samples)
		sum := make([]float64, len(full))
		spread := 0.0
		for k := range l {
			d := directions(p, s, k)
			floats.Add(sum, d)
			spread = max(spread, floats.Distance(d, full, 2))
		}
		floats.Scale(1/float64(len(l)), sum)
		require.InDeltaSlice(t, full, sum, 1e-12)
		require.Greater(t, spread, 0.1, "single directions differ")
		require.NoError(t, s.Close())
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
		res, err := solvers.Solve(context.Background(), ex, load(t, ex, c), solvers.SOBA{Step: 0.5, OuterStep: 0.02}, solvers.Options{Iterations: 4000})
		require.NoError(t, err)
		require.NoError(t, res.Err())
		x := c.Optimum()
		y, _ := c.Exact(x)
		require.InDeltaSlice(t, x, res.X, 1e-9, name)
		require.InDeltaSlice(t, y, res.Y, 1e-9, name)
	}
}

// A run is a function of seed and iteration alone: stopped after 37 of 100 iterations and continued in a fresh state,
// on another executor, it ends with the same bits.
func TestSOBAResumes(t *testing.T) {
	m := solvertest.NewFiniteSum(4, 7, 5, 2, solvertest.Spectrum(3, 5))
	for _, name := range []string{"constant", "sqrt", "linear", "cosine"} {
		start := func(seed uint64) solvers.State {
			ex := executor(t)
			p := load(t, ex, m)
			minibatches(p, data.Batches{Seed: seed, Stream: philox.StreamLowerBatch, N: 7, B: 2},
				data.Batches{Seed: seed, Stream: philox.StreamUpperBatch, N: 5, B: 3}, 2, 3)
			s, err := solvers.SOBA{Step: 0.1, OuterStep: 0.05, Schedule: schedule(t, name)}.Init(ex, p, 100)
			require.NoError(t, err)
			t.Cleanup(func() { s.Close() })
			return s
		}
		whole := start(1)
		require.NoError(t, whole.Step(0, 100))
		want := bits(arrays(t, whole))

		first := start(1)
		require.NoError(t, first.Step(0, 37))
		require.NotEqual(t, want, bits(arrays(t, first)))
		second := start(1)
		write(t, second, arrays(t, first))
		require.NoError(t, second.Step(37, 63))
		require.Equal(t, want, bits(arrays(t, second)), name)

		one := start(1)
		for k := range 100 {
			require.NoError(t, one.Step(k, 1))
		}
		require.Equal(t, want, bits(arrays(t, one)), "one iteration at a time")
		other := start(2)
		require.NoError(t, other.Step(0, 100))
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
	res, err := solvers.Solve(context.Background(), ex, load(t, ex, solvertest.Scalar{}), solvers.SOBA{Step: rho, OuterStep: gamma},
		solvers.Options{Iterations: 5000, Record: func(solvers.Progress) error { records++; return nil }})
	require.NoError(t, err)
	require.Equal(t, solvers.NotFinite, res.Status)
	require.Equal(t, want, res.Iterations)
	require.EqualValues(t, want, res.Counts.HVP)
	require.ErrorContains(t, res.Err(), "smaller step sizes")
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
		minibatches(p, drawn, rows{{0}}, 1, 1)
		res, err := solvers.Solve(context.Background(), ex, p, solvers.SOBA{Step: 1e-3, OuterStep: 1e-3}, solvers.Options{Iterations: 400})
		require.NoError(t, err)
		require.Equal(t, solvers.NotFinite, res.Status)
		require.Equal(t, k+1, res.Iterations)
	}
}

// What goes wrong in x alone, in the last iteration, is seen at the end.
func TestSOBANotFiniteX(t *testing.T) {
	m := solvertest.NewFiniteSum(6, 3, 3, 2, solvertest.Spectrum(3, 2))
	m.Upper[1].UpperE[0] = math.Inf(1)
	ex := executor(t)
	p := load(t, ex, m)
	minibatches(p, rows{{0}}, rows{{0}, {0}, {1}}, 1, 1)
	res, err := solvers.Solve(context.Background(), ex, p, solvers.SOBA{Step: 0.1, OuterStep: 0.1}, solvers.Options{Iterations: 3})
	require.NoError(t, err)
	require.Equal(t, solvers.NotFinite, res.Status)
	require.Equal(t, 3, res.Iterations)
}

func TestSOBARefuses(t *testing.T) {
	ex := executor(t)
	for _, a := range []solvers.SOBA{{}, {Step: -1, OuterStep: 1}, {Step: 1, OuterStep: 0}, {Step: math.NaN(), OuterStep: 1}, {Step: 1, OuterStep: math.Inf(1)}} {
		_, err := a.Init(ex, load(t, ex, solvertest.Scalar{}), 10)
		require.ErrorContains(t, err, "wants positive", "%+v", a)
	}
	p := load(t, ex, solvertest.Scalar{})
	p.XSet = solvers.Box{Lo: 0, Hi: 1}
	_, err := solvers.Solve(context.Background(), ex, p, solvers.SOBA{Step: 1, OuterStep: 1}, solvers.Options{Iterations: 1})
	require.ErrorContains(t, err, "box [0, 1]")
	require.ErrorContains(t, err, "unconstrained")

	p = load(t, ex, solvertest.NewQuadratic(1, 2, solvertest.Spectrum(3, 2)))
	p.X0 = []float64{1}
	_, err = solvers.Solve(context.Background(), ex, p, solvers.SOBA{Step: 1, OuterStep: 1}, solvers.Options{Iterations: 1})
	require.ErrorContains(t, err, "shapes [1] and [2] differ", "a wrong shape is an error, not a panic")

	p = load(t, ex, solvertest.NewFiniteSum(1, 3, 3, 1, solvertest.Spectrum(2, 2)))
	minibatches(p, rows{{7}}, rows{{0}}, 1, 1)
	_, err = solvers.Solve(context.Background(), ex, p, solvers.SOBA{Step: 1e-3, OuterStep: 1e-3}, solvers.Options{Iterations: 1})
	require.ErrorContains(t, err, "index out of range")
}
