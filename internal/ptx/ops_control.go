package ptx

import (
	"math/bits"

	"bilevel/internal/ptx/syntax"
)

func controlForms() []form {
	c := ClassControl
	return []form{
		{op: "bra", suffixes: "uni?", class: c, build: branch},
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

// ret ends the kernel, or goes back to where the function was called from.
func (d *decoder) ret() {
	d.in.flow = flowExit
	if !d.f.fn.Entry {
		d.in.flow, d.in.a = flowIndirect, d.f.back
	}
}

// call is a direct call: arguments are copied to the function's parameters, then a branch, then the results come back.
func call(d *decoder) {
	var results, args []syntax.Operand
	var name string
	for _, op := range d.src.Args {
		switch {
		case op.Kind == syntax.List && name == "":
			results = op.List
		case op.Kind == syntax.List:
			args = op.List
		case op.Kind == syntax.Symbol || op.Kind == syntax.Register:
			if name != "" {
				d.fail("indirect calls are not supported")
			}
			name = op.Name
		}
	}
	fn := d.callee(name)
	if name == "__assertfail" {
		d.in.run = func(w *warp, in *instr, mask uint32) { w.halt(Trap, in, mask, "a device assertion failed") }
		return
	}
	if name == "vprintf" && (fn == nil || fn.Declared) {
		d.vprintf(results, args)
		return
	}
	if fn == nil || fn.Declared {
		d.fail("the function %s has no body in this module (device-side malloc and indirect calls are not supported)", name)
	}
	f := d.enter(fn)
	d.calling[d.f.fn.Name] = append(d.calling[d.f.fn.Name], name)
	if len(args) != len(f.params) || len(results) != len(f.results) {
		d.fail("%s takes %d arguments and gives %d results", name, len(f.params), len(f.results))
	}
	var in, out []transfer
	for i, op := range args {
		in = append(in, d.transfer(op, f, fn.Params[i], f.params[i], false))
	}
	for i, op := range results {
		out = append(out, d.transfer(op, f, fn.Results[i], f.results[i], true))
	}
	guard, flip, m := d.in.guard, d.in.flip, *d.meta
	back := f.back
	d.in.run = func(w *warp, in2 *instr, mask uint32) {
		w.transfer(in, mask)
		b := reg[uint32](w, back)
		for ; mask != 0; mask &= mask - 1 {
			b[bits.TrailingZeros32(mask)&31] = uint32(in2.index + 2)
		}
	}
	next := func(x instr) int32 {
		x.index, x.guard, x.flip = int32(len(d.p.code)), guard, flip
		d.p.code = append(d.p.code, x)
		d.p.meta = append(d.p.meta, meta{src: m.src, text: m.text, class: m.class, back: m.back})
		return x.index
	}
	d.fixups = append(d.fixups, fixup{at: next(instr{flow: flowBranch, a: -1}), call: f})
	next(instr{a: -1, run: func(w *warp, _ *instr, mask uint32) { w.transfer(out, mask) }})
}

// callee finds a function of the module; a definition wins over a declaration.
func (d *decoder) callee(name string) (found *syntax.Func) {
	for _, f := range d.k.Module.tree.Funcs {
		if f.Name == name && !f.Entry && (found == nil || found.Declared) {
			found = f
		}
	}
	return found
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
