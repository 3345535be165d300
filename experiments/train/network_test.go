package train

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/data"
	"bilevel/device"
	"bilevel/device/cpudevice"
	"bilevel/device/ref"
	"bilevel/experiments"
	"bilevel/experiments/experimentstest"
	"bilevel/internal/safetensors"
	"bilevel/models"
	"bilevel/tensor"
)

func flagSet() *data.Dataset { return experimentstest.Flags(6, 7, 240, 99) }

// trainOn is a run of one seed on a device.
func trainOn(t *testing.T, set *data.Dataset, c Config, dev device.Device) *experiments.Record {
	t.Helper()
	cells, err := Experiment{}.Cells(c, []uint64{2})
	require.NoError(t, err)
	records, err := experiments.Run(context.Background(), dev, experiments.Env{Data: set}, Experiment{}, cells, nil,
		experiments.Hooks{})
	require.NoError(t, err)
	require.NoError(t, dev.Close())
	return records[0]
}

func smallNetwork() Config {
	return Config{Model: "preactresnet:4-6/1-1", Train: 180, Val: 60, Epochs: 4, Batch: 20, Optimizer: "sgd",
		Step: 0.05, Momentum: 0.9, WeightDecay: 1e-3, Schedule: "cosine"}
}

// A network of images learns; its bits are the same for any number of threads, and whether images are bytes or numbers;
// the reference computes the same within rounding; and images are augmented unless that is switched off.
func TestNetwork(t *testing.T) {
	c := smallNetwork()
	one := trainOn(t, flagSet(), c, cpudevice.New(1))
	require.Less(t, one.Scalars["test_error"], 0.2)
	require.Equal(t, one.Models, trainOn(t, flagSet(), c, cpudevice.New(3)).Models, "three threads")
	numbers := flagSet().Widened()
	require.Equal(t, one.Models, trainOn(t, numbers, c, cpudevice.New(1)).Models, "numbers")
	slow := trainOn(t, flagSet(), c, ref.New())
	require.InEpsilon(t, slow.Scalars["val_loss"], one.Scalars["val_loss"], 1e-2)
	require.InEpsilon(t, slow.Curve.Rows[1][5], one.Curve.Rows[1][5], 1e-3, "after one epoch")
	c.Augment = CropFlip
	require.Equal(t, one.Models, trainOn(t, flagSet(), c, cpudevice.New(1)).Models, "the default with colours")
	c.Augment = None
	plain := trainOn(t, flagSet(), c, cpudevice.New(1))
	require.NotEqual(t, one.Models, plain.Models)
	require.Less(t, plain.Scalars["test_error"], 0.2)
}

// A file of a network has PyTorch's arrays and the normalization of the channels, labels rows as the run has scored
// them, and is a start for another run.
func TestNetworkFile(t *testing.T) {
	c := smallNetwork()
	r := trainOn(t, flagSet(), c, cpudevice.New(1))
	dir := t.TempDir()
	page := experiments.Page{Title: "x"}
	require.NoError(t, experiments.WriteResults(dir, page, Experiment{}.Report(), []*experiments.Record{r}, 1))
	path := filepath.Join(dir, "model.safetensors")
	f, err := safetensors.ReadFile(path, "model")
	require.NoError(t, err)
	require.Equal(t, []int{4, 3, 3, 3}, f.Arrays["conv1.weight"].Shape)
	require.Len(t, f.Arrays[meanName].F64, 3)
	require.Equal(t, "[6,7,3]", f.Metadata[imageKey])

	m, err := Open(path)
	require.NoError(t, err)
	dev := cpudevice.New(1)
	ex := tensor.NewExecutor(dev)
	set := flagSet().Widened()
	table, err := m.Predict(context.Background(), ex, set.Test)
	require.NoError(t, err)
	wrong := 0
	for i, row := range table.Rows {
		if row[1] != strconv.Itoa(int(set.Test.Labels[i])) {
			wrong++
		}
	}
	z, err := m.Logits(t.Context(), ex, set.Test)
	require.NoError(t, err)
	require.Len(t, z, 3*set.Test.N())
	for i, row := range table.Rows {
		label, err := strconv.Atoi(row[1])
		require.NoError(t, err)
		sum := 0.0
		for _, v := range z[3*i : 3*i+3] {
			sum += math.Exp(float64(v - z[3*i+label]))
		}
		p, err := strconv.ParseFloat(row[2], 64)
		require.NoError(t, err)
		require.InDelta(t, 1/sum, p, 1e-5)
	}
	require.InDelta(t, r.Scalars["test_error"], float64(wrong)/float64(set.Test.N()), 1e-9)
	_, err = m.Predict(context.Background(), ex, &data.Set{Dim: 5, Features: make([]float32, 5), Labels: []int32{0}})
	require.ErrorContains(t, err, "the rows have 5 features")
	require.NoError(t, ex.Close())
	require.NoError(t, dev.Close())
	require.ErrorContains(t, m.WriteONNX(&bytes.Buffer{}), "is not written as ONNX")

	c.From, c.Epochs, c.Step = path, 1, 1e-12
	again := trainOn(t, flagSet(), c, cpudevice.New(1))
	require.InEpsilon(t, r.Curve.Rows[len(r.Curve.Rows)-1][5], again.Curve.Rows[0][5], 1e-6, "where the other ended")
	require.Empty(t, again.Warnings)
	alone := flagSet()
	alone.Test, c.Train = nil, 160
	require.Contains(t, trainOn(t, alone, c, cpudevice.New(1)).Warnings[0], "has no test part")

	for want, size := range map[string]string{
		"are no height, width and channels":         "[6,7]",
		"scales 3 inputs, but its images are 6×7×2": "[6,7,2]",
		"no height, width and channels":             "[6,0,3]",
	} {
		m.file.metadata[imageKey] = size
		_, err := m.Network()
		require.ErrorContains(t, err, want, size)
	}
}

func TestRefusesNetworks(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"batch_norm: the model resnet20 has": func(c *Config) { c.Model, c.BatchNorm = "resnet20", true },
		"wants a depth of 6 n + 2":           func(c *Config) { c.Model = "resnet19" },
		`augment "flip": wants crop-flip or`: func(c *Config) { c.Augment = "flip" },
		"networks of images: lenet, resnet2": func(c *Config) { c.Model = "lente" },
	} {
		c := smallNetwork()
		change(&c)
		_, err := Experiment{}.Cells(c, []uint64{1})
		require.ErrorContains(t, err, want)
	}
	for want, c := range map[string]struct {
		model, augment string
		shape          []int
	}{
		"[3 6 7], with the channels first": {"resnet20", "", []int{3, 6, 7}},
		"[126] and are no images":          {"lenet", "", []int{126}},
		"augment crop-flip: the model":     {"mlp:8", CropFlip, []int{6, 7, 3}},
		"larger than its maps":             {"vgg16", "", []int{6, 7, 3}},
	} {
		set := flagSet()
		set.Shape = c.shape
		config := smallNetwork()
		config.Model, config.Augment = c.model, c.augment
		cells, err := Experiment{}.Cells(config, []uint64{1})
		require.NoError(t, err)
		dev := ref.New()
		_, err = experiments.Run(context.Background(), dev, experiments.Env{Data: set}, Experiment{}, cells, nil,
			experiments.Hooks{})
		require.ErrorContains(t, err, want)
		require.NoError(t, dev.Close())
	}
}

// The costs of layers come to those of the whole, and every parameter belongs to one.
func TestDescribe(t *testing.T) {
	for _, name := range []string{"softmax", "mlp:30-20", "lenet", "resnet20", "vgg16", "wideresnet10-1"} {
		d, err := Describe(name, false, []int{32, 32, 3}, 10, 64)
		require.NoError(t, err)
		sum := models.LayerCost{}
		for _, l := range d.Layers {
			sum.Parameters, sum.Activations = sum.Parameters+l.Parameters, sum.Activations+l.Activations
			sum.MultiplyAdds += l.MultiplyAdds
			size := 1
			for _, n := range l.Output {
				size *= n
			}
			require.Equal(t, size, l.Activations, "%s %s", name, l.Name)
		}
		require.Equal(t, []int{d.Parameters, d.MultiplyAdds, d.Activations}, []int{sum.Parameters, sum.MultiplyAdds,
			sum.Activations}, name)
		require.EqualValues(t, 4*64*d.Activations, d.Bytes)
		var text bytes.Buffer
		require.NoError(t, d.WriteJSON(&text))
		var back Description
		require.NoError(t, json.Unmarshal(text.Bytes(), &back))
		require.Equal(t, d, back)
	}
	d, err := Describe("mlp:30", true, []int{8, 8}, 10, 1)
	require.NoError(t, err)
	require.Equal(t, []int{64*30 + 2*30 + 30*10 + 10, 64*30 + 300}, []int{d.Parameters, d.MultiplyAdds})
	var text bytes.Buffer
	require.NoError(t, d.Write(&text))
	require.Contains(t, text.String(), "mlp:30 for 8×8 in 10 classes: 2,290 parameters, 61 running statistics; one "+
		"row takes 2,220 multiply-adds")
	_, err = Describe("resnet20", false, []int{7}, 10, 1)
	require.ErrorContains(t, err, "no images")
}

// The value of a white pixel where nobody says it.
func TestWhite(t *testing.T) {
	digits, err := data.Digits()
	require.NoError(t, err)
	require.EqualValues(t, 16, WhitePixel(digits))
	require.EqualValues(t, 255, WhitePixel(flagSet()))
	for want, values := range map[float64][]float32{1: {0, 0.5, 1}, 255: {0, 3, 200}} {
		require.Equal(t, want, WhitePixel(&data.Dataset{Train: &data.Set{Features: values}}))
	}
}
