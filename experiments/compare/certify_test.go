package compare

import (
	"testing"

	"bilevel/experiments"
	"bilevel/solvers"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// What is certified at the end of a run is the closed form: the share of the implicit term, and the cosine of the
// direction ∇xF - C v that SOBA's state stands for.
func TestCertificateIsTheClosedForm(t *testing.T) {
	own, err := problem.OpenDevice("ref")
	require.NoError(t, err)
	defer own.Close()
	q := solvertest.NewQuadratic(7, 4, solvertest.Spectrum(12, 10))
	task, err := openClosed(own.Executor, Config{}, q)
	require.NoError(t, err)
	b, err := task.problem.Bind(own.Executor)
	require.NoError(t, err)
	a := solvers.SOBA{Step: 0.3, OuterStep: 1e-3, Schedule: "constant"}
	e, made, err := solvers.Init(t.Context(), b, a, 40, 1)
	require.NoError(t, err)
	c, err := newCertifier(t.Context(), *task.problem, e, made, 40)
	require.NoError(t, err)
	require.NoError(t, e.Step(t.Context(), 0, 30))
	got, err := c.look(t.Context(), 30, true)
	require.NoError(t, err)

	state := map[string][]float64{}
	for _, name := range []string{"x", "y", "v"} {
		state[name], err = e.Variable(name).Read()
		require.NoError(t, err)
	}
	y, h := q.Exact(state["x"])
	direct := q.Direction(state["x"], y, make([]float64, 12))
	term := floats.SubTo(make([]float64, 4), h, direct)
	require.InEpsilon(t, floats.Norm(term, 2)/floats.Norm(h, 2), got[0], 1e-6)
	d := q.Direction(state["x"], state["y"], state["v"])
	require.InDelta(t, floats.Dot(d, h)/(floats.Norm(d, 2)*floats.Norm(h, 2)), got[1], 1e-6)
	require.Less(t, got[2], 1e-6)
	again, err := c.look(t.Context(), 30, true)
	require.NoError(t, err)
	require.Equal(t, got, again, "it leaves the run as it was")
	require.NoError(t, c.close())
}

// Where the term must win, in closed form: alternation ends where ∇xF(x, y*(x)) = 0, above the minimum of h by what
// that point is worth; with the term the gap closes.
func TestWithoutTheTermTheEndIsAnother(t *testing.T) {
	c := Config{Problem: "stackelberg", Algorithm: "alternation", Iterations: 2000, Records: 20, Certificate: 5,
		Set: []string{"schedule=constant"}}
	off := run(t, c)
	require.InDelta(t, 8.0/9, off.Scalars["gap"], 1e-9) // h(8/3) - h(4) = -64/9 + 8
	c.Algorithm = "soba"
	require.InDelta(t, 0, run(t, c).Scalars["gap"], 1e-9)

	const seed = 3 // that run has
	q := solvertest.NewQuadratic(seed, 4, solvertest.Spectrum(12, 10))
	// ∇xF(x, y*(x)) = (E - K A⁻¹Cᵀ) x + e - K A⁻¹a
	var ac, ka mat.Dense
	require.NoError(t, ac.Solve(q.A, q.C.T()))
	ka.Mul(q.K, &ac)
	ka.Sub(q.E, &ka)
	var a, right, end mat.VecDense
	require.NoError(t, a.SolveVec(q.A, mat.NewVecDense(12, q.LowerA)))
	right.MulVec(q.K, &a)
	right.SubVec(&right, mat.NewVecDense(4, q.UpperE))
	require.NoError(t, end.SolveVec(&ka, &right))
	e := (&mat.VecDense{})
	e.SubVec(&end, mat.NewVecDense(4, q.Optimum()))
	gap := mat.Inner(e, q.Hessian(), e) / 2
	require.Greater(t, gap, 0.1, "the coupling is strong")
	got := run(t, Config{Problem: "quadratic", Algorithm: "alternation", Iterations: 20000, Records: 2,
		Set: []string{"schedule=constant"}})
	require.InEpsilon(t, gap, got.Scalars["gap"], 1e-6)
}

// Where F does not depend on x but through y*, nothing moves without the term, and its share is all.
func TestWithoutTheTermNothingMoves(t *testing.T) {
	c := Config{Problem: "feature-weights", Algorithm: "alternation", Iterations: 60, Records: 6, Certificate: 2}
	_, err := runOn(t, "ref", c, nil, nil, 0)
	require.ErrorContains(t, err, "x would never move")
	c.Set = []string{"still=true"}
	r := run(t, c)
	values := r.Curve.Column("value")
	require.Equal(t, values[0], values[len(values)-1])
	require.InDelta(t, 1, r.Scalars["direction.share"], 1e-9)
	require.Zero(t, r.Scalars["direction.cosine"])
	require.EqualValues(t, 2, r.Counts["direction.certified"])
	c.Algorithm, c.Set = "hoag", []string{"tolerance=1e-8"}
	with := run(t, c)
	require.Less(t, with.Scalars["value"], values[0])
	require.InDelta(t, 1, with.Scalars["direction.cosine"], 1e-6)
}

// Where both objectives have the same part in y the term vanishes at y*, and alternation ends at the minimum of h.
func TestWhereTheTermVanishes(t *testing.T) {
	r := run(t, Config{Problem: "aligned", Algorithm: "alternation", Iterations: 3000, Records: 100, Certificate: 4,
		OuterFactor: 0.25, Set: []string{"schedule=constant"}})
	require.InDelta(t, 0, r.Scalars["gap"], 1e-9)
	y, h := solvertest.NewAligned(3, 4, solvertest.Spectrum(12, 10)).Exact([]float64{1, 2, -1, 0.5})
	require.NotEmpty(t, y)
	direct := solvertest.NewAligned(3, 4, solvertest.Spectrum(12, 10)).Direction([]float64{1, 2, -1, 0.5}, y,
		make([]float64, 12))
	require.InDeltaSlice(t, direct, h, 1e-12)
}

// The points that are certified are spread over the budget, and a run that was stopped has the same ones.
func TestCertifiedPoints(t *testing.T) {
	c := Config{Problem: "quadratic", Algorithm: "soba", Calls: 400, Records: 50, Certificate: 4}
	whole := run(t, c)
	require.Len(t, whole.Curve.Directions(), 4)
	store := func(dir string) *experiments.Store {
		return &experiments.Store{Dir: dir, Resume: true, Every: 1}
	}
	dir := t.TempDir()
	_, err := runOn(t, "ref", c, nil, store(dir), 20)
	require.Error(t, err)
	resumed, err := runOn(t, "ref", c, nil, store(dir), 0)
	require.NoError(t, err)
	require.Equal(t, whole.Curve.Directions(), resumed.Curve.Directions())
	c.Certificate = 51
	require.ErrorContains(t, Experiment{}.Check(c), "certificate is 51: wants a number of points from 0 to the 50")
}
