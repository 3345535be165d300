package main

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"

	"bilevel/internal/nearest"
	"bilevel/internal/npy"
	"bilevel/internal/ptx/arith"
)

// An element is a type of buffer elements and of numbers passed by value.
type element struct {
	name  string                            // as CUDA's short names: f32, i32, …
	numpy string                            // NumPy's name
	descr string                            // in a .npy file
	align int                               // in a C structure
	value func(text string) ([]byte, error) // the bytes of a number, little endian
}

// elements lists the types of arguments. Complex numbers are aligned like float2 and double2.
var elements = []element{
	{"f32", "float32", "<f4", 4, float(32)},
	{"f64", "float64", "<f8", 8, float(64)},
	{"f16", "float16", "<f2", 2, half("f16")},
	{"bf16", "bfloat16", "|V2", 2, half("bf16")},
	{"i8", "int8", "|i1", 1, signed(8)},
	{"i16", "int16", "<i2", 2, signed(16)},
	{"i32", "int32", "<i4", 4, signed(32)},
	{"i64", "int64", "<i8", 8, signed(64)},
	{"u8", "uint8", "|u1", 1, unsigned(8)},
	{"u16", "uint16", "<u2", 2, unsigned(16)},
	{"u32", "uint32", "<u4", 4, unsigned(32)},
	{"u64", "uint64", "<u8", 8, unsigned(64)},
	{"bool", "bool", "|b1", 1, boolean},
	{"c64", "complex64", "<c8", 8, complexNumber(32)},
	{"c128", "complex128", "<c16", 16, complexNumber(64)},
}

func (e element) dtype() npy.Type {
	t, err := npy.ParseType(e.descr)
	if err != nil {
		panic(err) // the table is wrong
	}
	return t
}

func names() []string {
	list := make([]string, len(elements))
	for i, e := range elements {
		list[i] = e.name
	}
	return list
}

// elementOf finds a type by its name or NumPy's.
func elementOf(name string) (element, error) {
	for _, e := range elements {
		if e.name == name || e.numpy == name || e.descr == name {
			return e, nil
		}
	}
	return element{}, fmt.Errorf("unknown type %q%s (there are %s)", name, nearest.Hint(name, names()),
		strings.Join(names(), " "))
}

// typeName is the name of a buffer's type in messages: NumPy's, or its descr.
func typeName(t npy.Type) string {
	for _, e := range elements {
		if e.descr == t.String() {
			return e.numpy
		}
	}
	return t.String()
}

// typeOf reads the type of a buffer: a name, a word of NumPy's such as <f4, or a record {x=f32,n=i32}, laid out as in
// C.
func typeOf(text string) (npy.Type, error) {
	if inside, ok := strings.CutPrefix(text, "{"); ok {
		inside, ok = strings.CutSuffix(inside, "}")
		if !ok {
			return npy.Type{}, fmt.Errorf("%q: the } of the record is missing", text)
		}
		fields, err := split(inside)
		if err != nil {
			return npy.Type{}, err
		}
		var names []string
		var types []npy.Type
		for _, field := range fields {
			name, kind, ok := strings.Cut(field, "=")
			if !ok || name == "" || strings.ContainsAny(name, "'\"\\{}") {
				return npy.Type{}, fmt.Errorf("%q is no field of a record such as x=f32", field)
			}
			t, err := typeOf(kind)
			if err != nil {
				return npy.Type{}, err
			}
			names, types = append(names, name), append(types, t)
		}
		return npy.Record(names, types), nil
	}
	e, err := elementOf(text)
	if err == nil {
		return e.dtype(), nil
	}
	if t, plain := npy.ParseType(text); plain == nil {
		return t, nil
	}
	return npy.Type{}, err
}

// bytesOf gives the low bytes of a number of that many bits.
func bytesOf(v uint64, bits int) []byte {
	return binary.LittleEndian.AppendUint64(nil, v)[:bits/8]
}

func signed(bits int) func(string) ([]byte, error) {
	return func(s string) ([]byte, error) {
		v, err := strconv.ParseInt(s, 0, bits)
		if err != nil {
			return nil, fmt.Errorf("%q is no whole number from -2^%d to 2^%d-1", s, bits-1, bits-1)
		}
		return bytesOf(uint64(v), bits), nil
	}
}

func unsigned(bits int) func(string) ([]byte, error) {
	return func(s string) ([]byte, error) {
		v, err := strconv.ParseUint(s, 0, bits)
		if err != nil {
			return nil, fmt.Errorf("%q is no whole number from 0 to 2^%d-1", s, bits)
		}
		return bytesOf(v, bits), nil
	}
}

func float(bits int) func(string) ([]byte, error) {
	return func(s string) ([]byte, error) {
		v, err := strconv.ParseFloat(s, bits)
		if err != nil {
			return nil, fmt.Errorf("%q is no number of %d bits", s, bits)
		}
		return bytesOf(floatBits(v, bits), bits), nil
	}
}

func floatBits(v float64, bits int) uint64 {
	if bits == 32 {
		return uint64(math.Float32bits(float32(v)))
	}
	return math.Float64bits(v)
}

// half reads a number of 16 bits, rounded to the nearest.
func half(name string) func(string) ([]byte, error) {
	return func(s string) ([]byte, error) {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return nil, fmt.Errorf("%q is no number", s)
		}
		convert, err := arith.Cvt(name, "f64", arith.Mode{Round: arith.RN})
		if err != nil {
			return nil, err
		}
		return bytesOf(convert(math.Float64bits(v)), 16), nil
	}
}

func boolean(s string) ([]byte, error) {
	v, err := strconv.ParseBool(s)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%q is neither true nor false", s)
	case v:
		return []byte{1}, nil
	}
	return []byte{0}, nil
}

// complexNumber reads 1.5, 2j or 1+2j of parts with that many bits.
func complexNumber(bits int) func(string) ([]byte, error) {
	return func(s string) ([]byte, error) {
		text := s
		if strings.HasSuffix(s, "j") {
			text = s[:len(s)-1] + "i"
		}
		v, err := strconv.ParseComplex(text, 2*bits)
		if err != nil {
			return nil, fmt.Errorf("%q is no complex number such as 1+2j", s)
		}
		return append(bytesOf(floatBits(real(v), bits), bits), bytesOf(floatBits(imag(v), bits), bits)...), nil
	}
}
