package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"bilevel/solvers/problem"
)

// Limits say when a run ends and which functions it calls meanwhile. Iterations is required; a rule or a function that
// is left at its zero value is not used.
type Limits struct {
	Iterations int
	Time       time.Duration // in the algorithm alone
	Calls      int64         // oracle calls of any kind: the run ends with the iteration that reaches them

	// Every is the number of iterations between records; 0 records at the end only. Tolerance and Patience are looked
	// at when a record is made, so that they want Every too.
	Every int
	// Record sees the run at iteration 0, at each multiple of Every and at the end. Its time does not count.
	Record func(Progress) error
	// Progress is called with the number of iterations done whenever the host looks at the run.
	Progress func(done int)
	// One goroutine, which is not the one that called Run, calls Record, Progress and Monitor. Where Run returns with
	// Outcome.Busy, one of these calls may still be going on until Outcome.Idle is closed; no other call follows.

	// Tolerance ends the run when x has moved by at most Tolerance times the sum of its step sizes since the last
	// record, at two records in a row: that is the norm of the algorithm's hypergradient, averaged over the iterations
	// between (where x is in a set, of the projected steps). One record is not enough, because x also ends where it
	// began when it turns back in between. It wants a state "x" and a rate "outer".
	Tolerance float64
	// Monitor is a number that should fall: the upper objective, an error on validation rows. The best state by it is
	// kept, and after Patience records without a lower one the run ends; 0: it does not.
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

// Progress is where a run stands.
type Progress struct {
	Iteration int
	Seconds   float64 // in the algorithm alone
	Counts    problem.Counts
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
	Seconds    float64
	Counts     problem.Counts
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

const (
	// stopGrace is how long a run that is told to stop may take to end by itself before it is left to its device.
	stopGrace = 30 * time.Millisecond
	// lookEvery is about the time between two looks of the host, stride the longest run of iterations between them, in
	// chunks.
	lookEvery = 25 * time.Millisecond
	stride    = 4
	// oldest is the age that the copy of a completed iteration may reach, unless one iteration takes longer.
	oldest = 950 * time.Millisecond
)

// Run runs the algorithm within limits. The numerical outcome is Outcome.Status; the error is for what keeps the
// algorithm from running at all (the device, a record that could not be written).
//
// When ctx ends, Run returns within about a tenth of a second whatever an iteration takes: where the device is still
// busy, with the copy of a completed iteration that is at most a second, or one iteration, old.
func (e *Engine) Run(ctx context.Context, l Limits) (*Outcome, error) {
	if err := e.checkLimits(l); err != nil {
		return nil, err
	}
	r := &run{Engine: e, Limits: l}
	if err := r.start(); err != nil {
		return nil, err
	}
	idle := make(chan struct{})
	var out *Outcome
	var err error
	go func() {
		defer close(idle)
		out, err = r.loop(ctx)
	}()
	select {
	case <-idle:
	case <-ctx.Done():
		select {
		case <-idle:
		case <-time.After(stopGrace):
			return r.interrupted(idle), nil
		}
	}
	if out != nil {
		out.Idle = idle
	}
	return out, err
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
	case l.Resume != nil && l.Resume.Iteration > l.Iterations:
		return fmt.Errorf("%s: the snapshot has done %d of %d iterations: there is nothing left to do",
			e.spec.Name, l.Resume.Iteration, l.Iterations)
	}
	return nil
}

// run is one Run at work.
type run struct {
	*Engine
	Limits
	k       int
	seconds float64
	counts  problem.Counts

	best      *Snapshot
	bestValue float64
	stale     int       // records since the best one
	moved     []float64 // x at the last record, which was after iteration movedAt
	movedAt   int
	calm      int       // records in a row that met the tolerance
	recorded  int       // iteration of the last record, -1 before the first
	pace      float64   // seconds of an iteration, see paced
	saved     time.Time // when the last checkpoint was made

	mu     sync.Mutex // guards kept and left, by which Run leaves the loop while it may be in an iteration
	kept   *Snapshot  // always finite
	spare  *Snapshot
	left   bool
	copied time.Time
}

func (r *run) start() error {
	r.kept, r.spare, r.bestValue, r.recorded, r.saved = &Snapshot{}, &Snapshot{}, math.Inf(1), -1, time.Now()
	if s := r.Resume; s != nil {
		if err := r.restore(s); err != nil {
			return err
		}
		r.k, r.seconds, r.counts, r.recorded = s.Iteration, s.Seconds, s.Counts, s.Recorded
		r.best, r.stale, r.moved, r.movedAt, r.calm = s.Best, s.Stale, s.Moved, s.MovedAt, s.Calm
		if s.Best != nil {
			r.bestValue = s.BestValue
		}
	}
	if err := r.nonFinite.WriteInts([]int32{0}); err != nil {
		return err
	}
	finite, err := r.keep()
	if err == nil && !finite {
		err = fmt.Errorf("%s: a start value is NaN or infinite", r.spec.Name)
	}
	return err
}

// keep copies the state to the host: what a stop in the middle of an iteration leaves. A state that is not finite is
// not kept; an iteration watches only a part of the state for that.
func (r *run) keep() (finite bool, err error) {
	if err := r.copyState(r.spare); err != nil {
		return false, err
	}
	if !r.spare.finite() {
		return false, nil
	}
	r.note(r.spare)
	r.mu.Lock()
	r.kept, r.spare = r.spare, r.kept
	r.mu.Unlock()
	r.copied = time.Now()
	return true, nil
}

// note writes where the loop stands into a snapshot. What it points at is not written to again.
func (r *run) note(s *Snapshot) {
	s.Iteration, s.Seconds, s.Counts, s.Recorded = r.k, r.seconds, r.counts, r.recorded
	s.Best, s.Stale, s.Moved, s.MovedAt, s.Calm, s.BestValue = r.best, r.stale, r.moved, r.movedAt, r.calm, 0
	if r.best != nil {
		s.BestValue = r.bestValue
	}
}

// interrupted is the outcome of a run whose device is still in an iteration.
func (r *run) interrupted(idle <-chan struct{}) *Outcome {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left = true
	last := r.kept.clone()
	return &Outcome{Status: Cancelled, Last: last, Iterations: last.Iteration, Seconds: last.Seconds,
		Counts: last.Counts, Best: last.Best, BestValue: last.BestValue, Busy: true, Idle: idle}
}

func (r *run) loop(ctx context.Context) (*Outcome, error) {
	status, err := r.iterate(ctx)
	if err != nil {
		return nil, err
	}
	out := &Outcome{Status: status, Iterations: r.k, Seconds: r.seconds, Counts: r.counts, Best: r.best,
		BestValue: r.bestValue}
	if status != NotFinite && r.kept.Iteration != r.k {
		finite, err := r.keep()
		if err != nil {
			return nil, err
		}
		if !finite {
			out.Status = NotFinite
		}
	}
	out.Last = r.kept.clone()
	return out, nil
}

// gone tells whether Run has returned without waiting for the loop.
func (r *run) gone() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.left
}

// iterate runs until a limit is met.
func (r *run) iterate(ctx context.Context) (Status, error) {
	if r.recorded < r.k && (r.k == 0 || r.k == r.Iterations || r.Every > 0 && r.k%r.Every == 0) {
		if status, err := r.record(); err != nil || status != Finished {
			return status, err
		}
	}
	for r.k < r.Iterations {
		if ctx.Err() != nil || r.gone() {
			return Cancelled, nil
		}
		begin, n := time.Now(), r.next()
		err := r.Step(context.WithoutCancel(ctx), r.k, n) // short enough to be finished
		took := time.Since(begin).Seconds()
		r.seconds += took
		var bad *NotFiniteError
		if errors.As(err, &bad) {
			r.counts = r.counts.Plus(r.CountsOf(r.k, bad.Iteration-r.k), 1).Plus(r.Charged(), 1)
			r.k = bad.Iteration
			return NotFinite, nil
		}
		if err != nil {
			return NotFinite, err
		}
		r.counts = r.counts.Plus(r.CountsOf(r.k, n), 1).Plus(r.Charged(), 1)
		r.k, r.pace = r.k+n, paced(r.pace, took/float64(n))
		if r.gone() {
			return Cancelled, nil
		}
		if r.Progress != nil {
			r.Progress(r.k)
		}
		status := r.limit()
		if r.Every > 0 && r.k%r.Every == 0 || r.k == r.Iterations || status != Finished {
			seen, err := r.record()
			if err != nil {
				return NotFinite, err
			}
			if status == Finished {
				status = seen
			}
		}
		if status != Finished {
			return status, nil
		}
		if err := r.checkpoint(); err != nil {
			return NotFinite, err
		}
		if age := time.Since(r.copied) + time.Duration(r.pace*float64(r.next())*float64(time.Second)); age > oldest {
			if finite, err := r.keep(); err != nil || !finite {
				return NotFinite, err
			}
		}
	}
	if r.Tolerance > 0 {
		return OutOfIterations, nil
	}
	return Finished, nil
}

// paced is the new estimate of the seconds that an iteration takes, after one took so many. It rises at once and falls
// slowly: where one iteration in many is much longer than the others, at most a few long ones lie between two looks of
// the host.
func paced(pace, seconds float64) float64 { return max(seconds, 0.8*pace) }

// next is how many iterations to do before the host looks again; the first one alone, to see how long it takes.
func (r *run) next() int {
	n := 1
	if r.pace > 0 {
		n = max(1, min(stride*r.spec.Chunk, int(lookEvery.Seconds()/r.pace)))
	}
	if r.Every > 0 {
		n = min(n, r.Every-r.k%r.Every)
	}
	n = min(n, r.Iterations-r.k)
	switch {
	case r.Calls == 0:
		return n
	case r.spec.Between != nil:
		return 1 // what it charges is known afterwards
	}
	calls := r.counts.Calls()
	for i := range n {
		if calls += r.Engine.Counts(r.k + i).Calls(); calls >= r.Calls {
			return i + 1
		}
	}
	return n
}

// limit is Finished while neither time nor calls are used up.
func (r *run) limit() Status {
	switch {
	case r.Time > 0 && r.seconds >= r.Time.Seconds():
		return OutOfTime
	case r.Calls > 0 && r.counts.Calls() >= r.Calls:
		return OutOfCalls
	}
	return Finished
}

// record shows the state to whoever wants to see it, and looks at the stopping rules; Finished means that it goes on.
func (r *run) record() (Status, error) {
	if r.Record == nil && r.Monitor == nil && r.Tolerance == 0 {
		return Finished, nil
	}
	if r.kept.Iteration != r.k { // records may take long: what a stop leaves must not be older for it
		if finite, err := r.keep(); err != nil || !finite {
			return NotFinite, err
		}
	}
	if r.gone() {
		return Cancelled, nil
	}
	p := Progress{r.k, r.seconds, r.counts, r.Engine}
	if r.Record != nil {
		if err := r.Record(p); err != nil {
			return NotFinite, err
		}
	}
	r.recorded = r.k
	status := Finished
	if r.Monitor != nil {
		v, err := r.Monitor(p)
		if err != nil {
			return NotFinite, err
		}
		if r.stale++; v < r.bestValue {
			r.best, r.bestValue, r.stale = r.kept.clone(), v, 0
			r.best.Best, r.best.Moved = nil, nil // else every best state would hold the one before it
		}
		if math.IsNaN(v) {
			return NotFinite, nil
		}
		if r.Patience > 0 && r.stale >= r.Patience {
			status = NoProgress
		}
	}
	if r.Tolerance > 0 && r.settled() {
		status = Converged
	}
	if r.k == 0 || r.k == r.Iterations || r.Every > 0 && r.k%r.Every == 0 {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.note(r.kept) // the copy is of this iteration: now it knows of the record too
	} // else the record was made because a budget was used up, and a run that goes on must not know of it
	return status, nil
}

// checkpoint hands out a snapshot where it is time for one.
func (r *run) checkpoint() error {
	every := r.CheckpointEvery
	if every == 0 {
		every = time.Minute
	}
	if r.Checkpoint == nil || time.Since(r.saved) < every {
		return nil
	}
	if finite, err := r.keep(); err != nil || !finite {
		return err // a state that is not finite is noticed in the next iterations
	}
	if r.gone() {
		return nil
	}
	if err := r.Checkpoint(r.kept.clone()); err != nil {
		return err
	}
	r.saved = time.Now()
	return nil
}

// settled tells whether x has hardly moved since the last record, for the second time in a row.
func (r *run) settled() bool {
	x, before, from := r.kept.Arrays["x"], r.moved, r.movedAt
	r.moved, r.movedAt = append(r.moved[:0:0], x...), r.k
	if before == nil || from == r.k {
		return false
	}
	steps := 0.0
	for _, rate := range r.spec.Rates {
		if rate.Name == "outer" {
			for k := from; k < r.k; k++ {
				steps += rate.At(k)
			}
		}
	}
	moved, size := 0.0, 0.0
	for i := range x {
		moved += (x[i] - before[i]) * (x[i] - before[i])
		size += x[i] * x[i]
	}
	// Where a step along a direction of the size of the tolerance is lost in the rounding of x, standing still says
	// nothing.
	seen := r.Tolerance*steps/float64(r.k-from) > r.Executor().Info().UnitRoundoff()*math.Sqrt(size)
	if !seen || !(math.Sqrt(moved) <= r.Tolerance*steps) {
		r.calm = 0
		return false
	}
	r.calm++
	return r.calm >= 2
}
