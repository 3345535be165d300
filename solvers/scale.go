package solvers

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"bilevel/internal/philox"
	"bilevel/models/params"
	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/tensor"

	"gonum.org/v1/gonum/floats"
)

// Scale is step sizes that suit a problem, measured at its start values.
type Scale struct {
	Inner float64 // of the lower variable
	Outer float64 // of the upper variable
	Gap   float64 // of the upper variable on the gap G(x,y) - min over z of G(x,z) with y held constant
}

// Step sizes where none are given. They are a rule of thumb, made to end well rather than fast; whoever tunes them on
// validation data will find better ones.
//
//	Inner = 1/(2L),  L the largest eigenvalue of H on a minibatch (the largest of three)
//	Outer = the smallest of  1/(2 L_h),  2 Inner/m  and  r/|g|
//	Gap   = 1/(2 L_q),  L_q the largest eigenvalue of C H⁻¹ Cᵀ, the Hessian in x of the gap at its minimizer
//
// g is the hypergradient after some steps of gradient descent on the lower level. L_h is how much it changes along
// itself, measured between x and the point at the distance r = (|x| + √n)/10 from it, a tenth of the size of the n
// elements of x. Nothing is known about L_h farther away, so no step may be longer than r.
//
// m says how far y and v stay behind a moving x. If x moves by w in each iteration, then y and v, which take steps of
// length Inner, follow at the distances (to first order in w)
//
//	y*(x) - y = s/Inner,  H s = ẏ*;   v*(x) - v = t/Inner,  H t = v̇* + ∂y(∇yF - H v) s
//
// with the derivatives ẏ* and v̇* along w, and the direction ∇xF - C v is wrong by M w/Inner, where M maps w to
// C t - ∂y(∇xF - C v) s. m is the largest absolute eigenvalue of M, by powers of M from g. For one lower and one upper
// variable SOBA is unstable from Outer = 4 Inner/m on (the criterion of Routh and Hurwitz for small steps); half of
// that is taken. 1/(100 Inner) is added to the diagonal of H in these systems: what is slower does not follow within
// the steps that are looked at, and H need not be positive definite at the start values.
//
// The step sizes do not depend on the number of iterations, so that a run with more of them, or one that ends by
// another limit, goes as far as it can. A run with these steps that diverges is begun again with a quarter of them
// (Solve).
const (
	probeRows  = 4096 // at most so many rows are looked at
	powerSteps = 20
	descents   = 100 // steps of gradient descent before g
	reach      = 0.1 // r in units of x's own size
	lagSteps   = 3   // powers of M
)

// Measure finds step sizes. They depend on the problem, the sizes of its minibatches and the seed alone, not on the
// algorithm.
func Measure(ctx context.Context, b *problem.Bound, seed uint64) (s Scale, err error) {
	m := &probe{ctx: ctx, b: b, scope: b.Executor.Scope(), seed: seed}
	defer func() { err = errors.Join(err, m.scope.Close()) }()
	largest, err := m.largestEigenvalue()
	if err != nil {
		return s, err
	}
	if !(largest > 0) || math.IsInf(largest, 0) {
		return s, fmt.Errorf("no step sizes can be chosen: the lower Hessian at the start values has the largest "+
			"eigenvalue %g; give the steps", largest)
	}
	s.Inner = 1 / (2 * largest)
	h, err := m.hypergradient(s.Inner)
	if err != nil {
		return s, err
	}
	s.Outer = math.Inf(1)
	for _, bound := range []float64{h.longest, 1 / (2 * h.lipschitz), 2 * s.Inner / h.lag} {
		if bound > 0 { // not NaN, which 0 over 0 gives
			s.Outer = min(s.Outer, bound)
		}
	}
	if math.IsInf(s.Outer, 0) {
		s.Outer = s.Inner // the hypergradient vanishes at the start: nothing is known about its scale
	}
	s.Gap = math.Inf(1)
	if h.gap > 0 {
		s.Gap = 1 / (2 * h.gap)
	}
	return s, nil
}

// probe looks at a problem at its start values.
type probe struct {
	ctx   context.Context // of the call that measures
	b     *problem.Bound
	scope *tensor.Scope
	seed  uint64
}

// repeat runs a program so many times, and stops between two of them when the caller's context ends.
func (m *probe) repeat(f *tensor.Function, n int) error {
	for range n {
		if err := m.ctx.Err(); err != nil {
			return err
		}
		if err := f.Run(1); err != nil {
			return err
		}
	}
	return nil
}

// some is at most so many random rows of a level.
func (m *probe) some(side problem.Side, rows int, draw uint64) (problem.Batch, error) {
	all := m.b.All(side)
	if all.Rows <= rows {
		return all, nil
	}
	index := make([]int32, rows)
	from := problem.Source{Seed: m.seed, Stream: philox.StreamProbe, Rows: all.Rows}
	if err := problem.WithReplacement(rows).Fill(index, from, draw); err != nil {
		return all, err
	}
	v := m.scope.Variable("probe rows", tensor.Int, rows)
	return m.b.Batch(side, v.Node()), v.WriteInts(index)
}

func (m *probe) variable(name string, values []float64) (*tensor.Variable, error) {
	v := m.scope.Variable("probe "+name, tensor.Real, len(values))
	return v, v.Write(values)
}

// at is an objective at nodes x and y.
func (m *probe) at(side problem.Side, x, y *tensor.Node, rows problem.Batch) *problem.Point {
	var state *tensor.Node
	if m.b.State.Size() > 0 {
		v, err := m.variable("model state", m.b.State.Flat)
		m.scope.Note(err)
		state = v.Node()
	}
	if saddle := m.b.Upper.Saddle; side == problem.Upper && saddle != nil {
		alpha, err := m.variable("alpha", saddle.Start.Flat)
		m.scope.Note(err)
		return m.b.Oracle().Saddle(x, y, alpha.Node(), rows)
	}
	return m.b.Oracle().At(side, x, y, rows, params.TrainFrozen, state)
}

// largestEigenvalue is the largest, in absolute value, of H at the start, by powers of it from a random vector: the
// largest of three minibatches.
func (m *probe) largestEigenvalue() (float64, error) {
	x, err1 := m.variable("x", m.b.Upper.Start.Flat)
	y, err2 := m.variable("y", m.b.Lower.Start.Flat)
	q := m.b.Lower.Start.Size()
	draws := make([]float32, q)
	philox.Normals(draws, m.seed, 0, philox.StreamProbe, 0)
	start := m.scope.Variable("probe direction", tensor.Real, q)
	if err := errors.Join(err1, err2, start.Write32(draws)); err != nil {
		return 0, err
	}
	largest := 0.0
	for draw := range uint64(3) {
		rows := probeRows
		if s := m.b.Lower.Sampler; s != nil {
			rows = s.Size()
		}
		batch, err := m.some(problem.Lower, rows, draw)
		if err != nil {
			return 0, err
		}
		power, err := linear.NewPower(m.scope, linear.Matrix{N: q, Apply: func(d *tensor.Node) *tensor.Node {
			return m.at(problem.Lower, x.Node(), y.Node(), batch).HVP(d)
		}}, start.Node())
		if err != nil {
			return 0, err
		}
		l, err := power.Measure(m.ctx, powerSteps)
		if err != nil || math.IsNaN(l) {
			return l, err
		}
		if largest = max(largest, l); batch.Index == nil {
			break // all rows: every draw is the same
		}
	}
	return largest, nil
}

// slopes is what is known about h at the start values.
type slopes struct {
	longest   float64 // the step whose move is r long; +Inf where the hypergradient vanishes
	lipschitz float64 // L_h; 0 where the hypergradient vanishes
	lag       float64 // m; 0 where it vanishes
	gap       float64 // L_q; 0 where it vanishes
}

// hypergradient looks at ∇h near the lower minimizer: at the start value of x, and at a move along -∇h away from it.
func (m *probe) hypergradient(step float64) (h slopes, err error) {
	h.longest = math.Inf(1)
	n, q := m.b.Upper.Start.Size(), m.b.Lower.Start.Size()
	x, err1 := m.variable("x", m.b.Upper.Start.Flat)
	y, err2 := m.variable("y", m.b.Lower.Start.Flat)
	lower, err3 := m.some(problem.Lower, probeRows, 3)
	upper, err4 := m.some(problem.Upper, probeRows, 4)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return h, err
	}
	rows := map[problem.Side]problem.Batch{problem.Lower: lower, problem.Upper: upper}
	at := func(side problem.Side) *problem.Point { return m.at(side, x.Node(), y.Node(), rows[side]) }
	system, err := linear.CG{
		RTol: 1e-2, MaxSteps: 50, FromZero: true, Trust: true, Damping: 1 / (descents * step),
	}.Prepare(m.b.Executor, linear.Matrix{
		N: q, Apply: func(v *tensor.Node) *tensor.Node { return at(problem.Lower).HVP(v) },
	})
	if err != nil {
		return h, err
	}
	m.scope.Own(system.Close)
	rhs, solution := system.RHS(), system.Solution()
	gradient, v := m.scope.Variable("probe gradient", tensor.Real, n), m.scope.Variable("probe v", tensor.Real, q)
	descend := m.program("descent of the lower level", func() []tensor.Update {
		return []tensor.Update{{Var: y, Value: y.Node().Sub(at(problem.Lower).GradY().Scale(step))}}
	})
	begin := m.program("right-hand side", func() []tensor.Update {
		return []tensor.Update{{Var: rhs, Value: at(problem.Upper).GradY()}}
	})
	end := m.program("hypergradient", func() []tensor.Update {
		cv := at(problem.Lower).Cross(solution.Node())
		return []tensor.Update{{Var: gradient, Value: at(problem.Upper).GradX().Sub(cv)},
			{Var: v, Value: solution.Node()}}
	})
	here := func() ([]float64, error) {
		if err := m.repeat(descend, descents); err != nil {
			return nil, err
		}
		if err := m.solve(system, begin, end); err != nil {
			return nil, err
		}
		return gradient.Read()
	}
	lag, gap := m.lag(system, at, x, y, gradient, v)
	if err := m.scope.Err(); err != nil {
		return h, err
	}

	g, err := here()
	if err != nil {
		return h, err
	}
	size := floats.Norm(g, 2)
	if !(size > 0) || math.IsInf(size, 0) {
		return h, nil
	}
	if h.lag, err = lag(); err != nil {
		return h, err
	}
	if h.gap, err = gap(); err != nil {
		return h, err
	}
	h.longest = reach * (floats.Norm(m.b.Upper.Start.Flat, 2) + math.Sqrt(float64(n))) / size
	moved := slices.Clone(m.b.Upper.Start.Flat)
	floats.AddScaled(moved, -h.longest, g)
	if err := x.Write(moved); err != nil {
		return h, err
	}
	there, err := here()
	if err != nil {
		return h, err
	}
	h.lipschitz = floats.Distance(there, g, 2) / (h.longest * size)
	return h, nil
}

// program compiles a part of the search.
func (m *probe) program(name string, build func() []tensor.Update) *tensor.Function {
	return m.scope.Compile("the search for step sizes: "+name, build)
}

// solve runs programs one after the other, and solves the system after each but the last.
func (m *probe) solve(system linear.System, programs ...*tensor.Function) error {
	for i, f := range programs {
		if i > 0 {
			if _, err := system.Solve(m.ctx); err != nil {
				return err
			}
		}
		if err := f.Run(1); err != nil {
			return err
		}
	}
	return nil
}

// lag prepares the measurements of m and L_q at x, y and v, where direction [n] holds the vector that the powers of M,
// and after them those of C H⁻¹ Cᵀ, begin with; see above for what they are. Each program takes the solution of the
// system that the one before it has set up.
func (m *probe) lag(system linear.System, at func(problem.Side) *problem.Point, x, y, direction, v *tensor.Variable,
) (lag, gap func() (float64, error)) {
	rhs, solution := system.RHS(), system.Solution().Node()
	vector := func(name string) *tensor.Variable { return m.scope.Variable("probe "+name, tensor.Real, y.Size()) }
	moveY, moveV, s, size := vector("move of y"), vector("move of v"), vector("lag of y"), m.scope.Number("probe lag")
	unit := func() *tensor.Node { return direction.Node().Div(linear.Norm(direction.Node())) }
	// along is the derivative of ∇xF - C v and ∇yF - H v, with v held constant, along directions in x (nil: none) and
	// in y.
	along := func(inX, inY *tensor.Node) (p, q *tensor.Node) {
		f, g := at(problem.Upper), at(problem.Lower)
		parts := []*tensor.Node{f.GradX().Sub(g.Cross(v.Node())), f.GradY().Sub(g.HVP(v.Node()))}
		wrt, directions := []*tensor.Node{y.Node()}, []*tensor.Node{inY}
		if inX != nil {
			wrt, directions = append(wrt, x.Node()), append(directions, inX)
		}
		out := tensor.JVP(parts, wrt, directions)
		return out[0], out[1]
	}
	programs := []*tensor.Function{
		m.program("how y follows x", func() []tensor.Update {
			return []tensor.Update{{Var: rhs, Value: at(problem.Lower).CrossT(unit()).Neg()}}
		}),
		m.program("how v follows x", func() []tensor.Update {
			_, q := along(unit(), solution)
			return []tensor.Update{{Var: moveY, Value: solution}, {Var: rhs, Value: q}}
		}),
		m.program("the lag of y", func() []tensor.Update {
			return []tensor.Update{{Var: moveV, Value: solution}, {Var: rhs, Value: moveY.Node()}}
		}),
		m.program("the lag of v", func() []tensor.Update {
			_, q := along(nil, solution)
			return []tensor.Update{{Var: s, Value: solution}, {Var: rhs, Value: moveV.Node().Add(q)}}
		}),
		m.program("the lag of the direction", func() []tensor.Update {
			p, _ := along(nil, s.Node())
			off := at(problem.Lower).Cross(solution).Sub(p)
			return []tensor.Update{{Var: size, Value: linear.Norm(off)}, {Var: direction, Value: off}}
		}),
	}
	curvature := m.program("the curvature of the gap", func() []tensor.Update {
		c := at(problem.Lower).Cross(solution)
		return []tensor.Update{{Var: size, Value: linear.Norm(c)}, {Var: direction, Value: c}}
	})
	powers := func(programs ...*tensor.Function) func() (float64, error) {
		return func() (float64, error) {
			for range lagSteps {
				if err := m.solve(system, programs...); err != nil {
					return 0, err
				}
			}
			return size.Number()
		}
	}
	return powers(programs...), powers(programs[0], curvature)
}
