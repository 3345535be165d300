package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"bilevel/experiments/check"
	"bilevel/tensor"

	"github.com/spf13/cobra"
)

// check is the command that compares estimators and algorithms with known answers.
func (a *app) check() *cobra.Command {
	f := &common{}
	var lines, names []string
	for _, c := range check.Checks() {
		names = append(names, c.Name)
		lines = append(lines, fmt.Sprintf("  %-12s %s", c.Name, c.About))
	}
	cmd := &cobra.Command{
		Use:   "check NAME",
		Short: "Compare every estimator and algorithm with known answers",
		Long: `check compares products, hypergradients and algorithms with closed forms, and prints how far off each of
them is. The exit status is 1 if one of them is off by more than its bound. The checks are:

` + strings.Join(lines, "\n"),
		Example:   "  bilevel check quadratic\n  bilevel check quadratic --device ref --json",
		ValidArgs: names,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("%s wants the name of one check; %s --help lists them", c.CommandPath(), c.CommandPath())
			}
			one, err := check.ByName(args[0])
			if err != nil {
				return usageError{err}
			}
			return a.runCheck(c, f, one)
		},
	}
	f.registerDevice(cmd)
	f.registerMemory(cmd)
	cmd.Flags().Uint64Var(&f.seed, "seed", 1, "seed of the problem that is drawn")
	cmd.Flags().BoolVar(&f.json, "json", false,
		"end standard output with one line of JSON; the table goes to standard error")
	return cmd
}

func (a *app) runCheck(c *cobra.Command, f *common, one check.Check) error {
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
	findings, err := one.Run(c.Context(), ex, f.seed)
	if err = errors.Join(err, ex.Close(), dev.Close()); err != nil {
		return fmt.Errorf("check %s: %w", one.Name, err)
	}
	var w io.Writer = a.stdout
	if f.json {
		w = a.stderr
	}
	failed, err := check.Write(w, findings)
	if err != nil {
		return err
	}
	if f.json {
		text, err := json.Marshal(map[string]any{"check": one.Name, "failed": failed, "findings": findings})
		if err != nil {
			return err
		}
		fmt.Fprintf(a.stdout, "%s\n", text)
	}
	if failed > 0 {
		return fmt.Errorf("check %s: %d of %d comparisons are off by more than they may be",
			one.Name, failed, len(findings))
	}
	return nil
}
