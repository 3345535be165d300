package ptx

import (
	"math/bits"
	"slices"

	"bilevel/internal/ptx/syntax"
)

// bitFlow finds the rule of the instruction at hand, nil if there is none.
func (d *decoder) bitFlow() *bitFlow {
	rules := bitRules[d.src.Op]
	if rules == nil || len(d.src.Args) < 2 || d.in.flow != flowPlain {
		return nil
	}
	t := bitType{mods: d.mods}
	for _, m := range d.mods {
		if n := typeBits[m]; n != 0 {
			t.bits, t.signed, t.float = n, m[0] == 's', m[0] == 'f' || m[0] == 'b' && m[1] == 'f'
		}
	}
	if t.bits == 0 {
		return nil
	}
	f := &bitFlow{rule: rules(t)}
	args := d.src.Args[1:]
	switch part := t.bits; {
	case d.src.Args[0].Kind == syntax.Vector: // mov {a, b}, c
		part /= len(d.src.Args[0].List)
		f.rule = func(x []bitValue, i int) uint64 { return x[0].u >> (i * part) & (1<<part - 1) }
	case args[0].Kind == syntax.Vector: // mov c, {a, b}
		args = args[0].List
		part /= len(args)
		f.rule = func(x []bitValue, _ int) (u uint64) {
			for i, a := range x {
				u |= a.u & (1<<part - 1) << (i * part)
			}
			return u
		}
	}
	if f.rule == nil {
		return nil
	}
	for _, op := range args {
		a, ok := d.bitArg(op, t)
		if !ok {
			return nil
		}
		f.args = append(f.args, a)
	}
	return f
}

// bitArg resolves an operand.
func (d *decoder) bitArg(op syntax.Operand, t bitType) (bitArg, bool) {
	a := bitArg{keep: ^uint64(0), not: op.Not}
	switch op.Kind {
	case syntax.Integer:
		a.constant, a.value = true, op.Bits
		return a, !op.Minus
	case syntax.Register:
		r, ok := d.lookup(op.Name)
		if !ok {
			r.off, ok = d.sysReg[op.Name]
			if wide, found := d.sysReg[op.Name+":64"]; !ok && found {
				r, ok = register{off: wide, width: width64}, true
			}
			if r.width != width64 {
				r.width = width32
			}
		}
		a.off, a.wide, a.pred = r.off, r.width == width64, r.width == widthPred
		if t.bits < 32 && r.width == width32 && d.src.Op != "mov" {
			a.keep = t.keep()
		}
		return a, ok && !op.Minus
	}
	return a, false
}

// get is the operand in a lane.
func (a *bitArg) get(w *warp, lane int) bitValue {
	switch {
	case a.constant:
		return bitValue{a.value, 0}
	case a.pred:
		x := bitValue{uint64(*w.predicate(a.off) >> lane & 1), w.undefinedBits(a.off, lane, false) & 1}
		if a.not {
			x.v ^= 1
		}
		return x
	}
	return bitValue{w.lane(a.off, lane, a.wide) & a.keep, w.undefinedBits(a.off, lane, a.wide) & a.keep}
}

// propagate notes what an instruction makes of undefined bits: ok are the lanes whose operands are all defined, unsure
// those whose guard is not.
func (s *sanitizer) propagate(w *warp, in *instr, meta *meta, m, ok, unsure uint32) {
	for _, u := range meta.uses {
		if m&^w.known[u.off>>2] != 0 {
			for _, d := range meta.defs {
				s.inherit(d.off, u.off)
			}
			break
		}
	}
	bad := m &^ ok
	rule := func(lane int, x []bitValue, i int) uint64 { return ^uint64(0) }
	switch f := meta.flow; {
	case f != nil:
		rule = func(_ int, x []bitValue, i int) uint64 { return f.rule(x, i) }
	case in.flow == flowWarp && bad != 0:
		if bad = m; meta.src.Op == "vote" && slices.Contains(meta.src.Mods, "ballot") {
			rule = func(int, []bitValue, int) uint64 { return uint64(m &^ ok) }
		}
	}
	type result struct {
		lane int
		u    [16]uint64
	}
	var results []result
	var x [4]bitValue
	for b := bad &^ unsure; b != 0; b &= b - 1 {
		r := result{lane: bits.TrailingZeros32(b)}
		var args []bitValue
		if meta.flow != nil {
			args = x[:len(meta.flow.args)]
			for i := range args {
				args[i] = meta.flow.args[i].get(w, r.lane)
			}
		}
		for i := range min(len(meta.defs), len(r.u)) {
			r.u[i] = rule(r.lane, args, i)
		}
		results = append(results, r)
	}
	for i, d := range meta.defs {
		w.known[d.off>>2] |= m &^ bad
		w.known[d.off>>2] &^= unsure
		if w.undefined != nil {
			w.partly[d.off>>2] &^= unsure
		}
		size := w.prog.widths[d.off]
		for k := range results {
			r := &results[k]
			u := ^uint64(0)
			if i < len(r.u) {
				u = r.u[i]
			}
			if u &= w.whole(size == 64); size == 1 && u&1 != 0 {
				u = w.whole(false)
			} else if size == 1 {
				u = 0
			} else if size == 16 {
				u &= 0xffff
			}
			w.setUndefined(d.off, r.lane, size == 64, u)
		}
	}
}
