// Command bilevel runs the experiments of this module. `bilevel help` lists them.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

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
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	done := make(chan int, 1)
	go func() { done <- run(ctx, os.Args[1:], os.Stdout, os.Stderr, os.Getenv) }()
	select {
	case code := <-done:
		os.Exit(code)
	case <-ctx.Done():
	}
	select { // what was told to stop has this long to say what it leaves
	case code := <-done:
		os.Exit(code)
	case <-time.After(stopWithin):
		fmt.Fprintln(os.Stderr, "bilevel: stopped by Ctrl-C or SIGTERM")
		os.Exit(exitEnvironment)
	}
}

// stopWithin is how long a command that is told to stop may take; an engine's run ends in 100 ms whatever it does.
const stopWithin = 180 * time.Millisecond

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

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "bilevel",
		Short:         "Bi-level optimization for machine learning",
		Long:          "bilevel solves min over x of F(x, y*(x)), y*(x) a minimizer of G(x, ·), and runs the applications of such problems.",
		Version:       versionText(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	for _, application := range a.applications() {
		root.AddCommand(application().Command)
	}
	groupOf(root, a.table(), a.predict(), a.check(), a.algorithms(), a.data(), a.benchmarks(), a.doctor(),
		a.version())
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetHelpCommand(a.help())
	root.SetFlagErrorFunc(flagError)
	return root
}

// groupOf makes c a command that only has commands below it.
func groupOf(c *cobra.Command, below ...*cobra.Command) {
	c.AddCommand(below...)
	c.Args = func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownCommand(c, args[0])
		}
		return nil
	}
	c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
}

// help is cobra's own, with an exit status for words that are no command.
func (a *app) help() *cobra.Command {
	return &cobra.Command{
		Use:   "help [command]",
		Short: "Show what a command does and its flags",
		RunE: func(c *cobra.Command, args []string) error {
			sub, rest, err := c.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return unknownCommand(c.Root(), args[0])
			}
			sub.InitDefaultHelpFlag()
			return sub.Help()
		},
	}
}
