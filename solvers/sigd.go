package solvers

import (
	"cmp"
	"fmt"

	"bilevel/internal/philox"
	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// SIGD is implicit gradient descent for a lower level with bounds, made differentiable by a random linear term q that
// is drawn once (Khanduri, Tsaknakis, Zhang, Liu, Liu, Zhang, Hong, ICML 2023, "Linearly constrained bilevel
// optimization: a smoothed implicit gradient approach"):
//
//	T times:  y₊ = P_Y(y - β_k (∇yG(x,y) + q))
//	then:     v  by N conjugate gradients from 0 on M∇²yyG(x,y)M v = M∇yF(x,y),  M = 1 where no bound holds y
//	          x₊ = P_X(x - α_k (∇xF(x,y) - ∇²xyG(x,y) v))
//
// v is the paper's Schur form of the optimality conditions, H⁻¹b - H⁻¹Eᵀ(EH⁻¹Eᵀ)⁻¹EH⁻¹b, for rows E of active bounds.
// The paper has linear inequalities A y <= b; here they are bounds of coordinates, a set of y. For almost all q no
// bound is active with the multiplier zero, so that the derivative exists; the price is a y that is off by H⁻¹q. The
// paper asks for a small q of a continuous distribution; its size could not be settled from what was read, and 0.01
// times standard normal numbers is what a public program takes. The paper's search for step lengths could not be read
// either: α follows the schedule.
//
// The method is deterministic; on minibatches each step on y has a new one, one new pair serves the rest, and v is
// biased. G must be smooth and strongly convex in y. The state is x, y, v, which is kept for inspection, and q. Running
// statistics are not taken. An iteration costs T gradients of G, one of F, N products with H and one with C.
type SIGD struct {
	Step         float64         `json:"step"`         // β; 0: chosen at the start values, see Defaults
	OuterStep    float64         `json:"outer_step"`   // α; 0: chosen at the start values
	InnerSteps   int             `json:"inner_steps"`  // T; 0: 10
	CGSteps      int             `json:"cg_steps"`     // N; 0: 10
	Perturbation float64         `json:"perturbation"` // the size of q's elements; 0: 0.01, -1: exactly 0
	Schedule     engine.Schedule `json:"schedule"`     // of α and β
}

func (SIGD) Name() string { return "sigd" }

func (SIGD) Needs() Needs {
	return Needs{Usable: problem.UpperSet | problem.LowerSet, Why: "it takes projected steps on one smooth, strongly " +
		"convex lower level, whose variable lasts and is free or in a set, and needs an x that is free or in a set"}
}

func (a SIGD) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	size := a.Perturbation
	if size == -1 {
		size = 0
	}
	err := cmp.Or(checkSteps("sigd", a.Schedule, field{"step", a.Step}, field{"outer_step", a.OuterStep}),
		checkNonNegative("sigd", field{"perturbation", size}),
		checkCounts("sigd", count{"inner_steps", a.InnerSteps}, count{"cg_steps", a.CGSteps}), onlyBounds("sigd", b))
	if err != nil {
		return engine.Spec{}, err
	}
	draws, q := make([]float32, b.Lower.Start.Size()), make([]float64, b.Lower.Start.Size())
	philox.Normals(draws, r.Seed, 0, philox.StreamInner, 0)
	for i, z := range draws {
		q[i] = size * float64(z)
	}
	inner := func(it *engine.Iteration, s *engine.State) {
		y, xi := s.Get("y"), it.Batch("lower")
		slope := it.Lower(s.Get("x"), y, xi).GradY().Add(s.Get("q"))
		s.Set("y", it.Project(problem.Lower, y.Sub(it.Rate("inner").Mul(slope)), xi))
	}
	outer := func(it *engine.Iteration, s *engine.State) {
		x, y, xi, zeta := s.Get("x"), s.Get("y"), it.Batch("lower"), it.Batch("upper")
		g, f, free := it.Lower(x, y, xi), it.Upper(x, y, zeta), it.Free(problem.Lower, y, xi)
		apply := func(v *tensor.Node) *tensor.Node { return free.Mul(g.HVP(v)) } // v is 0 where a bound holds y
		v := conjugateGradients(apply, free.Mul(f.GradY()), nil, a.CGSteps)
		moveX(it, s, f.GradX().Sub(g.Cross(v)), zeta)
		s.Set("v", v)
	}
	lower, upper := engine.Draw{Of: problem.Lower}, engine.Draw{Of: problem.Upper}
	return engine.Spec{
		State: append(start(b, "v"), engine.Array{Name: "q", Values: q}),
		Rates: twoRates(r, a.Step, a.OuterStep, a.Schedule),
		Phases: []engine.Phase{
			{Name: "sigd inner", Repeat: always(a.InnerSteps), Draws: []engine.Draw{lower}, Build: inner},
			{Name: "sigd outer", Draws: []engine.Draw{lower, upper}, Build: outer},
		},
	}, nil
}

// onlyBounds refuses a set of y whose projection has a derivative that is not diagonal.
func onlyBounds(algorithm string, b *problem.Bound) error {
	set := b.Set(problem.Lower)
	if set == nil {
		return nil
	}
	bounds := false
	sc := b.Executor.Scope()
	defer sc.Close()
	if d, ok := set.(problem.Described); ok {
		err := tensor.Catch(func() {
			y := sc.Variable("shape", tensor.Real, b.Lower.Start.Size())
			of := d.Describe(y.Node(), b.All(problem.Lower))
			bounds = of.Inequality == nil && of.Equality == nil
		})
		if err != nil {
			return err
		}
	}
	if !bounds {
		return fmt.Errorf("%s: the set of y (Lower.Set) of %s is a %s, and it keeps bounds of coordinates only: give "+
			"problem.Box or problem.Bounds, or take v-pbgd", algorithm, b.Name, set)
	}
	return nil
}

func (a SIGD) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.InnerSteps, a.CGSteps = cmp.Or(a.InnerSteps, 10), cmp.Or(a.CGSteps, 10)
	a.Perturbation = cmp.Or(a.Perturbation, 0.01)
	err := choose(scale, &a.Step, &a.OuterStep, &a.Schedule)
	return a, err
}
