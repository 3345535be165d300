// Package minimize holds single-level minimizers: for lower levels, baselines and pretraining.
package minimize
