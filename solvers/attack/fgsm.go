package attack

import "bilevel/tensor"

// FGSM is the fast gradient sign method (Goodfellow, Shlens, Szegedy, ICLR 2015, section 4): one step of the length of
// the radius along the steepest ascent of the cross-entropy,
//
//	x = P(x₀ + ε sign ∇CE(x₀))
//
// in l_inf, and with ∇CE/‖∇CE‖ in place of the sign in l_2. P projects onto the ball and onto [0, 1].
type FGSM struct{}

func (FGSM) Name() string { return "fgsm" }

func (FGSM) plan(m Model, n Norm) (*plan, []string, error) {
	return &plan{programs: "fgsm", runs: 1, zero: true, begin: func(b *build) {
		x0, y := b.load()
		_, _, g := b.ascent(crossEntropy, x0, y, nil)
		b.set("zero", isZero(g))
		x := b.project(x0.Add(n.steepest(g).Mul(b.eps())), x0)
		b.set("found", wrong(b.a.logits(x), y))
		b.set("adv", x)
	}}, nil, nil
}

// ascent is the logits of x, the loss of each row and its gradient in x.
func (b *build) ascent(l loss, x, y, t *tensor.Node) (z, value, gradient *tensor.Node) {
	z = b.a.logits(x)
	value = l(z, y, t)
	return z, value, tensor.Grad(value.Sum(), x)[0]
}

// isZero is 1 for rows of a gradient [B, d] that are 0.
func isZero(g *tensor.Node) *tensor.Node { return g.Abs().MaxOver(1).Eq(tensor.Const(0)) }
