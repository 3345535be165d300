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
var levels = []string{cpu.Generic: "generic", cpu.AVX2: "avx2", cpu.AVX512: "avx512", cpu.AMX: "amx"}

// openProcessor opens the processor with instructions of a level; without a name, with the best.
func openProcessor(level string, threads int) (device.Device, error) {
	if level == "" {
		return cpudevice.New(threads), nil
	}
	l, err := levelOf(level, len(cpu.Levels()))
	if err != nil {
		return nil, err
	}
	return cpudevice.NewAt(threads, l), nil
}

// levelOf finds a level among those there are.
func levelOf(name string, there int) (cpu.Level, error) {
	switch i := slices.Index(levels, name); {
	case i < 0:
		return 0, fmt.Errorf(
			"%w %q: the levels of the processor are %s%s", ErrUnknown, "cpu:"+name, strings.Join(levels, ", "),
			nearest.Hint(name, levels),
		)
	case i >= there:
		return 0, fmt.Errorf(
			"%w: cpu:%s: this processor or this build does not have its instructions, but those of %s",
			device.ErrMissing, name, strings.Join(levels[:there], ", "),
		)
	default:
		return cpu.Level(i), nil
	}
}
