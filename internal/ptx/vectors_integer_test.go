package ptx_test

import (
	"math/big"

	"bilevel/internal/ptx/arith/exact"
)

// number is the integer that the low bits of u mean to the type.
func number(u uint64, size uint, signed bool) *big.Int {
	n := new(big.Int).SetUint64(u & (1<<(size-1)<<1 - 1))
	if signed && n.Bit(int(size-1)) == 1 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), size))
	}
	return n
}

// bitsOf is n modulo 2^size.
func bitsOf(n *big.Int, size uint) uint64 {
	mask := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), size), big.NewInt(1))
	return mask.And(mask, n).Uint64()
}

// clamped brings n into the range of the type.
func clamped(n *big.Int, size uint, signed bool) *big.Int {
	low, high := limits(size, signed)
	switch {
	case n.Cmp(low) < 0:
		return low
	case n.Cmp(high) > 0:
		return high
	}
	return n
}

func limits(size uint, signed bool) (low, high *big.Int) {
	one := big.NewInt(1)
	if signed {
		high = new(big.Int).Lsh(one, size-1)
		return new(big.Int).Neg(high), high.Sub(high, one)
	}
	return new(big.Int), new(big.Int).Sub(new(big.Int).Lsh(one, size), one)
}

type bigOp = func(z, x, y *big.Int) *big.Int

func do(op bigOp, x, y *big.Int) *big.Int { return op(new(big.Int), x, y) }

// integerEdges are the inputs of integer instructions: those at the borders of the type and some others.
func integerEdges(size uint) []uint64 {
	seen := map[uint64]bool{}
	var list []uint64
	for _, u := range exact.IntegerEdges() {
		u &= 1<<(size-1)<<1 - 1
		if !seen[u] {
			seen[u] = true
			list = append(list, u)
		}
	}
	return list
}

// arithmetic is a vector over operands of one type, in big integers.
func arithmetic(typ string, n int, f func(x []*big.Int) (*big.Int, bool)) *vector {
	size, signed := sizeOf(typ), typ[0] == 's'
	v := &vector{dst: registerClass(typ)}
	for range n {
		v.src = append(v.src, registerClass(typ))
		v.in = append(v.in, integerEdges(size))
	}
	v.want = func(x []uint64) (uint64, bool) {
		args := make([]*big.Int, n)
		for i := range args {
			args[i] = number(x[i], size, signed)
		}
		z, ok := f(args)
		if !ok {
			return 0, false
		}
		return bitsOf(z, size), true
	}
	return v
}

// plainInteger says whether mods is one of the words and an integer type, or an integer type alone for "".
func plainInteger(mods []string, words ...string) (word, typ string, ok bool) {
	if len(mods) == 0 || formatKnown(last(mods)) {
		return "", "", false
	}
	typ = last(mods)
	if len(mods) == 1 {
		return "", typ, len(words) == 0 || has(words, "")
	}
	return mods[0], typ, len(mods) == 2 && has(words, mods[0])
}

func formatKnown(typ string) bool {
	_, _, ok := formatOf(typ)
	return ok
}

// sums is add and sub.
func sums(f bigOp) writer {
	return func(op string, mods []string) (*vector, bool) {
		if has(mods, "cc") {
			return carryVector(op, mods)
		}
		word, typ, ok := plainInteger(mods, "", "sat")
		if !ok {
			return nil, false
		}
		if typ == "u16x2" || typ == "s16x2" {
			list := integerEdges(32)
			return &vector{dst: "b32", src: []string{"b32", "b32"}, in: [][]uint64{list, list},
				want: func(x []uint64) (uint64, bool) {
					low := bitsOf(do(f, number(x[0], 16, false), number(x[1], 16, false)), 16)
					high := bitsOf(do(f, number(x[0]>>16, 16, false), number(x[1]>>16, 16, false)), 16)
					return high<<16 | low, true
				}}, true
		}
		return arithmetic(typ, 2, func(x []*big.Int) (*big.Int, bool) {
			z := do(f, x[0], x[1])
			if word == "sat" {
				z = clamped(z, sizeOf(typ), true)
			}
			return z, true
		}), true
	}
}

// part is the lower half, upper half or whole of a product of numbers of size bits.
func part(p *big.Int, word string, size uint) *big.Int {
	if word == "hi" {
		return new(big.Int).Rsh(p, size)
	}
	return p
}

// productVector is mul, mad, mul24 and mad24: the product of operands of from bits each, part of it, plus c.
func productVector(mods []string, adds, short bool) (*vector, bool) {
	if len(mods) < 2 || formatKnown(last(mods)) || has(mods, "cc") {
		return nil, false
	}
	word, typ := mods[0], last(mods)
	sat := has(mods, "sat")
	size, signed := sizeOf(typ), typ[0] == 's'
	from, to, shift := size, size, size
	if short {
		from, shift = 24, 16
	}
	if word == "wide" {
		to = 2 * size
	}
	class, wide := registerClass(typ), registerClass("u"+map[uint]string{16: "16", 32: "32", 64: "64", 128: "128"}[to])
	v := &vector{dst: wide, src: []string{class, class}, in: [][]uint64{integerEdges(size), integerEdges(size)}}
	if adds {
		v.src = append(v.src, wide)
		v.in = append(v.in, integerEdges(to))
	}
	v.want = func(x []uint64) (uint64, bool) {
		p := do((*big.Int).Mul, number(x[0], from, signed), number(x[1], from, signed))
		z := part(p, word, shift)
		if adds {
			z = do((*big.Int).Add, z, number(x[2], to, signed))
			if short || !sat {
				z = number(bitsOf(z, 64), 64, true) // sums wrap
			}
			if sat {
				hi := part(p, word, shift)
				z = clamped(do((*big.Int).Add, hi, number(x[2], to, signed)), size, true)
			}
		}
		return bitsOf(z, to), true
	}
	return v, true
}

// quotients leaves zero divisors out: PTX does not say what they give.
func quotients(f bigOp) writer {
	return func(op string, mods []string) (*vector, bool) {
		_, typ, ok := plainInteger(mods)
		if !ok {
			return nil, false
		}
		return arithmetic(typ, 2, func(x []*big.Int) (*big.Int, bool) {
			if x[1].Sign() == 0 {
				return nil, false
			}
			return do(f, x[0], x[1]), true
		}), true
	}
}

// one and two are instructions on integers of one type without other words than the given ones.
func one(f func(word string, x *big.Int) *big.Int, words ...string) writer {
	return func(op string, mods []string) (*vector, bool) {
		word, typ, ok := plainInteger(mods, words...)
		if !ok {
			return nil, false
		}
		return arithmetic(typ, 1, func(x []*big.Int) (*big.Int, bool) { return f(word, x[0]), true }), true
	}
}

func extreme(sign int) writer {
	return func(op string, mods []string) (*vector, bool) {
		word, typ, ok := plainInteger(mods, "", "relu")
		if !ok {
			return nil, false
		}
		return arithmetic(typ, 2, func(x []*big.Int) (*big.Int, bool) {
			z := x[0]
			if x[1].Cmp(z) == sign {
				z = x[1]
			}
			if word == "relu" && z.Sign() < 0 {
				z = new(big.Int)
			}
			return z, true
		}), true
	}
}

// dots is dp4a and dp2a.
func dots(op string, mods []string) (*vector, bool) {
	types := mods
	hi := mods[0] == "hi"
	if op == "dp2a" {
		types = mods[1:]
	}
	list := integerEdges(32)
	return &vector{dst: "b32", src: []string{"b32", "b32", "b32"}, in: [][]uint64{list, list, list},
		want: func(x []uint64) (uint64, bool) {
			z := number(x[2], 32, false)
			count, size := uint(4), uint(8)
			if op == "dp2a" {
				count, size = 2, 16
			}
			for i := range count {
				at := i
				if op == "dp2a" && hi {
					at += 2
				}
				p := do((*big.Int).Mul, number(x[0]>>(size*i), size, types[0] == "s32"),
					number(x[1]>>(8*at), 8, types[1] == "s32"))
				z.Add(z, p)
			}
			return bitsOf(z, 32), true
		}}, true
}

// carryVector is an instruction of a carry chain. Operand c sets the carry or borrow before it, where it takes one; the
// result is the word, with the carry it leaves added at the top where it leaves one and there is room: 64-bit results
// are mixed with it instead.
func carryVector(op string, mods []string) (*vector, bool) {
	typ := last(mods)
	size, signed := sizeOf(typ), typ[0] == 's'
	subtracts := op == "sub" || op == "subc"
	multiplies := op == "mad" || op == "madc"
	takes := op == "addc" || op == "subc" || op == "madc"
	sets := has(mods, "cc")
	class := registerClass(typ)
	v := &vector{dst: class}
	operands := "$a, $b"
	for range 2 {
		v.src, v.in = append(v.src, class), append(v.in, integerEdges(size))
	}
	flag := 2
	if multiplies {
		v.src, v.in = append(v.src, class), append(v.in, integerEdges(size))
		operands, flag = "$a, $b, $c", 3
	}
	v.src, v.in = append(v.src, class), append(v.in, []uint64{0, 1})
	carrier := "$" + string(rune('a'+flag))
	name := op
	for _, m := range mods {
		name += "." + m
	}
	u := "u" + typ[1:]
	if subtracts {
		v.body = append(v.body, "sub.cc."+u+" $T, 0, "+carrier+";")
	} else {
		v.body = append(v.body, "add.cc."+u+" $T, "+carrier+", -1;")
	}
	v.body = append(v.body, name+" $D, "+operands+";")
	if sets {
		// What the chain hands on: one more or one less.
		next := "addc."
		if subtracts {
			next = "subc."
		}
		v.body = append(v.body, next+u+" $T, 0, 0;", "mul.lo."+u+" $T, $T, 77;", "xor.b"+typ[1:]+" $D, $D, $T;")
	}
	v.want = func(x []uint64) (uint64, bool) {
		a, b := number(x[0], size, signed), number(x[1], size, signed)
		z, unsignedSum := new(big.Int), new(big.Int)
		in := new(big.Int)
		if takes {
			in.SetUint64(x[flag])
		}
		switch {
		case multiplies:
			p := bitsOf(part(do((*big.Int).Mul, a, b), mods[0], size), size)
			unsignedSum.Add(number(p, size, false), number(x[2], size, false))
			unsignedSum.Add(unsignedSum, in)
		case subtracts:
			unsignedSum.Sub(number(x[0], size, false), number(x[1], size, false))
			unsignedSum.Sub(unsignedSum, in)
		default:
			unsignedSum.Add(number(x[0], size, false), number(x[1], size, false))
			unsignedSum.Add(unsignedSum, in)
		}
		z.Set(unsignedSum)
		word := bitsOf(z, size)
		if sets {
			carry := z
			out := uint64(0)
			if carry.BitLen() > int(size) || carry.Sign() < 0 {
				out = 1
			}
			if subtracts {
				out = -out
			}
			word ^= bitsOf(new(big.Int).Mul(number(out, 64, true), big.NewInt(77)), size)
		}
		return word, true
	}
	return v, true
}

func integerWriters() map[string]writer {
	return map[string]writer{
		"add":  sums((*big.Int).Add),
		"sub":  sums((*big.Int).Sub),
		"addc": carryVector, "subc": carryVector, "madc": carryVector,
		"mul": func(_ string, mods []string) (*vector, bool) { return productVector(mods, false, false) },
		"mad": func(op string, mods []string) (*vector, bool) {
			if has(mods, "cc") {
				return carryVector(op, mods)
			}
			return productVector(mods, true, false)
		},
		"mul24": func(_ string, mods []string) (*vector, bool) { return productVector(mods, false, true) },
		"mad24": func(_ string, mods []string) (*vector, bool) { return productVector(mods, true, true) },
		"div":   quotients((*big.Int).Quo),
		"rem":   quotients((*big.Int).Rem),
		"min":   extreme(-1),
		"max":   extreme(1),
		"abs":   one(func(_ string, x *big.Int) *big.Int { return new(big.Int).Abs(x) }),
		"neg":   one(func(_ string, x *big.Int) *big.Int { return new(big.Int).Neg(x) }),
		"sad": func(_ string, mods []string) (*vector, bool) {
			return arithmetic(last(mods), 3, func(x []*big.Int) (*big.Int, bool) {
				d := do((*big.Int).Sub, x[0], x[1])
				return do((*big.Int).Add, d.Abs(d), x[2]), true
			}), true
		},
		"dp4a": dots, "dp2a": dots,
	}
}
