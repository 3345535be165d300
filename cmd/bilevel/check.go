package main

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"bilevel/experiments/check"
	"bilevel/tensor"

	"github.com/spf13/cobra"
)

// check is the command that holds every estimator of hypergradients against the truth.
func (a *app) check() *cobra.Command {
	f := &common{}
	var tolerance float64
	var lines, names []string
	for _, p := range check.Problems() {
		names = append(names, p.Name)
		lines = append(lines, fmt.Sprintf("  %-14s %s", p.Name, p.About))
	}
	cmd := &cobra.Command{
		Use:   "check PROBLEM",
		Short: "Hold every way to differentiate through an argmin against the truth",
		Long: `check compares every estimator of the hypergradient of h(x) = F(x, y*(x)) with differences of h, on a
small problem whose lower level is solved to the last digits of float64. It prints the error, the angle, the residual,
what the estimator itself says of its error, what it cost, and which one to take; and why the others do not apply. The
function check.Report does the same for a problem of your own. The differences are taken in float64, the estimators run
on --device. The exit status is 1 if an error is larger than a figure that claims to bound it. The problems are:

` + strings.Join(lines, "\n"),
		Example:   "  bilevel check quadratic\n  bilevel check cleaning --device cpu --json",
		ValidArgs: names,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("%s wants the name of one problem; %s --help lists them", c.CommandPath(),
					c.CommandPath())
			}
			one, err := check.ByName(args[0])
			if err != nil {
				return usageError{err}
			}
			if tolerance < 0 || math.IsNaN(tolerance) || math.IsInf(tolerance, 0) {
				return usagef("--tolerance %g: wants a finite number from 0 on", tolerance)
			}
			return a.runCheck(c, f, one, check.Options{
				Seed: f.seed, Tolerance: tolerance, Families: f.out != "",
			})
		},
	}
	for _, one := range applicationChecks() {
		cmd.AddCommand(a.checkApplication(one))
	}
	f.registerDevice(cmd)
	device := cmd.Flags().Lookup("device")
	device.DefValue, f.device = "ref", "ref"
	f.registerMemory(cmd)
	cmd.Flags().Uint64Var(&f.seed, "seed", 1, "seed of a problem that is drawn")
	cmd.Flags().StringVar(&f.out, "out", "", "folder for result.json, estimators.csv and a plot (default: none)")
	cmd.Flags().Float64Var(&tolerance, "tolerance", 0,
		"relative error that is good enough: the cheapest estimator within it is recommended")
	cmd.Flags().BoolVar(&f.json, "json", false,
		"end standard output with one line of JSON; the table goes to standard error")
	return cmd
}

func (a *app) runCheck(c *cobra.Command, f *common, one check.Problem, opt check.Options) error {
	limit, err := f.limit()
	if err != nil {
		return err
	}
	dev, err := f.openDevice()
	if err != nil {
		return err
	}
	ex := tensor.NewExecutor(dev)
	ex.LimitMemory(limit)
	result, err := one.Report(c.Context(), ex, opt)
	if err = errors.Join(err, ex.Close(), dev.Close()); err != nil {
		return fmt.Errorf("check %s: %w", one.Name, err)
	}
	if f.out != "" {
		if err := result.Save(f.out); err != nil {
			return fmt.Errorf("check %s: %w", one.Name, err)
		}
	}
	return a.printChecked("check "+one.Name, f, result)
}
