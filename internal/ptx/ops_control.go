package ptx

import (
	"fmt"
	"math/bits"

	"bilevel/internal/ptx/syntax"
)

func controlForms() []form {
	c := ClassControl
	return []form{
		{op: "bra", suffixes: "uni?", class: c, build: branch},
		{op: "brx", suffixes: "idx uni?", class: c, build: branchTable},
		{op: "ret", suffixes: "uni?", class: c, build: (*decoder).ret},
		{op: "exit", suffixes: "", class: c, build: func(d *decoder) { d.in.flow = flowExit }},
		{op: "call", suffixes: "uni?", class: c, build: call},
		{op: "trap", suffixes: "", class: c, build: func(d *decoder) {
			d.in.run = func(w *warp, in *instr, mask uint32) { w.halt(Trap, in, mask, "the kernel executed a trap") }
		}},
		{op: "nanosleep", suffixes: "u32", class: c, build: func(d *decoder) {
			d.args(1, 1)
			d.src32(d.arg(0))
			d.in.run = func(w *warp, _ *instr, _ uint32) { w.yield = true }
		}},
		{op: "prefetch", suffixes: "global|local? L1|L2", class: ClassGlobal, build: nothing},
		{op: "prefetch", suffixes: "global L2::evict_last|L2::evict_normal", class: ClassGlobal, build: nothing},
		{op: "prefetchu", suffixes: "L1", class: ClassGlobal, build: nothing},
		{op: "applypriority", suffixes: "global? L2::evict_normal", class: ClassGlobal, build: nothing},
		{op: "griddepcontrol", suffixes: "launch_dependents|wait", class: c, build: nothing},
	}
}

// nothing is an instruction without effect on results.
func nothing(d *decoder) { d.in.run = func(*warp, *instr, uint32) {} }

func branch(d *decoder) {
	d.args(1, 1)
	label := d.arg(0).Name
	if _, ok := d.f.fn.Labels[label]; !ok {
		d.fail("no label %s", label)
	}
	d.in.flow = flowBranch
	d.fixups = append(d.fixups, fixup{at: d.in.index, frame: d.f, label: label})
}

// branchTable is brx.idx: to the label that a register numbers in a list of .branchtargets.
func branchTable(d *decoder) {
	d.args(2, 2)
	labels := d.f.fn.Targets[d.arg(1).Name]
	if labels == nil {
		d.fail("%s is no list of .branchtargets", d.arg(1).Name)
	}
	f := d.f
	for _, l := range labels {
		if _, ok := f.fn.Labels[l]; !ok {
			d.fail("no label %s", l)
		}
	}
	index, goal := d.src32(d.arg(0)), d.alloc(width32)
	d.in.run = func(w *warp, in *instr, mask uint32) {
		i, to := reg[uint32](w, index), reg[uint32](w, goal)
		for ; mask != 0; mask &= mask - 1 {
			lane := bits.TrailingZeros32(mask) & 31
			if int64(i[lane]) >= int64(len(labels)) {
				w.halt(Trap, in, 1<<lane, fmt.Sprintf("the index %d of a list of %d labels", i[lane], len(labels)))
			}
			to[lane] = uint32(f.places[f.fn.Labels[labels[i[lane]]]])
		}
	}
	d.sequel()(instr{flow: flowIndirect, a: goal})
}

// ret ends the kernel, or goes back to where the function was called from.
func (d *decoder) ret() {
	d.in.flow = flowExit
	if !d.f.fn.Entry {
		d.in.flow, d.in.a = flowIndirect, d.f.back
	}
}

// A transfer copies one argument or result: between local memory and local memory, or between registers.
type transfer struct {
	from, to int64 // offsets in local memory, or registers
	size     int
	regs     bool
	wide     bool
	pred     bool
}

func (d *decoder) transfer(op syntax.Operand, f *frame, formal *syntax.Var, v variable, result bool) transfer {
	var t transfer
	if v.space == syntax.Reg {
		r := f.regs[formal.Name]
		t = transfer{to: int64(r.off), regs: true, wide: r.width == width64, pred: r.width == widthPred}
		switch {
		case result:
			t.from = int64(d.dst(op, r.width))
		case t.pred:
			t.from = int64(d.pred(op))
		default:
			t.from = int64(d.operand(op, r.width))
		}
	} else {
		actual, ok := d.f.vars[op.Name]
		if !ok {
			d.fail("the argument %s is not a .param variable", op.Name)
		}
		t = transfer{from: actual.off, to: v.off, size: v.size}
	}
	if result {
		t.from, t.to = t.to, t.from
	}
	return t
}

func (w *warp) transfer(list []transfer, mask uint32) {
	for _, t := range list {
		if t.pred {
			setPredicate(w, int32(t.to), *w.predicate(int32(t.from)), mask)
		}
		if t.regs && w.known != nil {
			w.copyBits(int32(t.to), int32(t.from), t.wide, mask)
		}
		if t.pred {
			continue
		}
		for m := mask; m != 0; m &= m - 1 {
			i := bits.TrailingZeros32(m)
			if t.regs {
				w.setLane(int32(t.to), i, t.wide, w.lane(int32(t.from), i, t.wide))
				continue
			}
			local := w.localOf(i)
			copy(local[t.to:t.to+int64(t.size)], local[t.from:])
			if w.localShade != nil {
				base := uint64(i * len(local))
				w.localShade.copyRange(base+uint64(t.to), base+uint64(t.from), uint64(t.size))
			}
		}
	}
}
