package main

import (
	"errors"

	"bilevel/device/open"
	"bilevel/experiments/check"
	"bilevel/tensor"

	"github.com/spf13/cobra"
)

// algorithms is the command that lists the algorithms.
func (a *app) algorithms() *cobra.Command {
	return &cobra.Command{
		Use:   "algorithms",
		Short: "List the bi-level algorithms, with what an iteration costs and what each can use",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			dev, err := open.Open("ref", open.Options{})
			if err != nil {
				return err
			}
			ex := tensor.NewExecutor(dev)
			return errors.Join(check.WriteAlgorithms(c.Context(), a.stdout, ex), ex.Close(), dev.Close())
		},
	}
}
