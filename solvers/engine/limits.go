package engine

import (
	"fmt"
	"math"
	"time"

	"bilevel/solvers/problem"
)

// Limits say when a run ends and which functions it calls meanwhile. Iterations is required; a rule or a function that
// is left at its zero value is not used.
type Limits struct {
	Iterations int
	Time       time.Duration // in the algorithm alone
	Calls      int64         // oracle calls of any kind: the run ends with the iteration that reaches them
	// Earlier counts towards Time and Calls. A snapshot to go on from has it in its own numbers.
	Earlier Earlier

	// Every is the number of iterations between records; 0 records at the end only. Tolerance and Patience are looked
	// at when a record is made, so that they want Every too.
	Every int
	// Record sees the run at iteration 0, at each multiple of Every and at the end. Its time does not count.
	Record func(Progress) error
	// Progress is called with the number of iterations done whenever the host looks at the run.
	Progress func(done int)
	// Record, Progress, Monitor and Checkpoint are called one at a time, in the goroutine that called Run, which waits
	// for them also where ctx has ended: one that takes long should look at ctx, and give back its error. The functions
	// of the algorithm's Spec are called in other goroutines.

	// Tolerance ends the run when x has moved by at most Tolerance times the sum of its step sizes since the last
	// record, at two records in a row: that is the norm of the algorithm's hypergradient, averaged over the iterations
	// between (where x is in a set, of the projected steps). One record is not enough, because x also ends where it
	// began when it turns back in between. It wants a state "x" and a rate "outer".
	Tolerance float64
	// Monitor is a number that should fall: the upper objective, an error on validation rows. The best state by it is
	// kept, and after Patience records without a lower one the run ends; 0: it does not. NaN is no lower value.
	Monitor  func(Progress) (float64, error)
	Patience int

	// Resume goes on from a snapshot instead of the start values, to the same bits as a run never stopped; where it is
	// of the last iteration, only the end is left. A record that was being made when the snapshot was taken is made
	// again.
	Resume *Snapshot
	// Checkpoint, where set, gets a snapshot of its own every CheckpointEvery (0: a minute) of wall-clock time; the
	// last one is Outcome.Last, which the caller saves. Its time does not count.
	Checkpoint      func(*Snapshot) error
	CheckpointEvery time.Duration
}

// Earlier is what attempts at a run took that diverged, after which it began again.
type Earlier struct {
	Attempts int
	Seconds  float64
	Counts   problem.Counts
}

// Progress is where a run stands.
type Progress struct {
	Iteration int
	Seconds   float64        // in the algorithm alone, with those of Limits.Earlier
	Counts    problem.Counts // with those of Limits.Earlier
	Engine    *Engine
}

// Outcome is what a run ends with.
type Outcome struct {
	Status    Status
	Last      *Snapshot // of the last completed iteration; where the status is NotFinite, of the last copy before it
	Best      *Snapshot // by Limits.Monitor; nil without one
	BestValue float64
	// Iterations done; for NotFinite the iteration (from 1) after which the state was seen not to be finite.
	Iterations int
	Seconds    float64        // with those of Limits.Earlier
	Counts     problem.Counts // with those of Limits.Earlier
	// Busy says that ctx ended while the device was in a long iteration: Last is the copy of an earlier one, and the
	// executor must not be used before Idle is closed.
	Busy bool
	Idle <-chan struct{}
}

// String says how the run ended, what it has cost, and in a second line what to try unless it converged.
func (o *Outcome) String() string {
	s := fmt.Sprintf("%s after %d iterations in %.3g s (%s)", o.Status, o.Iterations, o.Seconds, o.Counts)
	if advice := o.Status.Advice(); advice != "" {
		s += "\nAdvice: " + advice + "."
	}
	return s
}

// Err is nil unless the run was cancelled or diverged; then it says so and what to try.
func (o *Outcome) Err() error {
	if o.Status != Cancelled && o.Status != NotFinite {
		return nil
	}
	return fmt.Errorf("%s after iteration %d: %s", o.Status, o.Iterations, o.Status.Advice())
}

func (e *Engine) checkLimits(l Limits) error {
	rate := false
	for _, r := range e.spec.Rates {
		rate = rate || r.Name == "outer"
	}
	switch {
	case l.Iterations < 1:
		return fmt.Errorf("%s: %d iterations: wants at least 1", e.spec.Name, l.Iterations)
	case l.Time < 0 || l.Calls < 0 || l.Every < 0 || l.Patience < 0 ||
		!(l.Tolerance >= 0) || math.IsInf(l.Tolerance, 0):
		return fmt.Errorf("%s: limits of time %v, %d calls, records every %d, patience %d, tolerance %g: wants "+
			"finite numbers from 0 on",
			e.spec.Name, l.Time, l.Calls, l.Every, l.Patience, l.Tolerance)
	case l.Tolerance > 0 && (e.Variable("x") == nil || !rate):
		return fmt.Errorf("%s: a tolerance wants a state \"x\" and a rate \"outer\", which this algorithm has not",
			e.spec.Name)
	case (l.Tolerance > 0 || l.Patience > 0) && l.Every == 0:
		return fmt.Errorf("%s: tolerance and patience work on records: say with Every how many iterations lie "+
			"between two", e.spec.Name)
	case l.Patience > 0 && l.Monitor == nil:
		return fmt.Errorf("%s: patience wants a Monitor that it waits for", e.spec.Name)
	case l.Resume != nil && (l.Resume.Iteration < 0 || l.Resume.Recorded < -1 || l.Resume.MovedAt < 0 ||
		max(l.Resume.Recorded, l.Resume.MovedAt) > l.Resume.Iteration):
		return fmt.Errorf("%s: the snapshot is of iteration %d, with records at %d and %d: wants an iteration from 0 "+
			"on, and records that are not after it", e.spec.Name, l.Resume.Iteration, l.Resume.Recorded,
			l.Resume.MovedAt)
	case l.Resume != nil && l.Resume.Iteration > l.Iterations:
		return fmt.Errorf("%s: the snapshot has done %d of %d iterations: there is nothing left to do",
			e.spec.Name, l.Resume.Iteration, l.Iterations)
	}
	return nil
}
