package main

import (
	"errors"

	"bilevel/device/open"
	"bilevel/experiments/check"
	"bilevel/solvers"
	"bilevel/tensor"

	"github.com/spf13/cobra"
)

// algorithmNames are what --algo takes.
func algorithmNames() (names []string) {
	for _, e := range solvers.Algorithms() {
		names = append(names, e.Name())
	}
	return names
}

// algorithms is the command that lists the algorithms, or shows one.
func (a *app) algorithms() *cobra.Command {
	return &cobra.Command{
		Use:   "algorithms [NAME]",
		Short: "List the bi-level algorithms, with what an iteration costs and what each can use",
		Long: `algorithms prints a table of the bi-level algorithms: the principle by which each differentiates through
the lower level, its loops, the sets of variables that it can keep, whether it does without second derivatives, whether
its upper objective may be maximized over a further variable beside, its rate, the size of its state and the oracle
calls of an iteration, as counted, and its paper. With a name it prints one of them, with what it
assumes and its settings.`,
		Example:   "  bilevel algorithms\n  bilevel algorithms soba",
		ValidArgs: algorithmNames(),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("%s wants the name of one algorithm, or none for all", c.CommandPath())
			}
			var one solvers.Entry
			if len(args) == 1 {
				var err error
				if one, err = solvers.AlgorithmByName(args[0]); err != nil {
					return usageError{err}
				}
			}
			dev, err := open.Open("ref", open.Options{})
			if err != nil {
				return err
			}
			ex := tensor.NewExecutor(dev)
			if len(args) == 1 {
				err = check.WriteAlgorithm(c.Context(), a.stdout, ex, one)
			} else {
				err = check.WriteAlgorithms(c.Context(), a.stdout, ex)
			}
			return errors.Join(err, ex.Close(), dev.Close())
		},
	}
}
