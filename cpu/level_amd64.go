//go:build !purego

package cpu

import "golang.org/x/sys/cpu"

// Levels lists what this processor and this build offer, the best one last. The first call asks the operating system
// for the matrix units.
func Levels() []Level {
	x := &cpu.X86
	all := []Level{Generic}
	if !x.HasAVX2 || !x.HasFMA {
		return all
	}
	all = append(all, AVX2)
	if !x.HasAVX512F || !x.HasAVX512VL || !x.HasAVX512DQ || !x.HasAVX512BW {
		return all
	}
	all = append(all, AVX512)
	if x.HasAMXTile && x.HasAMXBF16 && mayUseTiles() {
		all = append(all, AMX)
	}
	return all
}
