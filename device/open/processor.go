package open

import (
	"fmt"
	"slices"
	"strings"

	"bilevel/cpu"
	"bilevel/device"
	"bilevel/device/cpudevice"
	"bilevel/internal/nearest"
)

// levels are the names of the processor's instruction sets. With the same one a program gives the same bits on every
// machine that has it.
var levels = []string{cpu.Generic: "generic", cpu.NEON: "neon", cpu.AVX2: "avx2", cpu.AVX512: "avx512", cpu.AMX: "amx"}

// direct, after a comma or alone, has convolutions computed as the sums that they are.
const direct = "direct"

// openProcessor opens the processor with instructions of a level, the best where none is named: LEVEL, LEVEL,direct or
// direct.
func openProcessor(arg string, with Options) (device.Device, error) {
	o := best(with)
	level, rest, two := strings.Cut(arg, ",")
	if o.Direct = arg == direct || two && rest == direct; two && !o.Direct {
		return nil, fmt.Errorf("%w %q: after the comma stands %s, or nothing", ErrUnknown, "cpu:"+arg, direct)
	}
	if arg != "" && arg != direct {
		l, err := levelOf(level, cpu.Levels())
		if err != nil {
			return nil, err
		}
		o.Level = l
	}
	return cpudevice.NewWith(o), nil
}

// best are the options of the processor with the best instructions that it has.
func best(o Options) cpudevice.Options {
	return cpudevice.Options{Threads: o.Threads, Level: cpu.Detected(), Observe: o.Observe}
}

// levelOf finds a level among those there are.
func levelOf(name string, there []cpu.Level) (cpu.Level, error) {
	switch i := slices.Index(levels, name); {
	case i < 0:
		return 0, fmt.Errorf(
			"%w %q: the levels of the processor are %s%s", ErrUnknown, "cpu:"+name, strings.Join(levels, ", "),
			nearest.Hint(name, levels),
		)
	case !slices.Contains(there, cpu.Level(i)):
		names := make([]string, len(there))
		for k, l := range there {
			names[k] = levels[l]
		}
		return 0, fmt.Errorf(
			"%w: cpu:%s: this processor or this build does not have its instructions, but those of %s",
			device.ErrMissing, name, strings.Join(names, ", "),
		)
	default:
		return cpu.Level(i), nil
	}
}
