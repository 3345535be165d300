// Package experiments holds what all applications share: an Experiment runs a Cell (a configuration and a seed) and
// gives a Record, and everything that is shown or written (the results folder, tables, plots, the terminal's table) is
// made here from Records alone. Each application is a package below this one: clean, robust, prune, train, hpo, check
// and compare; table runs their cells by recipe, and audit has the recipes of an audit. Flags and the choice of a
// device are the command's, which passes both in.
package experiments
