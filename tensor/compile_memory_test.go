package tensor

import (
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device"
	"bilevel/device/null"
)

// deep is a network for measurements: layers of one width over batches of rows, in one flat parameter vector.
type deep struct {
	layers    int
	normalize bool // batch normalization, composed of reductions and maps
	convolve  bool // convolutions of images of 8×8 pixels with a way around each layer, not products
	augment   bool // noise on the inputs, drawn where the objective is built
}

const deepRows, deepWidth = 4096, 32 // rows outweigh parameters, so that activations are what counts

// size is the number of parameters.
func (d deep) size() int { return d.layers * (d.kernel()*d.kernel()*deepWidth*deepWidth + 2*deepWidth) }

// kernel is the rows and columns of a kernel.
func (d deep) kernel() int {
	if d.convolve {
		return 3
	}
	return 1
}

// outputs builds the network on rows [deepRows, deepWidth].
func (d deep) outputs(p, h *Node) *Node {
	at := 0
	take := func(shape ...int) *Node {
		n := device.Size(shape)
		at += n
		return p.Slice(0, at-n, at).Reshape(shape...)
	}
	axes := []int{0}
	if d.convolve {
		h, axes = h.Reshape(deepRows/64, 8, 8, deepWidth), []int{0, 1, 2}
	}
	for range d.layers {
		var z *Node
		if d.convolve {
			z = Conv2D(h, take(3, 3, deepWidth, deepWidth), Padding(1, 1, 1, 1))
		} else {
			z = h.MatMul(take(deepWidth, deepWidth))
		}
		scale, shift := take(deepWidth), take(deepWidth)
		if d.normalize {
			centred := z.Sub(z.Mean(axes...))
			z = centred.Div(centred.Square().Mean(axes...).AddConst(1e-5).Sqrt()).Mul(scale)
		}
		if z = z.Add(shift); d.convolve {
			z = z.Add(h)
		}
		h = z.Relu()
	}
	return h.Reshape(deepRows, deepWidth)
}

// gradient is the update that stores the gradient of the mean loss.
func (d deep) gradient(ex *Executor) []Update {
	p, x := ex.Variable("p", Real, d.size()), ex.Variable("x", Real, deepRows, deepWidth)
	labels, g := ex.Variable("labels", Int, deepRows), ex.Variable("g", Real, d.size())
	loss := CrossEntropy(d.outputs(p.Node(), x.Node()), labels.Node()).Mean()
	return []Update{{g, Grad(loss, p.Node())[0]}}
}

// soba is an iteration of SOBA (Dagréou et al., 2022) for data hyper-cleaning: the lower level is a loss weighted row
// by row with a penalty, the upper level the plain loss on other rows.
//
//	y ← y - ρ ∇yG,  v ← v - ρ (∇²yyG v - ∇yF),  x ← x + γ ∇²xyG v
func (d deep) soba(ex *Executor) []Update {
	const data = 20000
	x, y, v := ex.Variable("x", Real, data), ex.Variable("y", Real, d.size()), ex.Variable("v", Real, d.size())
	images, labels := ex.Variable("images", Real, data, deepWidth), ex.Variable("labels", Int, data)
	lower, upper := ex.Variable("lower rows", Int, deepRows), ex.Variable("upper rows", Int, deepRows)
	seed, step := ex.Variable("seed", Int, 2), ex.Variable("step", Int)
	each := func(rows *Node, stream uint32) *Node {
		inputs := Gather(images.Node(), rows)
		if d.augment {
			inputs = inputs.Add(RandomNormal(seed.Node(), step.Node(), stream, inputs.shape...).Scale(0.1))
		}
		return CrossEntropy(d.outputs(y.Node(), inputs), Gather(labels.Node(), rows))
	}
	g := func() *Node { // built anew for each use, as an oracle does
		weights := Gather(x.Node(), lower.Node()).Sigmoid()
		return each(lower.Node(), 0).Mul(weights).Mean().Add(Dot(y.Node(), y.Node()).Scale(0.01))
	}
	slope := func() *Node {
		return JVP([]*Node{g()}, []*Node{y.Node()}, []*Node{v.Node().StopGradient()})[0]
	}
	gy := Grad(g(), y.Node())[0]
	hv, cv := Grad(slope(), y.Node())[0], Grad(slope(), x.Node())[0]
	fy := Grad(each(upper.Node(), 1).Mean(), y.Node())[0]
	return []Update{
		{x, x.Node().Add(cv.Scale(0.1))}, {y, y.Node().Sub(gy.Scale(0.1))}, {v, v.Node().Sub(hv.Sub(fy).Scale(0.1))},
	}
}

// activationsPerLayer is how much the arena grows with a layer, in activations: the slope over the depth, so that
// what does not depend on the depth cancels.
func activationsPerLayer(t *testing.T, d deep, build func(deep, *Executor) []Update) float64 {
	arena := func(layers int) int {
		ex := NewExecutor(null.New())
		d.layers = layers
		f := compiled(t, ex, build(d, ex)...)
		require.NoError(t, ex.Close())
		return f.Memory().Arena
	}
	const few, many = 8, 24
	return float64(arena(many)-arena(few)) / float64((many-few)*deepRows*deepWidth*4)
}

// What a pass through a deep network keeps until the way back is what bounds its batches.
func TestStoredActivations(t *testing.T) {
	for _, c := range []struct {
		name  string
		net   deep
		build func(deep, *Executor) []Update
		most  float64
	}{
		{"gradient", deep{}, deep.gradient, 1.01},
		{"gradient with batch normalization", deep{normalize: true}, deep.gradient, 2.01},
		{"SOBA", deep{}, deep.soba, 2.05},
		{"SOBA with batch normalization", deep{normalize: true}, deep.soba, 4.1},
		{"gradient of convolutions", deep{convolve: true}, deep.gradient, 1.1},
		{"gradient of normalized convolutions", deep{convolve: true, normalize: true}, deep.gradient, 2.1},
		{"SOBA of normalized convolutions", deep{convolve: true, normalize: true}, deep.soba, 4.5},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := activationsPerLayer(t, c.net, c.build)
			t.Logf("%.2f activations a layer", got)
			require.LessOrEqual(t, got, c.most)
		})
	}
}

// An objective that draws random numbers is built once for each derivative of it; the numbers are drawn, and what
// depends on them computed, once for all.
func TestAugmentationIsSharedByDerivatives(t *testing.T) {
	count := func(augment bool) string {
		ex := NewExecutor(null.New())
		return ops(compiled(t, ex, deep{layers: 4, augment: augment}.soba(ex)...))
	}
	plain, augmented := count(false), count(true)
	require.Equal(t, 42, times("Gemm", plain))
	require.Equal(t, times("Gemm", plain), times("Gemm", augmented))
	require.Equal(t, 2, times("Random", augmented), "one draw for each of the two minibatches")
}
