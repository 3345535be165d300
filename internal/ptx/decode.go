package ptx

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"bilevel/internal/ptx/syntax"
)

// width is the size class of a register: its storage in the file.
type width uint8

const (
	widthPred width = iota
	width32         // all of 8, 16 and 32 bits
	width64
)

// A register is a declared register.
type register struct {
	off   int32
	width width
	bits  int
}

// A variable is a shared, local or parameter variable that a function may name.
type variable struct {
	space syntax.Space
	off   int64
	size  int
}

// A frame is a function within a program: its names and its place in the code. Functions are laid out once for each
// kernel, with registers and local memory of their own; those that may call themselves save both on a stack.
type frame struct {
	fn      *syntax.Func
	regs    map[string]register
	vars    map[string]variable
	entry   int32
	places  []int32 // index in the program of each statement of the body, and of its end
	back    int32   // register with the index to return to
	results []variable
	params  []variable

	// Of a function that may be active more than once, and whose local variables therefore lie on a stack:
	stacked bool
	start   int32      // register with the place where they begin
	size    int        // their bytes
	saved   []location // its registers
	derived []derived  // those with addresses of its variables
}

// A decoder turns one kernel into a program.
type decoder struct {
	k      *Kernel
	v      variant
	p      *program
	f      *frame
	frames map[string]*frame
	queue  []*frame
	fixups []fixup

	free   int32 // of the current chunk of predicates
	end    int32
	imm32  map[uint32]int32
	imm64  map[uint64]int32
	sysReg map[string]int32
	symReg map[symbolKey]int32
	stack  bool // a function has its variables on the stack

	refused map[string]bool // instructions with why they are

	// The instruction at hand.
	src  *syntax.Instr
	in   *instr
	meta *meta
	mods []string
	// Of a load: how far it is in order with atomics though it is not strong.
	guess scope
}

type symbolKey struct {
	index int
	add   int64
}

// A fixup is a branch whose label or function has no index yet.
type fixup struct {
	at    int32
	frame *frame
	label string
	call  *frame
}

// newKernel describes a kernel and decodes it, for its errors.
func newKernel(m *Module, f *syntax.Func) *Kernel {
	k := &Kernel{Name: f.Name, Module: m, fn: f, programs: map[variant]*program{}}
	for _, v := range f.Params {
		size, align := v.Size(), max(v.Align, v.Bytes())
		off := (k.paramBytes + align - 1) &^ (align - 1)
		k.Params = append(k.Params, Param{Name: v.Name, Type: v.Type, Size: size, Align: align, off: off})
		k.paramBytes = off + size
	}
	threads := f.ReqThreads
	if threads == [3]int{} {
		threads = f.MaxThreads
	}
	if threads != [3]int{} {
		k.MaxThreads = max(threads[0], 1) * max(threads[1], 1) * max(threads[2], 1)
	}
	for _, v := range f.Vars {
		if v.Space == syntax.Reg {
			k.Registers += max(v.Count, 1)
		}
	}
	p, err := k.program(variant{})
	if err != nil {
		k.err = fmt.Errorf("%s: %w", m.Name, err)
		return k
	}
	k.SharedBytes, k.LocalBytes = p.shared, p.local
	for _, s := range p.specials {
		k.Cooperative = k.Cooperative || s.reg == regWorkspaceHi || s.reg == regWorkspaceLo
	}
	return k
}

// A decodeError is the panic of a decoder; decodeKernel turns it into an error with kernel, opcode and line.
type decodeError struct{ text string }

func (d *decoder) fail(format string, args ...any) {
	panic(decodeError{fmt.Sprintf(format, args...)})
}

func decodeKernel(k *Kernel, v variant) (*program, error) {
	d := &decoder{
		k: k, v: v, p: &program{kernel: k, widths: map[int32]int{}}, frames: map[string]*frame{},
		imm32: map[uint32]int32{}, imm64: map[uint64]int32{}, sysReg: map[string]int32{}, symReg: map[symbolKey]int32{},
		refused: map[string]bool{},
	}
	d.end = 128 // a chunk of predicates, the first of them always true
	d.free = 4
	d.layoutShared()
	errs := d.clusters()
	d.enter(k.fn)
	for len(d.queue) > 0 {
		d.f = d.queue[0]
		d.queue = d.queue[1:]
		errs = append(errs, d.function()...)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	for _, f := range d.fixups {
		if f.call != nil {
			d.p.code[f.at].target = f.call.entry
		} else {
			d.p.code[f.at].target = f.frame.places[f.frame.fn.Labels[f.label]]
		}
	}
	if d.stack {
		d.p.local = alignTo(d.p.local, 16) + stackBytes
	}
	d.p.fileSize = int(d.end)
	d.p.simple, d.p.spins = d.p.ordersSimply(), d.p.maySpin()
	return d.p, nil
}

// layoutShared places the shared variables of the module and of all its functions that this kernel may reach.
func (d *decoder) layoutShared() {
	m := d.k.Module.tree
	place := func(v *syntax.Var) {
		if v.Space == syntax.Shared && !unsized(v) {
			d.p.shared = alignTo(d.p.shared, max(v.Align, v.Bytes(), 1)) + v.Size()
		}
	}
	// Placed again, in the same order, by sharedVars.
	for _, v := range m.Vars {
		place(v)
	}
	for _, f := range m.Funcs {
		if f == d.k.fn || !f.Entry {
			for _, v := range f.Vars {
				place(v)
			}
		}
	}
	d.p.dynamic = alignTo(d.p.shared, 16)
}

// sharedVars gives the addresses of the shared variables that f sees.
func (d *decoder) sharedVars(f *frame) {
	at := 0
	place := func(v *syntax.Var, seen bool) {
		if v.Space != syntax.Shared {
			return
		}
		if unsized(v) {
			if seen {
				f.vars[v.Name] = variable{syntax.Shared, int64(d.p.dynamic), 0}
			}
			return
		}
		at = alignTo(at, max(v.Align, v.Bytes(), 1))
		if seen {
			f.vars[v.Name] = variable{syntax.Shared, int64(at), v.Size()}
		}
		at += v.Size()
	}
	m := d.k.Module.tree
	for _, v := range m.Vars {
		place(v, true)
	}
	for _, g := range m.Funcs {
		if g == d.k.fn || !g.Entry {
			for _, v := range g.Vars {
				place(v, g == f.fn)
			}
		}
	}
}

func unsized(v *syntax.Var) bool { return len(v.Dims) > 0 && v.Dims[0] < 0 || v.Extern }

func alignTo(n, align int) int { return (n + align - 1) / align * align }

// enter makes the frame of a function and queues it for decoding.
func (d *decoder) enter(fn *syntax.Func) *frame {
	if f := d.frames[fn.Name]; f != nil {
		return f
	}
	f := &frame{fn: fn, regs: map[string]register{}, vars: map[string]variable{}}
	d.frames[fn.Name] = f
	d.queue = append(d.queue, f)
	d.sharedVars(f)
	used := &d.p.local
	if f.stacked = !fn.Entry && d.k.Module.recursive(fn.Name); f.stacked {
		d.stack, used, f.start = true, &f.size, d.alloc(width32)
		f.saved = append(f.saved, location{reg: f.start})
	}
	local := func(v *syntax.Var, space syntax.Space) variable {
		*used = alignTo(*used, max(v.Align, v.Bytes(), 1))
		x := variable{space, int64(*used), v.Size()}
		f.vars[v.Name] = x
		*used += v.Size()
		return x
	}
	if fn.Entry {
		for i, v := range fn.Params {
			f.vars[v.Name] = variable{syntax.Param, int64(d.k.Params[i].off), v.Size()}
		}
	} else {
		f.back = d.alloc(width32)
		f.saved = append(f.saved, location{reg: f.back})
		d.p.backs = append(d.p.backs, f.back)
		for _, v := range fn.Params {
			f.params = append(f.params, d.formal(f, v, local))
		}
		for _, v := range fn.Results {
			f.results = append(f.results, d.formal(f, v, local))
		}
	}
	for _, v := range fn.Vars {
		switch v.Space {
		case syntax.Reg:
			d.declare(f, v)
		case syntax.Local, syntax.Param: // parameters of calls live in local memory
			local(v, syntax.Local)
		}
	}
	return f
}

// formal places a parameter or result of a function: in local memory, or in a register for .reg ones.
func (d *decoder) formal(f *frame, v *syntax.Var, local func(*syntax.Var, syntax.Space) variable) variable {
	if v.Space == syntax.Reg {
		d.declare(f, v)
		return variable{space: syntax.Reg}
	}
	return local(v, syntax.Local)
}

var typeBits = map[string]int{
	"pred": 1, "b8": 8, "u8": 8, "s8": 8, "b16": 16, "u16": 16, "s16": 16, "f16": 16, "bf16": 16,
	"b32": 32, "u32": 32, "s32": 32, "f32": 32, "f16x2": 32, "bf16x2": 32, "tf32": 32,
	"b64": 64, "u64": 64, "s64": 64, "f64": 64,
}

func (d *decoder) declare(f *frame, v *syntax.Var) {
	bits := typeBits[v.Type]
	if v.Vector > 1 || bits == 0 {
		return // b128 and vectors of registers: an error where they are used
	}
	one := func(name string) {
		r := register{d.alloc(widthOf(bits)), widthOf(bits), bits}
		f.regs[name], d.p.widths[r.off] = r, bits
		d.p.declared = append(d.p.declared, r)
		if f.stacked {
			f.saved = append(f.saved, location{reg: r.off, wide: r.width == width64, pred: r.width == widthPred})
		}
	}
	if v.Count == 0 {
		one(v.Name)
	}
	for i := range v.Count {
		one(v.Name + strconv.Itoa(i))
	}
}

// alloc reserves a register in the file. Predicates share chunks, so that vectors stay aligned.
func (d *decoder) alloc(w width) int32 {
	switch w {
	case widthPred:
		if d.free%128 == 0 {
			d.free = d.end
			d.end += 128
		}
		d.free += 4
		return d.free - 4
	case width32:
		d.end += 128
		return d.end - 128
	}
	d.end += 256
	return d.end - 256
}

// function decodes the frame's body; unsupported instructions are errors, all of them collected.
func (d *decoder) function() (errs []error) {
	d.f.entry = int32(len(d.p.code))
	fused, guesses := d.contractions(), d.guesses()
	for i := range d.f.fn.Body {
		src := &d.f.fn.Body[i]
		d.f.places = append(d.f.places, int32(len(d.p.code)))
		d.p.code = append(d.p.code, instr{index: int32(len(d.p.code)), guard: alwaysTrue, a: -1})
		d.p.meta = append(d.p.meta, meta{src: src, text: opcode(src), back: d.f.back})
		d.in, d.meta, d.src, d.mods = &d.p.code[len(d.p.code)-1], &d.p.meta[len(d.p.meta)-1], src, src.Mods
		d.guess = guesses[i]
		if err := d.instruction(fused[i]); err != nil {
			errs = append(errs, d.once(err)...)
		}
	}
	// A body that ends without ret falls into this one.
	d.f.places = append(d.f.places, int32(len(d.p.code)))
	d.p.code = append(d.p.code, instr{index: int32(len(d.p.code)), guard: alwaysTrue, a: -1})
	d.p.meta = append(d.p.meta, meta{src: &syntax.Instr{Op: "ret", Line: d.f.fn.Line}, text: "ret", class: ClassControl,
		back: d.f.back})
	d.in = &d.p.code[len(d.p.code)-1]
	d.ret()
	return errs
}

func opcode(src *syntax.Instr) string {
	if len(src.Mods) == 0 {
		return src.Op
	}
	return src.Op + "." + strings.Join(src.Mods, ".")
}

// instruction decodes d.src. fuse says what Contract makes of it.
func (d *decoder) instruction(fuse fusion) (err error) {
	defer func() {
		switch e := recover().(type) {
		case nil:
		case decodeError:
			err = errors.New(e.text)
		default:
			err = fmt.Errorf("fault of the decoder: %v", e)
		}
	}()
	if g := d.src.Guard; g != "" {
		d.in.guard = d.pred(syntax.Operand{Kind: syntax.Register, Name: g})
		if d.src.Negate {
			d.in.flip = ^uint32(0)
		}
	}
	if fuse.drop {
		d.in.run = func(*warp, *instr, uint32) {}
		d.meta.class = ClassMove
		return nil
	}
	if fuse.mul != nil {
		d.fused(fuse)
		return nil
	}
	known := false
	for _, f := range forms(d.src.Op) {
		known = true
		if ordered, ok := f.order(d.src.Mods); ok {
			d.mods = ordered
			d.meta.class = f.class
			f.build(d)
			if d.v.sanitize {
				d.p.meta[d.in.index].flow = d.bitFlow()
			}
			return nil
		}
	}
	if why := d.beyond(); why != "" {
		return errors.New(why)
	}
	if !known {
		return errors.New("unsupported opcode")
	}
	return errors.New("unsupported suffixes")
}

// has says whether the instruction carries the suffix.
func (d *decoder) has(word string) bool { return slices.Contains(d.mods, word) }

// which returns the first of words among the suffixes, "" if none is there.
func (d *decoder) which(words ...string) string {
	for _, w := range words {
		if d.has(w) {
			return w
		}
	}
	return ""
}

// typ is the last suffix.
func (d *decoder) typ() string { return d.mods[len(d.mods)-1] }

// arg returns operand i.
func (d *decoder) arg(i int) syntax.Operand {
	if i >= len(d.src.Args) {
		d.fail("operand %d is missing", i+1)
	}
	return d.src.Args[i]
}

// args checks the number of operands.
func (d *decoder) args(least, most int) {
	if n := len(d.src.Args); n < least || n > most {
		d.fail("%d operands, expected %d", n, least)
	}
}

// use and def record registers for the sanitizer.
func (d *decoder) use(off int32, name string) int32 {
	d.meta.uses = append(d.meta.uses, operand{off, name})
	return off
}

func (d *decoder) def(off int32, name string) int32 {
	d.meta.defs = append(d.meta.defs, operand{off, name})
	return off
}

// lookup finds a declared register; ok is false for special registers and names that are no registers.
func (d *decoder) lookup(name string) (register, bool) {
	r, ok := d.f.regs[name]
	return r, ok
}

// dst is the register that operand op names, of width w; the sink "_" gets a register of its own.
func (d *decoder) dst(op syntax.Operand, w width) int32 {
	if op.Kind == syntax.Register && op.Name == "_" {
		return d.alloc(w)
	}
	r, ok := d.lookup(op.Name)
	if op.Kind != syntax.Register || !ok {
		d.fail("the destination %s is not a register", op.Name)
	}
	if r.width != w {
		d.fail("register %s has the wrong size", op.Name)
	}
	return d.def(r.off, op.Name)
}

// pred is a predicate operand; its negation is for the caller to see in op.Not.
func (d *decoder) pred(op syntax.Operand) int32 {
	if op.Kind == syntax.Integer {
		if op.Bits == 0 {
			d.fail("a constant predicate is not supported")
		}
		return alwaysTrue
	}
	if op.Name == "%pt" || op.Name == "PT" {
		return alwaysTrue
	}
	r, ok := d.lookup(op.Name)
	if op.Kind != syntax.Register || !ok || r.width != widthPred {
		d.fail("%s is not a predicate", op.Name)
	}
	return d.use(r.off, op.Name)
}

// src32 and src64 are source operands: registers, immediates, special registers, addresses of variables.
func (d *decoder) src32(op syntax.Operand) int32 { return d.operand(op, width32) }
func (d *decoder) src64(op syntax.Operand) int32 { return d.operand(op, width64) }

func (d *decoder) operand(op syntax.Operand, w width) int32 {
	if op.Minus || op.Not {
		d.fail("a negated operand is not supported")
	}
	switch op.Kind {
	case syntax.Integer:
		return d.immediate(op.Bits, w)
	case syntax.Float32:
		if w == width64 {
			return d.immediate(math.Float64bits(float64(math.Float32frombits(uint32(op.Bits)))), w)
		}
		return d.immediate(op.Bits, w)
	case syntax.Float64:
		if w == width32 {
			return d.immediate(uint64(math.Float32bits(float32(math.Float64frombits(op.Bits)))), w)
		}
		return d.immediate(op.Bits, w)
	case syntax.Register:
		if r, ok := d.lookup(op.Name); ok {
			if r.width != w {
				d.fail("register %s has the wrong size", op.Name)
			}
			return d.use(r.off, op.Name)
		}
		return d.specialRegister(op.Name, w)
	case syntax.Symbol:
		return d.symbol(op.Name, op.Offset, w)
	}
	d.fail("unexpected operand %s", op.Name)
	return 0
}

func (d *decoder) immediate(v uint64, w width) int32 {
	if w == width64 {
		off, ok := d.imm64[v]
		if !ok {
			off = d.alloc(width64)
			d.imm64[v] = off
			d.p.consts64 = append(d.p.consts64, preload64{off, v})
		}
		return off
	}
	off, ok := d.imm32[uint32(v)]
	if !ok {
		off = d.alloc(width32)
		d.imm32[uint32(v)] = off
		d.p.consts32 = append(d.p.consts32, preload32{off, uint32(v)})
	}
	return off
}

// symbol is a register with the address of a variable in its own space.
func (d *decoder) symbol(name string, add int64, w width) int32 {
	if v, ok := d.f.vars[name]; ok {
		if d.f.stacked && v.space == syntax.Local {
			x := derived{location{reg: d.alloc(w), wide: w == width64}, v.off + add}
			d.f.derived, d.f.saved = append(d.f.derived, x), append(d.f.saved, x.location)
			return x.reg
		}
		return d.immediate(uint64(v.off+add), w)
	}
	if addr := d.k.Module.addressOf(name); addr != 0 {
		if w != width64 {
			d.fail("the address of %s needs a 64-bit register", name)
		}
		return d.immediate(addr, w)
	}
	g := d.variable(name)
	if w != width64 {
		d.fail("the address of %s needs a 64-bit register", name)
	}
	key := symbolKey{g.index, add}
	off, ok := d.symReg[key]
	if !ok {
		off = d.alloc(width64)
		d.symReg[key] = off
		d.p.symbols = append(d.p.symbols, preloadSymbol{off, g.index, add})
	}
	return off
}

func (d *decoder) specialRegister(name string, w width) int32 {
	s, ok := specials[name]
	if !ok {
		d.fail("%s is not a register that is supported", name)
	}
	if s.dynamic {
		d.fail("%s can only be read by mov", name)
	}
	wide := w == width64
	key := name
	if wide {
		key += ":64"
	}
	off, ok := d.sysReg[key]
	if !ok {
		off = d.alloc(w)
		d.sysReg[key] = off
		d.p.specials = append(d.p.specials, preloadSpecial{off, s.reg, wide})
	}
	return off
}
