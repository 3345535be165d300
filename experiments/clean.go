package experiments

import (
	"context"
	"fmt"
	"math"

	"bilevel/data"
	"bilevel/solvers"
	"bilevel/solvers/hypergrad"
	"bilevel/tensor"
)

// Clean is data hyper-cleaning: it learns a weight for each training row so that a model trained with these weights
// does well on a small set of rows that can be trusted (Franceschi, Frasconi, Salzo, Grazzi, Pontil, ICML 2018, 5.1;
// settings of Dagréou et al., NeurIPS 2022):
//
//	min_x  mean over validation of CE(y*(x); a, b)
//	s.t.   y*(x) = argmin_y  mean over training of sigmoid(x_i) CE(y; a_i, b_i) + Reg |y|²
//
// with softmax regression; the bias is the weight of a column of ones and regularized with the rest.
// x starts at -2, y at 0; minibatches are drawn independently with replacement.
type Clean struct {
	Corrupt         float64 // each training label is redrawn from all classes with this probability
	Train, Val      int     // rows; Test is what the set brings, or what is left
	Algorithm       solvers.Entry
	Schedule        solvers.Schedule
	Step, OuterStep float64
	Reg             float64
	Iterations      int
	Batch           int
	Records         int // points of the curves; 0 means 40
}

// CleanEvents are hooks for whoever watches.
type CleanEvents struct {
	Stage    func(name string, total int) // a new piece of work of so many units
	Progress func(done int)
}

// cleanStart is the start value of x: all rows begin with weight sigmoid(-2) = 0.12.
const cleanStart = -2

// cleanData is what one seed makes of a data set.
type cleanData struct {
	train, val, test *data.Set // standardized by the training rows, with a column of ones
	rows             []int32   // of the training rows in the source
	changed, drawn   []bool    // nil where nothing was corrupted
	classes          int
}

// Run does one seed.
func (c Clean) Run(ctx context.Context, ex *tensor.Executor, set *data.Dataset, seed uint64, ev CleanEvents) (*CleanRun, error) {
	d, err := c.prepare(set, seed)
	if err != nil {
		return nil, err
	}
	b, err := c.build(ex, d, seed)
	if err != nil {
		return nil, err
	}
	defer b.close()
	run := &CleanRun{Seed: seed, Device: ex.Info().Name, data: d}
	if err := c.solve(ctx, ex, b, run, ev); err != nil {
		return nil, err
	}
	if err := c.certify(ctx, ex, b, run, ev); err != nil {
		return nil, err
	}
	if err := c.baselines(ctx, ex, b, run, ev); err != nil {
		return nil, err
	}
	return run, run.score(b)
}

// leftOver is how many of a set's rows neither level takes.
func (c Clean) leftOver(set *data.Dataset) int {
	n := set.Train.N() - c.Train
	if set.Val == nil {
		n -= c.Val
	}
	return n
}

// fits refuses sizes that a set cannot give.
func (c Clean) fits(set *data.Dataset) error {
	wants, least := fmt.Sprintf("%d training", c.Train), 0
	if set.Val == nil {
		wants += fmt.Sprintf(" and %d validation rows", c.Val)
	} else {
		wants += " rows"
	}
	if set.Test == nil {
		wants, least = wants+", and some left for a test", 1
	}
	switch {
	case c.Train < 1 || c.Val < 1 || c.leftOver(set) < least:
		return usagef("its %d rows are not enough for %s", set.Train.N(), wants)
	case set.Val != nil && c.Val != set.Val.N():
		return usagef("it brings %d validation rows of its own, which are all used, not %d", set.Val.N(), c.Val)
	case c.Batch < 1 || c.Batch > c.Train:
		return usagef("minibatches of %d rows out of %d training rows: wants 1 to %d", c.Batch, c.Train, c.Train)
	case set.Classes < 2:
		return usagef("all its labels are 0: there must be at least two classes")
	}
	return nil
}

// prepare splits, corrupts and standardizes.
func (c Clean) prepare(set *data.Dataset, seed uint64) (*cleanData, error) {
	if err := c.fits(set); err != nil {
		return nil, err
	}
	d := &cleanData{classes: set.Classes}
	pool, n := set.Train, set.Train.N()
	sizes := []int{c.Train, c.Val}
	if set.Val != nil {
		sizes = sizes[:1]
	}
	if set.Test == nil { // the rows left over are the test
		sizes = append(sizes, c.leftOver(set))
	}
	parts, err := data.Split(n, seed, sizes...)
	if err != nil {
		return nil, err
	}
	take := func(rows []int32) (s *data.Set) {
		if err == nil {
			s, err = pool.Rows(rows)
		}
		return s
	}
	d.rows, d.train = parts[0], take(parts[0])
	if d.val = set.Val; set.Val == nil {
		d.val = take(parts[1])
	}
	if d.test = set.Test; set.Test == nil {
		d.test = take(parts[len(parts)-1])
	}
	if err != nil {
		return nil, err
	}
	if c.Corrupt > 0 {
		truth := d.train.Labels
		if d.train.Labels, d.drawn, err = data.Corrupt(truth, c.Corrupt, set.Classes, seed); err != nil {
			return nil, err
		}
		d.changed = make([]bool, len(truth))
		for i := range truth {
			d.changed[i] = truth[i] != d.train.Labels[i]
		}
	}
	scaler, err := data.Standardize(d.train)
	if err != nil {
		return nil, err
	}
	for _, part := range []struct {
		name string
		set  **data.Set
	}{{"training", &d.train}, {"validation", &d.val}, {"test", &d.test}} {
		if *part.set, err = withOnes(*part.set, scaler); err != nil {
			return nil, err
		}
		if (*part.set).Check(d.classes) != nil {
			return nil, fmt.Errorf("a feature of a %s row is too large beside the training rows' to be divided by their deviation: look for outliers in the data", part.name)
		}
	}
	return d, nil
}

// withOnes standardizes into a new set with one more column, of ones.
func withOnes(s *data.Set, scaler *data.Scaler) (*data.Set, error) {
	scaled := make([]float32, len(s.Features))
	if err := scaler.Apply(scaled, s.Features); err != nil {
		return nil, err
	}
	out := &data.Set{Features: make([]float32, 0, len(scaled)+s.N()), Labels: s.Labels, Dim: s.Dim + 1}
	for i := range s.N() {
		out.Features = append(append(out.Features, scaled[i*s.Dim:(i+1)*s.Dim]...), 1)
	}
	return out, nil
}

// solve runs the algorithm and keeps curves and snapshots.
func (c Clean) solve(ctx context.Context, ex *tensor.Executor, b *cleanProblem, run *CleanRun, ev CleanEvents) error {
	records := c.Records
	if records == 0 {
		records = 40
	}
	ev.stage("solve", c.Iterations)
	res, err := solvers.Solve(ctx, ex, b.problem, c.Algorithm.New(c.Step, c.OuterStep, c.Schedule), solvers.Options{
		Iterations: c.Iterations, Every: max(1, c.Iterations/records), Progress: ev.Progress,
		Record: func(p solvers.Progress) error {
			y, err := p.State.Arrays()[1].Read()
			if err != nil {
				return err
			}
			point := CurvePoint{Iteration: p.Iteration, Seconds: p.Seconds, Samples: p.Counts.Samples}
			if point.ValError, point.ValLoss, err = b.validation(y); err != nil {
				return err
			}
			if math.IsNaN(point.ValLoss) || math.IsInf(point.ValLoss, 0) {
				return fmt.Errorf("seed %d: the validation loss is %g after iteration %d: use smaller step sizes, or look for very large values in the data", run.Seed, point.ValLoss, p.Iteration)
			}
			run.Curve = append(run.Curve, point)
			run.snapshots = append(run.snapshots, y)
			return nil
		},
	})
	if err != nil {
		return err
	}
	if err := res.Err(); err != nil {
		return fmt.Errorf("seed %d: %w", run.Seed, err)
	}
	run.Iterations, run.Seconds, run.Oracle = res.Iterations, res.Seconds, res.Counts
	run.x, run.y = res.X, res.Y
	return nil
}

func (b *cleanProblem) validation(y []float64) (rate, loss float64, err error) {
	if err = b.y.Write(y); err == nil {
		err = b.validate.Run(1)
	}
	if err == nil {
		rate, err = b.valMistakes.Number() // a count, so that the fraction is exact
	}
	if err == nil {
		loss, err = b.valLoss.Number()
	}
	return rate / float64(b.val.n), loss, err
}

// certificate is how exactly the hypergradient at the end is solved for.
var certificate = hypergrad.Implicit{Solver: certificateSolver}

// certify computes the hypergradient at the end, on all rows, with its error.
func (c Clean) certify(ctx context.Context, ex *tensor.Executor, b *cleanProblem, run *CleanRun, ev CleanEvents) error {
	ev.stage("certificate", 1)
	if err := b.x.Write(run.x); err != nil {
		return err
	}
	if err := b.y.Write(run.y); err != nil {
		return err
	}
	e, err := certificate.Prepare(ex, b.problem, b.x, b.y)
	if err != nil {
		return err
	}
	defer e.Close()
	h, err := e.Compute(ctx)
	if err != nil {
		return err
	}
	run.Hypergradient = newCertificate(h)
	ev.progress(1)
	return nil
}

func (e CleanEvents) stage(name string, total int) {
	if e.Stage != nil {
		e.Stage(name, total)
	}
}

func (e CleanEvents) progress(done int) {
	if e.Progress != nil {
		e.Progress(done)
	}
}
