package solvers_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"bilevel/device/cpudevice"
	"bilevel/solvers"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"
	"bilevel/tensor/tensortest"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
)

// MORBiT comes to the minimum of the worst of several objectives, on a problem that is always the same and on one that
// this run of the test draws: x where the objectives of the extreme targets are equal, and the weights for which the
// slope Σ α_i (2x - t_i) vanishes there, on those two alone.
//
// The targets are bounded, so that the steps suit every draw. In units of time t of 1/γ = 1/δ iterations, and once α
// has no other weights, x is away from the optimum by a u with d²u/dt² + 2 du/dt + ½ D² u = 0 for the distance D of the
// extreme targets, which is at most 4.3. Behind x, y lags by 5/(β a) iterations, at most four of them for β = 1.25 and
// curvatures a from 1 on: 0.08 units, which take ½ D² 0.08 = 0.74 from the damping of 2. Were the targets drawn without
// a bound, some would take all of it, and x would circle around the optimum for ever.
func TestMORBiTOnBlocks(t *testing.T) {
	drawn := rand.Uint64() >> 1
	for _, seed := range []uint64{3, drawn} {
		w := solvertest.NewWorst(seed, 5)
		for i, target := range w.Targets {
			w.Targets[i] = math.Tanh(target) * 0.9
		}
		// Targets on both sides of zero, so that two of them count and not one alone.
		w.Targets[0], w.Targets[1] = -1-math.Abs(w.Targets[0]), 1.5+math.Abs(w.Targets[1])
		ex := tensortest.Executor(t, cpudevice.New(1))
		a := solvers.MORBiT{Step: 1.25, OuterStep: 0.02, DualStep: 0.02, NeumannStep: 1, Terms: 40}
		res := solve(t, ex, load(t, ex, w), a, solvers.Options{Iterations: 6000})
		lo, hi := slices.Min(w.Targets), slices.Max(w.Targets)
		want := make([]float64, 5)
		want[slices.Index(w.Targets, lo)], want[slices.Index(w.Targets, hi)] = -lo/(hi-lo), hi/(hi-lo)
		require.InDelta(t, w.Optimum()[0], res.X.Flat[0], 2e-3, "seed %d", seed)
		require.InDelta(t, (lo+hi)/2, w.Optimum()[0], 1e-12)
		require.InDeltaSlice(t, want, res.Last.Arrays["alpha"], 5e-3, "seed %d", seed)
		for _, y := range res.Y.Flat {
			require.InDelta(t, res.X.Flat[0], y, 2e-3)
		}
		mean := floats.Sum(w.Targets) / 10
		t.Logf("seed %d: x = %.5f, worst case %.5f, the mean of the objectives is least at %.5f", seed, res.X.Flat[0],
			w.Optimum()[0], mean)
	}
}

// Two iterates of MORBiT on blocks against plain loops: the weights are projected onto the simplex.
func TestMORBiTTraceOnBlocks(t *testing.T) {
	w := &solvertest.Worst{Targets: []float64{-1, 0.5, 2}, Curvatures: []float64{1, 2, 4}}
	ex := executor(t)
	a := solvers.MORBiT{Step: 0.6, OuterStep: 0.1, DualStep: 0.2, NeumannStep: 0.5, Terms: 1}
	e := begin(t, ex, load(t, ex, w), a, 2, 0)
	x, y, alpha := 1.0, []float64{0, 0, 0}, []float64{1. / 3, 1. / 3, 1. / 3}
	for k := range 2 {
		step(t, e, k, 1)
		slope, values := 0.0, make([]float64, 3)
		for i, a := range w.Curvatures {
			y[i] -= 0.6 * a / 3 * (y[i] - x)
			h := a / 3
			b := alpha[i] * (y[i] - w.Targets[i])
			v := 0.5 * (b + (1-0.5*h)*b)
			slope += alpha[i]*x + h*v // C is -a/3
		}
		x -= 0.1 * slope
		for i, target := range w.Targets {
			values[i] = ((y[i]-target)*(y[i]-target) + x*x) / 2
		}
		alpha = ontoSimplex(sum(alpha, scaled(0.2, values)))
		require.InDelta(t, x, vector(t, e, "x")[0], 1e-14)
		require.InDeltaSlice(t, y, vector(t, e, "y"), 1e-14)
		require.InDeltaSlice(t, alpha, vector(t, e, "alpha"), 1e-12) // bisection to 1e-12
	}
}

// ontoSimplex sorts (Held, Wolfe, Crowder 1974): the sum of the largest k less 1, divided by k, is the threshold for
// the largest k for which the k-th is above it.
func ontoSimplex(z []float64) []float64 {
	sorted := slices.Sorted(slices.Values(z))
	slices.Reverse(sorted)
	tau, total := 0.0, 0.0
	for k, v := range sorted {
		if total += v; v > (total-1)/float64(k+1) {
			tau = (total - 1) / float64(k+1)
		}
	}
	out := slices.Clone(z)
	for i := range out {
		out[i] = math.Max(0, out[i]-tau)
	}
	return out
}

// duals is a problem with blocks, drawn two at a time.
func duals(seed uint64) *solvertest.Duals {
	return &solvertest.Duals{Worst: *solvertest.NewWorst(seed, 6)}
}

// An iteration of MMB moves the blocks that it draws, by the directions of the two, and leaves the others to the last
// bit; against plain loops, on a problem of this run.
func TestMMBMovesDrawnBlocks(t *testing.T) {
	drawn := rand.Uint64() >> 1
	d := duals(drawn)
	ex := executor(t)
	p := load(t, ex, d)
	list := rows{{4, 1}, {0, 4}, {5, 2}}
	p.Lower.Sampler = list
	e := begin(t, ex, p, solvers.MMB{Step: 0.4, OuterStep: 0.1, DualStep: 0.3, Average: 0.5}, 3, 0)
	x, y, v, alpha := 1.0, make([]float64, 6), make([]float64, 6), make([]float64, 6)
	average := 0.0
	for k := range 3 {
		old := slices.Clone(vector(t, e, "y"))
		step(t, e, k, 1)
		slope := 0.0
		for _, i := range list[k] {
			a := d.Curvatures[i]
			slope += a * v[i] / 2 // C_i is -a_i/2, F does not depend on x itself
			fy, fa := y[i]-d.Targets[i]+alpha[i], y[i]-alpha[i]
			v[i] -= 0.4 / 2 * (a*v[i] - fy)
			alpha[i] += 0.3 / 2 * fa
			y[i] -= 0.4 / 2 * a * (y[i] - x)
		}
		theta := 0.5
		if k == 0 {
			theta = 1
		}
		average += theta * (slope - average)
		x -= 0.1 * average
		require.InDelta(t, x, vector(t, e, "x")[0], 1e-14, "seed %d", drawn)
		for name, want := range map[string][]float64{"y": y, "v": v, "alpha": alpha} {
			require.InDeltaSlice(t, want, vector(t, e, name), 1e-14, "%s, seed %d", name, drawn)
		}
		for i := range y {
			if !slices.Contains(list[k], int32(i)) {
				require.Equal(t, old[i], vector(t, e, "y")[i])
			}
		}
	}
}

// MMB comes to the optimum of the mean over blocks while it sees two of six in an iteration; with all of them at once,
// without an average and without a further variable it is SOBA.
func TestMMBOnBlocks(t *testing.T) {
	d := duals(11)
	ex := tensortest.Executor(t, cpudevice.New(1))
	p := load(t, ex, d)
	p.Lower.Sampler = problem.Epochs(2)
	a := solvers.MMB{Step: 0.3, OuterStep: 0.02, Schedule: "linear"}
	res := solve(t, ex, p, a, solvers.Options{Iterations: 8000})
	require.InDelta(t, d.Optimum()[0], res.X.Flat[0], 5e-3)
	require.InDeltaSlice(t, res.Y.Flat, res.Last.Arrays["alpha"], 2e-2, "α_i* = y_i")
	t.Logf("x = %.5f, optimum %.5f", res.X.Flat[0], d.Optimum()[0])

	q := solvertest.NewQuadratic(5, 3, solvertest.Spectrum(4, 5))
	run := func(a solvers.Algorithm) []float64 {
		ex := executor(t)
		return solve(t, ex, load(t, ex, q), a, solvers.Options{Iterations: 20}).X.Flat
	}
	require.InDeltaSlice(t, run(solvers.SOBA{Step: 0.1, OuterStep: 0.02}),
		run(solvers.MMB{Step: 0.1, OuterStep: 0.02, Average: 1}), 1e-15)
}

// What blocks and a further variable cannot be combined with is refused, and the advice works.
func TestBlocksRefuse(t *testing.T) {
	ex := executor(t)
	w := solvertest.NewWorst(1, 6)
	refused := func(a solvers.Algorithm, change func(*problem.Problem)) error {
		p := load(t, ex, w)
		change(p)
		_, err := solvers.Solve(t.Context(), p, a, solvers.Options{Executor: ex, Iterations: 2})
		return err
	}
	some := func(p *problem.Problem) { p.Lower.Sampler = problem.Epochs(2) }
	a := solvers.MMB{Step: 0.1, OuterStep: 0.1, DualStep: 0.1}
	require.ErrorContains(t, refused(a, some), "mmb: the set of the further variable (Saddle.Set) of worst of several "+
		"is a simplex of total 1, which ties blocks together that are drawn apart: give problem.Box or "+
		"problem.Bounds, or leave Lower.Sampler out")
	require.NoError(t, refused(a, func(p *problem.Problem) {
		some(p)
		p.Upper.Saddle.Set = problem.Box{Lo: 0, Hi: 1}
	}))
	require.NoError(t, refused(a, func(*problem.Problem) {}))
	require.ErrorContains(t, refused(a, func(p *problem.Problem) { p.Upper.Sampler = problem.Epochs(2) }),
		"leave Upper.Sampler out")
	require.ErrorContains(t, refused(solvers.SOBA{}, func(*problem.Problem) {}), "soba: the problem worst of several "+
		"maximizes its upper objective over a further variable, which this algorithm cannot use")
	require.ErrorContains(t, refused(solvers.MORBiT{}, func(p *problem.Problem) {
		p.Upper.Saddle, p.Upper.Value = nil, p.Lower.Value
	}), "morbit: the problem worst of several has no maximum over a further variable, which this algorithm cannot do "+
		"without: it descends in x and ascends in the variable of a Saddle (Upper.Saddle)")
	_, err := solvers.Solve(t.Context(), load(t, ex, w), solvers.MORBiT{},
		solvers.Options{Executor: ex, KeepBest: true})
	require.ErrorContains(t, err, "give Options.Monitor for Patience and KeepBest")
}
