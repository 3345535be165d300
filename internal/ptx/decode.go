package ptx

import (
	"errors"
	"fmt"
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

// mostLocal is the local memory that a thread of any card may have (CUDA C++ Programming Guide, compute capabilities).
const mostLocal = 512 << 10

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
	if d.p.local > mostLocal {
		return nil, fmt.Errorf("kernel %s: its local variables take %d bytes of each thread, at most %d are allowed",
			k.Name, d.p.local, mostLocal)
	}
	if d.stack {
		d.p.local = alignTo(d.p.local, 16) + stackBytes
	}
	d.p.fileSize = int(d.end)
	d.p.simple, d.p.spins = d.p.ordersSimply(), d.p.maySpin()
	return d.p, nil
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
