package safetensors

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// readArray reads one array, whose data begin at base in the file.
func readArray(r io.ReaderAt, base int64, e entry) (Array, error) {
	t, ok := types[e.DType]
	if !ok {
		return Array{}, fmt.Errorf("elements of type %q are not read here", e.DType)
	}
	n := product(e.Shape)
	if n < 0 || n*t.width != e.Offsets[1]-e.Offsets[0] {
		return Array{}, fmt.Errorf("shape %v of %s in %d bytes", e.Shape, e.DType, e.Offsets[1]-e.Offsets[0])
	}
	a := Array{Shape: e.Shape}
	t.make(&a, n)
	const block = 1 << 13 // elements
	buf := make([]byte, min(n, block)*t.width)
	for at := 0; at < n; at += block {
		part := buf[:min(block, n-at)*t.width]
		if _, err := r.ReadAt(part, base+int64(e.Offsets[0]+at*t.width)); err != nil {
			return Array{}, err
		}
		for i := range len(part) / t.width {
			if err := t.set(&a, at+i, part[i*t.width:]); err != nil {
				return Array{}, err
			}
		}
	}
	return a, nil
}

// elementType is how elements of a type become those of an Array.
type elementType struct {
	width int
	make  func(a *Array, n int)
	set   func(a *Array, i int, from []byte) error
}

func floats(width int, of func([]byte) float32) elementType {
	return elementType{width, func(a *Array, n int) { a.F32 = make([]float32, n) },
		func(a *Array, i int, from []byte) error {
			a.F32[i] = of(from)
			return nil
		}}
}

func integers(width int, of func([]byte) int64) elementType {
	return elementType{width, func(a *Array, n int) { a.I32 = make([]int32, n) },
		func(a *Array, i int, from []byte) error {
			v := of(from)
			if v != int64(int32(v)) {
				return fmt.Errorf("element %d is %d, which is no int32", i, v)
			}
			a.I32[i] = int32(v)
			return nil
		}}
}

var types = map[string]elementType{
	"F64": {8, func(a *Array, n int) { a.F64 = make([]float64, n) }, func(a *Array, i int, from []byte) error {
		a.F64[i] = math.Float64frombits(binary.LittleEndian.Uint64(from))
		return nil
	}},
	"F32": floats(4, func(b []byte) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(b)) }),
	"BF16": floats(2, func(b []byte) float32 {
		return math.Float32frombits(uint32(binary.LittleEndian.Uint16(b)) << 16)
	}),
	"F16":  floats(2, func(b []byte) float32 { return half(binary.LittleEndian.Uint16(b)) }),
	"I64":  integers(8, func(b []byte) int64 { return int64(binary.LittleEndian.Uint64(b)) }),
	"I32":  integers(4, func(b []byte) int64 { return int64(int32(binary.LittleEndian.Uint32(b))) }),
	"I16":  integers(2, func(b []byte) int64 { return int64(int16(binary.LittleEndian.Uint16(b))) }),
	"I8":   integers(1, func(b []byte) int64 { return int64(int8(b[0])) }),
	"U8":   integers(1, func(b []byte) int64 { return int64(b[0]) }),
	"BOOL": integers(1, func(b []byte) int64 { return int64(b[0]) }),
}

// half is a number of IEEE binary16: 1 bit of sign, 5 of exponent, 10 of fraction.
func half(h uint16) float32 {
	sign, exponent, fraction := uint32(h>>15)<<31, int(h>>10&31), uint32(h&1023)
	switch {
	case exponent == 31:
		return math.Float32frombits(sign | 255<<23 | fraction<<13)
	case exponent == 0: // subnormal: fraction · 2⁻²⁴
		v := float32(fraction) * 0x1p-24
		if sign != 0 {
			v = -v
		}
		return v
	}
	return math.Float32frombits(sign | uint32(exponent+112)<<23 | fraction<<13)
}
