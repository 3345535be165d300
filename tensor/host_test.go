package tensor_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"bilevel/device/cpudevice"
	. "bilevel/tensor"

	"github.com/stretchr/testify/require"
)

func newHost(t *testing.T, threads int) *Executor {
	dev := cpudevice.New(threads)
	ex := NewExecutor(dev)
	t.Cleanup(func() {
		require.NoError(t, ex.Close())
		require.NoError(t, dev.Close())
	})
	return ex
}

// everything uses each operation of the devices at least once, over and over on the same state.
func everything(ex *Executor) (updates []Update, covered int) {
	x, w, b := ex.Variable("x", Real, 6, 4), ex.Variable("w", Real, 4, 3), ex.Variable("b", Real, 3)
	step, seed := ex.Variable("step", Int), ex.Variable("seed", Int, 2)
	noise := RandomNormal(seed.Node(), step.Node(), 0, 6, 4)
	z := x.Node().Add(noise).MatMul(w.Node()).Add(b.Node()).Tanh()
	labels := z.ArgMax()
	p := Concat(1, z.LogSoftmax(), z.Pad(1, 1, 1).Slice(1, 0, 3))
	rows := Gather(p, labels).Square().Sum(1)
	loss := CrossEntropy(z, labels).Add(rows).Mean().Add(z.T().Reshape(6, 3).Softmax().MaxOver())
	g := Grad(loss, w.Node(), b.Node(), x.Node())
	hv := HVP(loss, []*Node{w.Node()}, []*Node{g[0]})[0]
	threshold, _ := KthLargest(step.Node().Add(IntConst(1)), g[0], w.Node().T())
	sparse := ScatterAdd(Zeros(6, 4), labels, g[2])
	return []Update{
		{Var: w, Value: w.Node().Sub(g[0].Scale(0.1)).Sub(hv.Scale(0.01))},
		{Var: b, Value: b.Node().Sub(g[1].Mul(threshold))},
		{Var: x, Value: x.Node().Sub(sparse.Scale(0.5))}, {Var: step, Value: step.Node().Add(IntConst(1))},
	}, 9
}

// Run allocates nothing: a training loop leaves the garbage collector alone.
func TestRunAllocatesNothing(t *testing.T) {
	for _, threads := range []int{1, 2} {
		ex := newHost(t, threads)
		covered := 0
		f, err := ex.Compile("everything", func() (us []Update) { us, covered = everything(ex); return us })
		require.NoError(t, err)
		ops := map[string]bool{}
		for _, in := range f.Program().Code {
			ops[in.Op.String()] = true
		}
		require.Len(t, ops, covered, "all operations but those planned: %v", ops)
		require.NoError(t, f.Run(2))
		require.Zero(t, testing.AllocsPerRun(20, func() {
			if f.Run(1) != nil {
				panic("run")
			}
		}), "%d threads", threads)
		require.NoError(t, f.Close())
	}
}

// The derivative cases once more, in float32 on the host against float64 on the reference device. The functions are
// smooth or sampled away from their kinks, of about a hundred operations on numbers near 1; products of a few of
// them amplify the rounding of 6e-8 each.
func TestHostMatchesReference(t *testing.T) {
	const tolerance = 2e-5
	for _, c := range cases {
		var want [][]float64
		for _, ex := range []*Executor{newRef(t), newHost(t, 2)} {
			r := rand.New(rand.NewPCG(11, 1))
			var x []*Node
			for _, s := range c.Shapes {
				v := ex.Variable("x", Real, s...)
				values := make([]float64, v.Size())
				for i := range values {
					values[i] = r.NormFloat64()
					if c.Sample != nil {
						values[i] = c.Sample(r)
					}
					values[i] = float64(float32(values[i]))
				}
				require.NoError(t, v.Write(values))
				x = append(x, v.Node())
			}
			y := c.Build(x)
			first := Grad(y.Square().Sum(), x...)
			nodes := append([]*Node{y}, first...)
			nodes = append(nodes, HVP(y.Sum(), x, first)...)
			got := run(t, ex, nodes...)
			if want == nil {
				want = got
				continue
			}
			for k := range want {
				scale := 1.0
				for _, v := range want[k] {
					scale = max(scale, math.Abs(v))
				}
				for i, v := range want[k] {
					require.InDelta(t, v, got[k][i], tolerance*scale, "%s: result %d, element %d", c.Name, k, i)
				}
			}
		}
	}
}
