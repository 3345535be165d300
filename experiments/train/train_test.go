package train

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/data"
	"bilevel/device"
	"bilevel/device/cpudevice"
	"bilevel/device/ref"
	"bilevel/experiments"
	"bilevel/experiments/experimentstest"
	"bilevel/models"
	"bilevel/tensor"
)

func digits(t *testing.T) *data.Dataset {
	t.Helper()
	set, err := data.Digits()
	require.NoError(t, err)
	return set
}

// small is a run of a fraction of a second.
func small() Config {
	return Config{
		Model: "mlp:16", Train: 600, Val: 200, Epochs: 3, Batch: 50, Optimizer: "sgd", Step: 0.1, Momentum: 0.9,
		WeightDecay: 1e-3, Schedule: "cosine",
	}
}

func run(t *testing.T, c Config, dev device.Device, seed uint64) *experiments.Record {
	t.Helper()
	cells, err := Experiment{}.Cells(c, []uint64{seed})
	require.NoError(t, err)
	env := experiments.Env{Data: digits(t)}
	records, err := experiments.Run(context.Background(), dev, env, Experiment{}, cells, nil, experiments.Hooks{})
	require.NoError(t, err)
	require.NoError(t, dev.Close())
	return records[0]
}

// The trained model is a function of the seed alone, and the processor's is the reference's within rounding.
func TestBits(t *testing.T) {
	for _, c := range []Config{small(), {
		Model: "softmax", Train: 600, Val: 200, Epochs: 2, Batch: 64, Optimizer: "adam", Step: 0.01,
		Schedule: "linear", EMA: 0.9,
	}} {
		one := run(t, c, cpudevice.New(1), 3)
		require.Equal(t, one.Models, run(t, c, cpudevice.New(2), 3).Models, "two threads")
		require.NotEqual(t, one.Models, run(t, c, cpudevice.New(1), 4).Models, "another seed")
		slow := run(t, c, ref.New(), 3)
		require.InEpsilon(t, slow.Scalars["val_loss"], one.Scalars["val_loss"], 1e-3)
		require.Less(t, one.Scalars["test_error"], 0.2)
		require.Len(t, one.Curve.Rows, c.Epochs+1)
		require.EqualValues(t, c.Epochs*(c.Train/c.Batch)*c.Batch, one.Counts["oracle.samples"])
	}
}

// Groups of weight decay and averages of the iterates, each in a form that must come to the same bits as without.
func TestDecayAndTail(t *testing.T) {
	c := small()
	plain := run(t, c, cpudevice.New(1), 1).Models
	all := c
	all.WeightDecay, all.Decay = 0, []string{fmt.Sprint("*=", c.WeightDecay)}
	require.Equal(t, plain, run(t, all, cpudevice.New(1), 1).Models)
	last := c
	last.Tail = 1 / float64(c.Epochs*(c.Train/c.Batch)) // the last iterate alone
	require.Equal(t, plain, run(t, last, cpudevice.New(1), 1).Models)
	for _, change := range []func(*Config){
		func(c *Config) { c.Decay = []string{"*.weight=0.1", "2.bias=0"} },
		func(c *Config) { c.Decay, c.Optimizer, c.Step = []string{"2.*=0.01"}, "adam", 0.02 },
		func(c *Config) { c.Tail = 0.5 },
	} {
		other := c
		change(&other)
		r := run(t, other, cpudevice.New(1), 1)
		require.NotEqual(t, plain, r.Models)
		require.Less(t, r.Scalars["test_error"], 0.5)
	}
	small := run(t, c, cpudevice.New(1), 1).Models[0].Arrays.Of("2.weight")
	c.Decay = []string{"2.weight=0.5"}
	shrunk := run(t, c, cpudevice.New(1), 1).Models[0].Arrays.Of("2.weight")
	require.Less(t, square(shrunk), square(small)/4)
}

func square(v []float64) (sum float64) {
	for _, x := range v {
		sum += x * x
	}
	return sum
}

// What a model file predicts is what the run has scored.
func TestPredictionsAreTheRunsOwn(t *testing.T) {
	c := small()
	c.BatchNorm = true
	r := run(t, c, cpudevice.New(1), 1)
	dir := t.TempDir()
	require.NoError(t, experiments.WriteResults(dir, experiments.Page{}, Experiment{}.Report(),
		[]*experiments.Record{r}, 1))
	d, err := data.Split(1797, 1, c.Train, c.Val, 1797-c.Train-c.Val)
	require.NoError(t, err)
	test, err := digits(t).Train.Rows(d[2])
	require.NoError(t, err)
	dev := cpudevice.New(1)
	ex := tensor.NewExecutor(dev)
	m, err := Open(filepath.Join(dir, "model.safetensors"))
	require.NoError(t, err)
	table, err := m.Predict(context.Background(), ex, test)
	require.NoError(t, err)
	wrong := 0
	for i, row := range table.Rows {
		if row[1] != strconv.Itoa(int(test.Labels[i])) {
			wrong++
		}
		p, err := strconv.ParseFloat(row[2], 64)
		require.NoError(t, err)
		require.True(t, p > 0.1 && p <= 1+1e-6, "the largest of ten probabilities")
	}
	require.InDelta(t, r.Scalars["test_error"], float64(wrong)/float64(test.N()), 1e-9)
	require.NoError(t, ex.Close())
	require.NoError(t, dev.Close())
}

func TestRefuses(t *testing.T) {
	for want, change := range map[string]func(*Config){
		`unknown model "mpl:3"`:            func(c *Config) { c.Model = "mpl:3" },
		`"0" is no width`:                  func(c *Config) { c.Model = "mlp:3-0" },
		"no hidden layers to normalize":    func(c *Config) { c.Model, c.BatchNorm = "softmax", true },
		`unknown optimizer "sgb"`:          func(c *Config) { c.Optimizer = "sgb" },
		`did you mean "cosine"?`:           func(c *Config) { c.Schedule = "cosin" },
		`decay "*.bias": wants PATTERN`:    func(c *Config) { c.Decay = []string{"*.bias"} },
		`decay "bias=-1": wants PATTERN`:   func(c *Config) { c.Decay = []string{"bias=-1"} },
		`"[" is no pattern`:                func(c *Config) { c.Decay = []string{"[=0"} },
		"there are 0.weight, 0.bias, 2.we": func(c *Config) { c.Decay = []string{"bias=0"} },
		"tail 2: wants a part of the run":  func(c *Config) { c.Tail = 2 },
		"two averages of the iterates":     func(c *Config) { c.Tail, c.EMA = 0.1, 0.9 },
		"ema 1: wants a factor from 0 to":  func(c *Config) { c.EMA = 1 },
	} {
		c := small()
		change(&c)
		_, err := Experiment{}.Cells(c, []uint64{1})
		require.ErrorContains(t, err, want)
	}
	m, err := Architecture("mlp:300-100", false, "", Inputs{Count: 784}, 10)
	require.NoError(t, err)
	require.Equal(t, []int{784, 300, 100, 10}, m.(models.MLP).Widths)

	c := small()
	c.Step = 1e30
	cells, err := Experiment{}.Cells(c, []uint64{1})
	require.NoError(t, err)
	dev := cpudevice.New(1)
	_, err = experiments.Run(context.Background(), dev, experiments.Env{Data: digits(t)}, Experiment{}, cells, nil,
		experiments.Hooks{})
	require.Error(t, err)
	require.Regexp(t, "seed 1: .*(smaller step|smaller --step)", err.Error())
	require.NoError(t, dev.Close())
}

// An ONNX file has the layers of the network: the operators in order, and all its arrays.
func TestONNX(t *testing.T) {
	for model, want := range map[string]string{
		"mlp:8-6": "Sub Div Gemm BatchNormalization Relu Gemm BatchNormalization Relu Gemm", "softmax": "Sub Div Gemm",
		"mlp:7": "Sub Div Gemm Relu Gemm",
	} {
		c := small()
		c.Model, c.BatchNorm = model, strings.Contains(want, "BatchNorm")
		r := run(t, c, cpudevice.New(1), 1)
		dir := t.TempDir()
		page := experiments.Page{Title: "x"}
		require.NoError(t, experiments.WriteResults(dir, page, Experiment{}.Report(), []*experiments.Record{r}, 1))
		trained, err := Open(filepath.Join(dir, "model.safetensors"))
		require.NoError(t, err)
		var file bytes.Buffer
		require.NoError(t, trained.WriteONNX(&file))
		at := 0
		for _, op := range strings.Fields(want) { // their names lie in the file in the order of the nodes
			i := bytes.Index(file.Bytes()[at:], []byte("\x22"+string(rune(len(op)))+op)) // field 4, a text
			require.GreaterOrEqual(t, i, 0, "%s: %s", model, op)
			at += i + 1
		}
		for _, a := range r.Models[0].Arrays.Layout {
			if !strings.Contains(a.Name, "tracked") {
				require.Contains(t, file.String(), a.Name)
			}
		}
	}
}

// What a stop leaves at the end of training is not lost.
func TestStopAtTheEnd(t *testing.T) {
	experimentstest.StopsAtTheEnd(t, cpudevice.New(1), digits(t), Experiment{}, small())
}
