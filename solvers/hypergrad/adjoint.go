package hypergrad

import (
	"context"
	"errors"
	"math"

	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// adjoint is what the estimators have in common whose lower level is the root of a residual, R(x, z) = 0 with as many
// equations as unknowns z [n]: the lower variable, and multipliers where there are some. Differentiating R(x, z(x)) = 0
// gives (Domke, AISTATS 2012; Bai, Kolter, Koltun, NeurIPS 2019, theorem 1)
//
//	∇h = ∇xF - (∂xR)ᵀ w,   (∂zR)ᵀ w = ∇zF
//
// The error figure is that of the file errorestimate.go for this system. With r = ∇zF - (∂zR)ᵀ w held against
// P(z) = ∇xF - (∂xR)ᵀ w and Q(z) = ∇zF - (∂zR)ᵀ w for a fixed w, to first order
//
//	g - ∇h = ∂δP + (∂xR)ᵀ u,   (∂zR)ᵀ u = r - ∂δQ,   ∂zR δ = R(x, z)
type adjoint struct {
	method  string
	measure string
	bound   *problem.Bound
	scope   *tensor.Scope
	oracle  *problem.Oracle
	x       *tensor.Variable
	parts   []*tensor.Variable // z, one part after the other; the first is y
	n       int                // of z
	equations
	across, down linear.System // (∂zR)ᵀ w = b and ∂zR δ = R

	before func(ctx context.Context, h *Hypergradient) error // what is decided at the point; nil: nothing
	after  func(h *Hypergradient) error                      // what is told beside; nil: nothing
	doubt  bool                                              // before found a reason why there is no figure

	gradient, fx, w, r, dp *tensor.Variable
	norms                  *tensor.Variable
	first, assemble        program
	respond, conclude      program
	upper                  optimality
}

// equations are a residual that builds its nodes at the point: each method is called once for a program.
type equations func() linearized

// linearized is a residual at the point.
type linearized interface {
	Value() *tensor.Node                           // R [n]
	Transposed(w *tensor.Node) (x, z *tensor.Node) // (∂xR)ᵀw and (∂zR)ᵀw
}

// program is a compiled function with what one run of it asks the oracle for.
type program struct {
	*tensor.Function
	counts problem.Counts
}

func compileCounted(sc *tensor.Scope, o *problem.Oracle, name string, build func() []tensor.Update) (p program) {
	p.Function = sc.Compile("hypergradient "+name, func() []tensor.Update {
		before := o.Counts
		updates := build()
		p.counts = o.Counts.Plus(before, -1)
		return updates
	})
	return p
}

// Positions in the norms of an adjoint.
const (
	adjR     = iota // |R|
	adjFX           // |∇xF|
	adjB            // |∇zF|
	adjW            // |w|
	adjCW           // |(∂xR)ᵀw|
	adjRes          // |r|
	adjDelta        // |δ|
	adjDQ           // |r - ∂δQ|
	adjU            // |u|
	adjCU           // |(∂xR)ᵀu|
	adjE            // |∂δP + (∂xR)ᵀu|
	adjDP           // |∂δP|
	adjDelQ         // |∂δQ|
	adjDCU          // |∂δ((∂xR)ᵀu)|
	adjDZU          // |∂δ((∂zR)ᵀu)|
	adjBend         // |∂δ∂δR|
	adjCount
)

// prepare compiles the programs. The systems and the hooks are set before.
func (e *adjoint) prepare() (Estimator, error) {
	sc := e.scope
	np := e.x.Size()
	vector := func(name string, n int) *tensor.Variable {
		return sc.Variable("hypergradient "+name, tensor.Real, n)
	}
	e.gradient, e.fx, e.dp = vector("g", np), vector("∇xF", np), vector("dP", np)
	e.w, e.r, e.norms = vector("w", e.n), vector("r", e.n), vector("norms", adjCount)
	e.upper = prepareOptimality(e.bound, sc, e.x)
	b, sol, rhs, delta := e.across.RHS(), e.across.Solution(), e.down.RHS(), e.down.Solution()

	e.first = e.compile("first", func() []tensor.Update {
		gx, gz := e.upperGradients()
		value := e.equations().Value()
		return []tensor.Update{
			{Var: e.fx, Value: gx}, {Var: b, Value: gz}, {Var: rhs, Value: value},
			{Var: sol, Value: tensor.Zeros(e.n)}, {Var: delta, Value: tensor.Zeros(e.n)},
			e.measured(map[int]*tensor.Node{adjR: value, adjFX: gx, adjB: gz}),
		}
	})
	e.assemble = e.compile("assemble", func() []tensor.Update {
		cx, cz := e.equations().Transposed(sol.Node())
		r := b.Node().Sub(cz)
		return []tensor.Update{
			{Var: e.gradient, Value: e.fx.Node().Sub(cx)}, {Var: e.r, Value: r}, {Var: e.w, Value: sol.Node()},
			e.measured(map[int]*tensor.Node{adjW: sol.Node(), adjCW: cx, adjRes: r}),
		}
	})
	e.respond = e.compile("respond", func() []tensor.Update {
		gx, gz := e.upperGradients()
		cx, cz := e.equations().Transposed(e.w.Node())
		d := e.along(delta.Node(), gx.Sub(cx), gz.Sub(cz))
		left := e.r.Node().Sub(d[1])
		return []tensor.Update{
			{Var: e.dp, Value: d[0]}, {Var: b, Value: left}, {Var: sol, Value: tensor.Zeros(e.n)},
			e.measured(map[int]*tensor.Node{adjDelta: delta.Node(), adjDQ: left, adjDP: d[0], adjDelQ: d[1]}),
		}
	})
	e.conclude = e.compile("conclude", func() []tensor.Update {
		at := e.equations()
		cx, cz := at.Transposed(sol.Node())
		d := e.along(delta.Node(), cx, cz)
		bend := e.along(delta.Node(), e.along(delta.Node(), at.Value())[0])[0]
		return []tensor.Update{e.measured(map[int]*tensor.Node{adjU: sol.Node(), adjCU: cx,
			adjE: e.dp.Node().Add(cx), adjDCU: d[0], adjDZU: d[1], adjBend: bend})}
	})
	if err := sc.Err(); err != nil {
		return nil, errors.Join(err, sc.Close())
	}
	return e, nil
}

func (e *adjoint) compile(name string, build func() []tensor.Update) program {
	return compileCounted(e.scope, e.oracle, name, build)
}

// upperGradients are ∇xF and ∇zF, which is 0 for all of z but y.
func (e *adjoint) upperGradients() (gx, gz *tensor.Node) {
	y := e.parts[0].Node()
	gx, gy := e.oracle.At(problem.Upper, e.x.Node(), y, e.bound.All(problem.Upper), frozen, nil).Grad()
	if more := e.n - y.Size(); more > 0 {
		return gx, tensor.Concat(0, gy, tensor.Zeros(more))
	}
	return gx, gy
}

// along is the derivative of nodes along a vector in z.
func (e *adjoint) along(d *tensor.Node, nodes ...*tensor.Node) []*tensor.Node {
	var wrt, tangents []*tensor.Node
	from := 0
	for _, v := range e.parts {
		wrt = append(wrt, v.Node())
		tangents = append(tangents, d.Slice(0, from, from+v.Size()))
		from += v.Size()
	}
	return tensor.JVP(nodes, wrt, tangents)
}

// measured updates some of the norms.
func (e *adjoint) measured(of map[int]*tensor.Node) tensor.Update { return normsUpdate(e.norms, of) }

// normsUpdate writes norms of nodes into their places of a vector and leaves the others.
func normsUpdate(norms *tensor.Variable, of map[int]*tensor.Node) tensor.Update {
	parts := make([]*tensor.Node, norms.Size())
	for i := range parts {
		if n := of[i]; n != nil {
			parts[i] = linear.Norm(n).Reshape(1)
		} else {
			parts[i] = norms.Node().Slice(0, i, i+1)
		}
	}
	return tensor.Update{Var: norms, Value: tensor.Concat(0, parts...)}
}

// Compute solves for w, then for δ and u, which the error figure takes.
func (e *adjoint) Compute(ctx context.Context) (*Hypergradient, error) {
	h := &Hypergradient{Method: e.method, Measure: e.measure, SmallestEigenvalue: math.NaN(), Kind: Estimate}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	e.doubt = false
	if e.before != nil {
		if err := e.before(ctx, h); err != nil {
			return nil, err
		}
	}
	var stats [3]linear.Stats
	var err error
	run := func(p program, counts *problem.Counts) {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			*counts = counts.Plus(p.counts, 1)
			err = p.Run(1)
		}
	}
	solve := func(s linear.System, counts *problem.Counts) (st linear.Stats) {
		if err == nil {
			st, err = s.Solve(ctx)
			counts.HVP += int64(st.Products)
		}
		return st
	}
	run(e.first, &h.Counts)
	stats[0] = solve(e.across, &h.Counts)
	run(e.assemble, &h.Counts)
	stats[1] = solve(e.down, &h.ForError)
	run(e.respond, &h.ForError)
	stats[2] = solve(e.across, &h.ForError)
	run(e.conclude, &h.ForError)
	if err != nil {
		return nil, err
	}
	h.Counts = h.Counts.Plus(h.ForError, 1)
	if err := e.fill(h, stats); err != nil {
		return nil, err
	}
	if e.after != nil {
		if err := e.after(h); err != nil {
			return nil, err
		}
	}
	return h, e.upper.fill(h)
}

// fill writes the gradient and what is known about it.
func (e *adjoint) fill(h *Hypergradient, stats [3]linear.Stats) (err error) {
	h.Status = stats[0].Status
	for _, st := range stats {
		if st.Steps > 0 && !(st.SmallestEigenvalue >= h.SmallestEigenvalue) {
			h.SmallestEigenvalue = st.SmallestEigenvalue
		}
	}
	if h.Gradient, err = e.gradient.Read(); err != nil {
		return err
	}
	direct, err := e.fx.Read()
	if err != nil {
		return err
	}
	n, err := e.norms.Read()
	if err != nil {
		return err
	}
	h.Stationarity, h.Residual, h.Implicit = n[adjR], n[adjRes], n[adjCW]
	h.angle(direct)
	if h.Error = e.figure(n, stats); e.doubt {
		h.Error = math.Inf(1)
	}
	return nil
}

// loose is added as a share of the first-order term, because what hides it is itself known from below only.
const loose = 0.1

// figure is the size of the error's first-order term with what the second order, the residuals of its systems and
// round-off may hide, as in errorestimate.go. ‖(∂zR)⁻¹‖ and ‖∂xR‖ are taken from below, from the vectors that were met,
// hence the factor 2. A Newton step along -δ misses the root by ½ ∂δ∂δR to the second order.
func (e *adjoint) figure(n []float64, stats [3]linear.Stats) float64 {
	for i, st := range stats {
		if st.Status == linear.NotFinite || i > 0 && st.Status == linear.NegativeCurvature {
			return math.Inf(1)
		}
	}
	inverse := max(ratio(n[adjW], n[adjB]), ratio(n[adjDelta], n[adjR]), ratio(n[adjU], n[adjDQ]))
	cross := max(ratio(n[adjCW], n[adjW]), ratio(n[adjCU], n[adjU]))
	info := e.scope.Executor().Info()
	unit := info.SumError(e.n) * info.UnitRoundoff()
	round := unit * (n[adjFX] + n[adjCW])
	roundR := unit * (2*n[adjB] + n[adjRes])
	firstOrder := n[adjDP] + cross*inverse*n[adjDelQ]
	tail := cross*inverse*(2*stats[2].Residual+roundR) + n[adjDCU] + cross*inverse*n[adjDZU] +
		firstOrder*ratio(n[adjBend]/2, n[adjR])
	if st := stats[1]; st.Residual > 0 { // δ is known up to this share of it
		tail += (n[adjE] + cross*inverse*n[adjDQ]) * min(1, ratio(2*inverse*st.Residual, n[adjDelta]))
	}
	return known(n[adjE]*(1+loose) + tail + round)
}

// Close frees the programs, the vectors and the systems.
func (e *adjoint) Close() error { return e.scope.Close() }
