package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"bilevel/experiments/audit"
	"bilevel/experiments/table"
	"bilevel/internal/atomicfile"

	"github.com/spf13/cobra"
)

// auditFlags are the flags of `bilevel audit`.
type auditFlags struct {
	tableFlags
	quick bool
	parts []string
}

func (a *app) audit() *cobra.Command {
	f := &auditFlags{}
	c := &cobra.Command{
		Use:   "audit",
		Short: "Measure what the implicit term of the hypergradient does in every application",
		Long: `audit runs bi-level methods without the implicit term C v, as they are published, and with the exact
term, in applications and on problems where the term must win and where it cannot. All variants of a part have the same
budget, the same number of settings tried, and the same seeds. For each it shows the share of the term in the certified
hypergradient, the cosine of the angle between that and the direction that x moves along, the measure of the
application, its paired difference to the run without the term with a 95 % interval, and what it cost. audit.md is the
page, the same bytes on every run; seconds.md has what the clock says. Each part lies in a folder as those of bilevel
table do, and the same command goes on where it was stopped. --quick has small networks on the digits that come with
the program; without it the sets mnist, fashion-mnist, ijcnn1 and adult have to be there (bilevel data get).`,
		Example: `  bilevel audit --quick
  bilevel audit --quick --dry-run
  bilevel audit --quick --part quadratic --part aligned --seeds 3`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return a.runAudit(c.Context(), f) },
	}
	fs := c.Flags()
	fs.SortFlags = false
	fs.BoolVar(&f.quick, "quick", false, "small networks on the digits, in 20 minutes on two cores")
	fs.StringArrayVar(&f.parts, "part", nil, "only the part of this name; repeat it for more")
	fs.IntVar(&f.seeds, "seeds", 0, "run with the seeds 1 to N (default: the parts' own, 5 or 10)")
	fs.IntVar(&f.workers, "workers", 1, "processes that work beside each other")
	fs.BoolVar(&f.dry, "dry-run", false, "print the cells that are to be run next and what they are expected to "+
		"take, and run no more than a short trial of each row")
	f.registerCells(c, "folder of results (default results/audit, with --quick results/audit-quick)")
	return c
}

// runAudit works off the parts, one after the other, and writes the page.
func (a *app) runAudit(ctx context.Context, f *auditFlags) error {
	shard, err := f.checkTable()
	if err != nil {
		return err
	}
	parts, err := audit.Parts(f.quick)
	if err == nil {
		parts, err = audit.Chosen(parts, f.parts)
	}
	if err != nil {
		return err
	}
	page := &audit.Page{Size: "full"}
	if f.quick {
		page.Size = "quick"
	}
	if f.out == "" {
		f.out = filepath.Join("results", "audit")
		if f.quick {
			f.out += "-quick"
		}
	}
	failed, s := 0, a.sets(&f.tableFlags)
	for _, p := range parts {
		if f.seeds != 0 {
			p.Recipe.Seeds = table.FirstSeeds(f.seeds)
		}
		r, err := a.auditPart(ctx, f, p, shard, s)
		if err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
		if r != nil {
			page.Add(p, r)
			failed += r.Failed
		}
	}
	if f.dry {
		return nil
	}
	return a.finishAudit(f, page, failed)
}

// auditPart does a part in a folder of its own. The result is nil after a dry run.
func (a *app) auditPart(ctx context.Context, f *auditFlags, p audit.Part, shard table.Shard, s *sets) (
	*table.Result, error) {
	of := f.tableFlags
	of.out = filepath.Join(f.out, p.Name)
	t, folder, err := a.workOff(ctx, &of, p.Recipe, shard, s)
	if t == nil || err != nil {
		return nil, err
	}
	return a.writeTable(&of.common, t, folder)
}

// finishAudit writes the page and shows it.
func (a *app) finishAudit(f *auditFlags, page *audit.Page, failed int) error {
	err := errors.Join(
		atomicfile.Write(filepath.Join(f.out, "audit.md"), page.Markdown),
		atomicfile.Write(filepath.Join(f.out, "seconds.md"), page.Clock))
	text, err2 := json.Marshal(page)
	if err = errors.Join(err, err2); err != nil {
		return fmt.Errorf("results: %w", err)
	}
	if !f.quiet {
		b := &strings.Builder{}
		if err := errors.Join(page.Markdown(b), page.Clock(b)); err != nil {
			return err
		}
		w := a.stdout
		if f.json {
			w = a.stderr
		}
		fmt.Fprintf(w, "%s\naudit.md, seconds.md, and a folder for each part: %s\n", b, f.out)
	}
	if f.json {
		fmt.Fprintf(a.stdout, "%s\n", text)
	}
	if failed > 0 {
		return fmt.Errorf("%d cells failed; table.md in the folders of %s says why, and --retry runs them again",
			failed, f.out)
	}
	return nil
}
