package main

import (
	"encoding/binary"
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"strings"

	"bilevel/internal/nearest"
	"bilevel/internal/npy"
)

// An element is a type of buffer elements and of numbers passed by value.
type element struct {
	name  string // as CUDA's short names: f32, i32, …
	dtype npy.DType
	value func(text string) ([]byte, error) // the bytes of a number, little endian; nil: not passed by value
}

// elements lists the types of -arg.
var elements = []element{
	{"f32", npy.Float32Type, float(32)},
	{"f64", npy.Float64Type, float(64)},
	{"f16", npy.Float16Type, nil},
	{"i32", npy.Int32Type, signed(32)},
	{"i64", npy.Int64Type, signed(64)},
	{"u8", npy.Uint8Type, unsigned(8)},
	{"u16", npy.Uint16Type, unsigned(16)},
	{"u32", npy.Uint32Type, unsigned(32)},
	{"u64", npy.Uint64Type, unsigned(64)},
}

func names() []string {
	list := make([]string, len(elements))
	for i, e := range elements {
		list[i] = e.name
	}
	return list
}

// elementOf finds a type by its name.
func elementOf(name string) (element, error) {
	for _, e := range elements {
		if e.name == name {
			return e, nil
		}
	}
	return element{}, fmt.Errorf("unknown type %q%s (there are %s)", name, nearest.Hint(name, names()), strings.Join(names(), " "))
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
		if bits == 32 {
			return bytesOf(uint64(math.Float32bits(float32(v))), bits), nil
		}
		return bytesOf(math.Float64bits(v), bits), nil
	}
}

// An argument is one -arg: a buffer in a file, or a number.
type argument struct {
	text   string // as given
	value  []byte // of a number; nil for a buffer
	path   string
	reads  bool // in, inout: the buffer begins with the file's elements
	writes bool // out, inout: the file gets the buffer when the kernel is done
	dtype  npy.DType
	shape  []int // out
}

// buffers are the words before a file, with what they do.
var buffers = map[string]struct{ reads, writes bool }{"in": {true, false}, "out": {false, true}, "inout": {true, true}}

const argForms = "in:FILE.npy, out:FILE.npy:TYPE:SHAPE, inout:FILE.npy, or a number such as i32:5"

// parseArg reads one -arg.
func parseArg(text string) (argument, error) {
	word, rest, colon := strings.Cut(text, ":")
	if !colon {
		return argument{}, fmt.Errorf("want %s", argForms)
	}
	a := argument{text: text}
	buffer, ok := buffers[word]
	if !ok {
		e, err := elementOf(word)
		switch {
		case err != nil:
			return argument{}, fmt.Errorf("%q is neither in, out, inout nor a type (%s); want %s", word, strings.Join(names(), " "), argForms)
		case e.value == nil:
			return argument{}, fmt.Errorf("numbers of type %s are not passed by value; u16 passes their bits", word)
		}
		a.value, err = e.value(rest)
		return a, err
	}
	a.reads, a.writes, a.path = buffer.reads, buffer.writes, rest
	if !a.reads {
		shapeAt := strings.LastIndexByte(rest, ':')
		typeAt := strings.LastIndexByte(rest[:max(shapeAt, 0)], ':')
		if typeAt < 0 {
			return argument{}, fmt.Errorf("want out:FILE.npy:TYPE:SHAPE, for example out:c.npy:f32:64x10")
		}
		e, err := elementOf(rest[typeAt+1 : shapeAt])
		if err != nil {
			return argument{}, err
		}
		if a.shape, err = parseShape(rest[shapeAt+1:], e.dtype); err != nil {
			return argument{}, err
		}
		a.dtype, a.path = e.dtype, rest[:typeAt]
	}
	if a.path == "" {
		return argument{}, fmt.Errorf("the name of the file is missing; want %s", argForms)
	}
	a.path = filepath.Clean(a.path)
	return a, nil
}

// maxBuffer is the most bytes of an output, so that a slip in its shape is told from the memory's end.
const maxBuffer = 16 << 30

// parseShape reads 64x10.
func parseShape(text string, d npy.DType) ([]int, error) {
	var shape []int
	total := int64(d.Size())
	for _, word := range strings.Split(text, "x") {
		n, err := strconv.ParseUint(word, 10, 40)
		if err != nil {
			return nil, fmt.Errorf("%q is no shape such as 64x10", text)
		}
		if total > maxBuffer/int64(max(n, 1)) {
			return nil, fmt.Errorf("a buffer of shape %s is larger than 16 GiB", text)
		}
		total *= int64(max(n, 1))
		shape = append(shape, int(n))
	}
	return shape, nil
}

// parseSizes reads X,Y,Z; sizes left out are 1.
func parseSizes(text string) ([3]int, error) {
	size := [3]int{1, 1, 1}
	words := strings.Split(text, ",")
	for i, word := range words {
		n, err := strconv.ParseInt(strings.TrimSpace(word), 10, 32)
		if err != nil || n < 1 || i == len(size) {
			return size, fmt.Errorf("want one to three whole numbers from 1 on, such as 16,16,1")
		}
		size[i] = int(n)
	}
	return size, nil
}

// A constant is one -const: a variable of the module and the file of its elements.
type constant struct{ name, path string }

func parseConstant(text string) (constant, error) {
	name, path, ok := strings.Cut(text, "=")
	if !ok || name == "" || path == "" {
		return constant{}, fmt.Errorf("want NAME=FILE.npy")
	}
	return constant{name, filepath.Clean(path)}, nil
}
