package hypergrad

import (
	"context"
	"errors"
	"fmt"
	"math"

	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// The three estimators of a problem with F = G (Ablin, Peyré, Moreau, ICML 2020), where ∇h(x) = ∇xG(x, y*(x)). With e
// the distance of y from y*, their errors are O(e), o(e) and O(e²).

// MinMinAnalytic is ∇xG(x,y), Danskin's formula at a y near the lower minimizer. It costs one gradient; its error is
// C (y - y*) to first order.
type MinMinAnalytic struct {
	Rows int // of a piece, see Implicit; 0: all together
}

func (MinMinAnalytic) Name() string { return "min-min-analytic" }

// Needs says that y may be in a set: Danskin's formula holds there too.
func (MinMinAnalytic) Needs() Needs {
	n := pathNeeds()
	n.Usable &^= problem.LowerProx
	n.Why = "it is the partial gradient of one lower objective, which F is too"
	return n
}

// analytic is MinMinAnalytic prepared for a problem.
type analytic struct {
	*ending
	scope *tensor.Scope
}

// Prepare compiles the gradient. The problem has to declare MinMin.
func (m MinMinAnalytic) Prepare(b *problem.Bound, x, y *tensor.Variable) (Estimator, error) {
	if err := checkMinMin(b, m, x, y, "MinMinAnalytic"); err != nil {
		return nil, err
	}
	if m.Rows < 0 {
		return nil, fmt.Errorf("hypergrad: MinMinAnalytic.Rows is %d: wants at least 1, or 0 for all rows "+
			"together", m.Rows)
	}
	sc := b.Executor.Scope()
	at := newPieces(b, sc, x, y, m.Rows)
	e := &analytic{scope: sc, ending: newEnding(b, sc, x)}
	e.end = at.stage("analytic", func(t *terms) []tensor.Update {
		g := t.of(problem.Lower, func(p *problem.Point) []*tensor.Node { return []*tensor.Node{p.GradX(), p.GradY()} })
		distance, measure := stationarity(b, at.x, at.y, g[1])
		e.measure = measure
		return []tensor.Update{
			{Var: e.g, Value: g[0]}, {Var: e.fx, Value: g[0]}, {Var: e.stationarity, Value: distance},
		}
	})
	if err := sc.Err(); err != nil {
		return nil, errors.Join(err, sc.Close())
	}
	return e, nil
}

func (e *analytic) Compute(ctx context.Context) (*Hypergradient, error) {
	var counts problem.Counts
	if err := e.finish(ctx, &counts); err != nil {
		return nil, err
	}
	return e.result("min-min-analytic", "the partial gradient ∇xG(x,y), whose error is of the first order in y - y*", 0,
		counts)
}

// Close frees the programs and vectors.
func (e *analytic) Close() error { return e.scope.Close() }

// MinMinAutomatic is the derivative of G(x, y_T(x)) through T steps of an inner method from the given y: Unrolled where
// F = G. Its error is O(e_T |J_T - J*|), with the distance e_T of y_T from y*(x) and the Jacobians J_T of the path and
// J* of y*(x), and so smaller than that of MinMinAnalytic at y_T by a factor that vanishes as the steps converge; for
// gradient steps it is near T e_T².
type MinMinAutomatic struct {
	Inner Inner
	Steps int // T
	Rows  int // of a piece, see Implicit; 0: all together
}

func (MinMinAutomatic) Name() string { return "min-min-automatic" }
func (MinMinAutomatic) Needs() Needs { return pathNeeds() }

// Prepare compiles one step and one adjoint step. The problem has to declare MinMin.
func (m MinMinAutomatic) Prepare(b *problem.Bound, x, y *tensor.Variable) (Estimator, error) {
	if err := checkMinMin(b, m, x, y, "MinMinAutomatic"); err != nil {
		return nil, err
	}
	return prepareUnrolled(b, x, y, m, unrolling{
		field: "MinMinAutomatic", inner: m.Inner, steps: m.Steps, last: m.Steps, rows: m.Rows,
		bias: func(*problem.Problem) string {
			return fmt.Sprintf("the derivative of G(x, y_T(x)) through %d %s steps, whose error is smaller than the "+
				"first order in y_T - y*", m.Steps, m.Inner.Name())
		},
	})
}

// MinMinImplicit is ∇xG(x,y) - C v, H v = ∇yG(x,y): Implicit where F = G. It is the partial gradient after a Newton
// step on y, but for terms of second order, and its error is O(e²).
type MinMinImplicit struct {
	Solver linear.Solver
	Rows   int // of a piece, see Implicit; 0: all together
}

func (MinMinImplicit) Name() string { return "min-min-implicit" }
func (MinMinImplicit) Needs() Needs { return Implicit{}.Needs() }

// Prepare compiles Implicit. The problem has to declare MinMin.
func (m MinMinImplicit) Prepare(b *problem.Bound, x, y *tensor.Variable) (Estimator, error) {
	if err := checkMinMin(b, m, x, y, "MinMinImplicit"); err != nil {
		return nil, err
	}
	e, err := Implicit{Solver: m.Solver, Rows: m.Rows}.Prepare(b, x, y)
	if err != nil {
		return nil, err
	}
	return minMinImplicit{e}, nil
}

type minMinImplicit struct{ Estimator }

func (e minMinImplicit) Compute(ctx context.Context) (*Hypergradient, error) {
	h, err := e.Estimator.Compute(ctx)
	if err == nil {
		h.Method = "min-min-implicit"
	}
	return h, err
}

// checkMinMin refuses problems that a method cannot use or that do not declare F = G, and declarations that are not
// true: at the start values both gradients must agree in half of their digits, far beyond what rounding can do and far
// below what another function would.
func checkMinMin(b *problem.Bound, m Method, x, y *tensor.Variable, field string) (err error) {
	if err := refuse(b, m, x, y); err != nil {
		return err
	}
	if !b.MinMin {
		return fmt.Errorf("hypergrad: %s: the problem %s does not declare that F and G are one function, on which "+
			"this estimator rests: set Problem.MinMin where they are, or take Implicit or Unrolled", field, b.Name)
	}
	sc := b.Executor.Scope()
	defer func() { err = errors.Join(err, sc.Close()) }()
	x = sc.Variable("min-min x", tensor.Real, b.Upper.Start.Size())
	y = sc.Variable("min-min y", tensor.Real, b.Lower.Start.Size())
	off, size := sc.Number("min-min difference"), sc.Number("min-min size")
	at := newPieces(b, sc, x, y, 0)
	check := sc.Compile("min-min check", func() []tensor.Update {
		gradient := func(side problem.Side) *tensor.Node {
			gx, gy := at.point(side, b.All(side)).Grad()
			return tensor.Concat(0, gx, gy)
		}
		f, g := gradient(problem.Upper), gradient(problem.Lower)
		return []tensor.Update{{Var: off, Value: linear.Norm(f.Sub(g))},
			{Var: size, Value: linear.Norm(f).Add(linear.Norm(g))}}
	})
	if err := sc.Err(); err != nil {
		return err
	}
	if err := errors.Join(x.Write(b.Upper.Start.Flat), y.Write(b.Lower.Start.Flat), check.Run(1)); err != nil {
		return err
	}
	d, err1 := off.Number()
	s, err2 := size.Number()
	if d > math.Sqrt(b.Executor.Info().UnitRoundoff())*s {
		err = fmt.Errorf("hypergrad: %s: the problem %s declares MinMin, but at its start values the gradients of F "+
			"and G differ by %.2g, where their norms add up to %.2g: both levels must have the same objective and "+
			"the same rows",
			field, b.Name, d, s)
	}
	return errors.Join(err1, err2, err)
}
