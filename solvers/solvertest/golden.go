package solvertest

import (
	_ "embed" // of the golden problems
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"bilevel/solvers/problem"
	"bilevel/tensor"

	"gonum.org/v1/gonum/mat"
)

// Golden is one of the problems on which iterates and hypergradients of public implementations are recorded, in the
// files of testdata/golden.
type Golden struct {
	Closed
	Name   string
	X0, Y0 []float64   // the start values
	Points [][]float64 // x at which hypergradients are recorded
}

//go:embed testdata/golden/problems.json
var goldenProblems string

// GoldenProblems are the recorded ones by name:
//
//	P1  F = ½(y-b)ᵀC(y-b) + ½xᵀDx + xᵀEy,   G = ½yᵀAy - yᵀ(Bx + c)
//	P2  F = mean over held-out rows,  G = mean over training rows + ½ Σ_j e^{x_j} y_j²,  of log(1 + exp(-t_i a_iᵀy))
//	P3  hyper-cleaning as Cleaning has it, with Reg = 0.2
func GoldenProblems() map[string]*Golden {
	all, err := ReadGolden([]byte(goldenProblems))
	if err != nil {
		panic(err)
	}
	return all
}

// ReadGolden reads problems of these kinds from a file in the format of testdata/golden/problems.json. Which of them a
// problem is, its arrays say: P1 has the matrix A, and P2 has labels -1 and 1.
func ReadGolden(text []byte) (map[string]*Golden, error) {
	var files map[string]goldenArrays
	if err := json.Unmarshal(text, &files); err != nil {
		return nil, fmt.Errorf("solvertest: golden problems: %w", err)
	}
	all := map[string]*Golden{}
	for name, a := range files {
		g := &Golden{Name: name}
		for _, part := range []struct {
			name string
			into any
		}{{"x0", &g.X0}, {"y0", &g.Y0}, {"points", &g.Points}} {
			if err := a.get(part.name, part.into); err != nil {
				return nil, fmt.Errorf("solvertest: golden problem %s: %w", name, err)
			}
		}
		var err error
		if _, quadratic := a["A"]; quadratic {
			g.Closed, err = a.quadratic()
		} else {
			g.Closed, err = a.rows(len(g.Y0))
		}
		if err != nil {
			return nil, fmt.Errorf("solvertest: golden problem %s: %w", name, err)
		}
		all[name] = g
	}
	return all, nil
}

// Problem starts at X0 and Y0.
func (g *Golden) Problem(t []*tensor.Node) *problem.Problem {
	p := g.Closed.Problem(t)
	p.Name, p.Upper.Start, p.Lower.Start = g.Name, problem.Vector(g.X0...), problem.Vector(g.Y0...)
	return p
}

// goldenArrays are a problem's arrays by name. Some names differ in case alone, so that no struct can hold them.
type goldenArrays map[string]json.RawMessage

func (a goldenArrays) get(name string, into any) error {
	raw, ok := a[name]
	if !ok {
		return fmt.Errorf("it has no %q", name)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func (a goldenArrays) matrix(name string) (*mat.Dense, error) {
	var rows [][]float64
	if err := a.get(name, &rows); err != nil {
		return nil, err
	}
	if len(rows) == 0 || len(rows[0]) == 0 {
		return nil, fmt.Errorf("%s is empty", name)
	}
	m := mat.NewDense(len(rows), len(rows[0]), nil)
	for i, r := range rows {
		if len(r) != len(rows[0]) {
			return nil, fmt.Errorf("%s: row %d has %d elements; wants %d", name, i, len(r), len(rows[0]))
		}
		m.SetRow(i, r)
	}
	return m, nil
}

// quadratic is P1. Quadratic knows its answers: it is the same problem up to a constant of F.
func (a goldenArrays) quadratic() (Closed, error) {
	m := map[string]*mat.Dense{}
	for _, name := range []string{"A", "B", "C", "D", "E"} {
		var err error
		if m[name], err = a.matrix(name); err != nil {
			return nil, err
		}
	}
	g := &goldenQuadratic{Lower: m["B"]}
	if err := a.get("b", &g.Center); err != nil {
		return nil, err
	}
	var c []float64
	if err := a.get("c", &c); err != nil {
		return nil, err
	}
	var cross mat.Dense
	cross.Scale(-1, m["B"].T())
	var f mat.VecDense
	f.MulVec(m["C"], mat.NewVecDense(len(g.Center), g.Center))
	f.ScaleVec(-1, &f)
	p, _ := m["D"].Dims()
	g.Quadratic = &Quadratic{
		A: m["A"], B: m["C"], C: &cross, E: m["D"], K: m["E"], F: f.RawVector().Data, UpperE: zeros(p),
	}
	for _, v := range c {
		g.LowerA = append(g.LowerA, -v)
	}
	return g, nil
}

// goldenQuadratic is a Quadratic whose upper objective is written around a center b.
type goldenQuadratic struct {
	*Quadratic
	Lower  *mat.Dense // B of G's yᵀBx
	Center []float64  // b
}

func (g *goldenQuadratic) Tables() []Table {
	p, q := g.Sizes()
	return append(g.Quadratic.Tables(), Table{Name: "b", Shape: []int{q}, Real: g.Center},
		Table{Name: "B", Shape: []int{q, p}, Real: g.Lower.RawMatrix().Data})
}

func (g *goldenQuadratic) Problem(t []*tensor.Node) *problem.Problem {
	p := g.Quadratic.Problem(t[:8])
	A, C, D, E, a, b, B := t[0], t[1], t[3], t[4], t[5], t[8], t[9]
	p.Lower.Value = problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
		return bilinear(y, A, y).Scale(0.5).Sub(bilinear(y, B, x)).Add(tensor.Dot(y, a))
	})
	p.Upper.Value = problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
		e := y.Sub(b)
		return bilinear(e, C, e).Add(bilinear(x, D, x)).Scale(0.5).Add(bilinear(x, E, y))
	})
	return p
}

// rows is P2 or P3, for a lower variable of q elements.
func (a goldenArrays) rows(q int) (Closed, error) {
	train, err := a.matrix("train_rows")
	if err != nil {
		return nil, err
	}
	valid, err := a.matrix("valid_rows")
	if err != nil {
		return nil, err
	}
	var labels, held []int32
	for _, part := range []struct {
		name string
		of   *mat.Dense
		into *[]int32
	}{{"train_labels", train, &labels}, {"valid_labels", valid, &held}} {
		if err := a.get(part.name, part.into); err != nil {
			return nil, err
		}
		if n, _ := part.of.Dims(); n != len(*part.into) {
			return nil, fmt.Errorf("%s: there are %d for %d rows", part.name, len(*part.into), n)
		}
	}
	_, d := train.Dims()
	if slices.Contains(labels, -1) {
		return &logistic{Train: train, Val: valid, Signs: signs(labels), HeldOut: signs(held)}, nil
	}
	if q%d != 0 {
		return nil, fmt.Errorf("y0 has %d elements, which is no matrix with %d rows", q, d)
	}
	return &Cleaning{Train: train, Val: valid, Labels: labels, HeldOut: held, Classes: q / d, Reg: 0.2}, nil
}

func signs(labels []int32) []float64 {
	out := make([]float64, len(labels))
	for i, l := range labels {
		out[i] = float64(l)
	}
	return out
}

// logistic is P2: logistic regression y [d] with a weight e^{x_j} for the square of each coefficient. Exact solves the
// lower level by a dense Newton method in plain Go.
type logistic struct {
	Train, Val     *mat.Dense // rows [n, d], [m, d]
	Signs, HeldOut []float64  // labels, -1 or 1
}

// NewLogistic is problem P2 on any rows: train [n, d] with labels [n] of -1 and 1, and held-out rows with theirs.
func NewLogistic(train *mat.Dense, labels []float64, val *mat.Dense, heldOut []float64) Closed {
	return &logistic{Train: train, Val: val, Signs: labels, HeldOut: heldOut}
}

// NewFeatureWeights draws problem P2: normal rows with d features, the second half of which say nothing of the labels,
// so that h falls where their weights grow. F does not depend on x directly: its whole gradient is the implicit term.
func NewFeatureWeights(seed uint64, rows, held, d int) Closed {
	s := &source{seed: seed}
	truth := s.normals(d, 2)
	clear(truth[d/2:])
	draw := func(n int) (*mat.Dense, []float64) {
		z, noise := mat.NewDense(n, d, s.normals(n*d, 1)), s.normals(n, 1)
		labels := make([]float64, n)
		for i := range labels {
			labels[i] = math.Copysign(1, mat.Dot(z.RowView(i), mat.NewVecDense(d, truth))+noise[i])
		}
		return z, labels
	}
	train, labels := draw(rows)
	val, heldOut := draw(held)
	return NewLogistic(train, labels, val, heldOut)
}

func (m *logistic) Tables() []Table {
	n, d := m.Train.Dims()
	held, _ := m.Val.Dims()
	return []Table{
		{Name: "rows", Shape: []int{n, d}, Real: m.Train.RawMatrix().Data},
		{Name: "labels", Shape: []int{n}, Real: m.Signs},
		{Name: "held-out rows", Shape: []int{held, d}, Real: m.Val.RawMatrix().Data},
		{Name: "held-out labels", Shape: []int{held}, Real: m.HeldOut},
	}
}

// Problem starts at zero.
func (m *logistic) Problem(t []*tensor.Node) *problem.Problem {
	_, d := m.Train.Dims()
	loss := func(y, rows, labels *tensor.Node) *tensor.Node {
		return product(rows, y).Mul(labels).Neg().Softplus().Mean()
	}
	return &problem.Problem{
		Name: "logistic regression",
		Lower: problem.Level{
			Start: problem.Vector(zeros(d)...),
			Rows:  problem.Rows{"rows": problem.On(t[0]), "labels": problem.On(t[1])},
			Value: problem.Flat(func(x, y *tensor.Node, b problem.Batch) *tensor.Node {
				return loss(y, b.Of(t[0]), b.Of(t[1])).Add(tensor.Dot(x.Exp(), y.Square()).Scale(0.5))
			}),
		},
		Upper: problem.Level{
			Start: problem.Vector(zeros(d)...),
			Rows:  problem.Rows{"rows": problem.On(t[2]), "labels": problem.On(t[3])},
			Value: problem.Flat(func(_, y *tensor.Node, b problem.Batch) *tensor.Node {
				return loss(y, b.Of(t[2]), b.Of(t[3]))
			}),
		},
	}
}

// logisticLoss is the mean loss of rows at y, its gradient and its Hessian.
func logisticLoss(rows *mat.Dense, labels, y []float64) (value float64, g *mat.VecDense, h *mat.SymDense) {
	n, d := rows.Dims()
	g, h = mat.NewVecDense(d, nil), mat.NewSymDense(d, nil)
	for i := range n {
		a := mat.NewVecDense(d, rows.RawRowView(i))
		margin := labels[i] * mat.Dot(a, mat.NewVecDense(d, y))
		s := sigmoid(-margin)
		value += (math.Log1p(math.Exp(-math.Abs(margin))) + max(0, -margin)) / float64(n)
		g.AddScaledVec(g, -labels[i]*s/float64(n), a)
		h.SymRankOne(h, s*(1-s)/float64(n), a)
	}
	return value, g, h
}

// Exact gives y*(x), with |∇yG| near round-off, and the hypergradient there by the implicit function theorem.
func (m *logistic) Exact(x []float64) (y, gradient []float64) {
	_, d := m.Train.Dims()
	lower := func(y []float64) (float64, *mat.VecDense, *mat.SymDense) {
		value, g, h := logisticLoss(m.Train, m.Signs, y)
		for j := range d {
			w := math.Exp(x[j])
			value += w * y[j] * y[j] / 2
			g.SetVec(j, g.AtVec(j)+w*y[j])
			h.SetSym(j, j, h.At(j, j)+w)
		}
		return value, g, h
	}
	y = zeros(d)
	var chol mat.Cholesky
	solve := func(b *mat.VecDense) *mat.VecDense {
		var v mat.VecDense
		if err := chol.SolveVecTo(&v, b); err != nil {
			panic(err)
		}
		return &v
	}
	for range 50 {
		value, g, h := lower(y)
		if !chol.Factorize(h) {
			panic("solvertest: the lower Hessian is not positive definite")
		}
		step := solve(g)
		for size := 1.0; ; size /= 2 {
			next := zeros(d)
			for j := range next {
				next[j] = y[j] - size*step.AtVec(j)
			}
			if v, _, _ := lower(next); size < 1e-3 || v <= value*(1+1e-14) {
				y = next
				break
			}
		}
		if mat.Norm(step, 2) < 1e-15*(1+mat.Norm(mat.NewVecDense(d, y), 2)) {
			break
		}
	}
	_, _, h := lower(y)
	chol.Factorize(h)
	_, fy, _ := logisticLoss(m.Val, m.HeldOut, y)
	v := solve(fy)
	gradient = zeros(d)
	for j := range gradient {
		gradient[j] = -math.Exp(x[j]) * y[j] * v.AtVec(j)
	}
	return y, gradient
}
