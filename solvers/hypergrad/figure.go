package hypergrad

import (
	"context"
	"math"

	"bilevel/solvers"
	"bilevel/solvers/linear"
	"bilevel/tensor"
)

// The error figure. Let δ = y - y*, r = ∇yF - H v the residual at y, and P(y) = ∇xF - C v, Q(y) = ∇yF - H v with v
// held fixed. To first order in δ and r
//
//	g - ∇h = ∂δP + C z,   H z = r - ∂δQ,   H δ = ∇yG(x,y)
//
// (expand P and Q around y*, where v* = v + H⁻¹(r - ∂δQ)). The estimate computes this vector with two more, loose,
// linear solves and adds what their residuals and round-off may hide. With all constants declared there is a bound
// instead, with no more solves (Ghadimi, Wang 2018, lemma 2.2):
//
//	|g - ∇h| <= (L_Fx + L_C|v| + ‖C‖/μ (L_Fy + L_H|v|)) |∇yG|/μ + ‖C‖/μ |r|

// auxiliary is how exactly the error's systems are solved: a figure needs few digits.
var auxiliary = linear.CG{RTol: 1e-3, FromZero: true}

type compiler = func(dst **tensor.Function, name string, build func() []tensor.Update)

func (e *Estimator) compileError(X, Y *tensor.Node, lower, upper solvers.Batch, hessian linear.Operator, o *solvers.Oracle, compile compiler) {
	v, rhs, z := e.system.Solution().Node(), e.aux.RHS(), e.aux.Solution()
	compile(&e.keep, "keep", func() []tensor.Update { // ∇yG waits in delta: ask for δ
		return []tensor.Update{{Var: rhs, Value: e.delta.Node()}, {Var: z, Value: tensor.Zeros(Y.Size())}}
	})
	compile(&e.respond, "respond", func() []tensor.Update {
		delta := z.Node()
		fx, fy := o.UpperGradient(X, Y, upper)
		P := fx.Sub(o.Cross(X, Y, lower, v))
		Q := fy.Sub(hessian(v))
		d := tensor.JVP([]*tensor.Node{P, Q}, []*tensor.Node{Y}, []*tensor.Node{delta})
		return []tensor.Update{
			{Var: e.dp, Value: d[0]}, {Var: rhs, Value: e.residual.Node().Sub(d[1])}, {Var: z, Value: tensor.Zeros(Y.Size())},
			e.measure(map[int]*tensor.Node{normDelta: delta, normDP: d[0], normDQ: d[1]}),
		}
	})
	compile(&e.conclude, "conclude", func() []tensor.Update {
		cz := o.Cross(X, Y, lower, z.Node())
		return []tensor.Update{e.measure(map[int]*tensor.Node{normZ: z.Node(), normCZ: cz, normE: e.dp.Node().Add(cz)})}
	})
}

// figure fills in what is known about the error.
func (e *Estimator) figure(ctx context.Context, h *Hypergradient) error {
	var delta, z linear.Stats
	if !e.bound {
		var err error
		solve := func(before *tensor.Function, st *linear.Stats) {
			if err == nil {
				err = before.Run(1)
			}
			if err == nil {
				*st, err = e.aux.Solve(ctx)
				h.Products += st.Products
			}
		}
		solve(e.keep, &delta)
		solve(e.respond, &z)
		if err == nil {
			err = e.conclude.Run(1)
		}
		if err != nil {
			return err
		}
	}
	n, err := e.norms.Read()
	if err != nil {
		return err
	}
	h.Stationarity, h.Residual = n[normGY], n[normR]
	for _, st := range []linear.Stats{delta, z} {
		if e.p.Mu <= 0 && st.Steps > 0 && !(st.SmallestEigenvalue >= h.SmallestEigenvalue) {
			h.SmallestEigenvalue = st.SmallestEigenvalue
		}
	}
	mu := h.SmallestEigenvalue
	// What rounding in ∇xF - C v and in the residual may hide.
	round := e.info.sumQ * (n[normFX] + n[normCV])
	roundR := e.info.sumQ * (n[normB] + n[normB] + n[normR]) // |H v| <= |∇yF| + |r|
	if e.bound {
		c := e.p.Constants
		h.Kind = Bound
		amplify := c.CrossNorm / mu
		h.Error = (c.GradXF+c.Cross*n[normV]+amplify*(c.GradYF+c.Hessian*n[normV]))*n[normGY]/mu + amplify*(n[normR]+roundR) + round
		return nil
	}
	h.Kind = Estimate
	cross := max(ratio(n[normCV], n[normV]), ratio(n[normCZ], n[normZ])) // ‖C‖, from below
	amplify := 0.0
	if cross > 0 {
		amplify = cross / mu
	}
	tail := amplify * (z.Residual + roundR)
	if delta.Residual > 0 { // δ is known up to its residual over μ
		tail += (n[normDP] + amplify*n[normDQ]) * ratio(delta.Residual/mu, n[normDelta])
	}
	h.Error = n[normE] + tail + round
	for _, s := range []linear.Status{delta.Status, z.Status} {
		if s == linear.NegativeCurvature || s == linear.NotFinite || !(h.Error >= 0) {
			h.Error = math.Inf(1) // nothing can be said
		}
	}
	return nil
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}
