// Package open turns the name of a device, as users write it, into a device. It is the only place that knows all
// devices; only the command, the benchmarks and tests import it.
package open

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"bilevel/device"
	"bilevel/device/cpudevice"
	"bilevel/device/cuda"
	"bilevel/device/cuda/driver"
	"bilevel/device/cuda/sim"
	"bilevel/device/ref"
	"bilevel/internal/nearest"
)

// Usage lists what Open takes, for the help text of a flag.
const Usage = "auto | cpu[:LEVEL][,direct] | ref | cuda[:N] | cuda-sim[:CARD[,CARD][:N]]"

// ErrUnknown says that no device can ever have this name: an error of usage, unlike device.ErrMissing.
var ErrUnknown = errors.New("unknown device")

// Options configure a device. A device ignores the fields that it has no use for.
type Options struct {
	Threads int             // of the processor; 0: all
	Observe device.Observer // of the processor
	TF32    bool            // cuda and cuda-sim: large products on tensor cores, factors rounded to 11 significant bits
}

// Open opens a device by its name:
//
//	auto                    what Auto opens
//	cpu                     the processor, with the best instructions that it has
//	cpu:avx2                the processor, with instructions of one level: generic, neon, avx2, avx512 or amx
//	cpu:direct              the processor; convolutions always as the sums that they are, never by Winograd's
//	cpu:avx2,direct         algorithm, see cpu.Pool
//	ref                     the reference device: float64, slow
//	cuda, cuda:N            the N-th NVIDIA card, from 0
//	cuda-sim                a simulated card, under the sanitizer: slow, for checking
//	cuda-sim:h100           one of sim.Names
//	cuda-sim:h100,a100:1    the N-th card of a simulated machine with several, from 0 (without a number the first)
//
// The error wraps ErrUnknown for any other name and device.ErrMissing where the device is not in this build or on this
// machine. Each simulated device has a machine of its own; a build with CUDA reaches it through cgo, as it would a real
// card, and Info().Name says so. The caller closes the device.
func Open(name string, o Options) (device.Device, error) {
	if o.Threads < 0 {
		return nil, fmt.Errorf("open: %d threads: the number of threads is 0 (all) or more", o.Threads)
	}
	family, arg, hasArg := strings.Cut(name, ":")
	if hasArg && !takes(family, arg) {
		return nil, unknown(name)
	}
	switch family {
	case "auto":
		d, _ := Auto(o)
		return d, nil
	case "cpu":
		return openProcessor(arg, o)
	case "ref":
		return ref.New(), nil
	case "cuda":
		n, _ := strconv.Atoi(arg)
		d, err := openCUDA(cuda.Options{Name: fmt.Sprintf("cuda:%d", n), Card: n, TensorCores: o.TF32})
		if err != nil {
			return nil, fmt.Errorf("%w; use --device cpu, or cuda-sim for a simulated card", err)
		}
		return d, nil
	case "cuda-sim":
		return openSimulated(arg, o.TF32)
	}
	return nil, unknown(name)
}

// Auto opens the first NVIDIA card that can run the kernels, or the processor, where why says what is wrong with every
// card. Where the build has no CUDA driver, the processor is the fastest device and why is nil.
func Auto(o Options) (d device.Device, why error) {
	if hasCUDA {
		if d, why = firstCard(o); why == nil {
			return d, nil
		}
	}
	return cpudevice.NewWith(best(o)), why
}

// openSimulated opens a card of a simulated machine: CARD,CARD:N.
func openSimulated(arg string, tf32 bool) (device.Device, error) {
	list, number, numbered := strings.Cut(arg, ":")
	names := strings.Split(list, ",")
	if list == "" {
		names = sim.Names()[:1]
	}
	n := 0
	if numbered {
		var err error
		if n, err = strconv.Atoi(number); err != nil || n < 0 || n >= len(names) {
			return nil, fmt.Errorf(
				"%w: no card %q of %s: they are numbered from 0 to %d", ErrUnknown, number, list, len(names)-1,
			)
		}
	}
	drv, err := sim.New(names...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	reached, err := through(drv)
	if err != nil {
		return nil, err
	}
	name := "cuda-sim:" + strings.ToLower(names[n])
	return card(reached, cuda.Options{Name: name + way, Card: n, Exact: true, TensorCores: tf32})
}

// card is cuda.New, without a *cuda.Device of nil beside its error.
func card(d driver.Driver, o cuda.Options) (device.Device, error) {
	dev, err := cuda.New(d, o)
	if err != nil {
		return nil, err
	}
	return dev, nil
}

// takes says whether the part after the colon can be one: a number for cuda, any words for cpu and cuda-sim, nothing
// elsewhere.
func takes(family, arg string) bool {
	switch family {
	case "cuda":
		n, err := strconv.Atoi(arg)
		return err == nil && n >= 0
	case "cpu", "cuda-sim":
		return !strings.HasPrefix(arg, ":") && arg != ""
	}
	return false
}

func unknown(name string) error {
	family, _, _ := strings.Cut(name, ":")
	return fmt.Errorf(
		"%w %q: the devices are %s%s", ErrUnknown, name, Usage,
		nearest.Hint(family, []string{"auto", "cpu", "ref", "cuda", "cuda-sim"}),
	)
}

// Choice is one row of List.
type Choice struct {
	Name string      // what Open takes
	Info device.Info // of the opened device; zero where Err is not nil
	Err  error       // why it cannot be opened here
}

// List tries every kind of device on this machine, opening and closing it.
func List() []Choice {
	var list []Choice
	for _, name := range []string{"cpu", "ref", "cuda", "cuda-sim"} {
		c := Choice{Name: name}
		d, err := Open(name, Options{})
		if err == nil {
			c.Info = d.Info()
			err = d.Close()
		}
		c.Err = err
		list = append(list, c)
	}
	return list
}
