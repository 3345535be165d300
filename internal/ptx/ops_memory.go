package ptx

import (
	"math/bits"
	"slices"
	"sync/atomic"
	"unsafe"

	"bilevel/internal/ptx/syntax"
)

// space is a state space of an access. Constant banks are allocations of global memory.
type space uint8

const (
	spaceGeneric space = iota
	spaceGlobal
	spaceShared
	spaceLocal
	spaceConst
	spaceParam
)

var spaces = map[string]space{"global": spaceGlobal, "shared": spaceShared, "shared::cta": spaceShared,
	"local": spaceLocal,
	"const": spaceConst, "param": spaceParam, "param::entry": spaceParam, "param::func": spaceParam}

var spaceNames = [...]string{"generic", "global memory", "shared memory", "local memory", "a constant bank",
	"parameters"}

// An access is a decoded load, store or atomic: where and what, per lane.
type access struct {
	space    space
	store    bool
	size     int     // bytes of an element
	regs     []int32 // one for each element; -1: dropped
	wide     bool    // 64-bit registers
	signed   bool
	keep     uint64 // bits of the destination registers
	base     int32  // register, or -1
	baseWide bool
	off      int64
	strong   bool // volatile, relaxed, acquire, release: ordered with atomics
	volatile bool
	scope    scope // of a strong access or atomic
	blind    bool  // red: it reads nothing that others could wait for
	indirect bool  // what is stored is not simply in regs
	acquire  bool
	release  bool
	atomic   bool
	keeps    bool // of an atomic: the value that it writes is there already
	copies   bool // of an atomic: exch, which hands on the old value without looking at it
}

func (a *access) bytes() int { return a.size * len(a.regs) }

const (
	scopes       = "cta|cluster|gpu|sys "
	evictions    = "L1::evict_normal|L1::evict_unchanged|L1::evict_first|L1::evict_last|L1::no_allocate? "
	policy       = "L2::cache_hint? "
	wideEviction = "L2::evict_first|L2::evict_last|L2::evict_normal? " // of accesses of 32 bytes
	prefetchSize = "L2::64B|L2::128B|L2::256B? "
	vectorLength = "v2|v4? "
	eightWords   = "v8 b32|u32|s32|f32"
	fourDoubles  = "v4 b64|u64|s64|f64"
	memoryTypes  = "b8|u8|s8|b16|u16|s16|b32|u32|s32|f32|b64|u64|s64|f64"
)

func memoryForms() []form {
	return []form{
		{op: "ld", suffixes: "weak? global|shared|shared::cta|local|const|param|param::entry|param::func? " +
			"ca|cg|cs|lu|cv? " + vectorLength + memoryTypes, build: load},
		{op: "ld", suffixes: "weak? global? ca|cg|cs|lu|cv? " + policy + prefetchSize + vectorLength + memoryTypes,
			build: load},
		{op: "ld", suffixes: "weak? global? " + evictions + policy + prefetchSize + vectorLength + memoryTypes,
			build: load},
		{op: "ld", suffixes: "global ca|cg|cs? nc " + policy + prefetchSize + vectorLength + memoryTypes, build: load},
		{op: "ld", suffixes: "global nc " + evictions + policy + prefetchSize + vectorLength + memoryTypes,
			build: load},
		{op: "ld", suffixes: "weak? global " + evictions + wideEviction + policy + prefetchSize + eightWords,
			build: load},
		{op: "ld", suffixes: "weak? global " + evictions + wideEviction + policy + prefetchSize + fourDoubles,
			build: load},
		{op: "ld", suffixes: "global nc " + evictions + wideEviction + policy + prefetchSize + eightWords, build: load},
		{op: "ld", suffixes: "global nc " + evictions + wideEviction + policy + prefetchSize + fourDoubles,
			build: load},
		{op: "ld", suffixes: "volatile global|shared|shared::cta|const? " + vectorLength + memoryTypes, build: load},
		{op: "ld", suffixes: "volatile global? " + prefetchSize + vectorLength + memoryTypes, build: load},
		{op: "ld", suffixes: "relaxed|acquire " + scopes + "global|shared|shared::cta? " + vectorLength + memoryTypes,
			build: load},
		{op: "ld", suffixes: "relaxed|acquire " + scopes + "global? " + evictions + policy + prefetchSize +
			vectorLength + memoryTypes, build: load},
		{op: "ldu", suffixes: "global? v2|v4? b8|u8|s8|b16|u16|s16|b32|u32|s32|f32", build: load},
		{op: "ldu", suffixes: "global? v2? b64|u64|s64|f64", build: load},
		{op: "st", suffixes: "weak? global|shared|shared::cta|local|param|param::func? wb|cg|cs|wt? " + vectorLength +
			memoryTypes, build: store},
		{op: "st", suffixes: "weak? global? wb|cg|cs|wt? " + policy + vectorLength + memoryTypes, build: store},
		{op: "st", suffixes: "weak? global? " + evictions + policy + vectorLength + memoryTypes, build: store},
		{op: "st", suffixes: "weak? global " + evictions + wideEviction + policy + eightWords, build: store},
		{op: "st", suffixes: "weak? global " + evictions + wideEviction + policy + fourDoubles, build: store},
		{op: "st", suffixes: "volatile global|shared|shared::cta? " + vectorLength + memoryTypes, build: store},
		{op: "st", suffixes: "relaxed|release " + scopes + "global|shared|shared::cta? " + vectorLength + memoryTypes,
			build: store},
		{op: "st", suffixes: "relaxed|release " + scopes + "global? " + evictions + policy + vectorLength + memoryTypes,
			build: store},
	}
}

func load(d *decoder) {
	d.args(2, 2+d.hints())
	a := d.access(d.arg(1))
	d.elements(&a, d.arg(0), func(op syntax.Operand) (int32, int) {
		if op.Kind == syntax.Register && op.Name == "_" {
			return -1, a.size * 8
		}
		size := d.widest(op)
		if size < a.size*8 {
			d.fail("register %s is narrower than the load", op.Name)
		}
		return d.dst(op, widthOf(size)), size
	})
	d.finish(a)
}

func store(d *decoder) {
	d.args(2, 2+d.hints())
	a := d.access(d.arg(0))
	a.store = true
	d.elements(&a, d.arg(1), func(op syntax.Operand) (int32, int) {
		size := d.widest(op)
		if size == 0 {
			size = a.size * 8
		}
		if size < a.size*8 {
			d.fail("register %s is narrower than the store", op.Name)
		}
		return d.operand(op, widthOf(size)), size
	})
	d.finish(a)
}

// hints is the number of operands that are a cache policy, which changes nothing here.
func (d *decoder) hints() int {
	if !d.has("L2::cache_hint") {
		return 0
	}
	d.src64(d.arg(len(d.src.Args) - 1))
	return 1
}

// elements binds the register or registers of a load or store.
func (d *decoder) elements(a *access, op syntax.Operand, bind func(syntax.Operand) (int32, int)) {
	list := []syntax.Operand{op}
	if op.Kind == syntax.Vector {
		list = op.List
	}
	want := 1
	if d.has("v2") {
		want = 2
	} else if d.has("v4") {
		want = 4
	} else if d.has("v8") {
		want = 8
	}
	if len(list) != want {
		d.fail("%d registers for %d elements", len(list), want)
	}
	if want == 8 && a.size != 4 || want*a.size > 16 && (want*a.size > 32 || a.size < 4 || a.space != spaceGlobal) {
		d.fail("%d bytes are too many for one access", want*a.size)
	}
	for i, x := range list {
		off, size := bind(x)
		wide := size > 32
		if i > 0 && off >= 0 && wide != a.wide {
			d.fail("registers of different sizes")
		}
		if off >= 0 {
			a.wide = wide
			a.keep = ^uint64(0) >> (64 - size)
		}
		a.regs = append(a.regs, off)
	}
}

// access decodes the address and the suffixes of a memory instruction.
func (d *decoder) access(op syntax.Operand) access {
	typ := d.typ()
	a := access{size: typeBits[typ] / 8, signed: typ[0] == 's', base: -1}
	for _, m := range d.mods {
		if s, ok := spaces[m]; ok {
			a.space = s
		}
	}
	a.acquire, a.release = d.has("acquire"), d.has("release")
	a.volatile = d.has("volatile")
	if a.strong = a.acquire || a.release || a.volatile || d.has("relaxed"); a.strong {
		a.scope = d.scope()
	}
	a.scope = max(a.scope, d.guess)
	d.address(&a, op)
	d.meta.class = [...]Class{ClassGlobal, ClassGlobal, ClassShared, ClassLocal, ClassConst, ClassConst}[a.space]
	return a
}

// scope is that of a strong access, atomic or fence; without a suffix it is that of the card.
func (d *decoder) scope() scope { return scopeOf(d.mods) }

func scopeOf(mods []string) scope {
	if slices.Contains(mods, "cta") || slices.Contains(mods, "cluster") {
		return scopeBlock
	}
	return scopeCard
}

// address binds [register+offset], [variable+offset] or [offset].
func (d *decoder) address(a *access, op syntax.Operand) {
	if op.Kind != syntax.Address {
		d.fail("an address in brackets is expected")
	}
	a.off = op.Offset
	if op.Name == "" {
		return
	}
	if r, ok := d.lookup(op.Name); ok {
		if r.width == widthPred {
			d.fail("%s is no address", op.Name)
		}
		a.base, a.baseWide = d.use(r.off, op.Name), r.width == width64
		d.meta.address = r.off
		return
	}
	if v, ok := d.f.vars[op.Name]; ok {
		own := map[syntax.Space]space{syntax.Shared: spaceShared, syntax.Local: spaceLocal,
			syntax.Param: spaceParam}[v.space]
		switch {
		case a.space == own, a.space == spaceParam && own == spaceLocal: // parameters of functions lie in local memory
			a.space = own
		case a.space == spaceGeneric:
			d.fail("a generic address cannot name %s itself", op.Name)
		default:
			d.fail("%s lies in another state space", op.Name)
		}
		a.off += v.off
		if d.f.stacked && v.space == syntax.Local {
			a.base = d.f.start
		}
		return
	}
	g := d.variable(op.Name)
	if constant := g.v.Space == syntax.Const; constant != (a.space == spaceConst) && a.space != spaceGeneric {
		d.fail("%s lies in another state space", op.Name)
	}
	a.base, a.baseWide, a.off = d.symbol(op.Name, op.Offset, width64), true, 0
}

// finish picks the runner of a load or store.
func (d *decoder) finish(a access) {
	d.in.x = &extra{access: a}
	d.in.a, d.in.imm = a.base, a.off
	d.in.run = accessLanes
	if d.v.sanitize && a.store || a.strong {
		return
	}
	for _, r := range a.regs {
		if r < 0 {
			return
		}
	}
	words := a.size == 4 && !a.wide || a.size == 8 && a.wide
	switch {
	case len(a.regs) > 4:
	case a.space == spaceParam && a.base < 0 && words && !a.store && len(a.regs) == 1:
		d.in.d = a.regs[0]
		d.in.run = loadParam32
		if a.wide {
			d.in.run = loadParam64
		}
	case a.space == spaceGlobal && a.baseWide && words:
		d.in.run = quickGlobal(a)
	case a.space == spaceConst && a.baseWide && words && !a.store:
		d.in.run = quickGlobal(a)
	case a.space == spaceShared && a.base >= 0 && !a.baseWide && words:
		d.in.run = quickShared(a)
	case a.space == spaceShared && a.base < 0 && words:
		a.base = d.immediate(0, width32)
		d.in.a, d.in.x.access.base = a.base, a.base
		d.in.run = quickShared(a)
	}
}

func loadParam32(w *warp, in *instr, mask uint32) {
	v := *(*uint32)(unsafe.Pointer(&w.block.run.params[in.imm]))
	d := reg[uint32](w, in.d)
	for i := range d {
		if mask>>i&1 != 0 {
			d[i] = v
		}
	}
}

func loadParam64(w *warp, in *instr, mask uint32) {
	v := *(*uint64)(unsafe.Pointer(&w.block.run.params[in.imm]))
	d := reg[uint64](w, in.d)
	for i := range d {
		if mask>>i&1 != 0 {
			d[i] = v
		}
	}
}

// addresses computes the address of each lane.
func (w *warp) addresses(a *access, to *vec[uint64]) {
	switch {
	case a.base < 0:
		for i := range to {
			to[i] = uint64(a.off)
		}
	case a.baseWide:
		for i, v := range reg[uint64](w, a.base) {
			to[i] = v + uint64(a.off)
		}
	default:
		for i, v := range reg[uint32](w, a.base) {
			to[i] = uint64(v + uint32(a.off))
		}
	}
}

// A place is where an access of one lane goes.
type place struct {
	ptr   unsafe.Pointer // nil: nowhere, and reported
	space space          // never generic
	alloc *allocation    // global and constant memory
	off   uint64         // from the start of the allocation, or of the space
}

// accessLanes is the general load and store: any space, lane by lane, with all checks.
func accessLanes(w *warp, in *instr, mask uint32) {
	a := &in.x.access
	var addr vec[uint64]
	w.addresses(a, &addr)
	w.observe(in, a, &addr, mask)
	n := a.bytes()
	if w.san != nil {
		w.san.begin(w, a)
	}
	for m := mask; m != 0; m &= m - 1 {
		i := bits.TrailingZeros32(m)
		p := w.locate(in, a, i, addr[i], n)
		if p.ptr == nil {
			if !a.store {
				for _, r := range a.regs {
					if r >= 0 {
						w.setLane(r, i, a.wide, 0)
					}
				}
			}
			continue
		}
		if w.san != nil {
			w.san.access(w, in, a, i, p)
		}
		if a.store {
			for k, r := range a.regs {
				storeElement(unsafe.Add(p.ptr, k*a.size), a.size, a.strong, w.lane(r, i, a.wide))
			}
			continue
		}
		for k, r := range a.regs {
			v := loadElement(unsafe.Add(p.ptr, k*a.size), a.size, a.strong)
			if a.signed {
				shift := 64 - 8*a.size
				v = uint64(int64(v<<shift)>>shift) & a.keep
			}
			if r >= 0 {
				w.setLane(r, i, a.wide, v)
			}
		}
	}
}

func loadElement(p unsafe.Pointer, size int, strong bool) uint64 {
	switch size {
	case 1:
		return uint64(*(*uint8)(p))
	case 2:
		return uint64(*(*uint16)(p))
	case 4:
		if strong {
			return uint64(atomic.LoadUint32((*uint32)(p)))
		}
		return uint64(*(*uint32)(p))
	}
	if strong {
		return atomic.LoadUint64((*uint64)(p))
	}
	return *(*uint64)(p)
}

func storeElement(p unsafe.Pointer, size int, strong bool, v uint64) {
	switch size {
	case 1:
		*(*uint8)(p) = uint8(v)
	case 2:
		*(*uint16)(p) = uint16(v)
	case 4:
		if strong {
			atomic.StoreUint32((*uint32)(p), uint32(v))
			return
		}
		*(*uint32)(p) = uint32(v)
	case 8:
		if strong {
			atomic.StoreUint64((*uint64)(p), v)
			return
		}
		*(*uint64)(p) = v
	}
}

// locate resolves the address of lane i for n bytes. What hardware refuses is reported, or ends the launch.
func (w *warp) locate(in *instr, a *access, i int, addr uint64, n int) place {
	s := a.space
	off := addr
	if s == spaceGeneric {
		s = spaceGlobal
		for _, win := range [...]struct {
			base uint64
			s    space
		}{{sharedWindow, spaceShared}, {localWindow, spaceLocal}, {paramWindow, spaceParam}} {
			if addr-win.base < windowBytes {
				s, off = win.s, addr-win.base
			}
		}
	}
	if addr&uint64(n-1) != 0 {
		al := w.nearest(s, addr)
		if al != nil {
			off = addr - al.base
		}
		w.refuse(Misaligned, in, i, w.misaligned(s, addr, n), al, off)
		return place{}
	}
	var mem []byte
	switch s {
	case spaceGlobal, spaceConst:
		al := w.last
		if al == nil || addr-al.base >= al.size || al.size-(addr-al.base) < uint64(n) {
			if al = w.block.run.machine.mem.find(addr, uint64(n)); al == nil {
				w.refuseGlobal(in, a, i, addr, n)
				return place{}
			}
			w.last = al
		}
		if al.readonly && (a.store || a.atomic) {
			w.refuse(OutOfBounds, in, i, "a constant bank is written to", al, addr-al.base)
			return place{}
		}
		off = addr - al.base
		return place{unsafe.Pointer(&al.mem[off]), s, al, off}
	case spaceShared:
		mem = w.block.shared
	case spaceLocal:
		mem = w.localOf(i)
	case spaceParam:
		mem = w.block.run.params
	}
	if off > uint64(len(mem)) || uint64(len(mem))-off < uint64(n) {
		w.refuseSpace(in, i, s, off, n, len(mem))
		return place{}
	}
	return place{unsafe.Pointer(&mem[off]), s, nil, off}
}
