package experiments

import (
	"context"
	"fmt"

	"bilevel/data"
	"bilevel/internal/philox"
	"bilevel/models"
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
	given            []int32   // training labels as the model sees them (train.Labels too)
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

// prepare splits, corrupts and standardizes.
func (c Clean) prepare(set *data.Dataset, seed uint64) (*cleanData, error) {
	d := &cleanData{classes: set.Classes}
	pool, n := set.Train, set.Train.N()
	sizes := []int{c.Train, c.Val}
	if set.Val != nil {
		sizes = sizes[:1]
	}
	if set.Test == nil { // the rows left over are the test
		sizes = append(sizes, n-c.Train-c.Val)
	}
	total := 0
	for _, s := range sizes {
		total += s
	}
	if c.Train < 1 || c.Val < 1 || total > n || set.Test == nil && sizes[len(sizes)-1] < 1 {
		return nil, &UsageError{fmt.Sprintf("%s has %d training rows: not enough for %d training and %d validation rows%s", set.Name, n, c.Train, c.Val,
			map[bool]string{true: " and some for a test", false: ""}[set.Test == nil])}
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
	for _, s := range []**data.Set{&d.train, &d.val, &d.test} {
		if *s, err = withOnes(*s, scaler); err != nil {
			return nil, err
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

// onDevice is a labelled set in a device's memory.
type onDevice struct {
	x, a *tensor.Variable // features [n, d], labels Int [n]
	n    int
}

func upload(ex *tensor.Executor, name string, s *data.Set) (onDevice, error) {
	d := onDevice{ex.Variable(name+" features", tensor.Real, s.N(), s.Dim), ex.Variable(name+" labels", tensor.Int, s.N()), s.N()}
	err := d.x.Write32(s.Features)
	if err == nil {
		err = d.a.WriteInts(s.Labels)
	}
	if err != nil {
		d.free()
	}
	return d, err
}

func (d onDevice) free() {
	d.x.Free()
	d.a.Free()
}

// losses is the cross-entropy of each row of a batch.
func (d onDevice) losses(m models.Model, y *tensor.Node, b solvers.Batch) *tensor.Node {
	return tensor.CrossEntropy(m.Outputs(y, b.Of(d.x.Node())), b.Of(d.a.Node()))
}

// cleanProblem is a seed's problem on a device.
type cleanProblem struct {
	model            models.Model
	train, val, test onDevice
	problem          *solvers.Problem
	functions        []*tensor.Function
	variables        []*tensor.Variable
	y, x             *tensor.Variable // the point that the functions below look at
	valError, valLoss, testError,
	guess *tensor.Variable
	validate, examine, label *tensor.Function
}

func (c Clean) build(ex *tensor.Executor, d *cleanData, seed uint64) (_ *cleanProblem, err error) {
	b := &cleanProblem{}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	model, err := models.NewSoftmax(d.train.Dim, d.classes, false)
	if err != nil {
		return nil, err
	}
	b.model = model
	for _, s := range []struct {
		name string
		from *data.Set
		to   *onDevice
	}{{"train", d.train, &b.train}, {"validation", d.val, &b.val}, {"test", d.test, &b.test}} {
		if *s.to, err = upload(ex, s.name, s.from); err != nil {
			return nil, err
		}
	}
	x0 := make([]float64, b.train.n)
	for i := range x0 {
		x0[i] = cleanStart
	}
	b.problem = &solvers.Problem{
		Name: "hyper-cleaning",
		X0:   x0, Y0: model.Init(seed),
		Lower: solvers.Level{
			Rows: b.train.n, Size: c.Batch,
			Batch: data.Batches{Seed: seed, Stream: philox.StreamLowerBatch, N: b.train.n, B: c.Batch},
			Value: func(x, y *tensor.Node, rows solvers.Batch) *tensor.Node {
				weighted := rows.Of(x).Sigmoid().Mul(b.train.losses(model, y, rows))
				return weighted.Mean().Add(models.SquaredNorm(y).Scale(c.Reg))
			},
		},
		Upper: solvers.Level{
			Rows: b.val.n, Size: c.Batch,
			Batch: data.Batches{Seed: seed, Stream: philox.StreamUpperBatch, N: b.val.n, B: c.Batch},
			Value: func(_, y *tensor.Node, rows solvers.Batch) *tensor.Node {
				return b.val.losses(model, y, rows).Mean()
			},
		},
		Mu: 2 * c.Reg,
	}
	return b, b.evaluations(ex)
}

// evaluations compiles what is measured at a point (x, y).
func (b *cleanProblem) evaluations(ex *tensor.Executor) (err error) {
	variable := func(name string, t tensor.Type, shape ...int) *tensor.Variable {
		v := ex.Variable(name, t, shape...)
		b.variables = append(b.variables, v)
		return v
	}
	b.x, b.y = variable("x", tensor.Real, len(b.problem.X0)), variable("y", tensor.Real, len(b.problem.Y0))
	b.valError, b.valLoss, b.testError = variable("validation error", tensor.Real), variable("validation loss", tensor.Real), variable("test error", tensor.Real)
	b.guess = variable("own labels", tensor.Int, b.train.n)
	compile := func(dst **tensor.Function, name string, build func() []tensor.Update) {
		if err == nil {
			if *dst, err = ex.Compile(name, build); err == nil {
				b.functions = append(b.functions, *dst)
			}
		}
	}
	outputs := func(s onDevice) *tensor.Node { return b.model.Outputs(b.y.Node(), s.x.Node()) }
	compile(&b.validate, "validate", func() []tensor.Update {
		z := outputs(b.val)
		return []tensor.Update{
			{Var: b.valError, Value: models.Mistakes(z, b.val.a.Node()).Mean()},
			{Var: b.valLoss, Value: tensor.CrossEntropy(z, b.val.a.Node()).Mean()},
		}
	})
	compile(&b.examine, "test", func() []tensor.Update {
		return []tensor.Update{{Var: b.testError, Value: models.Mistakes(outputs(b.test), b.test.a.Node()).Mean()}}
	})
	compile(&b.label, "own labels", func() []tensor.Update {
		return []tensor.Update{{Var: b.guess, Value: outputs(b.train).ArgMax()}}
	})
	return err
}

func (b *cleanProblem) close() {
	for _, f := range b.functions {
		f.Close()
	}
	for _, v := range b.variables {
		v.Free()
	}
	for _, s := range []onDevice{b.train, b.val, b.test} {
		if s.x != nil {
			s.free()
		}
	}
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
		rate, err = b.valError.Number()
	}
	if err == nil {
		loss, err = b.valLoss.Number()
	}
	return rate, loss, err
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
