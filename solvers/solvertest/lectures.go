package solvertest

import (
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// Stackelberg is a market in which a leader chooses the quantity x and a follower, who sees it, the quantity y. Both
// sell at the price 10 - x - y what costs them 2 a piece:
//
//	F = -x (8 - x - y),   G = -y (8 - x - y)
//
// The follower answers y* = (8 - x)/2, so that h = -x (8 - x)/2, which is least at x = 4, where y* = 2. Without its
// answer in mind, at the fixed point of alternation, the leader would sell 8/3.
type Stackelberg struct{}

func (Stackelberg) Tables() []Table { return nil }

// Problem starts at x = 1, y = 0.
func (Stackelberg) Problem([]*tensor.Node) *problem.Problem {
	profit := func(own, x, y *tensor.Node) *tensor.Node { return tensor.Dot(own, x.Add(y).AddConst(-8)) }
	return &problem.Problem{
		Name: "stackelberg",
		Lower: problem.Level{
			Start: problem.Vector(0),
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node { return profit(y, x, y) }),
		},
		Upper: problem.Level{
			Start: problem.Vector(1),
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node { return profit(x, x, y) }),
		},
	}
}

func (Stackelberg) Exact(x []float64) (y, gradient []float64) {
	return []float64{(8 - x[0]) / 2}, []float64{x[0] - 4}
}

// Optimum is 4.
func (Stackelberg) Optimum() []float64 { return []float64{4} }

// Tolls is two roads from one place to another that traffic of 1 divides into y. They take the times 1 + y₁ and 2 +
// 2y₂, and the first has a toll x. Drivers choose the cheaper road, which leads to the minimum of Beckmann's potential;
// the owner wants revenue:
//
//	G = (1 + x) y₁ + ½y₁² + 2y₂ + y₂², y in the simplex,   F = -x y₁
//
// y₁* = (3 - x)/3 cut off at 0 and 1, and the best toll is 3/2, for the revenue 3/4. From x = 3 on nobody pays, and h
// has no slope.
type Tolls struct{}

func (Tolls) Tables() []Table { return nil }

// Problem starts at x = 0.6 and equal shares.
func (Tolls) Problem([]*tensor.Node) *problem.Problem {
	return &problem.Problem{
		Name: "tolls",
		Lower: problem.Level{
			Start: problem.Vector(0.5, 0.5), Set: problem.Simplex{Total: 1},
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				first, second := y.Slice(0, 0, 1), y.Slice(0, 1, 2)
				return tensor.Dot(x.AddConst(1), first).Add(half(first)).
					Add(second.Scale(2).Sum()).Add(tensor.Dot(second, second))
			}),
		},
		Upper: problem.Level{
			Start: problem.Vector(0.6),
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return tensor.Dot(x, y.Slice(0, 0, 1)).Neg()
			}),
		},
	}
}

func (Tolls) Exact(x []float64) (y, gradient []float64) {
	share := min(max((3-x[0])/3, 0), 1)
	slope := -share
	if 0 < x[0] && x[0] < 3 {
		slope += x[0] / 3
	}
	return []float64{share, 1 - share}, []float64{slope}
}

// Optimum is 3/2.
func (Tolls) Optimum() []float64 { return []float64{1.5} }

// Indifferent is FlatLower with y₂ in [-½, ½], where the follower, who is indifferent to y₂, chooses it for the leader
// or against him: F = ½(x - y₂)² + ½(y₁ - 1)² and
//
//	optimistic:   G = ½y₁² - x y₁ + ½(y₂ - x)²,   y* = (x, clip(x)),           h is least at ¾
//	pessimistic:  G = ½y₁² - x y₁ + x y₂,         y* = (x, -½),       h is least at ¼
//
// with x in [0.1, 2]. In both the added term only chooses among the minimizers of ½y₁² - x y₁, so that it is the order
// that the two versions of a problem with many lower minimizers are defined by: the one where F is least, and the one
// where it is largest. At x = 0 the second follower would be indifferent again, which is why x is kept away from it.
type Indifferent struct{ Pessimistic bool }

func (Indifferent) Tables() []Table { return nil }

// Problem starts at x = 0.3, y = 0.
func (m Indifferent) Problem([]*tensor.Node) *problem.Problem {
	p := FlatLower{}.Problem(nil)
	p.Name = "optimistic"
	free := p.Lower.Value
	choice := func(x, y2 *tensor.Node) *tensor.Node { return half(y2.Sub(x)) }
	if m.Pessimistic {
		p.Name, choice = "pessimistic", func(x, y2 *tensor.Node) *tensor.Node { return tensor.Dot(x, y2) }
	}
	p.Upper.Set = problem.Box{Lo: 0.1, Hi: 2}
	p.Lower.Set = problem.Bounds{Lo: []float64{-10, -0.5}, Hi: []float64{10, 0.5}}
	p.Lower.Value = func(x, y problem.Vars, b problem.Batch) *tensor.Node {
		return free(x, y, b).Add(choice(x.Flat(), y.Flat().Slice(0, 1, 2)))
	}
	return p
}

func (m Indifferent) Exact(x []float64) (y, gradient []float64) {
	second := min(max(x[0], -0.5), 0.5)
	if m.Pessimistic {
		second = -0.5
	}
	return []float64{x[0], second}, []float64{2*x[0] - second - 1}
}

func (m Indifferent) Optimum() []float64 {
	if m.Pessimistic {
		return []float64{0.25}
	}
	return []float64{0.75}
}

// Disconnected is a linear problem with constraints of the leader that depend on the follower, who makes y as large as
// he may:
//
//	min over x of -x - 2y   subject to  2x - 3y >= -12,  x + y <= 14,
//	y* minimizes -y         subject to  -3x + y <= -3,   3x + y <= 30
//
// y* = min(3x - 3, 30 - 3x) meets the leader's constraints for x in [1, 3] and in [8, 10] and for none between them:
// what is feasible is not connected. h = -7x + 6 falls on the first part to -15, and h = 5x - 60 grows on the second
// from -20, its least value, at x = 8, y = 6 (Mersha, Dempe, Applied Mathematics and Computation 180, 2006; the
// tutorial names the phenomenon).
type Disconnected struct{}

func (Disconnected) Tables() []Table { return nil }

// Problem starts at x = 2, y = 1, on the part where no descent leads to the solution.
func (Disconnected) Problem([]*tensor.Node) *problem.Problem {
	sum := func(x, y *tensor.Node, a, b, c float64) *tensor.Node { return x.Scale(a).Add(y.Scale(b)).AddConst(c) }
	return &problem.Problem{
		Name: "disconnected",
		Lower: problem.Level{
			Start: problem.Vector(1),
			Value: problem.Flat(func(_, y *tensor.Node, _ problem.Batch) *tensor.Node { return y.Neg().Reshape() }),
			Inequality: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return tensor.Concat(0, sum(x, y, -3, 1, 3), sum(x, y, 3, 1, -30))
			}),
		},
		Upper: problem.Level{
			Start: problem.Vector(2),
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return sum(x, y, -1, -2, 0).Reshape()
			}),
			Inequality: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return tensor.Concat(0, sum(x, y, -2, 3, -12), sum(x, y, 1, 1, -14))
			}),
		},
	}
}

// Exact follows the lower level; at x = 5.5 its two branches meet.
func (Disconnected) Exact(x []float64) (y, gradient []float64) {
	if x[0] < 5.5 {
		return []float64{3*x[0] - 3}, []float64{-7}
	}
	return []float64{30 - 3*x[0]}, []float64{5}
}

// Feasible tells whether the leader's constraints hold at y*(x).
func (d Disconnected) Feasible(x float64) bool {
	y, _ := d.Exact([]float64{x})
	return 2*x-3*y[0] >= -12 && x+y[0] <= 14 && y[0] >= 0
}
