package prune

import (
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/data"
	"bilevel/device/cpudevice"
	"bilevel/experiments"
	"bilevel/experiments/experimentstest"
	"bilevel/solvers/linear"
	"bilevel/solvers/prune"
)

// small is a run of a fraction of a second.
func small(t testing.TB, method string) (Config, *data.Dataset) {
	t.Helper()
	set, err := data.Digits()
	require.NoError(t, err)
	c := Defaults(set)
	c.Method, c.Model, c.Keep, c.Val, c.Batch = method, "mlp:20-10", 0.3, 300, 60
	c.PretrainEpochs, c.PruneEpochs, c.FinetuneEpochs = 1, 1, 1
	c.RewindEpochs = 1
	return c, set
}

func run(t testing.TB, c Config, set *data.Dataset) (*experiments.Record, error) {
	t.Helper()
	cells, err := Experiment{}.Cells(c, []uint64{3})
	require.NoError(t, err)
	dev := cpudevice.New(1)
	defer func() { require.NoError(t, dev.Close()) }()
	env := experiments.Env{Data: set}
	records, err := experiments.Run(t.Context(), dev, env, Experiment{}, cells, nil, experiments.Hooks{})
	if err != nil {
		return nil, err
	}
	return records[0], nil
}

// Every method keeps the number of weights, or units, that was asked for; masked weights are 0 in the model's file, and
// the compacted file has the widths that it says.
func TestMethods(t *testing.T) {
	for _, units := range []bool{false, true} {
		for _, method := range Methods() {
			c, set := small(t, method)
			c.Units, c.BatchNorm = units, true
			if c.Model, c.Keep = "mlp:20-10", 0.3; units {
				c.Keep = 0.5
			}
			if units && method == prune.RowOfficial {
				continue // which prunes weights alone
			}
			r, err := run(t, c, set)
			require.NoError(t, err, method)
			count, want := 64*20+20*10+10*10, 474
			if units {
				count, want = 30, 15
			}
			if method == "dense" {
				want = count
			}
			if method == prune.RowExact { // whose solves are no part of the engine's count
				require.Positive(t, r.Counts["cg_products"])
				require.Equal(t, r.Counts["cg_products"], r.Counts["oracle.hvp"])
				require.Equal(t, r.Counts["cg_solves"], r.Counts["oracle.upper_gradients"])
			}
			require.InDelta(t, float64(want)/float64(count), r.Scalars["kept"], 1e-12, method)
			require.Greater(t, r.Scalars["test_accuracy"], 0.2, method)
			require.Len(t, r.Models, 2)
			weights := 0
			for _, a := range r.Models[0].Arrays.Layout {
				if len(a.Shape) == 2 {
					for _, v := range r.Models[0].Arrays.Of(a.Name) {
						if v != 0 {
							weights++
						}
						require.False(t, v == 0 && math.Signbit(v), "a masked weight is 0 and not -0")
					}
				}
			}
			require.EqualValues(t, weights, r.Scalars["multiply_adds"], method)
			if !units {
				require.Equal(t, want, weights, method)
			}
			small := r.Models[1]
			first, err := small.Arrays.Layout.Find("0.weight")
			require.NoError(t, err)
			require.True(t, strings.HasPrefix(small.Metadata["model"], "mlp:"))
			if units && method != "dense" {
				second, err := small.Arrays.Layout.Find("3.weight")
				require.NoError(t, err)
				require.LessOrEqual(t, first.Shape[0]+second.Shape[0], 15)
				require.Contains(t, r.Texts["structure"], "0: 20 units, each one slice of 0.weight along axis 0")
			}
		}
	}
}

// A network from a file is pruned as it is; methods that begin before training refuse it.
func TestFrom(t *testing.T) {
	c, set := small(t, "dense")
	c.BatchNorm = true
	dense, err := run(t, c, set)
	require.NoError(t, err)
	dir := t.TempDir()
	page := experiments.Page{Title: "x"}
	require.NoError(t, experiments.WriteResults(dir, page, Experiment{}.Report(), []*experiments.Record{dense}, 1))
	c, _ = small(t, "omp")
	c.From, c.Model = filepath.Join(dir, "model.safetensors"), "mlp:7" // the file says what model it is
	r, err := run(t, c, set)
	require.NoError(t, err)
	require.Equal(t, dense.Scalars["val_accuracy"], r.Scalars["dense_val_accuracy"])
	require.EqualValues(t, (1797-299-300)/60, r.Counts["iterations"], "no pretraining")
	require.Equal(t, "mlp:20-10", r.Models[0].Metadata["model"])
	require.Contains(t, strings.Join(r.Warnings, "\n"), "digits has no test part")
	require.NotContains(t, strings.Join(dense.Warnings, "\n"), "no test part", "it is of these rows alone")
	for _, method := range []string{"snip", "imp"} {
		c.Method = method
		_, err = Experiment{}.Cells(c, []uint64{1})
		require.ErrorContains(t, err, "begins with the start values")
	}
	c.Method, c.From = "omp", "none.safetensors"
	_, err = run(t, c, set)
	require.ErrorContains(t, err, "none.safetensors")
}

// Rounds of magnitude pruning go back to where they should: after the last rewinding the weights are those of the
// start, or of the epoch, or the ones just trained.
func TestRewind(t *testing.T) {
	losses := map[prune.Rewind]float64{}
	for _, rewind := range []prune.Rewind{prune.ToStart, prune.ToEpoch, prune.None} {
		c, set := small(t, "imp")
		c.Rewind, c.Part, c.PretrainEpochs = rewind, 0.5, 3
		r, err := run(t, c, set)
		require.NoError(t, err)
		losses[rewind] = r.Curve.Rows[0][4] // before the last training
		// Three epochs of pretraining, a round more, the last training; and the way to the rewinding point.
		iterations := map[prune.Rewind]int64{prune.ToStart: 5, prune.None: 5, prune.ToEpoch: 6}[rewind]
		require.Equal(t, iterations*int64((1797-299-300)/60), r.Counts["iterations"])
	}
	require.Greater(t, losses[prune.ToStart], 2.0, "nothing has been learned") // chance is ln 10 = 2.3
	require.Less(t, losses[prune.ToEpoch], losses[prune.ToStart])
	require.Less(t, losses[prune.None], losses[prune.ToEpoch])
}

// A cell that is stopped again and again and goes on each time ends with the bits of one that never was: a perceptron,
// or a residual network whose channels are pruned and whose images are shifted at random.
func TestStoppedCellsGoOnToTheSameBits(t *testing.T) {
	const channels = "channels"
	midEpoch := 0 // stops
	for _, method := range []string{"imp", prune.RowBiP, prune.RowExact, channels} {
		c, set := small(t, method)
		c.BatchNorm = true
		if method == channels {
			c, set = onFlags(prune.RowBiP), flagSet()
			c.Keep = 0.5
		}
		c.Rewind, c.Part, c.Units = prune.ToEpoch, 0.6, c.Method == prune.RowBiP
		dev := cpudevice.New(1)
		cells, err := Experiment{}.Cells(c, []uint64{3})
		require.NoError(t, err)
		epoch := (set.Train.N() - c.Val) / c.Batch // of the flags, which have a file of test rows
		if set.Test == nil {
			epoch = (set.Train.N() - set.Train.N()/6 - c.Val) / c.Batch
		}
		run := experimentstest.Run{Device: dev, Experiment: Experiment{}, Cell: cells[0], Data: set,
			Stopped: func(done int) {
				if done%epoch != 0 {
					midEpoch++
				}
			}}
		run.SameBits(t, 1)
		require.NoError(t, dev.Close())
	}
	require.Positive(t, midEpoch)
}

// What a stop leaves at the end of the last training is not lost.
func TestStopAtTheEnd(t *testing.T) {
	for _, method := range []string{"imp", prune.RowBiP} {
		c, set := small(t, method)
		experimentstest.StopsAtTheEnd(t, cpudevice.New(1), set, Experiment{}, c)
	}
}

func TestRefusals(t *testing.T) {
	for says, change := range map[string]func(*Config){
		`unknown method "bop"`: func(c *Config) { c.Method = "bop" },
		"keep is 0":            func(c *Config) { c.Keep = 0 },
		"keep is 2":            func(c *Config) { c.Keep = 2 },
		`split is "first"`:     func(c *Config) { c.Split = "first" },
		`scope is "all"`:       func(c *Config) { c.Scope = "all" },
		"prune_epochs is -1":   func(c *Config) { c.PruneEpochs = -1 },
		"part is 3":            func(c *Config) { c.Part = 3 },
		`rewind is "back"`:     func(c *Config) { c.Rewind = "back" },
		"momentum is 1":        func(c *Config) { c.Momentum = 1 },
		"pretrain_step is -1":  func(c *Config) { c.PretrainStep = -1 },
		"weight_decay is NaN":  func(c *Config) { c.WeightDecay = math.NaN() },
		"batches is 3":         func(c *Config) { c.Batches = 3 },
		"lower_steps is 99":    func(c *Config) { c.LowerSteps = 99 },
		"one rate for both":    func(c *Config) { c.Method, c.ScoreStep = prune.RowOfficial, 3 },
		"it prunes single":     func(c *Config) { c.Method, c.Units = prune.RowOfficial, true },
		`schedule "slow"`:      func(c *Config) { c.Schedule = "slow" },
		`unknown model "cnn"`:  func(c *Config) { c.Model = "cnn" },
	} {
		c, _ := small(t, prune.RowBiP)
		change(&c)
		_, err := Experiment{}.Cells(c, []uint64{1})
		require.ErrorContains(t, err, says)
	}
	for range 20 { // of several bad settings always the same is named
		for says, change := range map[string]func(*Config){
			"prune_epochs is -1":     func(c *Config) { c.PruneEpochs, c.Val, c.Batch = -1, -1, -1 },
			"pretrain_step is -1":    func(c *Config) { c.PretrainStep, c.FinetuneStep = -1, -1 },
			"weight_decay is -1":     func(c *Config) { c.WeightDecay, c.PruneDecay = -1, -1 },
			`lower_loss is "unkind"`: func(c *Config) { c.LowerLoss, c.UpperLoss = "unkind", "kind" },
		} {
			c, _ := small(t, prune.RowBiP)
			change(&c)
			_, err := Experiment{}.Cells(c, []uint64{1})
			require.ErrorContains(t, err, says)
		}
	}
	c, set := small(t, "omp")
	c.Keep = 1e-6
	_, err := run(t, c, set)
	require.ErrorContains(t, err, "nothing would be left of 1580 elements")
	c.Keep, c.Strict = 0.0025, true // four weights for three layers
	_, err = run(t, c, set)
	require.ErrorContains(t, err, "would lose all their elements")
	for _, method := range []string{"omp", prune.RowNoImplicit} {
		c.Method, c.Strict = method, false
		r, err := run(t, c, set)
		require.NoError(t, err)
		require.NotEmpty(t, r.Warnings)
		require.Contains(t, r.Warnings[0], "would have lost all its elements; it keeps one")
		for _, row := range r.Tables[0].Rows {
			require.NotEqual(t, "0", row[1], "%s: layer %s", method, row[0])
		}
	}
	c.Method, c.Scope, c.Strict, c.Keep = "omp", prune.Layer, true, 0.004 // of 100 elements in the last layer
	_, err = run(t, c, set)
	require.ErrorContains(t, err, "the layers [4.weight] would lose all their elements")
	c.Strict = false
	r, err := run(t, c, set)
	require.NoError(t, err)
	require.Equal(t, "the layers [4.weight] would have lost all their elements; each keeps one", r.Warnings[0])
	c, set = small(t, "omp")
	c.Val = 5000
	_, err = run(t, c, set)
	require.ErrorContains(t, err, "nothing is left to train on")
	c, set = small(t, "omp")
	c.Model, c.Units = "softmax", true
	_, err = run(t, c, set)
	require.ErrorContains(t, err, "has no units that could be left out")
}

// The certificate at the end of a search changes nothing of the run. A network of ReLUs has no lower level that is
// convex around the weights, and the certificate says so; with a weight decay under which no weight survives the lower
// level is solved, at weights of 0, where the mask does not matter.
func TestCertificate(t *testing.T) {
	c, set := small(t, prune.RowBiP)
	without, err := run(t, c, set)
	require.NoError(t, err)
	require.NotContains(t, without.Counts, "direction.points")
	c.Certificate = true
	with, err := run(t, c, set)
	require.NoError(t, err)
	require.Equal(t, without.Scalars["test_accuracy"], with.Scalars["test_accuracy"])
	require.Equal(t, without.Counts["oracle.hvp"], with.Counts["oracle.hvp"])
	require.EqualValues(t, 1, with.Counts["direction.points"])
	require.EqualValues(t, 0, with.Counts["direction.certified"])
	require.Equal(t, linear.NegativeCurvature.String(), with.Texts["direction.status"])

	c.PruneDecay, c.InverseGamma = 0.3, 1/0.3
	convex, err := run(t, c, set)
	require.NoError(t, err)
	require.Equal(t, linear.Converged.String(), convex.Texts["direction.status"])
	require.Less(t, convex.Scalars["direction.lower_gradient"], 1e-4)

	c.Units = true
	_, err = Experiment{}.Cells(c, nil)
	require.ErrorContains(t, err, "certificate: wants a form of BiP other than bip-unrolled")
}
