package tensor

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCSE(t *testing.T) {
	ex := newRef(t)
	a, b := filled(t, ex, 3, 3).Node(), filled(t, ex, 3, 3).Node()
	k := integers(t, ex, []int32{0, 1, 2}, 3).Node()
	image, kernel := a.Reshape(1, 3, 3, 1), b.Slice(0, 0, 1).Slice(1, 0, 2).Reshape(1, 2, 1, 1)
	conv := func(o ...WindowOption) *Node { return Conv2D(image, kernel, o...) }
	same := func(x, y *Node) bool { out := cse([]*Node{x, y}); return out[0] == out[1] }
	require.True(t, same(a.Exp(), a.Exp()))
	require.True(t, same(a.Add(b).Exp(), b.Add(a).Exp()), "a+b is b+a")
	require.True(t, same(a.Mul(b), b.Mul(a)))
	require.True(t, same(a.MatMul(b).Sum(0), a.MatMul(b).Sum(0)))
	require.True(t, same(Gather(a, k), Gather(a, k)))
	require.True(t, same(Const(2), Const(2)))
	require.True(t, same(conv(Stride(1, 2)), conv(Stride(1, 2))))
	for name, pair := range map[string][2]*Node{
		"variables": {a, b}, "a-b": {a.Sub(b), b.Sub(a)}, "a/b": {a.Div(b), b.Div(a)}, "a<b": {a.Lt(b), b.Lt(a)},
		"max(a,b) at signed zeros": {a.Max(b), b.Max(a)},
		"a·b":                      {a.MatMul(b), b.MatMul(a)}, "functions": {a.Sin(), a.Cos()},
		"axes":       {a.Sum(0), a.Sum(1)},
		"reductions": {a.Sum(0), a.MaxOver(0)}, "softmaxes": {a.Softmax(), a.LogSoftmax()},
		"windows":    {a.Slice(0, 0, 1), a.Slice(0, 1, 2)},
		"transposed": {a, a.T()}, "shapes": {a.Reshape(9), a.Reshape(1, 9)}, "constants": {Const(1), Const(2)},
		"zeros": {Const(0), Const(0).Neg().in[0].Scale(-1)}, "counters": {Iota(0, 3, 3), Iota(1, 3, 3)},
		"types": {Const(1), Const(1).ToInt()},
		"pads":  {a.Pad(0, 1, 0), a.Pad(0, 0, 1)}, "joins": {Concat(0, a, b), Concat(0, b, a)},
		"strides": {conv(Stride(1, 2)), conv(Dilation(1, 2))}, "padding": {conv(Padding(0, 0, 1, 0)),
			conv(Padding(0, 0, 0, 1))},
		"pools": {MaxPool2D(image, 2, 2), AvgPool2D(image, 2, 2)},
		"averages": {AvgPool2D(image, 3, 3, Padding(1, 1, 1, 1)), AvgPool2D(image, 3, 3, Padding(1, 1, 1, 1),
			PixelsOnly())},
		"joined axes": {Concat(0, a, a).T(), Concat(1, a, a)},
	} {
		require.False(t, same(pair[0], pair[1]), name)
	}
}

func TestEqualValuesAreComputedOnce(t *testing.T) {
	ex := newRef(t)
	a, b := filled(t, ex, 3, 3).Node(), filled(t, ex, 3, 3).Node()
	require.Equal(t, "Gemm Copy", program(t, ex, a.MatMul(b), a.MatMul(b)))
	require.Equal(t, "Gemm", program(t, ex, a.MatMul(b.Scale(1)).Add(a.MatMul(b))),
		"also where folding makes them equal")
	require.Equal(t, "Copy", program(t, ex, a.Mul(Const(1)).AddConst(0)), "nothing is left to compute")
}

// Random draws by a function of seed, step and stream: uses that agree in these share one draw, others do not.
func TestRandomIsDrawnOnce(t *testing.T) {
	ex := newRef(t)
	seed, step := integers(t, ex, []int32{1, 2}, 2).Node(), integers(t, ex, []int32{3}).Node()
	draw := func(stream uint32) *Node { return RandomNormal(seed, step, stream, 5) }
	require.Equal(t, 1, times("Random", program(t, ex, draw(0).Mul(draw(0)))))
	require.Equal(t, 2, times("Random", program(t, ex, draw(0), draw(1).Add(draw(0)))))
	other := integers(t, ex, []int32{4}).Node()
	for name, n := range map[string]*Node{
		"another step":   RandomNormal(seed, other, 0, 5),
		"another seed":   RandomNormal(Concat(0, other.Flatten(), other.Flatten()), step, 0, 5),
		"another length": RandomNormal(seed, step, 0, 6), "another distribution": RandomUniform(seed, step, 0, 5),
		"another limit": RandomInts(7, seed, step, 0, 5).ToReal(),
	} {
		require.Equal(t, 2, times("Random", program(t, ex, RandomInts(8, seed, step, 0, 5).ToReal(), n)), name)
		require.Equal(t, 2, times("Random", program(t, ex, draw(0), n)), name)
	}
}
