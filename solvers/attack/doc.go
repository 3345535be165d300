// Package attack looks for adversarial examples: images near a given one, in a ball of l_inf or l_2 and with pixels in
// [0, 1], that a classifier puts into another class.
//
//	m := attack.Of(net, 784, 10, weights.Node(), nil)
//	a, err := attack.New(ex, m, attack.Options{Seed: 1})
//	r, err := a.Run(ctx, attack.Ball{Norm: attack.Linf, Eps: 0.1}, samples, attack.Standard()...)
//	robust, standardError := attack.Accuracy(r.Robust)
//
// The attacks are FGSM, PGD, APGD (on cross-entropy and on the difference of logits ratio), FAB and Square, a file
// each, and Standard, the ensemble called AutoAttack. A model is a function from pixels to logits: normalization is
// part of it, since the ball is one of pixels.
//
// # What holds
//
//   - The result is the worst case for each image over all restarts, targets and attacks, and so never above any
//     single one. An example that was found at a smaller radius counts at every larger one (Sweep).
//   - Every point that comes out lies in the ball and in [0, 1], exactly, as float32 numbers: the radius that is
//     computed with is smaller by a bound of the rounding.
//   - An adversarial example counts once the model has classified it again as it is handed out.
//   - A radius of 0 gives the images back.
//   - Random numbers are functions of (seed, attack, restart and target, image, step). Neither the size of batches nor
//     the order in which images leave them changes what is drawn; on a device that adds rows in the same order for
//     every size of a batch, as the reference device does, results are the same bits.
//
// # How it runs
//
// All steps, best points, step sizes and checkpoints are rows of variables on the device, one for each image. A plan is
// a list of phases, programs that run a number of times; between phases the host reads which rows have been broken,
// takes those, and when the others fit into one of a few smaller batch sizes it moves their state there by a Gather.
// Programs are compiled once for each size and kept (tensor.Cache).
package attack
