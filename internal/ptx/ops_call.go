package ptx

import (
	"fmt"
	"math/bits"
	"slices"

	"bilevel/internal/ptx/syntax"
)

// A calling is a call statement: what it passes and what it takes back.
type calling struct {
	name          string           // of the function; "" for a call through a register
	pointer       syntax.Operand   // that register
	targets       string           // label of .callprototype or .calltargets behind it
	results, args []syntax.Operand // .param variables, registers or numbers
}

// calling reads the operands of a call: (results), function, (arguments), prototype, with both lists optional.
func (d *decoder) calling() (c calling) {
	named := false
	for _, op := range d.src.Args {
		switch {
		case op.Kind == syntax.List && !named:
			c.results = op.List
		case op.Kind == syntax.List:
			c.args = op.List
		case named:
			c.targets = op.Name
		case op.Kind == syntax.Register:
			c.pointer, named = op, true
		case op.Kind == syntax.Symbol:
			c.name, named = d.k.Module.original(op.Name), true
		}
	}
	if !named {
		d.fail("the function is missing")
	}
	return c
}

// call is a call: arguments are copied to the function's parameters, then a branch, then the results come back.
func call(d *decoder) {
	c := d.calling()
	if c.name == "" {
		d.indirectCall(c)
		return
	}
	fn := d.callee(c.name)
	if system := systemCalls[c.name]; system != nil && (fn == nil || fn.Declared) {
		system(d, c)
		return
	}
	if fn == nil || fn.Declared {
		d.fail("the function %s has no body in this module", c.name)
	}
	f := d.enter(fn)
	if len(c.args) != len(f.params) || len(c.results) != len(f.results) {
		d.fail("%s takes %d arguments and gives %d results", c.name, len(f.params), len(f.results))
	}
	if d.f.stacked || f.stacked {
		d.stackedCall(c, []*frame{f})
		return
	}
	var in, out []transfer
	for i, op := range c.args {
		in = append(in, d.transfer(op, f, fn.Params[i], f.params[i], false))
	}
	for i, op := range c.results {
		out = append(out, d.transfer(op, f, fn.Results[i], f.results[i], true))
	}
	back := f.back
	d.in.run = func(w *warp, in2 *instr, mask uint32) {
		w.transfer(in, mask)
		b := reg[uint32](w, back)
		for ; mask != 0; mask &= mask - 1 {
			b[bits.TrailingZeros32(mask)&31] = uint32(in2.index + 2)
		}
	}
	next := d.sequel()
	d.fixups = append(d.fixups, fixup{at: next(instr{flow: flowBranch, a: -1}), call: f})
	next(instr{a: -1, run: func(w *warp, _ *instr, mask uint32) { w.transfer(out, mask) }})
}

// sequel returns a function that appends further instructions of the statement at hand, under the same guard.
func (d *decoder) sequel() func(instr) int32 {
	guard, flip, m := d.in.guard, d.in.flip, *d.meta
	return func(x instr) int32 {
		x.index, x.guard, x.flip = int32(len(d.p.code)), guard, flip
		d.p.code = append(d.p.code, x)
		d.p.meta = append(d.p.meta, meta{src: m.src, text: m.text, class: m.class, back: m.back})
		return x.index
	}
}

// systemCalls are functions that every program can call though no module defines them. Those without an entry here are
// refused where they are called.
var systemCalls = map[string]func(*decoder, calling){
	"vprintf":      (*decoder).vprintf,
	"__assertfail": (*decoder).assertion,
	"malloc":       heapless,
	"free":         heapless,
}

func heapless(d *decoder, c calling) {
	d.fail("%s on the device (PTX ISA 2.0) is not supported: the simulator has no heap", c.name)
}

// callee finds a function of the module; a definition wins over a declaration.
func (d *decoder) callee(name string) *syntax.Func {
	f, _ := d.k.Module.function(name)
	return f
}

// indirectCall is a call through a register: to any function whose address the module takes and whose parameters and
// results have the sizes of the call's prototype.
func (d *decoder) indirectCall(c calling) {
	mod := d.k.Module
	var names []string
	if list := d.f.fn.Targets[c.targets]; list != nil {
		names = list
	} else if p := d.f.fn.Prototypes[c.targets]; p != nil {
		for _, name := range mod.addressed() {
			if fn, _ := mod.function(name); sameSignature(fn, p) {
				names = append(names, name)
			}
		}
	} else {
		d.fail("%s is neither a .callprototype nor a list of .calltargets", c.targets)
	}
	var frames []*frame
	for _, name := range names {
		if fn, _ := mod.function(mod.original(name)); fn != nil && !fn.Declared {
			if len(fn.Params) != len(c.args) || len(fn.Results) != len(c.results) {
				d.fail("%s takes %d arguments and gives %d results", name, len(fn.Params), len(fn.Results))
			}
			frames = append(frames, d.enter(fn))
		}
	}
	d.stackedCall(c, frames)
}

func sameSignature(f, g *syntax.Func) bool {
	same := func(a, b *syntax.Var) bool { return a.Size() == b.Size() && a.Space == b.Space }
	return slices.EqualFunc(f.Params, g.Params, same) && slices.EqualFunc(f.Results, g.Results, same)
}

// A location is where an argument or result lies: in a register, or in local memory.
type location struct {
	reg        int32 // -1: in memory
	wide, pred bool
	off        int64 // from the activation's start where the function is stacked, else in local memory
	size       int
}

// A target is a function that a call may go to, with the places of its parameters and results.
type target struct {
	f               *frame
	params, results []location
}

// stackedCall is a call that may go to one of several functions, or to one that is still active. It has the three
// instructions of a plain call; the second takes its goal from a register, the third takes the activation off the stack
// of calls.
func (d *decoder) stackedCall(c calling, frames []*frame) {
	caller := d.f
	var args, results []location
	var targets []target
	for _, f := range frames {
		t := target{f: f}
		for i, v := range f.fn.Params {
			t.params = append(t.params, f.slot(v, f.params[i]))
		}
		for i, v := range f.fn.Results {
			t.results = append(t.results, f.slot(v, f.results[i]))
		}
		targets = append(targets, t)
	}
	if len(frames) > 0 { // without a function to go to, nothing is passed
		for i, op := range c.args {
			args = append(args, d.actual(op, targets[0].params[i], false))
		}
		for i, op := range c.results {
			results = append(results, d.actual(op, targets[0].results[i], true))
		}
	}
	pointer := int32(-1)
	if c.name == "" {
		pointer = d.src64(c.pointer)
	}
	goal := d.alloc(width32)
	mod := d.k.Module
	d.in.run = func(w *warp, in *instr, mask uint32) {
		for ; mask != 0; mask &= mask - 1 {
			lane := bits.TrailingZeros32(mask) & 31
			k := 0
			if pointer >= 0 {
				addr := reg[uint64](w, pointer)[lane]
				k = slices.IndexFunc(targets, func(t target) bool { return mod.addressOf(t.f.fn.Name) == addr })
				if k < 0 {
					w.halt(Trap, in, 1<<lane, "an indirect call of "+mod.describeFunction(addr))
				}
			}
			t := &targets[k]
			values := w.gather(args, caller, lane)
			w.push(t.f, k, in, lane)
			reg[uint32](w, goal)[lane], reg[uint32](w, t.f.back)[lane] = uint32(t.f.entry), uint32(in.index+2)
			w.scatter(t.params, values, t.f, lane)
		}
	}
	next := d.sequel()
	next(instr{flow: flowIndirect, a: goal})
	next(instr{a: -1, run: func(w *warp, _ *instr, mask uint32) {
		for ; mask != 0; mask &= mask - 1 {
			lane := bits.TrailingZeros32(mask) & 31
			k := w.calls[lane][len(w.calls[lane])-1].target
			values := w.gather(targets[k].results, targets[k].f, lane)
			w.pop(lane)
			w.scatter(results, values, caller, lane)
		}
	}})
}

// slot is the place of a parameter or result of f.
func (f *frame) slot(v *syntax.Var, x variable) location {
	if x.space == syntax.Reg {
		r := f.regs[v.Name]
		return location{reg: r.off, wide: r.width == width64, pred: r.width == widthPred}
	}
	return location{reg: -1, off: x.off, size: x.size}
}

// actual is the caller's side of a slot.
func (d *decoder) actual(op syntax.Operand, formal location, result bool) location {
	if formal.reg < 0 {
		v, ok := d.f.vars[op.Name]
		if !ok || v.space == syntax.Shared {
			d.fail("the argument %s is not a .param variable", op.Name)
		}
		return location{reg: -1, off: v.off, size: formal.size}
	}
	s := location{wide: formal.wide, pred: formal.pred}
	width := width32
	if s.wide {
		width = width64
	}
	switch {
	case result && s.pred:
		s.reg = d.dst(op, widthPred)
	case result:
		s.reg = d.dst(op, width)
	case s.pred:
		s.reg = d.pred(op)
	default:
		s.reg = d.operand(op, width)
	}
	return s
}

// base is where the local variables of an active function begin.
func (w *warp) frameBase(f *frame, lane int) int64 {
	if !f.stacked {
		return 0
	}
	return int64(reg[uint32](w, f.start)[lane&31])
}

// A laneValue is a lane of a register: its bits, and those of them that nobody has written, where the sanitizer looks.
type laneValue struct{ bits, undefined uint64 }

// A passed value is a lane of a register, or bytes of local memory with the bits that nobody has written.
type passed struct {
	laneValue
	bytes     []byte
	undefined []byte // nil: not tracked
}

// gather reads the values of slots of an active function.
func (w *warp) gather(places []location, f *frame, lane int) []passed {
	values := make([]passed, len(places))
	for i, s := range places {
		v := &values[i]
		if s.reg >= 0 {
			v.laneValue = w.readLocation(s, lane)
			continue
		}
		local := w.localOf(lane)
		from := w.frameBase(f, lane) + s.off
		v.bytes = slices.Clone(local[from : from+int64(s.size)])
		if h := w.localShade; h != nil {
			for b := range uint64(s.size) {
				v.undefined = append(v.undefined, byte(h.undefinedBits(uint64(lane*len(local))+uint64(from)+b, 1)))
			}
		}
	}
	return values
}

// scatter writes values to slots of an active function.
func (w *warp) scatter(places []location, values []passed, f *frame, lane int) {
	for i, s := range places {
		v := values[i]
		if s.reg >= 0 {
			w.writeLocation(s, lane, v.laneValue)
			continue
		}
		local := w.localOf(lane)
		to := w.frameBase(f, lane) + s.off
		copy(local[to:to+int64(s.size)], v.bytes)
		for b, u := range v.undefined {
			w.localShade.setUndefined(uint64(lane*len(local))+uint64(to)+uint64(b), 1, uint64(u))
		}
	}
}

func (w *warp) readLocation(s location, lane int) (v laneValue) {
	if s.pred {
		v.bits = uint64(*w.predicate(s.reg) >> lane & 1)
		if w.known != nil && w.known[s.reg>>2]>>lane&1 == 0 {
			v.undefined = w.whole(false)
		}
		return v
	}
	v.bits = w.lane(s.reg, lane, s.wide)
	if w.known != nil {
		v.undefined = w.undefinedBits(s.reg, lane, s.wide)
	}
	return v
}

// writeLocation sets a lane of a register.
func (w *warp) writeLocation(s location, lane int, v laneValue) {
	if s.pred {
		setPredicate(w, s.reg, flip(v.bits != 0), 1<<lane)
	} else {
		w.setLane(s.reg, lane, s.wide, v.bits)
	}
	if w.known != nil {
		w.setUndefined(s.reg, lane, s.wide, v.undefined)
	}
}

// An activation is a call that has not returned: what the function's registers held before, if it was active already.
type activation struct {
	f      *frame
	target int   // among those of the call
	site   int32 // the call's index
	saved  []laneValue
}

// stackBytes is the stack of a thread: local variables of the functions that may call themselves. savedBytes is the
// most that the registers of their callers take.
const (
	stackBytes = 16 << 10
	savedBytes = 128 << 10
)

// push makes an activation of f for a lane that calls it.
func (w *warp) push(f *frame, target int, in *instr, lane int) {
	if w.calls == nil {
		w.calls, w.depth = make([][]activation, warpSize), make([]int, warpSize)
	}
	a := activation{f: f, target: target, site: in.index}
	if f.stacked {
		start := alignTo(w.prog.local-stackBytes, 16)
		for i := len(w.calls[lane]) - 1; i >= 0; i-- { // above the activation that the last stacked call made
			if last := w.calls[lane][i].f; last.stacked {
				start = int(w.frameBase(last, lane)) + alignTo(last.size, 16)
				break
			}
		}
		w.depth[lane] += 16 + 8*len(f.saved)
		if start+f.size > w.prog.local || w.depth[lane] > savedBytes {
			w.halt(StackOverflow, in, 1<<lane,
				fmt.Sprintf("%d calls are active and the thread's stack is full: does %s call itself without end?",
					len(w.calls[lane]), f.fn.Name))
		}
		for _, s := range f.saved {
			a.saved = append(a.saved, w.readLocation(s, lane))
		}
		reg[uint32](w, f.start)[lane] = uint32(start)
		for _, x := range f.derived {
			w.writeLocation(x.location, lane, laneValue{bits: uint64(int64(start) + x.off)})
		}
		if h := w.localShade; h != nil {
			h.forget(uint64(lane*w.prog.local+start), uint64(f.size))
		}
	}
	w.calls[lane] = append(w.calls[lane], a)
}

// pop ends a lane's last activation.
func (w *warp) pop(lane int) {
	n := len(w.calls[lane]) - 1
	a := w.calls[lane][n]
	w.calls[lane] = w.calls[lane][:n]
	if a.f.stacked {
		w.depth[lane] -= 16 + 8*len(a.f.saved)
		for i, s := range a.f.saved {
			w.writeLocation(s, lane, a.saved[i])
		}
	}
}

// A derived register holds the address of a local variable of the activation at hand.
type derived struct {
	location
	off int64
}
