package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"bilevel/bench"
	"bilevel/tensor"

	"github.com/spf13/cobra"
)

// benchmarks is the command that groups the measurements.
func (a *app) benchmarks() *cobra.Command {
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure the hot loops, the kernels and the scaling of a device",
	}
	groupOf(c, a.hotLoops(), a.convLoops(), a.kernels(), a.scaling())
	return c
}

func (a *app) hotLoops() *cobra.Command {
	return a.loops("hotloops", "Time the hot loops that bench/peers/hotloops.py times in JAX", bench.HotLoops())
}

func (a *app) convLoops() *cobra.Command {
	return a.loops("convloops",
		"Time the convolutional layers and networks that bench/peers/convloops.py times in PyTorch and JAX",
		bench.ConvLoops())
}

// loops is a command that times workloads, or says where their time goes.
func (a *app) loops(use, short string, workloads []bench.Workload) *cobra.Command {
	f := &common{}
	var only string
	var seconds float64
	var profile bool
	c := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if !(seconds >= 0) {
				return usagef("--seconds %g: wants 0 or more", seconds)
			}
			if profile && f.json {
				return usagef("--profile prints tables, not JSON: leave out one of --profile and --json")
			}
			chosen, err := bench.Choose(workloads, only)
			if err != nil {
				return usageError{err}
			}
			var p bench.Profile
			if profile {
				f.observe = p.Observe
			}
			dev, err := f.openDevice()
			if err != nil {
				return err
			}
			defer dev.Close()
			fresh := func() *tensor.Executor { return tensor.NewExecutor(dev) }
			atLeast := time.Duration(seconds * float64(time.Second))
			if profile {
				return p.Write(a.stdout, chosen, fresh, atLeast)
			}
			progress := func(key string, ms float64) {
				w := a.stdout
				if f.json {
					w = a.stderr
				}
				fmt.Fprintf(w, "%-24s %10.4f ms\n", key, ms)
			}
			r, err := bench.Time(chosen, fresh, atLeast, progress)
			if err != nil || !f.json {
				return err
			}
			text, err := json.Marshal(r)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.stdout, "%s\n", text)
			return err
		},
	}
	f.registerDevice(c)
	f.registerMatmul(c)
	c.Flags().BoolVar(&f.json, "json", false, `end standard output with one line {"ms": …, "check": …}`)
	c.Flags().StringVar(&only, "only", "",
		"time only the loops whose name contains this, or one of several, separated by commas")
	c.Flags().Float64Var(&seconds, "seconds", 1, "time each loop for at least so many seconds")
	c.Flags().BoolVar(&profile, "profile", false, "print where the time of each loop goes, by kind of operation; the "+
		"cpu device alone can tell")
	return c
}

func (a *app) kernels() *cobra.Command {
	f := &common{}
	var only, against string
	var seconds float64
	c := &cobra.Command{
		Use:   "kernels",
		Short: "Time every kernel beside the peaks of this machine",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if !(seconds >= 0) {
				return usagef("--seconds %g: wants 0 or more", seconds)
			}
			var earlier []byte
			if against != "" {
				var err error
				if earlier, err = os.ReadFile(against); err != nil {
					return err
				}
			}
			dev, err := f.openDevice()
			if err != nil {
				return err
			}
			defer dev.Close()
			fresh := func() *tensor.Executor { return tensor.NewExecutor(dev) }
			r, err := bench.MeasureKernels(fresh, only, time.Duration(seconds*float64(time.Second)))
			if err != nil {
				return err
			}
			return a.reportKernels(f, r, earlier)
		},
	}
	f.registerDevice(c)
	c.Flags().BoolVar(&f.json, "json", false, "end standard output with one line of JSON")
	c.Flags().StringVar(&only, "only", "", "time only the kernels whose name contains this")
	c.Flags().Float64Var(&seconds, "seconds", 0.2, "time each kernel for at least so many seconds")
	c.Flags().StringVar(&against, "against", "", "an earlier output of --json to compare with; "+
		"the exit status is 1 if a kernel became slower by more than a tenth")
	return c
}

// reportKernels prints the report and, where there is one, the comparison with an earlier report. Its error says how
// many kernels became slower.
func (a *app) reportKernels(f *common, r *bench.KernelReport, earlier []byte) error {
	w := a.stdout
	if f.json {
		w = a.stderr
	}
	if err := r.WriteTable(w); err != nil {
		return err
	}
	slower := 0
	if earlier != nil {
		var err error
		if slower, err = r.Against(bytes.NewReader(earlier), w); err != nil {
			return usageError{err}
		}
	}
	if f.json {
		text, err := json.Marshal(r)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(a.stdout, "%s\n", text); err != nil {
			return err
		}
	}
	if slower > 0 {
		return fmt.Errorf("%d kernels are slower than before", slower)
	}
	return nil
}
