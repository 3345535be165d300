package experiments

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/data"
	"bilevel/device/ref"
	"bilevel/solvers"
	"bilevel/solvers/linear"
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
	var kept []int32 // the rows that are truly clean
	for i, row := range d.rows {
		if d.train.Labels[i] == digits(t).Train.Labels[row] {
			kept = append(kept, int32(i))
		}
	}
	clean, err := d.train.Rows(kept)
	require.NoError(t, err)
	run := &CleanRun{data: d}
	require.NoError(t, c.baselines(context.Background(), ex, b, run, CleanEvents{}))
	for _, of := range []struct {
		rows     *data.Set
		reported float64
	}{{d.train, run.Baselines.All}, {clean, *run.Baselines.Clean}, {d.val, run.Baselines.Validation}} {
		rows := of.rows
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
		e, err := b.testOf(y)
		require.NoError(t, err)
		require.Equal(t, e, of.reported)
	}
}
