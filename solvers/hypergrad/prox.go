package hypergrad

import (
	"context"
	"errors"
	"fmt"
	"math"

	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// Prox is the hypergradient of a problem whose lower level is G + r with r known by its proximal map, by implicit
// differentiation of the fixed point y* = prox(y* - s∇yG(x,y*)), which holds for every step s > 0 (Bertrand et al.,
// ICML 2020, proposition 2; Blondel et al., NeurIPS 2022, section 2.2). With D the Jacobian of the proximal map
// at y - s∇yG, which is symmetric,
//
//	∇h ≈ g = ∇xF - (∂xR)ᵀ w,   (∂yR)ᵀ w = ∇yF,   R = (y - prox(y - s∇yG)) / s,   ∂yR = (I - D(I - sH)) / s
//
// Where the map acts on each coordinate alone, as that of the lasso does, D is the diagonal of some d, and the system
// is that of the support S = {i : d_i > 0}:
//
//	S (H + diag((1/d - 1)/s)) S a = S ∇yF,   w = s∇yF + (I - sH) a,
//
// which is symmetric: for the lasso, g = ∇xF - C_S H_SS⁻¹ (∇yF)_S. A Solver of the class linear.General solves with ∂yR
// as it stands, for maps that mix coordinates (groups); any other needs a map that acts on each coordinate alone, and
// Prepare refuses the others.
//
// The answer is right on the right support: before the lower level has found the support of y*, g is the derivative of
// another problem, and the error figure, an Estimate to first order for the support at hand, cannot know. Notes tell
// coordinates so near to a kink of the map that the support may change.
type Prox struct {
	Solver linear.Solver
	Step   float64 // s; 0: one over the largest eigenvalue of H, by ten steps of the power method
}

// MeasureMapping is the name of the proximal-gradient mapping's norm, |y - prox(y - s∇yG)|/s.
const MeasureMapping = "|y - prox(y - s∇yG)|/s"

func (Prox) Name() string { return "prox" }

// Needs says that only a proximal map is meant.
func (Prox) Needs() Needs {
	return Needs{
		Usable: problem.UpperSet | problem.UpperConstraints | problem.LowerProx,
		Why: "it differentiates the fixed point of one proximal gradient step of one lower level, without further " +
			"constraints, whose variable lasts",
	}
}

// powerSteps is the number of products that a step without a setting costs.
const powerSteps = 10

// proximal is what Prox decides at a point.
type proximal struct {
	e         *adjoint
	separable bool // the support's system is used
	fixed     float64
	step      *tensor.Variable // s
	vector    *tensor.Variable // a point at which the map is looked at
	d         *tensor.Variable // D·1
	facts     *tensor.Variable // see below
	largest   *linear.Power    // |H|
	product   problem.Counts   // what one of its products asks for
	look      program
	support   *tensor.Function // of the map at any point, for separability
}

// Positions in facts.
const (
	factMixed   = iota // |D t - d⊙t| / |D t| for a vector t
	factKinks          // coordinates whose d changes nearby
	factSupport        // coordinates with d > 0
	factCount
)

// Prepare compiles the estimator. It reads x and y where they stand at each Compute.
func (m Prox) Prepare(b *problem.Bound, x, y *tensor.Variable) (Estimator, error) {
	if err := refuse(b, m, x, y); err != nil {
		return nil, err
	}
	switch {
	case b.Lower.Prox == nil:
		return nil, fmt.Errorf("hypergrad: prox: the lower level of %s has no proximal map: use Implicit for a smooth "+
			"objective, or set Lower.Prox", b.Name)
	case m.Solver == nil:
		return nil, wantClass(m.Name(), nil, 0, "")
	case !(m.Step >= 0) || math.IsInf(m.Step, 0):
		return nil, fmt.Errorf("hypergrad: prox: Step is %g: wants a positive, finite step, or 0 for one over the "+
			"largest eigenvalue of H", m.Step)
	}
	sc := b.Executor.Scope()
	o := b.Oracle()
	p := &proximal{separable: m.Solver.Class() < linear.General, fixed: m.Step, step: sc.Number("hypergradient step"),
		vector: sc.Variable("hypergradient power", tensor.Real, y.Size()),
		d:      sc.Variable("hypergradient d", tensor.Real, y.Size()),
		facts:  sc.Variable("hypergradient facts", tensor.Real, factCount)}
	at := func() *problem.Root { return o.Proximal(x.Node(), y.Node(), p.step.Node(), b.All(problem.Lower)) }
	e := &adjoint{method: m.Name(), measure: MeasureMapping, bound: b, scope: sc, oracle: o, x: x,
		parts: []*tensor.Variable{y}, n: y.Size(), equations: func() linearized { return rootEquations{at()} },
		before: p.decide}
	p.e = e
	if err := p.prepare(m.Solver, at); err != nil {
		return nil, errors.Join(err, sc.Close())
	}
	return e.prepare()
}

// ones and tilts are a vector of ones and one of numbers that all differ.
func ones(n int) *tensor.Node { return tensor.Full(1, n) }
func tilts(n int) *tensor.Node {
	return tensor.Iota(0, n).ToReal().Scale(0.7548776662466927).Sin().AddConst(1.5)
}

// mixed is how far the Jacobian of the map at z is from a diagonal, and this diagonal.
func (p *proximal) mixed(x, z, step *tensor.Node) (d, share *tensor.Node) {
	e := p.e
	n := z.Size()
	to := e.bound.Prox(x, z, step)
	along := func(t *tensor.Node) *tensor.Node {
		return tensor.JVP([]*tensor.Node{to}, []*tensor.Node{z}, []*tensor.Node{t})[0]
	}
	d = along(ones(n))
	t := along(tilts(n))
	size := linear.Norm(t)
	gap := linear.Norm(t.Sub(d.Mul(tilts(n))))
	return d, tensor.Where(tensor.Const(0).Lt(size), gap.Div(size), tensor.Const(0))
}

func (p *proximal) prepare(s linear.Solver, at func() *problem.Root) error {
	e := p.e
	sc, o, x, y, b := e.scope, e.oracle, e.x.Node(), e.parts[0].Node(), e.bound
	lower := func() *problem.Point { return o.At(problem.Lower, x, y, b.All(problem.Lower), frozen, nil) }
	before := o.Counts
	hv := func(v *tensor.Node) *tensor.Node { return lower().HVP(v) }
	var err error
	if p.largest, err = linear.NewPower(sc, linear.Matrix{N: e.n, Apply: hv}, tilts(e.n)); err != nil {
		return err
	}
	p.product = o.Counts.Plus(before, -1)
	tolerance := math.Sqrt(b.Executor.Info().UnitRoundoff())
	p.look = e.compile("look", func() []tensor.Update {
		s := p.step.Node()
		z := y.Sub(lower().GradY().Mul(s))
		d, mix := p.mixed(x, z, s)
		near := z.Abs().MaxOver().Scale(tolerance)
		above, _ := p.mixed(x, z.Add(near), s)
		below, _ := p.mixed(x, z.Sub(near), s)
		const jump = 1e-3
		moved := tensor.Const(jump).Lt(above.Sub(d).Abs().Max(below.Sub(d).Abs()))
		return []tensor.Update{{Var: p.d, Value: d}, p.fact(map[int]*tensor.Node{
			factMixed: mix, factKinks: moved.Sum(), factSupport: tensor.Const(0).Lt(d).Sum()})}
	})
	p.support = sc.Compile("hypergradient map", func() []tensor.Update {
		_, mix := p.mixed(x, p.vector.Node(), p.step.Node())
		return []tensor.Update{p.fact(map[int]*tensor.Node{factMixed: mix})}
	})
	if err := sc.Err(); err != nil {
		return err
	}
	if !p.separable {
		return e.squareSystems(s, at)
	}
	if err := p.checkMap(s); err != nil {
		return err
	}
	if e.across, err = p.reduced(s, lower, true); err != nil {
		return err
	}
	e.down, err = p.reduced(s, lower, false)
	return err
}

// fact updates some of the facts.
func (p *proximal) fact(of map[int]*tensor.Node) tensor.Update {
	parts := make([]*tensor.Node, factCount)
	for i := range parts {
		if n := of[i]; n != nil {
			parts[i] = n.Reshape(1)
		} else {
			parts[i] = p.facts.Node().Slice(0, i, i+1)
		}
	}
	return tensor.Update{Var: p.facts, Value: tensor.Concat(0, parts...)}
}

// mixes is the share of D that counts as one off the diagonal.
const mixes = 1e-3

// checkMap refuses a solver for symmetric matrices where the map mixes coordinates at points of several sizes.
func (p *proximal) checkMap(s linear.Solver) error {
	z := make([]float64, p.e.n)
	for _, size := range []float64{0.1, 1, 10, 100} {
		for i := range z {
			z[i] = size * (1 + 0.5*math.Sin(float64(i+1)))
		}
		if err := errors.Join(p.vector.Write(z), p.step.Write([]float64{1}), p.support.Run(1)); err != nil {
			return err
		}
		f, err := p.facts.Read()
		if err != nil {
			return err
		}
		if f[factMixed] > mixes {
			return wantClass("prox", s, linear.General, "the proximal map of "+p.e.bound.Name+" mixes coordinates, so "+
				"that the matrix I - D(I - sH) is not symmetric")
		}
	}
	return nil
}

// decide sets the step and looks at the map where y stands.
func (p *proximal) decide(ctx context.Context, h *Hypergradient) error {
	step := p.fixed
	if step == 0 {
		largest, err := p.largest.Measure(ctx, powerSteps)
		if err != nil {
			return err
		}
		h.Counts = h.Counts.Plus(p.product, powerSteps)
		if step = 1 / largest; !(step > 0) || math.IsInf(step, 0) {
			step = 1 // a linear G: any step will do
		}
	}
	if err := errors.Join(p.step.Write([]float64{step}), p.look.Run(1)); err != nil {
		return err
	}
	h.Counts = h.Counts.Plus(p.look.counts, 1)
	f, err := p.facts.Read()
	if err != nil {
		return err
	}
	h.Notes = append(h.Notes, fmt.Sprintf("The support has %.0f of %d coordinates; the answer assumes that it is that "+
		"of the lower minimizer.", f[factSupport], p.e.n))
	if f[factKinks] > 0 {
		h.Notes = append(h.Notes, fmt.Sprintf("%.0f coordinates are so near to a kink of the proximal map that the "+
			"support may change: there h may have one-sided derivatives only.", f[factKinks]))
	}
	if p.separable && f[factMixed] > mixes {
		h.Notes = append(h.Notes, "The proximal map mixes coordinates here, which the system of the support leaves "+
			"out: use a Solver of the class linear.General.")
		p.e.doubt = true
	}
	return nil
}

// reducedSystem solves (∂yR)ᵀ w = b or ∂yR δ = b by the system of the support.
type reducedSystem struct {
	scope     *tensor.Scope
	b, v      *tensor.Variable
	inner     linear.System
	pre, post *tensor.Function
	products  int // beside those of the inner solver
}

func (p *proximal) reduced(solver linear.Solver, lower func() *problem.Point, transposed bool) (linear.System, error) {
	e := p.e
	sc := e.scope.Executor().Scope()
	before := e.oracle.Counts
	defer func() { e.oracle.Counts = before }() // counted as products of the system
	s := &reducedSystem{scope: sc, b: sc.Variable("support b", tensor.Real, e.n),
		v: sc.Variable("support v", tensor.Real, e.n), products: 1}
	d, step := p.d.Node(), p.step.Node()
	on := tensor.Const(0).Lt(d)
	over := func(n *tensor.Node) *tensor.Node { // n/d on the support, 0 elsewhere
		return tensor.Where(on, n.Div(tensor.Where(on, d, ones(e.n))), tensor.Zeros(e.n))
	}
	var err error
	s.inner, err = solver.Prepare(e.scope.Executor(), linear.Matrix{N: e.n, Apply: func(v *tensor.Node) *tensor.Node {
		a := v.Mul(on)
		return lower().HVP(a).Mul(on).Add(over(a).Sub(a).Div(step))
	}})
	if err != nil {
		return nil, errors.Join(err, sc.Close())
	}
	sc.Own(s.inner.Close)
	e.scope.Own(sc.Close)
	b, a := s.b.Node(), s.inner.Solution().Node().Mul(on)
	off := b.Mul(step).Sub(b.Mul(step).Mul(on)) // s b off the support
	s.pre = sc.Compile("support begin", func() []tensor.Update {
		rhs := b.Mul(on)
		if !transposed {
			rhs = over(b).Sub(lower().HVP(off).Mul(on))
		}
		return []tensor.Update{{Var: s.inner.RHS(), Value: rhs}, {Var: s.inner.Solution(), Value: tensor.Zeros(e.n)}}
	})
	s.post = sc.Compile("support end", func() []tensor.Update {
		v := off.Add(a)
		if transposed {
			v = b.Sub(lower().HVP(a)).Mul(step).Add(a)
		}
		return []tensor.Update{{Var: s.v, Value: v}}
	})
	return s, sc.Err()
}

func (s *reducedSystem) RHS() *tensor.Variable      { return s.b }
func (s *reducedSystem) Solution() *tensor.Variable { return s.v }

func (s *reducedSystem) Solve(ctx context.Context) (linear.Stats, error) {
	if err := s.pre.Run(1); err != nil {
		return linear.Stats{}, err
	}
	st, err := s.inner.Solve(ctx)
	if err != nil {
		return st, err
	}
	st.Products += s.products
	return st, s.post.Run(1)
}

func (s *reducedSystem) Close() error { return s.scope.Close() }
