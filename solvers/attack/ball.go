package attack

import (
	"fmt"
	"math"
	"strings"

	"bilevel/internal/nearest"
	"bilevel/tensor"
)

// Norm names the norm that limits a perturbation.
type Norm string

const (
	Linf Norm = "linf" // max |δ_i|
	L2   Norm = "l2"   // √Σ δ_i²
)

// Ball is what a perturbation may be: ‖δ‖ ≤ Eps in a norm, for images whose pixels are in [0, 1]. Perturbed images stay
// in [0, 1] too.
type Ball struct {
	Norm Norm
	Eps  float64
}

func (b Ball) String() string { return fmt.Sprintf("%s ball of radius %.6g", b.Norm, b.Eps) }

// Check refuses balls that make no sense for images of d pixels. The largest distance between two images is 1 in l_inf
// and √d in l_2.
func (b Ball) Check(d int) error {
	most := map[Norm]float64{Linf: 1, L2: math.Sqrt(float64(d))}[b.Norm]
	if most == 0 {
		names := []string{string(Linf), string(L2)}
		return fmt.Errorf("norm %q: there are %s%s", string(b.Norm), strings.Join(names, ", "),
			nearest.Hint(string(b.Norm), names))
	}
	switch {
	case math.IsNaN(b.Eps) || b.Eps < 0:
		return fmt.Errorf("eps %g: wants a radius from 0 on", b.Eps)
	case b.Eps <= most:
		return nil
	case b.Eps <= 255 && b.Norm == Linf:
		return fmt.Errorf("eps %g: pixels are in [0, 1]; did you mean %g/255?", b.Eps, b.Eps)
	}
	return fmt.Errorf("eps %g: pixels are in [0, 1], so that no two images are further apart than %.4g in %s", b.Eps,
		most, b.Norm)
}

// inner is the radius that is computed with: so much less than Eps that rounding cannot carry a point out of the ball.
//
// With u = 2⁻²⁴: in l_inf, x ± Eps is off by at most u/2 for the rounding of Eps and u/2 for that of the sum, both
// being at most 1 where the limits of the pixels do not hold. In l_2, the computed norm, the factor and the product
// have a relative error of at most (c/2 + 5)·u, c·u being that of a sum of d squares (device.Info.SumError), and the d
// sums one of u each, which together are √d·u. A radius of 0 stays 0, where every projection gives the image itself.
func (b Ball) inner(c float64, d int) float64 {
	const u = 0x1p-24
	if b.Norm == L2 {
		return max(0, b.Eps*(1-(c/2+5)*u)-math.Sqrt(float64(d))*u)
	}
	return max(0, b.Eps-u)
}

// tiny keeps norms away from 0 where something is divided by them.
const tiny = 1e-12

// column is one number for each row of a batch [B], as a column [B, 1] that broadcasts over pixels.
func column(n *tensor.Node) *tensor.Node { return n.Reshape(n.Size(), 1) }

// size is the norm of each row of δ [B, d], as a column [B, 1].
func (n Norm) size(delta *tensor.Node) *tensor.Node {
	if n == L2 {
		return delta.Square().SumKeep(1).Sqrt()
	}
	return column(delta.Abs().MaxOver(1))
}

// project brings points x [B, d] into the ball of radius eps (a scalar) around images x0 [B, d], and into [0, 1]. In
// l_inf it is the nearest such point. In l_2 it is the nearest point of the ball and of [0, 1] after that: the pixels
// of x0 are in [0, 1], so that the second step makes no perturbation larger.
func (n Norm) project(x, x0, eps *tensor.Node) *tensor.Node {
	zero, one := tensor.Const(0), tensor.Const(1)
	if n == L2 {
		delta := x.Sub(x0)
		scale := eps.Div(n.size(delta).Max(tensor.Const(tiny))).Min(one)
		return x0.Add(delta.Mul(scale)).Max(zero).Min(one)
	}
	return x.Max(x0.Sub(eps).Max(zero)).Min(x0.Add(eps).Min(one))
}

// steepest is the direction of a ball of radius 1 along which a function of gradient g [B, d] rises most: its sign in
// l_inf, g/‖g‖ in l_2, whatever the scale of g, for a confident network's gradients may have squares that float32 does
// not hold. Elements that are NaN count as 0.
func (n Norm) steepest(g *tensor.Node) *tensor.Node {
	g = tensor.Where(g.Eq(g), g, tensor.Const(0))
	if n == L2 {
		g = g.Div(largest(g))
		return g.Div(n.size(g).Max(tensor.Const(tiny)))
	}
	return g.Sign()
}

// largest is the largest |g_i| of each row of g [B, d], as a column [B, 1], but at least 2⁻⁶⁰, so that numbers beside g
// can be divided by it too: the squares of what is divided by it are numbers down to |g| = 1e-24.
func largest(g *tensor.Node) *tensor.Node {
	return column(g.Abs().MaxOver(1)).Max(tensor.Const(0x1p-60))
}

// spread makes a start perturbation in the ball of radius eps of random numbers: in l_inf uniform, in l_2 a uniform
// direction of length eps. Stepping on from there is what PGD and APGD do.
func (n Norm) spread(b *build, d int) *tensor.Node {
	eps := b.a.eps.Node()
	if n == L2 {
		return n.steepest(b.normal(d)).Mul(eps)
	}
	return b.uniform(d).Scale(2).AddConst(-1).Mul(eps)
}

// Distance is ‖a - b‖ for two images, computed in float64.
func (n Norm) Distance(a, b []float32) float64 {
	far, sum := 0.0, 0.0
	for i := range a {
		d := math.Abs(float64(a[i]) - float64(b[i]))
		far, sum = max(far, d), sum+d*d
	}
	if n == L2 {
		return math.Sqrt(sum)
	}
	return far
}
