package ptx_test

import (
	"slices"

	"bilevel/internal/ptx/arith/exact"
	"bilevel/internal/testrun"
)

// outcome is -1, 0 or 1, and 2 where an operand is NaN.
func outcome(typ string, ftz bool, a, b uint64) int {
	if f, _, ok := formatOf(typ); ok {
		return exact.Compare(f.Decode(a, ftz), f.Decode(b, ftz))
	}
	size, signed := sizeOf(typ), typ[0] == 's'
	return number(a, size, signed).Cmp(number(b, size, signed))
}

// holding lists the outcomes for which a comparison holds.
var holding = map[string][]int{
	"eq": {0}, "ne": {-1, 1}, "lt": {-1}, "le": {-1, 0}, "gt": {1}, "ge": {0, 1},
	"lo": {-1}, "ls": {-1, 0}, "hi": {1}, "hs": {0, 1},
	"equ": {0, 2}, "neu": {-1, 1, 2}, "ltu": {-1, 2}, "leu": {-1, 0, 2}, "gtu": {1, 2}, "geu": {0, 1, 2},
	"num": {-1, 0, 1}, "nan": {2},
}

func combine(op string, a, b bool) bool {
	switch op {
	case "and":
		return a && b
	case "or":
		return a || b
	case "xor":
		return a != b
	}
	return a
}

// comparing is setp and set.
func comparing(op string, mods []string) (*vector, bool) {
	typ := last(mods)
	f, two, isFloat := formatOf(typ)
	boolean := ""
	if len(mods) > 2 && slices.Contains([]string{"and", "or", "xor"}, mods[1]) {
		boolean = mods[1]
	}
	ftz := has(mods, "ftz")
	class := registerClass(typ)
	v := &vector{dst: "b32", src: []string{class, class}, most: testrun.Size(256, 1024)} // of thousands of forms
	inputs := func(seed uint64) []uint64 {
		if isFloat {
			return floatInputs(f, two, seed)
		}
		return integerEdges(sizeOf(typ))
	}
	v.in = [][]uint64{inputs(1), inputs(2)}
	operands := "$a, $b"
	if boolean != "" {
		v.src, v.in = append(v.src, "pred"), append(v.in, []uint64{0, 1})
		operands += ", $c"
	}
	name := op
	for _, m := range mods {
		name += "." + m
	}
	holds := func(a, b uint64) bool { return slices.Contains(holding[mods[0]], outcome(typ, ftz, a, b)) }
	c := func(x []uint64) bool { return len(x) == 3 && x[2] != 0 }
	if op == "setp" {
		// Both predicates of the instruction, as bits 0 and 1.
		v.body = []string{name + " $P|$Q, " + operands + ";", "selp.u32 $D, 1, 0, $P;", "selp.u32 $T, 2, 0, $Q;",
			"or.b32 $D, $D, $T;"}
		v.want = func(x []uint64) (uint64, bool) {
			if two { // one predicate for each number
				return flag(combine(boolean, holds(x[0]&0xffff, x[1]&0xffff), c(x))) |
					flag(combine(boolean, holds(x[0]>>16, x[1]>>16), c(x)))<<1, true
			}
			t := holds(x[0], x[1])
			return flag(combine(boolean, t, c(x))) | flag(combine(boolean, !t, c(x)))<<1, true
		}
		if isFloat && sizeOf(typ) == 16 { // the half forms have one predicate
			v.body = []string{name + " $P, " + operands + ";", "selp.u32 $D, 1, 0, $P;"}
			v.want = func(x []uint64) (uint64, bool) { return flag(combine(boolean, holds(x[0], x[1]), c(x))), true }
		}
		return v, true
	}
	dst := mods[len(mods)-2]
	v.dst = registerClass(dst)
	v.body = []string{name + " $D, " + operands + ";"}
	result := func(holds bool) uint64 {
		switch {
		case !holds:
			return 0
		case formatKnown(dst):
			f, _, _ := formatOf(dst)
			return f.Encode(exact.Float(1), "rn")
		}
		return 1<<sizeOf(dst) - 1
	}
	v.want = func(x []uint64) (uint64, bool) {
		if two {
			low := combine(boolean, holds(x[0]&0xffff, x[1]&0xffff), c(x))
			high := combine(boolean, holds(x[0]>>16, x[1]>>16), c(x))
			if dst == "u32" || dst == "s32" {
				return flag(low)*0xffff | flag(high)*0xffff<<16, true
			}
			return result(low) | result(high)<<16, true
		}
		return result(combine(boolean, holds(x[0], x[1]), c(x))), true
	}
	return v, true
}

// property is testp.
func property(_ string, mods []string) (*vector, bool) {
	f, _, ok := formatOf(last(mods))
	if !ok {
		return nil, false
	}
	class := registerClass(last(mods))
	return &vector{dst: "pred", src: []string{class}, in: [][]uint64{floatInputs(f, false, 1)},
		want: func(x []uint64) (uint64, bool) {
			e, m := x[0]&f.Inf(), x[0]&(1<<f.Frac-1)
			top := e == f.Inf()
			return flag(map[string]bool{
				"finite": !top, "infinite": top && m == 0, "number": !top || m == 0, "notanumber": top && m != 0,
				"normal": !top && (e != 0 || m == 0), "subnormal": e == 0 && m != 0,
			}[mods[0]]), true
		}}, true
}

// selecting is selp and slct.
func selecting(op string, mods []string) (*vector, bool) {
	if op == "selp" {
		size := sizeOf(last(mods))
		class := registerClass(last(mods))
		list := integerEdges(size)
		return &vector{dst: class, src: []string{class, class, "pred"}, in: [][]uint64{list, list, {0, 1}},
			want: func(x []uint64) (uint64, bool) {
				if x[2] != 0 {
					return x[0], true
				}
				return x[1], true
			}}, true
	}
	typ, by := mods[len(mods)-2], last(mods)
	class := registerClass(typ)
	list := integerEdges(sizeOf(typ))
	v := &vector{dst: class, src: []string{class, class, "b32"}, in: [][]uint64{list, list, integerEdges(32)}}
	if by == "f32" {
		v.in[2] = floatInputs(exact.F32(), false, 1)
	}
	v.want = func(x []uint64) (uint64, bool) {
		o := outcome(by, has(mods, "ftz"), x[2], 0)
		if o == 0 || o == 1 {
			return x[0], true
		}
		return x[1], true
	}
	return v, true
}

func compareWriters() map[string]writer {
	return map[string]writer{"setp": comparing, "set": comparing, "testp": property, "selp": selecting,
		"slct": selecting}
}
