package robust

import (
	"context"
	"math"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"bilevel/data"
	"bilevel/device"
	"bilevel/device/cpudevice"
	"bilevel/device/ref"
	"bilevel/experiments"
	"bilevel/experiments/experimentstest"
	"bilevel/experiments/train"
	"bilevel/models"
	adversary "bilevel/solvers/attack"
	"bilevel/tensor"
	"bilevel/tensor/tensortest"

	"github.com/stretchr/testify/require"
)

func digits(t *testing.T) *data.Dataset {
	t.Helper()
	set, err := data.Digits()
	require.NoError(t, err)
	return set
}

// small is a run of a fraction of a second.
func small(set *data.Dataset, method string, settings ...string) TrainConfig {
	c := Defaults(set)
	c.Method, c.Set, c.Model, c.Epochs, c.Train, c.Val = method, settings, "mlp:24", 4, 600, 200
	c.Examples, c.AttackSteps = 150, 5
	return c
}

func run(t *testing.T, c TrainConfig, dev device.Device, seed uint64) *experiments.Record {
	t.Helper()
	cells, err := Train{}.Cells(c, []uint64{seed})
	require.NoError(t, err)
	env := experiments.Env{Data: digits(t)}
	records, err := experiments.Run(context.Background(), dev, env, Train{}, cells, nil, experiments.Hooks{})
	require.NoError(t, err)
	require.NoError(t, dev.Close())
	return records[0]
}

// A trained model is a function of the seed alone, and the processor's course is the reference's within rounding. Its
// record has the keys of robustness benchmarks, and its file is one that bilevel predict reads.
func TestTraining(t *testing.T) {
	c := small(digits(t), "fast-bat-official", "step=20")
	c.BatchNorm = true
	one := run(t, c, cpudevice.New(1), 3)
	require.Equal(t, one.Models, run(t, c, cpudevice.New(2), 3).Models, "two threads")
	require.NotEqual(t, one.Models, run(t, c, cpudevice.New(1), 4).Models, "another seed")
	require.Len(t, one.Curve.Rows, c.Epochs+1)
	require.Greater(t, one.Scalars["clean_acc"], 0.8)
	require.Less(t, one.Scalars["robust_acc"], one.Scalars["clean_acc"])
	require.Greater(t, one.Scalars["robust_acc"], 0.3)
	require.Positive(t, one.Scalars["implicit"])
	require.EqualValues(t, c.Examples, one.Counts["n_examples"])
	require.Equal(t, "Linf", one.Texts["threat_model"])
	n := one.Counts["iterations"]
	require.EqualValues(t, c.Epochs*(c.Train/c.Batch), n)
	for name, each := range map[string]int64{"lower_gradients": 2, "upper_gradients": 1, "jvp": 1} {
		require.Equal(t, each*n, one.Counts["oracle."+name], name)
	}
	p := one.Scalars["robust_acc"]
	require.InDelta(t, math.Sqrt(p*(1-p)/150), one.Scalars["robust_acc_std"], 1e-12)

	dir := t.TempDir()
	require.NoError(t, experiments.WriteResults(dir, experiments.Page{}, Train{}.Report(),
		[]*experiments.Record{one}, 1))
	m, err := train.Open(filepath.Join(dir, "model.safetensors"))
	require.NoError(t, err)
	d, err := data.Split(1797, 3, c.Train, c.Val, 1797-c.Train-c.Val)
	require.NoError(t, err)
	test, err := digits(t).Train.Rows(d[2][:c.Examples])
	require.NoError(t, err)
	table, err := m.Predict(t.Context(), tensortest.Executor(t, cpudevice.New(1)), test)
	require.NoError(t, err)
	right := 0.0
	for i, row := range table.Rows {
		if row[1] == experiments.Number(float64(test.Labels[i])) {
			right++
		}
	}
	require.InDelta(t, one.Scalars["clean_acc"], right/float64(c.Examples), 1e-9)

	c.Epochs, c.Val = 1, 50
	fast, slow := run(t, c, cpudevice.New(1), 3), run(t, c, ref.New(), 3)
	require.InEpsilon(t, slow.Scalars["loss"], fast.Scalars["loss"], 1e-3)
}

// Who chooses among settings looks at validation rows: the record has no number of test rows then, and the model is the
// same. The ensemble meets the rows after the evaluation by PGD, and stronger attacks leave no more of them.
func TestEvaluationOfTheEnd(t *testing.T) {
	c := small(digits(t), "fast-at")
	c.Epochs, c.Ensemble, c.EnsembleExamples = 2, []string{"apgd-ce", "apgd-t"}, 150
	onTest := run(t, c, cpudevice.New(1), 3)
	c.Evaluate = ValidationRows
	onVal := run(t, c, cpudevice.New(1), 3)
	require.Equal(t, onTest.Models, onVal.Models)
	for prefix, r := range map[string]*experiments.Record{"": onTest, "val_": onVal} {
		require.Positive(t, r.Scalars[prefix+"ensemble_acc"])
		require.LessOrEqual(t, r.Scalars[prefix+"ensemble_acc"], r.Scalars[prefix+"robust_acc"])
		require.Less(t, r.Scalars[prefix+"robust_acc"], r.Scalars[prefix+"clean_acc"])
		require.EqualValues(t, 150, r.Counts["ensemble_examples"])
	}
	require.NotEqual(t, onTest.Scalars["robust_acc"], onVal.Scalars["val_robust_acc"], "other rows")
	require.NotContains(t, onVal.Scalars, "clean_acc")
	require.NotContains(t, onVal.Scalars, "robust_acc")
	require.NotContains(t, onTest.Scalars, "val_robust_acc")
	require.Contains(t, onVal.Texts["evaluation"], "150 validation rows")
}

// A cell that is stopped again and again and goes on each time ends with the bits of one that never was.
func TestStoppedTrainingGoesOnToTheSameBits(t *testing.T) {
	dev := cpudevice.New(1)
	defer func() { require.NoError(t, dev.Close()) }()
	set := digits(t)
	cells, err := Train{}.Cells(small(set, "free", "replays=4"), []uint64{2})
	require.NoError(t, err)
	experimentstest.Run{Device: dev, Experiment: Train{}, Cell: cells[0], Data: set}.SameBits(t, 2)
}

// What a stop leaves at the end of training is not lost.
func TestStopAtTheEnd(t *testing.T) {
	set := digits(t)
	experimentstest.StopsAtTheEnd(t, cpudevice.New(1), set, Train{}, small(set, "free", "replays=4"))
}

// On a linear model of two classes the worst perturbation is known: it moves the difference of the logits by ε times
// the sum of the absolute weights, as far as pixels reach.
func TestAttackOnALinearModel(t *testing.T) {
	const n, dim, eps = 300, 6, 0.1
	r := rand.New(rand.NewPCG(1, 7))
	set := &data.Set{Dim: dim}
	w := make([]float64, 2*dim+2)
	for i := range w[:2*dim] {
		w[i] = r.NormFloat64()
	}
	right, held := 0, 0
	for range n {
		label, margin := r.IntN(2), w[2*dim+1]-w[2*dim]
		worst := 0.0
		for j := range dim {
			x := float32(min(1, max(0, 1.4*r.Float64()-0.2)))
			set.Features = append(set.Features, x)
			slope := w[dim+j] - w[j]
			margin += slope * float64(x)
			down := min(eps, float64(x)) // how far the pixel can go, against the label's side
			if (slope < 0) == (label == 1) {
				down = min(eps, 1-float64(x))
			}
			worst += math.Abs(slope) * down
		}
		set.Labels = append(set.Labels, int32(label))
		if label == 0 {
			margin = -margin
		}
		if margin > 0 {
			right++
		}
		if margin-worst > 0 {
			held++
		}
	}
	ex := tensortest.Executor(t, ref.New())
	net := network{Model: models.Softmax{Inputs: dim, Classes: 2}, inputs: dim, classes: 2,
		p: ex.Variable("p", tensor.Real, len(w))}
	require.NoError(t, net.p.Write(w))
	a, err := adversary.New(ex, net.attacked(), adversary.Options{Seed: 1})
	require.NoError(t, err)
	for _, c := range []struct {
		eps  float64
		held int
		by   adversary.Attack
	}{{eps, held, oneStep}, {eps, held, adversary.PGD{Steps: 20, Restarts: 2, Step: 0.25}}, {0, right, manySteps}} {
		k := &task{TrainConfig: TrainConfig{Eps: c.eps}, attacker: a, white: 1}
		got, err := k.attack(t.Context(), set, n, c.by)
		require.NoError(t, err)
		require.InDelta(t, float64(right)/n, got.clean, 1e-12)
		require.InDelta(t, float64(c.held)/n, got.robust, 1e-12)
	}
	require.NoError(t, a.Close())
	require.Less(t, held, right-10)
}

// Catastrophic overfitting: PGD breaks what FGSM does not.
func TestOverfitted(t *testing.T) {
	curve := func(fgsm, pgd []float64) (c experiments.Curve) {
		c.Columns = []string{"train_fgsm_acc", "train_pgd_acc"}
		for i := range fgsm {
			c.Rows = append(c.Rows, []float64{fgsm[i], pgd[i]})
		}
		return c
	}
	require.Equal(t, 3, overfitted(curve([]float64{0.1, 0.4, 0.5, 0.9}, []float64{0.1, 0.3, 0.4, 0.05})))
	require.Equal(t, -1, overfitted(curve([]float64{0.1, 0.4, 0.5, 0.6}, []float64{0.1, 0.3, 0.4, 0.3})))
	require.Equal(t, -1, overfitted(curve([]float64{0.1, 0.4, 0.5, 0.1}, []float64{0.1, 0.3, 0.4, 0.1})), "untrained")
}

func TestRefusesPixels(t *testing.T) {
	broken := &data.Dataset{Train: &data.Set{Features: []float32{0, 1.5}, Labels: []int32{0, 0}, Dim: 1}}
	require.ErrorContains(t, checkPixels(broken, train.WhitePixel(broken)),
		"the value 1.5 in row 1 of the training images")
}

func TestRefuses(t *testing.T) {
	set := digits(t)
	for want, change := range map[string]func(*TrainConfig){
		`did you mean "fast-at"?`:                     func(c *TrainConfig) { c.Method = "fastat" },
		"did you mean 8/255":                          func(c *TrainConfig) { c.Eps = 8 },
		"eps is -1: wants":                            func(c *TrainConfig) { c.Eps = -1 },
		"restarts 0, n_examples 150, ensemble":        func(c *TrainConfig) { c.Restarts = 0 },
		`evaluate is "all": wants test or validation`: func(c *TrainConfig) { c.Evaluate = "all" },
		`did you mean "apgd-t"?`:                      func(c *TrainConfig) { c.Ensemble = []string{"apgd-d"} },
		"white is 0: wants the value of a white":      func(c *TrainConfig) { c.White = 0 },
		`unknown model "net"`:                         func(c *TrainConfig) { c.Model = "net" },
		"the learning rate is 0: wants":               func(c *TrainConfig) { c.LR = 0 },
		"fast-at has no setting \"implicit\"":         func(c *TrainConfig) { c.Set = []string{"implicit=1"} },
		"fast-at: step is 0: wants a positive":        func(c *TrainConfig) { c.Set = []string{"step=0"} },
		`fast-at: bn is "off": wants train, frozen`:   func(c *TrainConfig) { c.Set = []string{"bn=off"} },
		"no hidden layers to norm":                    func(c *TrainConfig) { c.Model, c.BatchNorm = "softmax", true },
		`there are constant, sqrt, linear, cosine, s`: func(c *TrainConfig) { c.Schedule = "up" },
	} {
		c := small(set, "fast-at")
		change(&c)
		_, err := Train{}.Cells(c, []uint64{1})
		require.ErrorContains(t, err, want)
	}
	for want, change := range map[string]func(*TrainConfig){
		"of the training images is no pixel from 0 to 8: attacks": func(c *TrainConfig) { c.White = 8 },
		"n_examples is 250, and there are 200 validation rows": func(c *TrainConfig) {
			c.Evaluate, c.Examples = ValidationRows, 250
		},
		"ensemble_examples is 5000, and there are 997 test rows": func(c *TrainConfig) {
			c.Ensemble, c.EnsembleExamples = []string{"fgsm"}, 5000
		},
		"n_examples is 5000, and there are 997 test rows":   func(c *TrainConfig) { c.Examples = 5000 },
		"minibatches of 1000 rows out of 600 training rows": func(c *TrainConfig) { c.Batch = 1000 },
		"smaller": func(c *TrainConfig) { c.LR = 1e30 },
	} {
		c := small(set, "fast-at")
		change(&c)
		cells, err := Train{}.Cells(c, []uint64{1})
		require.NoError(t, err)
		dev := cpudevice.New(1)
		_, err = experiments.Run(t.Context(), dev, experiments.Env{Data: set}, Train{}, cells, nil, experiments.Hooks{})
		require.ErrorContains(t, err, want)
		require.NoError(t, dev.Close())
	}
}
