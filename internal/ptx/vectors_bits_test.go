package ptx_test

import "math/bits"

// amounts are shift amounts, positions and lengths.
var amounts = []uint64{0, 1, 2, 7, 8, 15, 16, 17, 24, 30, 31, 32, 33, 47, 48, 62, 63, 64, 65, 127, 128, 254, 255, 256,
	257, 1 << 31, 1<<32 - 1}

// loop is a vector whose oracle goes over the bits of operands of one size.
func loop(size uint, operands int, f func(x []uint64) uint64) *vector {
	class := map[uint]string{16: "b16", 32: "b32", 64: "b64"}[size]
	v := &vector{dst: class}
	for range operands {
		v.src = append(v.src, class)
		v.in = append(v.in, integerEdges(size))
	}
	v.want = func(x []uint64) (uint64, bool) { return f(x) & (1<<(size-1)<<1 - 1), true }
	return v
}

func at(u uint64, i uint64, size uint) uint64 {
	if i >= uint64(size) {
		return 0
	}
	return u >> i & 1
}

// bitwise is a logical instruction, bit by bit; on predicates the operands are 0 and 1.
func bitwise(operands int, f func(a, b uint64) bool) writer {
	return func(op string, mods []string) (*vector, bool) {
		if last(mods) == "pred" {
			v := &vector{dst: "pred"}
			for range operands {
				v.src, v.in = append(v.src, "pred"), append(v.in, []uint64{0, 1})
			}
			v.want = func(x []uint64) (uint64, bool) { return flag(f(x[0], x[len(x)-1])), true }
			return v, true
		}
		size := sizeOf(last(mods))
		return loop(size, operands, func(x []uint64) (z uint64) {
			for i := range size {
				z |= flag(f(x[0]>>i&1, x[len(x)-1]>>i&1)) << i
			}
			return z
		}), true
	}
}

func flag(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// shifts is shl and shr: the amount is 32 bits wide and clamped to the width.
func shifts(op string, mods []string) (*vector, bool) {
	size, signed := sizeOf(last(mods)), last(mods)[0] == 's'
	v := loop(size, 1, func(x []uint64) (z uint64) {
		for i := range uint64(size) {
			var bit uint64
			switch {
			case op == "shl" && i >= x[1]:
				bit = x[0] >> (i - x[1]) & 1
			case op == "shl":
			case i+x[1] < uint64(size):
				bit = x[0] >> (i + x[1]) & 1
			case signed:
				bit = x[0] >> (size - 1) & 1
			}
			z |= bit << i
		}
		return z
	})
	v.src, v.in = append(v.src, "b32"), append(v.in, amounts)
	return v, true
}

func funnel(_ string, mods []string) (*vector, bool) {
	left, wrap := mods[0] == "l", mods[1] == "wrap"
	v := loop(32, 2, func(x []uint64) (z uint64) {
		n := x[2]
		if wrap {
			n %= 32
		}
		n = min(n, 32)
		both := x[1]<<32 | x[0]
		for i := range uint64(32) {
			if left {
				z |= at(both, i+32-n, 64) << i
			} else {
				z |= at(both, i+n, 64) << i
			}
		}
		return z
	})
	v.src, v.in = append(v.src, "b32"), append(v.in, amounts)
	return v, true
}

func field(op string, mods []string) (*vector, bool) {
	size, signed := sizeOf(last(mods)), last(mods)[0] == 's'
	operands := 1
	if op == "bfi" {
		operands = 2
	}
	v := loop(size, operands, func(x []uint64) (z uint64) {
		pos, length := x[operands]&255, x[operands+1]&255
		if op == "bfi" {
			z = x[1]
			for i := uint64(0); i < length && pos+i < uint64(size); i++ {
				z = z&^(1<<(pos+i)) | x[0]>>i&1<<(pos+i)
			}
			return z
		}
		sign := uint64(0)
		if signed && length > 0 {
			sign = x[0] >> min(pos+length-1, uint64(size-1)) & 1
		}
		for i := range uint64(size) {
			bit := sign
			if i < length && pos+i < uint64(size) {
				bit = x[0] >> (pos + i) & 1
			}
			z |= bit << i
		}
		return z
	})
	v.src, v.in = append(v.src, "b32", "b32"), append(v.in, amounts, amounts)
	return v, true
}

// counting is an instruction that counts or finds bits: its result has 32 bits.
func counting(f func(x uint64, size uint, mods []string) uint64) writer {
	return func(op string, mods []string) (*vector, bool) {
		size := sizeOf(last(mods))
		v := loop(size, 1, nil)
		v.dst = "b32"
		v.want = func(x []uint64) (uint64, bool) { return f(x[0], size, mods) & 0xffffffff, true }
		return v, true
	}
}

func findTop(x uint64, size uint, mods []string) uint64 {
	top := x >> (size - 1) & 1
	for i := size; i > 0; i-- {
		bit := x >> (i - 1) & 1
		if last(mods)[0] == 's' && top == 1 {
			bit ^= 1
		}
		if bit == 1 {
			if has(mods, "shiftamt") {
				return uint64(size - i)
			}
			return uint64(i - 1)
		}
	}
	return ^uint64(0)
}

func findNth(string, []string) (*vector, bool) {
	v := loop(32, 1, func(x []uint64) uint64 {
		mask, base, n := x[0], int(x[1]), int32(x[2])
		step, left := 1, int64(n)
		switch {
		case n == 0:
			if mask>>base&1 == 1 {
				return uint64(base)
			}
			return ^uint64(0)
		case n < 0:
			step, left = -1, -int64(n)
		}
		for i := base; i >= 0 && i < 32; i += step {
			if mask>>i&1 == 1 {
				if left--; left == 0 {
					return uint64(i)
				}
			}
		}
		return ^uint64(0)
	})
	var base []uint64
	for i := range uint64(32) {
		base = append(base, i)
	}
	v.src = append(v.src, "b32", "b32")
	v.in = append(v.in, base, []uint64{0, 1, 2, 3, 31, 32, 33, 1<<32 - 1, 1<<32 - 2, 1<<32 - 32, 1 << 31})
	return v, true
}

// logicTable is lop3 with tables that tell the operands apart; the test of package arith has all 256.
func logicTable(string, []string) (*vector, bool) {
	const lut = 0xca // a ? b : c
	v := loop(32, 3, func(x []uint64) (z uint64) {
		for i := range 32 {
			row := x[0]>>i&1<<2 | x[1]>>i&1<<1 | x[2]>>i&1
			z |= lut >> row & 1 << i
		}
		return z
	})
	v.src = append(v.src, "imm:0xca")
	return v, true
}

func permute(_ string, mods []string) (*vector, bool) {
	mode := ""
	if len(mods) == 2 {
		mode = mods[1]
	}
	v := loop(32, 2, func(x []uint64) (z uint64) {
		both := x[1]<<32 | x[0]
		k := int(x[2] & 3)
		for i := range 4 {
			pick, replicate := int(x[2]>>(4*i)&7), x[2]>>(4*i)&8 != 0
			switch mode { // what each mode does to byte i, from its name
			case "f4e":
				pick, replicate = k+i, false
			case "b4e":
				pick, replicate = (k+8-i)%8, false
			case "rc8":
				pick, replicate = k, false
			case "ecl":
				pick, replicate = max(i, k), false
			case "ecr":
				pick, replicate = min(i, k), false
			case "rc16":
				pick, replicate = 2*(k%2)+i%2, false
			}
			byte := both >> (8 * pick) & 255
			if replicate {
				byte = byte >> 7 * 255
			}
			z |= byte << (8 * i)
		}
		return z
	})
	v.src = append(v.src, "b32")
	v.in = append(v.in, []uint64{0, 1, 2, 3, 4, 0x3210, 0x7654, 0x0123, 0xfedc, 0x89ab, 0x5140, 0xffff3265, 1<<32 - 1})
	return v, true
}

func masks(op string, mods []string) (*vector, bool) {
	wrap := mods[0] == "wrap"
	v := loop(32, 1, func(x []uint64) (z uint64) {
		a, n := x[0], x[1]
		if wrap {
			n %= 32
		}
		n = min(n, 32)
		if op == "szext" {
			for i := range uint64(32) {
				switch {
				case i < n:
					z |= a >> i & 1 << i
				case last(mods) == "s32" && n > 0:
					z |= a >> (n - 1) & 1 << i
				}
			}
			return z
		}
		if wrap {
			a %= 32
		}
		for i := range uint64(32) {
			z |= flag(i >= a && i < a+n) << i
		}
		return z
	})
	v.src = append(v.src, "b32")
	v.in = append(v.in, amounts)
	if op == "bmsk" {
		v.in[0] = amounts
	}
	return v, true
}

func bitWriters() map[string]writer {
	return map[string]writer{
		"and": bitwise(2, func(a, b uint64) bool { return a+b == 2 }),
		"or":  bitwise(2, func(a, b uint64) bool { return a+b > 0 }),
		"xor": bitwise(2, func(a, b uint64) bool { return a != b }),
		"not": bitwise(1, func(a, _ uint64) bool { return a == 0 }),
		"cnot": func(_ string, mods []string) (*vector, bool) {
			return loop(sizeOf(last(mods)), 1, func(x []uint64) uint64 { return flag(x[0] == 0) }), true
		},
		"shl": shifts, "shr": shifts, "shf": funnel,
		"bfe": field, "bfi": field,
		"bfind": counting(findTop),
		"clz": counting(func(x uint64, size uint, _ []string) uint64 {
			n := uint64(0)
			for i := size; i > 0 && x>>(i-1)&1 == 0; i-- {
				n++
			}
			return n
		}),
		"popc": counting(func(x uint64, size uint, _ []string) uint64 { return uint64(bits.OnesCount64(x)) }),
		"brev": func(_ string, mods []string) (*vector, bool) {
			size := sizeOf(last(mods))
			return loop(size, 1, func(x []uint64) (z uint64) {
				for i := range size {
					z |= x[0] >> i & 1 << (size - 1 - i)
				}
				return z
			}), true
		},
		"fns": findNth, "lop3": logicTable, "prmt": permute, "szext": masks, "bmsk": masks,
	}
}
