package models

import "bilevel/tensor"

// WeightedMean is Σ w_i ℓ_i / Σ w_i over a batch. Rows that only fill a batch up to its size get weight 0. A nil w
// means that all weights are 1.
func WeightedMean(losses, w *tensor.Node) *tensor.Node {
	if w == nil {
		return losses.Mean()
	}
	return tensor.Dot(losses, w).Div(w.Sum())
}

// SmoothedCrossEntropy is cross-entropy with label smoothing (Szegedy and others, CVPR 2016, section 7), for logits
// z [B, c] and labels Int [B]: a part ε of each row's target is spread evenly over all classes. For each row it is
//
//	(1-ε)·(-log p_label) + ε/c·Σ_j (-log p_j),   p = softmax(z)
func SmoothedCrossEntropy(z, labels *tensor.Node, epsilon float64) *tensor.Node {
	return tensor.CrossEntropy(z, labels).Scale(1 - epsilon).Sub(z.LogSoftmax().Mean(1).Scale(epsilon))
}

// BinaryCrossEntropy is log(1 + exp z) - a z for log-odds z [B] and labels a [B] in {0, 1}, both Real.
func BinaryCrossEntropy(z, a *tensor.Node) *tensor.Node { return z.Softplus().Sub(a.Mul(z)) }

// Mistakes is 1 for each row of logits [B, c] whose largest element is not the one of its label, and 0 for the others.
// Among equal elements the first counts as the largest.
func Mistakes(logits, labels *tensor.Node) *tensor.Node {
	return tensor.Const(1).Sub(logits.ArgMax().Eq(labels))
}

// SquaredNorm is Σ w², the usual regularizer.
func SquaredNorm(params *tensor.Node) *tensor.Node { return tensor.Dot(params, params) }
