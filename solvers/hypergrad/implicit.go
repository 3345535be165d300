// Package hypergrad computes hypergradients of a bi-level problem, each with its error.
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

// Implicit is the hypergradient by the implicit function theorem (Pedregosa, ICML 2016; Grazzi, Franceschi, Pontil,
// Salzo, ICML 2020):
//
//	∇h ≈ g = ∇xF(x,y) - C v,   H v = ∇yF(x,y)
//
// at a y near the lower minimizer, on all rows of the data. Solver chooses how the linear system is solved. Rows is the
// most rows that are looked at together: gradients and products are sums over pieces of so many rows, in a memory that
// does not grow with the data; 0 puts all rows into one piece, which is faster where it fits.
//
// What the solvers want beside products is passed on to them: gradients of single rows (of the data's part alone where
// the lower objective is a Composite), products with minibatches of rows, the modulus Mu, and the following fields.
type Implicit struct {
	Solver linear.Solver
	Rows   int

	// GaussNewton puts the Gauss-Newton matrix of a Composite lower objective in the place of H in the linear system:
	// positive semidefinite where H is not, as for networks with ReLU. The residual is that of H all the same, so that
	// the error figure counts what the replacement costs.
	GaussNewton bool
	// Differences computes C v, and H v inside the solver, by central differences of gradients, as DARTS does (Liu,
	// Simonyan, Yang, ICLR 2019), for two gradients each:
	//
	//	C v ≈ (∇xG(x,y+εv) - ∇xG(x,y-εv)) / 2ε,   ε = u^(1/3) max(1,|y|)/|v|
	//
	// with u the device's unit round-off. The truncation error is ε²|v|³ times a third derivative over 6, and zero
	// where G is quadratic in y; the rounding error is near u/ε times the gradient. The error figure compares with
	// exact products.
	Differences bool
	// Diagonal builds H's diagonal [q] at (x, y), for linear.Given; nil: not known.
	Diagonal func(x, y *tensor.Node) *tensor.Node
	// Pairs are those of the L-BFGS that solves the lower level, for linear.LBFGSInverse.
	Pairs *linear.Pairs
}

func (Implicit) Name() string { return "implicit" }

// Needs says that a set of x is usable, because it does not change ∇h.
func (Implicit) Needs() Needs {
	return Needs{
		Usable: problem.UpperSet | problem.UpperConstraints | problem.ModelState,
		Why: "the implicit function theorem as used here needs one lower level with a smooth objective, without " +
			"constraints, whose variable lasts",
	}
}

// implicit is Implicit prepared for a problem.
type implicit struct {
	p                       *problem.Problem
	upper                   optimality
	bound                   bool // all constants were declared when the estimator was prepared
	info                    arithmetic
	scope                   *tensor.Scope
	system, aux             linear.System // H v = ∇yF; the error's two systems (nil where there is a bound)
	gradient, fx, cv, delta *tensor.Variable
	dp, residual            *tensor.Variable
	norms                   *tensor.Variable // see the constants below
	begin, assemble         stage
	keep, gather, refine    stage // of the error's systems, in this order
	respond, conclude       stage
	method                  Implicit
	product                 problem.Counts // what a product costs inside the solver
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
	normMiss         // |∇yG(x,y-δ)|
	normCCV          // |Cᵀ C v|
	normDCZ          // |∂δ(C z)|
	normDHZ          // |∂δ(H z)|
	normGap          // |C v by differences - C v|
	numNorms
)

// arithmetic is the unit round-off, and that times the error constant of sums over q terms.
type arithmetic struct{ u, sumQ float64 }

// Prepare compiles the estimator. It reads x and y where they stand at each Compute.
func (m Implicit) Prepare(b *problem.Bound, x, y *tensor.Variable) (Estimator, error) {
	if err := refuse(b, m, x, y); err != nil {
		return nil, err
	}
	if m.Solver == nil {
		return nil, errors.New("hypergrad: Implicit without a solver for its linear system")
	}
	if m.Rows < 0 {
		return nil, fmt.Errorf("hypergrad: pieces of %d rows; wants at least one, or 0 for all rows together", m.Rows)
	}
	switch {
	case m.GaussNewton && m.Differences:
		return nil, errors.New("hypergrad: Implicit with both GaussNewton and Differences: wants at most one of them")
	case m.GaussNewton && b.Lower.Composite == nil:
		return nil, fmt.Errorf("hypergrad: Implicit with GaussNewton on the problem %s, whose lower objective is no "+
			"Composite: give it by its outputs and what is done with them (problem.Composite), or leave GaussNewton "+
			"out",
			b.Name)
	}
	sc := b.Executor.Scope()
	e := &implicit{p: b.Problem, bound: b.Constants != nil && b.Mu > 0, scope: sc, method: m}
	np, nq := x.Size(), y.Size()
	info := b.Executor.Info()
	e.info = arithmetic{info.UnitRoundoff(), info.SumError(nq) * info.UnitRoundoff()}
	vector := func(name string, n int) *tensor.Variable {
		return sc.Variable("hypergradient "+name, tensor.Real, n)
	}
	e.gradient, e.fx, e.cv, e.dp = vector("g", np), vector("∇xF", np), vector("C v", np), vector("dP", np)
	e.delta, e.residual = vector("δ", nq), vector("r", nq)
	e.norms = vector("norms", numNorms)

	e.upper = prepareOptimality(b, sc, x)
	at := newPieces(b, sc, x, y, m.Rows)
	if err := e.prepare(at, nq); err != nil {
		return nil, errors.Join(err, sc.Close())
	}
	return e, nil
}

func (e *implicit) prepare(at *pieces, nq int) (err error) {
	sc := e.scope
	m, err := e.matrix(at, nq)
	if err != nil {
		return err
	}
	if e.system, err = e.method.Solver.Prepare(at.b.Executor, m); err != nil {
		return err
	}
	sc.Own(e.system.Close)
	b, v := e.system.RHS(), e.system.Solution()
	e.begin = at.stage("begin", func(t *terms) []tensor.Update {
		gy := t.of(problem.Lower, func(p *problem.Point) []*tensor.Node { return []*tensor.Node{p.GradY()} })[0]
		f := t.of(problem.Upper, func(p *problem.Point) []*tensor.Node { return []*tensor.Node{p.GradX(), p.GradY()} })
		return []tensor.Update{
			{Var: e.delta, Value: gy}, {Var: e.fx, Value: f[0]}, {Var: b, Value: f[1]},
			{Var: v, Value: tensor.Zeros(nq)},
			e.measure(map[int]*tensor.Node{normGY: gy, normFX: f[0], normB: f[1]}),
		}
	})
	e.assemble = at.stage("assemble", func(t *terms) []tensor.Update {
		g := t.of(problem.Lower, func(p *problem.Point) []*tensor.Node {
			return []*tensor.Node{p.Cross(v.Node()), p.HVP(v.Node())}
		})
		r, cross := b.Node().Sub(g[1]), g[0]
		of := map[int]*tensor.Node{normV: v.Node(), normCV: cross, normR: r}
		if e.method.Differences {
			cross = e.differences(v.Node(), at.y, func(y *tensor.Node) *tensor.Node {
				return t.at(problem.Lower, y,
					func(p *problem.Point) []*tensor.Node { return []*tensor.Node{p.GradX()} })[0]
			})
			of[normGap] = cross.Sub(g[0])
		}
		return []tensor.Update{
			{Var: e.gradient, Value: e.fx.Node().Sub(cross)}, {Var: e.cv, Value: g[0]}, {Var: e.residual, Value: r},
			e.measure(of),
		}
	})
	if !e.bound {
		if err := e.prepareError(at, nq); err != nil {
			return err
		}
	}
	return sc.Err()
}

// measure updates some of the norms.
func (e *implicit) measure(of map[int]*tensor.Node) tensor.Update { return normsUpdate(e.norms, of) }

func (e *implicit) Compute(ctx context.Context) (*Hypergradient, error) {
	if err := e.begin.run(ctx); err != nil {
		return nil, err
	}
	st, err := e.system.Solve(ctx)
	if err != nil {
		return nil, err
	}
	if err := e.assemble.run(ctx); err != nil {
		return nil, err
	}
	h := &Hypergradient{
		Method: "implicit", Measure: MeasureGradient, Status: st.Status, SmallestEigenvalue: st.SmallestEigenvalue,
		Counts: e.begin.counts.Plus(e.assemble.counts, 1).Plus(e.cost(st), 1),
	}
	if e.method.Differences { // the exact products at the end serve the error figure alone
		h.ForError = problem.Counts{HVP: 1, JVP: 1}
		h.Counts = h.Counts.Plus(h.ForError, -1)
	}
	if e.method.GaussNewton { // what the solver has seen are eigenvalues of another matrix
		h.SmallestEigenvalue = math.NaN()
	}
	if e.p.Mu > 0 {
		h.SmallestEigenvalue = e.p.Mu
	}
	if h.Gradient, err = e.gradient.Read(); err != nil {
		return nil, err
	}
	if err := e.estimateError(ctx, h); err != nil {
		return nil, err
	}
	direct, err := e.fx.Read()
	if err != nil {
		return nil, err
	}
	h.angle(direct)
	return h, e.upper.fill(h)
}

func (e *implicit) Close() error { return e.scope.Close() }
