package hypergrad_test

import (
	"math"
	"slices"
	"testing"

	"bilevel/internal/philox"
	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// curved is a lower level G = ½|y - Bx|² + ¼Σ y_i⁴ with constraint functions that all hold y, in plain Go and as nodes.
// The upper objective is ½|y - t|² + ⅛|x|².
type curved struct {
	name         string
	q            int
	b            *mat.Dense
	target       []float64
	inequalities int

	nodes func(x, y []*tensor.Node) []*tensor.Node // of all functions, inequalities first
	// value, slope [q] and curvature [q,q] in y of the i-th function.
	value     func(x, y []float64, i int) float64
	slope     func(x, y []float64, i int) []float64
	curvature func(x, y []float64, i int) []float64
	functions int
}

func curvedProblems() []*curved {
	b := mat.NewDense(3, 2, []float64{1.5, -0.4, 0.8, 1.1, -0.7, 0.9})
	target := []float64{1, -0.5, 0.3}
	return []*curved{
		{ // |y|² + x₁y₁ <= 1
			name: "sphere that moves", q: 3, b: b, target: target, inequalities: 1, functions: 1,
			nodes: func(x, y []*tensor.Node) []*tensor.Node {
				sum := x[0].Mul(y[0]).AddConst(-1)
				for _, c := range y {
					sum = sum.Add(c.Square())
				}
				return []*tensor.Node{sum}
			},
			value: func(x, y []float64, _ int) float64 { return floats.Dot(y, y) + x[0]*y[0] - 1 },
			slope: func(x, y []float64, _ int) []float64 { return []float64{2*y[0] + x[0], 2 * y[1], 2 * y[2]} },
			curvature: func(_, _ []float64, _ int) []float64 {
				return []float64{2, 0, 0, 0, 2, 0, 0, 0, 2}
			},
		},
		{ // exp(x₁)y₁ + y₂² <= 0.3 and y₃ = x₂y₁ + sin(x₁)
			name: "coupled", q: 3, b: b, target: target, inequalities: 1, functions: 2,
			nodes: func(x, y []*tensor.Node) []*tensor.Node {
				return []*tensor.Node{x[0].Exp().Mul(y[0]).Add(y[1].Square()).AddConst(-0.3),
					y[2].Sub(x[1].Mul(y[0])).Sub(x[0].Sin())}
			},
			value: func(x, y []float64, i int) float64 {
				return []float64{math.Exp(x[0])*y[0] + y[1]*y[1] - 0.3, y[2] - x[1]*y[0] - math.Sin(x[0])}[i]
			},
			slope: func(x, y []float64, i int) []float64 {
				return [][]float64{{math.Exp(x[0]), 2 * y[1], 0}, {-x[1], 0, 1}}[i]
			},
			curvature: func(_, _ []float64, i int) []float64 {
				return [][]float64{{0, 0, 0, 0, 2, 0, 0, 0, 0}, make([]float64, 9)}[i]
			},
		},
	}
}

// solve is y*(x) with its multipliers by Newton's method on the optimality conditions.
func (c *curved) solve(t *testing.T, x []float64) (y, lambda []float64) {
	q, m := c.q, c.functions
	y, lambda = []float64{0.4, 0.5, 0.3}, make([]float64, m)
	for range 200 {
		kkt, r := mat.NewDense(q+m, q+m, nil), mat.NewVecDense(q+m, nil)
		for i := range q {
			away := y[i] - floats.Dot(c.b.RawRowView(i), x)
			r.SetVec(i, away+y[i]*y[i]*y[i])
			kkt.Set(i, i, 1+3*y[i]*y[i])
		}
		for k := range m {
			s, h := c.slope(x, y, k), c.curvature(x, y, k)
			r.SetVec(q+k, c.value(x, y, k))
			for i := range q {
				r.SetVec(i, r.AtVec(i)+lambda[k]*s[i])
				kkt.Set(i, q+k, s[i])
				kkt.Set(q+k, i, s[i])
				for j := range q {
					kkt.Set(i, j, kkt.At(i, j)+lambda[k]*h[i*q+j])
				}
			}
		}
		if mat.Norm(r, 2) < 1e-14 {
			break
		}
		var step mat.VecDense
		require.NoError(t, step.SolveVec(kkt, r))
		length := min(1, 0.5/mat.Norm(&step, 2)) // short steps far away, whole ones near
		floats.AddScaled(y, -length, step.RawVector().Data[:q])
		floats.AddScaled(lambda, -length, step.RawVector().Data[q:])
	}
	for k := range m {
		require.InDelta(t, 0, c.value(x, y, k), 1e-12)
		if k < c.inequalities {
			require.Greater(t, lambda[k], 0.05, "the inequality holds y")
		}
	}
	return y, lambda
}

func (c *curved) upper(x, y []float64) float64 {
	return 0.5*square(floats.Distance(y, c.target, 2)) + 0.125*floats.Dot(x, x)
}

func (c *curved) problem(t *testing.T, ex *tensor.Executor) *problem.Problem {
	b, target := table(t, ex, c.b), vectorNode(t, ex, c.target)
	split := func(v *tensor.Node) (out []*tensor.Node) {
		for i := range v.Size() {
			out = append(out, v.Slice(0, i, i+1))
		}
		return out
	}
	part := func(from, to int) problem.Function {
		if from == to {
			return nil
		}
		return problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
			return tensor.Concat(0, c.nodes(split(x), split(y))[from:to]...)
		})
	}
	return &problem.Problem{
		Name: c.name,
		Lower: problem.Level{Start: problem.Vector(make([]float64, c.q)...),
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				away := y.Sub(b.MatMul(x.Reshape(2, 1)).Reshape(c.q))
				return away.Square().Sum().Scale(0.5).Add(y.Square().Square().Sum().Scale(0.25))
			}),
			Inequality: part(0, c.inequalities), Equality: part(c.inequalities, c.functions)},
		Upper: problem.Level{Start: problem.Vector(1, 0.6),
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return y.Sub(target).Square().Sum().Scale(0.5).Add(x.Square().Sum().Scale(0.125))
			})},
	}
}

// Constraints that are not linear and see x, against central differences with the lower level solved to 1e-12 at each
// point by a solver that shares no code. The differences are off by about 1e-10 times third derivatives.
func TestKKTWithFunctions(t *testing.T) {
	for _, c := range curvedProblems() {
		ex := executor(t)
		e := pointOf(t, ex, c.problem(t, ex), exactCG)
		x := []float64{1, 0.6}
		y, _ := c.solve(t, x)
		h := e.at(x, y)
		require.Equal(t, linear.Converged, h.Status, c.name)
		require.Empty(t, h.Notes)
		require.Less(t, h.Stationarity, 1e-12)
		require.Less(t, h.Error, 1e-11)
		for i := range x {
			const step = 6e-6
			at := func(s float64) float64 {
				moved := slices.Clone(x)
				moved[i] += s
				y, _ := c.solve(t, moved)
				return c.upper(moved, y)
			}
			require.InDelta(t, (at(step)-at(-step))/(2*step), h.Gradient[i], 1e-8, "%s, x_%d", c.name, i)
		}
		require.Greater(t, h.Implicit, 0.1)

		// Near y* the figure is of the size of the error.
		for _, size := range []float64{1e-3, 1e-4, 1e-5} {
			off := slices.Clone(y)
			floats.AddScaled(off, size, []float64{0.3, -0.5, 0.8})
			near := e.at(x, off)
			err := floats.Distance(near.Gradient, h.Gradient, 2)
			require.Less(t, err, 3*near.Error, "%s at %g", c.name, size)
			require.Less(t, near.Error, 3*err, "%s at %g", c.name, size)
			require.Greater(t, near.Stationarity, size/10)
		}
	}
}

// randomQP is min ½yᵀHy - yᵀBx over lo <= y <= hi and E y <= c + D x.
type randomQP struct {
	h, b, e, d *mat.Dense
	c, target  []float64
	lo, hi     float64
}

func newRandomQP(seed uint64, p, q, m int) *randomQP {
	r := philox.New(seed, 0, philox.StreamTest)
	dense := func(rows, columns int) *mat.Dense {
		out := mat.NewDense(rows, columns, nil)
		for i := range rows {
			for j := range columns {
				out.Set(i, j, float64(r.Normal()))
			}
		}
		return out
	}
	a := dense(q, q)
	h := mat.NewDense(q, q, nil)
	h.Mul(a, a.T())
	for i := range q {
		h.Set(i, i, 0.5+h.At(i, i))
	}
	n := &randomQP{h: h, b: dense(q, p), e: dense(m, q), d: dense(m, p), lo: -0.3, hi: 0.4}
	n.b.Scale(2, n.b)
	n.d.Scale(0.2, n.d)
	for range m {
		n.c = append(n.c, 0.2+0.2*math.Abs(float64(r.Normal())))
	}
	for range q {
		n.target = append(n.target, float64(r.Normal()))
	}
	return n
}

// choice is one active set: -1, 0 or 1 for each coordinate (at lo, free, at hi) and a bit for each row.
type choice struct {
	side []int
	rows []int
}

// attempt solves the optimality conditions of a choice, and tells whether all signs are right.
func (n *randomQP) attempt(x []float64, c choice) (y []float64, free []int, ok bool) {
	q, p := n.b.Dims()
	y = make([]float64, q)
	for i, s := range c.side {
		switch s {
		case 0:
			free = append(free, i)
		case -1:
			y[i] = n.lo
		default:
			y[i] = n.hi
		}
	}
	f, m := len(free), len(c.rows)
	slope := make([]float64, q) // Hy - Bx with y at its bounds
	at := func() {
		for i := range q {
			slope[i] = floats.Dot(n.h.RawRowView(i), y) - floats.Dot(n.b.RawRowView(i), x)
		}
	}
	limit := func(k int) float64 {
		return n.c[k] + floats.Dot(n.d.RawRowView(k), x[:p])
	}
	at()
	lambda := make([]float64, m)
	if f+m > 0 {
		if m > f {
			return nil, nil, false
		}
		kkt, r := mat.NewDense(f+m, f+m, nil), mat.NewVecDense(f+m, nil)
		for a, i := range free {
			r.SetVec(a, -slope[i])
			for b, j := range free {
				kkt.Set(a, b, n.h.At(i, j))
			}
			for b, k := range c.rows {
				kkt.Set(a, f+b, n.e.At(k, i))
				kkt.Set(f+b, a, n.e.At(k, i))
			}
		}
		for b, k := range c.rows {
			r.SetVec(f+b, limit(k)-floats.Dot(n.e.RawRowView(k), y))
		}
		var z mat.VecDense
		if err := z.SolveVec(kkt, r); err != nil {
			return nil, nil, false
		}
		for a, i := range free {
			y[i] = z.AtVec(a)
		}
		for b := range c.rows {
			lambda[b] = z.AtVec(f + b)
		}
	}
	at()
	const room = 1e-12
	for b, k := range c.rows {
		if lambda[b] < -room {
			return nil, nil, false
		}
		floats.AddScaled(slope, lambda[b], n.e.RawRowView(k))
	}
	for i, s := range c.side {
		if y[i] < n.lo-room || y[i] > n.hi+room || s == -1 && slope[i] < -room || s == 1 && slope[i] > room {
			return nil, nil, false
		}
	}
	for k := range n.c {
		if floats.Dot(n.e.RawRowView(k), y) > limit(k)+room {
			return nil, nil, false
		}
	}
	return y, free, true
}

// solve tries every active set.
func (n *randomQP) solve(t *testing.T, x []float64) (y []float64, active choice) {
	q, _ := n.b.Dims()
	m := len(n.c)
	for code := range int(math.Pow(3, float64(q))) {
		c := choice{side: make([]int, q)}
		for i, rest := 0, code; i < q; i, rest = i+1, rest/3 {
			c.side[i] = rest%3 - 1
		}
		for rows := range 1 << m {
			c.rows = nil
			for k := range m {
				if rows>>k&1 == 1 {
					c.rows = append(c.rows, k)
				}
			}
			if y, _, ok := n.attempt(x, c); ok {
				return y, c
			}
		}
	}
	require.Fail(t, "no active set satisfies the optimality conditions")
	return nil, choice{}
}

func (n *randomQP) problem(t *testing.T, ex *tensor.Executor) *problem.Problem {
	q, p := n.b.Dims()
	h, b, e, d := table(t, ex, n.h), table(t, ex, n.b), table(t, ex, n.e), table(t, ex, n.d)
	c, target := vectorNode(t, ex, n.c), vectorNode(t, ex, n.target)
	times := func(m, z *tensor.Node) *tensor.Node { return m.MatMul(z.Reshape(z.Size(), 1)).Reshape(m.Shape()[0]) }
	return &problem.Problem{
		Name: "random QP",
		Lower: problem.Level{Start: problem.Vector(make([]float64, q)...), Set: problem.Box{Lo: n.lo, Hi: n.hi},
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return tensor.Dot(y, times(h, y)).Scale(0.5).Sub(tensor.Dot(y, times(b, x)))
			}),
			Inequality: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return times(e, y).Sub(c).Sub(times(d, x))
			})},
		Upper: problem.Level{Start: problem.Vector(make([]float64, p)...),
			Value: problem.Flat(func(_, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return y.Sub(target).Square().Sum().Scale(0.5)
			})},
	}
}

// Twenty random quadratic programs with bounds and rows that move with x. The truth tries all 3^4·2^3 active sets; h is
// quadratic while the active set stays, so that central differences are exact but for rounding: 1e-10 with this step.
func TestKKTOnRandomPrograms(t *testing.T) {
	const p, q, m = 2, 4, 3
	rows, bounds, sure := 0, 0, 0
	for seed := range uint64(20) {
		n := newRandomQP(seed, p, q, m)
		ex := executor(t)
		r := philox.New(seed, 1, philox.StreamTest)
		x := []float64{float64(r.Normal()), float64(r.Normal())}
		y, active := n.solve(t, x)
		rows += len(active.rows)
		for _, s := range active.side {
			bounds += s * s
		}
		e := pointOf(t, ex, n.problem(t, ex), exactCG)
		h := e.at(x, y)
		require.Equal(t, linear.Converged, h.Status, "seed %d", seed)
		require.Empty(t, h.Notes, "seed %d", seed)
		require.Less(t, h.Stationarity, 1e-12)
		require.Less(t, h.Residual, 1e-11)
		for i := range x {
			const step = 1e-6
			at := func(s float64) float64 {
				moved := slices.Clone(x)
				moved[i] += s
				y, now := n.solve(t, moved)
				require.Equal(t, active, now, "seed %d: the active set must not change within the differences", seed)
				return 0.5 * square(floats.Distance(y, n.target, 2))
			}
			require.InDelta(t, (at(step)-at(-step))/(2*step), h.Gradient[i], 1e-8, "seed %d, x_%d", seed, i)
		}

		// A little off y*, no constraint holds y to rounding, but multipliers tell which ones do: all is linear on that
		// face.
		off := slices.Clone(y)
		for i := range off {
			off[i] += 1e-4 * float64(r.Normal())
		}
		near := e.at(x, off)
		if len(near.Notes) == 0 {
			sure++
			checkFigure(t, floats.Distance(near.Gradient, h.Gradient, 2), near)
		}
	}
	require.GreaterOrEqual(t, sure, 18, "and a constraint that is about to change is rare")
	require.Greater(t, rows, 5, "rows hold y often enough")
	require.Greater(t, bounds, 10)
	require.Less(t, rows+bounds, 20*q, "and y is free often enough")
}

// squares is a small problem G = ½ Σ w_i (y_i - x_i)², F = ½|y|² with constraints of the caller's.
func squares(w []float64, set problem.Set, inequality, equality problem.Function) *problem.Problem {
	return &problem.Problem{
		Name: "squares",
		Lower: problem.Level{Start: problem.Vector(make([]float64, len(w))...), Set: set, Inequality: inequality,
			Equality: equality,
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				sum := tensor.Const(0)
				for i, c := range w {
					sum = sum.Add(y.Sub(x).Slice(0, i, i+1).Square().Sum().Scale(c / 2))
				}
				return sum
			})},
		Upper: problem.Level{Start: problem.Vector(make([]float64, len(w))...),
			Value: problem.Flat(func(_, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return y.Square().Sum().Scale(0.5)
			})},
	}
}

// What makes the derivative doubtful is told: functions that touch y without a multiplier, rows that depend on each
// other, curvature that is not positive on the null space, a point that is no minimizer.
func TestKKTDegenerate(t *testing.T) {
	sum := func(limit float64) problem.Function {
		return problem.Flat(func(_, y *tensor.Node, _ problem.Batch) *tensor.Node {
			return y.Sum().AddConst(-limit).Reshape(1)
		})
	}
	ex := executor(t)

	// y* = x touches Σ y <= 1 without being held: the answer is that without the constraint, y.
	h := pointOf(t, ex, squares([]float64{1, 2}, nil, sum(1), nil), exactCG).at([]float64{0.75, 0.25},
		[]float64{0.75, 0.25})
	require.InDeltaSlice(t, []float64{0.75, 0.25}, h.Gradient, 1e-14)
	require.Len(t, h.Notes, 1)
	require.Contains(t, h.Notes[0], "Weakly active: inequality 0.")

	// Twice the same equation: Σ y = 1 holds y* = x + (1 - Σx)/2, the derivative is the projection on its null space.
	twice := problem.Flat(func(_, y *tensor.Node, _ problem.Batch) *tensor.Node {
		s := y.Sum().AddConst(-1).Reshape(1)
		return tensor.Concat(0, s, s.Scale(3))
	})
	h = pointOf(t, ex, squares([]float64{1, 1}, nil, nil, twice), exactCG).at([]float64{1, 0.5}, []float64{0.75, 0.25})
	require.InDeltaSlice(t, []float64{0.25, -0.25}, h.Gradient, 1e-14)
	require.Len(t, h.Notes, 1)
	require.Contains(t, h.Notes[0], "The gradients of the 2 active constraint functions have rank 1")
	require.Less(t, h.Stationarity, 1e-14)

	// (Σ y - 1)² = 0 has the gradient 0 where it holds.
	flat := problem.Flat(func(_, y *tensor.Node, _ problem.Batch) *tensor.Node {
		return y.Sum().AddConst(-1).Square().Reshape(1)
	})
	h = pointOf(t, ex, squares([]float64{1, 1}, nil, nil, flat), exactCG).at([]float64{0.75, 0.25},
		[]float64{0.75, 0.25})
	require.Len(t, h.Notes, 1)
	require.Contains(t, h.Notes[0], "The gradients of the 1 active constraint functions have rank 0")

	// H = diag(1, -1): negative curvature in the second coordinate, unless a bound holds it.
	box := problem.Box{Lo: -1, Hi: 1}
	e := pointOf(t, ex, squares([]float64{1, -1}, box, nil, nil), exactCG)
	h = e.at([]float64{0.25, 0.5}, []float64{0.25, 0.5})
	require.Equal(t, linear.NegativeCurvature, h.Status)
	require.Contains(t, h.Notes[len(h.Notes)-1], "second-order condition fails")
	h = e.at([]float64{0.25, 0.5}, []float64{0.25, 1})
	require.Equal(t, linear.Converged, h.Status)
	require.Empty(t, h.Notes)
	require.InDeltaSlice(t, []float64{0.25, 0}, h.Gradient, 1e-14)

	// With Σ y = 1.5 the curvature along (1, -1) decides: diag(1, -½) is positive there.
	e = pointOf(t, ex, squares([]float64{1, -0.5}, nil, nil, sum(1.5)), exactCG)
	h = e.at([]float64{0, 0}, []float64{-1.5, 3}) // -1.5 + λ = 0, -1.5 + λ = 0
	require.Equal(t, linear.Converged, h.Status)
	require.InDelta(t, 0.25, h.SmallestEigenvalue, 1e-12)
	require.Less(t, h.Stationarity, 1e-14)

	// A point that the bound pushes away from the minimizer.
	h = pointOf(t, ex, squares([]float64{1, 1}, box, nil, nil), exactCG).at([]float64{0.5, 0}, []float64{1, 0})
	require.Len(t, h.Notes, 1)
	require.Contains(t, h.Notes[0], "The multiplier of the upper bound of y[0] has the wrong sign")
	require.InDelta(t, 0.5, h.Stationarity, 1e-15)

	// A vertex leaves nothing to solve.
	vertex := squares([]float64{1, 1}, problem.Simplex{Total: 1}, nil, nil)
	vertex.Lower.Start = problem.Vector(1, 0)
	h = pointOf(t, ex, vertex, exactCG).at([]float64{3, 0}, []float64{1, 0})
	require.Equal(t, linear.Converged, h.Status)
	require.Equal(t, []float64{0, 0}, h.Gradient)
	require.Zero(t, h.Implicit)
	require.EqualValues(t, 5, h.Counts.HVP-h.ForError.HVP, "no product of a solver")

	// Three constraints meet at (1, 1), and the gradient (-1, -3) has many multipliers: (1 - s, 3 + s, s).
	three := problem.Flat(func(_, y *tensor.Node, _ problem.Batch) *tensor.Node {
		first, second := y.Slice(0, 0, 1), y.Slice(0, 1, 2)
		return tensor.Concat(0, first.AddConst(-1), second.AddConst(-1), first.Sub(second))
	})
	h = pointOf(t, ex, squares([]float64{1, 1}, nil, three, nil), exactCG).at([]float64{2, 4}, []float64{1, 1})
	require.Len(t, h.Notes, 1)
	require.Contains(t, h.Notes[0], "The gradients of the 3 active constraint functions have rank 2")
	require.InDeltaSlice(t, []float64{0, 0}, h.Gradient, 1e-15)

	// A lower level that is not finite is told even where the upper one does not see y.
	broken := squares([]float64{1, 1}, box, nil, nil)
	broken.Lower.Value = problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
		return tensor.Dot(x.Log(), y)
	})
	broken.Upper.Value = problem.Flat(func(x, _ *tensor.Node, _ problem.Batch) *tensor.Node { return x.Sum() })
	h = pointOf(t, ex, broken, exactCG).at([]float64{-1, 1}, []float64{-0.5, -0.5})
	require.Equal(t, linear.NotFinite, h.Status)
	require.True(t, math.IsInf(h.Error, 1))
}
