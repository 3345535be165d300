//go:build amd64 && !purego

package ptx

import (
	"unsafe"

	"golang.org/x/sys/cpu"
)

// avx2 says whether the assembly may run.
func avx2() bool { return cpu.X86.HasAVX2 && cpu.X86.HasFMA }

//go:noescape
func addAVX2(d, a, b *vec[uint32])

//go:noescape
func subAVX2(d, a, b *vec[uint32])

//go:noescape
func mulAVX2(d, a, b *vec[uint32])

//go:noescape
func fmaAVX2(d, a, b, c *vec[uint32])

//go:noescape
func gather4AVX2(at unsafe.Pointer, rel, d0, d1, d2, d3 *vec[uint32])

//go:noescape
func sameOffsets32AVX2(a, rel *vec[uint32]) bool

//go:noescape
func sameOffsets64AVX2(a, rel *vec[uint64]) bool

func addLanes() func(d, a, b *vec[uint32]) {
	if avx2() {
		return addAVX2
	}
	return addGeneric
}

func subLanes() func(d, a, b *vec[uint32]) {
	if avx2() {
		return subAVX2
	}
	return subGeneric
}

func mulLanes() func(d, a, b *vec[uint32]) {
	if avx2() {
		return mulAVX2
	}
	return mulGeneric
}

func fmaLanes() func(d, a, b, c *vec[uint32]) {
	if avx2() {
		return fmaAVX2
	}
	return fmaGeneric
}

func gather4(at unsafe.Pointer, rel, d0, d1, d2, d3 *vec[uint32]) {
	if avx2() {
		gather4AVX2(at, rel, d0, d1, d2, d3)
		return
	}
	gather4Generic(at, rel, d0, d1, d2, d3)
}

func sameOffsets32(a, rel *vec[uint32]) bool {
	if avx2() {
		return sameOffsets32AVX2(a, rel)
	}
	return sameOffsets32Generic(a, rel)
}

func sameOffsets64(a, rel *vec[uint64]) bool {
	if avx2() {
		return sameOffsets64AVX2(a, rel)
	}
	return sameOffsets64Generic(a, rel)
}
