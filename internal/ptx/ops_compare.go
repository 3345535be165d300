package ptx

import (
	"strings"

	"bilevel/internal/ptx/arith"
	"bilevel/internal/ptx/syntax"
)

const (
	bitCmps      = "eq|ne"
	signedCmps   = "eq|ne|lt|le|gt|ge"
	unsignedCmps = "eq|ne|lt|le|gt|ge|lo|ls|hi|hs"
	floatCmps    = "eq|ne|lt|le|gt|ge|equ|neu|ltu|leu|gtu|geu|num|nan"
)

func compareForms() []form {
	c := ClassCompare
	rows := []form{
		{op: "testp", suffixes: "finite|infinite|number|notanumber|normal|subnormal f32|f64", class: c,
			build: testFloat},
	}
	const boolean = " and|or|xor? "
	for _, suffixes := range []string{
		bitCmps + boolean + "b16|b32|b64",
		signedCmps + boolean + "s16|s32|s64",
		unsignedCmps + boolean + "u16|u32|u64",
		floatCmps + boolean + "ftz? f32",
		floatCmps + boolean + "f64",
		floatCmps + boolean + "ftz? f16|f16x2",
		floatCmps + boolean + "bf16|bf16x2",
	} {
		rows = append(rows, form{op: "setp", suffixes: suffixes, class: c, build: setPredicates})
	}
	for _, suffixes := range []string{
		bitCmps + boolean + "u32|s32|f32|f16|bf16 b16|b32|b64",
		signedCmps + boolean + "u32|s32|f32|f16|bf16 s16|s32|s64",
		unsignedCmps + boolean + "u32|s32|f32|f16|bf16 u16|u32|u64",
		floatCmps + boolean + "ftz? u32|s32|f32|f16 f32",
		floatCmps + boolean + "u32|s32|f32|f16|bf16 f64",
		floatCmps + boolean + "ftz? u16|s16|u32|s32|f16 f16",
		floatCmps + boolean + "u16|s16|u32|s32|bf16 bf16",
		floatCmps + boolean + "bf16 f16|f32",
	} {
		rows = append(rows, form{op: "set", suffixes: suffixes, class: c, build: setWord})
	}
	return append(rows,
		form{op: "set", suffixes: floatCmps + boolean + "ftz? u32|s32|f16x2 f16x2", class: c, build: setHalves},
		form{op: "set", suffixes: floatCmps + boolean + "u32|s32|bf16x2 bf16x2", class: c, build: setHalves})
}

// A comparison gives the lanes in which the operands compare so.
type comparison func(w *warp, a, b int32) uint32

// compareLanes is the lanes in which a is less than, equal to and greater than b.
func compareLanes[T word](a, b *vec[T]) (lt, eq, gt uint32) {
	for i := range a {
		var l, e, g uint32
		if a[i] < b[i] {
			l = 1
		}
		if a[i] == b[i] {
			e = 1
		}
		if a[i] > b[i] {
			g = 1
		}
		lt |= l << i
		eq |= e << i
		gt |= g << i
	}
	return lt, eq, gt
}

func lessLanes[T word](a, b *vec[T]) (m uint32) {
	for i := range a {
		var l uint32
		if a[i] < b[i] {
			l = 1
		}
		m |= l << i
	}
	return m
}

func equalLanes[T word](a, b *vec[T]) (m uint32) {
	for i := range a {
		var e uint32
		if a[i] == b[i] {
			e = 1
		}
		m |= e << i
	}
	return m
}

// compareAs compares registers of type T. Comparisons that need one pass take one.
func compareAs[T word](c arith.Cmp, float bool) comparison {
	switch {
	case c == arith.EQ:
		return func(w *warp, a, b int32) uint32 { return equalLanes(reg[T](w, a), reg[T](w, b)) }
	case c == arith.NEU, c == arith.NE && !float:
		return func(w *warp, a, b int32) uint32 { return ^equalLanes(reg[T](w, a), reg[T](w, b)) }
	case c == arith.LT:
		return func(w *warp, a, b int32) uint32 { return lessLanes(reg[T](w, a), reg[T](w, b)) }
	case c == arith.GT:
		return func(w *warp, a, b int32) uint32 { return lessLanes(reg[T](w, b), reg[T](w, a)) }
	case c == arith.GEU, c == arith.GE && !float:
		return func(w *warp, a, b int32) uint32 { return ^lessLanes(reg[T](w, a), reg[T](w, b)) }
	case c == arith.LEU, c == arith.LE && !float:
		return func(w *warp, a, b int32) uint32 { return ^lessLanes(reg[T](w, b), reg[T](w, a)) }
	}
	return func(w *warp, a, b int32) uint32 {
		lt, eq, gt := compareLanes(reg[T](w, a), reg[T](w, b))
		return pick(c, arith.LT, lt) | pick(c, arith.EQ, eq) | pick(c, arith.GT, gt) | pick(c, arith.NAN, ^(lt|eq|gt))
	}
}

func pick(c, outcome arith.Cmp, lanes uint32) uint32 {
	if c&outcome != 0 {
		return lanes
	}
	return 0
}

// compareBy is a comparison by a function of one lane of 32-bit registers.
func compareBy(f func(a, b uint32) bool) comparison {
	return func(w *warp, a, b int32) (m uint32) {
		x, y := reg[uint32](w, a), reg[uint32](w, b)
		for i := range x {
			m |= toWord(f(x[i], y[i])) << i
		}
		return m
	}
}

// comparison is the instruction's comparison of values of type typ.
func (d *decoder) comparison(c arith.Cmp, typ string) comparison {
	ftz := d.has("ftz")
	switch typ {
	case "b16", "u16":
		return compareBy(func(a, b uint32) bool { return arith.Int(c, a&0xffff, b&0xffff) })
	case "s16":
		return compareBy(func(a, b uint32) bool { return arith.Int(c, int32(s16(a)), int32(s16(b))) })
	case "b32", "u32":
		return compareAs[uint32](c, false)
	case "s32":
		return compareAs[int32](c, false)
	case "b64", "u64":
		return compareAs[uint64](c, false)
	case "s64":
		return compareAs[int64](c, false)
	case "f32":
		if ftz {
			return compareBy(c.F32FTZ)
		}
		return compareAs[float32](c, true)
	case "f64":
		return compareAs[float64](c, true)
	case "f16":
		return compareBy(func(a, b uint32) bool { return arith.F16().Holds(arith.Mode{FTZ: ftz}, c, u16(a), u16(b)) })
	case "bf16":
		return compareBy(func(a, b uint32) bool { return arith.BF16().Holds(arith.Mode{}, c, u16(a), u16(b)) })
	}
	d.fail("unsupported type %s", typ)
	return nil
}

// combine is the Boolean operation of setp and set with a predicate operand, and their number of operands.
func (d *decoder) combine() (join func(a, b uint32) uint32, operands int) {
	switch d.which("and", "or", "xor") {
	case "and":
		return func(a, b uint32) uint32 { return a & b }, 4
	case "or":
		return func(a, b uint32) uint32 { return a | b }, 4
	case "xor":
		return func(a, b uint32) uint32 { return a ^ b }, 4
	}
	return func(a, _ uint32) uint32 { return a }, 3
}

// third binds the predicate that combine's operation takes, and returns all ones where it is negated.
func (d *decoder) third(operands int) (not uint32) {
	d.in.c = alwaysTrue
	if operands == 4 {
		d.in.c, not = d.pred(d.arg(3)), flip(d.arg(3).Not)
	}
	return not
}

// pair splits d|p; the second is absent otherwise.
func pair(op syntax.Operand) (first, second syntax.Operand, both bool) {
	if op.Kind == syntax.Pair {
		return op.List[0], op.List[1], true
	}
	return op, syntax.Operand{}, false
}

// setPredicates is setp: p|q = (a cmp b) op c, and q with the comparison negated. The packed types compare both halves.
func setPredicates(d *decoder) {
	join, n := d.combine()
	d.args(n, n)
	c, _ := arith.ParseCmp(d.mods[0])
	typ := d.typ()
	first, second, both := pair(d.arg(0))
	d.in.d = d.dst(first, widthPred)
	q := int32(-1)
	if both {
		q = d.dst(second, widthPred)
	}
	w := widthOf(typeBits[typ])
	d.in.a, d.in.b = d.operand(d.arg(1), w), d.operand(d.arg(2), w)
	not := d.third(n)
	if typ == "f16x2" || typ == "bf16x2" {
		d.comparePacked(c, typ[:len(typ)-2], q, join, not)
		return
	}
	cmp := d.comparison(c, typ)
	if n == 3 && q < 0 {
		d.in.run = func(w *warp, in *instr, mask uint32) { setPredicate(w, in.d, cmp(w, in.a, in.b), mask) }
		return
	}
	d.in.run = func(w *warp, in *instr, mask uint32) {
		v, p := cmp(w, in.a, in.b), *w.predicate(in.c)^not
		setPredicate(w, in.d, join(v, p), mask)
		if q >= 0 {
			setPredicate(w, q, join(^v, p), mask)
		}
	}
}

// comparePacked is setp of packed halves: the first predicate from the lower ones, the second from the upper ones.
func (d *decoder) comparePacked(c arith.Cmp, typ string, q int32, join func(a, b uint32) uint32, not uint32) {
	halves := d.compareHalves(c, typ)
	d.in.run = func(w *warp, in *instr, mask uint32) {
		lo, hi := halves(w, in.a, in.b)
		p := *w.predicate(in.c) ^ not
		setPredicate(w, in.d, join(lo, p), mask)
		if q >= 0 {
			setPredicate(w, q, join(hi, p), mask)
		}
	}
}

// compareHalves gives the lanes in which the lower and the upper halves of registers compare so.
func (d *decoder) compareHalves(c arith.Cmp, typ string) func(w *warp, a, b int32) (lo, hi uint32) {
	h := arith.F16()
	if typ == "bf16" {
		h = arith.BF16()
	}
	m := arith.Mode{FTZ: d.has("ftz")}
	return func(w *warp, a, b int32) (lo, hi uint32) {
		x, y := reg[uint32](w, a), reg[uint32](w, b)
		for i := range x {
			lo |= toWord(h.Holds(m, c, uint16(x[i]), uint16(y[i]))) << i
			hi |= toWord(h.Holds(m, c, uint16(x[i]>>16), uint16(y[i]>>16))) << i
		}
		return lo, hi
	}
}

// truth is what set writes where the comparison holds: one, or all ones.
var truth = map[string]uint32{"u32": fullMask, "s32": fullMask, "u16": 0xffff, "s16": 0xffff, "f32": 0x3f800000,
	"f16": 0x3c00, "bf16": 0x3f80}

// setWord is set: truth where the comparison holds, else 0.
func setWord(d *decoder) {
	join, n := d.combine()
	d.args(n, n)
	c, _ := arith.ParseCmp(d.mods[0])
	typ, yes := d.typ(), truth[d.mods[len(d.mods)-2]]
	w := widthOf(typeBits[typ])
	d.in.d, d.in.a, d.in.b = d.dst(d.arg(0), width32), d.operand(d.arg(1), w), d.operand(d.arg(2), w)
	not, cmp := d.third(n), d.comparison(c, typ)
	d.in.run = func(w *warp, in *instr, mask uint32) {
		v := join(cmp(w, in.a, in.b), *w.predicate(in.c)^not)
		var t vec[uint32]
		for i := range t {
			t[i] = yes * (v >> i & 1)
		}
		blend(reg[uint32](w, in.d), &t, mask)
	}
}

// setHalves is set of packed halves: the truth of 16 bits for each.
func setHalves(d *decoder) {
	join, n := d.combine()
	d.args(n, n)
	c, _ := arith.ParseCmp(d.mods[0])
	typ := strings.TrimSuffix(d.typ(), "x2")
	yes := truth["u16"]
	if d.mods[len(d.mods)-2] == d.typ() {
		yes = truth[typ]
	}
	d.in.d, d.in.a, d.in.b = d.dst(d.arg(0), width32), d.src32(d.arg(1)), d.src32(d.arg(2))
	not, halves := d.third(n), d.compareHalves(c, typ)
	d.in.run = func(w *warp, in *instr, mask uint32) {
		lo, hi := halves(w, in.a, in.b)
		p := *w.predicate(in.c) ^ not
		lo, hi = join(lo, p), join(hi, p)
		var t vec[uint32]
		for i := range t {
			t[i] = yes*(lo>>i&1) | yes<<16*(hi>>i&1)
		}
		blend(reg[uint32](w, in.d), &t, mask)
	}
}

// testFloat is testp. Only the exponent and fraction fields count.
func testFloat(d *decoder) {
	d.args(2, 2)
	class, _ := arith.ParseClass(d.mods[0])
	wide := d.typ() == "f64"
	d.in.d, d.in.a = d.dst(d.arg(0), widthPred), d.operand(d.arg(1), widthOf(typeBits[d.typ()]))
	holds := class.F64
	if !wide {
		holds = func(u uint64) bool { return class.F32(uint32(u)) }
	}
	d.in.run = func(w *warp, in *instr, mask uint32) {
		var p uint32
		for i := range warpSize {
			p |= toWord(holds(w.lane(in.a, i, wide))) << i
		}
		setPredicate(w, in.d, p, mask)
	}
}
