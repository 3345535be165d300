package solvertest

import (
	"math"
	"slices"

	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// Worst is several followers, each with a lower level and an upper objective of its own, of which the worst counts:
//
//	G = mean over i of ½ a_i (y_i - x)²,   F_i = ½ (y_i - t_i)² + ½ x²,   h(x) = max_i ½ (x - t_i)² + ½ x²
//
// for one variable x and one of y for each i: y_i* = x. It is the maximum over α in the simplex of Σ_i α_i F_i, a
// Saddle; blocks of y are rows (BlockPerRow). The largest F_i is that of the smallest or of the largest target t_i, so
// that h is least where those two are equal, at the middle of both, unless one of them alone is least on its own side,
// at t/2.
type Worst struct{ Targets, Curvatures []float64 }

// NewWorst draws m targets, and curvatures between 1 and 4.
func NewWorst(seed uint64, m int) *Worst {
	s := &source{seed: seed}
	w := &Worst{Targets: s.normals(m, 1)}
	for _, z := range s.normals(m, 1) {
		w.Curvatures = append(w.Curvatures, 1+3/(1+math.Exp(-z)))
	}
	return w
}

func (w *Worst) Tables() []Table {
	m := len(w.Targets)
	return []Table{{Name: "targets", Shape: []int{m}, Real: w.Targets},
		{Name: "curvatures", Shape: []int{m}, Real: w.Curvatures}}
}

// Problem starts at x = 1, y = 0 and equal weights.
func (w *Worst) Problem(tables []*tensor.Node) *problem.Problem {
	m := len(w.Targets)
	alpha := make([]float64, m)
	for i := range alpha {
		alpha[i] = 1 / float64(m)
	}
	rows := problem.Rows{"target": problem.On(tables[0]), "curvature": problem.On(tables[1])}
	return &problem.Problem{
		Name: "worst of several", BlockPerRow: true,
		Lower: problem.Level{
			Start: problem.Vector(zeros(m)...), Rows: rows,
			Value: problem.Flat(func(x, y *tensor.Node, b problem.Batch) *tensor.Node {
				off := b.Of(y).Sub(x.Expand(b.Rows))
				return b.Get("curvature").Mul(off.Square()).Mean().Scale(0.5)
			}),
		},
		Upper: problem.Level{
			Start: problem.Vector(1), Rows: rows,
			Saddle: &problem.Saddle{
				Start: problem.Vector(alpha...), Set: problem.Simplex{Total: 1},
				Value: func(x, y, alpha problem.Vars, b problem.Batch) *tensor.Node {
					off := b.Of(y.Flat()).Sub(b.Get("target")).Square()
					each := off.Add(x.Flat().Square().Expand(b.Rows)).Scale(0.5)
					return tensor.Dot(b.Of(alpha.Flat()), each)
				},
			},
		},
	}
}

// Exact gives the derivative of the largest F_i, of the first where several are.
func (w *Worst) Exact(x []float64) (y, gradient []float64) {
	y = make([]float64, len(w.Targets))
	for i := range y {
		y[i] = x[0]
	}
	return y, []float64{2*x[0] - w.Targets[slices.Index(w.Alpha(x), 1)]}
}

// Alpha is the best of the further variable at y*(x).
func (w *Worst) Alpha(x []float64) []float64 {
	alpha, largest, at := make([]float64, len(w.Targets)), math.Inf(-1), 0
	for i, t := range w.Targets {
		if f := (x[0] - t) * (x[0] - t); f > largest {
			largest, at = f, i
		}
	}
	alpha[at] = 1
	return alpha
}

// Optimum is the middle of the extreme targets, moved towards the point where the one that counts there is least.
func (w *Worst) Optimum() []float64 {
	lo, hi := slices.Min(w.Targets), slices.Max(w.Targets)
	middle := (lo + hi) / 2
	switch { // above the middle the smallest target counts, below it the largest
	case lo/2 > middle:
		return []float64{lo / 2}
	case hi/2 < middle:
		return []float64{hi / 2}
	}
	return []float64{middle}
}

// Beside gives a problem a variable α in [0, 2] that its upper objective is maximized over and that changes nothing
// else: F(x, y) - ½(α - 1)², for algorithms that want one.
func Beside(p *problem.Problem) {
	value := p.Upper.Value
	p.Upper.Value, p.Upper.Saddle = nil, &problem.Saddle{
		Start: problem.Vector(0.5), Set: problem.Box{Lo: 0, Hi: 2},
		Value: func(x, y, alpha problem.Vars, b problem.Batch) *tensor.Node {
			return value(x, y, b).Reshape().Sub(half(alpha.Flat().AddConst(-1)))
		},
	}
}

// Duals is m followers whose mean counts, each with a variable α_i that the upper objective is maximized over:
//
//	G = mean over i of ½ a_i (y_i - x)²,   F = mean over i of ½ (y_i - t_i)² + α_i y_i - ½ α_i²
//
// y_i* = x and α_i* = y_i, so that h = mean of ½ (x - t_i)² + ½ x² is least at half the mean of the targets.
type Duals struct{ Worst }

// Problem starts at x = 1, y = 0 and α = 0.
func (d *Duals) Problem(tables []*tensor.Node) *problem.Problem {
	p := d.Worst.Problem(tables)
	p.Name = "duals"
	p.Upper.Saddle = &problem.Saddle{
		Start: problem.Vector(zeros(len(d.Targets))...),
		Value: func(_, y, alpha problem.Vars, b problem.Batch) *tensor.Node {
			yi, ai := b.Of(y.Flat()), b.Of(alpha.Flat())
			each := yi.Sub(b.Get("target")).Square().Sub(ai.Square()).Scale(0.5)
			return each.Add(ai.Mul(yi)).Mean()
		},
	}
	return p
}

func (d *Duals) Exact(x []float64) (y, gradient []float64) {
	y, _ = d.Worst.Exact(x)
	return y, []float64{2*x[0] - mean(d.Targets)}
}

// Alpha is x for each i.
func (d *Duals) Alpha(x []float64) []float64 {
	alpha, _ := d.Worst.Exact(x)
	return alpha
}

func (d *Duals) Optimum() []float64 { return []float64{mean(d.Targets) / 2} }

func mean(v []float64) float64 {
	sum := 0.0
	for _, c := range v {
		sum += c
	}
	return sum / float64(len(v))
}
