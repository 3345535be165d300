package models

import (
	"bilevel/models/params"
	"bilevel/tensor"
)

// The default constants of torch.nn.BatchNorm1d.
const (
	batchNormMomentum = 0.1
	batchNormEpsilon  = 1e-5
)

// The names of a batch normalization's state arrays are the layer's name followed by one of these.
const (
	runningMean    = ".running_mean"
	runningVar     = ".running_var"
	batchesTracked = ".num_batches_tracked"
)

// batchNormState adds to a layout the running statistics of a layer with so many features: the mean, the variance, and
// the number of batches that went into them.
func batchNormState(l params.Layout, layer string, features int) params.Layout {
	return l.With(layer+runningMean, features).With(layer+runningVar, features).With(layer + batchesTracked)
}

// batchNorm is batch normalization (Ioffe, Szegedy, ICML 2015, algorithms 1 and 2) of x [B, …, features] over all axes
// but the last, composed of reductions and maps so that it has derivatives of any order:
//
//	y = (x - μ)/√(σ² + ε) · weight + bias
//
// Under Train and TrainFrozen, μ is the mean of the n = B·… numbers of a feature, and σ² = Σ(x-μ)²/n is computed in a
// second pass over them (tensor.BatchNorm); under Eval, μ and σ² are the running mean and variance. Train also updates
// the running statistics, as PyTorch does:
//
//	mean ← 0.9 mean + 0.1 μ,   var ← 0.9 var + 0.1 σ²·n/(n-1)
//
// op is the model's name for errors, w has the parameters and s the state. Under Train, batchNorm puts the updated
// statistics into next, by name; under the other modes it leaves next alone.
func batchNorm(op, layer string, w, s params.Vars, x *tensor.Node, mode params.Mode, next params.Vars) *tensor.Node {
	mean, variance := s[layer+runningMean], s[layer+runningVar]
	weight, bias := w[layer+".weight"], w[layer+".bias"]
	if mode == params.Eval {
		return tensor.Normalize(x, mean, variance, weight, bias, batchNormEpsilon)
	}
	n := x.Size() / x.Shape()[len(x.Shape())-1]
	if n < 2 {
		tensor.Fail(op, "batch normalization of a batch of %d: wants at least 2 rows to train on", n)
	}
	y, batchMean, batchVariance := tensor.BatchNorm(x, weight, bias, batchNormEpsilon)
	if mode == params.Train {
		next[layer+runningMean], next[layer+runningVar] = tensor.Running(
			mean, variance, batchMean, batchVariance, n, batchNormMomentum)
		next[layer+batchesTracked] = s[layer+batchesTracked].AddConst(1)
	}
	return y
}
