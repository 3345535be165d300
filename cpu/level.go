package cpu

// Level is a set of instructions that kernels are written for. A pool has one, chosen when it is made, and all
// operations bound to the pool use it; results may differ between levels by rounding, never within one.
type Level uint8

const (
	// Generic is plain Go: the definition that the other levels are tested against.
	Generic Level = iota
	// NEON is what every arm64 processor has.
	NEON
	// AVX2 needs AVX2 and FMA.
	AVX2
	// AVX512 needs the subsets F, VL, DQ and BW.
	AVX512
	// AMX is AVX512 with matrix units for bfloat16, and an operating system that lets the process use them.
	AMX
)

var levelNames = [...]string{Generic: "generic Go", NEON: "NEON", AVX2: "AVX2", AVX512: "AVX-512", AMX: "AMX"}

func (l Level) String() string { return levelNames[l] }

// Detected is the best level of this processor.
func Detected() Level {
	all := Levels()
	return all[len(all)-1]
}

// orBelow is the level, or the best below it that this processor and this build offer.
func (l Level) orBelow() (best Level) {
	for _, there := range Levels() {
		if there <= l {
			best = there
		}
	}
	return best
}
