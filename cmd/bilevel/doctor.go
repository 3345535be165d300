package main

import (
	"cmp"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"bilevel/data"
	"bilevel/device"
	"bilevel/device/cuda/report"
	"bilevel/device/devicetest"
	"bilevel/device/open"

	"github.com/spf13/cobra"
)

// selfTest is how long doctor tests each device when no device is named.
const selfTest = time.Second

func (a *app) doctor() *cobra.Command {
	f := &common{}
	c := &cobra.Command{
		Use: "doctor",
		Short: "Show devices, threads and data sets, and test each device for a second; " +
			"with --device test one thoroughly",
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if c.Flags().Changed("device") {
				return a.examineDevice(c.Context(), f, devicetest.Cases(), report.Options{})
			}
			for _, name := range []string{"threads", "json", "out", "quiet"} {
				if c.Flags().Changed(name) {
					return usagef("--%s is for one device: give --device too", name)
				}
			}
			return a.overview()
		},
	}
	f.registerDevice(c)
	device := c.Flags().Lookup("device")
	device.DefValue = ""
	device.Usage = "run the whole conformance suite on " + device.Usage + ", and measure every kernel of a card"
	c.Flags().StringVar(&f.out, "out", "", "folder to write report.json to")
	c.Flags().BoolVar(&f.json, "json", false,
		"end standard output with the report as one line of JSON; the rest goes to standard error")
	c.Flags().BoolVar(&f.quiet, "quiet", false, "no progress and no table")
	return c
}

// overview lists the devices, each with the result of a short test, and the data sets.
func (a *app) overview() error {
	fmt.Fprintf(a.stdout, "%s %s/%s, %d processors, GOMAXPROCS %d\n\ndevices\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.GOMAXPROCS(0))
	var broken []string
	for _, c := range open.List() {
		if c.Err != nil {
			fmt.Fprintf(a.stdout, "  %-9s %v\n", c.Name, c.Err)
			continue
		}
		verdict, ok := test(c.Name)
		if !ok {
			broken = append(broken, c.Name)
		}
		unit := "threads"
		if strings.HasPrefix(c.Name, "cuda") {
			unit = "multiprocessors"
		}
		fmt.Fprintf(a.stdout, "  %-9s %s, %d %s, %d-bit; %s\n",
			c.Name, c.Info.Detail, c.Info.Threads, unit, c.Info.RealBits, verdict)
	}
	fmt.Fprintf(a.stdout, "\ndata\n")
	for _, name := range data.Names() {
		fmt.Fprintf(a.stdout, "  %-14s %s\n", name, a.whereIs(name))
	}
	if len(broken) > 0 {
		return fmt.Errorf("doctor: wrong results on %s", strings.Join(broken, ", "))
	}
	return nil
}

// test opens a device and runs conformance cases on it for a second.
func test(name string) (verdict string, ok bool) {
	dev, err := open.Open(name, open.Options{})
	if err != nil {
		return "does not open again: " + err.Error(), false
	}
	defer dev.Close()
	return conformance(dev, devicetest.Cases())
}

// conformance runs cases on a device until the time of selfTest is over.
func conformance(dev device.Device, cases []devicetest.Case) (verdict string, ok bool) {
	begin, done, wrong := time.Now(), 0, 0
	var first error
	// Neighbouring cases are alike. A stride without a common divisor with the number of cases reaches different kinds
	// of cases early, and every case in the end.
	for i := 0; i < len(cases) && time.Since(begin) < selfTest; i++ {
		c := cases[i*101%len(cases)]
		if err := c.Run(dev); err != nil {
			first = cmp.Or(first, fmt.Errorf("%s: %w", c.Name, err))
			wrong++
		}
		done++
	}
	if wrong > 0 {
		return fmt.Sprintf("WRONG in %d of %d self-tests, such as %v", wrong, done, first), false
	}
	verdict = fmt.Sprintf("%d of %d self-tests passed in %.1f s", done, done, time.Since(begin).Seconds())
	if done < len(cases) {
		verdict += fmt.Sprintf(" (--device runs all %d)", len(cases))
	}
	return verdict, true
}

// whereIs tells where a data set is found.
func (a *app) whereIs(name string) string {
	if name == "digits" {
		return "embedded"
	}
	folders := data.Folders(name, a.env)
	for _, dir := range folders {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return dir
		}
	}
	return fmt.Sprintf("not found in %v; bilevel data get %s", folders, name)
}
