package main

import (
	"encoding/json"
	"fmt"
	"time"

	"bilevel/bench"
	"bilevel/tensor"

	"github.com/spf13/cobra"
)

// benchmarks is the command that measures.
func (a *app) benchmarks() *cobra.Command {
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure the hot loops and the kernels of a device",
	}
	groupOf(c, a.hotLoops())
	return c
}

func (a *app) hotLoops() *cobra.Command {
	f := &common{}
	var only string
	var seconds float64
	c := &cobra.Command{
		Use:   "hotloops",
		Short: "Time the hot loops that bench/peers/hotloops.py times in JAX",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if !(seconds >= 0) {
				return usagef("--seconds %g: wants 0 or more", seconds)
			}
			dev, err := f.openDevice()
			if err != nil {
				return err
			}
			defer dev.Close()
			fresh := func() *tensor.Executor { return tensor.NewExecutor(dev) }
			r, err := bench.HotLoops(fresh, only, time.Duration(seconds*float64(time.Second)), func(key string, ms float64) {
				w := a.stdout
				if f.json {
					w = a.stderr
				}
				fmt.Fprintf(w, "%-24s %10.4f ms\n", key, ms)
			})
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
	c.Flags().BoolVar(&f.json, "json", false, `end standard output with one line {"ms": …, "check": …}`)
	c.Flags().StringVar(&only, "only", "", "only the loops whose name contains this")
	c.Flags().Float64Var(&seconds, "seconds", 1, "at least so long for each")
	return c
}
