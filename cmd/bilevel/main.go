// Command bilevel runs the experiments of this module. `bilevel help` lists them.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// Exit statuses.
const (
	exitOK          = 0
	exitEnvironment = 1
	exitUsage       = 2
)

// exitMeanings says what each exit status means, as the index.
var exitMeanings = [...]string{
	exitOK: "the command did what it was told",
	exitEnvironment: "something that the command needs is missing or broken (a file, a device, a data set, the " +
		"network, space on the disk), the numbers went wrong, a check failed, or Ctrl-C or SIGTERM stopped it",
	exitUsage: "the command line or a configuration can never work: an unknown command, flag or setting, or a " +
		"value out of range",
}

func main() {
	limitsAreErrors()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	done := make(chan int, 1)
	a := &app{stdout: os.Stdout, stderr: os.Stderr, env: os.Getenv}
	go func() { done <- a.execute(ctx, os.Args[1:]) }()
	select {
	case code := <-done:
		os.Exit(code)
	case <-ctx.Done():
	}
	code, ended := a.ends(done, stopWithin, workWithin)
	if !ended {
		fmt.Fprintln(os.Stderr, "bilevel: stopped by Ctrl-C or SIGTERM")
		code = exitEnvironment
	}
	os.Exit(code)
}

// ends waits for a command that was told to stop: for a moment in which it says what it leaves, and longer where cells
// are at work. They write a checkpoint, which a loaded machine or a slow disk may need, when the batch of a validation
// that they are in is done.
func (a *app) ends(done <-chan int, moment, longer time.Duration) (code int, ended bool) {
	select {
	case code = <-done:
		return code, true
	case <-time.After(moment):
	}
	if a.working.TryLock() {
		return 0, false
	}
	select {
	case code = <-done:
		return code, true
	case <-time.After(longer):
		return 0, false
	}
}

// stopWithin is how long a command that is told to stop may take; an engine ends in 100 ms whatever an iteration takes.
const stopWithin = 180 * time.Millisecond

// workWithin is how long a stop waits for cells that are at work.
const workWithin = 10 * time.Second

// run is the whole command, without the process around it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer, env func(string) string) int {
	return (&app{stdout: stdout, stderr: stderr, env: env}).execute(ctx, args)
}

func (a *app) execute(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(a.stderr, "bilevel: %s\n", sentence(err))
	if isUsage(err) {
		return exitUsage
	}
	return exitEnvironment
}

// app is what every command shares.
type app struct {
	stdout, stderr io.Writer
	env            func(string) string
	working        sync.Mutex // held while cells are at work, which write a checkpoint when they are stopped
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "bilevel",
		Short: "Bi-level optimization for machine learning",
		Long: "bilevel solves min over x of F(x, y*(x)), y*(x) a minimizer of G(x, ·), and runs the applications of " +
			"such problems.\n\n" + exitText(),
		Version:       versionText(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	groups := map[string]*cobra.Command{"": root, robustGroup: robustCommand(), pruneGroup: a.pruneCommand()}
	for _, application := range a.applications() {
		c := application().Command
		groups[c.Annotations[groupAnnotation]].AddCommand(c)
	}
	groupOf(groups[robustGroup])
	groupOf(groups[pruneGroup])
	groupOf(root, groups[robustGroup], groups[pruneGroup], a.table(), a.compare(), a.hpo(), a.audit(), a.predict(),
		a.model(), a.check(), a.algorithms(), a.data(), a.benchmarks(), a.doctor(), a.version())
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetHelpCommand(a.help())
	root.SetFlagErrorFunc(flagError)
	root.SetOut(a.stdout) // before the completion command is made, which keeps it
	root.SetErr(a.stderr)
	root.InitDefaultCompletionCmd()
	if c, _, err := root.Find([]string{"completion"}); err == nil {
		groupOf(c)
		for _, shell := range c.Commands() {
			shell.Args = noArguments
		}
	}
	return root
}

// exitText is the list of exit statuses in the help.
func exitText() string {
	text := "Exit statuses:"
	for code, meaning := range exitMeanings {
		text += fmt.Sprintf("\n  %d  %s", code, meaning)
	}
	return text
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

// completes gives a flag the words that a shell offers for its value.
func completes(c *cobra.Command, flag string, words ...string) {
	offer := cobra.FixedCompletions(words, cobra.ShellCompDirectiveDefault)
	if err := c.RegisterFlagCompletionFunc(flag, offer); err != nil {
		panic(err) // there is no such flag
	}
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
