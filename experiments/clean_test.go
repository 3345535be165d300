package experiments

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/data"
	"bilevel/device"
	"bilevel/device/host"
	"bilevel/device/ref"
	"bilevel/solvers"
	"bilevel/solvers/linear"
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
	found := 0
	for i, s := range run.Suspects {
		require.False(t, seen[s.Row])
		seen[s.Row] = true
		if i > 0 {
			require.GreaterOrEqual(t, s.Weight, run.Suspects[i-1].Weight)
		}
		if i < 200 && int32(s.Label) != set.Train.Labels[s.Row] { // rows count in the source, whose labels are the truth
			found++
			require.True(t, s.Own >= 0 && s.Own < 10)
		}
	}
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

// The reference computes in float64. 100 iterations with steps that contract keep the host's round-off (2⁻²⁴ an
// operation) far below the tolerance; a wrong formula is not.
func TestCleanHostAgainstReference(t *testing.T) {
	c, set := small(t), digits(t)
	c.Iterations = 100
	fast, slow := mustClean(t, c, host.New(1), set, 3), mustClean(t, c, ref.New(), set, 3)
	require.InDeltaSlice(t, slow.y, fast.y, 1e-4)
	require.InDeltaSlice(t, slow.x, fast.x, 1e-3) // moves by up to OuterStep / Batch times a weight's gradient
	require.InDelta(t, slow.ValLoss, fast.ValLoss, 1e-4)
	require.InDelta(t, slow.TestError, fast.TestError, 2.5/997)
	require.InDelta(t, *slow.AUC, *fast.AUC, 1e-4)
	require.InDelta(t, slow.Baselines.All, fast.Baselines.All, 2.5/997)
	require.InDelta(t, *slow.Hypergradient.Norm, *fast.Hypergradient.Norm, 1e-2**slow.Hypergradient.Norm)
}

// crossEntropies gives each row's loss at y [d, classes] and adds weight_i times its gradient to g, by plain loops.
func crossEntropies(s *data.Set, classes int, y []float64, weight func(i int) float64, g []float64) []float64 {
	losses := make([]float64, s.N())
	z := make([]float64, classes)
	for i := range losses {
		sum := 0.0
		for c := range z {
			z[c] = 0
			for j, v := range s.Row(i) {
				z[c] += float64(v) * y[j*classes+c]
			}
			sum += math.Exp(z[c])
		}
		label := int(s.Labels[i])
		losses[i] = math.Log(sum) - z[label]
		for c := range z {
			p := math.Exp(z[c]) / sum
			if c == label {
				p--
			}
			for j, v := range s.Row(i) {
				g[j*classes+c] += weight(i) * p * float64(v)
			}
		}
	}
	return losses
}

// problemOn prepares a seed's problem on the reference device.
func problemOn(t *testing.T, c Clean, seed uint64) (*tensor.Executor, *cleanData, *cleanProblem) {
	t.Helper()
	dev := ref.New()
	ex := tensor.NewExecutor(dev)
	d, err := c.prepare(digits(t), seed)
	require.NoError(t, err)
	b, err := c.build(ex, d, seed)
	require.NoError(t, err)
	t.Cleanup(func() {
		b.close()
		require.NoError(t, ex.Close())
		require.NoError(t, dev.Close())
	})
	return ex, d, b
}

func TestCleanObjectives(t *testing.T) {
	c := small(t)
	c.Train, c.Val, c.Batch = 50, 40, 10
	ex, d, b := problemOn(t, c, 5)
	r := rand.New(rand.NewPCG(5, 5))
	x, y := make([]float64, len(b.problem.X0)), make([]float64, len(b.problem.Y0))
	norm := 0.0
	for i := range x {
		x[i] = r.NormFloat64()
	}
	for i := range y {
		y[i] = 0.1 * r.NormFloat64()
		norm += y[i] * y[i]
	}
	require.NoError(t, b.x.Write(x))
	require.NoError(t, b.y.Write(y))
	value := ex.Variable("values", tensor.Real, 2)
	defer value.Free()
	grad := ex.Variable("∇xG", tensor.Real, len(x))
	defer grad.Free()
	f, err := ex.Compile("objectives", func() []tensor.Update {
		lower := b.problem.Lower.Value(b.x.Node(), b.y.Node(), solvers.Batch{Rows: b.train.n})
		upper := b.problem.Upper.Value(b.x.Node(), b.y.Node(), solvers.Batch{Rows: b.val.n})
		return []tensor.Update{
			{Var: value, Value: tensor.Concat(0, lower.Reshape(1), upper.Reshape(1))},
			{Var: grad, Value: tensor.Grad(lower, b.x.Node())[0]},
		}
	})
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, f.Run(1))
	got, err := value.Read()
	require.NoError(t, err)
	gx, err := grad.Read()
	require.NoError(t, err)

	ignore := make([]float64, len(y))
	one := func(int) float64 { return 1 }
	lower, upper := c.Reg*norm, 0.0
	for i, l := range crossEntropies(d.train, 10, y, one, ignore) {
		s := sigmoid(x[i])
		lower += s * l / 50
		require.InDelta(t, s*(1-s)*l/50, gx[i], 1e-12)
	}
	for _, l := range crossEntropies(d.val, 10, y, one, ignore) {
		upper += l / 40
	}
	require.InDelta(t, lower, got[0], 1e-12)
	require.InDelta(t, upper, got[1], 1e-12)
	for i := range b.problem.X0 {
		require.Equal(t, -2.0, b.problem.X0[i])
	}
}

// G is 2 Reg-strongly convex, so that |y - y*| <= |∇G(y)| / (2 Reg).
func TestBaselinesAreMinimizers(t *testing.T) {
	c := small(t)
	c.Train, c.Val = 200, 60
	ex, d, b := problemOn(t, c, 2)
	for _, rows := range []*data.Set{d.train, d.val} {
		y, status, err := c.trained(context.Background(), ex, b, rows)
		require.NoError(t, err)
		require.Equal(t, linear.Converged, status)
		g := make([]float64, len(y))
		n := float64(rows.N())
		crossEntropies(rows, 10, y, func(int) float64 { return 1 / n }, g)
		norm := 0.0
		for i := range g {
			g[i] += 2 * c.Reg * y[i]
			norm += g[i] * g[i]
		}
		require.Less(t, math.Sqrt(norm), 1.01*baseline.Tol*10, "the start's gradient is below 10")
	}
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
