// Command bilevel runs the experiments of this module. `bilevel help` lists them.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"bilevel/data"
	"bilevel/device/open"
	"bilevel/experiments"
	"bilevel/internal/nearest"

	"github.com/spf13/cobra"
)

// Exit statuses.
const (
	exitOK          = 0
	exitEnvironment = 1 // a device, file or driver is missing, or the numbers went wrong
	exitUsage       = 2 // a flag or value that can never work
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr, os.Getenv)
	stop()
	os.Exit(code)
}

// run is the whole command, without the process around it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer, env func(string) string) int {
	app := &app{stdout: stdout, stderr: stderr, env: env}
	root := app.root()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(stderr, "bilevel: %s\n", strings.TrimSpace(err.Error()))
	if isUsage(err) {
		return exitUsage
	}
	return exitEnvironment
}

// app is what every command shares.
type app struct {
	stdout, stderr io.Writer
	env            func(string) string
}

// usageError is a flag or value that can never work.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func isUsage(err error) bool {
	var flag usageError
	var set *data.UsageError
	var experiment *experiments.UsageError
	return errors.As(err, &flag) || errors.As(err, &set) || errors.As(err, &experiment) || errors.Is(err, open.ErrUnknown)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "bilevel",
		Short:         "Bi-level optimization for machine learning",
		Long:          "bilevel solves min over x of F(x, y*(x)), y*(x) a minimizer of G(x, ·), and runs the applications of such problems.",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(a.clean(), a.doctor(), a.version())
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return flagError(c, err) })
	root.Args = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		var names []string
		for _, sub := range c.Commands() {
			names = append(names, sub.Name())
		}
		return usagef("unknown command %q; did you mean %q? (bilevel help lists them)", args[0], nearest.Name(args[0], names))
	}
	root.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	return root
}

// flagError adds the nearest name to the complaint about an unknown flag.
func flagError(c *cobra.Command, err error) error {
	name, unknown := strings.CutPrefix(err.Error(), "unknown flag: --")
	if !unknown {
		return usageError{err}
	}
	return usagef("unknown flag --%s; did you mean --%s? (bilevel %s --help lists them)", name, nearest.Name(name, flagNames(c)), c.Name())
}

// noArguments refuses words after the flags.
func noArguments(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("bilevel %s takes flags only, not %q", c.Name(), args[0])
	}
	return nil
}
