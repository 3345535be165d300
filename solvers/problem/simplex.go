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
// for positive or not, which changes τ by less than that. For as many coordinates or fewer another way is shorter.
const bisections = 40

// Project is max(z - τ, 0) with the τ for which the sum is Total. It is found without a sort, by the same program for
// every z: which coordinates are positive by one of two ways, and τ from what is missing among these, which makes the
// sum exact to rounding. z is taken relative to its largest coordinate, which changes nothing but the rounding of τ
// where z is large.
func (s Simplex) Project(z *tensor.Node, _ Batch) *tensor.Node {
	z = z.Sub(z.MaxOver())
	if n := z.Size(); n <= bisections {
		return z.Sub(s.tau(z, s.fewPositive(z, n))).Relu()
	}
	return z.Sub(s.tau(z, s.manyPositive(z))).Relu()
}

// tau is the τ of a z whose positive coordinates after the projection are known.
func (s Simplex) tau(z, positive *tensor.Node) *tensor.Node {
	return z.Mul(positive).Sum().AddConst(-s.Total).Div(positive.Sum())
}

// fewPositive is Michelot's method (JOTA 50, 1986): τ of all coordinates, and of those that this leaves positive, and
// so on. Each τ is at most the right one, so that no coordinate is lost; the largest stays, and as long as anything
// changes a coordinate is gone, so that n - 1 steps are enough.
func (s Simplex) fewPositive(z *tensor.Node, n int) *tensor.Node {
	positive := tensor.Full(1, n)
	for range n - 1 {
		positive = s.tau(z, positive).Lt(z)
	}
	return positive
}

// manyPositive bisects τ, since the sum falls as τ grows.
func (s Simplex) manyPositive(z *tensor.Node) *tensor.Node {
	lo, hi := tensor.Const(-s.Total), tensor.Const(0) // Σ max(z - lo, 0) >= Total >= Σ max(z - hi, 0) = 0
	for range bisections {
		middle := lo.Add(hi).Scale(0.5)
		tooMuch := tensor.Const(s.Total).Lt(z.Sub(middle).Relu().Sum())
		lo, hi = tensor.Where(tooMuch, middle, lo), tensor.Where(tooMuch, hi, middle)
	}
	return lo.Lt(z)
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
