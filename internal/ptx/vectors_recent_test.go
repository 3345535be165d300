package ptx_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"bilevel/internal/ptx/arith/exact"
)

// recentWriters make vectors of instructions of targets after sm_90, and of some older ones that no other file has.
func recentWriters() map[string]writer {
	all := map[string]writer{"cvt": mini, "createpolicy": policy}
	for op, f := range map[string]floatOp{
		"add": func(mode string, x []exact.Value) exact.Value { return exact.Add(x[0], x[1], mode) },
		"sub": func(mode string, x []exact.Value) exact.Value { return exact.Add(x[0], exact.Neg(x[1]), mode) },
		"mul": func(_ string, x []exact.Value) exact.Value { return exact.Mul(x[0], x[1]) },
		"fma": func(mode string, x []exact.Value) exact.Value {
			return exact.Add(exact.Mul(x[0], x[1]), x[2], mode)
		},
	} {
		all[op] = func(op string, mods []string) (*vector, bool) {
			operands := 2
			if op == "fma" {
				operands = 3
			}
			if last(mods) == "f32x2" {
				return pairsOfFloats(operands, mods, f), true
			}
			if len(mods) > 1 && mods[len(mods)-2] == "f32" && op != "mul" {
				return mixedFloats(operands, mods, f), true
			}
			return nil, false
		}
	}
	for _, parts := range []string{"2", "4"} {
		for _, op := range []string{"vadd", "vsub", "vavrg", "vabsdiff", "vmin", "vmax"} {
			all[op+parts] = video
		}
	}
	return all
}

func f32Result(mods []string, v exact.Value) uint64 {
	f := exact.F32()
	u := f.Encode(v, roundings(mods))
	if has(mods, "ftz") {
		u = f.Flush(u)
	}
	if has(mods, "sat") {
		u = f.Saturate(u)
	}
	return u
}

// pairsOfFloats is packed f32x2 arithmetic: the halves of registers of 64 bits.
func pairsOfFloats(operands int, mods []string, g floatOp) *vector {
	v := &vector{dst: "b64", recent: true, most: 512}
	list := floatInputs(exact.F32(), false, 1)
	for i := range operands {
		v.src = append(v.src, "b64")
		var in []uint64
		for k, u := range list {
			in = append(in, u|list[(k*7+i+3)%len(list)]<<32)
		}
		v.in = append(v.in, in)
	}
	v.want = func(x []uint64) (z uint64, ok bool) {
		for _, shift := range []uint{0, 32} {
			var values []exact.Value
			for _, u := range x {
				values = append(values, exact.F32().Decode(u>>shift&0xffffffff, has(mods, "ftz")))
			}
			z |= f32Result(mods, g(roundings(mods), values)) << shift
		}
		return z, true
	}
	return v
}

// mixedFloats has f16 or bf16 operands, but the last, which is f32 as the result.
func mixedFloats(operands int, mods []string, g floatOp) *vector {
	f, _, _ := formatOf(last(mods))
	v := &vector{dst: "b32", recent: true, most: 512}
	for i := range operands - 1 {
		v.src, v.in = append(v.src, "b16"), append(v.in, floatInputs(f, false, uint64(i)))
	}
	v.src, v.in = append(v.src, "b32"), append(v.in, floatInputs(exact.F32(), false, 3))
	v.want = func(x []uint64) (uint64, bool) {
		var values []exact.Value
		for i, u := range x {
			if i < operands-1 {
				values = append(values, f.Decode(u, false))
			} else {
				values = append(values, exact.F32().Decode(u, false))
			}
		}
		return f32Result(mods, g(roundings(mods), values)), true
	}
	return v
}

// reduxFloat is redux.sync of f32.
func reduxFloat(mods ...string) *vector {
	full := strings.Join(append([]string{"redux", "sync"}, mods...), ".")
	f := exact.F32()
	v := together(full, 32, "b32", []string{"b32"}, [][]uint64{floatInputs(f, false, 1)},
		[]string{full + " $D, $a, -1;"}, func(rows [][]uint64) []uint64 {
			best, some, nan := uint64(0), false, false
			for _, x := range rows {
				u := x[0]
				if has(mods, "abs") {
					u &^= f.Sign()
				}
				// The bits in the order of the numbers, -0 before +0.
				key := func(u uint64) int64 {
					if u&f.Sign() != 0 {
						return -int64(u&^f.Sign()) - 1
					}
					return int64(u)
				}
				if f.Decode(u, false).NaN {
					nan = true
				} else if !some || key(u) < key(best) == has(mods, "min") && key(u) != key(best) {
					best, some = u, true
				}
			}
			if !some || nan && has(mods, "NaN") {
				best = f.NaN
			}
			return slices.Repeat([]uint64{best}, 32)
		})
	v.recent = true
	return v
}

// policy is createpolicy, whose result no kernel can use but as advice.
func policy(op string, mods []string) (*vector, bool) {
	full := strings.Join(append([]string{op}, mods...), ".")
	v := loop(64, 1, func(x []uint64) uint64 { return x[0] })
	arguments := ""
	switch {
	case has(mods, "range"):
		arguments = ", [%d8], 64, 128"
	case has(mods, "cvt"):
		arguments = ", $a"
	}
	v.decl = []string{".reg .b64 %e<2>;"}
	v.body = []string{full + " %e0" + arguments + ";", "ld.global.L2::cache_hint.u64 $D, [%d8], %e0;",
		"st.global.L2::cache_hint.u64 [%d7], $D, %e0;"}
	return v, true
}

// video is arithmetic of two or four parts of a word, one by one.
func video(op string, mods []string) (*vector, bool) {
	size := uint(16)
	if strings.HasSuffix(op, "4") {
		size = 8
	}
	v := &vector{dst: "b32", src: []string{"b32", "b32", "b32"}}
	r := rand.New(rand.NewPCG(3, 4))
	list := []uint64{0, 0xffffffff, 0x80808080, 0x7f7f7f7f, 0x80007fff, 0x01ff00fe}
	for range 60 {
		list = append(list, uint64(r.Uint32()))
	}
	v.in = [][]uint64{list, list, {0, 5, 0xfffffff0}}
	v.want = func(x []uint64) (uint64, bool) {
		sum, word := int64(int32(x[2])), uint64(0)
		for i := range 32 / size {
			a, b := partOf(x[0], i, size, mods[1]), partOf(x[1], i, size, mods[2])
			z := map[string]int64{"vadd": a + b, "vsub": a - b, "vavrg": (a + b + 1) >> 1, "vabsdiff": max(a-b, b-a),
				"vmin": min(a, b), "vmax": max(a, b)}[op[:len(op)-1]]
			if has(mods, "sat") {
				low, high := int64(0), int64(1)<<size-1
				if mods[0] == "s32" {
					low, high = -1<<(size-1), 1<<(size-1)-1
				}
				z = max(low, min(high, z))
			}
			sum += z
			word |= uint64(z) & (1<<size - 1) << (i * size)
		}
		if has(mods, "add") {
			return uint64(uint32(sum)), true
		}
		return word, true
	}
	return v, true
}

func partOf(u uint64, i, size uint, typ string) int64 {
	v := int64(u >> (i * size) & (1<<size - 1))
	if typ == "s32" && v>>(size-1) != 0 {
		v -= 1 << size
	}
	return v
}

// recentVectors are min and max of three numbers, tables of branches, copies with advice, wide accesses and fences.
func recentVectors() (list []*vector) {
	f := exact.F32()
	for _, op := range []string{"min", "max"} {
		for _, words := range []string{"", ".ftz", ".NaN", ".abs", ".ftz.NaN.abs"} {
			v := &vector{op: op + words + ".f32", dst: "b32", src: []string{"b32", "b32", "b32"}, recent: true}
			for i := range 3 {
				v.in = append(v.in, floatInputs(f, false, uint64(i)))
			}
			mods := strings.Split(words, ".")
			two, _ := extremes(op == "max")(op, append(mods, "f32"))
			v.want = func(x []uint64) (uint64, bool) {
				first, _ := two.want([]uint64{x[0], x[1]})
				return two.want([]uint64{first, x[2]})
			}
			list = append(list, v)
		}
	}
	for _, op := range []string{"min", "max"} {
		for _, words := range []string{"", "abs", "NaN", "abs.NaN"} {
			list = append(list, reduxFloat(join(op, words, "f32")...))
		}
	}
	for _, op := range []string{"brx.idx", "brx.idx.uni"} {
		v := loop(32, 1, func(x []uint64) uint64 { return [3]uint64{x[0] + 7, x[0] * 3, ^x[0]}[x[0]%3] })
		v.op = op
		v.body = []string{"rem.u32 $T, $a, 3;", "TABLE: .branchtargets FIRST, SECOND, THIRD;",
			strings.TrimSuffix(op, ".uni") + " $T, TABLE;",
			"FIRST: add.u32 $D, $a, 7;", "bra END;", "SECOND: mul.lo.u32 $D, $a, 3;", "bra END;",
			"THIRD: not.b32 $D, $a;", "END:"}
		list = append(list, v)
	}
	for _, v := range asyncVectors() {
		if strings.HasPrefix(v.op, "cp.async.c") && !strings.Contains(v.op, "commit") {
			hinted := *v
			words := strings.Split(v.op, ".")
			words = slices.Insert(words, 5, "L2::cache_hint")
			hinted.op = strings.Join(words, ".")
			hinted.body = nil
			for _, line := range v.body {
				if strings.HasPrefix(line, v.op+" ") {
					line = hinted.op + strings.TrimSuffix(strings.TrimPrefix(line, v.op), ";") + ", %e0;"
				}
				hinted.body = append(hinted.body, line)
			}
			hinted.decl = append(slices.Clone(v.decl), ".reg .b64 %e<1>;")
			hinted.body = append([]string{"createpolicy.fractional.L2::evict_first.b64 %e0;"}, hinted.body...)
			list = append(list, &hinted)
		}
	}
	for _, returns := range []bool{true, false} {
		v := atomicVector("", "global", "add", "u32", 1, returns)
		plain := v.op
		v.op = strings.Replace(plain, ".global", ".global.L2::cache_hint", 1)
		v.decl = append(v.decl, ".reg .b64 %q<1>;")
		for i, line := range v.body {
			if strings.HasPrefix(line, plain+" ") {
				v.body[i] = "createpolicy.fractional.L2::evict_first.b64 %q0;\n" + v.op +
					strings.TrimSuffix(strings.TrimPrefix(line, plain), ";") + ", %q0;"
			}
		}
		list = append(list, v)
	}
	for _, t := range []struct {
		typ, vec string
		n        int
	}{{"f32", "v2", 2}, {"f32", "v4", 4}, {"noftz.f16", "v2", 2}, {"noftz.bf16", "v4", 4}, {"noftz.f16", "v8", 8},
		{"noftz.f16x2", "v2", 2}, {"noftz.bf16x2", "v4", 4}} {
		list = append(list, vectorAdditions(t.typ, t.vec, t.n)...)
	}
	hinted, _ := policy("createpolicy", []string{"fractional", "L2::evict_first", "b64"})
	hinted.op, hinted.others = "ld.global.L2::cache_hint.u64", []string{"st.global.L2::cache_hint.u64"}
	list = append(list, hinted)
	for _, hint := range []string{"L2::evict_first", "L2::evict_last", "L2::evict_normal"} {
		v := &vector{op: "ld.global." + hint + ".v8.b32", others: []string{"st.global." + hint + ".v8.b32"}, dst: "b64",
			src: []string{"b64", "b64", "b64", "b64"}, in: row(), recent: true}
		v.decl = []string{".reg .b32 %s<8>;", ".reg .b64 %e<2>;", ".shared .align 32 .b8 sm[32];"}
		v.body = []string{v.op + " {%s0, %s1, %s2, %s3, %s4, %s5, %s6, %s7}, [%d8];",
			v.others[0] + " [%d8], {%s7, %s6, %s5, %s4, %s3, %s2, %s1, %s0};",
			"ld.global.u64 %e0, [%d8];", "ld.global.u64 %e1, [%d8+24];", "mad.lo.u64 $D, %e1, 3, %e0;"}
		v.want = func(x []uint64) (uint64, bool) {
			swap := func(u uint64) uint64 { return u>>32 | u<<32 }
			return swap(x[3]) + 3*swap(x[0]), true
		}
		list = append(list, v)
	}
	for _, words := range []string{"acquire", "release"} {
		for _, scope := range scopes {
			list = append(list, &vector{op: "fence." + words + "." + scope, dst: "b64", src: []string{"b64"},
				in: [][]uint64{{1, 2}}, recent: true,
				body: []string{"fence." + words + "." + scope + ";", "mov.b64 $D, $a;"},
				want: func(x []uint64) (uint64, bool) { return x[0], true }})
		}
	}
	for _, op := range []string{"fence.mbarrier_init.release.cluster", "fence.proxy.async.shared::cluster"} {
		list = append(list, &vector{op: op, dst: "b64", src: []string{"b64"}, in: [][]uint64{{1, 2}},
			body: []string{op + ";", "mov.b64 $D, $a;"}, want: func(x []uint64) (uint64, bool) { return x[0], true }})
	}
	return list
}

// vectorAdditions are atom and red of several numbers: the result tells the old numbers from the new.
func vectorAdditions(typ, vec string, n int) (list []*vector) {
	plain := typ[strings.LastIndexByte(typ, '.')+1:]
	size := sizeOf(plain)
	numbers := func(u []uint64) (z []uint64) {
		b := bytesOf(u)
		for i := range n {
			z = append(z, little(b[i*int(size)/8:][:size/8]))
		}
		return z
	}
	fold := func(old, now []uint64) (z uint64) {
		for i := range n {
			z = z*5 + old[i]
		}
		for i := range n {
			z = z*5 + now[i]
		}
		return z
	}
	words := strings.TrimPrefix(strings.Replace(typ, plain, vec+"."+plain, 1), ".")
	for _, op := range []string{"atom.global.add.", "red.global.add."} {
		v := &vector{op: op + words, dst: "b64", src: []string{"b64", "b64", "b64", "b64"}}
		f, two, _ := formatOf(plain)
		for i := range 4 {
			in := floatInputs(f, two, uint64(i))
			var wide []uint64
			for k := range in {
				u := uint64(0)
				for at := uint(0); at < 64; at += size {
					u |= in[(k*3+int(at)+i)%len(in)] << at
				}
				wide = append(wide, u)
			}
			v.in = append(v.in, wide)
		}
		class := registerClass(plain)
		v.decl = []string{".reg ." + class + " %x<8>;", ".reg ." + class + " %y<8>;", ".reg ." + class + " %z<8>;",
			".reg .b64 %e<2>;"}
		var x, y []string
		for i := range n {
			x, y = append(x, fmt.Sprintf("%%x%d", i)), append(y, fmt.Sprintf("%%y%d", i))
			v.body = append(v.body, fmt.Sprintf("ld.global.%s %%x%d, [%%d8+%d];", class, i, 16+i*int(size)/8),
				fmt.Sprintf("mov.%s %%y%d, 0;", class, i))
		}
		if op[0] == 'a' {
			v.body = append(v.body, v.op+" {"+strings.Join(y, ", ")+"}, [%d8], {"+strings.Join(x, ", ")+"};")
		} else {
			v.body = append(v.body, v.op+" [%d8], {"+strings.Join(x, ", ")+"};")
		}
		v.body = append(v.body, "mov.b64 $D, 0;")
		for _, r := range y {
			v.body = append(v.body, "cvt.u64.u"+class[1:]+" %e0, "+r+";", "mad.lo.u64 $D, $D, 5, %e0;")
		}
		for i := range n {
			v.body = append(v.body, fmt.Sprintf("ld.global.u%s %%e0, [%%d8+%d];", class[1:], i*int(size)/8),
				"mad.lo.u64 $D, $D, 5, %e0;")
		}
		v.want = func(u []uint64) (uint64, bool) {
			old, add := numbers(u[:2]), numbers(u[2:])
			now := make([]uint64, n)
			for i := range n {
				now[i] = change("add", plain, old[i], add[i], 0, plain == "f32")
			}
			if op[0] == 'r' {
				old = make([]uint64, n)
			}
			return fold(old, now), true
		}
		list = append(list, v)
	}
	return list
}
