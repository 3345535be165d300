package linear

import (
	"cmp"
	"fmt"
	"math"

	"bilevel/tensor"
)

// MINRES is the minimal residual method (Paige, Saunders, SIAM J. Numer. Anal. 12, 1975) for (A + Damping·I) v = b with
// a symmetric A, which may be indefinite: v makes |b - A v| least over the Krylov space. Lanczos' recurrence gives one
// new vector d per product, Givens' rotations of its tridiagonal matrix the residual, and a recurrence of three
// directions w the solution:
//
//	u = A d_k;  α = d_k'u;  u -= α d_k + β_k d_{k-1};  β_{k+1} = |u|;  d_{k+1} = u/β_{k+1}
//	δ = c_k α - c_{k-1} s_k β_k;  ρ = √(δ² + β_{k+1}²);  c_{k+1} = δ/ρ;  s_{k+1} = β_{k+1}/ρ
//	w_k = (d_k - (s_k α + c_{k-1} c_k β_k) w_{k-1} - s_{k-1} β_k w_{k-2}) / ρ
//	v += c_{k+1} η w_k;  η ← -s_{k+1} η;  |r| = |η|
//
// It keeps six vectors. A singular A with b in its range is solved; with another b it ends with Breakdown.
// SmallestEigenvalue is the smallest Ritz value, which is negative where A is seen to be indefinite.
type MINRES struct {
	RTol, ATol float64
	Damping    float64
	MaxSteps   int  // 0: twice the dimension, at most 1000
	Chunk      int  // as in CG
	FromZero   bool // start at v = 0 instead of at the value of Solution
}

// Class is Symmetric.
func (MINRES) Class() Class { return Symmetric }

func (m MINRES) String() string {
	return fmt.Sprintf("MINRES(rtol %g, atol %g, damping %g, at most %d steps)", m.RTol, m.ATol, m.Damping, m.MaxSteps)
}

// Prepare compiles the iteration.
func (m MINRES) Prepare(ex *tensor.Executor, a Matrix) (System, error) {
	s, err := newIteration(ex, a, limits{"MINRES", m.RTol, m.ATol, m.Damping, m.MaxSteps, m.Chunk, m.FromZero, 0})
	if err != nil {
		return nil, err
	}
	before, w1, w2 := s.vector("d before", a.N), s.vector("w before", a.N), s.vector("w two before", a.N)
	beta, eta := s.number("beta"), s.number("eta")
	c, c1, sn, sn1 := s.number("c"), s.number("c before"), s.number("s"), s.number("s before")
	alphas, betas := s.vector("alphas", s.maxSteps), s.vector("betas", s.maxSteps)
	bound := s.bound()
	s.smallest = func(steps int) (float64, error) {
		d, err1 := alphas.Read()
		e, err2 := betas.Read()
		if err := cmp.Or(err1, err2); err != nil || steps == 0 {
			return math.NaN(), err
		}
		return smallestOfTridiagonal(d[:steps], e[:steps-1]) - m.Damping, nil
	}
	return s.compile(a, rule{
		begin: func(r, size *tensor.Node) ([]tensor.Update, *tensor.Node) {
			zeros, one := tensor.Zeros(a.N), tensor.Const(1)
			return []tensor.Update{
				{Var: before, Value: zeros}, {Var: w1, Value: zeros}, {Var: w2, Value: zeros},
				{Var: beta, Value: tensor.Const(0)}, {Var: eta, Value: size},
				{Var: c, Value: one}, {Var: c1, Value: one},
				{Var: sn, Value: tensor.Const(0)}, {Var: sn1, Value: tensor.Const(0)},
				{Var: alphas, Value: tensor.Zeros(s.maxSteps)},
				{Var: betas, Value: tensor.Zeros(s.maxSteps)},
			}, r.Div(tensor.Where(tensor.Const(0).Lt(size), size, one))
		},
		step: func(ad *tensor.Node) advance {
			d, one := s.d.Node(), tensor.Const(1)
			alpha := tensor.Dot(d, ad)
			u := ad.Sub(d.Mul(alpha)).Sub(before.Node().Mul(beta.Node()))
			next, size := Norm(u), Norm(ad)
			delta := c.Node().Mul(alpha).Sub(c1.Node().Mul(sn.Node()).Mul(beta.Node()))
			rho := Norm(tensor.Concat(0, delta.Reshape(1), next.Reshape(1)))
			usable := size.Scale(bound).Lt(rho)
			safe := tensor.Where(usable, rho, one)
			cos, sin := delta.Div(safe), next.Div(safe)
			w := d.Sub(w1.Node().Mul(sn.Node().Mul(alpha).Add(c1.Node().Mul(c.Node()).Mul(beta.Node())))).
				Sub(w2.Node().Mul(sn1.Node().Mul(beta.Node()))).Div(safe)
			left := eta.Node().Mul(sin).Neg()
			lanczos := tensor.Where(size.Scale(bound).Lt(next), u.Div(next), tensor.Zeros(a.N))
			return advance{
				usable: usable, size: left.Abs(), d: lanczos,
				state: []tensor.Update{
					{Var: s.v, Value: s.v.Node().Add(w.Mul(cos.Mul(eta.Node())))},
					{Var: before, Value: d}, {Var: w2, Value: w1.Node()}, {Var: w1, Value: w},
					{Var: beta, Value: next}, {Var: eta, Value: left}, {Var: c1, Value: c.Node()},
					{Var: c, Value: cos}, {Var: sn1, Value: sn.Node()}, {Var: sn, Value: sin},
				},
				add: []addition{{alphas, s.place.Node(), alpha}, {betas, s.place.Node(), next}},
			}
		},
	})
}
