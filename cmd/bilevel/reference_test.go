package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

//go:generate go test -count=1 -run ^TestReference$ . -update

var update = flag.Bool("update", false, "write docs/reference anew")

// referenceColumns is the width of the generated pages.
const referenceColumns = 120

// generated is the first line of every page.
const generated = "<!-- Written by `go generate ./cmd/bilevel`: change the program, not this page. -->\n\n"

// The pages under docs/reference say what the program says today: they are made of the command tree, of --print-config,
// and of what small runs leave in their folders.
func TestReference(t *testing.T) {
	dir, err := filepath.Abs(filepath.Join("..", "..", "docs", "reference"))
	require.NoError(t, err)
	inNewFolder(t)
	pages := commandPages()
	pages["configuration.md"] = configurationPage(t)
	pages["formats.md"] = formatsPage(t)
	pages["exit-statuses.md"] = exitPage()
	pages["README.md"] = indexPage(pages)
	for name, text := range pages {
		pages[name] = generated + strings.TrimRight(text, "\n") + "\n"
		for i, line := range strings.Split(pages[name], "\n") {
			require.LessOrEqual(t, utf8.RuneCountInString(line), referenceColumns, "%s:%d: %s", name, i+1, line)
		}
	}
	old, err := filepath.Glob(filepath.Join(dir, "*.md"))
	require.NoError(t, err)
	if *update {
		for _, path := range old {
			require.NoError(t, os.Remove(path))
		}
		for name, text := range pages {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
		}
		return
	}
	require.Len(t, old, len(pages), "run: go generate ./cmd/bilevel")
	for name, text := range pages {
		there, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err, "run: go generate ./cmd/bilevel")
		require.Equal(t, text, string(there), "%s is not what the program says; run: go generate ./cmd/bilevel", name)
	}
}

// eachCommand calls f for the commands that a user sees, each before those below it.
func eachCommand(c *cobra.Command, f func(*cobra.Command)) {
	if c.Hidden || c.Name() == "help" || c.Parent() != nil && c.Parent().Name() == "completion" {
		return
	}
	f(c)
	for _, below := range c.Commands() {
		eachCommand(below, f)
	}
}

func commandTree() *cobra.Command {
	return (&app{stdout: &strings.Builder{}, stderr: &strings.Builder{}, env: func(string) string { return "" }}).root()
}

func pageOf(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") + ".md" }

// commandPages is a page for each command.
func commandPages() map[string]string {
	pages := map[string]string{}
	eachCommand(commandTree(), func(c *cobra.Command) {
		c.InitDefaultHelpFlag()
		text := fmt.Sprintf("# %s\n\n%s.\n\n    %s\n", c.CommandPath(), strings.TrimRight(c.Short, "."), c.UseLine())
		if c.Long != "" {
			text += "\n" + prose(c.Long)
		}
		if c.Name() == "completion" {
			text += "\n    source <(bilevel completion bash)\n"
		}
		if c.Example != "" {
			text += "\n## Examples\n\n" + indent(c.Example)
		}
		below := ""
		for _, sub := range c.Commands() {
			eachCommand(sub, func(s *cobra.Command) {
				if s == sub {
					below += item(fmt.Sprintf("[%s](%s): %s", s.CommandPath(), pageOf(s), lowered(s.Short)))
				}
			})
		}
		if below != "" {
			text += "\n## Commands\n\n" + below
		}
		flags := ""
		c.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				flags += item(flagLine(f))
			}
		})
		pages[pageOf(c)] = text + "\n## Flags\n\n" + flags
	})
	return pages
}

// flagLine is a flag with its type, its meaning and its default.
func flagLine(f *pflag.Flag) string {
	name := "`--" + f.Name
	if kind := f.Value.Type(); kind != "bool" {
		name += " " + kind
	}
	line := name + "`: " + f.Usage
	switch {
	case f.DefValue == "" || f.DefValue == "0" || f.DefValue == "false" || strings.Contains(f.Usage, "default"):
		return line
	case f.Value.Type() == "string":
		return fmt.Sprintf("%s (default %q)", line, f.DefValue)
	}
	return fmt.Sprintf("%s (default %s)", line, f.DefValue)
}

var setting = regexp.MustCompile(`(?m)^# (.+)\n(?:# )?(\w+): (.*)$`)

// configurationPage lists the settings as --print-config prints them for the embedded digits.
func configurationPage(t *testing.T) string {
	text := "# Configuration files\n\n" + wrap("", "", "A configuration is a YAML file of names and values that "+
		"a command takes as `--config FILE`; flags override it. `--print-config` prints one with comments, and "+
		"`config.yaml` beside results is the one that was used. A setting is named like its flag, with "+
		"underscores. An unknown name is refused with the nearest one that is known. Values below are those for "+
		"the embedded digits; many depend on the data set.")
	eachCommand(commandTree(), func(c *cobra.Command) {
		if c.Flags().Lookup("print-config") == nil || c.Flags().Lookup("data") == nil {
			return
		}
		r := command(t.Context(), append(strings.Fields(c.CommandPath())[1:], "--print-config"))
		require.Equal(t, exitOK, r.code, r.stderr)
		text += fmt.Sprintf("\n## %s\n\n", c.CommandPath())
		found := setting.FindAllStringSubmatch(r.stdout, -1)
		require.Greater(t, len(found), 5)
		for _, s := range found {
			text += item(fmt.Sprintf("`%s: %s`: %s", s[2], s[3], s[1]))
		}
	})
	return text
}

func exitPage() string {
	text := "# Exit statuses\n\n"
	for code, meaning := range exitMeanings {
		text += item(fmt.Sprintf("`%d`: %s", code, meaning))
	}
	return text + "\n" + wrap("", "", "Errors go to standard error, in one line that begins with `bilevel:`. "+
		"Nothing that was there is lost: files are written whole or not at all.")
}

func indexPage(pages map[string]string) string {
	text := "# Reference\n\n" +
		wrap("", "", "These pages are made from the program itself, and a test holds them to it.") + "\n"
	for _, page := range [][2]string{
		{"configuration.md", "configuration files"}, {"formats.md", "file formats, read and written"},
		{"exit-statuses.md", "exit statuses"},
	} {
		text += item(fmt.Sprintf("[%s](%s)", page[1], page[0]))
	}
	text += "\n## Commands\n\n"
	eachCommand(commandTree(), func(c *cobra.Command) {
		text += item(fmt.Sprintf("[%s](%s): %s", c.CommandPath(), pageOf(c), lowered(c.Short)))
	})
	return text
}

func lowered(s string) string { return strings.ToLower(s[:1]) + s[1:] }

// item is one entry of a list.
func item(text string) string { return wrap("- ", "  ", text) }

// prose is a text of paragraphs whose lists, which are indented, stay as they are.
func prose(text string) string {
	out := ""
	for _, paragraph := range strings.Split(strings.TrimSpace(text), "\n\n") {
		var running []string
		flush := func() {
			if len(running) > 0 {
				out += wrap("", "", strings.Join(running, " "))
			}
			running = nil
		}
		for _, line := range strings.Split(paragraph, "\n") {
			if strings.HasPrefix(line, "  ") || strings.HasPrefix(line, "\t") {
				flush()
				out += wrap("    ", "        ", strings.TrimSpace(line))
				continue
			}
			running = append(running, line)
		}
		flush()
		out += "\n"
	}
	return strings.TrimSuffix(out, "\n")
}

// indent is a block of code.
func indent(text string) string {
	out := ""
	for _, line := range strings.Split(text, "\n") {
		out += "    " + strings.TrimSpace(line) + "\n"
	}
	return out
}

// wrap breaks a text into lines of at most so many columns.
func wrap(first, rest, text string) string {
	out, line := "", first
	for _, word := range strings.Fields(text) {
		switch {
		case line == first || line == rest:
			line += word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > referenceColumns:
			out, line = out+line+"\n", rest+word
		default:
			line += " " + word
		}
	}
	return out + line + "\n"
}
