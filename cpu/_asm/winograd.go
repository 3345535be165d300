package main

import (
	"math"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The points at which winograd's polynomials are evaluated are 0, ±a, ±b and infinity; see cpu/conv_winograd.go.
const winogradA, winogradB = 5.0 / 8, 3.0 / 2

// winogradMap is one of the linear maps along one axis of a tile.
type winogradMap struct {
	name      string
	in, out   int
	constants []float64
	doc       string
	// body computes the outputs from x[0…in-1], which it may overwrite, and the constants c. It has three registers
	// besides, t.
	body func(k *winogradKernel, x, c, t []reg.VecPhysical, put func(i int, v reg.VecPhysical))
}

const (
	squareA, squareB = winogradA * winogradA, winogradB * winogradB
	scale0           = 1 / (squareA * squareB) // 1 over the product of a point's differences from the others
	scaleA           = 1 / (2 * squareA * (squareA - squareB))
	scaleB           = 1 / (2 * squareB * (squareB - squareA))
)

var winogradMaps = []winogradMap{
	{
		"Pixels", 6, 6,
		[]float64{squareA * squareB, squareA + squareB, squareA, squareB, winogradA, winogradB},
		"Bᵀ, six pixels to six points",
		func(k *winogradKernel, x, c, t []reg.VecPhysical, put func(int, reg.VecPhysical)) {
			product, sum, a2, b2, a, b := c[0], c[1], c[2], c[3], c[4], c[5]
			k.VFMADD213PS(x[4], product, x[0])
			k.VFNMADD231PS(x[2], sum, x[0])
			put(0, x[0])
			k.VFMADD231PS(x[1], product, x[5])
			k.VFNMADD231PS(x[3], sum, x[5])
			put(5, x[5])
			k.VMOVAPS(x[4], t[0])
			k.VMOVAPS(x[3], t[1])
			k.VFNMADD231PS(x[2], b2, t[0])
			k.VFNMADD231PS(x[1], b2, t[1])
			k.plusMinus(1, t[0], t[1], a, t[2], put)
			k.VFNMADD231PS(x[2], a2, x[4])
			k.VFNMADD231PS(x[1], a2, x[3])
			k.plusMinus(3, x[4], x[3], b, t[2], put)
		},
	},
	{
		"Results3", 6, 4,
		[]float64{
			winogradA, winogradB, squareA, squareB, squareA * winogradA, squareB * winogradB,
		},
		"Aᵀ for kernels of 3×3, six points to four results",
		func(k *winogradKernel, x, c, t []reg.VecPhysical, put func(int, reg.VecPhysical)) {
			sum := k.sums(x, t)
			k.VADDPS(sum[0], x[0], x[0])
			k.VADDPS(sum[1], x[0], x[0])
			put(0, x[0])
			k.VMULPS(x[3], c[1], x[4])
			k.VFMADD231PS(x[1], c[0], x[4])
			put(1, x[4])
			k.VMULPS(sum[1], c[3], sum[1])
			k.VFMADD231PS(sum[0], c[2], sum[1])
			put(2, sum[1])
			k.VFMADD231PS(x[1], c[4], x[5])
			k.VFMADD231PS(x[3], c[5], x[5])
			put(3, x[5])
		},
	},
	{
		"Spread3", 4, 6,
		[]float64{winogradA, winogradB, squareA, squareB},
		"A for kernels of 3×3, four results to six points",
		func(k *winogradKernel, x, c, t []reg.VecPhysical, put func(int, reg.VecPhysical)) {
			put(0, x[0])
			put(5, x[3])
			k.VMOVAPS(x[0], t[0])
			k.VMOVAPS(x[1], t[1])
			k.VFMADD231PS(x[2], c[2], t[0])
			k.VFMADD231PS(x[3], c[2], t[1])
			k.plusMinus(1, t[0], t[1], c[0], t[2], put)
			k.VFMADD231PS(x[2], c[3], x[0])
			k.VFMADD231PS(x[3], c[3], x[1])
			k.plusMinus(3, x[0], x[1], c[1], t[2], put)
		},
	},
	{
		"Weights3", 3, 6,
		[]float64{scale0, squareA, scaleA, scaleA * winogradA, squareB, scaleB, scaleB * winogradB},
		"G for kernels of 3×3, three weights to six points",
		func(k *winogradKernel, x, c, t []reg.VecPhysical, put func(int, reg.VecPhysical)) {
			k.VMULPS(x[0], c[0], t[0])
			put(0, t[0])
			put(5, x[2])
			k.VMOVAPS(x[0], t[0])
			k.VFMADD231PS(x[2], c[1], t[0])
			k.VMULPS(t[0], c[2], t[0])
			k.plusMinus(1, t[0], x[1], c[3], t[2], put)
			k.VFMADD231PS(x[2], c[4], x[0])
			k.VMULPS(x[0], c[5], x[0])
			k.plusMinus(3, x[0], x[1], c[6], t[2], put)
		},
	},
	{
		"Taps3", 6, 3,
		[]float64{
			scale0, scaleA, scaleB, scaleA * winogradA, scaleB * winogradB, scaleA * squareA, scaleB * squareB,
		},
		"Gᵀ for kernels of 3×3, six points to three weights",
		func(k *winogradKernel, x, c, t []reg.VecPhysical, put func(int, reg.VecPhysical)) {
			sum := k.sums(x, t)
			k.VMULPS(x[0], c[0], x[0])
			k.VFMADD231PS(sum[0], c[1], x[0])
			k.VFMADD231PS(sum[1], c[2], x[0])
			put(0, x[0])
			k.VMULPS(x[3], c[4], x[3])
			k.VFMADD231PS(x[1], c[3], x[3])
			put(1, x[3])
			k.VFMADD231PS(sum[0], c[5], x[5])
			k.VFMADD231PS(sum[1], c[6], x[5])
			put(2, x[5])
		},
	},
	{
		"Results5", 6, 2,
		[]float64{winogradA, winogradB},
		"Aᵀ for kernels of 5×5, six points to two results",
		func(k *winogradKernel, x, c, t []reg.VecPhysical, put func(int, reg.VecPhysical)) {
			sum := k.sums(x, t)
			k.VADDPS(sum[0], x[0], x[0])
			k.VADDPS(sum[1], x[0], x[0])
			put(0, x[0])
			k.VFMADD231PS(x[1], c[0], x[5])
			k.VFMADD231PS(x[3], c[1], x[5])
			put(1, x[5])
		},
	},
	{
		"Spread5", 2, 6,
		[]float64{winogradA, winogradB},
		"A for kernels of 5×5, two results to six points",
		func(k *winogradKernel, x, c, t []reg.VecPhysical, put func(int, reg.VecPhysical)) {
			put(0, x[0])
			put(5, x[1])
			k.VMOVAPS(x[0], t[0])
			k.plusMinus(1, t[0], x[1], c[0], t[2], put)
			k.plusMinus(3, x[0], x[1], c[1], t[2], put)
		},
	},
	{
		"Weights5", 5, 6,
		[]float64{scale0, squareA, scaleA, scaleA * winogradA, squareB, scaleB, scaleB * winogradB},
		"G for kernels of 5×5, five weights to six points",
		func(k *winogradKernel, x, c, t []reg.VecPhysical, put func(int, reg.VecPhysical)) {
			k.VMULPS(x[0], c[0], t[0])
			put(0, t[0])
			put(5, x[4])
			for i, even := range []reg.VecPhysical{t[0], x[2]} { // the second pair is the last reader of x[2] and x[1]
				square, scale, odd := c[3*i+1], c[3*i+2], []reg.VecPhysical{t[1], x[1]}[i]
				if i == 0 {
					k.VMOVAPS(x[2], even)
					k.VMOVAPS(x[1], odd)
				}
				k.VFMADD231PS(x[4], square, even)
				k.VFMADD213PS(x[0], square, even)
				k.VMULPS(even, scale, even)
				k.VFMADD231PS(x[3], square, odd)
				k.plusMinus(2*i+1, even, odd, c[3*i+3], t[2], put)
			}
		},
	},
	{
		"Taps5", 6, 5,
		[]float64{scale0, scaleA, scaleB, scaleA * winogradA, scaleB * winogradB, squareA, squareB},
		"Gᵀ for kernels of 5×5, six points to five weights",
		func(k *winogradKernel, x, c, t []reg.VecPhysical, put func(int, reg.VecPhysical)) {
			sum := k.sums(x, t)
			a, b := [2]reg.VecPhysical{sum[0], x[1]}, [2]reg.VecPhysical{sum[1], x[3]} // of even and odd powers
			for i := range 2 {
				k.VMULPS(a[i], c[2*i+1], a[i])
				k.VMULPS(b[i], c[2*i+2], b[i])
			}
			k.VFMADD213PS(a[0], c[0], x[0])
			k.VADDPS(b[0], x[0], x[0])
			put(0, x[0])
			k.VADDPS(b[1], a[1], x[2])
			put(1, x[2])
			for i := range 2 {
				k.VMULPS(a[i], c[5], a[i])
				k.VMULPS(b[i], c[6], b[i])
				k.VADDPS(b[i], a[i], x[2])
				put(2+i, x[2])
			}
			k.VFMADD231PS(a[0], c[5], x[5])
			k.VFMADD231PS(b[0], c[6], x[5])
			put(4, x[5])
		},
	},
}

// winograd writes the linear maps of convolutions by tiles.
func winograd(c *Context) {
	for _, s := range []registers{avx512, avx2} {
		for _, m := range winogradMaps {
			m.write(c, s)
		}
	}
	for _, m := range winogradMaps {
		c.StaticGlobal(m.table())
		c.DataAttributes(attr.RODATA | attr.NOPTR)
		for i, v := range m.constants {
			c.AddDatum(4*i, U32(math.Float32bits(float32(v))))
		}
	}
	laneMaskTable(c)
}

// table is the name of the map's constants.
func (m *winogradMap) table() string { return "winograd" + m.name + "Constants" }

// winogradKernel is the state of one kernel while it is written.
type winogradKernel struct{ *tileKernel }

// line is where elements, which are apart from each other, begin.
type line struct{ at, apart, apart3, apart5 reg.GPVirtual }

// line loads the arguments of elements, and those that are three and five times as far apart if there are so many.
func (k *winogradKernel) line(name string, count int) line {
	l := line{at: k.GP64(), apart: k.stride(name + "Apart")}
	k.Load(k.Param(name), l.at)
	if count > 3 {
		l.apart3 = k.GP64()
		k.LEAQ(Mem{Base: l.apart, Index: l.apart, Scale: 2}, l.apart3)
	}
	if count > 5 {
		l.apart5 = k.GP64()
		k.LEAQ(Mem{Base: l.apart, Index: l.apart, Scale: 4}, l.apart5)
	}
	return l
}

// element is element i.
func (l *line) element(i int) Mem {
	m := Mem{Base: l.at}
	switch i {
	case 1, 2, 4:
		m.Index, m.Scale = l.apart, uint8(i)
	case 3:
		m.Index, m.Scale = l.apart3, 1
	case 5:
		m.Index, m.Scale = l.apart5, 1
	}
	return m
}

// write writes the kernel: the outer loop goes from a group of n elements to the next, the inner one over its vectors.
func (m *winogradMap) write(c *Context, s registers) {
	name := "winograd" + m.name + s.name
	c.Function(name)
	c.Attributes(attr.NOSPLIT)
	c.Pragma("noescape")
	c.SignatureExpr("func(to *float32, toApart, toNext int, from *float32, fromApart, fromNext, groups, n int)")
	c.Doc(name+" applies "+m.doc+": to[i·toApart + g·toNext + j] = Σ over k of the matrix's [i,k] times",
		"from[k·fromApart + g·fromNext + j], g < groups and j < n.")
	k := &winogradKernel{&tileKernel{Context: c, registers: s}}
	from, to := k.line("from", m.in), k.line("to", m.out)
	whole, all, _ := k.vectors("n")
	for _, next := range []string{"fromNext", "toNext"} { // from the end of a group's vectors
		step := k.stride(next)
		k.SUBQ(whole, step)
		k.MOVQ(step, k.argument(next))
	}
	x := make([]reg.VecPhysical, 6)
	for i := range x {
		x[i] = s.at(i)
	}
	t := []reg.VecPhysical{s.at(m.in), s.at(m.in + 1), s.at(m.in + 2)}
	constants := make([]reg.VecPhysical, len(m.constants))
	for i := range constants {
		constants[i] = s.at(s.count - 2 - i)
		k.VBROADCASTSS(NewDataAddr(Symbol{Name: m.table(), Static: true}, 4*i), constants[i])
	}
	vector := func(last bool) {
		for i := range m.in {
			k.load(from.element(i), x[i], last)
		}
		m.body(k, x, constants, t, func(i int, v reg.VecPhysical) { k.put(v, to.element(i), last) })
	}
	left := k.GP64()
	k.Label("group")
	k.MOVQ(whole, left)
	k.TESTQ(left, left)
	k.JZ(LabelRef("last"))
	k.Label("vector")
	vector(false)
	k.ADDQ(U8(s.bytes()), from.at)
	k.ADDQ(U8(s.bytes()), to.at)
	k.SUBQ(U8(s.bytes()), left)
	k.JNZ(LabelRef("vector"))
	k.Label("last")
	k.CMPQ(whole, all)
	k.JE(LabelRef("next"))
	vector(true)
	k.Label("next")
	k.ADDQ(k.argument("fromNext"), from.at)
	k.ADDQ(k.argument("toNext"), to.at)
	k.DECQ(k.argument("groups"))
	k.JNZ(LabelRef("group"))
	k.VZEROUPPER()
	k.RET()
}

// plusMinus gives x + c·y as output i and x - c·y as the one after it. x is lost, and so is t.
func (k *winogradKernel) plusMinus(i int, x, y, c, t reg.VecPhysical, put func(int, reg.VecPhysical)) {
	k.VMOVAPS(x, t)
	k.VFMADD231PS(y, c, t)
	put(i, t)
	k.VFNMADD231PS(y, c, x)
	put(i+1, x)
}

// sums gives x[1]+x[2] and x[3]+x[4], and leaves x[1]-x[2] and x[3]-x[4] in x[1] and x[3].
func (k *winogradKernel) sums(x, t []reg.VecPhysical) [2]reg.VecPhysical {
	for i := range 2 {
		k.VADDPS(x[2*i+2], x[2*i+1], t[i])
		k.VSUBPS(x[2*i+2], x[2*i+1], x[2*i+1])
	}
	return [2]reg.VecPhysical{t[0], t[1]}
}
