package robust

import (
	"encoding/json"
	"maps"
	"testing"

	"bilevel/data"
	"bilevel/device"
	"bilevel/device/cpudevice"
	"bilevel/device/null"
	"bilevel/experiments"
	"bilevel/experiments/table"
	"bilevel/internal/cputime"
	"bilevel/internal/testrun"
	"bilevel/tensor/tensortest"

	"github.com/stretchr/testify/require"
)

// published is the training of fast-bat-official in a recipe, on made-up images of the recipe's set, with other
// numbers of rows.
func published(t testing.TB, recipe string, rows, batch int, dev device.Device) *task {
	t.Helper()
	c, set := cellOf(t, recipe, rows, batch)
	ex := tensortest.Executor(t, dev)
	k := &task{TrainConfig: c, ex: ex, scope: ex.Scope(), seed: 1}
	require.NoError(t, k.prepare(set))
	t.Cleanup(func() { require.NoError(t, k.scope.Close()) })
	return k
}

// cellOf is the settings of that training, and its images.
func cellOf(t testing.TB, recipe string, rows, batch int) (c TrainConfig, set *data.Dataset) {
	t.Helper()
	text, err := table.Text(recipe)
	require.NoError(t, err)
	r, err := table.Parse(text)
	require.NoError(t, err)
	settings := maps.Clone(r.Settings)
	for _, m := range r.Methods {
		if m.Name == "fast-bat-official" {
			maps.Copy(settings, m.Settings)
		}
	}
	for _, a := range r.Vary {
		settings[a.Name] = a.Values[0]
	}
	set, err = data.StandIn(settings["data"].(string), rows+2, 8)
	require.NoError(t, err)
	settings["train"], settings["val"], settings["batch"] = rows, 2, batch
	settings["n_examples"], settings["ensemble_examples"] = 8, 8
	merged, err := json.Marshal(settings)
	require.NoError(t, err)
	c = Defaults(set)
	require.NoError(t, json.Unmarshal(merged, &c))
	require.NoError(t, c.check())
	return c, set
}

// robustRecipes are those of robust training of networks of images.
var robustRecipes = []string{"cifar10-small", "cifar10-preact18", "cifar10-wrn28", "tiny-imagenet-preact18", "fastat"}

// Every published recipe compiles at its full batch. An iteration of Fast-BAT has at least the products of two
// gradients of the attack, those of training and the mixed product, and not half as many again.
func TestPublishedRecipesCompile(t *testing.T) {
	for recipe, multiplyAdds := range map[string]float64{"cifar10-small": 10.9e6, "cifar10-preact18": 555e6,
		"cifar10-wrn28": 5.24e9, "tiny-imagenet-preact18": 2.22e9, "fastat": 555e6} {
		dev := null.New()
		k := published(t, recipe, 128, 128, dev)
		require.NoError(t, k.training.Step(t.Context(), 0, 1))
		const passes = 2*2 + 3 + 4 // each as much as a forward pass
		flop := dev.Stats().Work.FLOP / (2 * 128 * multiplyAdds)
		require.Greater(t, flop, float64(passes), recipe)
		require.Less(t, flop, 1.5*passes, recipe)
	}
}

// A cell of each published recipe goes through to its end, all attacks of its evaluation included, on a device that
// computes nothing. Two that differ from others by their network alone take BILEVEL_LONG.
func TestPublishedRecipesEnd(t *testing.T) {
	some := []string{"cifar10-small", "tiny-imagenet-preact18", "fastat"}
	require.Subset(t, robustRecipes, some)
	for _, recipe := range testrun.Size(some, robustRecipes) {
		k, set := cellOf(t, recipe, 256, 128)
		k.Epochs = 1
		cells, err := Train{}.Cells(k, []uint64{1})
		require.NoError(t, err)
		r, err := experiments.RunCell(t.Context(), null.New(), experiments.Env{Data: set}, Train{}, cells[0], nil)
		require.NoError(t, err, recipe)
		require.Contains(t, r.Scalars, "ensemble_acc", recipe)
	}
}

// What a device that computes nothing counts for a cell, evaluations included, is what the buffers of the processor's
// device take at most.
func TestCountedMemoryIsWhatIsUsed(t *testing.T) {
	c, set := cellOf(t, "cifar10-small", 256, 128)
	c.Epochs, c.AttackSteps, c.Restarts, c.Ensemble = 1, 2, 1, []string{"fgsm", "square-5"}
	cells, err := Train{}.Cells(c, []uint64{1})
	require.NoError(t, err)
	dev := cpudevice.New(2)
	counting := null.Like(dev.Info())
	for _, on := range []device.Device{counting, dev} {
		_, err = experiments.RunCell(t.Context(), on, experiments.Env{Data: set}, Train{}, cells[0], nil)
		require.NoError(t, err)
	}
	now, peak := dev.(device.Holder).Held()
	require.Zero(t, now)
	require.InEpsilon(t, peak, counting.Stats().PeakBytes, 0.1)
	require.NoError(t, dev.Close())
}

// Published recipes run, here with two iterations of two images. Those of larger networks take too long for a test: see
// scripts/published-recipes.
func TestPublishedRecipesRun(t *testing.T) {
	for _, recipe := range []string{"cifar10-small", "cifar10-preact18", "fastat"} {
		k := published(t, recipe, 4, 2, cpudevice.New(2))
		require.NoError(t, k.training.Step(t.Context(), 0, 2))
		m, err := k.training.Metrics()
		require.NoError(t, err)
		require.Greater(t, m.Loss, 0.1, recipe)
		require.Less(t, m.Loss, 20., recipe)
		require.Positive(t, m.Implicit, recipe)
	}
}

// One iteration at the full batch of each published recipe: seconds of processor time beside those of the clock, and
// the memory that a dry run counts. scripts/published-recipes runs each in a process of its own.
func BenchmarkPublishedRecipes(b *testing.B) {
	for _, recipe := range robustRecipes {
		b.Run(recipe, func(b *testing.B) {
			planned := null.New()
			require.NoError(b, published(b, recipe, 256, 128, planned).training.Step(b.Context(), 0, 1))
			k := published(b, recipe, 256, 128, cpudevice.New(0))
			b.ResetTimer()
			processor := cputime.Seconds()
			for i := range b.N {
				require.NoError(b, k.training.Step(b.Context(), i%2, 1))
			}
			b.ReportMetric((cputime.Seconds()-processor)/float64(b.N), "cpu-s/op")
			b.ReportMetric(float64(planned.Stats().PeakBytes)/(1<<20), "planned-MiB")
		})
	}
}
