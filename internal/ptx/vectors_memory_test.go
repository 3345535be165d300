package ptx_test

import (
	"fmt"
	"math/big"
	"slices"
	"strings"

	"bilevel/internal/ptx/arith/exact"
)

var scopes = []string{"cta", "cluster", "gpu", "sys"}

var memoryTypes = []string{"b8", "u8", "s8", "b16", "u16", "s16", "b32", "u32", "s32", "f32", "b64", "u64",
	"s64", "f64"}

// places are the state spaces of a load or store, each with its declarations, the preparation of a thread's own 32
// bytes in it, which hold the operands, and the address of these.
var places = []struct {
	space   string
	decl    []string
	prepare []string
	address string
}{
	{"", nil, nil, "[%d8]"},
	{"global", nil, nil, "[%d8]"},
	{"shared", []string{".shared .align 16 .b8 sm[2048];"}, copyTo("shared", "%r5"), "[%r5]"},
	{"shared::cta", []string{".shared .align 16 .b8 sm[2048];"}, copyTo("shared", "%r5"), "[%r5]"},
	{"local", []string{".local .align 16 .b8 lm[32];"}, copyTo("local", "lm"), "[lm]"},
}

// copyTo moves the operands from global memory to the thread's part of a space.
func copyTo(space, at string) []string {
	lines := []string{}
	if space == "shared" {
		lines = append(lines, "mov.u32 %r5, sm;", "mov.u32 %r6, %tid.x;", "mad.lo.u32 %r5, %r6, 32, %r5;")
	}
	for i := range 4 {
		lines = append(lines, fmt.Sprintf("ld.global.u64 %%d6, [%%d8+%d];", 8*i),
			fmt.Sprintf("st.%s.u64 [%s+%d], %%d6;", space, at, 8*i))
	}
	return lines
}

// row is four operands of 64 bits: 32 aligned bytes in memory.
func row() [][]uint64 {
	list := integerEdges(64)
	return [][]uint64{list, list, list, list}
}

// bytesOf is the operands as they lie in memory.
func bytesOf(x []uint64) []byte {
	var b []byte
	for _, u := range x {
		for i := range 8 {
			b = append(b, byte(u>>(8*i)))
		}
	}
	return b
}

func little(b []byte) (u uint64) {
	for i := len(b); i > 0; i-- {
		u = u<<8 | uint64(b[i-1])
	}
	return u
}

// element is what a load of the type puts into a register of 64 bits.
func element(typ string, b []byte) uint64 {
	u := little(b)
	if size := sizeOf(typ); typ[0] == 's' && size < 64 {
		return bitsOf(number(u, size, true), 64)
	}
	return u
}

// loadVector reads elements and folds them: the sum of (2i+1)·element i, so that none can take another's place.
func loadVector(op string, mods []string, place int) *vector {
	p := places[place]
	typ, n := last(mods), 1
	if has(mods, "v2") {
		n = 2
	} else if has(mods, "v4") {
		n = 4
	}
	size := sizeOf(typ)
	v := &vector{op: strings.Join(append([]string{op}, mods...), "."), dst: "b64",
		src: []string{"b64", "b64", "b64", "b64"}, in: row()}
	v.decl = append(slices.Clone(p.decl), ".reg .b64 %e<4>;")
	v.body = slices.Clone(p.prepare)
	registers := []string{"%e0", "%e1", "%e2", "%e3"}[:n]
	name := v.op
	list := strings.Join(registers, ", ")
	if n > 1 {
		list = "{" + list + "}"
	}
	v.body = append(v.body, name+" "+list+", "+p.address+";", "mov.b64 $D, 0;")
	for i, r := range registers {
		v.body = append(v.body, fmt.Sprintf("mad.lo.u64 $D, %s, %d, $D;", r, 2*i+1))
	}
	v.want = func(x []uint64) (uint64, bool) {
		b := bytesOf(x)
		var sum uint64
		for i := range n {
			step := int(size / 8)
			sum += uint64(2*i+1) * element(typ, b[i*step:(i+1)*step])
		}
		return sum, true
	}
	if strings.HasPrefix(typ, "f") { // ptxas wants registers of the very size for these
		class := registerClass(typ)
		for i, r := range registers {
			small := fmt.Sprintf("%s%d", map[string]string{"b32": "%s", "b64": "%e"}[class], i)
			v.body = slices.Clone(v.body)
			for k := range v.body {
				if strings.HasPrefix(v.body[k], name+" ") {
					v.body[k] = strings.Replace(v.body[k], r, small, 1)
					if class == "b32" {
						v.body = slices.Insert(v.body, k+1, "cvt.u64.u32 "+r+", "+small+";")
					}
					break
				}
			}
		}
		v.decl = append(v.decl, ".reg .b32 %s<4>;")
	}
	return v
}

// storeVector writes elements cut from the operands over a cleared place and reads all 32 bytes back as one sum.
func storeVector(mods []string, place int) *vector {
	p := places[place]
	typ, n := last(mods), 1
	if has(mods, "v2") {
		n = 2
	} else if has(mods, "v4") {
		n = 4
	}
	size := int(sizeOf(typ))
	v := &vector{op: strings.Join(append([]string{"st"}, mods...), "."), dst: "b64",
		src: []string{"b64", "b64", "b64", "b64"}, in: row()}
	v.decl = append(slices.Clone(p.decl), ".reg .b32 %s<4>;")
	v.body = slices.Clone(p.prepare)
	// The elements are the operands in reverse, so that every store changes something.
	registers := []string{"$d", "$c", "$b", "$a"}[:n]
	if typ == "f32" {
		for i, r := range registers {
			small := fmt.Sprintf("%%s%d", i)
			v.body = append(v.body, "cvt.u32.u64 "+small+", "+r+";")
			registers[i] = small
		}
	}
	list := strings.Join(registers, ", ")
	if n > 1 {
		list = "{" + list + "}"
	}
	v.body = append(v.body, v.op+" "+p.address+", "+list+";", "mov.b64 $D, 0;")
	space := p.space
	if space != "" {
		space += "."
	}
	for i := range 4 {
		at := strings.Replace(p.address, "]", fmt.Sprintf("+%d]", 8*i), 1)
		v.body = append(v.body, "ld."+space+"u64 $T, "+at+";", fmt.Sprintf("mad.lo.u64 $D, $T, %d, $D;", 2*i+1))
	}
	v.want = func(x []uint64) (uint64, bool) {
		b := bytesOf(x)
		for i := range n {
			copy(b[i*size/8:(i+1)*size/8], bytesOf([]uint64{x[3-i]}))
		}
		var sum uint64
		for i := range 4 {
			sum += uint64(2*i+1) * little(b[8*i:8*i+8])
		}
		return sum, true
	}
	return v
}

// join drops empty words.
func join(words ...string) []string {
	var list []string
	for _, w := range words {
		for _, part := range strings.Split(w, ".") {
			if part != "" {
				list = append(list, part)
			}
		}
	}
	return list
}

func memoryVectors() (list []*vector) {
	hints := []string{"L1::evict_normal", "L1::evict_unchanged", "L1::evict_first", "L1::evict_last", "L1::no_allocate",
		"L2::64B", "L2::128B", "L2::256B"}
	orders := []string{"", "weak", "volatile"}
	for _, s := range scopes {
		orders = append(orders, "relaxed."+s, "acquire."+s, "release."+s)
	}
	for place, p := range places {
		for _, typ := range memoryTypes {
			for _, vec := range []string{"", "v2", "v4"} {
				if vec == "v4" && sizeOf(typ) == 64 {
					continue
				}
				list = append(list, loadVector("ld", join(p.space, vec, typ), place),
					storeVector(join(p.space, vec, typ), place))
				if p.space == "global" {
					list = append(list, loadVector("ld", join("global.nc", vec, typ), place),
						loadVector("ldu", join("global", vec, typ), place))
				}
			}
		}
		for _, o := range orders {
			if p.space == "local" && o != "" && o != "weak" {
				continue // threads share nothing there
			}
			if !strings.HasPrefix(o, "release") {
				list = append(list, loadVector("ld", join(o, p.space, "u32"), place))
			}
			if !strings.HasPrefix(o, "acquire") {
				list = append(list, storeVector(join(o, p.space, "u32"), place))
			}
		}
		for _, c := range []string{"ca", "cg", "cs", "lu", "cv"} {
			list = append(list, loadVector("ld", join(p.space, c, "u32"), place))
		}
		for _, c := range []string{"wb", "cg", "cs", "wt"} {
			list = append(list, storeVector(join(p.space, c, "u32"), place))
		}
	}
	for _, h := range hints {
		list = append(list, loadVector("ld", join("global", h, "u32"), 1),
			loadVector("ld", join("global.nc", h, "u32"), 1))
		if strings.HasPrefix(h, "L1") {
			list = append(list, storeVector(join("global", h, "u32"), 1))
		}
	}
	list = append(list, loadVector("ldu", join("u32"), 0))
	return append(append(list, parameterVectors()...), atomicVectors()...)
}

// parameterVectors compares loads of a parameter with its low part: the results are zero.
func parameterVectors() (list []*vector) {
	for _, space := range []string{"param", "param::entry"} {
		for _, typ := range memoryTypes {
			v := &vector{op: "ld." + space + "." + typ, dst: "b64",
				want: func([]uint64) (uint64, bool) { return 0, true }}
			register, widen := "%e0", ""
			if typ == "f32" {
				register, widen = "%s0", "cvt.u64.u32 %e0, %s0;"
			}
			v.decl = []string{".reg .b64 %e<2>;", ".reg .b32 %s<1>;"}
			cut := typ
			if typ[0] != 's' {
				cut = "u" + typ[1:]
			}
			v.body = []string{v.op + " " + register + ", [in];", widen, "ld.param.u64 %e1, [in];",
				"cvt.u64." + cut + " %e1, %e1;", "xor.b64 $D, %e0, %e1;"}
			if typ[0] == 's' {
				v.body[3] = "cvt.s64." + cut + " %e1, %e1;"
			}
			if sizeOf(typ) == 8 || sizeOf(typ) == 16 { // cvt takes 64-bit registers for these
				v.body[3] = strings.Replace(v.body[3], "%e1, %e1", "%e1, %e1", 1)
			}
			list = append(list, v)
		}
	}
	return list
}

// change is the effect of an atomic operation on a value of the type.
func change(name, typ string, old, b, c uint64, flush bool) uint64 {
	size := sizeOf(typ)
	signed := typ[0] == 's'
	x, y := number(old, size, signed), number(b, size, signed)
	if f, two, ok := formatOf(typ); ok {
		add := func(p, q uint64) uint64 {
			u := f.Encode(exact.Add(f.Decode(p, flush), f.Decode(q, flush), "rn"), "rn")
			if flush {
				u = f.Flush(u)
			}
			return u
		}
		if two {
			return add(old&0xffff, b&0xffff) | add(old>>16, b>>16)<<16
		}
		return add(old, b)
	}
	switch name {
	case "add":
		return bitsOf(new(big.Int).Add(x, y), size)
	case "min", "max":
		if x.Cmp(y) > 0 == (name == "min") {
			return b
		}
		return old
	case "and":
		return old & b
	case "or":
		return old | b
	case "xor":
		return old ^ b
	case "exch":
		return b
	case "inc":
		if old >= b {
			return 0
		}
		return old + 1
	case "dec":
		if old == 0 || old > b {
			return b
		}
		return old - 1
	}
	if old == b { // cas
		return c
	}
	return old
}

var atomicTypes = []struct {
	name  string
	types []string
}{
	{"and", []string{"b32", "b64"}}, {"or", []string{"b32", "b64"}}, {"xor", []string{"b32", "b64"}},
	{"exch", []string{"b32", "b64"}}, {"cas", []string{"b16", "b32", "b64"}},
	{"add", []string{"u32", "s32", "u64", "f32", "f64"}}, {"add.noftz", []string{"f16", "f16x2", "bf16", "bf16x2"}},
	{"inc", []string{"u32"}}, {"dec", []string{"u32"}},
	{"min", []string{"u32", "s32", "u64", "s64"}}, {"max", []string{"u32", "s32", "u64", "s64"}},
}

func atomicVectors() (list []*vector) {
	for _, t := range atomicTypes {
		for _, typ := range t.types {
			for place, p := range places {
				if p.space == "local" || p.space == "shared::cta" && typ != t.types[0] {
					continue
				}
				list = append(list, atomicVector("", p.space, t.name, typ, place, true))
				if t.name != "exch" && t.name != "cas" {
					list = append(list, atomicVector("", p.space, t.name, typ, place, false))
				}
			}
		}
	}
	for _, o := range []string{"relaxed", "acquire", "release", "acq_rel"} {
		for _, s := range append(scopes, "") {
			list = append(list, atomicVector(strings.Trim(o+"."+s, "."), "global", "add", "u32", 1, true))
			if o == "relaxed" || o == "release" {
				list = append(list, atomicVector(strings.Trim(o+"."+s, "."), "global", "add", "u32", 1, false))
			}
		}
	}
	for _, s := range scopes {
		list = append(list, atomicVector(s, "shared", "add", "u32", 2, true))
	}
	return list
}

// atomicVector applies an atomic to the thread's own first operand; the result tells the value before from that after.
func atomicVector(order, space, name, typ string, place int, returns bool) *vector {
	p := places[place]
	op := "atom"
	if !returns {
		op = "red"
	}
	v := &vector{op: strings.Join(join(op, order, space, name, typ), "."), dst: "b64", in: row()}
	class := registerClass(typ)
	v.src = []string{"b64", class, class, "b64"}
	v.decl = append(slices.Clone(p.decl), ".reg .b16 %s<2>;", ".reg .b32 %t<2>;", ".reg .b64 %e<4>;")
	old, widen := "%e1", ""
	switch class {
	case "b16":
		old, widen = "%s1", "cvt.u64.u16 %e1, %s1;"
	case "b32":
		old, widen = "%t1", "cvt.u64.u32 %e1, %t1;"
	}
	size := sizeOf(typ)
	mask := uint64(1)<<(size-1)<<1 - 1
	list := integerEdges(size)
	if f, two, ok := formatOf(typ); ok {
		list = floatInputs(f, two, 1)
	}
	v.in[0] = list
	v.in[1], v.in[2] = list, list
	if name == "cas" {
		v.in[1] = append(slices.Clone(list[:3]), list[0], list[1])
		v.in[0] = list[:4]
	}
	arguments := "$b"
	if name == "cas" {
		arguments = "$b, $c"
	}
	at := p.address
	v.body = slices.Clone(p.prepare)
	if returns {
		v.body = append(v.body, v.op+" "+old+", "+at+", "+arguments+";", widen)
	} else {
		v.body = append(v.body, "mov.b64 %e1, 0;", v.op+" "+at+", "+arguments+";")
	}
	ss := space
	if ss != "" {
		ss += "."
	}
	v.body = append(v.body, "ld."+ss+"u64 %e2, "+at+";", "mad.lo.u64 $D, %e1, 3, %e2;")
	v.want = func(x []uint64) (uint64, bool) {
		before := x[0] & mask
		flush := typ == "f32" && !strings.HasPrefix(space, "shared")
		after := x[0]&^mask | change(strings.TrimSuffix(name, ".noftz"), typ, before, x[1]&mask, x[2]&mask, flush)
		if !returns {
			before = 0
		}
		return before*3 + after, true
	}
	return v
}

// constantVectors read constant banks, and pass a value through a function.
func constantVectors() (list []*vector) {
	for _, typ := range memoryTypes {
		v := loadVector("ld", join("const", typ), 1)
		v.module = []string{".const .align 16 .b8 cm$N[32] = {1, 2, 3, 4, 5, 6, 7, 136, 9, 10, 11, 12, 13, 14, 15, " +
			"144, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32};"}
		for i, line := range v.body {
			v.body[i] = strings.Replace(line, "[%d8]", "[cm$N+4]", 1)
		}
		if sizeOf(typ) == 64 {
			for i, line := range v.body {
				v.body[i] = strings.Replace(line, "[cm$N+4]", "[cm$N+8]", 1)
			}
		}
		v.want = func([]uint64) (uint64, bool) {
			b := []byte{5, 6, 7, 136}
			if sizeOf(typ) == 64 {
				b = []byte{9, 10, 11, 12, 13, 14, 15, 144}
			}
			return element(typ, b[:sizeOf(typ)/8]), true
		}
		list = append(list, v)
	}
	for _, op := range []string{"call", "call.uni"} {
		for _, words := range [][2]string{{"ld.param", "st.param"}, {"ld.param::func", "st.param::func"}} {
			v := loop(64, 2, func(x []uint64) uint64 { return 3*x[0] + x[1] + 7 })
			v.op, v.others = op, []string{words[0] + ".b64", words[1] + ".b64"}
			ld, st := words[0], words[1]
			v.module = []string{
				".func (.param .b64 result) f$N(.param .b64 first, .param .b64 second)\n{\n.reg .b64 %f<4>;",
				"ld.param.b64 %f0, [first];\nld.param.b64 %f1, [second];\nmad.lo.u64 %f2, %f0, 3, %f1;",
				st + ".b64 [result], %f2;\nret;\n}",
			}
			v.body = []string{
				"{", ".param .b64 one;", ".param .b64 two;", ".param .b64 back;", st + ".b64 [one], $a;",
				st + ".b64 [two], $b;",
				op + " (back), f$N, (one, two);", ld + ".b64 $D, [back];", "}", "add.u64 $D, $D, 7;",
			}
			list = append(list, v)
		}
	}
	return list
}
