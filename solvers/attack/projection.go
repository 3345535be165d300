package attack

import "bilevel/tensor"

// hyperplane projects points t [B, d] of the cube [0, 1]^d onto {u : ⟨w, u⟩ = ⟨w, t⟩ + need} and the cube together, in
// a norm, and gives the move u - t. Where they do not meet, u is the corner of the cube that comes nearest to the
// plane. w is [B, d], need a column [B, 1] (Croce, Hein, "Minimally distorted adversarial examples with a fast adaptive
// boundary attack", ICML 2020, section 2.2).
//
// The solution moves each coordinate by s_i·m_i with s_i = sign(w_i·need) and
//
//	m_i = min(τ, r_i) in l_inf,   m_i = min(τ|w_i|, r_i) in l_2
//
// where r_i is how far t_i can go before it leaves [0, 1], and τ solves φ(τ) = Σ |w_i| m_i = |need|. φ rises, is
// concave and piecewise linear; its tangent at 0 gives a τ that is at most the solution. No coordinates are sorted:
// bisection of a fixed length finds an interval around the solution (up to 1 in l_inf, where r_i ≤ 1; up to 2¹⁶ times
// that lower bound in l_2, halving the exponent), and then a few steps along tangents go on from its lower end. φ being
// concave, they come nearer and never pass the solution; where no coordinate arrives at its bound between the two, the
// first one is exact. The plane does not change when w and need are divided by the same number; the largest |w_i| is
// taken, so that the squares of the others are numbers whatever the scale of w.
func (n Norm) hyperplane(t, w, need *tensor.Node) *tensor.Node {
	const bisections, tangents = 8, 2
	zero, one := tensor.Const(0), tensor.Const(1)
	scale := largest(w)
	w, need = w.Div(scale), need.Div(scale)
	want := need.Abs()
	size := w.Abs()
	up := zero.Lt(w.Mul(need)) // 1 where the coordinate grows
	room := tensor.Where(up, one.Sub(t), t)
	slope := one // of a move in τ, where it has room
	if n == L2 {
		slope = size
	}
	move := func(tau *tensor.Node) *tensor.Node { return slope.Mul(tau).Min(room) }
	phi := func(tau *tensor.Node) *tensor.Node { return size.Mul(move(tau)).SumKeep(1) }

	low := want.Div(size.Mul(slope).SumKeep(1).AddConst(tiny))
	high, middle := one.Expand(low.Shape()...), func(a, b *tensor.Node) *tensor.Node { return a.Add(b).Scale(0.5) }
	if n == L2 {
		high = low.Scale(1 << 16)
		middle = func(a, b *tensor.Node) *tensor.Node { return a.Mul(b).Sqrt() }
	}
	low = low.Min(high)
	for range bisections {
		tau := middle(low, high)
		below := phi(tau).Lt(want)
		low, high = tensor.Where(below, tau, low), tensor.Where(below, high, tau)
	}
	for range tangents {
		steepness := size.Mul(slope).Mul(slope.Mul(low).Lt(room)).SumKeep(1)
		low = low.Add(want.Sub(phi(low)).Max(zero).Div(steepness.AddConst(tiny)))
		if n == Linf {
			low = low.Min(one)
		}
	}
	signed := move(low).Mul(tensor.Where(up, one, tensor.Const(-1)))
	return tensor.Where(w, signed, zero) // coordinates of slope 0 stay
}
