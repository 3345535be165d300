package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"bilevel/data"
	"bilevel/data/fetch"
	"bilevel/device"
	"bilevel/device/open"
	"bilevel/experiments/robust"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// maxThreads is more than any machine has. There is a limit because each thread takes memory of its own.
const maxThreads = 1 << 12

// common are the flags that every experiment has.
type common struct {
	device  string
	threads int
	memory  string
	matmul  string
	seed    uint64
	data    string
	label   string
	bytes   bool // data that are bytes stay bytes
	wide    bool // see data.Options
	out     string
	json    bool
	quiet   bool
	command *cobra.Command
	observe device.Observer // of the processor
}

func (f *common) register(c *cobra.Command, dataUsage string) {
	fs := c.Flags()
	fs.SortFlags = false
	fs.StringVar(&f.data, "data", "digits", dataUsage)
	completes(c, "data", data.Names()...)
	fs.StringVar(&f.label, "label", "",
		"the label column of a table (CSV, TSV) given as --data; A,B,… where it is one-hot")
	f.registerDevice(c)
	f.registerMemory(c)
	f.registerMatmul(c)
	fs.Uint64Var(&f.seed, "seed", 1, "seed of every random choice (the first, with several)")
	f.registerResults(c, "folder of results (default results/COMMAND-DATA)")
}

// registerResults adds the flags that say where results go.
func (f *common) registerResults(c *cobra.Command, outUsage string) {
	fs := c.Flags()
	fs.StringVar(&f.out, "out", "", outUsage)
	fs.BoolVar(&f.json, "json", false, "end standard output with one line of JSON; the rest goes to standard error")
	fs.BoolVar(&f.quiet, "quiet", false, "no progress and no table")
}

// auto is the name that leaves the choice of the device to the command.
const auto = "auto"

// registerDevice adds the flags that choose a device.
func (f *common) registerDevice(c *cobra.Command) {
	f.command = c
	c.Flags().StringVar(&f.device, "device", auto, open.Usage)
	c.Flags().IntVar(&f.threads, "threads", 0, "threads of the cpu device (0: all)")
}

// The values of --matmul.
const matmulFloat32, matmulTF32 = "float32", "tf32"

// registerMatmul adds the flag that gives up precision for speed. Commands that test a device do not have it.
func (f *common) registerMatmul(c *cobra.Command) {
	c.Flags().StringVar(&f.matmul, "matmul", matmulFloat32,
		"float32 | tf32, which puts large products of a card on its tensor cores: "+
			"factors rounded to 11 significant bits")
	completes(c, "matmul", matmulFloat32, matmulTF32)
}

// openDevice opens the device that the flags name. Where auto cannot take the card, it says why on standard error.
func (f *common) openDevice() (device.Device, error) {
	if f.threads < 0 || f.threads > maxThreads {
		return nil, usagef("--threads %d: wants 0 (all) to %d", f.threads, maxThreads)
	}
	tf32 := f.matmul == matmulTF32
	if f.matmul != "" && f.matmul != matmulFloat32 && !tf32 { // commands without the flag leave it empty
		return nil, usagef("--matmul %s: wants %s or %s", f.matmul, matmulFloat32, matmulTF32)
	}
	family, _, _ := strings.Cut(f.device, ":")
	if tf32 && (family == "cpu" || family == "ref") {
		return nil, usagef("--matmul %s: the device %s has no tensor cores", f.matmul, f.device)
	}
	if f.observe != nil && family != "cpu" && family != auto {
		return nil, usagef("--profile: the device %s cannot tell the time of its operations, cpu can", f.device)
	}
	o := open.Options{Threads: f.threads, TF32: tf32, Observe: f.observe}
	if f.device == auto {
		dev, why := open.Auto(o)
		if why != nil && !f.quiet {
			fmt.Fprintf(f.command.ErrOrStderr(), "bilevel: running on %s: %v\n", dev.Info().Name, why)
		}
		return dev, nil
	}
	dev, err := open.Open(f.device, o)
	if errors.Is(err, open.ErrUnknown) {
		return nil, usageError{err}
	}
	return dev, err
}

// openData opens the set that the flags name, and says on standard error what is worth knowing of it.
func (a *app) openData(f *common) (*data.Dataset, error) {
	set, err := data.OpenWith(f.data, a.env, data.Options{Label: f.label, Bytes: f.bytes, Wide: f.wide})
	if err != nil {
		return nil, err
	}
	if !f.quiet {
		for _, note := range set.Notes {
			fmt.Fprintf(a.stderr, "bilevel: %s: %s\n", f.data, note)
		}
	}
	return set, nil
}

// openOrStandIn is openData for plans: images that are not on this machine are made up.
func (a *app) openOrStandIn(f *common) (*data.Dataset, error) {
	set, err := a.openData(f)
	var missing *data.NotFoundError
	if !errors.As(err, &missing) {
		return set, err
	}
	for _, known := range fetch.Sets() {
		if known.Name != missing.Name {
			continue
		}
		set, unlike := data.StandIn(known.Name, known.Train, known.Test)
		if unlike != nil {
			break
		}
		if !f.bytes {
			set = set.Widened()
		}
		if !f.quiet {
			fmt.Fprintf(a.stderr, "bilevel: %s: %s\n", f.data, set.Notes[0])
		}
		return set, nil
	}
	return nil, err
}

// positiveFlag is the annotation of flags that want a positive number. Nobody may give 0, and in a configuration it
// means that the run chooses.
const positiveFlag = "positive"

// positive says which flags want a positive number where they are given.
func positive(flags *pflag.FlagSet, names ...string) {
	for _, name := range names {
		if err := flags.SetAnnotation(name, positiveFlag, nil); err != nil {
			panic(err) // there is no such flag
		}
	}
}

func isPositive(flag *pflag.Flag) bool {
	_, is := flag.Annotations[positiveFlag]
	return is
}

// radius is a flag for a number that may be given as a fraction, such as 8/255. Otherwise it is one of type float64.
type radius struct{ to *float64 }

func (r radius) String() string {
	if r.to == nil { // as pflag asks to find out which default is not worth showing
		return "0"
	}
	return strconv.FormatFloat(*r.to, 'g', -1, 64)
}

func (r radius) Set(text string) (err error) {
	*r.to, err = robust.ParseEps(text)
	return err
}

func (radius) Type() string { return "float64" }

// checkFinite refuses numbers that are none, or not finite: no flag has a use for them.
func checkFinite(flags *pflag.FlagSet) (err error) {
	flags.Visit(func(flag *pflag.Flag) {
		if err != nil || flag.Value.Type() != "float64" {
			return
		}
		v, wrong := strconv.ParseFloat(flag.Value.String(), 64)
		if wrong != nil || math.IsNaN(v) || math.IsInf(v, 0) {
			err = usagef("--%s %s: wants a finite number", flag.Name, flag.Value)
		}
	})
	return err
}

// checkPositive refuses positive flags that were given a number that is not positive, or not finite. Whole numbers go
// up to that of rows and iterations, which are int32.
func checkPositive(flags *pflag.FlagSet) (err error) {
	flags.Visit(func(flag *pflag.Flag) {
		if err != nil || !isPositive(flag) {
			return
		}
		v, wrong := strconv.ParseFloat(flag.Value.String(), 64)
		switch whole := flag.Value.Type() == "int"; {
		case wrong != nil || whole && !(v >= 1 && v <= math.MaxInt32):
			err = usagef("--%s %s: wants 1 to %d", flag.Name, flag.Value, math.MaxInt32)
		case !(v > 0) || math.IsInf(v, 0):
			err = usagef("--%s %s: wants a positive number", flag.Name, flag.Value)
		}
	})
	return err
}
