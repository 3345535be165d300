package solvers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"bilevel/models/params"
	"bilevel/solvers/engine"
	"bilevel/solvers/linear"
	"bilevel/solvers/minimize"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// toleranceRules are the sequences of tolerances that a solve of the lower level may follow, ε_k for k = 0, 1, …, by
// name. Each has a finite sum, as the convergence of HOAG wants it: 10 ε₀, ε₀ π²/6 and 1.202… ε₀.
var toleranceRules = map[string]func(k float64) float64{
	"exponential": func(k float64) float64 { return math.Pow(0.9, k) },
	"quadratic":   func(k float64) float64 { return 1 / ((k + 1) * (k + 1)) },
	"cubic":       func(k float64) float64 { return 1 / ((k + 1) * (k + 1) * (k + 1)) },
}

// leastTolerance is what tolerances do not fall below, and neither do they fall below so many units of round-off of the
// gradient at the start values, or of the system's right-hand side.
const (
	leastTolerance = 1e-12
	leastRoundoff  = 10
)

// toSolve solves the lower level, and then the linear system at its solution, before each iteration: L-BFGS from the
// last y until |∇yG(x,y)| <= ε_k, and v by what inverse says. The host decides how many steps that takes, and charges
// the engine for them.
type toSolve struct {
	tolerance     float64 // ε₀
	rule          string
	steps, memory int
	inverse       *linear.LBFGSInverse // nil: conjugate gradients until |H v - ∇yF| <= ε_k
	every         int                  // steps between two additional pairs of L-BFGS towards ∇yF; 0: none
	adaptive      bool                 // the step of x is found on the way

	scope    *tensor.Scope
	min      *minimize.Minimizer
	system   linear.System
	begin    *tensor.Function // b = ∇yF(x,y)
	residual *tensor.Function // the system's right-hand side ← b - H v, the norms of both
	add      *tensor.Function // v += the system's solution
	b        *tensor.Variable
	size     *tensor.Variable // |b - H v|
	whole    *tensor.Variable // |b|
	upper    *tensor.Variable // F(x,y)
	weight   *tensor.Variable // |v|
	least    float64          // what the tolerances of the lower level do not fall below
}

func (t *toSolve) check(algorithm string) error {
	rules := slices.Sorted(maps.Keys(toleranceRules))
	if !slices.Contains(rules, t.rule) {
		return fmt.Errorf("%s: rule is %q: wants one of %v", algorithm, t.rule, rules)
	}
	return cmp.Or(checkSteps(algorithm, "", field{"tolerance", t.tolerance}),
		checkCounts(algorithm, count{"inner_steps", t.steps}, count{"pairs", t.memory}))
}

// at is ε_k, without what bounds it below.
func (t *toSolve) at(k int) float64 { return t.tolerance * toleranceRules[t.rule](float64(k)) }

// pairNames are the state's vectors in which pairs of L-BFGS go from one iteration to the next.
var pairNames = []string{"steps", "changes", "weights", "scale"}

// pairSizes are their lengths.
func (t *toSolve) pairSizes(b *problem.Bound) map[string]int {
	n := t.memory * b.Lower.Start.Size()
	return map[string]int{"steps": n, "changes": n, "weights": t.memory, "scale": 1}
}

// remember copies the pairs between the state and L-BFGS.
func (t *toSolve) remember(e *engine.Engine, toState bool) error {
	p := t.min.Pairs()
	for i, v := range []*tensor.Variable{p.Steps, p.Changes, p.Weights, p.Scale} {
		to, from := v, e.Variable(pairNames[i])
		if toState {
			to, from = from, to
		}
		if err := to.CopyFrom(from); err != nil {
			return err
		}
	}
	return nil
}

// spec is the algorithm: what is solved before an iteration, and a step of x along ∇xF - C v.
func (t *toSolve) spec(name string, b *problem.Bound, outer engine.Rate) engine.Spec {
	step := implicitStep(name, func(_, _ *problem.Point, v *tensor.Node) *tensor.Node { return v })
	step.Draws = []engine.Draw{{Of: problem.Lower, Full: true}, {Of: problem.Upper, Full: true}}
	state := start(b, "v")
	if t.inverse != nil {
		for _, one := range pairNames {
			state = append(state, engine.Array{Name: one, Zeros: t.pairSizes(b)[one], Unwatched: true})
		}
	}
	if t.adaptive {
		step, state = adaptiveStep(name), append(state, adaptiveState(b)...)
	}
	return engine.Spec{
		Chunk: 1, Between: t.between, Close: t.close,
		State: state, Rates: []engine.Rate{outer}, Phases: []engine.Phase{step},
	}
}

func (t *toSolve) close() error {
	if t.scope == nil {
		return nil
	}
	return t.scope.Close()
}

// prepare compiles the solves at the engine's x and y.
func (t *toSolve) prepare(e *engine.Engine) error {
	p := e.Problem()
	sc, ex := p.Executor.Scope(), p.Executor
	t.scope = sc
	x, y, v, q := e.Variable("x").Node(), e.Variable("y").Node(), e.Variable("v"), e.Variable("y").Size()
	at := func(side problem.Side, y *tensor.Node) *problem.Point {
		return p.Oracle().At(side, x, y, p.All(side), params.TrainFrozen, nil)
	}
	lower := func(y *tensor.Node) *tensor.Node { return at(problem.Lower, y).Value().Reshape() }
	method := minimize.LBFGS{MaxSteps: t.steps, Memory: t.memory, Warm: t.inverse != nil}
	var err error
	if t.every > 0 {
		upper := func(y *tensor.Node) *tensor.Node { return at(problem.Upper, y).Value().Reshape() }
		t.min, err = method.PrepareTowards(ex, lower, q, minimize.Towards{F: upper, Every: t.every})
	} else {
		t.min, err = method.Prepare(ex, lower, q)
	}
	if err != nil {
		return err
	}
	sc.Own(t.min.Close)
	var solver linear.Solver = linear.CG{RTol: 0.1, FromZero: true, Trust: true}
	if t.inverse != nil {
		solver = *t.inverse
	}
	hv := func(v *tensor.Node) *tensor.Node { return at(problem.Lower, y).HVP(v) }
	if t.system, err = solver.Prepare(ex, linear.Matrix{N: q, Apply: hv, Pairs: t.min.Pairs()}); err != nil {
		return err
	}
	sc.Own(t.system.Close)
	t.b = sc.Variable("right-hand side", tensor.Real, q)
	t.size, t.whole = sc.Number("residual"), sc.Number("size of the right-hand side")
	t.upper, t.weight = sc.Number("upper objective"), sc.Number("size of v")
	t.begin = sc.Compile("right-hand side", func() []tensor.Update {
		f := at(problem.Upper, y)
		fy := f.GradY()
		return []tensor.Update{{Var: t.b, Value: fy}, {Var: t.system.RHS(), Value: fy},
			{Var: t.upper, Value: f.Value().Reshape()}, {Var: t.weight, Value: linear.Norm(v.Node())}}
	})
	t.residual = sc.Compile("residual", func() []tensor.Update {
		r := t.b.Node().Sub(hv(v.Node()))
		return []tensor.Update{{Var: t.system.RHS(), Value: r}, {Var: t.size, Value: linear.Norm(r)},
			{Var: t.whole, Value: linear.Norm(t.b.Node())}}
	})
	t.add = sc.Compile("correction", func() []tensor.Update {
		return []tensor.Update{{Var: v, Value: v.Node().Add(t.system.Solution().Node())}}
	})
	return t.measure(p, sc)
}

// measure finds what the tolerances of the lower level do not fall below. It looks at the start values, so that a run
// that is resumed finds the same.
func (t *toSolve) measure(p *problem.Bound, sc *tensor.Scope) error {
	x, y := sc.Variable("start of x", tensor.Real, p.Upper.Start.Size()), sc.Variable("start of y", tensor.Real,
		p.Lower.Start.Size())
	f := sc.Compile("first gradient", func() []tensor.Update {
		at := p.Oracle().At(problem.Lower, x.Node(), y.Node(), p.All(problem.Lower), params.TrainFrozen, nil)
		return []tensor.Update{{Var: t.size, Value: linear.Norm(at.GradY())}}
	})
	err := cmp.Or(sc.Err(), x.Write(p.Upper.Start.Flat), y.Write(p.Lower.Start.Flat))
	if err != nil {
		return err
	}
	if err := f.Run(1); err != nil {
		return err
	}
	first, err := t.size.Number()
	t.least = max(leastTolerance, leastRoundoff*p.Executor.Info().UnitRoundoff()*first)
	return err
}

// invert takes v from the pairs, and ∇yF itself where there are none yet because y was a minimizer at the start.
func (t *toSolve) invert(ctx context.Context, e *engine.Engine, cost *problem.Counts) error {
	v := e.Variable("v")
	scale, err := t.min.Pairs().Scale.Number()
	if err != nil || scale == 0 {
		return cmp.Or(err, v.CopyFrom(t.b))
	}
	st, err := t.system.Solve(ctx)
	cost.HVP += int64(st.Products)
	return cmp.Or(err, v.CopyFrom(t.system.Solution()), t.remember(e, true))
}

// corrections bounds the solves whose tenfold gains make up one of conjugate gradients.
const corrections = 30

func (t *toSolve) between(e *engine.Engine, k int) error {
	if t.scope == nil {
		if err := t.prepare(e); err != nil {
			return err
		}
	}
	var cost problem.Counts
	if k == 0 {
		cost.LowerGradients++ // of measure
	}
	defer func() { e.Charge(t.rows(e.Problem(), cost)) }()
	finite, err := t.lower(e, k, &cost)
	if err == nil && finite && t.adaptive {
		finite, err = t.adapt(e, k, &cost)
	}
	if err != nil {
		return err
	}
	ctx, v := context.Background(), e.Variable("v")
	if !finite { // y is where the last finite value was: the state must say what happened
		return v.Write(slices.Repeat([]float64{math.NaN()}, v.Size()))
	}
	if t.inverse != nil {
		return t.invert(ctx, e, &cost)
	}
	return t.solve(ctx, e, t.at(k), &cost)
}

// lower solves the lower level from where y stands, and prepares the linear system there.
func (t *toSolve) lower(e *engine.Engine, k int, cost *problem.Counts) (finite bool, err error) {
	y := e.Variable("y")
	if err := t.min.Y().CopyFrom(y); err != nil {
		return false, err
	}
	if t.inverse != nil {
		if err := t.remember(e, false); err != nil {
			return false, err
		}
	}
	end, err := t.min.RunTo(context.Background(), max(t.least, t.at(k)))
	if err == nil {
		err = errors.Join(y.CopyFrom(t.min.Y()), t.begin.Run(1))
	}
	gradients := end.Steps + 1 + end.Towards
	*cost = cost.Plus(problem.Counts{LowerGradients: int64(gradients), Values: int64(end.Values - gradients),
		UpperGradients: int64(1 + end.Towards)}, 1)
	return end.Status != minimize.NotFinite, err
}

// adapt keeps the last move of x, or takes it back.
func (t *toSolve) adapt(e *engine.Engine, k int, cost *problem.Counts) (finite bool, err error) {
	weight, err := t.weight.Number()
	if err != nil {
		return false, err
	}
	back, err := t.judge(e, k, weight*max(t.least, t.at(k)))
	if err != nil || !back {
		return true, err
	}
	return t.lower(e, k, cost)
}

// rows adds the rows that calls have seen: each of them all rows of its level.
func (t *toSolve) rows(b *problem.Bound, n problem.Counts) problem.Counts {
	n.Samples += (n.LowerGradients+n.Values+n.HVP)*int64(b.Lower.Rows.Count()) +
		n.UpperGradients*int64(b.Upper.Rows.Count())
	return n
}

// solve takes v of the state to |b - H v| <= tolerance by solves for corrections, as far as the arithmetic allows.
func (t *toSolve) solve(ctx context.Context, e *engine.Engine, tolerance float64, cost *problem.Counts) error {
	u, before := e.Executor().Info().UnitRoundoff(), math.Inf(1)
	for range corrections {
		if err := t.residual.Run(1); err != nil {
			return err
		}
		cost.HVP++
		size, err1 := t.size.Number()
		whole, err2 := t.whole.Number()
		most := max(tolerance, leastTolerance, leastRoundoff*u*whole)
		if err := cmp.Or(err1, err2); err != nil || !(size > most) || size > before/2 {
			return err
		}
		before = size
		st, err := t.system.Solve(ctx)
		cost.HVP += int64(st.Products)
		if err := cmp.Or(err, t.add.Run(1)); err != nil {
			return err
		}
		if st.Status == linear.NegativeCurvature || st.Status == linear.NotFinite {
			return nil
		}
	}
	return nil
}
