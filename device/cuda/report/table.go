package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// WriteTable prints the report for people.
func (r *Report) WriteTable(w io.Writer) error {
	c := r.Card
	fmt.Fprintf(
		w, "%s: compute capability %s, %d multiprocessors at up to %d MHz, %.1f GB", c.Name, c.Capability, c.Processors,
		c.ClockMHz, float64(c.MemoryBytes)/1e9,
	)
	if c.BusBits > 0 {
		fmt.Fprintf(
			w, " at %d MHz on %d bits, %.0f MB of L2 cache", c.MemoryClockMHz, c.BusBits, float64(c.L2Bytes)/1e6,
		)
	}
	fmt.Fprintf(w, "; driver for CUDA %s\n", c.Driver)
	if m := r.Model; m != nil {
		fmt.Fprintf(
			w, "peaks: %.1f TFLOP/s float32, %.0f TFLOP/s TF32, %.2f TB/s memory (as the %s: %s)\n", m.FP32/1e12,
			m.TF32/1e12, m.DRAM/1e12, m.Like, m.Source,
		)
		fmt.Fprintf(w, "assumed: %s\n", strings.Join(m.Assumed, "; "))
	} else {
		fmt.Fprintf(w, "peaks and estimates: no known card is like this one\n")
	}
	fmt.Fprintf(w, "%s\n\n", r.Timing)
	label := "of peak"
	if c.Simulated {
		label = "of peak (simulated)"
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "operation\tsize\tshape\tµs\tGFLOP/s\tGB/s\t%s\testimate µs\ttime/estimate\tkernels\n", label)
	for _, k := range r.Kernels {
		fmt.Fprintf(t, "%s\t%s\t%s\t", k.Name, k.Size, k.Shape)
		if k.Seconds == nil {
			fmt.Fprintf(t, "failed: %s\n", k.Error)
			continue
		}
		fmt.Fprintf(
			t, "%s\t%s\t%.1f\t%s\t%s\t%s\t%s\n", number("%.2f", 1e6, k.Seconds), rate(k.FLOP, *k.Seconds),
			k.Bytes / *k.Seconds / 1e9, strings.TrimSpace(number("%.1f %%", 100, k.OfPeak)+" "+k.Bound),
			number("%.2f", 1e6, k.Estimate), number("%.2f", 1, k.Ratio), strings.Join(k.Kernels, " "),
		)
		if k.Error != "" {
			fmt.Fprintf(t, "\t\tno estimate: %s\n", k.Error)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	how := "compiled by the driver"
	if c.Simulated {
		how = "read by the simulator"
	}
	fmt.Fprintf(w, "\nmodules, %s:\n", how)
	slowest := slices.Clone(r.Modules)
	slices.SortStableFunc(slowest, func(a, b Module) int { return int(1e9 * (b.Seconds - a.Seconds)) })
	t = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, m := range slowest {
		fmt.Fprintf(t, "  %s\t%.1f KB of PTX\t%.1f ms\n", m.Name, float64(m.Bytes)/1e3, 1e3*m.Seconds)
	}
	return t.Flush()
}

// number is a figure in other units, a dash where it is not known.
func number(format string, unit float64, x *float64) string {
	if x == nil {
		return "–"
	}
	return fmt.Sprintf(format, unit**x)
}

func rate(flop, seconds float64) string {
	if flop == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f", flop/seconds/1e9)
}
