package solvers

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"bilevel/tensor"
)

// Algorithm is a way to solve a Problem: a value with named fields.
type Algorithm interface {
	Name() string
	// Init checks that problem and settings make sense together and prepares a run of n iterations.
	Init(ex *tensor.Executor, p *Problem, n int) (State, error)
}

// State is an algorithm at work.
type State interface {
	// Step does n iterations, the first of which has number k (from 0).
	Step(k, n int) error
	// Arrays is all that the next iteration depends on beside its number: x and y first. Writing them back and
	// going on with the same k continues a run to the same bits.
	Arrays() []*tensor.Variable
	// Counts is the cost of one iteration.
	Counts() Counts
	Close() error
}

// Options are the loop's limits and hooks.
type Options struct {
	Iterations int
	// Every is the number of iterations between records; 0 records at the end only.
	Every int
	// Record sees the state at iteration 0, at each multiple of Every and at the end. Its time does not count.
	Record func(Progress) error
	// Progress, where set, hears of every chunk.
	Progress func(done int)
}

// Progress is where a run stands.
type Progress struct {
	Iteration int
	Seconds   float64 // spent in the algorithm alone
	Counts    Counts
	State     State
}

// Result is what a run ends with.
type Result struct {
	Status     Status
	Iterations int // done; for NotFinite the iteration (from 1) after which the state was seen not to be finite
	Seconds    float64
	Counts     Counts
	X, Y       []float64
}

// Err is nil when all iterations were done, else says how the run ended and what to try.
func (r *Result) Err() error {
	if r.Status == Finished {
		return nil
	}
	return fmt.Errorf("%s after iteration %d: %s", r.Status, r.Iterations, r.Status.Advice())
}

// stride is the longest run of iterations between looks at the caller's context: short enough to stop soon.
const stride = 4 * chunk

// Solve runs an algorithm on a problem. The numerical outcome is Result.Status; the error is for what keeps the
// algorithm from running at all (a wrong setting, the device, a record that could not be written).
func Solve(ctx context.Context, ex *tensor.Executor, p *Problem, a Algorithm, opt Options) (*Result, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	if opt.Iterations < 1 {
		return nil, fmt.Errorf("solvers: %d iterations: wants at least 1", opt.Iterations)
	}
	state, err := a.Init(ex, p, opt.Iterations)
	if err != nil {
		return nil, err
	}
	defer state.Close()
	res := &Result{}
	record := func() error {
		if opt.Record == nil {
			return nil
		}
		return opt.Record(Progress{res.Iterations, res.Seconds, res.Counts, state})
	}
	if err := record(); err != nil {
		return nil, err
	}
	for res.Iterations < opt.Iterations {
		if ctx.Err() != nil {
			res.Status = Cancelled
			break
		}
		n := min(stride, opt.Iterations-res.Iterations)
		if opt.Every > 0 {
			n = min(n, opt.Every-res.Iterations%opt.Every)
		}
		begin := time.Now()
		err := state.Step(res.Iterations, n)
		res.Seconds += time.Since(begin).Seconds()
		var bad *notFiniteError
		if errors.As(err, &bad) {
			res.Counts = res.Counts.Plus(state.Counts(), int64(bad.iteration+1-res.Iterations))
			res.Status, res.Iterations = NotFinite, bad.iteration+1
			break
		}
		if err != nil {
			return nil, err
		}
		res.Iterations += n
		res.Counts = res.Counts.Plus(state.Counts(), int64(n))
		if opt.Progress != nil {
			opt.Progress(res.Iterations)
		}
		if opt.Every > 0 && res.Iterations%opt.Every == 0 || res.Iterations == opt.Iterations {
			if err := record(); err != nil {
				return nil, err
			}
		}
	}
	if res.X, err = state.Arrays()[0].Read(); err == nil {
		res.Y, err = state.Arrays()[1].Read()
	}
	if res.Status == Finished && !finite(res.X) { // the iteration watches the other vectors only
		res.Status = NotFinite
	}
	return res, err
}

func finite(values []float64) bool {
	for _, v := range values {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return false
		}
	}
	return true
}
