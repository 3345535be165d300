//go:build !purego

package cpu

import "golang.org/x/sys/cpu"

// Detected is the best level of this processor. The first call asks the operating system for the matrix units.
func Detected() Level {
	x := &cpu.X86
	switch {
	case x.HasAVX512F && x.HasAVX512VL && x.HasAVX512DQ && x.HasAVX512BW && x.HasFMA && x.HasAVX2:
		if x.HasAMXTile && x.HasAMXBF16 && mayUseTiles() {
			return AMX
		}
		return AVX512
	case x.HasAVX2 && x.HasFMA:
		return AVX2
	}
	return Generic
}
