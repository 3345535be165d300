package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sort"
	"strings"
	"text/tabwriter"
	"time"

	"bilevel/cpu"
	"bilevel/tensor"
)

// KernelTime is the row of a kernel in the table.
type KernelTime struct {
	Name         string  `json:"name"`
	Microseconds float64 `json:"us"` // the median over the measurements; the other figures follow from it
	GFlops       float64 `json:"gflop_s"`
	GBytes       float64 `json:"gb_s"`
	OfFlops      float64 `json:"of_flop_peak"` // GFlops as a fraction of the peak measured in the same run
	OfBandwidth  float64 `json:"of_triad"`     // GBytes as a fraction of the bandwidth measured in the same run
}

// KernelReport is the whole table.
type KernelReport struct {
	Device     string       `json:"device"`
	PeakGFlops float64      `json:"peak_gflop_s"` // of independent chains of fused multiply-adds on all threads
	TriadGB    float64      `json:"triad_gb_s"`   // of a = b + s·c on arrays larger than the caches
	Kernels    []KernelTime `json:"kernels"`
}

// prepare compiles a kernel.
func (k Kernel) prepare(ex *tensor.Executor) (*tensor.Function, error) {
	in := &inputs{ex: ex}
	build := k.Build(in)
	if in.err != nil {
		return nil, in.err
	}
	return ex.Compile(k.Name, build)
}

// MeasureKernels times the kernels whose name contains the string only, each for at least the given time, and measures
// the machine's peaks on as many threads as the device has. fresh makes a new executor for each kernel.
func MeasureKernels(fresh func() *tensor.Executor, only string, atLeast time.Duration) (*KernelReport, error) {
	ex := fresh()
	pool := cpu.NewPool(ex.Info().Threads, cpu.Detected())
	r := &KernelReport{Device: ex.Info().Name + " (" + ex.Info().Detail + ")"}
	r.PeakGFlops = cpu.PeakFlops(pool, 300*time.Millisecond) / 1e9
	r.TriadGB = cpu.PeakBandwidth(pool, 500*time.Millisecond) / 1e9
	pool.Close()
	for _, k := range Kernels() {
		if !strings.Contains(k.Name, only) {
			continue
		}
		t, err := k.measure(fresh(), atLeast)
		if err != nil {
			return nil, fmt.Errorf("bench: %s: %w", k.Name, err)
		}
		row := KernelTime{Name: k.Name, Microseconds: 1e6 * t, GFlops: k.Flops / t / 1e9, GBytes: k.Bytes / t / 1e9}
		row.OfFlops, row.OfBandwidth = row.GFlops/r.PeakGFlops, row.GBytes/r.TriadGB
		r.Kernels = append(r.Kernels, row)
	}
	return r, nil
}

// measure is the median time of one run. Between two readings of the clock there are many runs where a run is short.
func (k Kernel) measure(ex *tensor.Executor, atLeast time.Duration) (seconds float64, err error) {
	defer ex.Close()
	f, err := k.prepare(ex)
	if err != nil {
		return 0, err
	}
	runs := 1
	for { // until there are at least 50 µs between two readings
		begin := time.Now()
		if err := f.Run(runs); err != nil {
			return 0, err
		}
		if time.Since(begin) > 50*time.Microsecond || runs > 1<<20 {
			break
		}
		runs *= 2
	}
	var times []float64
	for start := time.Now(); len(times) < 5 || time.Since(start) < atLeast; {
		begin := time.Now()
		if err := f.Run(runs); err != nil {
			return 0, err
		}
		times = append(times, time.Since(begin).Seconds()/float64(runs))
	}
	slices.Sort(times)
	return times[len(times)/2], nil
}

// WriteTable prints the report for people.
func (r *KernelReport) WriteTable(w io.Writer) error {
	fmt.Fprintf(w, "%s: peak %.0f GFLOP/s, triad %.1f GB/s\n\n", r.Device, r.PeakGFlops, r.TriadGB)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "kernel\tµs\tGFLOP/s\tof peak\tGB/s\tof triad\t")
	for _, k := range r.Kernels {
		fmt.Fprintf(t, "%s\t%.2f\t%.1f\t%.0f %%\t%.1f\t%.0f %%\t\n",
			k.Name, k.Microseconds, k.GFlops, 100*k.OfFlops, k.GBytes, 100*k.OfBandwidth)
	}
	return t.Flush()
}

// Against prints how the times compare with those of an earlier report, the largest slowdown first, and counts the
// kernels that became slower by more than a tenth. Each time is taken relative to the peaks of its own report, so that
// reports from different machines or hours can be compared.
func (r *KernelReport) Against(earlier io.Reader, w io.Writer) (regressions int, err error) {
	var old KernelReport
	if err := json.NewDecoder(earlier).Decode(&old); err != nil {
		return 0, fmt.Errorf("not a report of bench kernels --json: %w", err)
	}
	before := make(map[string]KernelTime)
	for _, k := range old.Kernels {
		before[k.Name] = k
	}
	type change struct {
		name  string
		ratio float64 // of the times, relative to the peaks; above 1: slower than before
	}
	var changes []change
	for _, k := range r.Kernels {
		b, ok := before[k.Name]
		if !ok {
			continue
		}
		was, is := max(b.OfFlops, b.OfBandwidth), max(k.OfFlops, k.OfBandwidth)
		if was > 0 && is > 0 {
			changes = append(changes, change{k.Name, was / is})
		}
	}
	sort.Slice(changes, func(i, j int) bool { return changes[i].ratio > changes[j].ratio })
	for _, c := range changes {
		mark := ""
		if c.ratio > 1.1 {
			mark = "  slower"
			regressions++
		}
		fmt.Fprintf(w, "%-32s %.2f times the time before%s\n", c.name, c.ratio, mark)
	}
	return regressions, nil
}
