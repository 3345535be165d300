package clean

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/data"
	"bilevel/device/ref"
	"bilevel/experiments"
	"bilevel/models/params"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// crossEntropies gives each row's loss at y [d, classes] and adds weight_i times its gradient to g, by plain loops.
func crossEntropies(s *data.Set, classes int, y []float64, weight func(i int) float64, g []float64) []float64 {
	losses := make([]float64, s.N())
	z := make([]float64, classes)
	for i := range losses {
		sum := 0.0
		for c := range z {
			z[c] = 0
			for j, v := range s.Row(i) {
				z[c] += float64(v) * y[c*s.Dim+j]
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
				g[c*s.Dim+j] += weight(i) * p * float64(v)
			}
		}
	}
	return losses
}

// taskOn prepares a seed's problem on the reference device.
func taskOn(t *testing.T, c Config, seed uint64) *task {
	t.Helper()
	dev := ref.New()
	ex := tensor.NewExecutor(dev)
	d, err := data.Prepare(digits(t), data.Preparation{Train: c.Train, Val: c.Val, Corrupt: c.Corrupt}, seed)
	require.NoError(t, err)
	b, err := newTask(ex, c, d, seed)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, b.close())
		require.NoError(t, ex.Close())
		require.NoError(t, dev.Close())
	})
	return b
}

func TestCleanObjectives(t *testing.T) {
	c := small()
	c.Train, c.Val, c.Batch = 50, 40, 10
	b := taskOn(t, c, 5)
	ex, d := b.ex, b.data
	r := rand.New(rand.NewPCG(5, 5))
	x, y := make([]float64, b.problem.Upper.Start.Size()), make([]float64, b.problem.Lower.Start.Size())
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
	bound, err := b.problem.Bind(ex)
	require.NoError(t, err)
	defer bound.Close()
	f, err := ex.Compile("objectives", func() []tensor.Update {
		at := func(side problem.Side) *problem.Point {
			return bound.Oracle().At(side, b.x.Node(), b.y.Node(), bound.All(side), params.TrainFrozen, nil)
		}
		return []tensor.Update{
			{Var: value, Value: tensor.Concat(0, at(problem.Lower).Value().Reshape(1),
				at(problem.Upper).Value().Reshape(1))},
			{Var: grad, Value: at(problem.Lower).GradX()},
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
	for i, l := range crossEntropies(d.Train, 10, y, one, ignore) {
		s := 1 / (1 + math.Exp(-x[i]))
		lower += s * l / 50
		require.InDelta(t, s*(1-s)*l/50, gx[i], 1e-12)
	}
	for _, l := range crossEntropies(d.Val, 10, y, one, ignore) {
		upper += l / 40
	}
	require.InDelta(t, lower, got[0], 1e-12)
	require.InDelta(t, upper, got[1], 1e-12)
	for _, start := range b.problem.Upper.Start.Flat {
		require.Equal(t, -2.0, start)
	}
}

// G is 2 Reg-strongly convex, so that |y - y*| <= |∇G(y)| / (2 Reg).
func TestBaselinesAreMinimizers(t *testing.T) {
	c := small()
	c.Train, c.Val = 200, 60
	b := taskOn(t, c, 2)
	r := experiments.NewRecord()
	require.NoError(t, b.baselines(context.Background(), &experiments.Env{}, r))
	require.True(t, r.Flags["baselines.converged"])
	var kept []int32 // the rows that are truly clean
	for i, row := range b.data.Rows {
		if b.data.Train.Labels[i] == digits(t).Train.Labels[row] {
			kept = append(kept, int32(i))
		}
	}
	clean, err := b.data.Train.Rows(kept)
	require.NoError(t, err)
	for name, rows := range map[string]*data.Set{"all": b.data.Train, "clean": clean, "validation": b.data.Val} {
		testError, good, err := b.trained(context.Background(), rows)
		require.NoError(t, err)
		require.True(t, good)
		require.Equal(t, testError, r.Scalars["baselines."+name])
		y, err := b.y.Read() // what testError looked at: the trained model
		require.NoError(t, err)
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
