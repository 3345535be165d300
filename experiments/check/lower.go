package check

import (
	"context"
	"errors"
	"math"

	"bilevel/models/params"
	"bilevel/solvers/minimize"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// lower solves the lower level at an x to the last digits of float64, near a given y. The methods are chosen for
// certainty and not for speed, and share nothing with the estimators that are checked but the objectives themselves.
type lower struct {
	b    *problem.Bound
	sc   *tensor.Scope
	x    *tensor.Variable
	free *minimize.Minimizer // smooth, without constraints
	flow *flow               // a set or a proximal map
	zero *root               // a residual, or optimality conditions whose unknowns begin with y
	more int                 // unknowns after y: multipliers
	// state is the running statistics at the start, nil where there are none.
	state *tensor.Node
}

// goal is what the lower level is solved to, relative to max(1, the size at the start): below round-off, so that the
// methods end where no step helps any more. enough is what counts as solved.
const (
	goal   = 1e-17
	enough = 1e-9
)

func newLower(b *problem.Bound, sc *tensor.Scope, x *tensor.Variable) (*lower, error) {
	l := &lower{b: b, sc: sc, x: x}
	if q := b.State.Size(); q > 0 {
		v := sc.Variable("check model state", tensor.Real, q)
		l.state = v.Node()
		sc.Note(v.Write(b.State.Flat))
	}
	n := b.Lower.Start.Size()
	var err error
	switch level := &b.Lower; {
	case level.Residual != nil:
		l.zero, err = newRoot(sc, "lower root", n, func(y *tensor.Node) *tensor.Node { return l.residual(y) })
	case level.Inequality != nil || level.Equality != nil:
		err = l.prepareKKT(n)
	case level.Set != nil || level.Prox != nil:
		if l.flow, err = newFlow(l, n); err == nil {
			l.zero, err = newRoot(sc, "lower fixed point", n, l.flow.off)
		}
	default:
		l.free, err = minimize.Newton{Tol: goal, MaxSteps: 300, Forcing: 1e-3}.Prepare(b.Executor, l.value, n)
		if err == nil {
			sc.Own(l.free.Close)
		}
	}
	return l, err
}

// point is the lower objective at (x, y).
func (l *lower) point(y *tensor.Node) *problem.Point {
	return l.b.Oracle().At(problem.Lower, l.x.Node(), y, l.b.All(problem.Lower), params.TrainFrozen, l.state)
}

func (l *lower) value(y *tensor.Node) *tensor.Node    { return l.point(y).Value() }
func (l *lower) gradient(y *tensor.Node) *tensor.Node { return l.point(y).GradY() }

func (l *lower) function(f problem.Function, y *tensor.Node) *tensor.Node {
	return f(l.b.Upper.Start.Layout.Vars(l.x.Node()), l.b.Lower.Start.Layout.Vars(y), l.b.All(problem.Lower)).Flatten()
}

func (l *lower) residual(y *tensor.Node) *tensor.Node { return l.function(l.b.Lower.Residual, y) }

// solve replaces y by the solution at the value of the variable x, and gives how far it is from exact: the norm of what
// should vanish.
func (l *lower) solve(ctx context.Context, y []float64) (float64, error) {
	switch {
	case l.free != nil:
		return l.minimize(ctx, y)
	case l.flow != nil:
		return l.project(ctx, y)
	}
	u := make([]float64, len(y)+l.more)
	copy(u, y)
	size, err := l.zero.solve(ctx, u, goal, 200)
	copy(y, u)
	return size, err
}

// minimize is Newton's method; where it stops at a negative curvature or too early, descend goes on.
func (l *lower) minimize(ctx context.Context, y []float64) (float64, error) {
	if err := l.free.Y().Write(y); err != nil {
		return 0, err
	}
	m, err := l.free.Run(ctx)
	if err != nil {
		return 0, err
	}
	if m.Status == minimize.NegativeCurvature || m.GradientNorm > 1e-8 {
		if m, err = l.descend(ctx); err != nil {
			return 0, err
		}
	}
	end, err := l.free.Y().Read()
	copy(y, end)
	return m.GradientNorm, err
}

// descend takes L-BFGS steps from where Newton's method stopped, which need no convexity, and then its steps again.
func (l *lower) descend(ctx context.Context) (m minimize.Minimum, err error) {
	slow, err := minimize.LBFGS{Tol: 1e-6, MaxSteps: 2000}.Prepare(l.b.Executor, l.value, l.free.Y().Size())
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, slow.Close()) }()
	if err := slow.Y().CopyFrom(l.free.Y()); err != nil {
		return m, err
	}
	if _, err := slow.Run(ctx); err != nil {
		return m, err
	}
	if err := l.free.Y().CopyFrom(slow.Y()); err != nil {
		return m, err
	}
	return l.free.Run(ctx)
}

// project alternates steps of the projected (or proximal) gradient, which find the face that holds the solution, with
// Newton's method on the fixed-point equation, which is exact on that face.
func (l *lower) project(ctx context.Context, y []float64) (size float64, err error) {
	for range 60 {
		if size, err = l.zero.solve(ctx, y, goal, 12); err != nil || size <= enough*1e-3 {
			return size, err
		}
		if err := l.flow.run(ctx, y, 300); err != nil {
			return 0, err
		}
	}
	return size, nil
}

// flow is y ← P(y - s ∇yG), with P the projection onto the set or the proximal map.
type flow struct {
	l    *lower
	y    *tensor.Variable
	step *tensor.Variable
	fn   *tensor.Function
}

func newFlow(l *lower, n int) (*flow, error) {
	f := &flow{l: l, y: l.sc.Variable("check flow", tensor.Real, n), step: l.sc.Number("check flow step")}
	f.fn = l.sc.Compile("projected gradient", func() []tensor.Update {
		return []tensor.Update{{Var: f.y, Value: f.next(f.y.Node())}}
	})
	largest, err := largestEigenvalue(l, n)
	if err != nil {
		return nil, err
	}
	if !(largest > 0) || math.IsInf(largest, 0) {
		largest = 1 // a linear objective: any step will do
	}
	return f, errors.Join(l.sc.Err(), f.step.Write([]float64{1 / largest}))
}

func (f *flow) next(y *tensor.Node) *tensor.Node {
	s := f.step.Node()
	to := y.Sub(s.Mul(f.l.gradient(y)))
	if prox := f.l.b.Lower.Prox; prox != nil {
		to = prox(f.l.b.Upper.Start.Layout.Vars(f.l.x.Node()), to, s)
	}
	if set := f.l.b.Set(problem.Lower); set != nil {
		to = set.Project(to, f.l.b.All(problem.Lower))
	}
	return to
}

// off is how far y is from a fixed point.
func (f *flow) off(y *tensor.Node) *tensor.Node { return y.Sub(f.next(y)) }

func (f *flow) run(ctx context.Context, y []float64, steps int) error {
	if err := errors.Join(ctx.Err(), f.y.Write(y)); err != nil {
		return err
	}
	if err := f.fn.Run(steps); err != nil {
		return err
	}
	end, err := f.y.Read()
	copy(y, end)
	return err
}

// prepareKKT sets up the optimality conditions with the multipliers λ of the inequalities c and ν of the equalities e:
//
//	∇yG + ∂y cᵀλ + ∂y eᵀν = 0;   φ(λ, -c) = 0;   e = 0,    φ(a, b) = √(a² + b²) - a - b
//
// φ is the function of Fischer and Burmeister, which vanishes where a >= 0, b >= 0 and ab = 0 (Optimization 24, 1992).
func (l *lower) prepareKKT(n int) error {
	if l.b.Lower.Set != nil || l.b.Lower.Prox != nil {
		return errors.New("a lower level with a set and with constraint functions cannot be checked: give the set as " +
			"constraint functions too")
	}
	level := &l.b.Lower
	sizes := [2]int{}
	err := tensor.Catch(func() {
		y := tensor.Zeros(n)
		for i, f := range []problem.Function{level.Inequality, level.Equality} {
			if f != nil {
				sizes[i] = l.function(f, y).Size()
			}
		}
	})
	if err != nil {
		return err
	}
	l.more = sizes[0] + sizes[1]
	l.zero, err = newRoot(l.sc, "lower optimality conditions", n+l.more, func(u *tensor.Node) *tensor.Node {
		y := u.Slice(0, 0, n)
		g := l.gradient(y)
		var rest []*tensor.Node
		at := n
		for i, f := range []problem.Function{level.Inequality, level.Equality} {
			if f == nil {
				continue
			}
			c, multiplier := l.function(f, y), u.Slice(0, at, at+sizes[i])
			at += sizes[i]
			g = g.Add(tensor.VJP([]*tensor.Node{c}, []*tensor.Node{y}, []*tensor.Node{multiplier})[0])
			if i == 0 {
				c = multiplier.Square().Add(c.Square()).Sqrt().Sub(multiplier).Add(c)
			}
			rest = append(rest, c)
		}
		return tensor.Concat(0, append([]*tensor.Node{g}, rest...)...)
	})
	return err
}

// largestEigenvalue is that of H in absolute value at the start values, by powers of H.
func largestEigenvalue(l *lower, n int) (float64, error) {
	v, size := l.sc.Variable("check direction", tensor.Real, n), l.sc.Number("check eigenvalue")
	y := l.sc.Variable("check start", tensor.Real, n)
	fn := l.sc.Compile("largest eigenvalue", func() []tensor.Update {
		d := v.Node().Div(v.Node().Norm())
		hd := l.point(y.Node()).HVP(d)
		return []tensor.Update{{Var: v, Value: hd}, {Var: size, Value: hd.Norm()}}
	})
	start := make([]float64, n)
	for i := range start {
		start[i] = 1 + 0.1*math.Sin(float64(7*i+1))
	}
	err := errors.Join(l.sc.Err(), v.Write(start), y.Write(l.b.Lower.Start.Flat))
	if err == nil {
		err = fn.Run(60)
	}
	if err != nil {
		return 0, err
	}
	return size.Number()
}
