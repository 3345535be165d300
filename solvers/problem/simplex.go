package problem

import (
	"fmt"
	"math"

	"bilevel/models/params"
	"bilevel/tensor"
)

// Simplex is {z : z_i >= 0, Σ z_i = Total}.
type Simplex struct{ Total float64 }

// bisections halve an interval of the size of Total to 1e-12 of it. Coordinates that differ from τ by less may be taken
// for positive or not, which changes τ by less than that.
const bisections = 40

// Project is max(z - τ, 0) with the τ for which the sum is Total. The sum falls as τ grows, so that τ is found by
// bisection of fixed length: no sort, and the same program for every z. The last step divides what is missing among
// the positive coordinates, which makes the sum exact to rounding. z is taken relative to its largest coordinate, which
// changes nothing but the rounding of τ where z is large.
func (s Simplex) Project(z *tensor.Node, _ Batch) *tensor.Node {
	z = z.Sub(z.MaxOver())
	lo, hi := tensor.Const(-s.Total), tensor.Const(0) // Σ max(z - lo, 0) >= Total >= Σ max(z - hi, 0) = 0
	for range bisections {
		middle := lo.Add(hi).Scale(0.5)
		tooMuch := tensor.Const(s.Total).Lt(z.Sub(middle).Relu().Sum())
		lo, hi = tensor.Where(tooMuch, middle, lo), tensor.Where(tooMuch, hi, middle)
	}
	positive := lo.Lt(z)
	tau := z.Mul(positive).Sum().AddConst(-s.Total).Div(positive.Sum())
	return z.Sub(tau).Relu()
}

// Free marks the positive coordinates. The derivative of the projection is diag(s) - ssᵀ/Σs for this mask s.
func (s Simplex) Free(z *tensor.Node, _ Batch) *tensor.Node { return tensor.Const(0).Lt(z) }

// Least puts all of Total on the coordinate with the smallest slope, the first of equals.
func (s Simplex) Least(g *tensor.Node, _ Batch) *tensor.Node {
	at := g.Neg().ArgMax()
	return tensor.Iota(0, g.Size()).Eq(at.Reshape(1).Expand(g.Size())).Scale(s.Total)
}

func (s Simplex) Contains(v Values) bool {
	sum := 0.0
	for _, c := range v.Flat {
		if !(c >= 0) {
			return false
		}
		sum += c
	}
	return math.Abs(sum-s.Total) <= 1e-6*s.Total
}

func (s Simplex) Check(params.Layout, int) error {
	if !(s.Total > 0) || math.IsInf(s.Total, 0) {
		return fmt.Errorf("a simplex of total %g: wants a positive, finite one", s.Total)
	}
	return nil
}

func (s Simplex) String() string { return fmt.Sprintf("simplex of total %g", s.Total) }
