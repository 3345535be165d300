package hypergrad_test

import (
	"math"
	"slices"
	"testing"

	"bilevel/device/cpudevice"
	"bilevel/device/ref"
	"bilevel/internal/philox"
	"bilevel/solvers/hypergrad"
	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"
	"bilevel/tensor"
	"bilevel/tensor/tensortest"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// The lasso on its support, against the closed form with the support's Hessian, which is itself held against
// differences in package solvertest: by the symmetric system of the support and by the general one, for two steps. The
// condition of the support's Hessian, below 100, amplifies residuals of 1e-13.
func TestProxOnLasso(t *testing.T) {
	for seed := range uint64(2) {
		m := solvertest.NewLasso(seed, 20, 12, 9)
		for _, method := range []hypergrad.Prox{
			{Solver: linear.CG{RTol: 1e-13}}, {Solver: linear.CG{RTol: 1e-13}, Step: 3},
			{Solver: linear.GMRES{RTol: 1e-13}}, {Solver: linear.GMRES{RTol: 1e-13}, Step: 0.01},
		} {
			ex := executor(t)
			e := pointOf(t, ex, load(t, ex, m), method)
			for _, x := range []float64{-2.5, -1.5, -1} {
				y, want := m.Exact([]float64{x})
				require.NotEqual(t, make([]float64, 9), y)
				h := e.at([]float64{x}, y)
				require.Equal(t, linear.Converged, h.Status)
				require.InDelta(t, want[0], h.Gradient[0], 1e-10*(1+math.Abs(want[0])), "seed %d, x = %g, %+v", seed,
					x, method)
				require.Equal(t, hypergrad.MeasureMapping, h.Measure)
				require.Less(t, h.Stationarity, 1e-10)
				require.Less(t, h.Error, 1e-8)
				require.Len(t, h.Notes, 1)
				require.Contains(t, h.Notes[0], "The support has ")
				require.Greater(t, h.Implicit, 1e-6)
			}
		}
	}
}

// rows is a lower level ½|Ay - b - Bx|² with a proximal map, and F = ½|y - t|².
type rows struct {
	a, b   *mat.Dense // [n,q], [n,p]
	shift  []float64
	target []float64
	prox   func(x problem.Vars, z, step *tensor.Node) *tensor.Node
	plain  func(z []float64, step float64) // the same map in plain Go, in place
}

func newRows(seed uint64, n, q, p int) *rows {
	r := philox.New(seed, 0, philox.StreamTest)
	dense := func(rows, columns int) *mat.Dense {
		out := mat.NewDense(rows, columns, nil)
		for i := range rows {
			for j := range columns {
				out.Set(i, j, float64(r.Normal())/math.Sqrt(float64(n)))
			}
		}
		return out
	}
	m := &rows{a: dense(n, q), b: dense(n, p)}
	for range n {
		m.shift = append(m.shift, float64(r.Normal()))
	}
	for range q {
		m.target = append(m.target, float64(r.Normal()))
	}
	return m
}

func (m *rows) problem(t *testing.T, ex *tensor.Executor) *problem.Problem {
	_, q := m.a.Dims()
	_, p := m.b.Dims()
	a, b, shift, target := table(t, ex, m.a), table(t, ex, m.b), vectorNode(t, ex, m.shift), vectorNode(t, ex, m.target)
	times := func(m, z *tensor.Node) *tensor.Node { return m.MatMul(z.Reshape(z.Size(), 1)).Reshape(m.Shape()[0]) }
	return &problem.Problem{
		Name: "rows",
		Lower: problem.Level{Start: problem.Vector(make([]float64, q)...), Prox: m.prox,
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return times(a, y).Sub(shift).Sub(times(b, x)).Square().Sum().Scale(0.5)
			})},
		Upper: problem.Level{Start: problem.Vector(make([]float64, p)...),
			Value: problem.Flat(func(_, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return y.Sub(target).Square().Sum().Scale(0.5)
			})},
	}
}

// threshold is the proximal map of weight |y|₁.
func threshold(weight float64) func(_ problem.Vars, z, step *tensor.Node) *tensor.Node {
	return func(_ problem.Vars, z, step *tensor.Node) *tensor.Node {
		return solvertest.SoftThreshold(z, step.Scale(weight))
	}
}

// solve takes proximal gradient steps until nothing moves.
func (m *rows) solve(x []float64) []float64 {
	n, q := m.a.Dims()
	y := make([]float64, q)
	step := 1 / square(mat.Norm(m.a, 2))
	for range 20000 {
		r := make([]float64, n)
		for i := range r {
			r[i] = floats.Dot(m.a.RawRowView(i), y) - m.shift[i] - floats.Dot(m.b.RawRowView(i), x)
		}
		before := slices.Clone(y)
		for i, v := range r {
			floats.AddScaled(y, -step*v, m.a.RawRowView(i))
		}
		m.plain(y, step)
		if floats.Equal(before, y) {
			break
		}
	}
	return y
}

// Maps other than that of the lasso, against central differences of the lower level solved by proximal gradient steps
// in plain Go: with a square term beside (the map's slope is below 1 on the support), and by groups (the map mixes the
// coordinates of a group, so that conjugate gradients are refused).
func TestProxOfOtherMaps(t *testing.T) {
	const weight, ridge = 0.15, 0.4
	net := newRows(1, 12, 8, 3)
	net.prox = func(_ problem.Vars, z, step *tensor.Node) *tensor.Node {
		return solvertest.SoftThreshold(z, step.Scale(weight)).Div(step.Scale(ridge).AddConst(1))
	}
	net.plain = func(z []float64, step float64) {
		for i, v := range z {
			z[i] = math.Copysign(max(0, math.Abs(v)-weight*step), v) / (1 + ridge*step)
		}
	}
	groups := newRows(2, 12, 9, 3)
	groups.prox = func(_ problem.Vars, z, step *tensor.Node) *tensor.Node {
		g := z.Reshape(3, 3)
		norm := g.Square().SumKeep(1).Sqrt()
		shrink := tensor.Const(1).Sub(step.Scale(0.6).Div(norm.Max(step.Scale(0.6)))) // 0 where the norm is below
		return g.Mul(shrink).Reshape(9)
	}
	groups.plain = func(z []float64, step float64) {
		for k := range 3 {
			g := z[3*k : 3*k+3]
			floats.Scale(1-0.6*step/max(floats.Norm(g, 2), 0.6*step), g)
		}
	}
	x := []float64{0.3, -0.4, 0.5}
	for name, c := range map[string]struct {
		*rows
		methods []hypergrad.Prox
	}{
		"elastic net": {net, []hypergrad.Prox{{Solver: linear.CG{RTol: 1e-13}}, {Solver: linear.GMRES{RTol: 1e-13}}}},
		"groups": {groups, []hypergrad.Prox{{Solver: linear.GMRES{RTol: 1e-13}},
			{Solver: linear.BiCGSTAB{RTol: 1e-12}, Step: 0.2}}},
	} {
		y := c.solve(x)
		require.Contains(t, y, 0.0, "%s: some coordinates are off the support: %v", name, y)
		for _, method := range c.methods {
			ex := executor(t)
			h := pointOf(t, ex, c.problem(t, ex), method).at(x, y)
			require.Equal(t, linear.Converged, h.Status)
			require.Less(t, h.Stationarity, 1e-11)
			for i := range x {
				const step = 1e-5
				at := func(s float64) float64 {
					moved := slices.Clone(x)
					moved[i] += s
					return 0.5 * square(floats.Distance(c.solve(moved), c.target, 2))
				}
				require.InDelta(t, (at(step)-at(-step))/(2*step), h.Gradient[i], 1e-7*(1+h.Norm()), "%s, %+v", name,
					method)
			}
			require.Greater(t, h.Implicit, 0.1)
		}
	}
	ex := executor(t)
	require.ErrorContains(t, prepareError(t, ex, groups.problem(t, ex), hypergrad.Prox{Solver: linear.CG{RTol: 1e-6}}),
		"but the proximal map of rows mixes coordinates")
	none := groups.problem(t, ex)
	none.Lower.Prox = func(problem.Vars, *tensor.Node, *tensor.Node) *tensor.Node { return nil }
	require.ErrorContains(t, prepareError(t, ex, none, hypergrad.Prox{Solver: linear.CG{RTol: 1e-6}}),
		"does not give one Real number for each")
	_, err := hypergrad.Prox{}.Prepare(nil, nil, nil)
	require.ErrorContains(t, err, "hypergrad: prox: there is no problem that is bound to a device")
}

// Off y*, with the right support: everything is linear on it, so that the first order is all of it. With a wrong
// support the answer is that of another problem, and the figure does not know: the support is said, and the
// stationarity.
func TestProxOffTheMinimizer(t *testing.T) {
	m := newRows(3, 12, 8, 2)
	m.prox = threshold(0.3)
	m.plain = func(z []float64, step float64) {
		for i, v := range z {
			z[i] = math.Copysign(max(0, math.Abs(v)-0.3*step), v)
		}
	}
	x := []float64{0.3, -0.4}
	y := m.solve(x)
	ex := executor(t)
	e := pointOf(t, ex, m.problem(t, ex), hypergrad.Prox{Solver: linear.CG{RTol: 1e-12}})
	exact := e.at(x, y)
	off := slices.Clone(y)
	for i := range off {
		off[i] *= 1.02 // keeps the support
	}
	h := e.at(x, off)
	err := floats.Distance(h.Gradient, exact.Gradient, 2)
	checkFigure(t, err, h)
	require.Greater(t, err, 1e-4)

	// Moved off the support alone, by so little that the map sets it to 0: g stays, and the figure says so.
	off = slices.Clone(y)
	for i, v := range y {
		if v == 0 {
			off[i] = 1e-3
		}
	}
	h = e.at(x, off)
	require.InDeltaSlice(t, exact.Gradient, h.Gradient, 1e-10)
	require.Less(t, h.Error, 1e-10)
	require.Greater(t, h.Stationarity, 1e-3)

	for i := range off {
		off[i] = y[i] + 0.5
	}
	h = e.at(x, off)
	require.NotEqual(t, exact.Notes, h.Notes, "another number of coordinates")
	require.Greater(t, floats.Distance(h.Gradient, exact.Gradient, 2), 0.1*exact.Norm())
	require.Greater(t, h.Stationarity, 0.1)

	// A linear objective beside ½|y|²: y* = x, for whatever step the power method finds where H is 0.
	flat := &problem.Problem{
		Name: "flat",
		Lower: problem.Level{Start: problem.Vector(0, 0),
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return tensor.Dot(x, y).Neg()
			}),
			Prox: func(_ problem.Vars, z, step *tensor.Node) *tensor.Node { return z.Div(step.AddConst(1)) }},
		Upper: problem.Level{Start: problem.Vector(0, 0),
			Value: problem.Flat(func(_, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return y.AddConst(-1).Square().Sum().Scale(0.5)
			})},
	}
	h = pointOf(t, ex, flat, hypergrad.Prox{Solver: linear.CG{RTol: 1e-12}}).at([]float64{3, 0.5}, []float64{3, 0.5})
	require.InDeltaSlice(t, []float64{2, -0.5}, h.Gradient, 1e-14)
	require.Less(t, h.Stationarity, 1e-15)

	// At a kink: the map's argument of one coordinate lies where the support changes.
	orthogonal := &rows{a: mat.NewDense(2, 2, []float64{1, 0, 0, 1}), b: mat.NewDense(2, 1, []float64{1, 1}),
		shift: []float64{0, 1}, target: []float64{1, 1}, prox: m.prox}
	h = pointOf(t, ex, orthogonal.problem(t, ex), hypergrad.Prox{Solver: linear.CG{RTol: 1e-12}, Step: 1}).at(
		[]float64{0.3}, []float64{0, 1})
	require.Len(t, h.Notes, 2)
	require.Contains(t, h.Notes[1], "1 coordinates are so near to a kink")
}

// In float32, at y* rounded to float32: sums of 20 terms, amplified by the condition of the support.
func TestProxNarrow(t *testing.T) {
	const u = 0x1p-24
	m := solvertest.NewLasso(1, 20, 12, 9)
	y, want := m.Exact([]float64{-1.5})
	ex := tensortest.Executor(t, cpudevice.New(1))
	h := pointOf(t, ex, load(t, ex, m), hypergrad.Prox{Solver: linear.CG{RTol: 1e-6}}).at([]float64{-1.5}, y)
	condition := square(mat.Norm(m.Train, 2)) / h.SmallestEigenvalue
	require.InDelta(t, want[0], h.Gradient[0], condition*(1e-6+20*u)*(1+math.Abs(want[0])))
	require.Less(t, condition, 100.0)
	require.LessOrEqual(t, math.Abs(want[0]-h.Gradient[0]), 10*h.Error)
}

func TestProxRefuses(t *testing.T) {
	ex := executor(t)
	p := load(t, ex, solvertest.NewLasso(1, 8, 5, 4))
	require.ErrorContains(t, prepareError(t, ex, p, hypergrad.Prox{}), "set the field Solver")
	require.ErrorContains(t, prepareError(t, ex, p, hypergrad.Prox{Solver: linear.CG{RTol: 1e-6}, Step: -1}),
		"Step is -1")
	require.ErrorContains(t, prepareError(t, ex, p, hypergrad.Implicit{Solver: linear.CG{RTol: 1e-6}}),
		"(Prox is meant for proximal maps)")
	p.Lower.Set = problem.Box{Lo: -9, Hi: 9}
	err := prepareError(t, ex, p, hypergrad.Prox{Solver: linear.CG{RTol: 1e-6}})
	require.ErrorContains(t, err, "keeps y in a set")
	require.NotContains(t, err.Error(), "KKT", "which cannot use the proximal map")
	p.Lower.Set, p.Lower.Prox = nil, nil
	require.ErrorContains(t, prepareError(t, ex, p, hypergrad.Prox{Solver: linear.CG{RTol: 1e-6}}),
		"has no proximal map: use Implicit")
}

func TestProxStops(t *testing.T) {
	for _, s := range []linear.Solver{linear.CG{RTol: 1e-8}, linear.GMRES{RTol: 1e-8}} {
		ex := tensor.NewExecutor(ref.New())
		p, err := solvertest.Load(ex, solvertest.NewLasso(1, 8, 5, 4))
		require.NoError(t, err)
		checkLifetime(t, ex, p.Problem, hypergrad.Prox{Solver: s})
		require.NoError(t, ex.Close())
	}
}
