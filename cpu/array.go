package cpu

import "unsafe"

// Array is a strided window into a slice: element (i0, i1, …) is at Off + Σ i_a·Strides[a]. Exactly one of Real, Int
// and Byte is set, and it is the whole buffer: two arrays can share memory only if they name the same buffer. Only the
// table of a Gather may be Byte. Strides are not negative; zero repeats.
type Array struct {
	Real    []float32
	Int     []int32
	Byte    []byte
	Off     int
	Shape   []int
	Strides []int
}

// size is the number of points of a shape.
func size(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// span is the range of elements that a touches; lo = hi for an empty array.
func (a *Array) span() (lo, hi int) {
	hi = a.Off + 1
	for i, d := range a.Shape {
		if d == 0 {
			return a.Off, a.Off
		}
		hi += (d - 1) * a.Strides[i]
	}
	return a.Off, hi
}

// overlaps says whether a and b may share elements: their spans of one buffer meet.
func (a *Array) overlaps(b *Array) bool {
	if !sameBuffer(a.Real, b.Real) && !sameBuffer(a.Int, b.Int) {
		return false
	}
	alo, ahi := a.span()
	blo, bhi := b.span()
	return alo < bhi && blo < ahi
}

// same says whether a and b show the same elements in the same order.
func (a *Array) same(b *Array) bool {
	if a.Off != b.Off || len(a.Shape) != len(b.Shape) || !sameBuffer(a.Real, b.Real) && !sameBuffer(a.Int, b.Int) {
		return false
	}
	for i, d := range a.Shape {
		if d != b.Shape[i] || d > 1 && a.Strides[i] != b.Strides[i] {
			return false
		}
	}
	return true
}

func sameBuffer[T float32 | int32](a, b []T) bool {
	return len(a) > 0 && len(b) > 0 && &a[0] == &b[0]
}

// words is the same memory, for loops that only move it.
func words(x []int32) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(x))), len(x))
}
