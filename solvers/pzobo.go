package solvers

import (
	"cmp"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// PZOBO takes a few gradient steps on y and moves x along an estimate of the derivative through them that needs no
// second derivative: the response of y to x is measured by differences along random directions (Sow, Ji, Liang, NeurIPS
// 2022, "On the convergence theory for Hessian-free bilevel algorithms", algorithm 1, and on minibatches algorithm 2):
//
//	y_N(x):  y_0 = y;  N times:  y₊ = y - α ∇yG(x,y;ξ)
//	δ_j = (y_N(x + μu_j) - y_N(x)) / μ,   u_j ~ N(0, I_p),  j = 1, …, J
//	x₊  = P_X(x - β (∇xF(x,y_N;ζ) + 1/J Σ_j ⟨δ_j, ∇yF(x,y_N;ζ)⟩ u_j));   y₊ = y_N
//
// All J+1 paths start from one y and see the same minibatches, a new one in each step; x + μu_j is not projected. The
// mean of the direction is the derivative of F(x, y_N(x)) with y_0 counted as constant, up to O(μ), and it misses what
// that misses (see ITDBiO); the variance is of the order of p/J for p upper variables. In float32 rounding adds about
// 1e-7 |y|/μ to δ. α does not follow the schedule.
//
// The state is x, y, the J directions and the J moved paths, which no iteration reads from the one before. Running
// statistics move with the inner steps at x. An iteration costs (J+1)N gradients of G and one of F.
type PZOBO struct {
	Step       float64         `json:"step"`        // α; 0: chosen at the start values, see Defaults
	OuterStep  float64         `json:"outer_step"`  // β; 0: chosen at the start values
	InnerSteps int             `json:"inner_steps"` // N; 0: 10
	Smoothing  float64         `json:"smoothing"`   // μ; 0: 0.01
	Directions int             `json:"directions"`  // J; 0: 10
	Schedule   engine.Schedule `json:"schedule"`    // of β
}

func (PZOBO) Name() string { return "pzobo" }

func (PZOBO) Needs() Needs {
	return Needs{
		Usable: problem.UpperSet | problem.ModelState,
		Why: "it takes differences of gradient steps on one smooth lower level without constraints, whose variable " +
			"lasts, and needs it strongly convex for these steps to come near its minimizer, and an x that is free " +
			"or in a set",
	}
}

func (a PZOBO) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	err := cmp.Or(
		checkSteps("pzobo", a.Schedule, field{"step", a.Step}, field{"outer_step", a.OuterStep},
			field{"smoothing", a.Smoothing}),
		checkCounts("pzobo", count{"inner_steps", a.InnerSteps}, count{"directions", a.Directions}))
	if err != nil {
		return engine.Spec{}, err
	}
	p, q, j := b.Upper.Start.Size(), b.Lower.Start.Size(), a.Directions
	row := func(n *tensor.Node, i, size int) *tensor.Node { return n.Slice(0, i*size, (i+1)*size) }
	begin := func(it *engine.Iteration, s *engine.State) {
		if r.directions == nil {
			s.Set("directions", it.Random().Normal(j*p))
		}
		s.Set("moved", tensor.Concat(0, repeated(s.Get("y"), j)...))
	}
	inner := func(it *engine.Iteration, s *engine.State) {
		x, y, u, moved, step := s.Get("x"), s.Get("y"), s.Get("directions"), s.Get("moved"), it.Rate("inner")
		xi := it.Batch("lower")
		g := it.Lower(x, y, xi)
		s.Set("y", y.Sub(step.Mul(g.GradY())))
		next := make([]*tensor.Node, j)
		for i := range next {
			z := row(moved, i, q)
			at := x.Add(row(u, i, p).Scale(a.Smoothing))
			next[i] = z.Sub(step.Mul(it.Lower(at, z, xi).GradY()))
		}
		s.Set("moved", tensor.Concat(0, next...))
		it.Commit(g)
	}
	outer := func(it *engine.Iteration, s *engine.State) {
		x, y, u, moved, zeta := s.Get("x"), s.Get("y"), s.Get("directions"), s.Get("moved"), it.Batch("upper")
		slope, fy := it.Upper(x, y, zeta).Grad()
		for i := range j {
			response := tensor.Dot(row(moved, i, q).Sub(y), fy).Scale(1 / (a.Smoothing * float64(j)))
			slope = slope.Add(response.Mul(row(u, i, p)))
		}
		s.Set("x", it.Project(problem.Upper, x.Sub(it.Rate("outer").Mul(slope)), zeta))
	}
	spec := engine.Spec{
		State: append(start(b), engine.Array{Name: "directions", Zeros: j * p, Unwatched: true},
			engine.Array{Name: "moved", Zeros: j * q}),
		Rates: []engine.Rate{r.rate("inner", a.Step, "constant"), r.rate("outer", a.OuterStep, a.Schedule)},
		Phases: []engine.Phase{
			{Name: "pzobo begin", Build: begin},
			{Name: "pzobo inner", Repeat: always(a.InnerSteps), Draws: []engine.Draw{{Of: problem.Lower}},
				Build: inner},
			{Name: "pzobo outer", Draws: []engine.Draw{{Of: problem.Upper}}, Build: outer},
		},
	}
	if r.directions != nil {
		spec.Chunk = 1
		spec.Between = func(e *engine.Engine, k int) error { return e.Variable("directions").Write(r.directions(k)) }
	}
	return spec, nil
}

// repeated is a node n times.
func repeated(node *tensor.Node, n int) []*tensor.Node {
	out := make([]*tensor.Node, n)
	for i := range out {
		out[i] = node
	}
	return out
}

// Defaults takes half the step of x that exact derivatives are given, for the noise of the directions.
func (a PZOBO) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.InnerSteps, a.Directions = cmp.Or(a.InnerSteps, 10), cmp.Or(a.Directions, 10)
	a.Smoothing = cmp.Or(a.Smoothing, 0.01)
	chosen := a.OuterStep == 0
	err := choose(scale, &a.Step, &a.OuterStep, &a.Schedule)
	if chosen {
		a.OuterStep /= 2
	}
	return a, err
}
