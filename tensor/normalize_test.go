package tensor_test

import (
	"math"
	"math/rand/v2"
	"testing"

	. "bilevel/tensor"

	"github.com/stretchr/testify/require"
)

func drawn(t *testing.T, ex *Executor, r *rand.Rand, shape ...int) (*Node, []float64) {
	n := 1
	for _, d := range shape {
		n *= d
	}
	values := make([]float64, n)
	for i := range values {
		values[i] = 2 + r.NormFloat64()
	}
	return variable(t, ex, values, shape...).Node(), values
}

// Normalizations by plain loops over the numbers that belong together.
func TestNormalizations(t *testing.T) {
	ex := newRef(t)
	r := rand.New(rand.NewPCG(5, 6))
	const n, h, w, c, eps = 3, 2, 4, 6, 1e-3
	x, xs := drawn(t, ex, r, n, h, w, c)
	weight, weights := drawn(t, ex, r, c)
	bias, biases := drawn(t, ex, r, c)
	pixelWeight, pixelWeights := drawn(t, ex, r, h, w, c)
	pixelBias, pixelBiases := drawn(t, ex, r, h, w, c)
	mean, means := drawn(t, ex, r, c)
	variance, variances := drawn(t, ex, r, c)

	// moments are those of the elements that share a key with element i; key numbers the sets.
	moments := func(key func(i int) int) (mean, variance func(i int) float64) {
		sums, squares, counts := map[int]float64{}, map[int]float64{}, map[int]float64{}
		for i, v := range xs {
			sums[key(i)] += v
			counts[key(i)]++
		}
		mean = func(i int) float64 { return sums[key(i)] / counts[key(i)] }
		for i, v := range xs {
			squares[key(i)] += (v - mean(i)) * (v - mean(i))
		}
		return mean, func(i int) float64 { return squares[key(i)] / counts[key(i)] }
	}
	channel := func(i int) int { return i % c }
	image := func(i int) int { return i / (h * w * c) }
	batchMean, batchVariance := moments(channel)
	y, m, v := BatchNorm(x, weight, bias, eps)
	newMean, newVariance := Running(mean, variance, m, v, n*h*w, 0.25)
	out := run(t, ex, y, m, v, newMean, newVariance, Normalize(x, mean, variance.Square(), weight, bias, eps),
		LayerNorm(x, weight, bias, eps), LayerNorm(x, pixelWeight, pixelBias, eps), GroupNorm(x, 2, weight, bias, eps),
		GroupNorm(x, 1, weight, bias, eps), GroupNorm(x, c, weight, bias, eps))

	check := func(name string, got []float64, mean, variance func(i int) float64, weights, biases []float64) {
		for i, v := range xs {
			k := i % len(weights)
			want := (v-mean(i))/math.Sqrt(variance(i)+eps)*weights[k] + biases[k]
			require.InDelta(t, want, got[i], 1e-12, "%s, element %d", name, i)
		}
	}
	by := func(name string, got []float64, key func(i int) int, weights, biases []float64) {
		mean, variance := moments(key)
		check(name, got, mean, variance, weights, biases)
	}
	check("batch", out[0], batchMean, batchVariance, weights, biases)
	for k := range c {
		require.InDelta(t, batchMean(k), out[1][k], 1e-13)
		require.InDelta(t, batchVariance(k), out[2][k], 1e-13)
		require.InDelta(t, 0.75*means[k]+0.25*batchMean(k), out[3][k], 1e-13)
		const numbers = n * h * w
		require.InDelta(t, 0.75*variances[k]+0.25*batchVariance(k)*numbers/(numbers-1), out[4][k], 1e-13)
	}
	check("given", out[5], func(i int) float64 { return means[i%c] },
		func(i int) float64 { return variances[i%c] * variances[i%c] }, weights, biases)
	by("layer, a pixel", out[6], func(i int) int { return i / c }, weights, biases)
	by("layer, an image", out[7], image, pixelWeights, pixelBiases)
	by("two groups", out[8], func(i int) int { return 2*image(i) + channel(i)/(c/2) }, weights, biases)
	by("one group", out[9], image, weights, biases)
	by("every channel", out[10], func(i int) int { return c*image(i) + channel(i) }, weights, biases)
}

// residualNet is a small network with everything that a residual network has, in parameters of one vector.
func residualNet(x, p *Node, classes int) *Node {
	at := 0
	take := func(shape ...int) *Node {
		n := 1
		for _, d := range shape {
			n *= d
		}
		at += n
		return p.Slice(0, at-n, at).Reshape(shape...)
	}
	normal := func(h *Node, c int) *Node {
		y, _, _ := BatchNorm(h, take(c), take(c), 0.1)
		return y
	}
	h := normal(Conv2D(x, take(3, 3, 2, 4), Padding(1, 1, 1, 1)), 4).Softplus()
	short := Conv2D(h, take(1, 1, 4, 6), Stride(2, 2))
	h = normal(Conv2D(h, take(3, 3, 2, 6), Stride(2, 2), Padding(1, 0, 1, 0), Groups(2)), 6).Add(short).Softplus()
	h = MaxPool2D(h, 2, 2, Stride(1, 1), Padding(0, 1, 0, 1)).Add(AvgPool2D(h, 3, 3, Stride(1, 1), Padding(1, 1, 1, 1)))
	return GlobalAvgPool(h).MatMul(take(6, classes))
}

const residualSize = 72 + 8 + 24 + 108 + 12 + 6*3

// The Hessian of a convolutional network both ways, and its symmetry.
func TestConvolutionalHessian(t *testing.T) {
	ex := newRef(t)
	r := rand.New(rand.NewPCG(7, 8))
	x, _ := drawn(t, ex, r, 3, 6, 6, 2)
	p, _ := drawn(t, ex, r, residualSize)
	u, _ := drawn(t, ex, r, residualSize)
	v, _ := drawn(t, ex, r, residualSize)
	f := CrossEntropy(residualNet(x, p.Scale(0.3), 3), labels(3, 3)).Mean()
	one := HVP(f, []*Node{p}, []*Node{v})[0]                        // JVP of Grad
	two := Grad(Dot(Grad(f, p)[0], v), p)[0]                        // Grad of <Grad, v>
	three := Grad(JVP([]*Node{f}, []*Node{p}, []*Node{v})[0], p)[0] // Grad of JVP
	other := HVP(f, []*Node{p}, []*Node{u})[0]                      // another direction
	mixed := JVP([]*Node{Grad(f, x)[0]}, []*Node{p}, []*Node{v})[0] // ∂²f/∂x∂p v
	adjoint := Grad(Dot(Grad(f, p)[0], v), x)[0]                    // the same, by its transpose
	out := run(t, ex, one, two, three, Dot(one, u), Dot(other, v), mixed, adjoint)
	size := 0.0
	for _, h := range out[0] {
		size = max(size, math.Abs(h))
	}
	require.Greater(t, size, 1e-3)
	require.InDeltaSlice(t, out[0], out[1], 1e-12*max(1, size))
	require.InDeltaSlice(t, out[0], out[2], 1e-12*max(1, size))
	require.InDelta(t, out[3][0], out[4][0], 1e-11*max(1, math.Abs(out[3][0])))
	require.InDeltaSlice(t, out[5], out[6], 1e-12*max(1, size))
}
