// Package experiments holds the applications that the command runs: one file per experiment, which puts together a
// problem, a model, an algorithm and their defaults and says what is reported, and the shared parts (results.go, plots.go,
// detector.go). No flags and no devices: the command passes a tensor.Executor in.
package experiments
