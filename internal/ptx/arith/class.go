package arith

import "math"

// A Class is a test of testp: PTX ISA 9.7.3.1.
type Class uint8

const (
	Finite Class = iota
	Infinite
	Number
	NotANumber
	Normal // zeros included
	Subnormal
)

var classNames = [...]string{"finite", "infinite", "number", "notanumber", "normal", "subnormal"}

// ParseClass reads a test of testp.
func ParseClass(word string) (Class, bool) {
	for c, name := range classNames {
		if name == word {
			return Class(c), true
		}
	}
	return 0, false
}

// F32 tests a single precision number.
func (c Class) F32(u uint32) bool { return c.test(f32(u), 0x1p-126) }

// F64 tests a double precision number.
func (c Class) F64(u uint64) bool { return c.test(f64(u), 0x1p-1022) }

func (c Class) test(x, smallest float64) bool {
	switch c {
	case Finite:
		return x-x == 0
	case Infinite:
		return math.IsInf(x, 0)
	case Number:
		return x == x
	case NotANumber:
		return x != x
	case Normal:
		return x-x == 0 && (x == 0 || math.Abs(x) >= smallest)
	}
	return x != 0 && math.Abs(x) < smallest
}
