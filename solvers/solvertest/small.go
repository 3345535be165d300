package solvertest

import (
	"math"

	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// MinMin, problem Q4, has one objective for both levels, F = G = ½(y-x)² + ¼y⁴, so that h is its minimum over y. Hence
// y* + y*³ = x and h′ = x - y*, and h is smallest at x = 0.
type MinMin struct{}

func (MinMin) Tables() []Table { return nil }

// Problem starts at x = 1.3, y = 0.
func (MinMin) Problem([]*tensor.Node) *problem.Problem {
	value := problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
		return half(y.Sub(x)).Add(half(y.Square()).Scale(0.5))
	})
	return &problem.Problem{
		Name: "min-min", MinMin: true,
		Lower: problem.Level{Start: problem.Vector(0), Value: value},
		Upper: problem.Level{Start: problem.Vector(1.3), Value: value},
	}
}

// Exact solves the cubic by Newton's method from the side where it converges monotonically.
func (MinMin) Exact(x []float64) (y, gradient []float64) {
	z := x[0]
	for range 100 {
		z -= (z + z*z*z - x[0]) / (1 + 3*z*z)
	}
	return []float64{z}, []float64{x[0] - z}
}

// Optimum is 0.
func (MinMin) Optimum() []float64 { return []float64{0} }

// FlatLower, problem Q8, has a lower level with a line of minimizers for each x: G = ½y₁² - x y₁ leaves y₂ free, and
// F = ½(x - y₂)² + ½(y₁ - 1)². By the optimistic convention y₂ is the one that makes F smallest: y* = (x, x),
// h = ½(x - 1)². Unrolled gradient descent never moves y₂ and from y₂ = 0 converges to x = ½ (Liu, Mu, Yuan, Zeng,
// Zhang, ICML 2020, counter-example 1).
type FlatLower struct{}

func (FlatLower) Tables() []Table { return nil }

// Problem starts at x = 0.3, y = 0.
func (FlatLower) Problem([]*tensor.Node) *problem.Problem {
	return &problem.Problem{
		Name: "flat lower level",
		Lower: problem.Level{
			Start: problem.Vector(0, 0),
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				y1 := y.Slice(0, 0, 1)
				return half(y1).Sub(tensor.Dot(x, y1))
			}),
		},
		Upper: problem.Level{
			Start: problem.Vector(0.3),
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return half(x.Sub(y.Slice(0, 1, 2))).Add(half(y.Slice(0, 0, 1).AddConst(-1)))
			}),
		},
	}
}

func (FlatLower) Exact(x []float64) (y, gradient []float64) {
	return []float64{x[0], x[0]}, []float64{x[0] - 1}
}

// Optimum is 1.
func (FlatLower) Optimum() []float64 { return []float64{1} }

// Waves, problem Q9, has a lower level that is not convex: G = -sin(xy), F = x + xy with x in [1, 10] and y in [-2, 2].
// The lower minimizers are xy = π/2 + 2πm, so that h = x + π/2 + 2πm on the branch m; the optimistic branch is the
// lowest with y >= -2, and h is smallest at x = 11π/4, y = -2 (Liu, Liu, Zeng, Zhang, NeurIPS 2021). On a branch
// h′ = 1.
type Waves struct{}

func (Waves) Tables() []Table { return nil }

// Problem starts at x = 3, y = -1.5, near the branch m = -1.
func (Waves) Problem([]*tensor.Node) *problem.Problem {
	return &problem.Problem{
		Name: "waves",
		Lower: problem.Level{
			Start: problem.Vector(-1.5), Set: problem.Box{Lo: -2, Hi: 2},
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return tensor.Dot(x, y).Sin().Neg()
			}),
		},
		Upper: problem.Level{
			Start: problem.Vector(3), Set: problem.Box{Lo: 1, Hi: 10},
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return x.Sum().Add(tensor.Dot(x, y))
			}),
		},
	}
}

// Exact is on the optimistic branch.
func (Waves) Exact(x []float64) (y, gradient []float64) {
	m := math.Ceil((-2*x[0] - math.Pi/2) / (2 * math.Pi))
	return []float64{(math.Pi/2 + 2*math.Pi*m) / x[0]}, []float64{1}
}

// Toy, problem Q10, is the one-dimensional example of Shen and Chen (ICML 2023): G = (x+y)² + x sin²(x+y) and
// F = cos(4y+2)/(1 + e^{2-4x}) + ½ ln((4x-2)² + 1), x in [0, 3]. The lower minimizer is y* = -x, so h = F(x, -x).
type Toy struct{}

func (Toy) Tables() []Table { return nil }

// Problem starts at x = 0.7, y = 0.
func (Toy) Problem([]*tensor.Node) *problem.Problem {
	return &problem.Problem{
		Name: "toy",
		Lower: problem.Level{
			Start: problem.Vector(0),
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				s := x.Add(y)
				return tensor.Dot(s, s).Add(tensor.Dot(x, s.Sin().Square()))
			}),
		},
		Upper: problem.Level{
			Start: problem.Vector(0.7), Set: problem.Box{Lo: 0, Hi: 3},
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				wave := y.Scale(4).AddConst(2).Cos().Div(x.Scale(-4).AddConst(2).Exp().AddConst(1))
				return wave.Add(x.Scale(4).AddConst(-2).Square().AddConst(1).Log().Scale(0.5)).Sum()
			}),
		},
	}
}

func (Toy) Exact(x []float64) (y, gradient []float64) {
	z := x[0]
	e := math.Exp(2 - 4*z)
	angle := 2 - 4*z
	wave := 4*math.Sin(angle)/(1+e) + math.Cos(angle)*4*e/((1+e)*(1+e))
	return []float64{-z}, []float64{wave + 4*(4*z-2)/((4*z-2)*(4*z-2)+1)}
}

// Pricing, problem Q12, is a linear bi-level problem: a leader sets a price θ in [0, 2] on a good with the cost 1, and
// a follower covers a demand of 1 by it or by a good that costs 2.5:
//
//	min over θ of -θ y₁,   y* minimizes (θ+1) y₁ + 2.5 y₂  subject to  y₁ + y₂ >= 1, y >= 0
//
// y* is (1, 0) below θ = 1.5 and (0, 1) above: it is piecewise constant, so that the implicit term is zero almost
// everywhere, and h falls to its infimum -1.5 at a jump that no derivative sees.
type Pricing struct{}

func (Pricing) Tables() []Table { return nil }

// Problem starts at θ = 0.8, y = (0.5, 0.5).
func (Pricing) Problem([]*tensor.Node) *problem.Problem {
	part := func(y *tensor.Node, i int) *tensor.Node { return y.Slice(0, i, i+1) }
	return &problem.Problem{
		Name: "pricing",
		Lower: problem.Level{
			Start: problem.Vector(0.5, 0.5),
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return tensor.Dot(x.AddConst(1), part(y, 0)).Add(part(y, 1).Scale(2.5).Reshape())
			}),
			Inequality: problem.Flat(func(_, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return tensor.Concat(0, tensor.Const(1).Sub(y.Sum()).Reshape(1), y.Neg())
			}),
		},
		Upper: problem.Level{
			Start: problem.Vector(0.8), Set: problem.Box{Lo: 0, Hi: 2},
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return tensor.Dot(x, part(y, 0)).Neg()
			}),
		},
	}
}

func (Pricing) Exact(x []float64) (y, gradient []float64) {
	if x[0] < 1.5 {
		return []float64{1, 0}, []float64{-1}
	}
	return []float64{0, 1}, []float64{0}
}
