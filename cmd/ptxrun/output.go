package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"bilevel/internal/ptx"
)

// output prints what a run found.
func output(w io.Writer, opt *options, r *ptx.Result) error {
	if r.Reports == nil {
		r.Reports = []ptx.Report{} // [] in JSON
	}
	if opt.json {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		return enc.Encode(r)
	}
	for _, report := range r.Reports {
		if _, err := fmt.Fprintln(w, report); err != nil {
			return err
		}
	}
	if opt.sanitize {
		if _, err := fmt.Fprintf(w, "%s: %s\n", opt.entry, plural(len(r.Reports), "report")); err != nil {
			return err
		}
	}
	if opt.counters {
		return counters(w, &r.Counters)
	}
	return nil
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// counters prints a table. Ratios come with what they are made of.
func counters(w io.Writer, c *ptx.Counters) error {
	var table bytes.Buffer
	t := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	row := func(name string, value any, note string, args ...any) {
		fmt.Fprintf(t, "%s\t%v\t%s\n", name, value, fmt.Sprintf(note, args...))
	}
	row("threads", c.Threads, "%d blocks, %d warps", c.Blocks, c.Warps)
	row("warp instructions", c.WarpInstructions, "%d of threads, %.1f %% of lanes busy", c.ThreadInstructions, 100*c.SIMTEfficiency)
	for _, class := range slices.Sorted(maps.Keys(c.ByClass)) {
		row("  "+class, c.ByClass[class], "")
	}
	row("branches", c.Branches, "%d of them divergent", c.DivergentBranches)
	row("float operations", c.FLOP32+c.FLOP64+c.FLOP16+c.FLOPTensor, "f32 %d, f64 %d, f16 %d, tensor %d (tf32 %d)", c.FLOP32, c.FLOP64, c.FLOP16, c.FLOPTensor, c.FLOPTF32)
	for _, g := range []struct {
		name string
		ptx.Requests
	}{{"global loads", c.GlobalLoads}, {"global stores", c.GlobalStores}} {
		row(g.name, g.Requests.Requests, "%d bytes in %d sectors of 32 bytes, %d would do", g.Bytes, g.Sectors, g.Ideal)
	}
	row("shared accesses", c.Shared.Requests, "%d wavefronts, %d of them bank conflicts", c.Shared.Wavefronts, c.Shared.Conflicts)
	row("asynchronous copies", c.Async, "bytes")
	row("atomics", c.Atomics, "of threads")
	row("barriers", c.Barriers, "arrivals of warps")
	for _, name := range slices.Sorted(maps.Keys(c.UniqueBytes)) {
		row("touched of "+name, c.UniqueBytes[name], "bytes, in whole sectors")
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(table.String()) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}
