// Package hypergrad computes hypergradients of a bi-level problem, each with its error.
package hypergrad

import (
	"context"
	"errors"
	"math"

	"bilevel/solvers"
	"bilevel/solvers/linear"
	"bilevel/tensor"
)

// Implicit is the hypergradient by the implicit function theorem (Pedregosa, ICML 2016; Grazzi, Franceschi, Pontil,
// Salzo, ICML 2020):
//
//	∇h ≈ g = ∇xF(x,y) - C v,   H v = ∇yF(x,y)
//
// at a y near the lower minimizer, on all rows of the data. Solver chooses how the linear system is solved.
type Implicit struct {
	Solver linear.Solver
}

// Hypergradient is a hypergradient with what is known about its error.
type Hypergradient struct {
	Gradient []float64

	// Stationarity is |∇yG(x,y)|: how far y is from minimizing the lower level. It is usually the larger error.
	Stationarity float64
	// Residual is |∇yF - H v|, computed anew at the end.
	Residual float64
	// SmallestEigenvalue of H: the declared modulus, or the smallest Ritz value met (an upper bound).
	SmallestEigenvalue float64
	// Error is an estimate or a bound, as Kind says, of |g - ∇h|.
	Error float64
	Kind  Kind
	// Status is that of the linear solve; NegativeCurvature means that H is not positive definite at y.
	Status linear.Status
	// Products is the number of Hessian-vector products, those for the error included.
	Products int
}

// Kind says what an error figure is.
type Kind string

const (
	// Bound: every constant it needs was declared, and |g - ∇h| <= Error.
	Bound Kind = "bound"
	// Estimate: to first order in the distance from the lower minimizer, with quantities measured at the point.
	Estimate Kind = "estimate"
)

// Estimator is Implicit prepared for a problem at variables x [p] and y [q].
type Estimator struct {
	p                       *solvers.Problem
	bound                   bool // all constants were declared when the estimator was prepared
	info                    infoFigures
	system, aux             linear.System // H v = ∇yF; the error's two systems (nil where there is a bound)
	gradient, fx, delta     *tensor.Variable
	dp, residual            *tensor.Variable
	norms                   *tensor.Variable // see the constants below
	begin, assemble         *tensor.Function
	keep, respond, conclude *tensor.Function
	functions               []*tensor.Function
	variables               []*tensor.Variable
}

// Positions in norms.
const (
	normGY    = iota // |∇yG|
	normFX           // |∇xF|
	normB            // |∇yF|
	normV            // |v|
	normCV           // |C v|
	normR            // |∇yF - H v|
	normDelta        // |δ|, δ ≈ y - y*
	normDP           // |∂δ(∇xF - C v)|
	normDQ           // |∂δ(∇yF - H v)|
	normZ            // |z|, H z = r - ∂δ(∇yF - H v)
	normCZ           // |C z|
	normE            // |∂δ(∇xF - C v) + C z|: the error to first order
	numNorms
)

// infoFigures are the arithmetic's: unit round-off times the error constant of sums over p and q terms.
type infoFigures struct{ sumQ float64 }

// Prepare compiles the estimator. It reads x and y where they stand at each Compute.
func (m Implicit) Prepare(ex *tensor.Executor, p *solvers.Problem, x, y *tensor.Variable) (_ *Estimator, err error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	if m.Solver == nil {
		return nil, errors.New("hypergrad: Implicit without a solver for its linear system")
	}
	e := &Estimator{p: p, bound: p.Constants != nil && p.Mu > 0}
	defer func() {
		if err != nil {
			e.Close()
		}
	}()
	np, nq := x.Size(), y.Size()
	info := ex.Info()
	e.info.sumQ = info.SumError(nq) * info.UnitRoundoff()
	vector := func(name string, n int) *tensor.Variable {
		v := ex.Variable("hypergradient "+name, tensor.Real, n)
		e.variables = append(e.variables, v)
		return v
	}
	e.gradient, e.fx, e.dp = vector("g", np), vector("∇xF", np), vector("dP", np)
	e.delta, e.residual = vector("δ", nq), vector("r", nq)
	e.norms = vector("norms", numNorms)

	X, Y := x.Node(), y.Node()
	lower, upper := solvers.Batch{Rows: p.Lower.Rows}, solvers.Batch{Rows: p.Upper.Rows}
	o := solvers.NewOracle(p)
	hessian := func(v *tensor.Node) *tensor.Node { return o.HVP(X, Y, lower, v) }
	if e.system, err = m.Solver.Prepare(ex, hessian, nq); err != nil {
		return nil, err
	}
	b, v := e.system.RHS(), e.system.Solution()
	compile := func(dst **tensor.Function, name string, build func() []tensor.Update) {
		if err == nil {
			if *dst, err = ex.Compile("hypergradient "+name, build); err == nil {
				e.functions = append(e.functions, *dst)
			}
		}
	}
	compile(&e.begin, "begin", func() []tensor.Update {
		gy := o.LowerGradient(X, Y, lower)
		fx, fy := o.UpperGradient(X, Y, upper)
		return []tensor.Update{
			{Var: e.delta, Value: gy}, {Var: e.fx, Value: fx}, {Var: b, Value: fy}, {Var: v, Value: tensor.Zeros(nq)},
			e.measure(map[int]*tensor.Node{normGY: gy, normFX: fx, normB: fy}),
		}
	})
	compile(&e.assemble, "assemble", func() []tensor.Update {
		cv := o.Cross(X, Y, lower, v.Node())
		r := b.Node().Sub(hessian(v.Node()))
		return []tensor.Update{
			{Var: e.gradient, Value: e.fx.Node().Sub(cv)}, {Var: e.residual, Value: r},
			e.measure(map[int]*tensor.Node{normV: v.Node(), normCV: cv, normR: r}),
		}
	})
	if err == nil && !e.bound {
		if e.aux, err = auxiliary.Prepare(ex, hessian, nq); err == nil {
			e.compileError(X, Y, lower, upper, hessian, o, compile)
		}
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

// measure updates some of the norms.
func (e *Estimator) measure(of map[int]*tensor.Node) tensor.Update {
	parts := make([]*tensor.Node, numNorms)
	for i := range parts {
		if n := of[i]; n != nil {
			parts[i] = n.Norm().Reshape(1)
		} else {
			parts[i] = e.norms.Node().Slice(0, i, i+1)
		}
	}
	return tensor.Update{Var: e.norms, Value: tensor.Concat(0, parts...)}
}

// Compute gives the hypergradient where x and y stand. The status inside tells the numerical outcome; the error
// is the device's.
func (e *Estimator) Compute(ctx context.Context) (*Hypergradient, error) {
	if err := e.begin.Run(1); err != nil {
		return nil, err
	}
	st, err := e.system.Solve(ctx)
	if err != nil {
		return nil, err
	}
	if err := e.assemble.Run(1); err != nil {
		return nil, err
	}
	h := &Hypergradient{Status: st.Status, Products: st.Products + 1, SmallestEigenvalue: st.SmallestEigenvalue}
	if e.p.Mu > 0 {
		h.SmallestEigenvalue = e.p.Mu
	}
	if h.Gradient, err = e.gradient.Read(); err != nil {
		return nil, err
	}
	if err := e.figure(ctx, h); err != nil {
		return nil, err
	}
	for _, g := range h.Gradient {
		if math.IsNaN(g) || math.IsInf(g, 0) {
			h.Status = linear.NotFinite
		}
	}
	return h, nil
}

// Close frees the programs and vectors.
func (e *Estimator) Close() error {
	var first error
	note := func(err error) {
		if first == nil {
			first = err
		}
	}
	for _, f := range e.functions {
		note(f.Close())
	}
	for _, s := range []linear.System{e.system, e.aux} {
		if s != nil {
			note(s.Close())
		}
	}
	for _, v := range e.variables {
		v.Free()
	}
	return first
}
