package experiments

import (
	"context"
	"math"

	"bilevel/data"
	"bilevel/models"
	"bilevel/solvers"
	"bilevel/solvers/hypergrad"
	"bilevel/solvers/linear"
	"bilevel/tensor"
)

// CleanRun is what one seed reports. Errors are fractions.
type CleanRun struct {
	TestError float64 `json:"test_error"`
	ValError  float64 `json:"val_error"`
	ValLoss   float64 `json:"val_loss"`
	Detector
	Baselines     CleanBaselines `json:"baselines"`
	Hypergradient Certificate    `json:"hypergradient"`
	Iterations    int            `json:"iterations"`
	Seconds       float64        `json:"seconds"` // in the algorithm alone
	Oracle        solvers.Counts `json:"oracle"`
	Device        string         `json:"device"`
	Seed          uint64         `json:"seed"`

	Curve    []CurvePoint `json:"-"`
	Suspects []Suspect    `json:"-"` // most suspect first
	Weights  []float64    `json:"-"` // sigmoid(x_i) of each training row
	Changed  []bool       `json:"-"` // nil where the truth is not known

	data      *cleanData
	x, y      []float64
	snapshots [][]float64
}

// CleanBaselines are test errors of models trained to convergence without weights.
type CleanBaselines struct {
	All        float64  `json:"all"`        // on all training rows with the labels as given
	Clean      *float64 `json:"clean"`      // on the rows whose label did not change; nil where that is not known
	Validation float64  `json:"validation"` // on the validation rows alone
	Converged  bool     `json:"converged"`  // all of them, as far as the arithmetic allows
}

// CurvePoint is one record of a run. The test error is scored after the run, on the stored snapshot.
type CurvePoint struct {
	Iteration int     `json:"iteration"`
	Seconds   float64 `json:"seconds"`
	Samples   int64   `json:"samples"`
	ValError  float64 `json:"val_error"`
	ValLoss   float64 `json:"val_loss"`
	TestError float64 `json:"test_error"`
}

// Suspect is a training row with its learned weight.
type Suspect struct {
	Row    int     // in the source
	Label  int     // as given
	Weight float64 // sigmoid(x)
	Own    int     // the model's own label for the row
}

// Certificate is the full-batch hypergradient at the end of a run with what is known about its error. Figures that are
// not finite are null.
type Certificate struct {
	Norm               *float64 `json:"norm"`
	Stationarity       *float64 `json:"stationarity"` // |∇yG|
	Residual           *float64 `json:"residual"`     // |∇yF - H v|
	SmallestEigenvalue *float64 `json:"smallest_eigenvalue"`
	Error              *float64 `json:"error"`
	Kind               string   `json:"kind"`
	Status             string   `json:"status"`
}

var certificateSolver = linear.CG{RTol: 1e-3, MaxSteps: 200, FromZero: true}

func newCertificate(h *hypergrad.Hypergradient) Certificate {
	norm := 0.0
	for _, g := range h.Gradient {
		norm += g * g
	}
	return Certificate{
		finite(math.Sqrt(norm)), finite(h.Stationarity), finite(h.Residual), finite(h.SmallestEigenvalue), finite(h.Error),
		string(h.Kind), h.Status.String(),
	}
}

func finite(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}

// score fills in what is known when the run is over. It is the only place that reads the test rows.
func (r *CleanRun) score(b *cleanProblem) error {
	for i, y := range r.snapshots {
		e, err := b.testOf(y)
		if err != nil {
			return err
		}
		r.Curve[i].TestError = e
	}
	last := r.Curve[len(r.Curve)-1]
	r.TestError, r.ValError, r.ValLoss = last.TestError, last.ValError, last.ValLoss
	r.Weights = make([]float64, len(r.x))
	for i, x := range r.x {
		r.Weights[i] = sigmoid(x)
	}
	r.Changed = r.data.changed
	r.Detector = detect(r.Weights, r.data.changed, r.data.drawn)
	if err := b.y.Write(r.y); err != nil {
		return err
	}
	if err := b.label.Run(1); err != nil {
		return err
	}
	own, err := b.guess.ReadInts()
	if err != nil {
		return err
	}
	for _, i := range ascending(r.x) {
		r.Suspects = append(r.Suspects, Suspect{int(r.data.rows[i]), int(r.data.train.Labels[i]), r.Weights[i], int(own[i])})
	}
	return nil
}

// testOf is the test error of parameters y.
func (b *cleanProblem) testOf(y []float64) (float64, error) {
	if err := b.y.Write(y); err != nil {
		return 0, err
	}
	if err := b.examine.Run(1); err != nil {
		return 0, err
	}
	mistakes, err := b.testMistakes.Number()
	return mistakes / float64(b.test.n), err
}

// baseline is how far the models without weights are trained: to the point where float32 cannot go on.
var baseline = solvers.Newton{Tol: 1e-5, MaxSteps: 50, Forcing: 0.05, CGSteps: 200}

// baselines trains on all rows, on the clean ones, and on the validation rows, with the same regularization.
func (c Clean) baselines(ctx context.Context, ex *tensor.Executor, b *cleanProblem, run *CleanRun, ev CleanEvents) error {
	d := run.data
	ev.stage("baselines", 3)
	run.Baselines.Converged = true
	train := func(rows *data.Set) (float64, error) {
		y, status, err := c.trained(ctx, ex, b, rows)
		if err != nil {
			return 0, err
		}
		if status != linear.Converged && status != linear.Stagnated {
			run.Baselines.Converged = false
		}
		return b.testOf(y)
	}
	var err error
	if run.Baselines.All, err = train(d.train); err != nil {
		return err
	}
	ev.progress(1)
	if d.changed != nil {
		var keep []int32
		for i, changed := range d.changed {
			if !changed {
				keep = append(keep, int32(i))
			}
		}
		if len(keep) > 0 {
			clean, err := d.train.Rows(keep)
			if err != nil {
				return err
			}
			e, err := train(clean)
			if err != nil {
				return err
			}
			run.Baselines.Clean = &e
		}
	}
	ev.progress(2)
	run.Baselines.Validation, err = train(d.val)
	ev.progress(3)
	return err
}

// trained is the minimizer of the unweighted mean over rows plus Reg |y|², and how its training ended.
func (c Clean) trained(ctx context.Context, ex *tensor.Executor, b *cleanProblem, rows *data.Set) ([]float64, linear.Status, error) {
	on, err := upload(ex, "baseline", rows)
	if err != nil {
		return nil, linear.NotFinite, err
	}
	defer on.free()
	m, err := baseline.Prepare(ex, func(y *tensor.Node) *tensor.Node {
		return on.losses(b.model, y, solvers.Batch{Rows: on.n}).Mean().Add(models.SquaredNorm(y).Scale(c.Reg))
	}, len(b.problem.Y0))
	if err != nil {
		return nil, linear.NotFinite, err
	}
	defer m.Close()
	if err := m.Y().Write(b.problem.Y0); err != nil {
		return nil, linear.NotFinite, err
	}
	end, err := m.Run(ctx)
	if err != nil {
		return nil, end.Status, err
	}
	y, err := m.Y().Read()
	return y, end.Status, err
}
