package solvers

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// Options say how long a run goes on, where it runs and who hears of it. The zero value runs 1,000 iterations on the
// best device of the machine. Most schedules of step sizes are functions of Iterations: without that limit they are
// refused where they are given, and step sizes that are chosen here stay as they are.
type Options struct {
	Iterations int // 0: 1,000, or no limit where Time or Calls sets one
	Seed       uint64

	// Device is a device's name, "" or "auto" the best one: the run opens and closes it. Executor, where set, is used
	// instead; it must be the one that the problem's data are on, where they are on a device already.
	Device   string
	Executor *tensor.Executor

	// Stopping rules beside Iterations, see engine.Limits. What a run took that diverged and was begun again counts.
	Time      time.Duration // in the algorithm alone
	Calls     int64         // oracle calls of any kind
	Tolerance float64       // of the mean hypergradient between two records
	Patience  int           // records without a lower Monitor
	// Every is the number of iterations between records; 0 is a fiftieth of Iterations, at most 1,000, where a rule
	// wants records.
	Every int

	// Monitor is a number that should fall; the best iterate by it is what the run ends with. Where it is nil and
	// Patience or KeepBest ask for one, it is the upper objective on all rows of its level, at the y of the time. That
	// suits a y that is wanted for itself, such as a model that is judged by validation rows. Where a y far from the
	// lower minimizer may have a lower upper objective than y*(x), give a Monitor that knows better.
	Monitor  func(engine.Progress) (float64, error)
	KeepBest bool

	// Record and Progress are called during the run, see engine.Limits. Where step sizes that were chosen here made it
	// diverge, it is begun again with a quarter of them, up to four times, and they are called for iteration 0 once
	// more.
	Record   func(engine.Progress) error
	Progress func(done int)

	// Resume, Checkpoint and CheckpointEvery are those of engine.Limits. A run that goes on takes the algorithm's
	// settings from the snapshot, so that what was chosen once is not chosen again. Give it the algorithm that it was
	// begun with: a step size that is 0 there was chosen, and is made smaller where the run diverges.
	Resume          *engine.Snapshot
	Checkpoint      func(*engine.Snapshot) error
	CheckpointEvery time.Duration
}

// Result is what a run ends with. Printed, it says how the run ended, what it has cost, what to try unless it
// converged, and its warnings.
type Result struct {
	engine.Outcome
	X, Y      problem.Values // the best iterate where there is a monitor, else the last one
	State     problem.Values // the running statistics that belong to it
	Algorithm Algorithm      // with the settings that were chosen
	Warnings  []string       // in plain sentences
}

func (r *Result) String() string {
	lines := []string{r.Outcome.String()}
	for _, w := range r.Warnings {
		lines = append(lines, "Warning: "+w+".")
	}
	return strings.Join(lines, "\n")
}

// Solve runs an algorithm on a problem. It returns an error where the algorithm cannot run (a wrong setting, a problem
// that it cannot use, the device, a record that could not be written), and where the run diverged; then the result is
// there too, with the last copy of the state that was finite. A run that ctx ends is no error: see Result.Status.
// Before its first iteration, while step sizes are looked for, there is no run yet, and the error is that of ctx.
//
// The functions of the options are called in the caller's goroutine, and waited for where ctx ends meanwhile.
func Solve(ctx context.Context, p *problem.Problem, a Algorithm, opt Options) (res *Result, err error) {
	ex, closeDevice := opt.Executor, func() error { return nil }
	if err := p.Check(); err != nil {
		return nil, err
	}
	if ex == nil {
		own, err := problem.OpenDevice(opt.Device)
		if err != nil {
			return nil, err
		}
		ex, closeDevice = own.Executor, own.Close
	}
	b, err := p.Bind(ex)
	if err != nil {
		return nil, errors.Join(err, closeDevice())
	}
	s := &solve{b: b, opt: opt}
	closeAll := func() error { return errors.Join(s.close(), b.Close(), closeDevice()) }
	defer func() { // also where a function of the options has ended the goroutine
		if res == nil || !res.Busy {
			err = errors.Join(err, closeAll())
			return
		}
		go func() { // the device is still in an iteration: nobody waits for it here
			<-res.Idle
			closeAll()
		}()
	}()
	return s.run(ctx, a)
}

// solve is one call of Solve at work.
type solve struct {
	b       *problem.Bound
	opt     Options
	closers []func() error
}

func (s *solve) close() error {
	var errs []error
	for _, c := range s.closers {
		errs = append(errs, c())
	}
	s.closers = nil
	return errors.Join(errs...)
}

// attempts is how often a run is begun whose step sizes were chosen here; backOff is the factor between two of them.
const (
	attempts = 5
	backOff  = 0.25
)

func (s *solve) run(ctx context.Context, given Algorithm) (*Result, error) {
	if err := plain(given); err != nil {
		return nil, err
	}
	limits, err := s.limits(given)
	if err != nil {
		return nil, err
	}
	a, before := given, 0 // attempts that diverged
	var warnings []string
	if r := s.opt.Resume; r != nil {
		if r.Algorithm != a.Name() {
			return nil, fmt.Errorf("%s cannot go on with a snapshot of %s", a.Name(), r.Algorithm)
		}
		if len(r.Settings) > 0 {
			if a, err = Decode(a, r.Settings); err != nil {
				return nil, err
			}
		}
		if before = r.Attempts; before > 0 {
			warnings = append(warnings, fmt.Sprintf("what goes on here is attempt %d at the run: those before it "+
				"diverged with larger step sizes", before+1))
		}
	}
	for {
		e, chosen, err := Init(ctx, s.b, a, limits.Iterations, s.opt.Seed)
		if err != nil {
			return nil, err
		}
		s.closers = append(s.closers, e.Close)
		out, err := e.Run(ctx, limits)
		if err != nil {
			return nil, err
		}
		res := s.result(out, chosen)
		res.Warnings = append(res.Warnings, warnings...)
		if out.Status != engine.NotFinite {
			return res, nil
		}
		smaller, ok := shrink(given, chosen)
		if before++; !ok || before >= attempts {
			return res, fmt.Errorf("%s on %s: %w", a.Name(), s.b.Name, out.Err())
		}
		if err := e.Close(); err != nil { // its memory is wanted for the next one
			return nil, err
		}
		warnings = append(warnings,
			fmt.Sprintf("the run diverged after iteration %d and was begun again with step sizes a quarter as large",
				out.Iterations))
		a, limits.Resume = smaller, nil
		limits.Earlier = engine.Earlier{Attempts: before, Seconds: out.Seconds, Counts: out.Counts}
	}
}

func (s *solve) limits(a Algorithm) (engine.Limits, error) {
	o := s.opt
	switch {
	case o.Iterations == 0 && (o.Time > 0 || o.Calls > 0):
		if schedule, _ := settingOf(reflect.ValueOf(a), "schedule").(engine.Schedule); schedule.Whole() {
			return engine.Limits{}, fmt.Errorf("%s: the schedule %q follows the number of iterations: give "+
				"Options.Iterations beside Time and Calls", a.Name(), schedule)
		}
		o.Iterations = math.MaxInt32
	case o.Iterations == 0:
		o.Iterations = 1000
	}
	if o.Iterations < 0 { // before step sizes are looked for, which the engine's own check comes after
		return engine.Limits{}, fmt.Errorf("solve: %d iterations: wants at least 1, or 0 for 1,000", o.Iterations)
	}
	if o.Monitor == nil && (o.Patience > 0 || o.KeepBest) {
		if s.b.Upper.Saddle != nil {
			return engine.Limits{}, fmt.Errorf("solve: the upper objective of %s is maximized over a further variable "+
				"and has no value that should fall: give Options.Monitor for Patience and KeepBest", s.b.Name)
		}
		m, err := upperValue(s.b)
		if err != nil {
			return engine.Limits{}, err
		}
		s.closers = append(s.closers, m.Close)
		o.Monitor = m.value
	}
	if o.Every == 0 && (o.Tolerance > 0 || o.Monitor != nil) {
		o.Every = max(1, min(o.Iterations/50, 1000))
	}
	return engine.Limits{
		Iterations: o.Iterations, Time: o.Time, Calls: o.Calls, Tolerance: o.Tolerance, Patience: o.Patience,
		Every:   o.Every,
		Monitor: o.Monitor, Record: o.Record, Progress: o.Progress, Resume: o.Resume,
		Checkpoint: o.Checkpoint, CheckpointEvery: o.CheckpointEvery,
	}, nil
}

func (s *solve) result(out *engine.Outcome, a Algorithm) *Result {
	from := out.Last
	if out.Best != nil {
		from = out.Best
	}
	own := func(name string) []float64 { return slices.Clone(from.Arrays[name]) } // the snapshot keeps its own
	return &Result{
		Outcome: *out, Algorithm: a,
		X: s.b.Upper.Start.Like(own("x")), Y: s.b.Lower.Start.Like(own("y")),
		State: s.b.State.Like(own(engine.StateName)),
	}
}
