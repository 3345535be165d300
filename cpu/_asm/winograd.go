package main

import (
	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// winograd writes the steps of convolutions by tiles.
func winograd(c *Context) {
	for _, s := range []registers{avx512, avx2} {
		winogradPixels(c, s, "winogradSums", "+", c.VADDPS)
		winogradPixels(c, s, "winogradDifferences", "-", c.VSUBPS)
		winogradResults(c, s)
		winogradSpread(c, s)
	}
	laneMaskTable(c)
}

// winogradKernel is the state of a kernel that goes over a row of tiles, for a vector of channels after the other.
type winogradKernel struct {
	*tileKernel
	at, tiles, step reg.GPVirtual // bytes of the channel, tiles left, bytes of a pixel of n channels
	apart, apart3   reg.GPVirtual // bytes from point to point, and three times as many
}

// newWinograd begins a kernel.
func newWinograd(c *Context, s registers, name, signature string, doc ...string) *winogradKernel {
	c.Function(name + s.name)
	c.Attributes(attr.NOSPLIT)
	c.Pragma("noescape")
	c.SignatureExpr(signature)
	doc[0] = name + s.name + " " + doc[0]
	c.Doc(doc...)
	return &winogradKernel{tileKernel: &tileKernel{Context: c, registers: s}}
}

// overChannels writes the loops: setup is run for each vector of channels, and tile for each tile.
func (k *winogradKernel) overChannels(setup func(last bool), tile func(last bool)) {
	k.apart, k.apart3, k.step = k.stride("apart"), k.GP64(), k.stride("n")
	k.LEAQ(Mem{Base: k.apart, Index: k.apart, Scale: 2}, k.apart3)
	whole, all, _ := k.vectors("n")
	k.at, k.tiles = k.GP64(), k.GP64()
	k.XORQ(k.at, k.at)
	loop := func(label string, last bool) {
		k.Load(k.Param("tiles"), k.tiles)
		setup(last)
		k.Label(label)
		tile(last)
		k.DECQ(k.tiles)
		k.JNZ(LabelRef(label))
	}
	k.Label("vector")
	k.CMPQ(k.at, whole)
	k.JGE(LabelRef("last"))
	loop("tile", false)
	k.ADDQ(U8(k.bytes()), k.at)
	k.JMP(LabelRef("vector"))
	k.Label("last")
	k.CMPQ(k.at, all)
	k.JGE(LabelRef("done"))
	loop("lastTile", true)
	k.Label("done")
	k.VZEROUPPER()
	k.RET()
}

// pointer loads an argument, moved on to the present channels.
func (k *winogradKernel) pointer(name string, to reg.GPVirtual) {
	k.Load(k.Param(name), to)
	k.ADDQ(k.at, to)
}

// point is point b of four that are apart.
func (k *winogradKernel) point(base reg.GPVirtual, b int) Mem {
	m := Mem{Base: base}
	switch b {
	case 1, 2:
		m.Index, m.Scale = k.apart, uint8(b)
	case 3:
		m.Index, m.Scale = k.apart3, 1
	}
	return m
}

// winogradPixels writes the kernel of one row of Bᵀ d B, which is made of the sum of two rows of pixels or of their
// difference.
func winogradPixels(c *Context, s registers, name, sign string, combine func(...Op)) {
	k := newWinograd(c, s, name, "func(to *float32, apart int, p, q *float32, tiles, n int)",
		"computes for j < tiles and c < n, where l[i] = p[i·n + c] "+sign+" q[i·n + c]: to[j·n + c] =",
		"l[2j] - l[2j+2], and apart from there l[2j+1] + l[2j+2], l[2j+2] - l[2j+1], l[2j+3] - l[2j+1].")
	p, q, to := k.GP64(), k.GP64(), k.GP64()
	l := [4]reg.VecPhysical{s.at(0), s.at(1), s.at(2), s.at(3)}
	x := s.at(4)
	two := func(a, b reg.VecPhysical, last bool) { // the next two pixels
		for i, l := range []reg.VecPhysical{a, b} {
			mem := func(base reg.GPVirtual) Mem {
				if i == 0 {
					return Mem{Base: base}
				}
				return Mem{Base: base, Index: k.step, Scale: 1}
			}
			k.load(mem(p), l, last)
			k.load(mem(q), x, last)
			combine(x, l, l)
		}
		k.LEAQ(Mem{Base: p, Index: k.step, Scale: 2}, p)
		k.LEAQ(Mem{Base: q, Index: k.step, Scale: 2}, q)
	}
	k.overChannels(func(last bool) {
		k.pointer("p", p)
		k.pointer("q", q)
		k.pointer("to", to)
		two(l[0], l[1], last)
	}, func(last bool) {
		two(l[2], l[3], last)
		k.VSUBPS(l[2], l[0], l[0])
		k.put(l[0], k.point(to, 0), last)
		k.VADDPS(l[1], l[2], x)
		k.put(x, k.point(to, 1), last)
		k.VSUBPS(l[1], l[2], x)
		k.put(x, k.point(to, 2), last)
		k.VSUBPS(l[1], l[3], x)
		k.put(x, k.point(to, 3), last)
		k.VMOVAPS(l[2], l[0])
		k.VMOVAPS(l[3], l[1])
		k.ADDQ(k.step, to)
	})
}

// fourRows are the addresses of points 0, 4, 8 and 12.
func (k *winogradKernel) fourRows(name string, rows []reg.GPVirtual) {
	k.pointer(name, rows[0])
	for i := 1; i < 4; i++ {
		k.LEAQ(Mem{Base: rows[i-1], Index: k.apart, Scale: 4}, rows[i])
	}
}

// winogradResults writes the kernel of Aᵀ m A.
func winogradResults(c *Context, s registers) {
	k := newWinograd(c, s, "winogradResults",
		"func(y0, y1 *float32, ld int, from *float32, apart, tiles, n int)",
		"computes two rows of results, whose pixels are ld apart, of the sixteen products m[a][b] =",
		"from[(4a+b)·apart + j·n + c], j < tiles, c < n: with l[b] = m[0][b] + (m[1][b] + m[2][b]) for y0 and",
		"(m[1][b] - m[2][b]) + m[3][b] for y1, pixel 2j is l[0] + (l[1] + l[2]) and 2j+1 (l[1] - l[2]) + l[3].")
	y0, y1, ld := k.GP64(), k.GP64(), k.stride("ld")
	rows := []reg.GPVirtual{k.GP64(), k.GP64(), k.GP64(), k.GP64()}
	line := func(row, b int) reg.VecPhysical { return s.at(4*row + b) }
	p, q, sum, difference := s.at(8), s.at(9), s.at(10), s.at(11)
	k.overChannels(func(bool) {
		k.pointer("y0", y0)
		k.pointer("y1", y1)
		k.fourRows("from", rows)
	}, func(last bool) {
		for b := range 4 {
			k.load(k.point(rows[1], b), p, last)
			k.load(k.point(rows[2], b), q, last)
			k.VADDPS(q, p, sum)
			k.VSUBPS(q, p, difference)
			k.load(k.point(rows[0], b), p, last)
			k.load(k.point(rows[3], b), q, last)
			k.VADDPS(sum, p, line(0, b))
			k.VADDPS(q, difference, line(1, b))
		}
		for row, y := range []reg.GPVirtual{y0, y1} {
			k.VADDPS(line(row, 2), line(row, 1), sum)
			k.VSUBPS(line(row, 2), line(row, 1), difference)
			k.VADDPS(sum, line(row, 0), p)
			k.VADDPS(line(row, 3), difference, q)
			k.put(p, Mem{Base: y}, last)
			k.put(q, Mem{Base: y, Index: ld, Scale: 1}, last)
			k.LEAQ(Mem{Base: y, Index: ld, Scale: 2}, y)
		}
		for _, r := range rows {
			k.ADDQ(k.step, r)
		}
	})
}

// winogradSpread writes the kernel of A y Aᵀ.
func winogradSpread(c *Context, s registers) {
	k := newWinograd(c, s, "winogradSpread",
		"func(to *float32, apart int, y0, y1 *float32, ld, tiles, n int)",
		"computes to[(4a+b)·apart + j·n + c], j < tiles, c < n, of two rows of results, whose pixels are ld",
		"apart: with l = y0, y0 + y1, y0 - y1, y1 for a = 0…3 it is l[2j], l[2j] + l[2j+1], l[2j] - l[2j+1], l[2j+1]",
		"for b = 0…3.")
	y0, y1, ld := k.GP64(), k.GP64(), k.stride("ld")
	rows := []reg.GPVirtual{k.GP64(), k.GP64(), k.GP64(), k.GP64()}
	var y [2][2]reg.VecPhysical
	for i := range 4 {
		y[i/2][i%2] = s.at(i)
	}
	left, right, x := s.at(4), s.at(5), s.at(6)
	k.overChannels(func(bool) {
		k.pointer("y0", y0)
		k.pointer("y1", y1)
		k.fourRows("to", rows)
	}, func(last bool) {
		for i, from := range []reg.GPVirtual{y0, y1} {
			k.load(Mem{Base: from}, y[i][0], last)
			k.load(Mem{Base: from, Index: ld, Scale: 1}, y[i][1], last)
			k.LEAQ(Mem{Base: from, Index: ld, Scale: 2}, from)
		}
		write := func(a int, l, r reg.VecPhysical) {
			k.put(l, k.point(rows[a], 0), last)
			k.VADDPS(r, l, x)
			k.put(x, k.point(rows[a], 1), last)
			k.VSUBPS(r, l, x)
			k.put(x, k.point(rows[a], 2), last)
			k.put(r, k.point(rows[a], 3), last)
		}
		write(0, y[0][0], y[0][1])
		k.VADDPS(y[1][0], y[0][0], left)
		k.VADDPS(y[1][1], y[0][1], right)
		write(1, left, right)
		k.VSUBPS(y[1][0], y[0][0], left)
		k.VSUBPS(y[1][1], y[0][1], right)
		write(2, left, right)
		write(3, y[1][0], y[1][1])
		for _, r := range rows {
			k.ADDQ(k.step, r)
		}
	})
}
