//go:build !amd64 || purego

package ptx

import "unsafe"

func addLanes() func(d, a, b *vec[uint32])    { return addGeneric }
func subLanes() func(d, a, b *vec[uint32])    { return subGeneric }
func mulLanes() func(d, a, b *vec[uint32])    { return mulGeneric }
func fmaLanes() func(d, a, b, c *vec[uint32]) { return fmaGeneric }

func gather4(at unsafe.Pointer, rel, d0, d1, d2, d3 *vec[uint32]) {
	gather4Generic(at, rel, d0, d1, d2, d3)
}

func sameOffsets32(a, rel *vec[uint32]) bool { return sameOffsets32Generic(a, rel) }
func sameOffsets64(a, rel *vec[uint64]) bool { return sameOffsets64Generic(a, rel) }
