package clean

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/data"
	"bilevel/device"
	"bilevel/device/cpudevice"
	"bilevel/device/ref"
	"bilevel/experiments"
	"bilevel/experiments/experimentstest"
)

// small is a run on digits of a fraction of a second.
func small() Config {
	return Config{Algorithm: "soba", Corrupt: 0.5, Train: 600, Val: 200, Schedule: "linear", Step: 0.1, OuterStep: 600,
		Reg: 0.005, Iterations: 400, Batch: 64}
}

func digits(t testing.TB) *data.Dataset {
	t.Helper()
	set, err := data.Digits()
	require.NoError(t, err)
	return set
}

// runClean runs on a device of its own and fails on leaks.
func runClean(t testing.TB, c Config, dev device.Device, set *data.Dataset, seed uint64) (*experiments.Record, error) {
	t.Helper()
	cells, err := Experiment{}.Cells(c, []uint64{seed})
	require.NoError(t, err)
	records, err := experiments.Run(context.Background(), dev, experiments.Env{Data: set}, Experiment{}, cells, nil,
		experiments.Hooks{})
	require.NoError(t, dev.Close())
	if err != nil {
		require.Empty(t, records)
		return nil, err
	}
	return records[0], nil
}

func mustClean(t testing.TB, c Config, dev device.Device, set *data.Dataset, seed uint64) *experiments.Record {
	t.Helper()
	r, err := runClean(t, c, dev, set, seed)
	require.NoError(t, err)
	return r
}

// weights are the learned ones, of all rows.
func weights(r *experiments.Record) (out []float64) {
	for _, s := range r.Samples {
		out = append(out, s.Values...)
	}
	return out
}

func TestCleanFindsWrongLabels(t *testing.T) {
	c := small()
	run := mustClean(t, c, cpudevice.New(1), digits(t), 1)
	v := run.Scalars
	require.Greater(t, v["auc"], 0.9)
	require.Greater(t, v["auc"], v["auc_drawn"], "a tenth of the drawn rows kept their label")
	require.Greater(t, v["recall"], 0.7)
	require.GreaterOrEqual(t, v["best_f1"], 2/(1/v["precision"]+1/v["recall"]))
	require.Less(t, v["test_error"], v["baselines.all"]-0.02)
	require.Less(t, v["baselines.clean"], v["baselines.all"])
	require.True(t, run.Flags["baselines.converged"])
	require.Equal(t, "converged", run.Texts["hypergradient.status"])
	require.Greater(t, run.Implicit.Share, 0.99,
		"F does not depend on x: all of the hypergradient is the implicit term")
	require.InDelta(t, 1, run.Implicit.Cosine, 1e-6)

	n := int64(c.Iterations)
	require.Equal(t, n, run.Counts["iterations"])
	for name, want := range map[string]int64{"lower_gradients": n, "upper_gradients": n, "hvp": n, "jvp": n,
		"values": 0, "samples": 128 * n} {
		require.Equal(t, want, run.Counts["oracle."+name], name)
	}
	errors, at := run.Curve.Column("test_error"), run.Curve.Column("iteration")
	require.Zero(t, at[0])
	require.EqualValues(t, c.Iterations, at[len(at)-1])
	require.Greater(t, errors[0], 0.8, "the start knows nothing")
	require.Equal(t, v["test_error"], errors[len(errors)-1])
	require.Equal(t, "cpu", run.Device)
	rows := float64(1797 - 600 - 200)
	require.InDelta(t, math.Round(v["test_error"]*rows), v["test_error"]*rows, 1e-9, "a fraction of the test rows")
}

func TestCleanSuspectsAreInOrder(t *testing.T) {
	set := digits(t)
	run := mustClean(t, small(), cpudevice.New(1), set, 1)
	suspects := run.Tables[0]
	require.Equal(t, []string{"row", "label", "weight", "own_label"}, suspects.Columns)
	require.Len(t, suspects.Rows, 600)
	seen := map[int]bool{}
	found, wrong, last := 0, 0, 0.0
	for i, s := range suspects.Rows {
		row, label, own := atoi(t, s[0]), atoi(t, s[1]), atoi(t, s[3])
		weight, err := strconv.ParseFloat(s[2], 64)
		require.NoError(t, err)
		require.False(t, seen[row])
		seen[row] = true
		require.GreaterOrEqual(t, weight, last)
		last = weight
		require.True(t, own >= 0 && own < 10)
		if int32(label) != set.Train.Labels[row] { // rows count in the source, whose labels are the truth
			if wrong++; i < 200 {
				found++
			}
		}
	}
	require.Equal(t, "label changed", run.Samples[1].Name)
	require.Len(t, run.Samples[1].Values, wrong)
	require.Greater(t, found, 180, "of the 200 most suspect rows")
}

func atoi(t *testing.T, s string) int {
	n, err := strconv.Atoi(s)
	require.NoError(t, err)
	return n
}

func TestCleanBitsDependOnTheSeedAlone(t *testing.T) {
	c, set := small(), digits(t)
	c.Iterations, c.Batch = 100, 256 // products large enough to be shared between threads
	one := experimentstest.Untimed(mustClean(t, c, cpudevice.New(1), set, 7))
	require.Equal(t, one, experimentstest.Untimed(mustClean(t, c, cpudevice.New(1), set, 7)), "again")
	require.Equal(t, one, experimentstest.Untimed(mustClean(t, c, cpudevice.New(2), set, 7)), "two threads")
	other := experimentstest.Untimed(mustClean(t, c, cpudevice.New(1), set, 8))
	require.NotEqual(t, one.Scalars["test_error"], other.Scalars["test_error"])
	require.NotEqual(t, one.Tables, other.Tables)
	require.NotEqual(t, one.Key, other.Key)
}

// The reference computes in float64. The steps do not amplify errors, so that the host's grow linearly at most: about
// 20 roundings of 2⁻²⁴, relative to the largest element, in each of 100 iterations.
func TestCleanHostAgainstReference(t *testing.T) {
	c, set := small(), digits(t)
	c.Iterations = 100
	fast, slow := mustClean(t, c, cpudevice.New(1), set, 3), mustClean(t, c, ref.New(), set, 3)
	const roundOff = 100 * 20 * 0x1p-24
	a, b := fast.Scalars, slow.Scalars
	require.InDeltaSlice(t, weights(slow), weights(fast), roundOff)
	require.InEpsilon(t, b["val_loss"], a["val_loss"], roundOff)
	require.InDelta(t, b["auc"], a["auc"], roundOff)
	require.InEpsilon(t, b["hypergradient.norm"], a["hypergradient.norm"], 10*roundOff) // a linear solve in between
	// Two rows may lie on the border between classes.
	const row = 1.0 / 997
	require.InDelta(t, b["test_error"], a["test_error"], 2.5*row)
	require.InDelta(t, b["baselines.all"], a["baselines.all"], 2.5*row)
}

func TestCleanWithoutTruth(t *testing.T) {
	c := small()
	c.Corrupt, c.Iterations = 0, 50
	run := mustClean(t, c, cpudevice.New(1), digits(t), 1)
	text, err := json.Marshal(run)
	require.NoError(t, err)
	var keys map[string]any
	require.NoError(t, json.Unmarshal(text, &keys))
	for _, key := range []string{"auc", "auc_drawn", "precision", "recall", "best_f1", "best_f1_threshold",
		"best_f1_precision", "best_f1_recall"} {
		require.Contains(t, keys, key)
		require.Nil(t, keys[key], key)
	}
	require.Contains(t, keys["baselines"], "clean")
	require.Nil(t, keys["baselines"].(map[string]any)["clean"])
	require.Len(t, run.Tables[0].Rows, 600)
}

func TestCleanRefusesBatches(t *testing.T) {
	for _, batch := range []int{601, 0} {
		c := small()
		c.Batch = batch
		_, err := runClean(t, c, cpudevice.New(1), digits(t), 1)
		var usage *experiments.UsageError
		require.True(t, errors.As(err, &usage), "%v", err)
		require.ErrorContains(t, err, "rows out of 600 training rows: wants 1 to 600")
	}
	c := small()
	c.Train = 5000
	_, err := runClean(t, c, cpudevice.New(1), digits(t), 1)
	require.ErrorContains(t, err,
		"its 1797 rows are not enough for 5000 training and 200 validation rows, and some left for a test")
	c.Schedule = "liner"
	_, err = Experiment{}.Cells(c, []uint64{1})
	require.ErrorContains(t, err, `did you mean "linear"?`)
}

func TestCleanNamesTheIterationThatBlowsUp(t *testing.T) {
	for _, change := range []func(*Config){
		func(c *Config) { c.Step, c.Iterations = 1e38, 1 }, // y is finite, the validation loss is not
		func(c *Config) { c.Step = 1e30 }, func(c *Config) { c.Step, c.OuterStep = 1e3, 1e30 },
		func(c *Config) { c.Reg = 1e30 },
	} {
		c := small()
		change(&c)
		run, err := runClean(t, c, cpudevice.New(1), digits(t), 1)
		require.Nil(t, run)
		require.Error(t, err)
		require.Regexp(t, `^seed 1: .*after iteration [1-9][0-9]*: use smaller step sizes`, err.Error())
	}
}

func TestCleanCancelled(t *testing.T) {
	for _, stage := range []string{"solve", "certificate", "baselines"} {
		dev := cpudevice.New(1)
		ctx, cancel := context.WithCancel(context.Background())
		env := experiments.Env{Data: digits(t), Stage: func(name string, _ int) {
			if name == stage {
				cancel()
			}
		}}
		cells, err := Experiment{}.Cells(small(), []uint64{1})
		require.NoError(t, err)
		records, err := experiments.Run(ctx, dev, env, Experiment{}, cells, nil, experiments.Hooks{})
		require.Empty(t, records, stage)
		require.Error(t, err, stage)
		require.NoError(t, dev.Close())
		cancel()
	}
}

// An outer step so large that every weight is 0 or 1 gets a word, and so does a validation part without a mistake; the
// settings stand in the record.
func TestPlainWarnsOfWhatTellsNothing(t *testing.T) {
	c := small()
	c.OuterStep = 1e9
	r := mustClean(t, c, cpudevice.New(1), digits(t), 1)
	require.Contains(t, r.Warnings, saturatedWeights)
	require.Equal(t, 1e9, r.Scalars["settings.outer_step"])
	require.Equal(t, c.Algorithm, r.Texts["settings.algo"])
	require.Len(t, r.Lists["class_mapping"], 10)
	c = small()
	c.Val = 3
	r = mustClean(t, c, cpudevice.New(1), digits(t), 1)
	require.Zero(t, r.Scalars["val_error"])
	require.Contains(t, r.Warnings,
		"no validation row is judged wrong: 3 rows are too few to tell good runs from better ones")
	require.NotContains(t, r.Warnings, saturatedWeights)
}

func TestWhatToDoWithoutFlaggedRows(t *testing.T) {
	require.Contains(t, whatToDo(0, false), "no row is flagged: look at the first ten")
	require.Contains(t, whatToDo(1, false), "look at the flagged row of suspects.csv")
	require.Contains(t, whatToDo(12, true), "look at the 12 flagged rows of suspects.csv, from the top: file is")
}
