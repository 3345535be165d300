package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"bilevel/solvers/problem"
)

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
// busy, with the copy of a completed iteration that is at most a second, or one iteration, old. Only a function of
// Limits that is at work is waited for; where it gives back the error of ctx, that is the end of the run, and no error.
func (e *Engine) Run(ctx context.Context, l Limits) (*Outcome, error) {
	if err := e.checkLimits(l); err != nil {
		return nil, err
	}
	r := &run{Engine: e, Limits: l}
	if err := r.start(); err != nil {
		return nil, err
	}
	status, err := r.iterate(ctx)
	if err != nil {
		return nil, err
	}
	if !r.busy && status != NotFinite && r.kept.Iteration != r.k {
		finite, err := r.keep()
		if err != nil {
			return nil, err
		}
		if !finite {
			status = NotFinite
		}
	}
	last := r.kept.clone()
	out := &Outcome{Status: status, Last: last, Iterations: r.k, Seconds: r.seconds, Counts: r.counts, Best: r.best,
		BestValue: r.bestValue, Busy: r.busy, Idle: r.idle}
	if r.busy {
		out.Iterations, out.Seconds, out.Counts = last.Iteration, last.Seconds, last.Counts
	}
	return out, nil
}

// run is one Run at work.
type run struct {
	*Engine
	Limits
	k        int
	seconds  float64
	counts   problem.Counts
	attempts int // earlier ones, see Earlier

	best      *Snapshot
	bestValue float64
	stale     int       // records since the best one
	moved     []float64 // x at the last record, which was after iteration movedAt
	movedAt   int
	calm      int       // records in a row that met the tolerance
	recorded  int       // iteration of the last record, -1 before the first
	pace      float64   // seconds of an iteration, see paced
	saved     time.Time // when the last checkpoint was made

	kept   *Snapshot // always finite
	spare  *Snapshot
	copied time.Time

	idle <-chan struct{} // closed when the device is no longer in an iteration
	busy bool            // the loop was left while it was in one
}

func (r *run) start() error {
	r.kept, r.spare, r.bestValue, r.recorded, r.saved = &Snapshot{}, &Snapshot{}, math.Inf(1), -1, time.Now()
	idle := make(chan struct{})
	close(idle)
	r.idle = idle
	r.seconds, r.counts, r.attempts = r.Earlier.Seconds, r.Earlier.Counts, r.Earlier.Attempts
	if s := r.Resume; s != nil {
		if err := r.restore(s); err != nil {
			return err
		}
		r.k, r.seconds, r.counts, r.attempts, r.recorded = s.Iteration, s.Seconds, s.Counts, s.Attempts, s.Recorded
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
	r.kept, r.spare = r.spare, r.kept
	r.copied = time.Now()
	return true, nil
}

// note writes where the loop stands into a snapshot. What it points at is not written to again.
func (r *run) note(s *Snapshot) {
	s.Iteration, s.Seconds, s.Counts, s.Attempts, s.Recorded = r.k, r.seconds, r.counts, r.attempts, r.recorded
	s.Best, s.Stale, s.Moved, s.MovedAt, s.Calm, s.BestValue = r.best, r.stale, r.moved, r.movedAt, r.calm, 0
	if r.best != nil {
		s.BestValue = r.bestValue
	}
}

// iterate runs until a limit is met.
func (r *run) iterate(ctx context.Context) (Status, error) {
	for {
		status := r.spent()
		if r.recorded < r.k && (r.regular() || status != Finished) {
			seen, err := r.record(ctx)
			if err != nil || seen == Cancelled || seen == NotFinite {
				return seen, err
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
		if r.k == r.Iterations {
			break
		}
		if age := time.Since(r.copied) + time.Duration(r.pace*float64(r.next())*float64(time.Second)); age > oldest {
			if finite, err := r.keep(); err != nil || !finite {
				return NotFinite, err
			}
		}
		if ctx.Err() != nil {
			return Cancelled, nil
		}
		if status, err := r.advance(ctx, r.next()); err != nil || status != Finished {
			return status, err
		}
		if r.Progress != nil {
			r.Progress(r.k)
		}
	}
	if r.Tolerance > 0 {
		return OutOfIterations, nil
	}
	return Finished, nil
}

// advance does n iterations; Finished means that the run goes on.
func (r *run) advance(ctx context.Context, n int) (Status, error) {
	begin := time.Now()
	err := r.step(ctx, n)
	if r.busy {
		return Cancelled, nil
	}
	took := time.Since(begin).Seconds()
	r.seconds += took
	done := n
	var bad *NotFiniteError
	if errors.As(err, &bad) {
		done = bad.Iteration - r.k
	} else if err != nil {
		return NotFinite, err
	}
	r.counts = r.counts.Plus(r.CountsOf(r.k, done), 1).Plus(r.Charged(), 1)
	r.k, r.pace = r.k+done, paced(r.pace, took/float64(n))
	if bad != nil {
		return NotFinite, nil
	}
	return Finished, nil
}

// step does n iterations in a goroutine of its own, which is left to its device where ctx ends and they take long.
func (r *run) step(ctx context.Context, n int) error {
	idle := make(chan struct{})
	err := fmt.Errorf("%s: a function of the algorithm ended its goroutine in iteration %d", r.spec.Name, r.k+1)
	k, whole := r.k, context.WithoutCancel(ctx) // they are few enough to be finished
	go func() {
		defer close(idle)
		err = r.Step(whole, k, n)
	}()
	r.idle = idle
	select {
	case <-idle:
		return err
	case <-ctx.Done():
	}
	select {
	case <-idle:
		return err
	case <-time.After(stopGrace):
		r.busy = true
		return nil
	}
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

// regular tells whether a record is due here however the run ends.
func (r *run) regular() bool {
	return r.k == 0 || r.k == r.Iterations || r.Every > 0 && r.k%r.Every == 0
}

// spent is Finished while neither time nor calls are used up.
func (r *run) spent() Status {
	switch {
	case r.Time > 0 && r.seconds >= r.Time.Seconds():
		return OutOfTime
	case r.Calls > 0 && r.counts.Calls() >= r.Calls:
		return OutOfCalls
	}
	return Finished
}

// record shows the state to whoever wants to see it, and looks at the stopping rules; Finished means that it goes on.
func (r *run) record(ctx context.Context) (Status, error) {
	if r.Record == nil && r.Monitor == nil && r.Tolerance == 0 {
		return Finished, nil
	}
	if r.kept.Iteration != r.k { // what a stop in the record leaves: it does not know of the record
		if finite, err := r.keep(); err != nil || !finite {
			return NotFinite, err
		}
	}
	p := Progress{r.k, r.seconds, r.counts, r.Engine}
	if r.Record != nil {
		if err := r.Record(p); err != nil {
			return ended(ctx, err)
		}
	}
	status := Finished
	if r.Monitor != nil {
		v, err := r.Monitor(p)
		if err != nil {
			return ended(ctx, err)
		}
		if r.stale++; v < r.bestValue {
			r.best, r.bestValue, r.stale = r.kept.clone(), v, 0
			r.best.Best, r.best.Moved = nil, nil // else every best state would hold the one before it
		}
		if r.Patience > 0 && r.stale >= r.Patience {
			status = NoProgress
		}
	}
	if r.Tolerance > 0 && r.settled() {
		status = Converged
	}
	r.recorded = r.k
	if r.regular() {
		r.note(r.kept) // the copy is of this iteration: now it knows of the record too
	} // else the record was made because a budget was used up, and a run that goes on must not know of it
	return status, nil
}

// ended is how the error of a function of Limits ends the run: one that only passes on that ctx ended is a stop.
func ended(ctx context.Context, err error) (Status, error) {
	if stop := ctx.Err(); stop != nil && errors.Is(err, stop) {
		return Cancelled, nil
	}
	return NotFinite, err
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
