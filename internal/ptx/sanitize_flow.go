package ptx

import (
	"math/bits"
	"slices"

	"bilevel/internal/ptx/arith"
)

// A bitFlow says how undefined bits pass through an instruction. Where there is none, one undefined bit of an operand
// makes the whole result undefined.
type bitFlow struct {
	args []bitArg
	rule bitRule
}

// A bitArg is an operand.
type bitArg struct {
	off      int32
	wide     bool
	pred     bool
	not      bool
	constant bool
	value    uint64
	keep     uint64 // bits that the instruction looks at
}

// A bitValue is a value with the bits of it that are undefined.
type bitValue struct{ v, u uint64 }

// A bitRule gives the undefined bits of result number i.
type bitRule func(x []bitValue, i int) uint64

// A bitType is what the suffixes of an instruction say of its operands.
type bitType struct {
	mods   []string
	bits   int // of the last type
	signed bool
	float  bool
}

func (t bitType) has(word string) bool { return slices.Contains(t.mods, word) }

func (t bitType) keep() uint64 { return ^uint64(0) >> (64 - t.bits) }

// bitRules are the rules by opcode; a rule may be nil for some suffixes.
var bitRules = map[string]func(t bitType) bitRule{
	"mov":  func(bitType) bitRule { return copied },
	"cvta": func(bitType) bitRule { return copied },
	"not":  func(bitType) bitRule { return copied },
	"xor":  func(bitType) bitRule { return func(x []bitValue, _ int) uint64 { return x[0].u | x[1].u } },
	"and": func(bitType) bitRule { // a bit that is zero for certain decides
		return func(x []bitValue, _ int) uint64 { return x[0].u&(x[1].v|x[1].u) | x[1].u&(x[0].v|x[0].u) }
	},
	"or": func(bitType) bitRule { // and one that is one
		return func(x []bitValue, _ int) uint64 { return x[0].u&(^x[1].v|x[1].u) | x[1].u&(^x[0].v|x[0].u) }
	},
	"lop3": func(bitType) bitRule { return lop3Bits },
	"brev": func(t bitType) bitRule {
		return func(x []bitValue, _ int) uint64 { return bits.Reverse64(x[0].u) >> (64 - t.bits) }
	},
	"shl": func(t bitType) bitRule { return moved(func(x []uint64) uint64 { return x[0] << x[1] & t.keep() }, 1) },
	"shr": func(t bitType) bitRule {
		return moved(func(x []uint64) uint64 {
			if t.signed {
				return uint64(int64(x[0]<<(64-t.bits))>>(64-t.bits)>>x[1]) & t.keep()
			}
			return x[0] >> x[1]
		}, 1)
	},
	"shf": func(t bitType) bitRule {
		f := arith.ShfL
		if t.has("r") {
			f = arith.ShfR
		}
		return moved(func(x []uint64) uint64 {
			return uint64(f(uint32(x[0]), uint32(x[1]), uint32(x[2]), t.has("wrap")))
		}, 2)
	},
	"bfe": func(t bitType) bitRule {
		return moved(func(x []uint64) uint64 {
			pos, n := uint32(x[1]), uint32(x[2])
			switch {
			case t.signed && t.bits == 32:
				return uint64(uint32(arith.Bfe(int32(x[0]), pos, n)))
			case t.signed:
				return uint64(arith.Bfe(int64(x[0]), pos, n))
			case t.bits == 32:
				return uint64(arith.Bfe(uint32(x[0]), pos, n))
			}
			return arith.Bfe(x[0], pos, n)
		}, 1)
	},
	"bfi": func(t bitType) bitRule {
		return moved(func(x []uint64) uint64 {
			if t.bits == 32 {
				return uint64(arith.Bfi(uint32(x[0]), uint32(x[1]), uint32(x[2]), uint32(x[3])))
			}
			return arith.Bfi(x[0], x[1], uint32(x[2]), uint32(x[3]))
		}, 2)
	},
	"prmt": func(t bitType) bitRule {
		mode := ""
		for _, m := range []string{"f4e", "b4e", "rc8", "ecl", "ecr", "rc16"} {
			if t.has(m) {
				mode = m
			}
		}
		p, _ := arith.ParsePrmt(mode)
		return moved(func(x []uint64) uint64 { return uint64(p.Permute(uint32(x[0]), uint32(x[1]), uint32(x[2]))) }, 2)
	},
	"add":  sumBits,
	"sub":  sumBits,
	"neg":  sumBits,
	"mul":  productBits,
	"mad":  productBits,
	"fma":  halfBits,
	"min":  halfBits,
	"max":  halfBits,
	"abs":  halfBits,
	"selp": func(bitType) bitRule { return selectedBits },
	"setp": comparedBits,
	"cvt":  convertedBits,
}

func copied(x []bitValue, _ int) uint64 { return x[0].u }

// moved is the rule of an instruction that moves bits of its first n operands to places that the others say.
func moved(f func(x []uint64) uint64, n int) bitRule {
	return func(x []bitValue, _ int) uint64 {
		var list [4]uint64
		for i := range x {
			if list[i] = x[i].v; i < n {
				list[i] = x[i].u
			} else if x[i].u != 0 {
				return ^uint64(0)
			}
		}
		return f(list[:len(x)])
	}
}

// lop3Bits tries both values of each undefined bit.
func lop3Bits(x []bitValue, _ int) (u uint64) {
	var first uint32
	for n := range uint32(8) {
		var try [3]uint32
		for i := range try {
			try[i] = uint32(x[i].v &^ x[i].u)
			if n>>i&1 != 0 {
				try[i] |= uint32(x[i].u)
			}
		}
		r := arith.Lop3(try[0], try[1], try[2], uint8(x[3].v))
		if n == 0 {
			first = r
		}
		u |= uint64(r ^ first)
	}
	return u
}

// upward is the lowest bit that is set and all above it: carries go up.
func upward(u uint64) uint64 { return u | -u }

func sumBits(t bitType) bitRule {
	switch {
	case t.float || t.has("sat") || t.has("cc"):
		return halfBits(t)
	}
	return func(x []bitValue, _ int) (u uint64) {
		for _, a := range x {
			u |= a.u
		}
		return upward(u)
	}
}

// productBits is for the low part of products, and of products plus a number: bit i of a factor does not reach below
// bit i, nor below that many more as the other factor has zeros at its end.
func productBits(t bitType) bitRule {
	if t.float || t.has("hi") || t.has("sat") || t.has("cc") || !t.has("lo") && !t.has("wide") {
		return halfBits(t)
	}
	return func(x []bitValue, _ int) (u uint64) {
		for i := range 2 {
			a, b := x[i], x[1-i]
			if a.u != 0 && b.v|b.u != 0 {
				u |= 1 << min(63, bits.TrailingZeros64(a.u)+bits.TrailingZeros64(b.v|b.u))
			}
		}
		if len(x) > 2 {
			u |= x[2].u
		}
		return upward(u)
	}
}

// halfBits is for pairs of 16-bit floats.
func halfBits(t bitType) bitRule {
	if !t.has("f16x2") && !t.has("bf16x2") {
		return nil
	}
	return func(x []bitValue, _ int) (u uint64) {
		for _, a := range x {
			if a.u&0xffff != 0 {
				u |= 0xffff
			}
			if a.u>>16 != 0 {
				u |= 0xffff0000
			}
		}
		return u
	}
}

// selectedBits is selp: of the operand that is chosen, or where that is unknown, of both and wherever they differ.
func selectedBits(x []bitValue, _ int) uint64 {
	a, b, p := x[0], x[1], x[2]
	switch {
	case p.u != 0:
		return a.u | b.u | (a.v ^ b.v)
	case p.v != 0:
		return a.u
	}
	return b.u
}

// comparedBits is setp for integers: the comparison is known if it comes out alike for all values of the undefined
// bits.
func comparedBits(t bitType) bitRule {
	if t.float {
		return nil
	}
	for _, m := range []string{"and", "or", "xor"} {
		if t.has(m) {
			return nil
		}
	}
	sign := uint64(0)
	if t.signed {
		sign = 1 << (t.bits - 1)
	}
	return func(x []bitValue, _ int) uint64 {
		a, b := x[0], x[1]
		if t.has("eq") || t.has("ne") {
			if (a.v^b.v)&^(a.u|b.u) != 0 {
				return 0
			}
			return a.u | b.u
		}
		a.v, b.v = a.v^sign, b.v^sign
		lowA, highA := a.v&^a.u, a.v|a.u
		lowB, highB := b.v&^b.u, b.v|b.u
		// a < b or its opposite; else a > b or its opposite
		strict := t.has("lt") || t.has("lo") || t.has("ge") || t.has("hs")
		if !strict {
			lowA, highA, lowB, highB = lowB, highB, lowA, highA
		}
		if highA < lowB || lowA >= highB {
			return 0
		}
		return 1
	}
}

// convertedBits is cvt between integers.
func convertedBits(t bitType) bitRule {
	var types []string
	for _, m := range t.mods {
		if typeBits[m] != 0 {
			types = append(types, m)
		}
	}
	if len(types) != 2 || !integer(types[0]) || !integer(types[1]) || t.has("sat") {
		return nil
	}
	to, from := typeBits[types[0]], typeBits[types[1]]
	return func(x []bitValue, _ int) uint64 {
		u := x[0].u
		if types[1][0] == 's' {
			u = uint64(int64(u<<(64-from)) >> (64 - from))
		}
		if to < 64 {
			if u &= 1<<to - 1; types[0][0] == 's' && u>>(to-1) != 0 {
				u |= ^uint64(0) << to
			}
		}
		return u
	}
}

func integer(typ string) bool {
	return typ[0] == 's' || typ[0] == 'u' || typ[0] == 'b' && typ[1] != 'f'
}
