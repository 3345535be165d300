package experiments

import (
	"errors"
	"fmt"
	"math"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
)

// Work is what counted oracle calls are charged as, in calls of a minibatch: each call is one. Where more rows were
// drawn than so many minibatches hold, as in passes over all rows, it is the number of minibatches that they make.
// Without minibatches, batch 0, every call sees all rows and is one.
func Work(n problem.Counts, batch int) float64 {
	calls := float64(n.Calls())
	if batch == 0 {
		return calls
	}
	return max(calls, float64(n.Samples)/float64(batch))
}

// IterationsWithin is how many iterations of an algorithm a budget allows, in the unit of Work. What an algorithm
// charges beside its phases is not known beforehand, and not counted here.
func IterationsWithin(e *engine.Engine, calls float64, batch int) (int, error) {
	var spent problem.Counts
	for n := 0; ; n++ {
		next := spent.Plus(e.Counts(n), 1)
		if Work(next, batch) <= Work(spent, batch) { // it asks for nothing, so that no budget ends it
			return 0, errors.New("an iteration makes no oracle call: give iters in the place of calls")
		}
		switch {
		case Work(next, batch) <= calls && n < math.MaxInt32:
			spent = next
		case n == 0:
			return 0, fmt.Errorf("one iteration takes %.0f oracle calls and the budget is %.0f: allow more calls",
				Work(next, batch), calls)
		default:
			return n, nil
		}
	}
}

// DrawMinibatches has minibatches of so many rows drawn on both levels of a problem: fixed ones for algorithms that
// keep a table of them.
func DrawMinibatches(p *problem.Problem, batch int, fixed bool) error {
	for _, side := range []problem.Side{problem.Lower, problem.Upper} {
		l := p.Level(side)
		switch rows := l.Rows.Count(); {
		case rows == 0 || p.BlockPerRow && side == problem.Upper: // blocks are drawn once, for both levels
			continue
		case batch > rows:
			return fmt.Errorf("batch is %d and the %s level has %d rows: wants at most so many", batch, side, rows)
		}
		if l.Sampler = problem.WithReplacement(batch); fixed {
			l.Sampler = problem.Fixed(batch)
		}
	}
	return nil
}
