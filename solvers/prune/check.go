package prune

import (
	"context"
	"fmt"
	"math"

	"bilevel/models/params"
	"bilevel/solvers/linear"
	"bilevel/solvers/minimize"
	"bilevel/solvers/problem"
	"bilevel/tensor"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// Agreement says how near a variant of BiP comes to the exact hypergradient at a point, for one γ.
type Agreement struct {
	Row    string
	Gamma  float64
	Cosine float64 // of the angle between the two
	Ratio  float64 // of their norms, the variant's over the exact one's
	// Distance is |variant - exact| / |exact|.
	Distance float64
	Status   linear.Status // of the solve of bip-exact; Converged for the others
	// Smallest is the smallest eigenvalue of H + γ I, the lower level's Hessian. Where it is not positive, there is no
	// minimizer that the hypergradient could be of, and bip-exact is expected to report negative curvature.
	Smallest float64
	Gradient []float64
}

// Comparison is a point at which the variants of BiP are compared, on all rows of both levels.
type Comparison struct {
	Task  Task
	Gamma []float64
	// Steps and Rate are of bip-unrolled, which takes steps without momentum from the point; its weight decay is γ.
	Steps int
	Rate  float64
	// Solve moves the weights to the minimizer of G(m ⊙ θ) + γ/2 |θ|² first, for each γ.
	Solve bool
}

// dense are the exact second derivatives at z = m ⊙ θ, formed column by column.
type dense struct {
	gl, gu []float64  // ∇z G and ∇z F
	h      *mat.Dense // ∇²zz G
}

// gradient is θ ⊙ ∇F - C w with (m H m + γ I) w = m ⊙ ∇F and C v = ∇G ⊙ v + θ ⊙ H (m ⊙ v); smallest is the smallest
// eigenvalue of the system's matrix.
func (d dense) gradient(theta, mask []float64, gamma float64) (g []float64, smallest float64, err error) {
	n := len(theta)
	a, b := mat.NewSymDense(n, nil), mat.NewVecDense(n, nil)
	for i := range n {
		b.SetVec(i, mask[i]*d.gu[i])
		for j := i; j < n; j++ {
			a.SetSym(i, j, mask[i]*mask[j]*(d.h.At(i, j)+d.h.At(j, i))/2)
		}
		a.SetSym(i, i, a.At(i, i)+gamma)
	}
	values := linear.Eigenvalues(a)
	if values == nil {
		return nil, 0, fmt.Errorf("the eigenvalues of the lower level's Hessian did not converge")
	}
	var w, hw mat.VecDense
	if err := w.SolveVec(a, b); err != nil {
		return nil, 0, fmt.Errorf("the lower level's Hessian at gamma %g: %w", gamma, err)
	}
	masked := mat.NewVecDense(n, nil)
	for i := range n {
		masked.SetVec(i, mask[i]*w.AtVec(i))
	}
	hw.MulVec(d.h, masked)
	g = make([]float64, n)
	for i := range n {
		g[i] = theta[i]*d.gu[i] - d.gl[i]*w.AtVec(i) - theta[i]*hw.AtVec(i)
	}
	return g, values[0], nil
}

// Compare computes the hypergradient in the mask [q] by every variant and densely, at weights theta and a mask, which
// may be of any real numbers. It takes q products with the Hessian and q³ operations, for small networks.
func (c Comparison) Compare(ctx context.Context, ex *tensor.Executor, theta, mask []float64) ([]Agreement, error) {
	b, err := c.Task.Bind(ex, theta, mask)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	var list []Agreement
	var d dense
	for _, gamma := range c.Gamma {
		if !(gamma > 0) || math.IsInf(gamma, 0) {
			return nil, fmt.Errorf("gamma is %g: wants a positive, finite number", gamma)
		}
		rows, err := c.at(ctx, b, theta, mask, gamma, &d)
		if err != nil {
			return nil, err
		}
		list = append(list, rows...)
	}
	return list, nil
}

// at compares at one γ. The second derivatives are those of the γ before it where the weights are, too.
func (c Comparison) at(ctx context.Context, b *problem.Bound, theta, mask []float64, gamma float64, d *dense) (
	list []Agreement, err error) {
	if c.Solve {
		if theta, err = c.Task.Minimizer(ctx, b, theta, mask, gamma); err != nil {
			return nil, err
		}
	}
	sc := b.Executor.Scope()
	defer func() { err = joined(err, sc.Close()) }()
	n := len(theta)
	m, y := sc.Variable("mask", tensor.Real, n), sc.Variable("theta", tensor.Real, n)
	if err := joined(m.Write(mask), y.Write(theta)); err != nil {
		return nil, err
	}
	var state *tensor.Variable
	if c.Task.State.Size() > 0 {
		state = sc.Variable("state", tensor.Real, c.Task.State.Size())
		if err := state.Write(c.Task.State.Flat); err != nil {
			return nil, err
		}
	}
	point := func(side problem.Side, x, y *tensor.Node) *problem.Point {
		var s *tensor.Node
		if state != nil {
			s = state.Node()
		}
		return b.Oracle().At(side, x, y, b.All(side), params.TrainFrozen, s)
	}
	if d.h == nil || c.Solve {
		*d, err = densely(ctx, sc, func(side problem.Side) *problem.Point {
			return point(side, ones(n), m.Node().Mul(y.Node()))
		}, n)
		if err != nil {
			return nil, err
		}
	}
	exactly, smallest, err := d.gradient(theta, mask, gamma)
	if err != nil {
		return nil, err
	}
	add := func(row string, g []float64, status linear.Status) {
		a := Agreement{Row: row, Gamma: gamma, Status: status, Smallest: smallest, Gradient: g}
		norm, own := floats.Norm(exactly, 2), floats.Norm(g, 2)
		a.Cosine, a.Ratio, a.Distance = floats.Dot(exactly, g)/(norm*own), own/norm, floats.Distance(exactly, g, 2)/norm
		list = append(list, a)
	}
	add("dense", exactly, linear.Converged)
	unrolled := BiP{LowerSteps: max(1, c.Steps), WeightDecay: gamma}
	graphs, err := values(ctx, b.Executor, "variants", func() []*tensor.Node {
		x, w := m.Node(), y.Node()
		gl := point(problem.Lower, ones(n), x.Mul(w)).GradY()
		gu := point(problem.Upper, ones(n), x.Mul(w)).GradY()
		step := func(_ int, z *tensor.Node) *tensor.Node { return point(problem.Lower, ones(n), z).GradY() }
		last, _ := unrolled.unroll(x, w, tensor.Zeros(n), tensor.Const(c.Rate), step)
		return []*tensor.Node{
			hessianFree(x, w, gl, gu, 1/gamma), hessianFree(x, w, nil, gu, 0),
			tensor.Grad(point(problem.Upper, x, last).Value(), x)[0],
		}
	})
	if err != nil {
		return nil, err
	}
	add(RowBiP, graphs[0], linear.Converged)
	add(RowNoImplicit, graphs[1], linear.Converged)
	add(RowUnrolled, graphs[2], linear.Converged)
	cg := linear.CG{RTol: 1e-12, Damping: gamma, MaxSteps: 10 * n, FromZero: true}
	batches := [2]problem.Batch{problem.Lower: b.All(problem.Lower), problem.Upper: b.All(problem.Upper)}
	h, err := newHypergradient(b.Executor.Scope(), b, m, y, state, batches, cg)
	if err != nil {
		return nil, err
	}
	defer func() { err = joined(err, h.scope.Close()) }()
	st, err := h.run(ctx)
	if err != nil {
		return nil, err
	}
	g, err := h.g.Read()
	add(RowExact, g, st.Status)
	return list, err
}

// densely forms both gradients and the Hessian of G at z.
func densely(ctx context.Context, sc *tensor.Scope, at func(problem.Side) *problem.Point, n int) (d dense, err error) {
	e, column := sc.Variable("unit vector", tensor.Real, n), sc.Variable("column", tensor.Real, n)
	product := sc.Compile("column", func() []tensor.Update {
		return []tensor.Update{{Var: column, Value: at(problem.Lower).HVP(e.Node())}}
	})
	if err := sc.Err(); err != nil {
		return d, err
	}
	list, err := values(ctx, sc.Executor(), "gradients", func() []*tensor.Node {
		return []*tensor.Node{at(problem.Lower).GradY(), at(problem.Upper).GradY()}
	})
	if err != nil {
		return d, err
	}
	d.gl, d.gu, d.h = list[0], list[1], mat.NewDense(n, n, nil)
	unit := make([]float64, n)
	for j := range n {
		unit[j] = 1
		if err := joined(ctx.Err(), e.Write(unit), product.Run(1)); err != nil {
			return d, err
		}
		unit[j] = 0
		col, err := column.Read()
		if err != nil {
			return d, err
		}
		d.h.SetCol(j, col)
	}
	return d, nil
}

// Minimizer is the θ that minimizes G(m ⊙ θ) + γ/2 |θ|² on all rows, found by Newton's method from theta: the lower
// level solved. Its error says where the method stopped, if that is no minimizer.
func (t Task) Minimizer(ctx context.Context, b *problem.Bound, theta, mask []float64, gamma float64) (
	[]float64, error) {
	sc := b.Executor.Scope()
	defer sc.Close()
	m := sc.Variable("mask", tensor.Real, len(mask))
	var state *tensor.Node
	err := m.Write(mask)
	if t.State.Size() > 0 {
		v := sc.Variable("state", tensor.Real, t.State.Size())
		err, state = joined(err, v.Write(t.State.Flat)), v.Node()
	}
	if err != nil {
		return nil, err
	}
	f := func(y *tensor.Node) *tensor.Node {
		p := b.Oracle().At(problem.Lower, m.Node(), y, b.All(problem.Lower), params.TrainFrozen, state)
		return p.Value().Reshape().Add(tensor.Dot(y, y).Scale(gamma / 2))
	}
	newton, err := minimize.Newton{Tol: 1e-13, MaxSteps: 200, Forcing: 1e-3}.Prepare(b.Executor, f, len(theta))
	if err != nil {
		return nil, err
	}
	defer newton.Close()
	if err := newton.Y().Write(theta); err != nil {
		return nil, err
	}
	out, err := newton.Run(ctx)
	if err != nil {
		return nil, err
	}
	if !(out.GradientNorm < 1e-9) {
		return nil, fmt.Errorf("the lower level at gamma %g is not solved: %s with a gradient of %.2g after %d steps",
			gamma, out.Status, out.GradientNorm, out.Steps)
	}
	return newton.Y().Read()
}
