package compare

import (
	"context"
	"errors"
	"math"

	"bilevel/data"
	"bilevel/experiments/check"
	"bilevel/models/params"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"
	"bilevel/tensor"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/optimize"
)

// sampledRows is the size of minibatches of problems that are made for them.
const sampledRows = 2

// closedProblem is a problem of package check. Everything that is measured is computed in float64, from y*(x) and ∇h(x)
// in closed form.
func closedProblem(p check.Problem) Problem {
	return Problem{
		Name: p.Name, About: p.About, Best: "gap",
		measures: func() ([]string, string) {
			columns := []string{"gap", "gradient", "inner_distance"}
			if optimum(p.New(1)) != nil {
				return append(columns, "distance"), "distance"
			}
			return columns, "gradient"
		},
		open: func(ex *tensor.Executor, c Config, _ *data.Dataset, seed uint64) (*task, error) {
			return openClosed(ex, c, p.New(seed))
		},
	}
}

// optimum is the minimizer of h where a problem declares it, else nil.
func optimum(c solvertest.Closed) []float64 {
	if known, ok := c.(interface{ Optimum() []float64 }); ok {
		return known.Optimum()
	}
	return nil
}

// openClosed puts a problem on an executor, and on one of float64 for the measures.
func openClosed(ex *tensor.Executor, c Config, of solvertest.Closed) (_ *task, err error) {
	l, err := solvertest.Load(ex, of)
	if err != nil {
		return nil, err
	}
	t := &task{problem: l.Problem, columns: []string{"value", "gap", "gradient", "inner_distance"}}
	if t.batch = c.Batch; t.batch == 0 {
		switch of.(type) {
		case *solvertest.FiniteSum, *solvertest.Duals:
			t.batch = sampledRows
		}
	}
	if t.batch > 0 {
		if err := c.sample(t.problem, t.batch); err != nil {
			return nil, err
		}
	}
	m, err := newExact(of)
	if err != nil {
		return nil, err
	}
	t.close = m.close
	defer func() {
		if err != nil {
			err = errors.Join(err, t.close())
		}
	}()
	best := optimum(of)
	if best != nil {
		t.columns = append(t.columns, "distance")
	}
	lowest, err := m.lowest(best, l.Upper.Start.Flat)
	if err != nil {
		return nil, err
	}
	t.measure = func(_ context.Context, x, y []float64) ([]float64, error) {
		at, err := m.at(x)
		if err != nil {
			return nil, err
		}
		row := []float64{at.value, at.value - lowest, at.stationarity, floats.Distance(y, at.y, 2)}
		if best != nil {
			row = append(row, floats.Distance(x, best, 2))
		}
		return row, nil
	}
	return t, nil
}

// exact evaluates h and its gradient in float64.
type exact struct {
	of      solvertest.Closed
	own     *problem.OwnedExecutor
	bound   *problem.Bound
	x, y, g *tensor.Variable
	alpha   *tensor.Variable // the best of a Saddle's further variable at y*(x); nil elsewhere
	value   *tensor.Variable // h(x) = F(x, y*(x))
	norm    *tensor.Variable // |∇h|, in a set |x - P(x - ∇h)|
	program *tensor.Function
}

func newExact(of solvertest.Closed) (_ *exact, err error) {
	own, err := problem.OpenDevice("ref")
	if err != nil {
		return nil, err
	}
	m := &exact{of: of, own: own}
	defer func() {
		if err != nil {
			err = errors.Join(err, own.Close())
		}
	}()
	l, err := solvertest.Load(own.Executor, of)
	if err != nil {
		return nil, err
	}
	if m.bound, err = l.Problem.Bind(own.Executor); err != nil {
		return nil, err
	}
	sc, b := own.Executor.Scope(), m.bound
	np := b.Upper.Start.Size()
	m.x, m.g = sc.Variable("x", tensor.Real, np), sc.Variable("gradient", tensor.Real, np)
	m.y = sc.Variable("y", tensor.Real, b.Lower.Start.Size())
	if saddle := b.Upper.Saddle; saddle != nil {
		m.alpha = sc.Variable("alpha", tensor.Real, saddle.Start.Size())
	}
	m.value, m.norm = sc.Number("value"), sc.Number("stationarity")
	m.program = sc.Compile("value", func() []tensor.Update {
		all, x := b.All(problem.Upper), m.x.Node()
		var f *tensor.Node
		if m.alpha != nil {
			f = b.Oracle().Saddle(x, m.y.Node(), m.alpha.Node(), all).Value()
		} else {
			f = b.Oracle().At(problem.Upper, x, m.y.Node(), all, params.Eval, nil).Value()
		}
		next := x.Sub(m.g.Node())
		if set := b.Set(problem.Upper); set != nil {
			next = set.Project(next, all)
		}
		return []tensor.Update{{Var: m.value, Value: f.Reshape()}, {Var: m.norm, Value: next.Sub(x).Norm()}}
	})
	return m, sc.Err()
}

// point is what is known of a point x.
type point struct {
	y, gradient         []float64
	value, stationarity float64
}

// at looks at a point. Where the closed form cannot be evaluated, far out where its matrices are singular in float64,
// the values are NaN.
func (m *exact) at(x []float64) (p point, err error) {
	if p.y, p.gradient = m.solve(x); p.y == nil {
		p.y = make([]float64, m.y.Size())
		p.value, p.stationarity = math.NaN(), math.NaN()
		return p, nil
	}
	if best, ok := m.of.(interface{ Alpha(x []float64) []float64 }); ok {
		if err := m.alpha.Write(best.Alpha(x)); err != nil {
			return p, err
		}
	}
	if err := errors.Join(m.x.Write(x), m.y.Write(p.y), m.g.Write(p.gradient), m.program.Run(1)); err != nil {
		return p, err
	}
	var err1, err2 error
	p.value, err1 = m.value.Number()
	p.stationarity, err2 = m.norm.Number()
	return p, errors.Join(err1, err2)
}

// solve is the closed form, which panics where a factorization fails; then y is nil.
func (m *exact) solve(x []float64) (y, gradient []float64) {
	defer func() {
		if recover() != nil {
			y, gradient = nil, nil
		}
	}()
	return m.of.Exact(x)
}

func (m *exact) close() error { return m.own.Close() }

// lowest is the value of h that gaps are measured from: at the optimum where the problem declares it, in a box of one
// variable the lowest of many points, and else the lowest value that a quasi-Newton method finds from the start, with
// exact gradients.
func (m *exact) lowest(best, start []float64) (float64, error) {
	if best != nil {
		p, err := m.at(best)
		return p.value, err
	}
	if box, ok := m.bound.Upper.Set.(problem.Box); ok && len(start) == 1 {
		return m.lowestOn(box)
	}
	var failed error
	f := func(x []float64) float64 {
		p, err := m.at(x)
		if failed = errors.Join(failed, err); err != nil || math.IsNaN(p.value) {
			return math.Inf(1)
		}
		return p.value
	}
	gradient := func(g, x []float64) {
		if _, of := m.solve(x); of != nil {
			copy(g, of)
		} else {
			clear(g) // the search ends here
		}
	}
	from, err := m.at(start)
	if err != nil {
		return 0, err
	}
	r, err := optimize.Minimize(
		optimize.Problem{Func: f, Grad: gradient}, start,
		&optimize.Settings{GradientThreshold: 1e-12, MajorIterations: 500}, &optimize.BFGS{})
	if failed != nil {
		return 0, failed
	}
	if r == nil {
		return 0, err
	}
	return min(from.value, r.F), nil // an error only says that round-off ended the search
}

// lowestOn is the lowest value on a grid of an interval, and on a finer one around it.
func (m *exact) lowestOn(box problem.Box) (float64, error) {
	const points, rounds = 1000, 4
	lo, hi, lowest := box.Lo, box.Hi, math.Inf(1)
	for range rounds {
		at, width := lo, (hi-lo)/points
		for i := range points + 1 {
			x := min(hi, lo+float64(i)*width)
			p, err := m.at([]float64{x})
			if err != nil {
				return 0, err
			}
			if p.value < lowest {
				lowest, at = p.value, x
			}
		}
		lo, hi = max(lo, at-width), min(hi, at+width)
	}
	return lowest, nil
}
