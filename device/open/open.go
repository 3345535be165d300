// Package open turns the name of a device, as users write it, into a device. It is the only place that knows all devices;
// only the command, the benchmarks and tests import it.
package open

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"bilevel/device"
	"bilevel/device/cuda"
	"bilevel/device/cuda/sim"
	"bilevel/device/host"
	"bilevel/device/ref"
	"bilevel/internal/nearest"
)

// Usage lists what Open takes, for the help text of a flag.
const Usage = "auto | cpu | ref | cuda[:N] | cuda-sim[:CARD[,CARD]]"

// ErrUnknown says that no device can ever have this name: an error of usage, unlike device.ErrMissing.
var ErrUnknown = errors.New("unknown device")

// Open opens a device by its name:
//
//	auto             the fastest device there is
//	cpu              the processor, with the given number of threads (0: all)
//	ref              the reference device: float64, slow
//	cuda, cuda:N     the N-th NVIDIA card, from 0
//	cuda-sim         a simulated card, under the sanitizer: slow, for checking
//	cuda-sim:h100    one of sim.Names; of several, h100,a100, the first
//
// The error wraps ErrUnknown for any other name and device.ErrMissing where the device is not in this build or on this
// machine. The caller closes the device.
func Open(name string, threads int) (device.Device, error) {
	if threads < 0 {
		return nil, fmt.Errorf("open: %d threads: the number of threads is 0 (all) or more", threads)
	}
	family, arg, hasArg := strings.Cut(name, ":")
	if hasArg && !takes(family, arg) {
		return nil, unknown(name)
	}
	switch family {
	case "auto", "cpu":
		return host.New(threads), nil
	case "ref":
		return ref.New(), nil
	case "cuda":
		n, _ := strconv.Atoi(arg)
		return openCUDA(name, n)
	case "cuda-sim":
		return openSimulated(arg)
	}
	return nil, unknown(name)
}

// openSimulated opens the first of the named cards, a list with commas.
func openSimulated(cards string) (device.Device, error) {
	var names []string
	if cards != "" {
		names = strings.Split(cards, ",")
	}
	drv, err := sim.New(names...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	name := "cuda-sim:" + sim.Names()[0]
	if cards != "" {
		name = "cuda-sim:" + strings.ToLower(names[0])
	}
	way, err := through(drv)
	if err != nil {
		return nil, err
	}
	return cuda.New(way, cuda.Options{Name: name, Exact: true})
}

// takes says whether the part after the colon can be one: a number for cuda, any word for cuda-sim, nothing elsewhere.
func takes(family, arg string) bool {
	switch family {
	case "cuda":
		n, err := strconv.Atoi(arg)
		return err == nil && n >= 0
	case "cuda-sim":
		return arg != ""
	}
	return false
}

func unknown(name string) error {
	hint := ""
	family, _, _ := strings.Cut(name, ":")
	if near := nearest.Name(family, []string{"auto", "cpu", "ref", "cuda", "cuda-sim"}); near != "" && near != name {
		hint = fmt.Sprintf("; did you mean %q?", near)
	}
	return fmt.Errorf("%w %q: the devices are %s%s", ErrUnknown, name, Usage, hint)
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
		d, err := Open(name, 0)
		if err == nil {
			c.Info = d.Info()
			err = d.Close()
		}
		c.Err = err
		list = append(list, c)
	}
	return list
}
