package hypergrad

import (
	"context"
	"math"

	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// The error figure. Let δ = y - y*, r = ∇yF - H v the residual at y, and P(y) = ∇xF - C v, Q(y) = ∇yF - H v with v
// held fixed. To first order in δ and r
//
//	g - ∇h = ∂δP + C z,   H z = r - ∂δQ,   H δ = ∇yG(x,y)
//
// (expand P and Q around y*, where v* = v + H⁻¹(r - ∂δQ)). The estimate computes this vector with two more, loose,
// linear solves and adds what their residuals, round-off and the second order may hide:
//
//	|g - ∇h| ≈ 1.01 |∂δP + C z| + ‖C‖/μ |residual of z| + (|∂δP| + ‖C‖/μ |∂δQ|) |residual of δ|/(μ|δ|)
//	           + (|∂δP| + s |∂δQ|) ρ + |∂δ(C z)| + s |∂δ(H z)|
//
// where ρ = |∇yG(x,y-δ)|/|∇yG(x,y)| is how far a Newton step misses the minimizer, which is zero where G is quadratic
// in y, and s is twice what C H⁻¹ made of the vectors ∇yF and r - ∂δQ. ‖C‖ is measured by a step of powers of CCᵀ, and
// μ is the smallest Ritz value met. With all constants declared there is a bound instead, with no more solves
// (Ghadimi, Wang 2018, lemma 2.2):
//
//	|g - ∇h| <= (L_Fx + L_C|v| + ‖C‖/μ (L_Fy + L_H|v|)) |∇yG|/μ + ‖C‖/μ |r|

// auxiliary is how exactly the error's systems are solved: a figure needs few digits. What may be left of δ after that
// is its residual over μ, which in an ill-conditioned system is as large as δ itself, and all of it in the directions
// where G is flat and F perhaps is not. So the solve of δ goes on from its residual, at most refinements times, until
// that is no more than unseen of |δ|.
var auxiliary = linear.CG{RTol: 1e-3, FromZero: true}

const (
	refinements = 6
	unseen      = 0.01
)

// prepareError compiles the estimate's programs and its two systems.
func (e *implicit) prepareError(at *pieces, nq int) (err error) {
	if e.aux, err = at.system(auxiliary, nq); err != nil {
		return err
	}
	e.scope.Own(e.aux.Close)
	v, rhs, z := e.system.Solution().Node(), e.aux.RHS(), e.aux.Solution()
	e.keep = at.stage("keep", func(*terms) []tensor.Update { // ∇yG waits in delta: ask for δ
		return []tensor.Update{{Var: rhs, Value: e.delta.Node()}, {Var: z, Value: tensor.Zeros(nq)},
			{Var: e.delta, Value: tensor.Zeros(nq)}}
	})
	e.gather = at.stage("gather", func(*terms) []tensor.Update {
		delta := e.delta.Node().Add(z.Node())
		return []tensor.Update{{Var: e.delta, Value: delta}, e.measure(map[int]*tensor.Node{normDelta: delta})}
	})
	e.refine = at.stage("refine", func(t *terms) []tensor.Update {
		hz := t.of(problem.Lower, func(p *problem.Point) []*tensor.Node { return []*tensor.Node{p.HVP(z.Node())} })[0]
		return []tensor.Update{{Var: rhs, Value: rhs.Node().Sub(hz)}, {Var: z, Value: tensor.Zeros(nq)}}
	})
	// along is the derivative of two nodes along δ in y.
	along := func(delta *tensor.Node, nodes ...*tensor.Node) []*tensor.Node {
		return tensor.JVP(nodes, []*tensor.Node{at.y}, []*tensor.Node{delta})
	}
	e.respond = at.stage("respond", func(t *terms) []tensor.Update {
		delta := e.delta.Node()
		f := t.of(problem.Upper, func(p *problem.Point) []*tensor.Node { return along(delta, p.GradX(), p.GradY()) })
		g := t.of(problem.Lower, func(p *problem.Point) []*tensor.Node { return along(delta, p.Cross(v), p.HVP(v)) })
		dP, dQ := f[0].Sub(g[0]), f[1].Sub(g[1])
		miss := t.at(problem.Lower, at.y.Sub(delta), func(p *problem.Point) []*tensor.Node {
			return []*tensor.Node{p.GradY()}
		})[0]
		return []tensor.Update{
			{Var: e.dp, Value: dP}, {Var: rhs, Value: e.residual.Node().Sub(dQ)}, {Var: z, Value: tensor.Zeros(nq)},
			e.measure(map[int]*tensor.Node{normDP: dP, normDQ: dQ, normMiss: miss}),
		}
	})
	e.conclude = at.stage("conclude", func(t *terms) []tensor.Update {
		c := t.of(problem.Lower, func(p *problem.Point) []*tensor.Node {
			cz, hz := p.Cross(z.Node()), p.HVP(z.Node())
			return append(along(e.delta.Node(), cz, hz), cz, p.CrossT(e.cv.Node()))
		})
		return []tensor.Update{e.measure(map[int]*tensor.Node{
			normZ: z.Node(), normDCZ: c[0], normDHZ: c[1], normCZ: c[2], normE: e.dp.Node().Add(c[2]), normCCV: c[3],
		})}
	})
	return nil
}

// solveError solves the error's two systems.
func (e *implicit) solveError(ctx context.Context, h *Hypergradient) (delta, z linear.Stats, err error) {
	solve := func(before stage) (st linear.Stats, err error) {
		if err = before.run(ctx); err == nil {
			st, err = e.aux.Solve(ctx)
		}
		h.ForError = h.ForError.Plus(before.counts, 1).Plus(problem.Counts{HVP: int64(st.Products)}, 1)
		e.meet(h, st)
		return st, err
	}
	if delta, err = solve(e.keep); err != nil {
		return delta, z, err
	}
	for range refinements {
		if err = e.gather.run(ctx); err != nil {
			return delta, z, err
		}
		n, err := e.norms.Read()
		if err != nil {
			return delta, z, err
		}
		if !(delta.Residual > unseen*h.SmallestEigenvalue*n[normDelta]) || delta.Status != linear.Converged {
			break
		}
		next, err := solve(e.refine)
		if err != nil {
			return delta, z, err
		}
		if !(next.Residual < delta.Residual) { // round-off is all that is left
			break
		}
		delta = next
	}
	if z, err = solve(e.respond); err == nil {
		err = e.conclude.run(ctx)
	}
	h.ForError = h.ForError.Plus(e.conclude.counts, 1)
	return delta, z, err
}

// meet takes a solve's smallest Ritz value into what is known of H, unless its modulus was declared.
func (e *implicit) meet(h *Hypergradient, st linear.Stats) {
	if e.p.Mu <= 0 && st.Steps > 0 && !(st.SmallestEigenvalue >= h.SmallestEigenvalue) {
		h.SmallestEigenvalue = st.SmallestEigenvalue
	}
}

// estimateError fills in what is known about the error.
func (e *implicit) estimateError(ctx context.Context, h *Hypergradient) error {
	var delta, z linear.Stats
	if !e.bound {
		var err error
		if delta, z, err = e.solveError(ctx, h); err != nil {
			return err
		}
	}
	h.Counts = h.Counts.Plus(h.ForError, 1)
	n, err := e.norms.Read()
	if err != nil {
		return err
	}
	h.Stationarity, h.Residual, h.Implicit = n[normGY], n[normR], n[normCV]
	mu := h.SmallestEigenvalue
	if math.IsNaN(mu) {
		mu = ratio(n[normB], n[normV]) // no solve took a step: |H v|/|v| is all that is known of H
	}
	// What rounding in ∇xF - C v and in the residual may hide.
	round := e.info.sumQ * (n[normFX] + n[normCV])
	if e.method.Differences {
		round += n[normGap]
	}
	roundR := e.info.sumQ * (n[normB] + n[normB] + n[normR]) // |H v| <= |∇yF| + |r|
	if e.bound {
		c := e.p.Constants
		h.Kind = Bound
		amplify := c.CrossNorm / mu
		h.Error = known((c.GradXF+c.Cross*n[normV]+amplify*(c.GradYF+c.Hessian*n[normV]))*n[normGY]/mu +
			amplify*(n[normR]+roundR) + round)
		return nil
	}
	h.Kind = Estimate
	cross := max(ratio(n[normCV], n[normV]), ratio(n[normCZ], n[normZ]), ratio(n[normCCV], n[normCV])) // from below
	amplify := 0.0
	if cross > 0 {
		amplify = cross / mu
	}
	// What C H⁻¹ makes of a vector, by the two vectors of which it is known; ‖C‖/μ is the worst case.
	seen := min(amplify, 2*max(ratio(n[normCV], n[normB]), ratio(n[normCZ], z.RHSNorm)))
	tail := amplify*(z.Residual+roundR) + (n[normDP]+seen*n[normDQ])*ratio(n[normMiss], n[normGY]) +
		n[normDCZ] + seen*n[normDHZ]
	if delta.Residual > 0 { // δ is known up to its residual over μ
		tail += (n[normDP] + amplify*n[normDQ]) * ratio(delta.Residual/mu, n[normDelta])
	}
	h.Error = known(n[normE]*(1+unseen) + tail + round)
	for _, s := range []linear.Status{delta.Status, z.Status} {
		if s == linear.NegativeCurvature || s == linear.NotFinite {
			h.Error = math.Inf(1) // nothing can be said
		}
	}
	return nil
}

// known is a figure, or infinity where numbers that are not finite made it.
func known(figure float64) float64 {
	if !(figure >= 0) {
		return math.Inf(1)
	}
	return figure
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}
