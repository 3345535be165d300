package experiments

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/data"
	"bilevel/device"
	"bilevel/device/host"
	"bilevel/device/ref"
	"bilevel/solvers"
	"bilevel/tensor"
)

// small is a run on digits of a fraction of a second.
func small(t testing.TB) Clean {
	t.Helper()
	soba, err := solvers.AlgorithmByName("soba")
	require.NoError(t, err)
	linear, err := solvers.ScheduleByName("linear")
	require.NoError(t, err)
	return Clean{Corrupt: 0.5, Train: 600, Val: 200, Algorithm: soba, Schedule: linear, Step: 0.1, OuterStep: 600, Reg: 0.005, Iterations: 400, Batch: 64}
}

func digits(t testing.TB) *data.Dataset {
	t.Helper()
	set, err := data.Digits()
	require.NoError(t, err)
	return set
}

// runClean runs on a device of its own and fails on leaks.
func runClean(t testing.TB, c Clean, dev device.Device, set *data.Dataset, seed uint64) (*CleanRun, error) {
	t.Helper()
	ex := tensor.NewExecutor(dev)
	run, err := c.Run(context.Background(), ex, set, seed, CleanEvents{})
	require.NoError(t, ex.Close())
	require.NoError(t, dev.Close())
	return run, err
}

func mustClean(t testing.TB, c Clean, dev device.Device, set *data.Dataset, seed uint64) *CleanRun {
	t.Helper()
	run, err := runClean(t, c, dev, set, seed)
	require.NoError(t, err)
	return run
}

// untimed is all that a run reports but its times.
func untimed(r *CleanRun) CleanRun {
	u := *r
	u.Seconds = 0
	u.Curve = append([]CurvePoint(nil), r.Curve...)
	for i := range u.Curve {
		u.Curve[i].Seconds = 0
	}
	return u
}

func TestCleanFindsWrongLabels(t *testing.T) {
	c := small(t)
	run := mustClean(t, c, host.New(1), digits(t), 1)
	require.Greater(t, *run.AUC, 0.9)
	require.Greater(t, *run.AUC, *run.AUCDrawn, "a tenth of the drawn rows kept their label")
	require.Greater(t, *run.Recall, 0.7)
	require.GreaterOrEqual(t, *run.BestF1, 2/(1 / *run.Precision + 1 / *run.Recall))
	require.Less(t, run.TestError, run.Baselines.All-0.02)
	require.Less(t, *run.Baselines.Clean, run.Baselines.All)
	require.True(t, run.Baselines.Converged)
	require.Equal(t, "converged", run.Hypergradient.Status)

	n := int64(c.Iterations)
	require.Equal(t, c.Iterations, run.Iterations)
	require.Equal(t, solvers.Counts{LowerGradients: n, UpperGradients: n, HVP: n, JVP: n, Samples: 128 * n}, run.Oracle)
	require.Equal(t, 0, run.Curve[0].Iteration)
	require.Equal(t, c.Iterations, run.Curve[len(run.Curve)-1].Iteration)
	require.Greater(t, run.Curve[0].TestError, 0.8, "the start knows nothing")
	require.Equal(t, run.TestError, run.Curve[len(run.Curve)-1].TestError)
	require.Equal(t, "cpu", run.Device)
	rows := float64(1797 - 600 - 200)
	require.InDelta(t, math.Round(run.TestError*rows), run.TestError*rows, 1e-9, "a fraction of the test rows")
}

func TestCleanSuspectsAreInOrder(t *testing.T) {
	set := digits(t)
	run := mustClean(t, small(t), host.New(1), set, 1)
	require.Len(t, run.Suspects, 600)
	seen := map[int]bool{}
	found, wrong, changed := 0, 0, 0
	for i, s := range run.Suspects {
		require.False(t, seen[s.Row])
		seen[s.Row] = true
		if i > 0 {
			require.GreaterOrEqual(t, s.Weight, run.Suspects[i-1].Weight)
		}
		require.True(t, s.Own >= 0 && s.Own < 10)
		if int32(s.Label) != set.Train.Labels[s.Row] { // rows count in the source, whose labels are the truth
			if wrong++; i < 200 {
				found++
			}
		}
		if run.Changed[i] {
			changed++
		}
	}
	require.Equal(t, changed, wrong)
	require.Greater(t, found, 180, "of the 200 most suspect rows")
}

func TestCleanBitsDependOnTheSeedAlone(t *testing.T) {
	c, set := small(t), digits(t)
	c.Iterations, c.Batch = 100, 256 // products large enough to be shared between threads
	one := untimed(mustClean(t, c, host.New(1), set, 7))
	require.Equal(t, one, untimed(mustClean(t, c, host.New(1), set, 7)), "again")
	require.Equal(t, one, untimed(mustClean(t, c, host.New(2), set, 7)), "two threads")
	other := untimed(mustClean(t, c, host.New(1), set, 8))
	require.NotEqual(t, one.x, other.x)
	require.NotEqual(t, one.TestError, other.TestError)
	require.NotEqual(t, one.data.rows, other.data.rows)
}

// The reference computes in float64. The steps do not amplify errors, so that the host's grow linearly at most: about 20
// roundings of 2⁻²⁴, relative to the largest element, in each of 100 iterations.
func TestCleanHostAgainstReference(t *testing.T) {
	c, set := small(t), digits(t)
	c.Iterations = 100
	fast, slow := mustClean(t, c, host.New(1), set, 3), mustClean(t, c, ref.New(), set, 3)
	const roundOff = 100 * 20 * 0x1p-24
	largest := func(values []float64) float64 { return max(slices.Max(values), -slices.Min(values)) }
	require.InDeltaSlice(t, slow.y, fast.y, roundOff*largest(slow.y))
	require.InDeltaSlice(t, slow.x, fast.x, roundOff*largest(slow.x))
	require.InEpsilon(t, slow.ValLoss, fast.ValLoss, roundOff)
	require.InDelta(t, *slow.AUC, *fast.AUC, roundOff)
	require.InEpsilon(t, *slow.Hypergradient.Norm, *fast.Hypergradient.Norm, 10*roundOff) // a linear solve in between
	const row = 1.0 / 997                                                                 // two rows may lie on the border between classes
	require.InDelta(t, slow.TestError, fast.TestError, 2.5*row)
	require.InDelta(t, slow.Baselines.All, fast.Baselines.All, 2.5*row)
}

func TestCleanPreparesWhatItSays(t *testing.T) {
	c, set := small(t), digits(t)
	d, err := c.prepare(set, 4)
	require.NoError(t, err)
	require.Equal(t, []int{600, 200, 997}, []int{d.train.N(), d.val.N(), d.test.N()})
	changed, drawn := 0, 0
	for i, row := range d.rows {
		require.Equal(t, d.changed[i], d.train.Labels[i] != set.Train.Labels[row])
		require.True(t, d.drawn[i] || !d.changed[i])
		if d.changed[i] {
			changed++
		}
		if d.drawn[i] {
			drawn++
		}
		require.Equal(t, float32(1), d.train.Row(i)[d.train.Dim-1])
	}
	require.InDelta(t, 300, drawn, 4*math.Sqrt(600*0.25)) // four standard deviations
	require.InDelta(t, 270, changed, 4*math.Sqrt(600*0.45*0.55))
	again := digits(t)
	require.Equal(t, again, set, "the source stays as it was")
}

func TestCleanWithoutTruth(t *testing.T) {
	c := small(t)
	c.Corrupt, c.Iterations = 0, 50
	run := mustClean(t, c, host.New(1), digits(t), 1)
	text, err := json.Marshal(run)
	require.NoError(t, err)
	var keys map[string]any
	require.NoError(t, json.Unmarshal(text, &keys))
	for _, key := range []string{"auc", "auc_drawn", "precision", "recall", "best_f1", "best_f1_threshold", "best_f1_precision", "best_f1_recall"} {
		require.Contains(t, keys, key)
		require.Nil(t, keys[key], key)
	}
	require.Nil(t, keys["baselines"].(map[string]any)["clean"])
	require.Len(t, run.Suspects, 600)
}

func TestCleanUsesTheSetsOwnParts(t *testing.T) {
	all := digits(t).Train
	part := func(from, to int32) *data.Set {
		var rows []int32
		for i := from; i < to; i++ {
			rows = append(rows, i)
		}
		s, err := all.Rows(rows)
		require.NoError(t, err)
		return s
	}
	c := small(t)
	c.Corrupt, c.Iterations, c.Train, c.Val = 0, 20, 300, 100
	set := &data.Dataset{Name: "own", Shape: []int{8, 8}, Classes: 10, Train: part(0, 300), Val: part(300, 400), Test: part(400, 500)}
	run := mustClean(t, c, host.New(1), set, 1)
	require.Equal(t, 100, run.data.val.N())
	require.Equal(t, set.Test.Labels, run.data.test.Labels)
	set.Test = nil
	_, err := c.prepare(set, 1)
	require.ErrorContains(t, err, "some left for a test")
	c.Train = 200
	d, err := c.prepare(set, 1)
	require.NoError(t, err)
	require.Equal(t, 100, d.test.N())
}

func TestCleanRefusesSizes(t *testing.T) {
	set := digits(t)
	own := *set
	own.Val = set.Train
	single := *set
	single.Classes = 1
	for _, c := range []struct {
		change func(*Clean)
		set    *data.Dataset
		want   string
	}{
		{func(c *Clean) { c.Train = 5000 }, set, "its 1797 rows are not enough for 5000 training and 200 validation rows, and some left for a test"},
		{func(c *Clean) { c.Train = 1597 }, set, "not enough"}, // nothing left
		{func(c *Clean) { c.Val = 0 }, set, "not enough"},
		{func(c *Clean) { c.Train = 0 }, set, "not enough"},
		{func(c *Clean) { c.Batch = 601 }, set, "minibatches of 601 rows out of 600 training rows: wants 1 to 600"},
		{func(c *Clean) { c.Batch = 0 }, set, "wants 1 to 600"},
		{func(c *Clean) {}, &own, "it brings 1797 validation rows of its own, which are all used, not 200"},
		{func(c *Clean) {}, &single, "at least two classes"},
	} {
		settings := small(t)
		c.change(&settings)
		run, err := runClean(t, settings, host.New(1), c.set, 1)
		require.Nil(t, run)
		var usage *UsageError
		require.True(t, errors.As(err, &usage), "%v", err)
		require.ErrorContains(t, err, c.want)
	}
}

func TestCleanNamesTheIterationThatBlowsUp(t *testing.T) {
	for _, change := range []func(*Clean){
		func(c *Clean) { c.Step, c.Iterations = 1e38, 1 }, // y is finite, the validation loss is not
		func(c *Clean) { c.Step = 1e30 }, func(c *Clean) { c.Step, c.OuterStep = 1e3, 1e30 }, func(c *Clean) { c.Reg = 1e30 },
	} {
		c := small(t)
		change(&c)
		run, err := runClean(t, c, host.New(1), digits(t), 1)
		require.Nil(t, run)
		require.Error(t, err)
		require.Regexp(t, `^seed 1: .*after iteration [1-9][0-9]*: use smaller step sizes`, err.Error())
	}
}

func TestCleanRefusesOutliers(t *testing.T) {
	set := digits(t)
	own := &data.Dataset{Name: "own", Shape: set.Shape, Classes: 10, Train: set.Train, Val: set.Train, Test: digits(t).Train}
	own.Test.Features[3] = 3e38 // finite, but some pixels are nearly constant
	for i := range set.Train.N() {
		set.Train.Features[i*64+3] = 1e-3 * float32(i%2)
	}
	c := small(t)
	c.Val = set.Train.N()
	_, err := c.prepare(own, 1)
	require.ErrorContains(t, err, "a feature of a test row is too large")
}

func TestCleanCancelled(t *testing.T) {
	dev := host.New(1)
	defer dev.Close()
	for _, stage := range []string{"solve", "certificate", "baselines"} {
		ex := tensor.NewExecutor(dev)
		ctx, cancel := context.WithCancel(context.Background())
		run, err := small(t).Run(ctx, ex, digits(t), 1, CleanEvents{Stage: func(name string, _ int) {
			if name == stage {
				cancel()
			}
		}})
		require.Nil(t, run, stage)
		require.Error(t, err, stage)
		require.NoError(t, ex.Close())
		cancel()
	}
}
