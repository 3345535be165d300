package solvers_test

import (
	"context"
	"math/rand/v2"
	"testing"

	"bilevel/solvers"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// held is Q7, the quadratic problem with equations E y = c + D x, in plain loops.
type held struct {
	plain
	*solvertest.Equality
}

func newHeld(seed uint64, q int) held {
	m := solvertest.NewEquality(seed, 3, 2, solvertest.Spectrum(q, 5))
	return held{plain{m.Free}, m}
}

// onto is the nearest point to u with E y = c + D x, by the optimality conditions [I Eᵀ; E 0][y; λ] = [u; c + D x].
func (h held) onto(x, u []float64) []float64 {
	m, q := h.Rows.Dims()
	system := mat.NewDense(q+m, q+m, nil)
	for i := range q {
		system.Set(i, i, 1)
		for j := range m {
			system.Set(q+j, i, h.Rows.At(j, i))
			system.Set(i, q+j, h.Rows.At(j, i))
		}
	}
	right := append(append([]float64{}, u...), sum(h.Target, times(h.Moves, x))...)
	return solved(system, right)[:q]
}

// basis is Z [q, q-m], an orthonormal basis of the null space of E.
func (h held) basis() mat.Matrix {
	m, q := h.Rows.Dims()
	var svd mat.SVD
	svd.Factorize(h.Rows, mat.SVDFull)
	var v mat.Dense
	svd.VTo(&v)
	return v.Slice(0, q, m, q)
}

// reduced is Qη Z (I - ηZᵀAZ)ⁿ Zᵀb.
func (h held) reduced(b []float64, eta float64, terms, n int) []float64 {
	z := h.basis()
	var half, small mat.Dense
	half.Mul(h.A, z)
	small.Mul(z.T(), &half)
	u := times(z.T(), b)
	for range n {
		u = move(u, eta, times(&small, u))
	}
	return scaled(float64(terms)*eta, times(z, u))
}

// held is the direction ∇xF - C v + Dᵀω, with the multipliers ω of E that fit b - A v best.
func (h held) held(x, y, v []float64) []float64 {
	var omega mat.VecDense
	rest := less(h.upperY(x, y), times(h.A, v))
	if err := omega.SolveVec(h.Rows.T(), mat.NewVecDense(len(rest), rest)); err != nil {
		panic(err)
	}
	return sum(h.slope(x, y, v), times(h.Moves.T(), omega.RawVector().Data))
}

// Three iterates of AiPOD and twelve of E-AiPOD on Q7 against dense loops with a basis of the null space, on one
// problem that is always the same and on one that this run of the test draws.
func TestAiPODOfDenseLoops(t *testing.T) {
	drawn := rand.Uint64() >> 1
	for _, seed := range []uint64{7, drawn} {
		h := newHeld(seed, 5)
		for _, c := range []struct {
			a         solvers.Algorithm
			n         int
			iteration func(k int, s map[string][]float64) map[string][]float64
		}{
			{solvers.AiPOD{Step: 0.3, OuterStep: 0.05, NeumannStep: 0.4, Terms: 4, InnerSteps: 2}, 3,
				func(k int, s map[string][]float64) map[string][]float64 {
					x, y := s["x"], s["y"]
					for range 2 {
						y = h.onto(x, move(y, 0.3, h.lowerY(x, y)))
					}
					v := h.reduced(h.upperY(x, y), 0.4, 4, lengths[k])
					return map[string][]float64{"x": move(x, 0.05, h.held(x, y, v)), "y": y, "v": v}
				}},
			{solvers.EAiPOD{Step: 0.3, OuterStep: 0.05, NeumannStep: 0.4, Terms: 4, InnerSteps: 1, UpperSteps: 2,
				Probability: 0.6}, 12,
				func(k int, s map[string][]float64) map[string][]float64 {
					x, r := s["x"], s["r"]
					y := move(s["y"], 0.3, less(h.lowerY(x, s["y"]), r))
					if s["projected"][0] == 1 {
						there := h.onto(x, move(y, 0.3/0.6, r))
						y, r = there, sum(r, scaled(0.6/0.3, less(there, y)))
					}
					v := h.reduced(h.upperY(x, y), 0.4, 4, lengths[k%3])
					for range 2 {
						x = move(x, 0.05, h.held(x, y, v))
					}
					return map[string][]float64{"x": x, "y": y, "v": v, "r": r}
				}},
		} {
			ex := executor(t)
			p := load(t, ex, h.Equality)
			p.Upper.Start = problem.Vector(0.4, -1, 0.7)
			b, err := p.Bind(ex)
			require.NoError(t, err)
			e, _, err := solvers.InitDrawing(context.Background(), b, c.a, c.n,
				func(k, _ int) int { return lengths[k%3] })
			require.NoError(t, err)
			projected := 0
			for k := range c.n {
				before := states(t, e)
				step(t, e, k, 1)
				got := states(t, e)
				if theta := got["projected"]; theta != nil { // what was drawn is read, not drawn again
					before["projected"] = theta
					projected += int(theta[0])
				}
				for name, want := range c.iteration(k, before) {
					require.InDeltaSlice(t, want, got[name], 1e-12*(1+floats.Norm(want, 2)), "%s: %s, k = %d, seed %d",
						c.a.Name(), name, k, seed)
				}
			}
			if c.n == 12 && seed == 7 {
				require.True(t, 0 < projected && projected < 12, "steps with and without a projection: %d", projected)
			}
			require.NoError(t, e.Close())
		}
	}
}

// Both come to the minimum of Q7 over x with B x = e, which the KKT conditions give, with y at the constrained
// minimizer.
func TestAiPODComesToTheMinimum(t *testing.T) {
	h := newHeld(7, 8)
	rows, target := mat.NewDense(1, 3, []float64{1, 2, -1}), []float64{0.3}
	// ∇h is affine: its matrix and its constant from differences of the exact gradient.
	_, g0 := h.Exact(make([]float64, 3))
	kkt := mat.NewDense(4, 4, nil)
	for j := range 3 {
		unit := make([]float64, 3)
		unit[j] = 1
		_, g := h.Exact(unit)
		for i := range 3 {
			kkt.Set(i, j, g[i]-g0[i])
		}
		kkt.Set(3, j, rows.At(0, j))
		kkt.Set(j, 3, rows.At(0, j))
	}
	want := solved(kkt, append(scaled(-1, g0), target...))[:3]
	y, _ := h.Exact(want)
	for _, a := range []solvers.Algorithm{
		solvers.AiPOD{Step: 0.3, OuterStep: 0.03, NeumannStep: 0.5, Terms: 40, Schedule: "linear"},
		solvers.EAiPOD{Step: 0.3, OuterStep: 0.02, NeumannStep: 0.5, Terms: 40, Schedule: "linear"},
	} {
		ex := executor(t)
		p := load(t, ex, h.Equality)
		set, err := problem.NewAffine(rows, target)
		require.NoError(t, err)
		p.Upper.Set, p.Upper.Start = set, problem.Vector(0.3, 0, 0)
		res := solve(t, ex, p, a, solvers.Options{Iterations: 4000, Seed: 3})
		t.Logf("%s ends at the distances %.2g of x and %.2g of y", a.Name(), floats.Distance(want, res.X.Flat, 2),
			floats.Distance(y, res.Y.Flat, 2))
		// The noise of a series of random length falls with the steps.
		require.Less(t, floats.Distance(want, res.X.Flat, 2), 0.1*floats.Distance(want, p.Upper.Start.Flat, 2))
		require.Less(t, floats.Distance(y, res.Y.Flat, 2), 0.1*floats.Norm(y, 2))
		require.InDelta(t, target[0], floats.Dot(rows.RawRowView(0), res.X.Flat), 1e-12)
	}
}

// What these algorithms cannot keep is refused before anything runs, with the field and a way out.
func TestAiPODRefuses(t *testing.T) {
	flat := func(f func(x, y *tensor.Node) *tensor.Node) problem.Function {
		return problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node { return f(x, y) })
	}
	h := newHeld(1, 5)
	for want, change := range map[string]func(l *problem.Level){
		"has Lower.Inequality, and its projections are for equations: take sigd": func(l *problem.Level) {
			l.Inequality = flat(func(_, y *tensor.Node) *tensor.Node { return y })
		},
		"is not linear in y with a matrix that is the same everywhere": func(l *problem.Level) {
			l.Equality = flat(func(_, y *tensor.Node) *tensor.Node { return y.Slice(0, 0, 2).Square() })
		},
		"matrix that is the same everywhere: write its equations as": func(l *problem.Level) {
			l.Equality = flat(func(x, y *tensor.Node) *tensor.Node { return x.Slice(0, 0, 2).Mul(y.Slice(0, 0, 2)) })
		},
		"the 2 equations of Lower.Equality depend on each other: leave out": func(l *problem.Level) {
			l.Equality = flat(func(_, y *tensor.Node) *tensor.Node {
				return tensor.Concat(0, y.Slice(0, 0, 1), y.Slice(0, 0, 1).Scale(2))
			})
		},
		"Lower.Equality gives 6 equations for 5 lower variables: wants at most as many": func(l *problem.Level) {
			l.Equality = flat(func(_, y *tensor.Node) *tensor.Node { return tensor.Concat(0, y, y.Slice(0, 0, 1)) })
		},
	} {
		for _, a := range []solvers.Algorithm{solvers.AiPOD{}, solvers.EAiPOD{}} {
			ex := executor(t)
			p := load(t, ex, h.Equality)
			change(&p.Lower)
			before := ex.Info().Free
			_, err := solvers.Solve(context.Background(), p, a, solvers.Options{Executor: ex, Iterations: 1})
			require.ErrorContains(t, err, a.Name()+": ")
			require.ErrorContains(t, err, want)
			require.Equal(t, before, ex.Info().Free)
		}
	}
}
