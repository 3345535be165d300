package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"bilevel/data"
	"bilevel/data/fetch"
	"bilevel/internal/nearest"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
)

func (a *app) data() *cobra.Command {
	c := &cobra.Command{
		Use:   "data",
		Short: "Get, list and verify the data sets that are known by name",
		Long: `data gets the data sets that other commands know by name (--data NAME), lists them, and checks those on
this machine. They are put into $BILEVEL_DATA/NAME where the variable is set, else into the user's cache.`,
	}
	groupOf(c, a.dataGet(), a.dataList(), a.dataVerify())
	return c
}

// setsNamed finds sets by their names.
func setsNamed(names []string) ([]fetch.Set, error) {
	var sets []fetch.Set
	for _, name := range names {
		set, ok := fetch.Find(name)
		if !ok && name == "digits" {
			return nil, usagef("digits is embedded in this program: there is nothing to get, and nothing to verify")
		}
		if !ok {
			return nil, usagef("unknown data set %q%s (bilevel data list lists them)", name,
				nearest.Hint(name, data.Names()))
		}
		sets = append(sets, set)
	}
	return sets, nil
}

func (a *app) dataGet() *cobra.Command {
	var all, quiet bool
	c := &cobra.Command{
		Use:   "get NAME…",
		Short: "Download data sets",
		Long: `get downloads data sets, each whole or not at all: what a broken or stopped download left is continued by
the same command. Downloads are checked by the sums that are published; where none is, this machine's first download is
recorded in NAME.sums.json beside the set's folder, and later ones are compared with it. A set that is there already is
left alone.`,
		Example: `  bilevel data get mnist
  bilevel data get --all`,
		ValidArgs: data.Names(),
		RunE: func(c *cobra.Command, names []string) error {
			sets, err := setsNamed(names)
			switch {
			case err != nil:
				return err
			case all && len(names) > 0:
				return usagef("give names or --all, not both")
			case !all && len(names) == 0:
				return usagef("which data set? bilevel data list lists them; --all gets all of them")
			case all:
				sets = fetch.Sets()
			}
			root, err := fetch.Root(a.env)
			if err != nil {
				return err
			}
			return a.getSets(c.Context(), sets, fetch.Options{Root: root}, quiet)
		},
	}
	c.Flags().BoolVar(&all, "all", false, "every set that is known")
	c.Flags().BoolVar(&quiet, "quiet", false, "no progress and no sums")
	return c
}

// getSets gets sets one after the other. One that fails does not keep the others from being tried.
func (a *app) getSets(ctx context.Context, sets []fetch.Set, o fetch.Options, quiet bool) error {
	p := newByteProgress(a.stderr, quiet)
	o.Begin, o.Progress = p.begin, p.set
	o.Say = func(line string) {
		p.end()
		if !quiet {
			fmt.Fprintln(a.stderr, line)
		}
	}
	var failed []error
	for _, set := range sets {
		dir, got, err := set.Get(ctx, o)
		p.end()
		switch {
		case ctx.Err() != nil:
			return errors.New(
				"stopped by Ctrl-C or SIGTERM: what was fetched is kept, and the same command goes on from there",
			)
		case err != nil:
			failed = append(failed, err)
		case quiet:
		case got:
			fmt.Fprintf(a.stdout, "%s: %s (%s)\n", set.Name, dir, set.Terms)
		default:
			fmt.Fprintf(a.stdout, "%s: %s is there already\n", set.Name, dir)
		}
	}
	switch len(failed) {
	case 0:
		return nil
	case 1:
		return failed[0]
	}
	var texts []string
	for _, err := range failed {
		texts = append(texts, err.Error())
	}
	return fmt.Errorf("%d of %d sets were not got: %s", len(failed), len(sets), strings.Join(texts, "; "))
}

func (a *app) dataList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "Show the data sets that are known by name, and where they are",
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintf(w, "name\twhat\trows\tdownload\twhere\n")
			fmt.Fprintf(w, "digits\thandwritten digits, 8×8\t1797\t\tembedded\n")
			for _, set := range fetch.Sets() {
				where := "bilevel data get " + set.Name
				if dir := a.folderOf(set.Name); dir != "" {
					where = dir
				}
				fmt.Fprintf(w, "%s\t%s\t%d + %d\t%s\t%s\n", set.Name, set.Title, set.Train, set.Test,
					megabytes(set.Bytes), where)
			}
			return w.Flush()
		},
	}
}

func megabytes(n int64) string { return fmt.Sprintf("%.0f MB", float64(n)/1e6) }

// folderOf is the folder in which a set lies on this machine, or "".
func (a *app) folderOf(name string) string {
	for _, dir := range data.Folders(name, a.env) {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return dir
		}
	}
	return ""
}

func (a *app) dataVerify() *cobra.Command {
	var sums bool
	c := &cobra.Command{
		Use:   "verify [NAME…]",
		Short: "Check data sets on this machine by their unpacked content",
		Long: `verify reads data sets, counts their rows, and compares the SHA-256 of their unpacked content, so that a
copy that was compressed anew is as good, with that of the releases that are known, or with this machine's first
download. Without names it checks all sets that are here.`,
		ValidArgs: data.Names(),
		RunE: func(_ *cobra.Command, names []string) error {
			sets, err := setsNamed(names)
			if err != nil {
				return err
			}
			if len(names) == 0 {
				for _, set := range fetch.Sets() {
					if a.folderOf(set.Name) != "" {
						sets = append(sets, set)
					}
				}
			}
			if len(sets) == 0 {
				fmt.Fprintln(a.stdout,
					"no data set is on this machine but digits, which is embedded; bilevel data list lists them")
				return nil
			}
			return a.verifySets(sets, sums)
		},
	}
	c.Flags().BoolVar(&sums, "sums", false, "show the SHA-256 of each unpacked file")
	return c
}

func (a *app) verifySets(sets []fetch.Set, sums bool) error {
	var bad []string
	for _, set := range sets {
		dir := a.folderOf(set.Name)
		if dir == "" {
			return &data.NotFoundError{Name: set.Name, Looked: data.Folders(set.Name, a.env),
				Unset: a.env(data.EnvFolder) == ""}
		}
		v, err := set.Verify(filepath.Dir(dir), dir)
		if err != nil {
			v.Says = "bad: " + err.Error()
		}
		if err != nil || !v.Good {
			bad = append(bad, set.Name)
		}
		fmt.Fprintf(a.stdout, "%s: %s\n", set.Name, v.Says)
		if !sums {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(v.Contents)) {
			fmt.Fprintf(a.stdout, "  %s  %s\n", v.Contents[name], name)
		}
	}
	if len(bad) > 0 {
		return fmt.Errorf("not as published: %s", strings.Join(bad, ", "))
	}
	return nil
}

// byteProgress shows how far a download is: a bar on a terminal, a line every few seconds elsewhere.
type byteProgress struct {
	w               io.Writer
	quiet, terminal bool
	what            string
	bar             *progressbar.ProgressBar
	last            time.Time
}

func newByteProgress(w io.Writer, quiet bool) *byteProgress {
	return &byteProgress{w: w, quiet: quiet, terminal: onTerminal(w)}
}

func (p *byteProgress) begin(what string) {
	p.end()
	p.what, p.last = what, time.Now()
}

func (p *byteProgress) set(done, total int64) {
	if p.quiet {
		return
	}
	if p.terminal {
		if p.bar == nil {
			p.bar = newBar(p.w, max(total, -1), p.what, progressbar.OptionShowBytes(true))
		}
		p.bar.Set64(done)
		return
	}
	if time.Since(p.last) < plainEvery {
		return
	}
	p.last = time.Now()
	of := ""
	if total > 0 {
		of = " of " + megabytes(total)
	}
	fmt.Fprintf(p.w, "%s: %s%s\n", p.what, megabytes(done), of)
}

func (p *byteProgress) end() {
	if p.bar != nil {
		p.bar.Finish()
		p.bar = nil
	}
}
