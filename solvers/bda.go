package solvers

import (
	"cmp"
	"fmt"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
)

// BDA lets the steps on y descend on both objectives, more and more on the lower one, and moves x along the derivative
// of F through all of them. Among many minimizers of G it so comes to the one where F is least (Liu, Mu, Yuan, Zeng,
// Zhang, ICML 2020, "A generic first-order algorithmic framework for bi-level programming beyond lower-level
// singleton", bi-level descent aggregation):
//
//	y_0 = y;  y_{t+1} = y_t - (α_t s_u ∇yF(x,y_t) + (1-α_t) s_l ∇yG(x,y_t)),  α_t = α/(t+1),  t = 0, …, T-1
//	x₊ = P_X(x - γ dF(x,y_T(x))/dx),  with y_0 counted as a constant;  y₊ = y_T
//
// and the derivative backwards through the steps, as in ITDBiO, with the second derivatives of both objectives. G must
// be smooth and convex in y, not strictly; s_u and s_l at most 1/L of F and of G. The steps start from the last y, with
// Cold from the start values in every iteration. What y_T misses of the lower minimizers is of the order of α_T, which
// falls with T.
//
// The paper's method is deterministic, its convergence asymptotic. On minibatches each inner step has a new pair, which
// is also that of its derivative. The state is x and y, with Cold also the start values of y; the passes of all steps
// are kept while an iteration goes on. Running statistics move with the inner steps. An iteration costs T gradients of
// G, T+1 of F, 2(T-1) products with Hessians in y and 2T with mixed derivatives.
type BDA struct {
	Step       float64         `json:"step"`        // s_l; 0: chosen at the start values, see Defaults
	UpperStep  float64         `json:"upper_step"`  // s_u; 0: s_l
	OuterStep  float64         `json:"outer_step"`  // γ; 0: chosen at the start values
	InnerSteps int             `json:"inner_steps"` // T; 0: 10
	Aggregate  float64         `json:"aggregate"`   // α, at most 1; 0: 0.5
	Cold       bool            `json:"cold"`        // the inner steps start at the start values in every iteration
	Schedule   engine.Schedule `json:"schedule"`    // of γ
}

func (BDA) Name() string { return "bda" }

func (BDA) Needs() Needs {
	return Needs{
		Usable: problem.UpperSet | problem.ModelState,
		Why: "it differentiates gradient steps on two smooth objectives of one free lower variable that lasts, the " +
			"lower one convex in it, and needs an x that is free or in a set",
	}
}

func (a BDA) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	err := cmp.Or(
		checkSteps("bda", a.Schedule, field{"step", a.Step}, field{"upper_step", a.UpperStep},
			field{"outer_step", a.OuterStep}, field{"aggregate", a.Aggregate}),
		checkCounts("bda", count{"inner_steps", a.InnerSteps}))
	if err != nil {
		return engine.Spec{}, err
	}
	if a.Aggregate > 1 {
		return engine.Spec{}, fmt.Errorf("bda: aggregate is %g: wants at most 1, the whole weight", a.Aggregate)
	}
	draws := []engine.Draw{{Of: problem.Upper}}
	for t := range a.InnerSteps {
		draws = append(draws, engine.Draw{Name: fmt.Sprint("lower ", t+1), Of: problem.Lower},
			engine.Draw{Name: fmt.Sprint("upper ", t+1), Of: problem.Upper})
	}
	state, from := start(b), "y"
	if a.Cold {
		from = "y0"
		state = append(state, engine.Array{Name: from, Values: b.Lower.Start.Flat, Unwatched: true})
	}
	// weighed is one point of each objective with what its gradient is multiplied by.
	type weighed struct {
		point *problem.Point
		by    float64
	}
	build := func(it *engine.Iteration, s *engine.State) {
		x, y, zeta := s.Get("x"), s.Get(from), it.Batch("upper")
		steps := make([][2]weighed, a.InnerSteps)
		for t := range steps {
			alpha, at := a.Aggregate/float64(t+1), y.StopGradient()
			g, f := it.Lower(x, at, it.Batch(draws[2*t+1].Name)), it.Upper(x, at, it.Batch(draws[2*t+2].Name))
			steps[t] = [2]weighed{{g, (1 - alpha) * a.Step}, {f, alpha * a.UpperStep}}
			for _, w := range steps[t] {
				y = y.Sub(w.point.GradY().Scale(w.by))
			}
			it.Commit(g)
		}
		slope, adjoint := it.Upper(x, y.StopGradient(), zeta).Grad()
		for t := a.InnerSteps - 1; t >= 0; t-- {
			back := adjoint
			for _, w := range steps[t] {
				slope = slope.Sub(w.point.Cross(back).Scale(w.by))
				if t > 0 {
					adjoint = adjoint.Sub(w.point.HVP(back).Scale(w.by))
				}
			}
		}
		moveX(it, s, slope, zeta)
		s.Set("y", y)
	}
	return engine.Spec{
		State:  state,
		Rates:  []engine.Rate{r.rate("outer", a.OuterStep, a.Schedule)},
		Phases: []engine.Phase{{Name: "bda", Draws: draws, Build: build}},
	}, nil
}

func (a BDA) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.InnerSteps, a.Aggregate = cmp.Or(a.InnerSteps, 10), cmp.Or(a.Aggregate, 0.5)
	err := choose(scale, &a.Step, &a.OuterStep, &a.Schedule)
	a.UpperStep = cmp.Or(a.UpperStep, a.Step)
	return a, err
}
