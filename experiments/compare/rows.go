package compare

import (
	"cmp"
	"context"
	"errors"
	"math"

	"bilevel/data"
	"bilevel/experiments"
	"bilevel/experiments/hpo"
	"bilevel/internal/philox"
	"bilevel/models/params"
	"bilevel/solvers"
	"bilevel/solvers/hypergrad"
	"bilevel/solvers/linear"
	"bilevel/solvers/minimize"
	"bilevel/solvers/problem"
	"bilevel/tensor"

	"gonum.org/v1/gonum/floats"
)

// dataBatch is the size of minibatches of data where nothing is said.
const dataBatch = 64

// sample has minibatches of so many rows drawn on both levels, fixed ones for algorithms that want them.
func (c Config) sample(p *problem.Problem, batch int) error {
	entry, err := solvers.AlgorithmByName(c.Algorithm)
	if err != nil {
		return err
	}
	return experiments.DrawMinibatches(p, batch, entry.Zero.Needs().FixedBatches)
}

// whole is the largest multiple of a batch up to n: rows that would not fill a last minibatch are left out, so that
// algorithms that cut the rows into fixed minibatches see the same problem as all others.
func whole(n, batch int) int { return n - n%batch }

// firstRows are the first rows of a set.
func firstRows(s *data.Set, from, to int) (*data.Set, error) {
	rows := make([]int32, to-from)
	for i := range rows {
		rows[i] = int32(from + i)
	}
	return s.Rows(rows)
}

// regularization is the problem that benchmark_bilevel has under this name: a weight e^{x_j} for each coefficient of a
// logistic regression without intercept,
//
//	min_x  mean over validation rows of log(1 + e^{-b aᵀy*(x)})
//	s.t.   y*(x) = argmin_y  mean over training rows of log(1 + e^{-b aᵀy}) + ½ Σ_j e^{x_j} y_j²
//
// with the features as they are in the files, x from the logarithms of numbers uniform in (0, 1) and y from standard
// normal ones. h need not have a minimizer: what x is best for some coefficients can be -∞ or ∞, where ∇h vanishes as
// e^{-|x_j|} does. With Reg = r, the upper objective has ½ r |x|² beside it, and h has one.
//
// The validation rows are those that the set calls test rows, all of them, or the first Val; the others are then the
// test rows.
func regularization(name string) Problem {
	return Problem{
		Name: name, Data: name, Best: "value",
		measures: always("gradient", "value", "gradient", "inner_distance"),
		About:    "a weight for each coefficient of a logistic regression on the data set " + name,
		open: func(ex *tensor.Executor, c Config, set *data.Dataset, seed uint64) (*task, error) {
			return openRegularization(ex, c, set, seed)
		},
	}
}

// logistic is a regularization problem on an executor.
type logistic struct {
	scope   *tensor.Scope
	parts   [3]problem.Rows // training, validation and test rows; the last are nil where there are none
	dim     int
	reg     float64 // weight of the squared norm of x
	learner hpo.Learner
	*task
}

func openRegularization(ex *tensor.Executor, c Config, set *data.Dataset, seed uint64) (_ *task, err error) {
	m := &logistic{scope: ex.Scope(), reg: c.Reg}
	m.task = &task{batch: cmp.Or(c.Batch, dataBatch), columns: []string{"value", "gradient", "inner_distance"},
		close: m.scope.Close}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.scope.Close())
		}
	}()
	if err := m.split(c, set); err != nil {
		return nil, err
	}
	m.problem = m.build(seed)
	if err := c.sample(m.problem, m.batch); err != nil {
		return nil, err
	}
	return m.task, m.evaluate(ex)
}

// split puts the parts on the device.
func (m *logistic) split(c Config, set *data.Dataset) error {
	switch {
	case set.Classes != 2:
		return experiments.Usagef("the data set %s has %d classes: logistic regression wants 2", set.Name, set.Classes)
	case set.Test == nil:
		return experiments.Usagef("the data set %s has no test rows, which the upper level looks at", set.Name)
	}
	train, val := cmp.Or(c.Train, set.Train.N()), cmp.Or(c.Val, set.Test.N())
	if train > set.Train.N() || val > set.Test.N() || min(train, val) < m.batch {
		return experiments.Usagef("train is %d, val is %d and batch %d: wants at least a minibatch and at most the %d "+
			"and %d rows of %s", train, val, m.batch, set.Train.N(), set.Test.N(), set.Name)
	}
	m.dim = set.Train.Dim
	for i, part := range []struct {
		of       *data.Set
		from, to int
	}{
		{set.Train, 0, whole(train, m.batch)}, {set.Test, 0, whole(val, m.batch)}, {set.Test, val, set.Test.N()},
	} {
		if part.from == part.to {
			continue
		}
		rows, err := firstRows(part.of, part.from, part.to)
		if err == nil {
			m.parts[i], err = experiments.Upload(m.scope, rows)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// build makes the problem with start values drawn by the seed.
func (m *logistic) build(seed uint64) *problem.Problem {
	x, y := make([]float64, m.dim), make([]float64, m.dim)
	uniform, normal := make([]float32, m.dim), make([]float32, m.dim)
	philox.Uniforms(uniform, seed, 0, philox.StreamInit, 0)
	philox.Normals(normal, seed, 1, philox.StreamInit, 0)
	for i := range x {
		x[i], y[i] = math.Log(max(float64(uniform[i]), 1e-6)), float64(normal[i])
	}
	m.learner = hpo.Logistic(problem.Vector(y...), m.dim)
	p := m.learner.HoldOut(problem.Vector(x...), m.parts[0], m.parts[1])
	p.Name = "regularization"
	if m.reg > 0 {
		loss := p.Upper.Value
		p.Upper.Value = func(x, y params.Vars, rows problem.Batch) *tensor.Node {
			return loss(x, y, rows).Add(x[""].Square().Sum().Scale(m.reg / 2))
		}
	}
	return p
}

// evaluate makes the measures: h at y*(x), which Newton's method finds from where it stood last, |∇h| by the implicit
// function theorem, |y - y*|, and the part of the test rows that y judges wrong, where there are such rows.
func (m *logistic) evaluate(ex *tensor.Executor) error {
	sc := m.scope
	b, err := m.problem.Bind(ex)
	if err != nil {
		return err
	}
	sc.Own(b.Close)
	x := sc.Variable("measured x", tensor.Real, m.dim)
	roundoff := ex.Info().UnitRoundoff()
	newton, err := minimize.Newton{Tol: 8 * roundoff, MaxSteps: 50}.PrepareRows(minimize.RowsObjective{
		Bound: b, Rows: measuredRows,
		Value: func(y *tensor.Node, rows problem.Batch) *tensor.Node {
			return m.problem.Lower.Value(params.Vars{"": x.Node()}, params.Vars{"": y}, rows)
		},
	})
	if err != nil {
		return err
	}
	sc.Own(newton.Close)
	implicit, err := hypergrad.Implicit{
		Solver: linear.CG{RTol: 100 * roundoff, MaxSteps: 4 * m.dim, FromZero: true}, Rows: measuredRows,
	}.Prepare(b, x, newton.Y())
	if err != nil {
		return err
	}
	sc.Own(implicit.Close)
	val, err := m.evaluator(ex, m.parts[1], newton.Y(), "loss", m.learner.Scores)
	if err != nil {
		return err
	}
	var test *problem.Evaluator
	y := sc.Variable("measured y", tensor.Real, m.dim)
	if m.parts[2] != nil {
		m.columns = append(m.columns, "test_error")
		test, err = m.evaluator(ex, m.parts[2], y, "mistakes", m.learner.Mistakes)
		if err != nil {
			return err
		}
	}
	m.measure = func(ctx context.Context, at, now []float64) ([]float64, error) {
		if err := errors.Join(x.Write(at), y.Write(now)); err != nil {
			return nil, err
		}
		if _, err := newton.Run(ctx); err != nil {
			return nil, err
		}
		h, err1 := val.Run(ctx)
		g, err2 := implicit.Compute(ctx)
		star, err3 := newton.Y().Read()
		if err := errors.Join(err1, err2, err3); err != nil {
			return nil, err
		}
		value := h.Mean("loss") + m.reg/2*floats.Dot(at, at)
		row := []float64{value, g.Norm(), floats.Distance(now, star, 2)}
		if test != nil {
			e, err := test.Run(ctx)
			if err != nil {
				return nil, err
			}
			row = append(row, e.Mean("mistakes"))
		}
		return row, nil
	}
	return sc.Err()
}

// measuredRows is the most rows that measures look at together.
const measuredRows = 1 << 16

// evaluator is a mean over rows at a y that it reads where it stands.
func (m *logistic) evaluator(ex *tensor.Executor, rows problem.Rows, y *tensor.Variable, name string,
	of func(y *tensor.Node, b problem.Batch) *tensor.Node) (*problem.Evaluator, error) {
	e, err := problem.NewEvaluator(ex, rows, 0, []problem.Metric{{
		Name: name, Of: func(b problem.Batch) *tensor.Node { return of(y.Node(), b) },
	}}, nil)
	if err == nil {
		m.scope.Own(e.Close)
	}
	return e, err
}
