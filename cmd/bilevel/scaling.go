package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"bilevel/bench"
	"bilevel/device"

	"github.com/spf13/cobra"
)

func (a *app) scaling() *cobra.Command {
	f := &common{}
	o := bench.Scaling{}
	var seconds float64
	c := &cobra.Command{
		Use:   "scaling",
		Short: "Show how time grows with batch, width and threads",
		Long: `scaling times the gradient of a perceptron for growing batches, widths and numbers of threads, an
iteration of hyper-cleaning for growing batches, and the gradient of ResNet-20 for growing batches and numbers of
threads. The column time/work is the growth of the time since the row before,
divided by the growth of the work per thread: 1 means that time is proportional to work, and less than 1 that a fixed
overhead is spread over more work.`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if !(seconds >= 0) {
				return usagef("--seconds %g: wants 0 or more", seconds)
			}
			o.AtLeast = time.Duration(seconds * float64(time.Second))
			return a.runScaling(c, f, o)
		},
	}
	f.registerDevice(c)
	c.Flags().BoolVar(&f.json, "json", false, "end standard output with one line of JSON")
	c.Flags().StringVar(&f.out, "out", "", "folder for scaling.csv, scaling.svg and scaling.png (default none)")
	c.Flags().StringVar(&o.Only, "only", "",
		"measure only the series whose name contains this: "+strings.Join(bench.ScalingKeys(), ", "))
	c.Flags().IntVar(&o.Largest, "largest", bench.LargestScale, "the largest batch size and width to measure")
	c.Flags().Float64Var(&seconds, "seconds", 1, "measure each size for at least so many seconds")
	return c
}

func (a *app) runScaling(c *cobra.Command, f *common, o bench.Scaling) error {
	if err := o.Check(); err != nil {
		return usageError{err}
	}
	if f.out != "" {
		if err := checkWritable(f.out); err != nil {
			return err
		}
	}
	o.Open = func(threads int) (device.Device, error) {
		g := *f
		if threads > 0 {
			g.threads = threads
		}
		return g.openDevice()
	}
	var w io.Writer = a.stdout
	if f.json {
		w = a.stderr
	}
	r, err := o.Measure(c.Context(), w)
	if err != nil {
		if c.Context().Err() != nil {
			return errors.New("stopped by Ctrl-C or SIGTERM: no results were written")
		}
		return err
	}
	if f.out != "" {
		if err := r.Write(f.out); err != nil {
			return fmt.Errorf("results: %w", err)
		}
		fmt.Fprintf(w, "\nscaling.csv, scaling.svg and scaling.png: %s\n", f.out)
	}
	if !f.json {
		return nil
	}
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.stdout, "%s\n", text)
	return err
}
