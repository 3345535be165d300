package tensor

import "slices"

// Normalizations are composed of reductions and elementwise operations, so that they have derivatives of any order.

// Normalize is (x - mean)/√(variance + eps)·weight + bias, all of them broadcast to x: batch normalization of [n,h,w,c]
// by statistics [c] that are given, as at evaluation (Ioffe, Szegedy, ICML 2015, algorithm 2).
func Normalize(x, mean, variance, weight, bias *Node, eps float64) *Node {
	return scaled(x.Sub(mean), variance, weight, bias, eps)
}

func scaled(centred, variance, weight, bias *Node, eps float64) *Node {
	return centred.Mul(weight.Div(variance.AddConst(eps).Sqrt())).Add(bias)
}

// BatchNorm normalizes x [n, …, c] by the mean μ and the variance σ² of each channel, over all axes but the last
// (Ioffe, Szegedy, ICML 2015, algorithm 1):
//
//	y = (x - μ)/√(σ² + eps)·weight + bias
//
// where weight and bias are [c], and σ² = Σ(x-μ)²/m, of m numbers a channel, is computed in a second pass. It gives μ
// and σ² too, [c]: see Running.
func BatchNorm(x, weight, bias *Node, eps float64) (y, mean, variance *Node) {
	const name = "BatchNorm"
	last := len(x.shape) - 1
	if last < 1 || x.Size() == 0 || x.Size()/x.shape[last] < 2 {
		fail(name, "x has shape %v: wants at least 2 numbers for each channel, its last axis", x.shape)
	}
	checkAffine(name, x.shape[last:], weight, bias)
	var axes []int
	for a := range last {
		axes = append(axes, a)
	}
	mean = x.Mean(axes...)
	centred := x.centre(axes...)
	variance = centred.Square().Mean(axes...)
	return scaled(centred, variance, weight, bias, eps), mean, variance
}

// Running gives the running statistics of a batch normalization after a batch with mean μ and variance σ² of m numbers
// a channel, as PyTorch moves them, with the variance made unbiased:
//
//	mean ← (1-momentum)·mean + momentum·μ,    variance ← (1-momentum)·variance + momentum·σ²·m/(m-1)
func Running(mean, variance, batchMean, batchVariance *Node, m int, momentum float64) (newMean, newVariance *Node) {
	move := func(old, new *Node) *Node { return old.Scale(1 - momentum).Add(new.Scale(momentum)) }
	return move(mean, batchMean), move(variance, batchVariance.Scale(float64(m)/float64(m-1)))
}

// LayerNorm normalizes x over its last axes, those of weight and bias, whose shape they have (Ba, Kiros, Hinton, 2016):
// of images [n,h,w,c], the pixels of an image by [h,w,c], or the channels of a pixel by [c].
//
//	y = (x - μ)/√(σ² + eps)·weight + bias,    σ² = Σ(x-μ)²/m of m numbers
func LayerNorm(x, weight, bias *Node, eps float64) *Node {
	const name = "LayerNorm"
	first := len(x.shape) - len(weight.shape)
	if first < 0 || first == len(x.shape) || x.Size() == 0 {
		fail(name, "weights %v for x of shape %v: wants the last axes of x", weight.shape, x.shape)
	}
	checkAffine(name, x.shape[first:], weight, bias)
	var axes []int
	for a := first; a < len(x.shape); a++ {
		axes = append(axes, a)
	}
	return standardized(x, eps, axes...).Mul(weight).Add(bias)
}

// GroupNorm normalizes x [n, …, c], each row of the first axis on its own, over groups of channels in a row; weight and
// bias are [c] (Wu, He, ECCV 2018). One group normalizes all of an image, c groups each channel of an image.
func GroupNorm(x *Node, groups int, weight, bias *Node, eps float64) *Node {
	const name = "GroupNorm"
	last := len(x.shape) - 1
	if last < 1 || x.Size() == 0 {
		fail(name, "x has shape %v: wants rank 2 or more, and elements", x.shape)
	}
	if groups < 1 || x.shape[last]%groups != 0 {
		fail(name, "%d groups do not divide %d channels", groups, x.shape[last])
	}
	checkAffine(name, x.shape[last:], weight, bias)
	split := x.Reshape(x.shape[0], -1, groups, x.shape[last]/groups)
	return standardized(split, eps, 1, 3).Reshape(x.shape...).Mul(weight).Add(bias)
}

// standardized is (x - μ)/√(σ² + eps) over some axes.
func standardized(x *Node, eps float64, axes ...int) *Node {
	centred := x.centre(axes...)
	return centred.Div(centred.Square().meanKeep(axes).AddConst(eps).Sqrt())
}

func checkAffine(name string, shape []int, weight, bias *Node) {
	if !slices.Equal(weight.shape, shape) || !slices.Equal(bias.shape, shape) {
		fail(name, "weight %v and bias %v, wants %v", weight.shape, bias.shape, shape)
	}
}

// Dropout sets elements to 0 with probability rate, and divides the others by 1 - rate, so that the mean stays
// (Srivastava et al., JMLR 2014). The draws are those of RandomUniform of seed, step and stream, and the same in every
// derivative. At evaluation leave it out.
func Dropout(x *Node, rate float64, seed, step *Node, stream uint32) *Node {
	x.want("Dropout", Real)
	if !(rate >= 0 && rate < 1) {
		fail("Dropout", "rate %v: wants at least 0, and less than 1", rate)
	}
	if rate == 0 {
		return x
	}
	dropped := RandomUniform(seed, step, stream, x.shape...).Lt(Const(rate))
	return Where(dropped, Const(0), x.Scale(1/(1-rate)))
}
