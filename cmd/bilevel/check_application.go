package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"bilevel/experiments/prune"
	"bilevel/experiments/robust"
	"bilevel/tensor"

	"github.com/spf13/cobra"
)

// checked is what a check of an application ends with.
type checked interface {
	Write(w io.Writer) error
	Broken() []string // what is off by more than it may be, in sentences
}

// applicationCheck is a check of an application's own gradients.
type applicationCheck struct {
	name, short, long string
	run               func(ctx context.Context, ex *tensor.Executor, seed uint64) (checked, error)
}

// applicationChecks lists them.
func applicationChecks() []applicationCheck {
	return []applicationCheck{
		{"prune", "Hold the variants of bi-level pruning against the exact hypergradient in the mask",
			`check prune forms the exact hypergradient of small masked networks densely, perceptrons with and without
batch normalization and a residual network of convolutions, at several γ, and compares every variant of BiP with it:
the angle, the ratio of the norms, the relative error. The exit status is 1 if bip-exact is not the dense hypergradient
where the lower level is convex, or does not report negative curvature where it is not.`,
			func(ctx context.Context, ex *tensor.Executor, seed uint64) (checked, error) {
				return prune.Check(ctx, ex, seed)
			}},
		{"robust", "Hold the updates of Fast-BAT against a dense computation and against differences",
			`check robust computes the update of each form of Fast-BAT on small networks, without and with batch
normalization in each of its modes, with coordinates on and off the bounds, and compares it with the same update from
the whole mixed matrix, and where both numbers of the method are equal with central differences. The exit status is 1
if one of them is off by more than rounding.`,
			func(ctx context.Context, ex *tensor.Executor, seed uint64) (checked, error) {
				rows, err := robust.Check(ctx, ex, seed)
				return robust.Checked{Rows: rows, Unit: ex.Info().UnitRoundoff()}, err
			}},
	}
}

// checkApplication is the command of one of them.
func (a *app) checkApplication(one applicationCheck) *cobra.Command {
	f := &common{}
	cmd := &cobra.Command{
		Use: one.name, Short: one.short, Long: one.long, Example: "  bilevel check " + one.name, Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			dev, err := f.openDevice()
			if err != nil {
				return err
			}
			ex := tensor.NewExecutor(dev)
			result, err := one.run(c.Context(), ex, f.seed)
			if err = errors.Join(err, ex.Close(), dev.Close()); err != nil {
				return fmt.Errorf("check %s: %w", one.name, err)
			}
			return a.printChecked("check "+one.name, f, result)
		},
	}
	f.registerDevice(cmd)
	device := cmd.Flags().Lookup("device")
	device.DefValue, f.device = "ref", "ref"
	cmd.Flags().Uint64Var(&f.seed, "seed", 1, "seed of the network and its rows")
	cmd.Flags().BoolVar(&f.json, "json", false,
		"end standard output with one line of JSON; the table goes to standard error")
	return cmd
}

// printChecked prints a result as the flags ask, and is an error where something is off by more than it may be.
func (a *app) printChecked(command string, f *common, result checked) error {
	var w io.Writer = a.stdout
	if f.json {
		w = a.stderr
	}
	if err := result.Write(w); err != nil {
		return err
	}
	if f.json {
		text, err := json.Marshal(result)
		if err != nil {
			return err
		}
		fmt.Fprintf(a.stdout, "%s\n", text)
	}
	if broken := result.Broken(); len(broken) > 0 {
		return fmt.Errorf("%s: %s", command, strings.Join(broken, "; "))
	}
	return nil
}
