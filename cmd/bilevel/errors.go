package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"bilevel/data"
	"bilevel/device/open"
	"bilevel/experiments"
	"bilevel/internal/nearest"
	"bilevel/tensor"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// usageError is an error of the command line: a flag or value that can never work.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func isUsage(err error) bool {
	var flag usageError
	var set *data.UsageError
	var experiment *experiments.UsageError
	return errors.As(err, &flag) || errors.As(err, &set) || errors.As(err, &experiment) ||
		errors.Is(err, open.ErrUnknown)
}

// sentence is an error for people: on one line, without the place in the program that built a wrong graph.
func sentence(err error) string {
	text := strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ")
	var built *tensor.BuildError
	if errors.As(err, &built) {
		text = strings.ReplaceAll(text, fmt.Sprintf(" (%s:%d)", built.File, built.Line), "")
	}
	return text
}

// unknownCommand is the error for a word in the place of one of c's commands.
func unknownCommand(c *cobra.Command, word string) error {
	var names []string
	for _, sub := range c.Commands() {
		names = append(names, sub.Name())
	}
	return usagef("unknown command %q%s (%s help lists them)", word, nearest.Hint(word, names), c.Root().Name())
}

// noArguments refuses words that do not belong to a flag.
func noArguments(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes flags only, not %q", c.CommandPath(), args[0])
	}
	return nil
}

// kinds describes the values that a flag takes, by pflag's name of the flag's type.
var kinds = map[string]string{
	"bool": "true or false", "int": "a whole number", "uint64": "a whole number from 0 on", "float64": "a number",
}

// flagError words an error of pflag as a sentence of this command.
func flagError(c *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var missing *pflag.ValueRequiredError
	var invalid *pflag.InvalidValueError
	var syntax *pflag.InvalidSyntaxError
	switch {
	case errors.As(err, &unknown) && !c.HasParent() && c.Flags().NArg() > 0: // the command is unknown, so its flags are
		return unknownCommand(c, c.Flags().Arg(0))
	case errors.As(err, &unknown):
		name, dashes := unknown.GetSpecifiedName(), "--"
		if short := unknown.GetSpecifiedShortnames(); short != "" { // pflag reads -iters as the flags -i -t -e -r -s
			name, dashes = short, "-"
		}
		return usagef("unknown flag %s%s%s (%s --help lists them)", dashes, name, nearestFlag(c, name), c.CommandPath())
	case errors.As(err, &missing):
		return usagef("--%s wants %s after it", missing.GetFlag().Name, kind(missing.GetFlag()))
	case errors.As(err, &invalid):
		if errors.Is(err, strconv.ErrRange) {
			return usagef("--%s %s: out of range", invalid.GetFlag().Name, invalid.GetValue())
		}
		return usagef("--%s %q: wants %s", invalid.GetFlag().Name, invalid.GetValue(), kind(invalid.GetFlag()))
	case errors.As(err, &syntax):
		return usagef("%s is not a flag (%s --help lists them)", syntax.GetSpecifiedFlag(), c.CommandPath())
	}
	return usageError{err}
}

func kind(f *pflag.Flag) string {
	if k := kinds[f.Value.Type()]; k != "" {
		return k
	}
	return "a value"
}

func nearestFlag(c *cobra.Command, name string) string {
	var names []string
	c.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if name := nearest.Name(name, names); name != "" {
		return fmt.Sprintf("; did you mean --%s?", name)
	}
	return ""
}
