package hypergrad

import (
	"context"
	"math"

	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// ending is what the estimators without a linear system have in common: ∇F where they end, how far the lower level is
// from being solved there, and the result without an error figure.
type ending struct {
	p            *problem.Problem
	upper        optimality
	g, fx        *tensor.Variable // the hypergradient, and its part ∇xF
	stationarity *tensor.Variable
	measure      string
	end          stage
}

// newEnding makes the variables of an ending at variables x.
func newEnding(b *problem.Bound, sc *tensor.Scope, x *tensor.Variable) *ending {
	return &ending{
		p: b.Problem, upper: prepareOptimality(b, sc, x), g: sc.Variable("hypergradient g", tensor.Real, x.Size()),
		fx: sc.Variable("hypergradient ∇xF", tensor.Real, x.Size()), stationarity: sc.Number("stationarity"),
	}
}

// prepareEnding compiles the program that puts ∇xF into g and fx. also builds more updates of this program, from ∇yF.
func prepareEnding(at *pieces, x *tensor.Variable, also func(fy *tensor.Node) []tensor.Update) *ending {
	e := newEnding(at.b, at.scope, x)
	e.end = at.stage("end", func(t *terms) []tensor.Update {
		f := t.of(problem.Upper, func(p *problem.Point) []*tensor.Node { return []*tensor.Node{p.GradX(), p.GradY()} })
		g := t.of(problem.Lower, func(p *problem.Point) []*tensor.Node { return []*tensor.Node{p.GradY()} })[0]
		distance, measure := stationarity(at.b, at.x, at.y, g)
		e.measure = measure
		return append(also(f[1]), tensor.Update{Var: e.fx, Value: f[0]}, tensor.Update{Var: e.g, Value: f[0]},
			tensor.Update{Var: e.stationarity, Value: distance})
	})
	return e
}

// finish runs the program at the point where the method ended.
func (e *ending) finish(ctx context.Context, counts *problem.Counts) error {
	return e.end.repeat(ctx, 1, counts)
}

// result reads g and what is known about it; method and bias say what it is, and states how many were kept.
func (e *ending) result(method, bias string, states int, counts problem.Counts) (*Hypergradient, error) {
	h := &Hypergradient{Method: method, Measure: e.measure, Error: math.Inf(1), Kind: Stated, Bias: bias,
		SmallestEigenvalue: math.NaN(), States: states, Counts: counts}
	if e.p.Mu > 0 {
		h.SmallestEigenvalue = e.p.Mu
	}
	var err error
	if h.Stationarity, err = e.stationarity.Number(); err != nil {
		return nil, err
	}
	if h.Gradient, err = e.g.Read(); err != nil {
		return nil, err
	}
	direct, err := e.fx.Read()
	if err != nil {
		return nil, err
	}
	h.split(direct)
	return h, e.upper.fill(h)
}

// split fills in the size of the term beside ∇xF and its angle with the whole, and the status.
func (h *Hypergradient) split(direct []float64) {
	square := 0.0
	for i, g := range h.Gradient {
		square += (g - direct[i]) * (g - direct[i])
	}
	h.Implicit = math.Sqrt(square)
	h.angle(direct)
}

// angle fills in the angle of the term beside ∇xF, whose size is known, with the whole, and the status.
func (h *Hypergradient) angle(direct []float64) {
	inner := 0.0
	for i, g := range h.Gradient {
		inner += (g - direct[i]) * g
		if math.IsNaN(g) || math.IsInf(g, 0) {
			h.Status = linear.NotFinite
		}
	}
	if size := h.Implicit * h.Norm(); size > 0 {
		h.Cosine = inner / size
	}
}
