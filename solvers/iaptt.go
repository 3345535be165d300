package solvers

import (
	"cmp"
	"fmt"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// IAPTTGM is for lower levels that are not convex: the start z of the steps on y is learned together with x, and of the
// steps the one is differentiated where F is largest, the worst case (Liu, Liu, Zeng, Zhang, NeurIPS 2021, "Towards
// gradient-based bilevel optimization with non-convex followers and beyond", algorithm 1):
//
//	y_0 = z;  y_{t+1} = P_Y(y_t - s ∇yG(x,y_t)),  t = 0, …, K-1
//	k̄ = the first t from 1 to K where F(x,y_t) is largest,  φ(x,z) = F(x, y_k̄(x,z))
//	x₊ = P_X(x - α ∂φ/∂x),   z₊ = P_Y(z - α_z ∂φ/∂z),   y₊ = y_k̄
//
// with the derivatives backwards through the k̄ steps. A projection's derivative is taken as that of a box: 1 for the
// coordinates that no bound holds; sets of y of other kinds are refused. The variant with accelerated steps is not
// here.
//
// The paper's method is deterministic, its convergence asymptotic, for y in a compact set. On minibatches each inner
// step has a new one, and one upper minibatch serves the comparison and the derivative. The state is x, y and z; the
// passes of all K steps are kept while an iteration goes on. Running statistics move with the inner steps. An iteration
// costs K gradients of G, K values of F and one gradient, K products with H and K with C.
type IAPTTGM struct {
	Step       float64         `json:"step"`        // s; 0: chosen at the start values, see Defaults
	ZStep      float64         `json:"z_step"`      // α_z; 0: the step of x
	OuterStep  float64         `json:"outer_step"`  // α; 0: chosen at the start values
	InnerSteps int             `json:"inner_steps"` // K; 0: 10
	Schedule   engine.Schedule `json:"schedule"`    // of α and α_z
}

func (IAPTTGM) Name() string { return "iaptt-gm" }

func (IAPTTGM) Needs() Needs {
	return Needs{
		Usable: problem.UpperSet | problem.LowerSet | problem.ModelState,
		Why: "it differentiates gradient steps on one smooth lower level whose variable lasts and is free or in a " +
			"box, and needs an x that is free or in a set",
	}
}

func (a IAPTTGM) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	err := cmp.Or(
		checkSteps("iaptt-gm", a.Schedule, field{"step", a.Step}, field{"z_step", a.ZStep},
			field{"outer_step", a.OuterStep}),
		checkCounts("iaptt-gm", count{"inner_steps", a.InnerSteps}), wantsBox("iaptt-gm", b))
	if err != nil {
		return engine.Spec{}, err
	}
	draws := []engine.Draw{{Of: problem.Upper}}
	for t := range a.InnerSteps {
		draws = append(draws, engine.Draw{Name: fmt.Sprint("lower ", t+1), Of: problem.Lower})
	}
	build := func(it *engine.Iteration, s *engine.State) {
		x, y, zeta := s.Get("x"), s.Get("z"), it.Batch("upper")
		points, free, ys := make([]*problem.Point, a.InnerSteps), make([]*tensor.Node, a.InnerSteps), []*tensor.Node{}
		var values []*tensor.Node
		for t := range points {
			xi := it.Batch(draws[t+1].Name)
			points[t] = it.Lower(x, y.StopGradient(), xi)
			y = it.Project(problem.Lower, y.Sub(points[t].GradY().Scale(a.Step)), xi).StopGradient()
			free[t] = it.Free(problem.Lower, y, xi)
			ys = append(ys, y)
			values = append(values, it.Upper(x, y, zeta).Value().Reshape(1))
			it.Commit(points[t])
		}
		worst := tensor.Concat(0, values...).ArgMax().Reshape()
		chosen := ys[0]
		for t := 1; t < a.InnerSteps; t++ {
			chosen = tensor.Where(worst.Eq(tensor.IntConst(int32(t))), ys[t], chosen)
		}
		slope, fy := it.Upper(x, chosen.StopGradient(), zeta).Grad()
		adjoint := tensor.Zeros(fy.Size())
		for t := a.InnerSteps - 1; t >= 0; t-- {
			adjoint = adjoint.Add(worst.Eq(tensor.IntConst(int32(t))).Mul(fy)).Mul(free[t])
			slope = slope.Sub(points[t].Cross(adjoint).Scale(a.Step))
			adjoint = adjoint.Sub(points[t].HVP(adjoint).Scale(a.Step))
		}
		moveX(it, s, slope, zeta)
		s.Set("y", chosen)
		s.Set("z", it.Project(problem.Lower, s.Get("z").Sub(it.Rate("z").Mul(adjoint)), it.Batch(draws[1].Name)))
	}
	return engine.Spec{
		State: append(start(b), engine.Array{Name: "z", Values: b.Lower.Start.Flat}),
		Rates: []engine.Rate{
			r.rate("z", a.ZStep, a.Schedule), r.rate("outer", a.OuterStep, a.Schedule),
		},
		Phases: []engine.Phase{{Name: "iaptt-gm", Draws: draws, Build: build}},
	}, nil
}

// wantsBox refuses sets of y whose projection has no diagonal derivative.
func wantsBox(algorithm string, b *problem.Bound) error {
	switch b.Lower.Set.(type) {
	case nil, problem.Box, problem.Bounds, problem.BatchBox:
		return nil
	}
	return fmt.Errorf("%s: the problem %s keeps y in the %s: wants a box, whose projection it can differentiate",
		algorithm, b.Name, b.Lower.Set)
}

func (a IAPTTGM) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.InnerSteps = cmp.Or(a.InnerSteps, 10)
	err := choose(scale, &a.Step, &a.OuterStep, &a.Schedule)
	a.ZStep = cmp.Or(a.ZStep, a.OuterStep)
	return a, err
}
