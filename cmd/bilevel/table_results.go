package main

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"

	"bilevel/experiments/table"

	"github.com/spf13/cobra"
)

// writeTable writes the results of what is done so far.
func (a *app) writeTable(f *common, t *table.Table, folder *table.Folder) (*table.Result, error) {
	outcomes, err := folder.Outcomes(t)
	if err != nil {
		return nil, err
	}
	result := table.Summarize(t, outcomes)
	if result.Missing == 0 {
		if err := folder.Store.Unshare(); err != nil {
			return nil, err
		}
	}
	recipe, err := t.Recipe.YAML()
	if err != nil {
		return nil, err
	}
	if err := result.Write(f.out, versionText(), string(recipe)); err != nil {
		return nil, fmt.Errorf("results: %w", err)
	}
	return result, nil
}

// finishTable writes the results of what is done so far, and shows them.
func (a *app) finishTable(f *common, t *table.Table, folder *table.Folder) error {
	result, err := a.writeTable(f, t, folder)
	if err != nil {
		return err
	}
	if !f.quiet {
		var w io.Writer = a.stdout
		if f.json {
			w = a.stderr
		}
		if err := result.Show(w); err != nil {
			return err
		}
		fmt.Fprintf(w, "\ntable.csv, differences.csv, cells.csv, table.md, table.tex, report.html: %s\n", f.out)
	}
	if f.json {
		text, err := json.Marshal(result)
		if err != nil {
			return err
		}
		fmt.Fprintf(a.stdout, "%s\n", text)
	}
	if result.Failed > 0 {
		return fmt.Errorf("%d of %d cells failed; %s says why, and --retry runs them again",
			result.Failed, result.Cells, filepath.Join(f.out, "table.md"))
	}
	return nil
}

// mergeTables joins the folders of shards.
func (a *app) mergeTables() *cobra.Command {
	f := &common{}
	c := &cobra.Command{
		Use:   "merge FOLDER...",
		Short: "Join the folders of a table's shards, and write the results of what they have",
		Example: `  bilevel table optimizers --shard 1/2 --out part1
  bilevel table optimizers --shard 2/2 --out part2
  bilevel table merge part1 part2 --out whole`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, dirs []string) error {
			if len(dirs) == 0 {
				return usagef("table merge wants the folders of a table's shards")
			}
			if f.out == "" {
				f.out = dirs[0]
			}
			r, err := table.MergedRecipe(dirs, f.out)
			if err != nil {
				return err
			}
			t, err := table.Expand(r, a.tables(f, newSets(a.openData)))
			if err != nil {
				return err
			}
			if err := checkWritable(f.out); err != nil {
				return err
			}
			folder, err := table.Open(t, a.store(f.out))
			if err != nil {
				return err
			}
			if err := folder.Merge(t, dirs); err != nil {
				return err
			}
			if err := folder.Write(r); err != nil {
				return err
			}
			return a.finishTable(f, t, folder)
		},
	}
	f.registerResults(c, "folder of the whole table (default: the first one)")
	return c
}
