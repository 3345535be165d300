package robust

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bilevel/data"
	"bilevel/device"
	"bilevel/device/cpudevice"
	"bilevel/device/ref"
	"bilevel/experiments"
	"bilevel/experiments/experimentstest"
	"bilevel/experiments/train"

	"github.com/stretchr/testify/require"
)

func flagSet() *data.Dataset { return experimentstest.Flags(6, 7, 180, 60) }

// onFlags is a run of an experiment on the images above.
func onFlags(
	t *testing.T, x experiments.Experiment, config any, set *data.Dataset, dev device.Device,
) *experiments.Record {
	t.Helper()
	cells, err := x.Cells(config, []uint64{2})
	require.NoError(t, err)
	records, err := experiments.Run(context.Background(), dev, experiments.Env{Data: set}, x, cells, nil,
		experiments.Hooks{})
	require.NoError(t, err)
	require.NoError(t, dev.Close())
	return records[0]
}

// A network of images is trained against perturbations of its bytes, with the same bits for any number of threads and
// whether its images are bytes or numbers, and on the reference within rounding. `robust attack` of its file, and of
// the state dict in it alone, scores the images as the run did, and training goes on where the file ends.
func TestNetworkOfImages(t *testing.T) {
	c := Defaults(flagSet()).For("preactresnet:4-6/1-1")
	c.Method, c.Eps, c.Train, c.Val, c.Epochs, c.Batch, c.LR = "fast-bat-official", 0.03, 150, 30, 8, 15, 0.1
	c.Examples, c.AttackSteps, c.Restarts = 40, 5, 1
	one := onFlags(t, Train{}, c, flagSet(), cpudevice.New(1))
	require.Positive(t, one.Scalars["implicit"])
	require.Greater(t, one.Scalars["clean_acc"], 0.6)
	short := c
	short.Epochs = 1
	fast := onFlags(t, Train{}, short, flagSet(), cpudevice.New(1))
	require.Equal(t, fast.Models, onFlags(t, Train{}, short, flagSet(), cpudevice.New(3)).Models, "three threads")
	numbers := flagSet().Widened()
	require.Equal(t, fast.Models, onFlags(t, Train{}, short, numbers, cpudevice.New(1)).Models, "numbers")
	slow := onFlags(t, Train{}, short, flagSet(), ref.New())
	require.InEpsilon(t, slow.Scalars["loss"], fast.Scalars["loss"], 1e-3)
	short.Augment = train.None
	require.NotEqual(t, fast.Models, onFlags(t, Train{}, short, flagSet(), cpudevice.New(1)).Models)

	dir := t.TempDir()
	require.NoError(t, experiments.WriteResults(dir, experiments.Page{}, Train{}.Report(),
		[]*experiments.Record{one}, 1))
	e := EvalDefaults(flagSet())
	e.Model, e.Eps, e.Attack, e.Examples = filepath.Join(dir, "model.safetensors"), []string{"0.03"},
		[]string{"pgd-5-1", "square-20"}, 40
	attacked := onFlags(t, Eval{}, e, flagSet(), cpudevice.New(1))
	require.Equal(t, one.Scalars["clean_acc"], attacked.Scalars["clean_acc"])
	require.LessOrEqual(t, attacked.Scalars["robust_acc"], attacked.Scalars["clean_acc"])
	require.Greater(t, attacked.Scalars["robust_acc"], 0.5)

	c.From, c.Epochs, c.LR = e.Model, 1, 1e-12
	again := onFlags(t, Train{}, c, flagSet(), cpudevice.New(1))
	last := one.Curve.Rows[len(one.Curve.Rows)-1]
	at := len(columns) - 2 // validation accuracy
	require.Equal(t, last[at], again.Curve.Rows[0][at], "where the other ended")
	require.NotContains(t, strings.Join(again.Warnings, "\n"), "no test part")
	alone := flagSet()
	alone.Test, c.Train = nil, 90
	again = onFlags(t, Train{}, c, alone, cpudevice.New(1))
	require.Contains(t, strings.Join(again.Warnings, "\n"), "has no test part")
}

// Replays of a minibatch go on with a perturbation of its images, which must be the same ones.
func TestFreeWantsImagesThatStay(t *testing.T) {
	c := Defaults(flagSet()).For("preactresnet:4-6/1-1")
	c.Method = "free"
	_, err := Train{}.Cells(c, []uint64{1})
	require.ErrorContains(t, err, "wants augment none")
	c.Augment = train.None
	_, err = Train{}.Cells(c, []uint64{1})
	require.NoError(t, err)
	c.Augment = "crop"
	_, err = Train{}.Cells(c, []uint64{1})
	require.ErrorContains(t, err, `augment "crop": wants crop-flip or none`)
}

// A run of a network of images that is stopped in mid epoch again and again, and goes on each time, ends with the bits
// of one that never was: images that are shifted at random, batch statistics, momentum, averages and all.
func TestStoppedNetworksGoOnToTheSameBits(t *testing.T) {
	c := Defaults(flagSet()).For("preactresnet:4-6/1-1")
	c.Method, c.Eps, c.Train, c.Val, c.Epochs, c.Batch, c.LR = "fast-bat-official", 0.03, 150, 30, 3, 15, 0.1
	c.Examples, c.AttackSteps, c.Restarts, c.WeightAverage, c.LabelSmoothing = 20, 2, 1, 0.9, 0.1
	c.Schedule = "one-cycle"
	cells, err := Train{}.Cells(c, []uint64{2})
	require.NoError(t, err)
	midEpoch := 0
	dev := cpudevice.New(1)
	defer func() { require.NoError(t, dev.Close()) }()
	run := experimentstest.Run{Device: dev, Experiment: Train{}, Cell: cells[0], Data: flagSet(),
		Stopped: func(done int) {
			if done%10 != 0 { // of the iterations of an epoch
				midEpoch++
			}
		}}
	whole, err := run.Attempt(t, nil, 0)
	require.NoError(t, err)
	store := &experiments.Store{Dir: t.TempDir(), Resume: true, Every: time.Nanosecond}
	// A run tells of its progress after one iteration, and then in steps that end with the epoch at the latest.
	for _, stopAt := range []int{1, 1, 2, 1, 1} {
		_, err := run.Attempt(t, store, stopAt)
		require.ErrorIs(t, err, context.Canceled)
	}
	require.GreaterOrEqual(t, midEpoch, 2)
	resumed, err := run.Attempt(t, store, 0)
	require.NoError(t, err)
	require.Equal(t, experimentstest.Untimed(whole), experimentstest.Untimed(resumed))
}

// Images of another size than a network was made for are refused, whether its file says the size or not.
func TestImagesOfAnotherSize(t *testing.T) {
	c := Defaults(flagSet()).For("preactresnet:4-6/1-1")
	c.Train, c.Val, c.Epochs, c.Batch, c.Examples, c.AttackSteps, c.Restarts = 30, 10, 1, 15, 5, 1, 1
	r := onFlags(t, Train{}, c, flagSet(), cpudevice.New(1))
	dir := t.TempDir()
	require.NoError(t, experiments.WriteResults(dir, experiments.Page{}, Train{}.Report(),
		[]*experiments.Record{r}, 1))
	other := flagSet()
	other.Shape = []int{7, 6, 3}
	path := filepath.Join(dir, "model.safetensors")
	e := EvalDefaults(other)
	e.Model, e.Attack, e.Examples = path, []string{"fgsm"}, 5
	c.From = path
	for x, config := range map[experiments.Experiment]any{Eval{}: e, Train{}: c} {
		cells, err := x.Cells(config, []uint64{1})
		require.NoError(t, err)
		dev := cpudevice.New(1)
		_, err = experiments.Run(t.Context(), dev, experiments.Env{Data: other}, x, cells, nil, experiments.Hooks{})
		require.ErrorContains(t, err, "its network is for images of 6×7×3, and those of the data are 7×6×3")
		require.NoError(t, dev.Close())
	}
}
