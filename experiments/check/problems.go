package check

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"bilevel/internal/nearest"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"
	"bilevel/tensor"
)

// Problem is a problem that comes with the program.
type Problem struct {
	Name  string
	About string
	New   func(seed uint64) solvertest.Closed
}

// Problems lists them. Those that draw data draw them by the seed.
func Problems() []Problem {
	same := func(c solvertest.Closed) func(uint64) solvertest.Closed {
		return func(uint64) solvertest.Closed { return c }
	}
	return []Problem{
		{"scalar", "one upper and one lower variable, both quadratic", same(solvertest.Scalar{})},
		{"quadratic", "two quadratics; the lower Hessian has the condition 10",
			func(seed uint64) solvertest.Closed {
				return solvertest.NewQuadratic(seed, 4, solvertest.Spectrum(12, 10))
			}},
		{"stiff", "two quadratics; the lower Hessian has the condition 10,000",
			func(seed uint64) solvertest.Closed {
				return solvertest.NewQuadratic(seed, 4, solvertest.Spectrum(12, 1e4))
			}},
		{"ridge", "the weight of a ridge regression, chosen on held-out rows",
			func(seed uint64) solvertest.Closed { return solvertest.NewRidge(seed, 30, 20, 8) }},
		{"cleaning", "data hyper-cleaning with softmax regression on a sample of 20 rows",
			func(seed uint64) solvertest.Closed { return solvertest.NewCleaning(seed, 20, 15, 4, 3, 0.1) }},
		{"regularization", "a weight for each coefficient of a logistic regression (golden problem P2)",
			golden("P2")},
		{"golden-p1", "the quadratic problem on which public implementations are recorded", golden("P1")},
		{"golden-p3", "the hyper-cleaning problem recorded with them", golden("P3")},
		{"feature-weights", "a weight for each of 20 features of a logistic regression, half of which say nothing",
			func(seed uint64) solvertest.Closed { return solvertest.NewFeatureWeights(seed, 60, 60, 20) }},
		{"aligned", "two quadratics with the same part in y, so that the implicit term vanishes",
			func(seed uint64) solvertest.Closed {
				return solvertest.NewAligned(seed, 4, solvertest.Spectrum(12, 10))
			}},
		{"min-min", "both levels have the same objective", same(solvertest.MinMin{})},
		{"flat", "a line of lower minimizers for each x", same(solvertest.FlatLower{})},
		{"optimistic", "a follower who chooses among many minimizers for the leader", same(solvertest.Indifferent{})},
		{"pessimistic", "a follower who chooses among many minimizers against the leader",
			same(solvertest.Indifferent{Pessimistic: true})},
		{"waves", "a lower level that is not convex", same(solvertest.Waves{})},
		{"toy", "a lower level with one minimizer that is not convex everywhere", same(solvertest.Toy{})},
		{"finite-sum", "means of random quadratics over rows",
			func(seed uint64) solvertest.Closed {
				return solvertest.NewFiniteSum(seed, 12, 8, 3, solvertest.Spectrum(6, 20))
			}},
		{"box", "a lower level in a box, some of whose bounds are active",
			func(seed uint64) solvertest.Closed { return solvertest.NewClipped(seed, 6) }},
		{"simplex", "a lower level that divides a total",
			func(seed uint64) solvertest.Closed { return solvertest.NewShares(seed, 6) }},
		{"equality", "a lower level with equations that move with x",
			func(seed uint64) solvertest.Closed {
				return solvertest.NewEquality(seed, 3, 2, solvertest.Spectrum(8, 10))
			}},
		{"lasso", "the weight of the lasso, chosen on held-out rows: a proximal lower level",
			func(seed uint64) solvertest.Closed { return solvertest.NewLasso(seed, 30, 20, 9) }},
		{"fixed-point", "a network of two layers whose output is its own input",
			func(seed uint64) solvertest.Closed { return solvertest.NewFixedPoint(seed, 3, 6, 5) }},
		{"stackelberg", "a leader and a follower on one market", same(solvertest.Stackelberg{})},
		{"tolls", "the toll of one of two roads, between which traffic divides", same(solvertest.Tolls{})},
		{"multi-task", "a linear representation that four ridge regressions share",
			func(seed uint64) solvertest.Closed { return solvertest.NewMultiTask(seed, 4, 12, 6, 2) }},
		{"multi-task-tanh", "a layer that four ridge regressions share",
			func(seed uint64) solvertest.Closed {
				m := solvertest.NewMultiTask(seed, 4, 12, 6, 2)
				m.Nonlinear = true
				return m
			}},
		{"k-means", "clusters of twelve points, centers above and assignments below",
			func(seed uint64) solvertest.Closed { return solvertest.NewKMeans(seed, 4, 3) }},
		{"disconnected", "a linear problem whose feasible points are two intervals", same(solvertest.Disconnected{})},
		{"pricing", "two linear programs, one inside the other", same(solvertest.Pricing{})},
	}
}

// golden is a problem on which iterates and hypergradients of public implementations are recorded.
func golden(name string) func(uint64) solvertest.Closed {
	return func(uint64) solvertest.Closed { return solvertest.GoldenProblems()[name] }
}

// ByName finds a problem; its error names the nearest one.
func ByName(name string) (Problem, error) {
	var names []string
	for _, p := range Problems() {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return Problem{}, fmt.Errorf("unknown problem %q (there are: %s)%s",
		name, strings.Join(names, ", "), nearest.Hint(name, names))
}

// Report checks the problem: the truth in float64, the estimators on the executor given.
func (p Problem) Report(ctx context.Context, ex *tensor.Executor, opt Options) (_ *Result, err error) {
	own, err := problem.OpenDevice("ref")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, own.Close()) }()
	var bound [2]*problem.Bound
	for i, on := range []*tensor.Executor{own.Executor, ex} {
		l, err := solvertest.Load(on, p.New(opt.Seed))
		if err != nil {
			return nil, err
		}
		if bound[i], err = l.Problem.Bind(on); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, bound[i].Close()) }()
	}
	r, err := report(ctx, bound[0], bound[1], opt)
	if err != nil {
		return nil, err
	}
	r.Problem = p.Name
	return r, nil
}
