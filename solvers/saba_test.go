package solvers_test

import (
	"context"
	"testing"

	"bilevel/device"
	"bilevel/solvers"
	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
)

// The mean of SABA's steps over all pairs of minibatches is a step along the full directions, whatever its tables hold,
// and so is each of them where the tables hold what the point has.
func TestSABAIsUnbiased(t *testing.T) {
	const rho, gamma = 0.1, 0.3
	m := solvertest.NewFiniteSum(1, 6, 4, 2, solvertest.Spectrum(3, 10))
	q := plain{m.Mean()}
	at := map[string][]float64{"x": {0.5, -1}, "y": {1, 2, -0.5}, "v": {0.3, -0.2, 0.7}}
	want := sum(at["x"], scaled(-gamma, q.Direction(at["x"], at["y"], at["v"])))
	want = append(want, sum(at["y"], scaled(-rho, q.lowerY(at["x"], at["y"])))...)
	want = append(want, sum(at["v"],
		scaled(-rho, sum(times(q.A, at["v"]), scaled(-1, q.upperY(at["x"], at["y"])))))...)
	once := func(digits []int) []float64 {
		ex := executor(t)
		p := load(t, ex, m)
		i, j := int32(digits[0]), int32(digits[1])
		p.Lower.Sampler = listed{2, 3, []int32{0, 1, 2, 2, 1, i, i}} // three of the pass, and two iterations
		p.Upper.Sampler = listed{2, 2, []int32{0, 1, 1, 0, j, j}}
		e := begin(t, ex, p, solvers.SABA{Step: rho, OuterStep: gamma, Start: "full"}, 4, 0)
		step(t, e, 0, 2) // tables of several points
		for name, values := range at {
			put(t, e, name, values)
		}
		step(t, e, 2, 1)
		return append(append(vector(t, e, "x"), vector(t, e, "y")...), vector(t, e, "v")...)
	}
	mean, spread := meanOver([]int{3, 2}, once)
	require.InDeltaSlice(t, want, mean, 1e-13)
	require.Greater(t, spread, 0.01, "single steps differ")

	// The first iteration after a pass is at the point of the pass.
	ex := executor(t)
	p := load(t, ex, m)
	p.Lower.Sampler, p.Upper.Sampler = problem.Fixed(2), problem.Fixed(1)
	p.Upper.Start, p.Lower.Start = problem.Vector(at["x"]...), problem.Vector(at["y"]...)
	e := begin(t, ex, p, solvers.SABA{Step: rho, OuterStep: gamma, Start: "full"}, 1, 7)
	step(t, e, 0, 1)
	require.InDeltaSlice(t, want[2:5], vector(t, e, "y"), 1e-13)
	require.InDeltaSlice(t, scaled(rho, q.upperY(at["x"], at["y"])), vector(t, e, "v"), 1e-13)
}

// Weights of rows: with the structure declared, SABA's table of C v is one vector, and the run is the same up to
// rounding. The upper objective does not depend on x, so that there is no table of its gradient.
func TestWeightPerRow(t *testing.T) {
	m := solvertest.NewCleaning(1, 12, 6, 3, 2, 0.1)
	const n = 40
	run := func(declared bool, a solvers.Algorithm) *engine.Engine {
		ex := executor(t)
		p := load(t, ex, m)
		p.WeightPerRow = declared
		p.Lower.Sampler, p.Upper.Sampler = problem.Fixed(3), problem.Fixed(2)
		e := begin(t, ex, p, a, n, 5)
		step(t, e, 0, n)
		return e
	}
	for _, a := range []solvers.Algorithm{
		solvers.SABA{Step: 0.3, OuterStep: 1}, solvers.SABA{Step: 0.3, OuterStep: 1, Start: "full"},
		solvers.SRBA{Step: 0.3, OuterStep: 1, Period: 4},
	} {
		dense, sparse := run(false, a), run(true, a)
		for _, name := range []string{"x", "y", "v"} {
			require.InDeltaSlice(t, vector(t, dense, name), vector(t, sparse, name), 1e-13, "%+v, %s", a, name)
		}
		require.Greater(t, floats.Distance(vector(t, sparse, "x"), m.StartX, 2), 1e-3)
		if a.Name() == "saba" {
			require.Len(t, vector(t, dense, "table of C v"), 4*12)
			require.Len(t, vector(t, sparse, "table of C v"), 12)
			require.Nil(t, dense.Variable("table of ∇xF"))
			require.Nil(t, sparse.Variable("mean for x"))
		}
	}
	ex := executor(t)
	p := load(t, ex, m)
	p.WeightPerRow, p.Upper.Start = true, problem.Vector(1, 2)
	_, err := p.Bind(ex)
	require.ErrorContains(t, err, "WeightPerRow with 2 upper variables and 12 rows of the lower level")
}

// Tables that do not fit are refused before anything runs.
func TestTablesDoNotFit(t *testing.T) {
	ex := executor(t)
	p := load(t, ex, solvertest.NewFiniteSum(3, 60, 60, 2, solvertest.Spectrum(40, 2)))
	p.Lower.Sampler, p.Upper.Sampler = problem.Fixed(1), problem.Fixed(1)
	b, err := p.Bind(ex)
	require.NoError(t, err)
	soba := solvers.SOBA{Step: 1, OuterStep: 1}
	e, _, err := solvers.Init(context.Background(), b, soba, 1, 0)
	require.NoError(t, err)
	const tables = 8 * 60 * (3*40 + 2*2) // bytes
	ex.LimitMemory(ex.MemoryInUse() + tables/2)
	require.NoError(t, e.Close())
	e, _, err = solvers.Init(context.Background(), b, soba, 1, 0)
	require.NoError(t, err)
	require.NoError(t, e.Close())
	_, _, err = solvers.Init(context.Background(), b, solvers.SABA{Step: 1, OuterStep: 1}, 1, 0)
	require.ErrorIs(t, err, device.ErrMemory)
}
