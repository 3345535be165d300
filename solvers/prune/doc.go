// Package prune makes sparse networks: a mask m of zeros and ones multiplies the parameters θ of a network, and the
// network computes with z = m ⊙ θ. Choosing m is a bi-level problem,
//
//	min over m of F(m ⊙ θ*(m)),   θ*(m) = argmin over θ of G(m ⊙ θ) + γ/2 |θ|²,   m binary with k ones,
//
// which Task states and BiP solves by its bi-linear structure (Zhang, Yao, Ram, Zhao, Chen, Hong, Wang, Liu, NeurIPS
// 2022). The methods that it is compared with have a file each: Random, Magnitude, SNIP and rounds of magnitude pruning
// (Rounds) give scores once; HYDRA, Gradual and BiP are algorithms of package engine.
//
// What may be masked, and what belongs together, is a Structure, which is asked of the model: single weights, or units
// whose weights, bias and normalization stay or go together. Biases and normalizations are never masked alone.
//
// A mask is the upper variable x of the problem and θ the lower variable y, so that all methods of package minimize
// train a masked network: Masked holds every masked element, and all that a method remembers of it, where it is.
package prune
