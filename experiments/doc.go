// Package experiments holds what all applications share: an Experiment runs a Cell (a configuration and a seed) and
// gives a Record, and everything that is shown or written (the results folder, tables, plots, the terminal's table) is
// made here from Records alone. Each application is a package below: clean, check. No flags and no choice of device:
// the command passes both in.
package experiments
