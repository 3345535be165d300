package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"bilevel/experiments/prune"
	"bilevel/tensor"

	"github.com/spf13/cobra"
)

// checkPrune holds the variants of bi-level pruning against the exact hypergradient.
func (a *app) checkPrune() *cobra.Command {
	f := &common{}
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Hold the variants of bi-level pruning against the exact hypergradient in the mask",
		Long: `check prune forms the exact hypergradient of a small masked network densely, with and without batch
normalization, at several γ, and compares every variant of BiP with it: the angle, the ratio of the norms, the relative
error. The exit status is 1 if bip-exact is not the dense hypergradient where the lower level is convex, or does not
report negative curvature where it is not.`,
		Example: "  bilevel check prune",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			dev, err := f.openDevice()
			if err != nil {
				return err
			}
			ex := tensor.NewExecutor(dev)
			checked, err := prune.Check(c.Context(), ex, f.seed)
			if err = errors.Join(err, ex.Close(), dev.Close()); err != nil {
				return fmt.Errorf("check prune: %w", err)
			}
			var w io.Writer = a.stdout
			if f.json {
				w = a.stderr
			}
			if err := checked.Write(w); err != nil {
				return err
			}
			if f.json {
				text, err := json.Marshal(checked)
				if err != nil {
					return err
				}
				fmt.Fprintf(a.stdout, "%s\n", text)
			}
			if broken := checked.Broken(); len(broken) > 0 {
				return fmt.Errorf("check prune: %s", strings.Join(broken, "; "))
			}
			return nil
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
