package prune

import (
	"context"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/data"
	"bilevel/device"
	"bilevel/device/cpudevice"
	"bilevel/device/null"
	"bilevel/device/ref"
	"bilevel/experiments"
	"bilevel/experiments/experimentstest"
	"bilevel/experiments/robust"
	"bilevel/experiments/train"
	"bilevel/internal/safetensors"
	"bilevel/models"
	"bilevel/models/params"
	"bilevel/solvers/prune"
	"bilevel/tensor"
)

func flagSet() *data.Dataset { return experimentstest.Flags(8, 8, 120, 60) }

// onFlags are the settings of a run of a fraction of a second.
func onFlags(method string) Config {
	c := Defaults(flagSet()).For("preactresnet:4-6/1-1")
	c.Method, c.Val, c.Batch, c.RewindEpochs = method, 30, 15, 1
	c.PretrainEpochs, c.PruneEpochs, c.FinetuneEpochs = 2, 1, 1
	c.PretrainStep, c.PruneStep, c.FinetuneStep = 0.05, 0.05, 0.05
	return c
}

// written writes a run's model files.
func written(t *testing.T, r *experiments.Record) (dir string) {
	t.Helper()
	dir = t.TempDir()
	require.NoError(t, experiments.WriteResults(dir, experiments.Page{Title: "x"}, Experiment{}.Report(),
		[]*experiments.Record{r}, 1))
	return dir
}

// logits are the outputs of a network of a file on the test rows, in float64.
func logits(t *testing.T, path string) []float64 {
	t.Helper()
	set := flagSet().Widened()
	n, err := train.ReadNetwork(path, train.Reading{Inputs: train.InputsOf(set), Classes: 3, White: 255})
	require.NoError(t, err)
	dev := ref.New()
	ex := tensor.NewExecutor(dev)
	sc := ex.Scope()
	put := func(values []float64, shape ...int) *tensor.Node {
		v := sc.Variable("v", tensor.Real, shape...)
		require.NoError(t, v.Write(values))
		return v.Node()
	}
	x := make([]float64, 20*set.Test.Dim)
	for i := range x {
		x[i] = float64(set.Test.Features[i])
	}
	out, _ := n.Model.Apply(put(n.Params.Flat, n.Params.Size()), put(n.State.Flat, n.State.Size()),
		put(x, 20, set.Test.Dim), params.Eval)
	to := sc.Variable("out", tensor.Real, out.Shape()...)
	f := sc.Compile("logits", func() []tensor.Update { return []tensor.Update{{Var: to, Value: out}} })
	require.NoError(t, sc.Err())
	require.NoError(t, f.Run(1))
	list, err := to.Read()
	require.NoError(t, err)
	require.NoError(t, sc.Close())
	require.NoError(t, ex.Close())
	require.NoError(t, dev.Close())
	return list
}

// Every method keeps the number of weights, or channels, that was asked for, of all layers but the excluded ones; the
// files of the masked network and of the compacted one say what they are and have the same outputs.
func TestNetworkMethods(t *testing.T) {
	for _, units := range []bool{false, true} {
		for _, method := range Methods() {
			if units && method == prune.RowOfficial || method == "dense" {
				continue
			}
			c := onFlags(method)
			c.Units, c.Keep, c.Part, c.SkipLatency = units, 0.5, 0.4, method != "omp"
			r, err := run(t, c, flagSet())
			require.NoError(t, err, method)
			require.Equal(t, 0.5, r.Scalars["kept"], method)
			of := 6 * 4 * 9 // layer2.0.conv1, with which conv2, two convolutions of 4×4 and a shortcut of 1×1
			of += 6*6*9 + 2*4*4*9 + 4*6
			if units {
				of = 4 + 4 + 6 + 6
			}
			require.Equal(t, of, r.Sets[0].Of, method)
			dir := written(t, r)
			masked, compacted := filepath.Join(dir, "model.safetensors"), filepath.Join(dir, "compacted.safetensors")
			want := logits(t, masked)
			require.InDeltaSlice(t, want, logits(t, compacted), 1e-5, "%s: sums of numbers of up to 10", method)
			require.False(t, slices.Equal(want[:3], want[3:6]), method)
			f, err := safetensors.ReadFile(compacted, "model")
			require.NoError(t, err)
			require.Equal(t, "preactresnet:4-6/1-1", f.Metadata["model"])
			_, measured := r.Scalars["latency.compacted_1"]
			require.Equal(t, method == "omp", measured)
			if units {
				require.Contains(t, r.Texts["structure"], "conv1: 4 units, each one slice of conv1.weight along axis 3")
				require.Less(t, r.Scalars["multiply_adds"], 0.6*float64(costs(t, "preactresnet:4-6/1-1")))
				require.Less(t, f.Arrays["layer1.0.conv2.weight"].Shape[0], 5)
			} else {
				require.NotContains(t, r.Texts["structure"], "\nlinear.weight")
				require.NotContains(t, r.Texts["structure"], "\nconv1.weight")
			}
		}
	}
}

// What a device that computes nothing counts for a cell is what the buffers of the processor's device take at most.
func TestCountedMemoryIsWhatIsUsed(t *testing.T) {
	c := onFlags(prune.RowBiP)
	c.Units, c.Keep = true, 0.5
	cells, err := Experiment{}.Cells(c, []uint64{1})
	require.NoError(t, err)
	dev := cpudevice.New(1)
	counting := null.Like(dev.Info())
	for _, on := range []device.Device{counting, dev} {
		_, err = experiments.RunCell(t.Context(), on, experiments.Env{Data: flagSet()}, Experiment{}, cells[0], nil)
		require.NoError(t, err)
	}
	_, peak := dev.(device.Holder).Held()
	require.InEpsilon(t, peak, counting.Stats().PeakBytes, 0.1)
	require.NoError(t, dev.Close())
}

func costs(t *testing.T, name string) (n int) {
	t.Helper()
	m, err := models.ByName(name, models.Spec{Image: models.Image{Height: 8, Width: 8, Channels: 3}, Classes: 3})
	require.NoError(t, err)
	for _, l := range m.Costs() {
		n += l.MultiplyAdds
	}
	return n
}

// A network goes on from files: of bilevel train, compacted ones, and a bare state dict, which is told what it is and
// gets the normalization of the training rows.
func TestNetworkFrom(t *testing.T) {
	set := flagSet()
	tc := train.Defaults(set).For("preactresnet:4-6/1-1")
	tc.Train, tc.Val, tc.Batch, tc.Epochs, tc.Step = 90, 30, 15, 2, 0.05
	cells, err := train.Experiment{}.Cells(tc, []uint64{3})
	require.NoError(t, err)
	dev := cpudevice.New(1)
	records, err := experiments.Run(t.Context(), dev, experiments.Env{Data: set}, train.Experiment{}, cells, nil,
		experiments.Hooks{})
	require.NoError(t, err)
	require.NoError(t, dev.Close())
	dir := written(t, records[0])
	c := onFlags("omp")
	c.Model, c.From, c.Units, c.Keep = "mlp:7", filepath.Join(dir, "model.safetensors"), true, 0.5
	r, err := run(t, c, set)
	require.NoError(t, err)
	require.InDelta(t, 1-records[0].Scalars["val_error"], r.Scalars["dense_val_accuracy"], 1e-9)
	half := filepath.Join(written(t, r), "compacted.safetensors")

	again := c
	again.From, again.Keep = half, 0.5
	quarter, err := run(t, again, set)
	require.NoError(t, err)
	require.InDelta(t, r.Scalars["val_accuracy"], quarter.Scalars["dense_val_accuracy"], 1e-9)
	dir = written(t, quarter)
	require.InDeltaSlice(t, logits(t, filepath.Join(dir, "model.safetensors")),
		logits(t, filepath.Join(dir, "compacted.safetensors")), 1e-5)

	trained, err := train.Open(c.From)
	require.NoError(t, err)
	dict := filepath.Join(t.TempDir(), "dict.safetensors")
	require.NoError(t, trained.WriteStateDict(dict))
	f, err := safetensors.ReadFile(dict, "model")
	require.NoError(t, err)
	require.NotContains(t, f.Arrays, "scaler.mean")
	bare, err := trained.Network()
	require.NoError(t, err)
	require.NoError(t, params.WriteSafetensors(dict, nil, bare.Params, bare.State)) // as PyTorch would write it
	c.From = dict
	_, err = run(t, c, set)
	require.ErrorContains(t, err, "of another network say which one it is")
	c.Model = "preactresnet:4-6/1-1"
	told, err := run(t, c, set)
	require.NoError(t, err)
	require.Equal(t, r.Scalars["test_accuracy"], told.Scalars["test_accuracy"])
	c.Model = "preactresnet:4-8/1-1"
	_, err = run(t, c, set)
	require.ErrorContains(t, err, "layer2.0.conv1.weight is [6 4 3 3], not [8 4 3 3]")

	set.Shape = []int{16, 4, 3}
	c.From = half
	_, err = run(t, c, set)
	require.ErrorContains(t, err, "its network is for images of 8×8×3, and those of the data are 16×4×3")
}

// Layers are excluded by their names; of a residual stream all layers are, or none.
func TestExclude(t *testing.T) {
	c := onFlags("omp")
	c.Exclude = []string{"conv9"}
	_, err := Experiment{}.Cells(c, []uint64{1})
	require.ErrorContains(t, err, `exclude "conv9": no layer of the model preactresnet:4-6/1-1 has such a name; there `+
		`are conv1, layer1.0.conv1, layer1.0.conv2, layer2.0.conv1, layer2.0.conv2, layer2.0.shortcut.0, linear`)
	c.Exclude = []string{"none"}
	r, err := run(t, c, flagSet())
	require.NoError(t, err)
	require.Contains(t, r.Texts["structure"], "conv1.weight: 108 weights")
	require.Contains(t, r.Texts["structure"], "linear.weight: 18 weights")
	c.Units, c.Keep = true, 0.5
	c.Exclude = []string{"conv1"}
	_, err = run(t, c, flagSet())
	require.ErrorContains(t, err, "exclude: the channels of conv1 are those of one residual stream with the channels "+
		"of all of conv1, layer1.0.conv2: exclude all of these layers, or none")
	c.Exclude = []string{"conv1", "layer1.*"}
	r, err = run(t, c, flagSet())
	require.NoError(t, err)
	require.NotContains(t, r.Texts["structure"], "conv1: 4 units")
	require.Contains(t, r.Texts["structure"], "layer2.0.conv2: 6 units")
	c.Units, c.Augment = false, "crop"
	_, err = Experiment{}.Cells(c, []uint64{1})
	require.ErrorContains(t, err, `augment "crop": wants crop-flip or none`)
	c.Model, c.Augment, c.Exclude = "mlp:9", train.CropFlip, nil
	_, err = run(t, c, flagSet())
	require.ErrorContains(t, err, "augment crop-flip: the model mlp:9 is not for images")
}

// Channels are pruned by adversarial losses of either level, on pixels as they are, and what is left is attacked from
// its file with the same outcome as the masked network.
func TestPrunedAndRobustNetwork(t *testing.T) {
	share := map[string]float64{}
	for _, losses := range [][2]string{{Clean, Clean}, {Adversarial, Clean}, {Clean, Adversarial}} {
		c := onFlags(prune.RowBiP)
		c.Units, c.Keep, c.LowerLoss, c.UpperLoss = true, 0.5, losses[0], losses[1]
		if losses[0] != losses[1] {
			c.Eps = 0.03
		}
		r, err := run(t, c, flagSet())
		require.NoError(t, err)
		share[losses[0]+losses[1]] = r.Scalars["implicit.share"]
		if losses[0] != Adversarial {
			continue
		}
		dir := written(t, r)
		var scores []map[string]float64
		for _, name := range []string{"model", "compacted"} {
			e := robust.EvalDefaults(flagSet())
			e.Model, e.Eps = filepath.Join(dir, name+".safetensors"), []string{"0.03"}
			e.Attack, e.Examples = []string{"pgd-5-1"}, 40
			cells, err := robust.Eval{}.Cells(e, []uint64{1})
			require.NoError(t, err)
			dev := cpudevice.New(1)
			attacked, err := experiments.Run(context.Background(), dev, experiments.Env{Data: flagSet()}, robust.Eval{},
				cells, nil, experiments.Hooks{})
			require.NoError(t, err)
			require.NoError(t, dev.Close())
			scores = append(scores, attacked[0].Scalars)
		}
		require.Equal(t, scores[0]["clean_acc"], scores[1]["clean_acc"])
		require.InDelta(t, scores[0]["robust_acc"], scores[1]["robust_acc"], 0.026, "one image of 40")
	}
	require.NotEqual(t, share[Clean+Clean], share[Adversarial+Clean], "weights are trained by another loss")
	require.NotEqual(t, share[Clean+Clean], share[Clean+Adversarial], "scores go by another loss")
}
