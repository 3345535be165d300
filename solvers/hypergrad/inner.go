package hypergrad

import (
	"cmp"
	"fmt"
	"math"

	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// Inner is a method for the lower level whose steps are differentiated: one of GradientSteps, MomentumSteps, AdamSteps
// and SignSteps. Where the lower level keeps y in a set, every step ends with the projection onto the set, and where
// the lower level has a proximal map, with that map; both are differentiated too.
type Inner interface {
	// Name is the method's, the same for all settings.
	Name() string
	// rule is the step as graph; its error names the setting that cannot work.
	rule() (stepRule, error)
}

// vectors are nodes one after the other.
type vectors = []*tensor.Node

// stepRule is one step (y, v) ← Φ_t(x, y, v). It sees the data only through the gradient g = ∇yG(x, y), so that its
// derivative is that of apply, by automatic differentiation with g as an input of its own, and two products: H w and
// C w, where w is the cotangent of g.
type stepRule struct {
	name  string
	extra int // vectors v of y's size beside y, zero at the start
	// curved says that the derivative of next depends on g. Otherwise the adjoint step needs no gradient.
	curved bool
	// flat says that no derivative passes through g, so that the adjoint step needs no products either.
	flat     bool
	proximal bool // a proximal map may follow the step, with rate 0 as its step length
	scaled   bool // coordinates have steps of their own lengths: a set that is no box is not kept as it should be
	steady   bool // the rates are the same in all steps
	rates    func(t int) []float64
	next     func(rate vectors, y *tensor.Node, v vectors, g *tensor.Node) (*tensor.Node, vectors)
	// after is the projection or the proximal map that ends the step, nil where there is none. direct says that it
	// depends on x.
	after  func(x, step, y *tensor.Node) *tensor.Node
	direct bool
}

// apply is the step with the map that ends it.
func (r stepRule) apply(x *tensor.Node, rate vectors, y *tensor.Node, v vectors, g *tensor.Node) (
	*tensor.Node, vectors) {
	next, vs := r.next(rate, y, v, g)
	if r.after != nil {
		next = r.after(x, rate[0], next)
	}
	return next, vs
}

// steady makes the rates of a method whose step length does not change.
func steady(rates ...float64) func(int) []float64 { return func(int) []float64 { return rates } }

// checkStep refuses step lengths that can never work.
func checkStep(method string, step float64) error {
	if !(step > 0) || math.IsInf(step, 0) {
		return fmt.Errorf("hypergrad: %s.Step is %g: wants a positive, finite step length", method, step)
	}
	return nil
}

// checkFactor refuses a factor of a running mean outside [0, 1).
func checkFactor(field string, beta float64) error {
	if !(beta >= 0 && beta < 1) {
		return fmt.Errorf("hypergrad: %s is %g: wants a number from 0 to below 1", field, beta)
	}
	return nil
}

// GradientSteps are steps of gradient descent, y₊ = y - η ∇yG(x,y). In a set they are projected, y₊ = P_Y(y - η ∇yG);
// with a proximal map they are proximal gradient steps, y₊ = prox_{ηr}(y - η ∇yG).
type GradientSteps struct {
	Step float64 // η
}

func (GradientSteps) Name() string { return "gradient" }

func (m GradientSteps) rule() (stepRule, error) {
	return stepRule{
		name: m.Name(), proximal: true, steady: true, rates: steady(m.Step),
		next: func(rate vectors, y *tensor.Node, _ vectors, g *tensor.Node) (*tensor.Node, vectors) {
			return y.Sub(rate[0].Mul(g)), nil
		},
	}, checkStep("GradientSteps", m.Step)
}

// MomentumSteps are heavy-ball steps (Polyak 1964), m₊ = β m + ∇yG(x,y), y₊ = y - η m₊, from m = 0.
type MomentumSteps struct {
	Step float64 // η
	Beta float64 // β, in [0, 1)
}

func (MomentumSteps) Name() string { return "momentum" }

func (m MomentumSteps) rule() (stepRule, error) {
	return stepRule{
		name: m.Name(), extra: 1, steady: true, rates: steady(m.Step, m.Beta),
		next: func(rate vectors, y *tensor.Node, v vectors, g *tensor.Node) (*tensor.Node, vectors) {
			next := rate[1].Mul(v[0]).Add(g)
			return y.Sub(rate[0].Mul(next)), vectors{next}
		},
	}, cmp.Or(checkStep("MomentumSteps", m.Step), checkFactor("MomentumSteps.Beta", m.Beta))
}

// AdamSteps are Adam's (Kingma, Ba, ICLR 2015, algorithm 1), from m = u = 0, with t counted from 0:
//
//	m₊ = β₁ m + (1-β₁) g,   u₊ = β₂ u + (1-β₂) g²,   g = ∇yG(x,y)
//	y₊ = y - η m̂ / (√û + ε),   m̂ = m₊/(1-β₁ᵗ⁺¹),   û = u₊/(1-β₂ᵗ⁺¹)
//
// √ has the derivative 0 at 0, so that coordinates whose gradient was 0 in all steps pass no derivative through û.
type AdamSteps struct {
	Step    float64 // η
	Beta1   float64 // β₁; 0: 0.9
	Beta2   float64 // β₂; 0: 0.999
	Epsilon float64 // ε; 0: 1e-8
}

func (AdamSteps) Name() string { return "adam" }

func (m AdamSteps) rule() (stepRule, error) {
	m.Beta1, m.Beta2, m.Epsilon = cmp.Or(m.Beta1, 0.9), cmp.Or(m.Beta2, 0.999), cmp.Or(m.Epsilon, 1e-8)
	err := cmp.Or(checkStep("AdamSteps", m.Step), checkFactor("AdamSteps.Beta1", m.Beta1),
		checkFactor("AdamSteps.Beta2", m.Beta2))
	if err == nil && (!(m.Epsilon > 0) || math.IsInf(m.Epsilon, 0)) {
		err = fmt.Errorf("hypergrad: AdamSteps.Epsilon is %g: wants a positive, finite number", m.Epsilon)
	}
	return stepRule{
		name: m.Name(), extra: 2, curved: true, scaled: true,
		rates: func(t int) []float64 {
			corrected := func(beta float64) float64 { return 1 - math.Pow(beta, float64(t+1)) }
			return []float64{m.Step / corrected(m.Beta1), 1 / math.Sqrt(corrected(m.Beta2))}
		},
		next: func(rate vectors, y *tensor.Node, v vectors, g *tensor.Node) (*tensor.Node, vectors) {
			first := v[0].Scale(m.Beta1).Add(g.Scale(1 - m.Beta1))
			second := v[1].Scale(m.Beta2).Add(g.Square().Scale(1 - m.Beta2))
			size := second.Sqrt().Mul(rate[1]).AddConst(m.Epsilon)
			return y.Sub(rate[0].Mul(first).Div(size)), vectors{first, second}
		},
	}, err
}

// SignSteps are steps of a fixed length in every coordinate, y₊ = y - η_t sign(∇yG(x,y)), sign(0) = 0, with
// η_t = η / (t+1)^Decay and t counted from 0. The derivative of the sign is 0 almost everywhere, so that no derivative
// passes through ∇yG. With Decay = 0 the iterates come to no rest: |y - y*| stays near η√q.
type SignSteps struct {
	Step  float64 // η
	Decay float64 // 0: all steps have the same length
}

func (SignSteps) Name() string { return "sign" }

func (m SignSteps) rule() (stepRule, error) {
	err := checkStep("SignSteps", m.Step)
	if err == nil && (!(m.Decay >= 0) || math.IsInf(m.Decay, 0)) {
		err = fmt.Errorf("hypergrad: SignSteps.Decay is %g: wants a finite number from 0 on", m.Decay)
	}
	return stepRule{
		name: m.Name(), flat: true, scaled: true, steady: m.Decay == 0,
		rates: func(t int) []float64 { return []float64{m.Step / math.Pow(float64(t+1), m.Decay)} },
		next: func(rate vectors, y *tensor.Node, _ vectors, g *tensor.Node) (*tensor.Node, vectors) {
			return y.Sub(rate[0].Mul(g.Sign())), nil
		},
	}, err
}

// innerRule is the rule of an Inner for a problem, with the projection or the proximal map of the lower level.
func innerRule(method string, b *problem.Bound, m Inner) (stepRule, error) {
	if m == nil {
		return stepRule{}, fmt.Errorf("hypergrad: %s.Inner is missing: wants the method whose steps are "+
			"differentiated, such as GradientSteps{Step: 0.1}", method)
	}
	r, err := m.rule()
	if err != nil {
		return r, err
	}
	set, prox := b.Set(problem.Lower), b.Lower.Prox
	switch {
	case prox != nil && set != nil:
		return r, fmt.Errorf("hypergrad: %s: the lower level of %s has a set and a proximal map, and a step with one "+
			"after the other solves neither: put the indicator of the set into Lower.Prox", method, b.Name)
	case prox != nil && !r.proximal:
		return r, fmt.Errorf("hypergrad: %s: %s steps with the proximal map of the problem %s after each of them come "+
			"to rest at another point than the lower minimizer: take GradientSteps", method, m.Name(), b.Name)
	case set != nil && r.scaled && !isBox(b.Lower.Set):
		return r, fmt.Errorf("hypergrad: %s: %s steps give each coordinate a length of its own; with the projection "+
			"onto the %s of the problem %s after each of them they come to rest at another point than the lower "+
			"minimizer: take GradientSteps or MomentumSteps", method, m.Name(), b.Lower.Set, b.Name)
	case prox == nil && set == nil:
		return r, nil
	}
	r.curved = true // where the map bends depends on the point that it is given
	r.direct = prox != nil
	r.after = func(x, step, y *tensor.Node) *tensor.Node {
		if prox != nil {
			return prox(b.Upper.Start.Layout.Vars(x), y, step)
		}
		return set.Project(y, b.All(problem.Lower))
	}
	return r, nil
}

// isBox tells whether a set holds each coordinate alone.
func isBox(s problem.Set) bool {
	switch s := s.(type) {
	case problem.Box, problem.Bounds, problem.BatchBox:
		return true
	case problem.Sets:
		for _, one := range s {
			if !isBox(one) {
				return false
			}
		}
		return true
	}
	return false
}
