// Package robust trains classifiers against perturbations of their inputs: standard and adversarial training in their
// common forms, and Fast-BAT, which treats the perturbation as the lower level of a bi-level problem:
//
//	min over θ of mean CE(θ, x + δ*(θ))    where    δ*(θ) minimizes an attack objective over C
//	C = { δ : |δ|_∞ <= ε, 0 <= x + δ <= 1 }
//
// Pixels are in [0, 1]; a model that wants other inputs normalizes them itself, in its first layer.
//
// A Task is the model with its data, ε and the optimizer. A Method says how an iteration finds the perturbation and the
// direction in which the parameters move; each has a file of its own, which opens with its formula and its source.
// Methods lists them. All of them become one phase of an engine.Spec over a problem.Problem whose lower variable lives
// for one batch (problem.PerBatch), so that minibatches, random numbers, counts, checkpoints and limits are those of
// everything else that iterates. New compiles a run.
//
// Running statistics of a model with batch normalization move once for each pass that a method makes in mode train,
// also where two passes are the same and the compiler makes one of them.
package robust
