package hypergrad

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"

	"bilevel/solvers/linear"
	"bilevel/solvers/minimize"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// ValueFunction is the gradient of the value-function form with a fixed multiplier λ (F²SA's Lagrangian; Kwon, Kwon,
// Wright, Nowak, ICML 2023):
//
//	L_λ(x, y) = F(x,y) + λ (G(x,y) - min over z of G(x,z)),   y_λ = argmin L_λ(x, ·),   z = argmin G(x, ·)
//	g = ∇xF(x,y_λ) + λ (∇xG(x,y_λ) - ∇xG(x,z))
//
// No second derivative is asked for but by the solver. Both minimizations begin at the given y. g is the gradient of
// min L_λ(x, ·), whose distance from ∇h is O(1/λ) (lemma 3.1 there). What is left of the minimizations counts λ times,
// and so does rounding in the difference of the two ∇xG: a larger λ asks for more exact arithmetic.
//
// A lower set is kept in both minimizations, by projected gradient descent. The gradient with respect to x stays that
// of min L_λ (Danskin's theorem).
type ValueFunction struct {
	Lambda float64 // λ; 0: 100
	// Solver minimizes F/λ + G and G; nil: Newton's method to what the arithmetic allows, or projected gradient descent
	// where y is in a set.
	Solver LowerSolver
}

// LowerSolver is a deterministic method of package minimize with its settings.
type LowerSolver interface {
	Prepare(ex *tensor.Executor, f func(y *tensor.Node) *tensor.Node, n int) (*minimize.Minimizer, error)
}

func (ValueFunction) Name() string { return "value-function" }

func (ValueFunction) Needs() Needs {
	return Needs{
		Usable: problem.UpperSet | problem.UpperConstraints | problem.LowerSet | problem.ModelState,
		Why: "it minimizes the lower objective, and a sum of both objectives, over one lower variable that lasts, in " +
			"a set at most",
	}
}

// MeasureValueFunction is the optimality measure of the value-function form, the problem of minimizing F(x,y) over x
// and y subject to G(x,y) - min G(x, ·) <= 0: the norm of (∇xL_λ, ∇yL_λ, G(x,y_λ) - G(x,z)), with |x - P(x - ∇xL_λ)|
// and |y - P(y - ∇yL_λ)| in place of the gradients where x or y is in a set.
const MeasureValueFunction = "KKT residual of the value-function form"

// valueFunction is ValueFunction prepared for a problem.
type valueFunction struct {
	ValueFunction
	b               *problem.Bound
	scope           *tensor.Scope
	y               *tensor.Variable // where the minimizations begin
	penalized, free *minimize.Minimizer
	ending          *ending
	figures         *tensor.Variable // see the constants below
}

// Positions in figures.
const (
	figureLagrangian = iota // |∇yL_λ|
	figureGap               // G(x,y_λ) - G(x,z)
	figureCross             // |∇xG(x,z)|
	numFigures
)

// Prepare compiles both minimizations.
func (m ValueFunction) Prepare(b *problem.Bound, x, y *tensor.Variable) (Estimator, error) {
	if err := refuse(b, m, x, y); err != nil {
		return nil, err
	}
	m.Lambda = cmp.Or(m.Lambda, 100)
	if !(m.Lambda > 0) || math.IsInf(m.Lambda, 0) {
		return nil, fmt.Errorf("hypergrad: ValueFunction.Lambda is %g: wants a positive, finite multiplier", m.Lambda)
	}
	if u := b.Executor.Info().UnitRoundoff(); m.Lambda*u > hopeless {
		return nil, fmt.Errorf("hypergrad: ValueFunction.Lambda is %g: it multiplies a difference of two gradients, "+
			"whose rounding would make up all of the result in this arithmetic; wants at most about %.1g, or float64 "+
			"(--device ref)", m.Lambda, math.Sqrt(1/u))
	}
	if m.Solver == nil {
		m.Solver = defaultLower(b)
	}
	sc := b.Executor.Scope()
	e := &valueFunction{ValueFunction: m, b: b, scope: sc, y: y,
		figures: sc.Variable("value-function figures", tensor.Real, numFigures)}
	err := e.prepare(x)
	if err = errors.Join(err, sc.Err()); err != nil {
		return nil, errors.Join(err, sc.Close())
	}
	return e, nil
}

// defaultLower solves the lower level as exactly as the arithmetic allows: minimizations that stagnate have converged.
func defaultLower(b *problem.Bound) LowerSolver {
	tol := 8 * b.Executor.Info().UnitRoundoff()
	if set := b.Set(problem.Lower); set != nil {
		return minimize.GradientDescent{Tol: tol, MaxSteps: 10000, Set: set}
	}
	return minimize.Newton{Tol: tol, MaxSteps: 200}
}

func (e *valueFunction) prepare(x *tensor.Variable) (err error) {
	sc, b := e.scope, e.b
	q := b.Lower.Start.Size()
	value := func(side problem.Side, y *tensor.Node) *tensor.Node {
		at := *newPieces(b, sc, x, e.y, 0)
		at.y = y
		return at.point(side, b.All(side)).Value()
	}
	minimizer := func(f func(y *tensor.Node) *tensor.Node) *minimize.Minimizer {
		if err != nil {
			return nil
		}
		var m *minimize.Minimizer
		if m, err = e.Solver.Prepare(b.Executor, f, q); err == nil {
			sc.Own(m.Close)
		}
		return m
	}
	// F/λ + G has the minimizer of F + λG, and gradients and tolerances of the size of those of G.
	e.penalized = minimizer(func(y *tensor.Node) *tensor.Node {
		return value(problem.Upper, y).Reshape().Scale(1 / e.Lambda).Add(value(problem.Lower, y).Reshape())
	})
	e.free = minimizer(func(y *tensor.Node) *tensor.Node { return value(problem.Lower, y) })
	if err != nil {
		return err
	}
	e.prepareEnd(x)
	return nil
}

// prepareEnd compiles the gradient and its figures, at y_λ and z.
func (e *valueFunction) prepareEnd(x *tensor.Variable) {
	sc, b, lambda := e.scope, e.b, e.Lambda
	atY, atZ := newPieces(b, sc, x, e.penalized.Y(), 0), newPieces(b, sc, x, e.free.Y(), 0)
	end := newEnding(b, sc, x)
	e.ending = end
	end.end = atY.stage("value function", func(t *terms) []tensor.Update {
		f := atY.point(problem.Upper, b.All(problem.Upper))
		gy, gz := atY.point(problem.Lower, b.All(problem.Lower)), atZ.point(problem.Lower, b.All(problem.Lower))
		along := f.GradY().Add(gy.GradY().Scale(lambda))
		lagrangian, _ := stationarity(b, atY.x, atY.y, along)
		distance, measure := stationarity(b, atZ.x, atZ.y, gz.GradY())
		end.measure = measure
		parts := make([]*tensor.Node, numFigures)
		parts[figureLagrangian] = lagrangian.Reshape(1)
		parts[figureGap] = gy.Value().Reshape(1).Sub(gz.Value().Reshape(1))
		parts[figureCross] = linear.Norm(gz.GradX()).Reshape(1)
		t.stage.counts = atY.o.Counts.Plus(atZ.o.Counts, 1)
		return []tensor.Update{
			{Var: end.fx, Value: f.GradX()}, {Var: end.stationarity, Value: distance},
			{Var: end.g, Value: f.GradX().Add(gy.GradX().Sub(gz.GradX()).Scale(lambda))},
			{Var: e.figures, Value: tensor.Concat(0, parts...)},
		}
	})
}

func (e *valueFunction) Compute(ctx context.Context) (*Hypergradient, error) {
	if err := cmp.Or(e.penalized.Y().CopyFrom(e.y), e.free.Y().CopyFrom(e.y)); err != nil {
		return nil, err
	}
	both, err := e.penalized.Run(ctx)
	if err != nil {
		return nil, err
	}
	lower, err := e.free.Run(ctx)
	if err != nil {
		return nil, err
	}
	counts := minimizerCounts(lower, 1, 0).Plus(minimizerCounts(both, 1, 1), 1)
	if err := e.ending.finish(ctx, &counts); err != nil {
		return nil, err
	}
	n, err := e.figures.Read()
	if err != nil {
		return nil, err
	}
	round := e.Lambda * e.b.Executor.Info().UnitRoundoff() * n[figureCross]
	h, err := e.ending.result("value-function", fmt.Sprintf("the gradient of min over y of F + λ (G - min G) with λ "+
		"= %g; its error against ∇h is O(1/λ), and rounding in the difference of two ∇xG adds about "+
		"%.2g", e.Lambda, round), 0,
		counts)
	if err != nil {
		return nil, err
	}
	for _, m := range []struct {
		what   string
		status minimize.Status
	}{{"F + λG", both.Status}, {"G", lower.Status}} {
		if !m.status.Good() {
			h.Notes = append(h.Notes, fmt.Sprintf("The minimization of %s ended with %q: %s.", m.what, m.status,
				m.status.Advice()))
		}
	}
	h.Optimality = math.Hypot(math.Hypot(h.Optimality, n[figureLagrangian]), n[figureGap])
	h.OptimalityMeasure = MeasureValueFunction
	return h, nil
}

// minimizerCounts are the calls of a minimization of a sum of so many lower and upper objectives: a gradient at every
// point where a step begins, a value at every trial, and the products of the steps.
func minimizerCounts(m minimize.Minimum, lower, upper int64) problem.Counts {
	points := int64(m.Steps + 1)
	return problem.Counts{
		LowerGradients: lower * points, UpperGradients: upper * points, HVP: (lower + upper) * int64(m.Products),
		Values: (lower + upper) * max(0, int64(m.Values)-points),
	}
}

// Close frees the programs and vectors.
func (e *valueFunction) Close() error { return e.scope.Close() }
