package solvers

import (
	"context"
	"testing"

	"bilevel/device/ref"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
)

// scalar is problem Q1: G = ½(y-x)², F = ½(y-1)² + ½x²; y*(x) = x, h'(x) = 2x - 1, minimum at x = ½.
func scalar() *Problem {
	half := func(n *tensor.Node) *tensor.Node { return tensor.Dot(n, n).Scale(0.5) }
	return &Problem{
		Name: "Q1",
		X0:   []float64{0.2}, Y0: []float64{0.7},
		Lower: Level{Value: func(x, y *tensor.Node, _ Batch) *tensor.Node { return half(y.Sub(x)) }},
		Upper: Level{Value: func(x, y *tensor.Node, _ Batch) *tensor.Node { return half(y.AddConst(-1)).Add(half(x)) }},
		Mu:    1,
	}
}

func constant(t *testing.T) Schedule {
	s, err := ScheduleByName("constant")
	require.NoError(t, err)
	return s
}

// The first two iterates, computed by hand from the paper's algorithm.
func TestSOBATrace(t *testing.T) {
	dev := ref.New()
	defer dev.Close()
	for n, want := range map[int][]float64{1: {0.19, 0.65, -0.03}, 2: {0.182, 0.604, -0.062}} {
		ex := tensor.NewExecutor(dev)
		var last []float64
		res, err := Solve(context.Background(), ex, scalar(), SOBA{Step: 0.1, OuterStep: 0.05, Schedule: constant(t)}, Options{
			Iterations: n, Every: 1,
			Record: func(p Progress) error {
				last = nil
				for _, v := range p.State.Arrays() {
					values, err := v.Read()
					require.NoError(t, err)
					last = append(last, values...)
				}
				return nil
			},
		})
		require.NoError(t, err)
		require.InDeltaSlice(t, want, last, 1e-15)
		require.InDelta(t, want[0], res.X[0], 1e-15)
		require.Equal(t, Counts{LowerGradients: int64(n), UpperGradients: int64(n), HVP: int64(n), JVP: int64(n)}, res.Counts)
		require.NoError(t, ex.Close())
	}
}
