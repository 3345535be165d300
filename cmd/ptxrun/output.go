package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"bilevel/internal/ptx"
)

// A finding is what a launch found.
type finding struct {
	*ptx.Result
	Estimate *ptx.Estimate `json:"estimate,omitempty"` // nil: not asked for
	Kernel   string        `json:"kernel,omitempty"`   // where there are several launches
}

// findings are what all launches found, and which results are not those expected.
type findings struct {
	launches   []finding
	mismatches []mismatch
}

// encode prints findings as one object of JSON: the keys of a launch beside each other where there is one, else a list.
func encode(w io.Writer, r findings) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for i := range r.launches {
		if l := r.launches[i].Result; l.Reports == nil {
			l.Reports = []ptx.Report{} // [] in JSON
		}
	}
	if len(r.launches) > 1 {
		return enc.Encode(struct {
			Launches   []finding  `json:"launches"`
			Mismatches []mismatch `json:"mismatches,omitempty"`
		}{r.launches, r.mismatches})
	}
	one := r.launches[0]
	one.Kernel = ""
	return enc.Encode(struct {
		finding
		Mismatches []mismatch `json:"mismatches,omitempty"`
	}{one, r.mismatches})
}

// output prints what a run found.
func output(w io.Writer, opt *options, r findings) error {
	if opt.json {
		return encode(w, r)
	}
	for _, l := range r.launches {
		if err := outputLaunch(w, opt, l); err != nil {
			return err
		}
	}
	for _, m := range r.mismatches {
		if _, err := fmt.Fprintln(w, m); err != nil {
			return err
		}
	}
	return nil
}

func outputLaunch(w io.Writer, opt *options, r finding) error {
	for _, report := range r.Reports {
		if _, err := fmt.Fprintln(w, report); err != nil {
			return err
		}
	}
	if opt.sanitize {
		if _, err := fmt.Fprintf(w, "%s: %s\n", r.Kernel, opt.checks.summary(r.Reports)); err != nil {
			return err
		}
	}
	if opt.counters {
		return table(w, func(row rowFunc) {
			counters(row, &r.Counters)
			if r.Estimate != nil {
				estimate(row, r.Estimate)
			}
		})
	}
	return nil
}

// A rowFunc adds a row to a table: a name, a value and what explains it.
type rowFunc func(name string, value any, note string, args ...any)

// table prints rows in columns.
func table(w io.Writer, fill func(row rowFunc)) error {
	var text bytes.Buffer
	t := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fill(func(name string, value any, note string, args ...any) {
		fmt.Fprintf(t, "%s\t%v\t%s\n", name, value, fmt.Sprintf(note, args...))
	})
	if err := t.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(text.String()) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// counters lists the counters. Ratios come with what they are made of.
func counters(row rowFunc, c *ptx.Counters) {
	row("threads", c.Threads, "%d blocks, %d warps", c.Blocks, c.Warps)
	row("warp instructions", c.WarpInstructions, "%d of threads, %.1f %% of lanes busy", c.ThreadInstructions,
		100*c.SIMTEfficiency)
	for _, class := range slices.Sorted(maps.Keys(c.ByClass)) {
		row("  "+class, c.ByClass[class], "")
	}
	row("branches", c.Branches, "%d of them divergent", c.DivergentBranches)
	row("float operations", c.FLOP32+c.FLOP64+c.FLOP16+c.FLOPTensor, "f32 %d, f64 %d, f16 %d, tensor %d (tf32 %d)",
		c.FLOP32, c.FLOP64, c.FLOP16, c.FLOPTensor, c.FLOPTF32)
	for _, g := range []struct {
		name string
		ptx.Requests
	}{{"global loads", c.GlobalLoads}, {"global stores", c.GlobalStores}} {
		row(g.name, g.Requests.Requests, "%d bytes in %d sectors of 32 bytes, %d would do", g.Bytes, g.Sectors, g.Ideal)
	}
	row("shared accesses", c.Shared.Requests, "%d wavefronts, %d of them bank conflicts", c.Shared.Wavefronts,
		c.Shared.Conflicts)
	row("asynchronous copies", c.Async, "bytes")
	row("atomics", c.Atomics, "of threads")
	row("barriers", c.Barriers, "arrivals of warps")
	for _, name := range slices.Sorted(maps.Keys(c.UniqueBytes)) {
		row("touched of "+name, c.UniqueBytes[name], "bytes, in whole sectors")
	}
}

// estimate lists the terms of an estimate that are not zero, the largest first.
func estimate(row rowFunc, e *ptx.Estimate) {
	row("estimated time", microseconds(e.Seconds), "on %s, if %s were its only limit: no measurement", e.Card, e.Limit)
	terms := slices.SortedFunc(maps.Keys(e.Terms), func(a, b string) int {
		return cmp.Or(cmp.Compare(e.Terms[b], e.Terms[a]), cmp.Compare(a, b))
	})
	for _, name := range terms {
		if e.Terms[name] > 0 {
			row("  "+name, microseconds(e.Terms[name]), "")
		}
	}
	row("  launch", microseconds(e.Launch), "")
	row("estimated occupancy", fmt.Sprintf("%.0f %%", 100*e.Occupancy), "%d blocks on an SM", e.Resident)
	for _, what := range e.Assumed {
		row("assumed", "", "%s", what)
	}
	row("source", "", "%s", e.Source)
}

func microseconds(t float64) string { return fmt.Sprintf("%.3g µs", 1e6*t) }
