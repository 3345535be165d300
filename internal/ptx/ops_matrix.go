package ptx

import "bilevel/internal/ptx/syntax"

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
