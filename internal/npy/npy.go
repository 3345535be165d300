// Package npy reads and writes NumPy's .npy files: one array of numbers or text with its shape.
//
// The format (numpy.lib.format, versions 1.0, 2.0 and 3.0) is
//
//	"\x93NUMPY" major minor     8 bytes
//	header length               uint16 in version 1.0, uint32 in 2.0 and 3.0, little endian
//	header                      a Python dictionary such as {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4),
//	                            }, then spaces and a newline, so that the data begins at a multiple of 64 bytes
//	data                        the elements, last index fastest
//
// Read takes arrays of the types of DType in either byte order, in C or Fortran order, under every header that NumPy
// has written since 2007, and gives them little endian in C order; ReadAny takes arrays of text too. Other types are
// refused with the NumPy call that makes a readable array of them. A file that is longer or shorter than its header
// says is refused. Write gives the bytes numpy.save gives.
package npy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// DType is the type of an array's elements.
type DType uint8

const (
	Float16Type DType = iota + 1
	Float32Type
	Float64Type
	Int8Type
	Int16Type
	Int32Type
	Int64Type
	Uint8Type
	Uint16Type
	Uint32Type
	Uint64Type
	BoolType    // one byte, 0 or 1
	UnicodeType // text of Array.Width bytes, four for each character (UTF-32), zeros behind it
	BytesType   // text of Array.Width bytes, one for each character, zeros behind it
)

// dtypes lists each type's NumPy name, its descr in a file, and its bytes.
var dtypes = [...]struct {
	name, descr string
	bytes       int
}{
	Float16Type: {"float16", "<f2", 2},
	Float32Type: {"float32", "<f4", 4},
	Float64Type: {"float64", "<f8", 8},
	Int8Type:    {"int8", "|i1", 1},
	Int16Type:   {"int16", "<i2", 2},
	Int32Type:   {"int32", "<i4", 4},
	Int64Type:   {"int64", "<i8", 8},
	Uint8Type:   {"uint8", "|u1", 1},
	Uint16Type:  {"uint16", "<u2", 2},
	Uint32Type:  {"uint32", "<u4", 4},
	Uint64Type:  {"uint64", "<u8", 8},
	BoolType:    {"bool", "|b1", 1},
	UnicodeType: {"text", "<U", 0},
	BytesType:   {"bytes", "|S", 0},
}

func (d DType) valid() bool { return 0 < d && int(d) < len(dtypes) }

// String returns NumPy's name of the type, such as float32.
func (d DType) String() string {
	if !d.valid() {
		return "DType(" + strconv.Itoa(int(d)) + ")"
	}
	return dtypes[d].name
}

// Size returns the bytes of one number, and 0 for text, whose Array knows its Width.
func (d DType) Size() int {
	if !d.valid() {
		return 0
	}
	return dtypes[d].bytes
}

// IsInteger tells whether the elements are whole numbers by their type.
func (d DType) IsInteger() bool { return Int8Type <= d && d <= Uint64Type }

// IsText tells whether the elements are text.
func (d DType) IsText() bool { return d == UnicodeType || d == BytesType }

// Array is an array of numbers or text, as it is in a file.
type Array struct {
	DType DType
	Shape []int  // empty for a single number
	Data  []byte // the elements in little-endian order, last index fastest
	Width int    // bytes of an element of text; 0 for numbers
}

// itemSize returns the bytes of one element.
func (a *Array) itemSize() int {
	if a.DType.IsText() {
		return a.Width
	}
	return a.DType.Size()
}

// Elem is the Go type of an element.
type Elem interface {
	Float16 | float32 | float64 | int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64
}

// typeOf returns the DType of T.
func typeOf[T Elem]() DType {
	var zero T
	switch any(zero).(type) {
	case Float16:
		return Float16Type
	case float32:
		return Float32Type
	case float64:
		return Float64Type
	case int8:
		return Int8Type
	case int16:
		return Int16Type
	case int32:
		return Int32Type
	case int64:
		return Int64Type
	case uint8:
		return Uint8Type
	case uint16:
		return Uint16Type
	case uint32:
		return Uint32Type
	default:
		return Uint64Type
	}
}

// New makes an Array of values, copied. The shape's product must be len(values).
func New[T Elem](values []T, shape ...int) (*Array, error) {
	n, err := product(shape)
	if err != nil {
		return nil, err
	}
	if n != len(values) {
		return nil, fmt.Errorf("npy: %d values for the shape %s", len(values), tuple(shape))
	}
	data, err := binary.Append(make([]byte, 0, n*typeOf[T]().Size()), binary.LittleEndian, values)
	if err != nil {
		return nil, fmt.Errorf("npy: %w", err)
	}
	return &Array{DType: typeOf[T](), Shape: append([]int{}, shape...), Data: data}, nil
}

// Values returns a's elements in a new slice. It is an error if they are not of type T.
func Values[T Elem](a *Array) ([]T, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	if want := typeOf[T](); a.DType != want {
		return nil, fmt.Errorf("npy: the array holds %v, not %v", a.DType, want)
	}
	values := make([]T, a.Len())
	if _, err := binary.Decode(a.Data, binary.LittleEndian, values); err != nil {
		return nil, fmt.Errorf("npy: %w", err)
	}
	return values, nil
}

// Len returns the number of elements, the product of the shape.
func (a *Array) Len() int {
	size := a.itemSize()
	if size < 1 { // text of no characters has elements and no data
		n, _ := product(a.Shape)
		return n
	}
	return len(a.Data) / size
}

// check holds the three fields against each other.
func (a *Array) check() error {
	if !a.DType.valid() {
		return fmt.Errorf("npy: unknown element type %v", a.DType)
	}
	n, err := product(a.Shape)
	if err != nil {
		return err
	}
	size := a.itemSize()
	if size < 0 || a.DType == UnicodeType && size%4 != 0 {
		return fmt.Errorf("npy: %v elements of %d bytes", a.DType, size)
	}
	if size == 0 && len(a.Data) > 0 || size > 0 && (len(a.Data)%size != 0 || len(a.Data)/size != n) {
		return fmt.Errorf("npy: %d bytes of data for the shape %s of %v", len(a.Data), tuple(a.Shape), a.DType)
	}
	return nil
}

var errTooLarge = errors.New("the shape's product is too large")

// product multiplies the dimensions. An array of zero elements may have other dimensions of any size.
func product(shape []int) (int, error) {
	n, zero := uint(1), false
	over := uint(0)
	for _, d := range shape {
		if d < 0 {
			return 0, fmt.Errorf("npy: negative dimension in the shape %s", tuple(shape))
		}
		if d == 0 {
			zero = true
			continue
		}
		var hi uint
		hi, n = bits.Mul(n, uint(d))
		if over |= hi; n > math.MaxInt {
			over = 1
		}
	}
	switch {
	case zero:
		return 0, nil
	case over != 0:
		return 0, fmt.Errorf("npy: shape %s: %w", tuple(shape), errTooLarge)
	}
	return int(n), nil
}

// tuple writes a shape as Python does: (), (3,), (3, 4).
func tuple(shape []int) string {
	s := make([]string, len(shape))
	for i, d := range shape {
		s[i] = strconv.Itoa(d)
	}
	if len(s) == 1 {
		return "(" + s[0] + ",)"
	}
	return "(" + strings.Join(s, ", ") + ")"
}
