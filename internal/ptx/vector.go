package ptx

import (
	"math/bits"
	"unsafe"
)

const fullMask = ^uint32(0)

// A lanes function computes one register from others for all 32 lanes; runners blend its result in under the mask.
// Operations without side effects are written this way, so that their loops have no branches.
type (
	word interface {
		uint32 | int32 | float32 | uint64 | int64 | float64
	}
	vec[T word] = [32]T
)

// reg is the register at offset off, seen as 32 values of T.
func reg[T word](w *warp, off int32) *vec[T] { return (*vec[T])(unsafe.Add(w.base, off)) }

// predicate is the predicate register at offset off: a bit for each lane.
func (w *warp) predicate(off int32) *uint32 { return (*uint32)(unsafe.Add(w.base, off)) }

func setPredicate(w *warp, off int32, value, mask uint32) {
	p := w.predicate(off)
	*p = *p&^mask | value&mask
}

// blend writes the lanes of mask.
func blend[T word](d, s *vec[T], mask uint32) {
	for ; mask != 0; mask &= mask - 1 {
		i := bits.TrailingZeros32(mask) & 31
		d[i] = s[i]
	}
}

// widthFor is the register class that holds T.
func widthFor[T word]() width {
	var z T
	if unsafe.Sizeof(z) == 8 {
		return width64
	}
	return width32
}

// run1 to run3 are runners of lanes functions of one to three operands.
func run1[D, A word](f func(d *vec[D], a *vec[A])) runner {
	return func(w *warp, in *instr, mask uint32) {
		if mask == fullMask {
			f(reg[D](w, in.d), reg[A](w, in.a))
			return
		}
		var t vec[D]
		f(&t, reg[A](w, in.a))
		blend(reg[D](w, in.d), &t, mask)
	}
}

func run2[D, A, B word](f func(d *vec[D], a *vec[A], b *vec[B])) runner {
	return func(w *warp, in *instr, mask uint32) {
		if mask == fullMask {
			f(reg[D](w, in.d), reg[A](w, in.a), reg[B](w, in.b))
			return
		}
		var t vec[D]
		f(&t, reg[A](w, in.a), reg[B](w, in.b))
		blend(reg[D](w, in.d), &t, mask)
	}
}

func run3[D, A, B, C word](f func(d *vec[D], a *vec[A], b *vec[B], c *vec[C])) runner {
	return func(w *warp, in *instr, mask uint32) {
		if mask == fullMask {
			f(reg[D](w, in.d), reg[A](w, in.a), reg[B](w, in.b), reg[C](w, in.c))
			return
		}
		var t vec[D]
		f(&t, reg[A](w, in.a), reg[B](w, in.b), reg[C](w, in.c))
		blend(reg[D](w, in.d), &t, mask)
	}
}

// each1 to each3 make a lanes function of a function of one lane.
func each1[D, A word](f func(a A) D) func(d *vec[D], a *vec[A]) {
	return func(d *vec[D], a *vec[A]) {
		for i := range d {
			d[i] = f(a[i])
		}
	}
}

func each2[D, A, B word](f func(a A, b B) D) func(d *vec[D], a *vec[A], b *vec[B]) {
	return func(d *vec[D], a *vec[A], b *vec[B]) {
		for i := range d {
			d[i] = f(a[i], b[i])
		}
	}
}

func each3[D, A, B, C word](f func(a A, b B, c C) D) func(d *vec[D], a *vec[A], b *vec[B], c *vec[C]) {
	return func(d *vec[D], a *vec[A], b *vec[B], c *vec[C]) {
		for i := range d {
			d[i] = f(a[i], b[i], c[i])
		}
	}
}

// bind1 to bind3 take the operands of the instruction at hand, in registers of the classes of D, A, B and C.
func bind1[D, A word](d *decoder, f func(d *vec[D], a *vec[A])) {
	d.args(2, 2)
	d.in.d, d.in.a = d.dst(d.arg(0), widthFor[D]()), d.operand(d.arg(1), widthFor[A]())
	d.in.run = run1(f)
}

func bind2[D, A, B word](d *decoder, f func(d *vec[D], a *vec[A], b *vec[B])) {
	d.args(3, 3)
	d.in.d, d.in.a = d.dst(d.arg(0), widthFor[D]()), d.operand(d.arg(1), widthFor[A]())
	d.in.b = d.operand(d.arg(2), widthFor[B]())
	d.in.run = run2(f)
}

func bind3[D, A, B, C word](d *decoder, f func(d *vec[D], a *vec[A], b *vec[B], c *vec[C])) {
	d.args(4, 4)
	d.in.d, d.in.a = d.dst(d.arg(0), widthFor[D]()), d.operand(d.arg(1), widthFor[A]())
	d.in.b, d.in.c = d.operand(d.arg(2), widthFor[B]()), d.operand(d.arg(3), widthFor[C]())
	d.in.run = run3(f)
}

// lanes1 to lanes3 are rows' build functions for one lanes function; lane1 to lane3 for a function of one lane.
func lanes1[D, A word](f func(d *vec[D], a *vec[A])) func(*decoder) {
	return func(d *decoder) { bind1(d, f) }
}

func lanes2[D, A, B word](f func(d *vec[D], a *vec[A], b *vec[B])) func(*decoder) {
	return func(d *decoder) { bind2(d, f) }
}

func lanes3[D, A, B, C word](f func(d *vec[D], a *vec[A], b *vec[B], c *vec[C])) func(*decoder) {
	return func(d *decoder) { bind3(d, f) }
}

func lane1[D, A word](f func(a A) D) func(*decoder) { return lanes1(each1(f)) }

func lane2[D, A, B word](f func(a A, b B) D) func(*decoder) { return lanes2(each2(f)) }

func lane3[D, A, B, C word](f func(a A, b B, c C) D) func(*decoder) { return lanes3(each3(f)) }
