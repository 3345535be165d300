package linear

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"

	"bilevel/tensor"
)

// limits are the settings that Krylov methods share.
type limits struct {
	solver     string
	rtol, atol float64
	damping    float64
	maxSteps   int // 0: twice the dimension, at most 1000
	chunk      int // 0: 1 on synchronous devices, 4 on asynchronous ones
	fromZero   bool
	cycle      int // most steps before the residual is computed anew; 0: no end
}

// rule is one Krylov method as graphs, in units of the iteration's scale.
type rule struct {
	// begin is the method's own state at the residual r of size beta, and the first vector that A is applied to.
	begin func(r, beta *tensor.Node) (state []tensor.Update, d *tensor.Node)
	// step is one step, given A·d.
	step func(ad *tensor.Node) advance
	// end is the solution after the steps of a cycle; nil where each step keeps it up to date.
	end func() *tensor.Node
}

// advance is what a step computes. The iteration takes it over where it is usable, and else keeps the state as it is.
type advance struct {
	usable *tensor.Node    // 0 where the step divides by zero up to round-off
	code   float64         // how a step ends that is not usable; 0: codeBreakdown
	size   *tensor.Node    // |b - A v| after the step, by the method's recurrence
	d      *tensor.Node    // the vector that A is applied to next
	state  []tensor.Update // the method's own state
	add    []addition
	always []tensor.Update // taken over while the iteration is active, also where the step is not usable
}

// addition adds a row at a place to a table [rows, …].
type addition struct {
	to    *tensor.Variable
	place *tensor.Node
	row   *tensor.Node
}

// iteration runs a rule: it measures in units of scaleOf(b), stops by freezing the state, and computes the residual
// anew after each cycle, from which the next one starts.
type iteration struct {
	limits
	ex                  *tensor.Executor
	scope               *tensor.Scope
	product             *Product // nil where the operator is part of the loop
	b, v, d             *tensor.Variable
	size, limit         *tensor.Variable // |r|, and the value at which the system is solved
	active, code, steps *tensor.Variable
	place               *tensor.Variable // the number of steps since the cycle began
	norm, scale         *tensor.Variable
	shift               *tensor.Variable // a damping that Solve may change; nil: limits.damping
	loop                *tensor.Loop
	smallest            func(steps int) (float64, error) // smallest Ritz value of the first cycle; nil: none
}

// The bodies of an iteration's loop.
const (
	krylovStep  = iota
	krylovOpen  // takes the scale and the start value
	krylovStart // computes the residual
	krylovEnd   // completes the solution of a cycle
	krylovClose // back to the units of b
)

// newIteration makes the variables. Methods then make those of their own and call compile.
func newIteration(ex *tensor.Executor, m Matrix, l limits) (*iteration, error) {
	if err := m.check(l.solver); err != nil {
		return nil, err
	}
	if l.maxSteps == 0 {
		l.maxSteps = max(1, min(2*m.N, 1000))
	}
	if l.cycle == 0 {
		l.cycle = l.maxSteps
	}
	if l.chunk == 0 {
		l.chunk = 1
		if ex.Info().Async {
			l.chunk = 4
		}
	}
	if err := checkTolerance(ex, l.solver, l.rtol, l.atol, l.maxSteps); err != nil {
		return nil, err
	}
	if !(l.damping >= 0) || math.IsInf(l.damping, 0) || l.chunk < 1 {
		return nil, fmt.Errorf("linear: %s: damping %g, chunks of %d steps: "+
			"wants finite damping from 0 on and chunks of at least one step", l.solver, l.damping, l.chunk)
	}
	s := &iteration{limits: l, ex: ex, scope: ex.Scope(), product: m.Product}
	s.b, s.v, s.d = s.vector("b", m.N), s.vector("v", m.N), s.vector("d", m.N)
	s.size, s.limit, s.active, s.code = s.number("size"), s.number("limit"), s.number("active"), s.number("code")
	s.norm, s.scale = s.number("norm"), s.number("scale")
	s.steps = s.scope.Variable(l.solver+" steps", tensor.Int)
	s.place = s.scope.Variable(l.solver+" place", tensor.Int)
	return s, nil
}

func (s *iteration) vector(name string, shape ...int) *tensor.Variable {
	return s.scope.Variable(s.solver+" "+name, tensor.Real, shape...)
}

func (s *iteration) number(name string) *tensor.Variable {
	return s.scope.Number(s.solver + " " + name)
}

// bound is the relative rounding error of a sum over a vector of A: what is smaller cannot be told from zero.
func (s *iteration) bound() float64 {
	info := s.ex.Info()
	return info.SumError(s.b.Size()) * info.UnitRoundoff()
}

// compile compiles the bodies.
func (s *iteration) compile(m Matrix, r rule) (System, error) {
	apply := m.graph()
	damped := func(v *tensor.Node) *tensor.Node {
		av := apply(v)
		switch {
		case s.shift != nil:
			av = av.Add(v.Mul(s.shift.Node()))
		case s.damping != 0:
			av = av.Add(v.Scale(s.damping))
		}
		return av
	}
	b, v, scale := s.b.Node(), s.v.Node(), s.scale.Node()
	s.loop = s.scope.Loop(s.solver,
		func() []tensor.Update { return s.stepUpdates(r.step(damped(s.d.Node()))) },
		func() []tensor.Update {
			unit := scaleOf(b)
			start := tensor.Zeros(m.N)
			if !s.fromZero {
				start = v.Div(unit)
			}
			size := b.Div(unit).Norm()
			limit := size.Scale(s.rtol).Max(tensor.Const(s.atol).Div(unit))
			return append(s.product.clear(), tensor.Update{Var: s.scale, Value: unit},
				tensor.Update{Var: s.v, Value: start}, tensor.Update{Var: s.norm, Value: size.Mul(unit)},
				tensor.Update{Var: s.limit, Value: limit})
		},
		func() []tensor.Update { return s.startUpdates(b.Div(scale).Sub(damped(v)), r.begin) },
		func() []tensor.Update {
			if r.end == nil {
				return []tensor.Update{{Var: s.v, Value: v}}
			}
			return []tensor.Update{{Var: s.v, Value: r.end()}}
		},
		func() []tensor.Update {
			return []tensor.Update{
				{Var: s.v, Value: v.Mul(scale)}, {Var: s.size, Value: s.size.Node().Mul(scale)},
			}
		})
	if err := s.scope.Err(); err != nil {
		return nil, errors.Join(err, s.scope.Close())
	}
	return s, nil
}

// startUpdates begins a cycle at the residual r.
func (s *iteration) startUpdates(r *tensor.Node,
	begin func(r, beta *tensor.Node) ([]tensor.Update, *tensor.Node)) []tensor.Update {
	beta := r.Norm()
	finite, solved := isFinite(beta), beta.Le(s.limit.Node())
	state, d := begin(r, beta)
	return append(state,
		tensor.Update{Var: s.d, Value: d}, tensor.Update{Var: s.size, Value: beta},
		tensor.Update{Var: s.place, Value: tensor.IntConst(0)},
		tensor.Update{Var: s.active, Value: finite.Mul(tensor.Const(1).Sub(solved))},
		tensor.Update{Var: s.code, Value: tensor.Where(finite,
			tensor.Where(solved, tensor.Const(codeConverged), tensor.Const(codeRunning)),
			tensor.Const(codeNotFinite))})
}

// stepUpdates takes a step over where the iteration is still active and the step is usable and finite.
func (s *iteration) stepUpdates(a advance) []tensor.Update {
	active := s.active.Node()
	finite := isFinite(a.size)
	ok := active.Mul(finite).Mul(a.usable)
	solved := a.size.Le(s.limit.Node())
	running := tensor.Where(solved, tensor.Const(codeConverged), tensor.Const(codeRunning))
	code := tensor.Where(a.usable, tensor.Where(finite, running, tensor.Const(codeNotFinite)),
		tensor.Const(cmp.Or(a.code, codeBreakdown)))
	updates := []tensor.Update{
		{Var: s.d, Value: tensor.Where(ok, a.d, s.d.Node())},
		{Var: s.size, Value: tensor.Where(ok, a.size, s.size.Node())},
		{Var: s.steps, Value: s.steps.Node().Add(ok.ToInt())},
		{Var: s.place, Value: s.place.Node().Add(ok.ToInt())},
		{Var: s.code, Value: tensor.Where(active, code, s.code.Node())},
		{Var: s.active, Value: ok.Mul(tensor.Const(1).Sub(solved))},
	}
	for _, u := range a.state {
		updates = append(updates, tensor.Update{Var: u.Var, Value: tensor.Where(ok, u.Value, u.Var.Node())})
	}
	for _, u := range a.always {
		updates = append(updates, tensor.Update{Var: u.Var, Value: tensor.Where(active, u.Value, u.Var.Node())})
	}
	for _, p := range a.add {
		row := tensor.Where(ok, p.row, tensor.Zeros(p.row.Shape()...))
		shape := append([]int{1}, p.row.Shape()...)
		updates = append(updates, tensor.Update{Var: p.to,
			Value: tensor.ScatterAdd(p.to.Node(), p.place.Reshape(1), row.Reshape(shape...))})
	}
	return updates
}

func (s *iteration) RHS() *tensor.Variable      { return s.b }
func (s *iteration) Solution() *tensor.Variable { return s.v }

// Solve runs cycles until the true residual is within the tolerance or cannot be made smaller.
func (s *iteration) Solve(ctx context.Context) (Stats, error) {
	st := Stats{SmallestEigenvalue: math.NaN(), Damping: s.damping}
	if err := ctx.Err(); err != nil {
		return st, err
	}
	if err := cmp.Or(s.loop.Setup(), s.steps.WriteInts([]int32{0}),
		s.loop.Body(krylovOpen).Run(1)); err != nil {
		return st, err
	}
	last, ended := math.Inf(1), codeRunning
	for {
		if err := s.product.then(ctx, s.v, s.loop.Body(krylovStart)); err != nil {
			return st, err
		}
		st.Products++
		size, err1 := s.size.Number()
		code, err2 := s.code.Number()
		limit, err3 := s.limit.Number()
		if err := cmp.Or(err1, err2, err3); err != nil {
			return st, err
		}
		done := true
		switch {
		case code == codeNotFinite || ended == codeNotFinite:
			st.Status = NotFinite
		case size <= limit*(1+1e-3): // the recurrence, which ended the cycle, differs from this by rounding
			st.Status = Converged
		case ended == codeCurvature:
			st.Status = NegativeCurvature
		case st.Steps >= s.maxSteps:
			st.Status = MaxSteps
		case ended == codeBreakdown && size > last/2:
			st.Status = Breakdown
		case ended == codeConverged && size > last/2, size >= 0.999*last:
			st.Status = Stagnated
		default:
			done = false
		}
		if done {
			return st, s.close(&st)
		}
		last = size
		begun := st.Steps
		var err error
		if st.Steps, err = s.iterate(ctx, min(s.cycle, s.maxSteps-begun)); err != nil {
			return st, err
		}
		st.Products += st.Steps - begun
		after, err := s.code.Number()
		if err := cmp.Or(err, s.loop.Body(krylovEnd).Run(1)); err != nil {
			return st, err
		}
		ended = int(after)
		if begun == 0 && s.smallest != nil {
			if st.SmallestEigenvalue, err = s.smallest(st.Steps); err != nil {
				return st, err
			}
		}
	}
}

// iterate takes at most limit steps, and returns the number of steps since Solve began.
func (s *iteration) iterate(ctx context.Context, limit int) (int, error) {
	return iterate(ctx, tensor.While{Loop: s.loop, Active: s.active, Steps: s.steps, Chunk: s.chunk}, s.product, s.d,
		limit)
}

// iterate runs a loop; with a product of its own the host computes A·d before each step and looks at the stop flag
// after it.
func iterate(ctx context.Context, w tensor.While, p *Product, d *tensor.Variable, limit int) (int, error) {
	if p == nil {
		return w.Run(ctx, limit)
	}
	for range limit {
		active, err := w.Active.Number()
		if err != nil {
			return 0, err
		}
		if active == 0 {
			break
		}
		if err := p.then(ctx, d, w.Loop); err != nil {
			return 0, err
		}
	}
	steps, err := w.Steps.ReadInts()
	if err != nil {
		return 0, err
	}
	return int(steps[0]), nil
}

// close leaves the solution and the residual in the units of b.
func (s *iteration) close(st *Stats) error {
	if err := s.loop.Body(krylovClose).Run(1); err != nil {
		return err
	}
	var err1, err2 error
	st.Residual, err1 = s.size.Number()
	st.RHSNorm, err2 = s.norm.Number()
	return cmp.Or(err1, err2)
}

// Close frees the programs and vectors.
func (s *iteration) Close() error { return s.scope.Close() }
