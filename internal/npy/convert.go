package npy

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
)

// Float16 is a number of IEEE 754 binary16, as its bits: 1 sign, 5 exponent, 10 fraction.
type Float16 uint16

// Float32 returns h's value, which float32 always holds exactly.
func (h Float16) Float32() float32 {
	sign, exponent, fraction := uint32(h>>15)<<31, uint32(h>>10)&31, uint32(h)&0x3ff
	switch exponent {
	case 0: // zero or subnormal: fraction · 2⁻²⁴
		return math.Float32frombits(sign | math.Float32bits(float32(fraction)*0x1p-24))
	case 31: // infinite, or not a number
		return math.Float32frombits(sign | 0x7f800000 | fraction<<13)
	}
	return math.Float32frombits(sign | (exponent+112)<<23 | fraction<<13) // 112 = 127 - 15, the biases
}

// number is an element with Go's own conversion.
type number interface {
	float32 | float64 | int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64
}

// Float32s returns a's numbers rounded to float32, whatever their type; False and True are 0 and 1. A float64 beyond
// float32 becomes infinite.
func (a *Array) Float32s() ([]float32, error) {
	switch a.DType {
	case Float16Type:
		h, err := Values[Float16](a)
		if err != nil {
			return nil, err
		}
		dst := make([]float32, len(h))
		for i, v := range h {
			dst[i] = v.Float32()
		}
		return dst, nil
	case Float32Type:
		return Values[float32](a)
	case Float64Type:
		return convert[float32, float64](a)
	case Int8Type:
		return convert[float32, int8](a)
	case BoolType:
		return bools[float32](a)
	case Int16Type:
		return convert[float32, int16](a)
	case Int32Type:
		return convert[float32, int32](a)
	case Int64Type:
		return convert[float32, int64](a)
	case Uint8Type:
		return convert[float32, uint8](a)
	case Uint16Type:
		return convert[float32, uint16](a)
	case Uint32Type:
		return convert[float32, uint32](a)
	case Uint64Type:
		return convert[float32, uint64](a)
	}
	if err := a.check(); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("npy: the array holds %v, not numbers", a.DType)
}

// Int64s returns a's elements as int64, if their type is an integer one or bool and each fits.
func (a *Array) Int64s() ([]int64, error) {
	switch a.DType {
	case Int8Type:
		return convert[int64, int8](a)
	case BoolType:
		return bools[int64](a)
	case Int16Type:
		return convert[int64, int16](a)
	case Int32Type:
		return convert[int64, int32](a)
	case Int64Type:
		return Values[int64](a)
	case Uint8Type:
		return convert[int64, uint8](a)
	case Uint16Type:
		return convert[int64, uint16](a)
	case Uint32Type:
		return convert[int64, uint32](a)
	case Uint64Type:
		values, err := Values[uint64](a)
		if err != nil {
			return nil, err
		}
		dst := make([]int64, len(values))
		for i, v := range values {
			if v > math.MaxInt64 {
				return nil, fmt.Errorf("npy: element %d, %d, is beyond int64", i, v)
			}
			dst[i] = int64(v)
		}
		return dst, nil
	}
	if err := a.check(); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("npy: the array holds %v, not integers", a.DType)
}

// convert computes dst[i] = D(element i).
func convert[D float32 | int64, T number](a *Array) ([]D, error) {
	values, err := Values[T](a)
	if err != nil {
		return nil, err
	}
	dst := make([]D, len(values))
	for i, v := range values {
		dst[i] = D(v)
	}
	return dst, nil
}

// Differences visits a's numbers in their order, each less the origin of its place in a row of len(origin): the
// difference that float64 comes closest to, also of whole numbers that it does not hold.
func (a *Array) Differences(origin []float64, visit func(i int, d float64)) error {
	const half = 1 << 32
	whole := func(high, low, o float64) float64 { // both halves are exact
		top := math.Floor(o / half)
		return (high-top)*half + (low - (o - top*half))
	}
	switch a.DType {
	case Float64Type:
		return differences(a, origin, visit, func(v, o float64) float64 { return v - o })
	case Int32Type:
		return differences(a, origin, visit, func(v int32, o float64) float64 { return float64(v) - o })
	case Uint32Type:
		return differences(a, origin, visit, func(v uint32, o float64) float64 { return float64(v) - o })
	case Int64Type:
		return differences(a, origin, visit, func(v int64, o float64) float64 {
			return whole(float64(v>>32), float64(v&(half-1)), o)
		})
	case Uint64Type:
		return differences(a, origin, visit, func(v uint64, o float64) float64 {
			return whole(float64(v>>32), float64(v&(half-1)), o)
		})
	}
	values, err := a.Float32s() // which holds all numbers of the other types
	for i, v := range values {
		visit(i, float64(v)-origin[i%len(origin)])
	}
	return err
}

func differences[T number](a *Array, origin []float64, visit func(i int, d float64), less func(v T, o float64) float64,
) error {
	values, err := Values[T](a)
	for i, v := range values {
		visit(i, less(v, origin[i%len(origin)]))
	}
	return err
}

// bools computes dst[i] = 1 where element i is True, any byte but 0.
func bools[D float32 | int64](a *Array) ([]D, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	dst := make([]D, len(a.Data))
	for i, b := range a.Data {
		if b != 0 {
			dst[i] = 1
		}
	}
	return dst, nil
}

// Strings returns a's elements as text, without the zeros that fill them up. Bytes that are no UTF-8 are taken as
// Latin-1, in which each byte is one character.
func (a *Array) Strings() ([]string, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	if !a.DType.IsText() {
		return nil, fmt.Errorf("npy: the array holds %v, not text", a.DType)
	}
	words := make([]string, a.Len())
	for i := range words {
		item := a.Data[i*a.Width : (i+1)*a.Width]
		if a.DType == BytesType {
			words[i] = latin(bytes.TrimRight(item, "\x00"))
			continue
		}
		runes := make([]rune, 0, len(item)/4)
		for ; len(item) > 0; item = item[4:] {
			runes = append(runes, rune(binary.LittleEndian.Uint32(item)))
		}
		words[i] = strings.TrimRight(string(runes), "\x00")
	}
	return words, nil
}

func latin(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	runes := make([]rune, len(b))
	for i, c := range b {
		runes[i] = rune(c)
	}
	return string(runes)
}
