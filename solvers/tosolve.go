package solvers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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

// leastTolerance is what tolerances do not fall below.
const leastTolerance = 1e-12

// toSolve solves the lower level, and then the linear system at its solution, before each iteration: L-BFGS from the
// last y until |∇yG(x,y)| <= ε_k, and v by what inverse says. The host decides how many steps that takes, and charges
// the engine for them. On the device ε_k is reached as far as its arithmetic allows.
type toSolve struct {
	tolerance     float64 // ε₀
	rule          string
	steps, memory int
	inverse       *linear.LBFGSInverse // nil: conjugate gradients until |H v - ∇yF| <= ε_k
	every         int                  // steps between two additional pairs of L-BFGS towards ∇yF; 0: none

	scope    *tensor.Scope
	min      *minimize.Minimizer
	system   linear.System
	begin    *tensor.Function // b = ∇yF(x,y)
	residual *tensor.Function // the system's right-hand side ← b - H v, and its norm
	add      *tensor.Function // v += the system's solution
	b, size  *tensor.Variable
}

func (t *toSolve) check(algorithm string) error {
	rules := slices.Sorted(mapKeys(toleranceRules))
	if !slices.Contains(rules, t.rule) {
		return fmt.Errorf("%s: rule is %q: wants one of %v", algorithm, t.rule, rules)
	}
	return cmp.Or(checkSteps(algorithm, "", field{"tolerance", t.tolerance}),
		checkCounts(algorithm, count{"inner_steps", t.steps}, count{"pairs", t.memory}))
}

func mapKeys[V any](m map[string]V) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// at is ε_k.
func (t *toSolve) at(k int) float64 {
	return max(leastTolerance, t.tolerance*toleranceRules[t.rule](float64(k)))
}

// spec is the algorithm: what is solved before an iteration, and a step of x along ∇xF - C v.
func (t *toSolve) spec(name string, b *problem.Bound, outer engine.Rate) engine.Spec {
	step := implicitStep(name, func(_, _ *problem.Point, v *tensor.Node) *tensor.Node { return v })
	step.Draws = []engine.Draw{{Of: problem.Lower, Full: true}, {Of: problem.Upper, Full: true}}
	return engine.Spec{
		Chunk: 1, Between: t.between, Close: t.close,
		State: start(b, "v"), Rates: []engine.Rate{outer}, Phases: []engine.Phase{step},
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
	method := minimize.LBFGS{MaxSteps: t.steps, Memory: t.memory}
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
	t.b, t.size = sc.Variable("right-hand side", tensor.Real, q), sc.Number("residual")
	t.begin = sc.Compile("right-hand side", func() []tensor.Update {
		fy := at(problem.Upper, y).GradY()
		return []tensor.Update{{Var: t.b, Value: fy}, {Var: t.system.RHS(), Value: fy}}
	})
	t.residual = sc.Compile("residual", func() []tensor.Update {
		r := t.b.Node().Sub(hv(v.Node()))
		return []tensor.Update{{Var: t.system.RHS(), Value: r}, {Var: t.size, Value: r.Norm()}}
	})
	t.add = sc.Compile("correction", func() []tensor.Update {
		return []tensor.Update{{Var: v, Value: v.Node().Add(t.system.Solution().Node())}}
	})
	return sc.Err()
}

// corrections bounds the solves whose tenfold gains make up one of conjugate gradients.
const corrections = 30

func (t *toSolve) between(e *engine.Engine, k int) error {
	if t.scope == nil {
		if err := t.prepare(e); err != nil {
			return err
		}
	}
	ctx := context.Background()
	y, v := e.Variable("y"), e.Variable("v")
	if err := t.min.Y().CopyFrom(y); err != nil {
		return err
	}
	end, err := t.min.RunTo(ctx, t.at(k))
	if err == nil {
		err = errors.Join(y.CopyFrom(t.min.Y()), t.begin.Run(1))
	}
	if err != nil {
		return err
	}
	cost := problem.Counts{LowerGradients: int64(end.Steps + 1), Values: int64(end.Values - end.Steps - 1),
		UpperGradients: 1}
	if t.every > 0 {
		cost.UpperGradients += int64(end.Steps / t.every)
	}
	defer func() { e.Charge(cost) }()
	if end.Status == minimize.NotFinite { // y is where the last finite value was: the state must say what happened
		return v.Write(slices.Repeat([]float64{math.NaN()}, v.Size()))
	}
	if t.inverse != nil {
		st, err := t.system.Solve(ctx)
		cost.HVP += int64(st.Products)
		return cmp.Or(err, v.CopyFrom(t.system.Solution()))
	}
	before := math.Inf(1)
	for range corrections {
		if err := t.residual.Run(1); err != nil {
			return err
		}
		cost.HVP++
		size, err := t.size.Number()
		if err != nil || !(size > t.at(k)) || size > before/2 { // or it is what the arithmetic can reach
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
