package ptx

import (
	"math/bits"
	"unsafe"

	"bilevel/internal/ptx/syntax"
)

func matrixForms() []form {
	c := ClassTensor
	return []form{
		{op: "mma", suffixes: "sync aligned m16n8k4|m16n8k8 row col f32 tf32 tf32 f32", class: c, build: mma},
		{op: "mma", suffixes: "sync aligned m16n8k8|m16n8k16 row col f32 bf16 bf16 f32", class: c, build: mma},
		{op: "mma", suffixes: "sync aligned m16n8k8|m16n8k16 row col f32 f16 f16 f32", class: c, build: mma},
		{op: "mma", suffixes: "sync aligned m16n8k8|m16n8k16 row col f16 f16 f16 f16", class: c, build: mma},
		{op: "mma", suffixes: "sync aligned m8n8k16|m16n8k16|m16n8k32 row col satfinite? s32 s8|u8 s8|u8 s32", class: c,
			build: mma},
		{op: "mma", suffixes: "sync aligned m8n8k4 row col f64 f64 f64 f64", class: c, build: mma},
		{op: "ldmatrix", suffixes: "sync aligned m8n8 x1|x2|x4 trans? shared|shared::cta? b16", class: ClassShared,
			build: loadMatrix},
		{op: "ldmatrix", suffixes: "sync aligned x1|x2|x4 trans? m8n8 shared|shared::cta? b16", class: ClassShared,
			build: loadMatrix},
		{op: "stmatrix", suffixes: "sync aligned m8n8 x1|x2|x4 trans? shared|shared::cta? b16", class: ClassShared,
			build: storeMatrix},
		{op: "stmatrix", suffixes: "sync aligned x1|x2|x4 trans? m8n8 shared|shared::cta? b16", class: ClassShared,
			build: storeMatrix},
		{op: "movmatrix", suffixes: "sync aligned m8n8 trans b16", class: ClassWarp, build: transposeMatrix},
		{op: "wmma", suffixes: "load a|b sync aligned row|col m16n16k8 global|shared|shared::cta? tf32",
			build: wmmaMove},
		{op: "wmma", suffixes: "load a|b sync aligned row|col m16n16k16|m32n8k16|m8n32k16 " +
			"global|shared|shared::cta? f16|bf16", build: wmmaMove},
		{op: "wmma", suffixes: "load c sync aligned row|col m16n16k8 global|shared|shared::cta? f32", build: wmmaMove},
		{op: "wmma", suffixes: "load c sync aligned row|col m16n16k16|m32n8k16|m8n32k16 " +
			"global|shared|shared::cta? f16|f32", build: wmmaMove},
		{op: "wmma", suffixes: "store d sync aligned row|col m16n16k8 global|shared|shared::cta? f32", build: wmmaMove},
		{op: "wmma", suffixes: "store d sync aligned row|col m16n16k16|m32n8k16|m8n32k16 " +
			"global|shared|shared::cta? f16|f32", build: wmmaMove},
		{op: "wmma", suffixes: "mma sync aligned row|col row|col m16n16k8 f32 tf32 tf32 f32", class: c,
			build: wmmaMultiply},
		{op: "wmma", suffixes: "mma sync aligned row|col row|col m16n16k16|m32n8k16|m8n32k16 f32 bf16 bf16 f32",
			class: c, build: wmmaMultiply},
		{op: "wmma", suffixes: "mma sync aligned row|col row|col m16n16k16|m32n8k16|m8n32k16 f16|f32 f16|f32", class: c,
			build: wmmaMultiply},
	}
}

// A shape is m, n, k of a matrix instruction.
type shape struct{ m, n, k int }

var shapes = map[string]shape{
	"m8n8k4": {8, 8, 4}, "m16n8k4": {16, 8, 4}, "m16n8k8": {16, 8, 8}, "m16n8k16": {16, 8, 16}, "m16n8k32": {16, 8, 32},
	"m8n8k16": {8, 8, 16}, "m16n16k8": {16, 16, 8}, "m16n16k16": {16, 16, 16}, "m32n8k16": {32, 8, 16},
	"m8n32k16": {8, 32, 16},
}

func (d *decoder) shape() shape {
	for _, w := range d.mods {
		if s, ok := shapes[w]; ok {
			return s
		}
	}
	d.fail("unsupported shape")
	return shape{}
}

// A fragment says which elements of a matrix a lane holds: element e of register r is number at(lane, r, e) of the
// matrix, row by row.
type fragment struct {
	format element
	regs   []int32
	at     [][]uint16 // by register and element: by lane
}

// newFragment places regs registers of elements.
func newFragment(f element, regs []int32, at func(lane, r, e int) int) fragment {
	x := fragment{format: f, regs: regs}
	for r := range regs {
		for e := range f.per {
			row := make([]uint16, warpSize)
			for lane := range row {
				row[lane] = uint16(at(lane, r, e))
			}
			x.at = append(x.at, row)
		}
	}
	return x
}

// gather reads the matrix that the warp's lanes hold together.
func (f *fragment) gather(w *warp, to []float64) {
	for r, off := range f.regs {
		for e := range f.format.per {
			at := f.at[r*f.format.per+e]
			if f.format.wide {
				for lane, v := range reg[uint64](w, off) {
					to[at[lane]] = f.format.read(v)
				}
				continue
			}
			shift := e * f.format.bits
			for lane, v := range reg[uint32](w, off) {
				to[at[lane]] = f.format.read(uint64(v >> shift))
			}
		}
	}
}

// scatter writes the matrix into the lanes' registers, its elements as bits.
func (f *fragment) scatter(w *warp, from []uint64) {
	for r, off := range f.regs {
		if f.format.wide {
			d := reg[uint64](w, off)
			for lane := range d {
				d[lane] = from[f.at[r][lane]]
			}
			continue
		}
		d := reg[uint32](w, off)
		for lane := range d {
			var v uint32
			for e := range f.format.per {
				v |= uint32(from[f.at[r*f.format.per+e][lane]]) << (e * f.format.bits)
			}
			d[lane] = v
		}
	}
}

// vectorOf binds the registers of a fragment operand.
func (d *decoder) vectorOf(op syntax.Operand, n int, w width, write bool) []int32 {
	list := op.List
	if op.Kind != syntax.Vector {
		list = []syntax.Operand{op}
	}
	if len(list) != n {
		d.fail("%d registers, expected %d", len(list), n)
	}
	regs := make([]int32, n)
	for i, x := range list {
		if write {
			regs[i] = d.dst(x, w)
		} else {
			regs[i] = d.operand(x, w)
		}
	}
	return regs
}

// mma is mma.sync (PTX ISA 9.7.14.5): with g = lane/4 and q = lane%4, register r of A holds row g + 8·(r mod 2) and a
// run of columns from q·per + (r/2)·4·per, B the same down its columns, C the columns 2q and 2q+1.
func mma(d *decoder) {
	d.args(4, 4)
	s := d.shape()
	n := len(d.mods)
	types := d.mods[n-4:]
	fa, fb, fc, fd := elements[types[1]], elements[types[2]], elements[types[3]], elements[types[0]]
	a := newFragment(fa, d.vectorOf(d.arg(1), s.m/8*s.k/(4*fa.per), fa.width(), false), func(lane, r, e int) int {
		row, part := lane/4, r
		if s.m == 16 {
			row, part = row+8*(r%2), r/2
		}
		return row*s.k + lane%4*fa.per + e + part*4*fa.per
	})
	b := newFragment(fb, d.vectorOf(d.arg(2), s.k/(4*fb.per), fb.width(), false), func(lane, r, e int) int {
		return (lane%4*fb.per+e+r*4*fb.per)*s.n + lane/4
	})
	accumulator := func(f element) func(lane, r, e int) int {
		return func(lane, r, e int) int {
			i := r*f.per + e
			return (lane/4+8*(i/2))*s.n + lane%4*2 + i%2
		}
	}
	c := newFragment(fc, d.vectorOf(d.arg(3), s.m/4/fc.per, fc.width(), false), accumulator(fc))
	out := newFragment(fd, d.vectorOf(d.arg(0), s.m/4/fd.per, fd.width(), true), accumulator(fd))
	d.multiply(s, &a, &b, &c, &out)
}

// multiply makes the runner of D = A·B + C.
func (d *decoder) multiply(s shape, a, b, c, out *fragment) {
	saturate := d.has("satfinite")
	d.meta.flops, d.meta.kind = s.m*s.n*s.k*2/warpSize, flopTensor
	if a.format.name == "tf32" {
		d.meta.kind = flopTF32
	}
	d.in.flow, d.in.a = flowWarp, -1
	d.in.run = func(w *warp, in *instr, mask uint32) {
		var ma, mb, mc [512]float64
		a.gather(w, ma[:])
		b.gather(w, mb[:])
		c.gather(w, mc[:])
		_, pessimistic := w.block.run.perturb()
		var md [512]uint64
		out.format.product(s, &ma, &mb, &mc, &md, a.format, pessimistic, saturate)
		out.scatter(w, md[:])
	}
}

// matrixRows binds the address operand of ldmatrix and stmatrix.
func (d *decoder) matrixRows(op syntax.Operand, store bool) int {
	n := map[string]int{"x1": 1, "x2": 2, "x4": 4}[d.which("x1", "x2", "x4")]
	a := access{size: 4, regs: make([]int32, 4), base: -1, store: store, space: spaceGeneric, indirect: true}
	if d.has("shared") || d.has("shared::cta") {
		a.space = spaceShared
	}
	d.address(&a, op)
	d.in.x = &extra{access: a}
	d.in.flow, d.in.a = flowWarp, -1
	return n
}

// matrixRows are addresses of rows of 8×8 matrices: row r of matrix i at 8i+r, nil where it cannot be accessed.
type matrixRows [32]unsafe.Pointer

// element is where matrix k has the e-th of the two elements that belong to a lane, or nil: lane 4r+q has elements 2q
// and 2q+1 of row r, or of column r.
func (m *matrixRows) element(k, lane, e int, trans bool) *uint16 {
	row, col := lane/4, 2*(lane%4)+e
	if trans {
		row, col = col, row
	}
	p := m[8*k+row]
	if p == nil {
		return nil
	}
	return (*uint16)(unsafe.Add(p, 2*col))
}

// rows locates the rows of the matrices: lane 8i+r has the address of row r of matrix i.
func (w *warp) rows(in *instr, n int, mask uint32) (rows matrixRows) {
	a := &in.x.access
	var addr vec[uint64]
	w.addresses(a, &addr)
	lanes := mask
	if n < 4 {
		lanes &= 1<<(8*n) - 1
	}
	if lanes == 0 {
		return rows
	}
	w.observe(in, a, &addr, lanes)
	if w.san != nil {
		w.san.begin(w, a)
	}
	for m := lanes; m != 0; m &= m - 1 {
		i := bits.TrailingZeros32(m)
		p := w.locate(in, a, i, addr[i&31], 16)
		if p.ptr != nil && w.san != nil {
			w.san.access(w, in, a, i, p)
		}
		rows[i&31] = p.ptr
	}
	return rows
}

// loadMatrix is ldmatrix (PTX ISA 9.7.14.5.15): of each 8×8 matrix, lane 4r+q gets elements 2q and 2q+1 of row r, or of
// column r with .trans.
func loadMatrix(d *decoder) {
	d.args(2, 2)
	n := d.matrixRows(d.arg(1), false)
	regs := d.vectorOf(d.arg(0), n, width32, true)
	trans := d.has("trans")
	d.in.run = func(w *warp, in *instr, mask uint32) {
		rows := w.rows(in, n, mask)
		for k, off := range regs {
			out := reg[uint32](w, off)
			for lane := range out {
				var v uint32
				for e := range 2 {
					if p := rows.element(k, lane, e, trans); p != nil {
						v |= uint32(*p) << (16 * e)
					}
				}
				out[lane] = v
				if w.san != nil && w.san.gaps {
					w.setUndefined(off, lane, false, w.matrixBits(&rows, k, lane, trans))
				}
			}
		}
	}
}

// storeMatrix is stmatrix, the reverse of ldmatrix.
func storeMatrix(d *decoder) {
	d.args(2, 2)
	n := d.matrixRows(d.arg(0), true)
	regs := d.vectorOf(d.arg(1), n, width32, false)
	trans := d.has("trans")
	d.in.run = func(w *warp, in *instr, mask uint32) {
		rows := w.rows(in, n, mask)
		for k, off := range regs {
			src := reg[uint32](w, off)
			for lane := range src {
				for e := range 2 {
					if p := rows.element(k, lane, e, trans); p != nil {
						*p = uint16(src[lane] >> (16 * e))
						if w.san != nil && w.known[off>>2]>>lane&1 == 0 {
							u := w.undefinedBits(off, lane, false) >> (16 * e) & 0xffff
							w.block.sync.shared.setUndefined(w.sharedOffset(unsafe.Pointer(p)), 2, u)
						}
					}
				}
			}
		}
	}
}

func transposeMatrix(d *decoder) {
	d.args(2, 2)
	dst, src := d.dst(d.arg(0), width32), d.src32(d.arg(1))
	d.in.flow, d.in.a = flowWarp, -1
	d.in.run = func(w *warp, _ *instr, _ uint32) {
		a, out := *reg[uint32](w, src), reg[uint32](w, dst)
		for lane := range out {
			r, q := lane/4, lane%4
			var v uint32
			for e := range 2 {
				row, col := 2*q+e, r
				v |= a[row*4+col/2] >> (16 * (col % 2)) & 0xffff << (16 * e)
			}
			out[lane] = v
		}
	}
}

// wmmaFragment is the layout of a WMMA fragment, which PTX leaves open. The accumulator of 16×16 is laid out as
// hardware does, as two accumulators of mma; the others go row by row.
func wmmaFragment(s shape, part string, f element, regs []int32) fragment {
	rows, cols := s.m, s.n
	switch part {
	case "a":
		cols = s.k
	case "b":
		rows = s.k
	}
	total := rows * cols
	return newFragment(f, regs, func(lane, r, e int) int {
		i := r*f.per + e
		if (part == "c" || part == "d") && s.m == 16 && s.n == 16 {
			return (lane/4+8*(i%4/2))*16 + lane%4*2 + i%2 + 8*(i/4)
		}
		return (lane*len(regs)*f.per + i) % total // f16 holds every element of A and B twice
	})
}

func wmmaRegisters(s shape, part, typ string) int {
	elements := s.m * s.n
	switch part {
	case "a":
		elements = s.m * s.k
	case "b":
		elements = s.k * s.n
	}
	switch {
	case (part == "a" || part == "b") && typ == "f16":
		return 8
	case typ == "f16" || typ == "bf16":
		return elements / 64
	}
	return elements / 32
}

// wmmaMove is wmma.load and wmma.store.
func wmmaMove(d *decoder) {
	d.args(2, 3)
	store := d.has("store")
	part := d.which("a", "b", "c", "d")
	s, typ, column := d.shape(), d.typ(), d.has("col")
	address, data := 1, 0
	if store {
		address, data = 0, 1
	}
	f := elements[typ]
	regs := d.vectorOf(d.arg(data), wmmaRegisters(s, part, typ), width32, !store)
	frag := wmmaFragment(s, part, f, regs)
	a := access{size: f.bits / 8, regs: []int32{0}, base: -1, store: store, indirect: true}
	for _, m := range d.mods {
		if sp, ok := spaces[m]; ok {
			a.space = sp
		}
	}
	d.address(&a, d.arg(address))
	d.meta.class = ClassGlobal
	if a.space == spaceShared {
		d.meta.class = ClassShared
	}
	rows, cols := s.m, s.n
	switch part {
	case "a":
		cols = s.k
	case "b":
		rows = s.k
	}
	stride := cols
	if column {
		stride = rows
	}
	strideReg := int32(-1)
	if len(d.src.Args) == 3 {
		strideReg = d.src32(d.arg(2))
	}
	d.in.x = &extra{access: a}
	d.in.flow, d.in.a = flowWarp, -1
	d.in.run = func(w *warp, in *instr, mask uint32) {
		w.wmmaMove(in, &frag, mask, cols, stride, strideReg, column)
	}
}

func (w *warp) wmmaMove(in *instr, f *fragment, mask uint32, cols, stride int, strideReg int32, column bool) {
	a := &in.x.access
	var base vec[uint64]
	w.addresses(a, &base)
	if w.san != nil {
		w.san.begin(w, a)
	}
	for r, off := range f.regs {
		d := reg[uint32](w, off)
		for e := range f.format.per {
			var addr vec[uint64]
			for lane := range addr {
				n := int(f.at[r*f.format.per+e][lane])
				row, col := n/cols, n%cols
				if column {
					row, col = col, row
				}
				ld := stride
				if strideReg >= 0 {
					ld = int(reg[uint32](w, strideReg)[lane])
				}
				addr[lane] = base[lane] + uint64((row*ld+col)*a.size)
			}
			w.observe(in, a, &addr, mask)
			for m := mask; m != 0; m &= m - 1 {
				i := bits.TrailingZeros32(m) & 31
				p := w.locate(in, a, i, addr[i], a.size)
				if p.ptr == nil {
					continue
				}
				if w.san != nil {
					w.san.access(w, in, a, i, p)
				}
				shift := e * f.format.bits
				keep := uint32(1<<f.format.bits - 1)
				if w.san != nil && p.space == spaceShared {
					w.elementBits(a, off, i, shift, uint64(keep), p.off)
				}
				if a.store {
					storeElement(p.ptr, a.size, false, uint64(d[i]>>shift&keep))
				} else {
					d[i] = d[i]&^(keep<<shift) | uint32(loadElement(p.ptr, a.size, false))<<shift
				}
			}
		}
	}
}

// wmmaMultiply is wmma.mma. The f16 form names the types of D and C alone.
func wmmaMultiply(d *decoder) {
	d.args(4, 4)
	s := d.shape()
	at := 0
	for i, m := range d.mods {
		if _, ok := shapes[m]; ok {
			at = i
		}
	}
	types := d.mods[at+1:]
	if len(types) == 2 {
		types = []string{types[0], "f16", "f16", types[1]}
	}
	bind := func(i int, part, typ string) fragment {
		return wmmaFragment(s, part, elements[typ],
			d.vectorOf(d.arg(i), wmmaRegisters(s, part, typ), width32, part == "d"))
	}
	a, b := bind(1, "a", types[1]), bind(2, "b", types[2])
	c, out := bind(3, "c", types[3]), bind(0, "d", types[0])
	d.multiply(s, &a, &b, &c, &out)
}
