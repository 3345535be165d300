package main

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"bilevel/internal/npy"
)

// A bufferKind says how a buffer begins and ends.
type bufferKind struct {
	word   string
	reads  bool // it begins with the file's elements
	writes bool // the file gets its elements when the kernels are done
	blank  bool // it begins with memory that nobody has written
}

// bufferKinds are the words before a file.
var bufferKinds = []bufferKind{
	{"in", true, false, false}, {"out", false, true, false}, {"inout", true, true, false}, {"alloc", false, true, true},
}

func bufferKindOf(word string) (bufferKind, bool) {
	for _, k := range bufferKinds {
		if k.word == word {
			return k, true
		}
	}
	return bufferKind{}, false
}

// A bufferSpec is a buffer as given: in:x.npy, out:y.npy:f32:64x10 and so on.
type bufferSpec struct {
	text string
	bufferKind
	path  string // "" for alloc:TYPE:SHAPE, which goes to no file
	dtype npy.Type
	shape []int
}

// An argument is what one parameter of a kernel is given, or one field of a structure: exactly one of bytes, buffer,
// name and fields.
type argument struct {
	text   string // as given
	bytes  []byte // of numbers
	align  int    // in a structure
	buffer *bufferSpec
	name   string     // of a buffer that -buffer declares
	offset int64      // in bytes from the start of that buffer
	fields []argument // of a structure
}

const argForms = "in:FILE.npy, out:FILE.npy:TYPE:SHAPE, inout:FILE.npy, alloc:TYPE:SHAPE, struct:{…}, the name " +
	"of a -buffer, or a number such as i32:5"

// maxValue is the most bytes of one parameter (PTX ISA 5.1.6: 32,764).
const maxValue = 32764

var (
	numbersWord = regexp.MustCompile(`^([a-z0-9]+)\[([0-9]+)\]$`)
	vectorWord  = regexp.MustCompile(`^([a-z]+[0-9]+)x([1-4])$`)
	nameWord    = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_]*)(\+[0-9]+)?$`)
)

// parseArg reads one -arg. Names of files in it count from the folder dir.
func parseArg(text, dir string) (argument, error) {
	a, err := parseValue(text, dir, 0)
	if err == nil && len(a.bytes) > maxValue {
		err = fmt.Errorf("a parameter has at most %d bytes", maxValue)
	}
	return a, err
}

// parseValue reads an argument or a field at that depth of structures.
func parseValue(text, dir string, depth int) (argument, error) {
	a := argument{text: text}
	word, rest, colon := strings.Cut(text, ":")
	if !colon {
		m := nameWord.FindStringSubmatch(text)
		if m == nil {
			return a, fmt.Errorf("want %s", argForms)
		}
		a.name, a.align = m[1], 8
		if m[2] != "" {
			n, err := strconv.ParseInt(m[2][1:], 10, 62)
			if err != nil {
				return a, fmt.Errorf("the offset of %s is too large", text)
			}
			a.offset = n
		}
		return a, nil
	}
	if _, ok := bufferKindOf(word); ok {
		spec, err := parseBuffer(text, dir)
		a.buffer, a.align = &spec, 8
		return a, err
	}
	switch {
	case word == "struct", strings.HasPrefix(word, "struct") && vectorAlign(word) > 0:
		return parseStruct(a, rest, dir, vectorAlign(word), depth)
	case word == "pad":
		n, err := strconv.ParseUint(rest, 10, 16)
		if err != nil || n > maxValue {
			return a, fmt.Errorf("want pad:BYTES")
		}
		a.bytes, a.align = make([]byte, n), 1
		return a, nil
	case word == "value":
		array, err := npy.ReadRawFile(within(dir, rest))
		if err != nil {
			return a, err
		}
		if len(array.Data) > maxValue {
			return a, fmt.Errorf("%s holds %d bytes, a parameter has at most %d", rest, len(array.Data), maxValue)
		}
		a.bytes, a.align = array.Data, array.Type.Align()
		return a, nil
	}
	return parseNumbers(a, word, rest)
}

// within is the name of a file that counts from a folder.
func within(dir, path string) string {
	if dir == "" || filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

// vectorAlign is N of structN, a power of two; 0 for other words.
func vectorAlign(word string) int {
	n, err := strconv.Atoi(strings.TrimPrefix(word, "struct"))
	if err != nil || n < 1 || n > 128 || n&(n-1) != 0 {
		return 0
	}
	return n
}

// parseStruct reads the fields of a structure, in braces or without.
func parseStruct(a argument, rest, dir string, align, depth int) (argument, error) {
	if depth > maxNesting {
		return a, errNesting
	}
	if inside, ok := strings.CutPrefix(rest, "{"); ok && closes(rest) {
		rest = inside[:len(inside)-1]
	}
	words, err := split(rest)
	if err != nil {
		return a, err
	}
	for _, w := range words {
		f, err := parseValue(w, dir, depth+1)
		if err != nil {
			return a, fmt.Errorf("field %q: %w", w, err)
		}
		a.fields = append(a.fields, f)
	}
	if len(a.fields) == 0 {
		return a, fmt.Errorf("a structure without fields")
	}
	a.align = align
	for _, f := range a.fields {
		a.align = max(a.align, f.align)
	}
	return a, nil
}

// parseNumbers reads TYPE:NUMBER, TYPE[N]:{a,b,…}, and TYPExN:{a,b,…} for CUDA's short vectors.
func parseNumbers(a argument, word, rest string) (argument, error) {
	name, n, vector := word, 1, false
	if m := numbersWord.FindStringSubmatch(word); m != nil {
		name = m[1]
		var err error
		if n, err = strconv.Atoi(m[2]); err != nil || n < 1 || n > maxValue {
			return a, fmt.Errorf("%s: want 1 to %d numbers", word, maxValue)
		}
	} else if m := vectorWord.FindStringSubmatch(word); m != nil {
		name, vector = m[1], true
		n = int(m[2][0] - '0')
	}
	e, err := elementOf(name)
	if err != nil {
		return a, fmt.Errorf("%q is neither in, out, inout, alloc, struct nor a type (%s); want %s", word,
			strings.Join(names(), " "), argForms)
	}
	a.align = e.align
	if vector && n != 3 {
		a.align = min(n*e.dtype().Size, 16)
	}
	if inside, ok := strings.CutPrefix(rest, "{"); ok && closes(rest) {
		rest = inside[:len(inside)-1]
	}
	words := []string{rest}
	if n > 1 {
		if words = strings.Split(rest, ","); len(words) != n {
			return a, fmt.Errorf("%s: %d numbers, want %d", word, len(words), n)
		}
	}
	for _, w := range words {
		b, err := e.value(strings.TrimSpace(w))
		if err != nil {
			return a, err
		}
		a.bytes = append(a.bytes, b...)
	}
	return a, nil
}

// maxNesting is how deep structures may nest.
const maxNesting = 16

var errNesting = fmt.Errorf("structures nested more than %d deep", maxNesting)

// closes says whether the brace that text begins with is closed by its last character.
func closes(text string) bool {
	depth := 0
	for i, c := range text {
		switch c {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return i == len(text)-1
			}
		}
	}
	return false
}

// split cuts text at commas outside of braces.
func split(text string) (words []string, err error) {
	depth, start := 0, 0
	for i, c := range text {
		switch c {
		case '{':
			depth++
		case '}':
			if depth--; depth < 0 {
				return nil, fmt.Errorf("%q: a } without its {", text)
			}
		case ',':
			if depth == 0 {
				words = append(words, strings.TrimSpace(text[start:i]))
				start = i + 1
			}
		}
	}
	if depth > 0 {
		return nil, fmt.Errorf("%q: a { is not closed", text)
	}
	return append(words, strings.TrimSpace(text[start:])), nil
}

// parseBuffer reads a buffer.
func parseBuffer(text, dir string) (bufferSpec, error) {
	word, rest, _ := strings.Cut(text, ":")
	kind, ok := bufferKindOf(word)
	if !ok {
		return bufferSpec{}, fmt.Errorf("want in:FILE.npy, out:FILE.npy:TYPE:SHAPE, inout:FILE.npy or alloc:TYPE:SHAPE")
	}
	b := bufferSpec{text: text, bufferKind: kind, path: rest}
	if !b.reads {
		form := "out:FILE.npy:TYPE:SHAPE, for example out:c.npy:f32:64x10"
		if b.blank {
			form = "alloc:TYPE:SHAPE or alloc:FILE.npy:TYPE:SHAPE, for example alloc:f32:64x10"
		}
		shapeAt := strings.LastIndexByte(rest, ':')
		if shapeAt < 0 {
			return b, fmt.Errorf("want %s", form)
		}
		typeAt := strings.LastIndexByte(rest[:shapeAt], ':')
		if typeAt < 0 && !b.blank {
			return b, fmt.Errorf("want %s", form)
		}
		var err error
		if b.dtype, err = typeOf(rest[typeAt+1 : shapeAt]); err != nil {
			return b, err
		}
		if b.shape, err = parseShape(rest[shapeAt+1:], b.dtype); err != nil {
			return b, err
		}
		if typeAt < 0 {
			b.path, b.writes = "", false
			return b, nil
		}
		b.path = rest[:typeAt]
	}
	if b.path == "" {
		return b, fmt.Errorf("the name of the file is missing; want %s", argForms)
	}
	b.path = within(dir, b.path)
	return b, nil
}

// maxBuffer is the most bytes of an output, so that a slip in its shape is told from the memory's end.
const maxBuffer = 16 << 30

// parseShape reads 64x10.
func parseShape(text string, t npy.Type) ([]int, error) {
	var shape []int
	total := int64(t.Size)
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

// A namedBuffer is one -buffer.
type namedBuffer struct {
	name string
	spec bufferSpec
}

func parseNamedBuffer(text, dir string) (namedBuffer, error) {
	name, rest, ok := strings.Cut(text, "=")
	if m := nameWord.FindStringSubmatch(name); !ok || m == nil || m[2] != "" {
		return namedBuffer{}, fmt.Errorf("want NAME=in:FILE.npy or another buffer")
	}
	spec, err := parseBuffer(rest, dir)
	return namedBuffer{name, spec}, err
}

// An expectation is one --expect: what a buffer should hold in the end.
type expectation struct{ buffer, path string }

// parseExpectation reads FILE.npy or BUFFER=FILE.npy.
func parseExpectation(text string) (expectation, error) {
	buffer, path, ok := strings.Cut(text, "=")
	if !ok {
		buffer, path = "", text
	}
	if path == "" {
		return expectation{}, fmt.Errorf("want FILE.npy, or BUFFER=FILE.npy")
	}
	return expectation{buffer, filepath.Clean(path)}, nil
}
