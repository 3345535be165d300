package ptx_test

import (
	"math/big"
	"strings"

	"bilevel/internal/ptx/arith/exact"
)

// converting is cvt.
func converting(_ string, mods []string) (*vector, bool) {
	if len(mods) < 2 {
		return nil, false
	}
	dst, src := mods[len(mods)-2], last(mods)
	if src == "tf32" {
		return nil, false
	}
	mode, whole := "rn", false
	for _, m := range mods[:len(mods)-2] {
		if m[0] == 'r' && m != "relu" {
			mode = m
		}
	}
	if mode != "rna" && len(mode) == 3 {
		mode, whole = mode[:2], true
	}
	ftz, sat := has(mods, "ftz"), has(mods, "sat")
	toFloat, two, dstFloat := formatOf(dst)
	if dst == "tf32" {
		toFloat, dstFloat = exact.Format{Exp: 8, Frac: 10}, true
	}
	from, _, srcFloat := formatOf(src)
	encode := func(v exact.Value) uint64 {
		u := toFloat.Encode(v, mode)
		if dst == "f32" && ftz {
			u = toFloat.Flush(u)
		}
		if has(mods, "satfinite") && u&^toFloat.Sign() == toFloat.Inf() {
			u--
		}
		if sat {
			u = toFloat.Saturate(u)
		}
		if has(mods, "relu") && !v.NaN && u&toFloat.Sign() != 0 {
			u = 0
		}
		if dst == "tf32" {
			u <<= 13
			if v.NaN {
				u = 0x7fffffff
			}
		}
		return u
	}
	v := &vector{dst: registerClass(dst), src: []string{registerClass(src)}, in: [][]uint64{integerEdges(sizeOf(src))}}
	if srcFloat {
		v.in[0] = floatInputs(from, false, 1)
		for _, n := range exact.IntegerEdges() {
			for _, x := range []exact.Value{exact.Int(new(big.Int).SetUint64(n)),
				exact.Int(new(big.Int).SetInt64(int64(n)))} {
				u := from.Encode(x, "rz")
				v.in[0] = append(v.in[0], u, (u+1)&(2*from.Sign()-1), u^from.Sign())
			}
		}
	}
	if two {
		v.src = append(v.src, "b32")
		v.in = append(v.in, floatInputs(from, false, 2))
		v.want = func(x []uint64) (uint64, bool) {
			return encode(from.Decode(x[0], false))<<16 | encode(from.Decode(x[1], false)), true
		}
		return v, true
	}
	size, signed := sizeOf(dst), dst[0] == 's'
	register := map[string]uint{"b16": 16, "b32": 32, "b64": 64}[v.dst]
	v.want = func(x []uint64) (uint64, bool) {
		if srcFloat {
			value := from.Decode(x[0], ftz && src == "f32")
			if whole {
				value = exact.Integral(value, mode)
			}
			if dstFloat {
				return encode(value), true
			}
			low, high := limits(size, signed)
			invalid := new(big.Int)
			if src == "f64" || size == 64 {
				invalid = number(1<<(size-1), size, signed)
			}
			return bitsOf(exact.ToInt(value, mode, low, high, invalid), register), true
		}
		n := number(x[0], sizeOf(src), strings.HasPrefix(src, "s"))
		if dstFloat {
			return encode(exact.Int(n)), true
		}
		if sat {
			n = clamped(n, size, signed)
		}
		return bitsOf(number(bitsOf(n, size), size, signed), register), true
	}
	return v, true
}

func convertWriters() map[string]writer { return map[string]writer{"cvt": converting} }

// moving is mov between registers.
func moving(_ string, mods []string) (*vector, bool) {
	typ := last(mods)
	class := registerClass(typ)
	v := &vector{dst: class, src: []string{class}, want: func(x []uint64) (uint64, bool) { return x[0], true }}
	if class == "pred" {
		v.in = [][]uint64{{0, 1}}
		return v, true
	}
	v.in = [][]uint64{integerEdges(sizeOf(typ))}
	return v, true
}

func moveWriters() map[string]writer { return map[string]writer{"mov": moving} }
