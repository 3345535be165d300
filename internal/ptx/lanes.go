package ptx

import (
	"unsafe"

	"bilevel/internal/ptx/arith"
)

// The loops below exist twice: here, the definition, and in lanes_amd64.s with AVX2 and FMA.

func addGeneric(d, a, b *vec[uint32]) {
	for i := range d {
		d[i] = arith.AddRN(a[i], b[i])
	}
}

func subGeneric(d, a, b *vec[uint32]) {
	for i := range d {
		d[i] = arith.SubRN(a[i], b[i])
	}
}

func mulGeneric(d, a, b *vec[uint32]) {
	for i := range d {
		d[i] = arith.MulRN(a[i], b[i])
	}
}

func fmaGeneric(d, a, b, c *vec[uint32]) {
	for i := range d {
		d[i] = arith.FmaRN(a[i], b[i], c[i])
	}
}

// gather4Generic loads four consecutive words for each lane.
func gather4Generic(at unsafe.Pointer, rel, d0, d1, d2, d3 *vec[uint32]) {
	for i := range d0 {
		q := (*[4]uint32)(unsafe.Add(at, int64(int32(rel[i]))))
		d0[i], d1[i], d2[i], d3[i] = q[0], q[1], q[2], q[3]
	}
}

// sameOffsets32Generic says whether a[i]-a[0] is rel[i] in all lanes.
func sameOffsets32Generic(a, rel *vec[uint32]) bool {
	first, diff := a[0], uint32(0)
	for i := range a {
		diff |= a[i] - first ^ rel[i]
	}
	return diff == 0
}

func sameOffsets64Generic(a, rel *vec[uint64]) bool {
	first, diff := a[0], uint64(0)
	for i := range a {
		diff |= a[i] - first ^ rel[i]
	}
	return diff == 0
}
