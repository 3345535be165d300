package arith

// A Round is a rounding modifier. Default means that none was written: to nearest even for arithmetic, none needed for
// exact conversions.
type Round uint8

const (
	Default Round = iota
	RN            // to nearest, ties to even
	RZ            // toward zero
	RM            // toward minus infinity
	RP            // toward plus infinity
	RNA           // to nearest, ties away from zero (cvt to tf32)
	RNI           // to an integer, nearest even
	RZI           // to an integer, toward zero
	RMI           // to an integer, toward minus infinity
	RPI           // to an integer, toward plus infinity
)

var roundNames = [...]string{"", "rn", "rz", "rm", "rp", "rna", "rni", "rzi", "rmi", "rpi"}

// String is the modifier as PTX writes it, without the dot.
func (r Round) String() string { return roundNames[r] }

// ParseRound reads a rounding modifier ("rn", "rzi", …).
func ParseRound(word string) (Round, bool) {
	for r := RN; r <= RPI; r++ {
		if roundNames[r] == word {
			return r, true
		}
	}
	return Default, false
}

// integer says whether r rounds to an integral value.
func (r Round) integer() bool { return r >= RNI }

// direction drops the i of the integer modifiers and resolves Default.
func (r Round) direction() Round {
	if r >= RNI {
		return r - RNI + RN
	}
	if r == Default {
		return RN
	}
	return r
}

// A Mode holds the modifiers of one instruction. The zero Mode is the plain one: to nearest even, subnormals kept.
type Mode struct {
	Round     Round
	FTZ       bool // .ftz: subnormal inputs and results of single and half precision become zeros of their sign
	Sat       bool // .sat: floats are clamped to [0, 1] and NaN becomes +0; integers to the range of their type
	Relu      bool // .relu: negative results become +0, NaN the canonical NaN
	SatFinite bool // .satfinite: of cvt, infinities become the largest finite number
	NaN       bool // .NaN: min and max return the canonical NaN when an input is NaN
	XorSign   bool // .xorsign.abs: min and max compare magnitudes; the sign is the exclusive or of the inputs'
}

// Canonical NaNs, the results of arithmetic whose outcome is not a number (PTX ISA 9.7.3 and 9.7.4). Double precision
// keeps payloads on the hardware; this package gives the one below everywhere.
const (
	NaN16   = 0x7fff
	NaNBF16 = 0x7fff
	NaN32   = 0x7fffffff
	NaN64   = 0x7ff8000000000000
)

// A Cmp is a comparison: the set of outcomes for which it holds.
type Cmp uint8

// The outcomes of comparing two values.
const (
	less Cmp = 1 << iota
	equal
	greater
	unordered
)

// The comparisons of setp and set; those that end in U hold for unordered operands too. The unsigned ones of PTX
// (lo, ls, hi, hs) are LT, LE, GT and GE.
const (
	EQ  = equal
	NE  = less | greater
	LT  = less
	LE  = less | equal
	GT  = greater
	GE  = greater | equal
	EQU = EQ | unordered
	NEU = NE | unordered
	LTU = LT | unordered
	LEU = LE | unordered
	GTU = GT | unordered
	GEU = GE | unordered
	NUM = less | equal | greater
	NAN = unordered
)

// ParseCmp reads a comparison operator as PTX writes it ("eq", "ltu", "hi", …).
func ParseCmp(word string) (Cmp, bool) {
	for _, row := range cmpNames {
		if row.name == word {
			return row.cmp, true
		}
	}
	return 0, false
}

var cmpNames = [...]struct {
	name string
	cmp  Cmp
}{
	{"eq", EQ}, {"ne", NE}, {"lt", LT}, {"le", LE}, {"gt", GT}, {"ge", GE},
	{"lo", LT}, {"ls", LE}, {"hi", GT}, {"hs", GE},
	{"equ", EQU}, {"neu", NEU}, {"ltu", LTU}, {"leu", LEU}, {"gtu", GTU}, {"geu", GEU},
	{"num", NUM}, {"nan", NAN},
}

// order is the outcome of comparing two numbers.
func order[T int32 | uint32 | int64 | uint64 | float32 | float64](a, b T) Cmp {
	switch {
	case a < b:
		return less
	case a == b:
		return equal
	case a > b:
		return greater
	}
	return unordered
}
