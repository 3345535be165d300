package npy

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// A Type is any element type of a file: a number, a string of bytes, or a record of fields. Its layout is NumPy's,
// which is C's where the fields say so (numpy.dtype(…, align=True)).
type Type struct {
	Kind   byte // as NumPy's: b bool, i, u, f, c, V void, S, U, M, m; r for a record
	Size   int  // bytes
	Unit   string
	Fields []Field // of a record, in order of their offsets
	Count  []int   // of a field that is an array: its shape; nil: one element
	Elem   *Type   // of such an array
}

// A Field is one named part of a record. Padding has no field.
type Field struct {
	Name   string
	Offset int
	Type   Type
}

// maxElement is the most bytes of one element.
const maxElement = 1 << 20

// scalarSizes lists the sizes of the kinds of plain elements; kinds with any size are not in it.
var scalarSizes = map[byte][]int{
	'b': {1}, 'i': {1, 2, 4, 8}, 'u': {1, 2, 4, 8}, 'f': {2, 4, 8, 16}, 'c': {8, 16, 32}, 'M': {8}, 'm': {8},
}

// ParseType reads a type of one word, such as <f4, |b1, <c8, |V2 or <M8[ns].
func ParseType(word string) (Type, error) {
	unsupported := fmt.Errorf("elements of type %q are not supported", word)
	rest, unit := word, ""
	if i := strings.IndexByte(word, '['); i >= 0 && strings.HasSuffix(word, "]") {
		rest, unit = word[:i], word[i:]
	}
	if len(rest) < 3 || !strings.ContainsRune("<>|=", rune(rest[0])) {
		return Type{}, unsupported
	}
	n, err := strconv.Atoi(rest[2:])
	t := Type{Kind: rest[1], Size: n, Unit: unit}
	if err != nil || n < 0 || rest[2] == '+' {
		return Type{}, unsupported
	}
	tooLarge := fmt.Errorf("elements of %q are not supported: they have more than %d bytes, or none", word, maxElement)
	if n > maxElement {
		return Type{}, tooLarge
	}
	switch sizes := scalarSizes[t.Kind]; {
	case t.Kind == 'U':
		t.Size = 4 * n
	case t.Kind == 'S' || t.Kind == 'V':
	case !contains(sizes, n):
		return Type{}, unsupported
	}
	if unit != "" && t.Kind != 'M' && t.Kind != 'm' || strings.ContainsAny(unit, "'\"\\") {
		return Type{}, unsupported
	}
	if rest[0] == '>' && t.Size > 1 && t.Kind != 'S' && t.Kind != 'V' {
		return Type{}, fmt.Errorf("the elements %q are big endian; save the array as a.astype(%q)", word, "<"+word[1:])
	}
	if t.Size > maxElement || t.Size == 0 {
		return Type{}, tooLarge
	}
	return t, nil
}

func contains(list []int, n int) bool {
	for _, x := range list {
		if x == n {
			return true
		}
	}
	return false
}

// Record makes the type of a record with C's layout: each field at a multiple of its alignment, the size a multiple of
// the largest one.
func Record(names []string, types []Type) Type {
	r := Type{Kind: 'r'}
	most := 1
	for i, t := range types {
		a := t.Align()
		most = max(most, a)
		r.Size = (r.Size + a - 1) / a * a
		r.Fields = append(r.Fields, Field{names[i], r.Size, t})
		r.Size += t.Size
	}
	r.Size = (r.Size + most - 1) / most * most
	return r
}

// Align is the alignment that C gives the type.
func (t Type) Align() int {
	switch {
	case t.Elem != nil:
		return t.Elem.Align()
	case t.Kind == 'r':
		most := 1
		for _, f := range t.Fields {
			most = max(most, f.Type.Align())
		}
		return most
	case t.Kind == 'c':
		return t.Size / 2
	case t.Kind == 'U':
		return 4
	case t.Kind == 'S', t.Kind == 'V' && t.Size != 2: // two bytes are a bfloat16
		return 1
	}
	return t.Size
}

// String writes the type as NumPy's descr.
func (t Type) String() string {
	switch {
	case t.Elem != nil:
		return t.Elem.String()
	case t.Kind == 'r':
		var b strings.Builder
		b.WriteByte('[')
		at := 0
		pad := func(to int) {
			if to > at {
				fmt.Fprintf(&b, "('', '|V%d'), ", to-at)
			}
		}
		for _, f := range t.Fields {
			pad(f.Offset)
			fmt.Fprintf(&b, "('%s', %s", f.Name, f.Type.quoted())
			if f.Type.Count != nil {
				b.WriteString(", " + tuple(f.Type.Count))
			}
			b.WriteString("), ")
			at = f.Offset + f.Type.Size
		}
		pad(t.Size)
		return strings.TrimSuffix(b.String(), ", ") + "]"
	}
	order, n := "<", t.Size
	if t.Size == 1 || t.Kind == 'S' || t.Kind == 'V' {
		order = "|"
	}
	if t.Kind == 'U' {
		n /= 4
	}
	return order + string(t.Kind) + strconv.Itoa(n) + t.Unit
}

// quoted writes the type as Python does: a word in quotes, a record without them.
func (t Type) quoted() string {
	if t.Elem != nil {
		return t.Elem.quoted()
	}
	if t.Kind == 'r' {
		return t.String()
	}
	return "'" + t.String() + "'"
}

// descr reads a type: a word, or a list of fields.
func (p *parser) dtype(depth int) (Type, error) {
	if p.space(); !strings.HasPrefix(p.rest, "[") {
		word, err := p.str()
		if err != nil {
			return Type{}, err
		}
		return ParseType(word)
	}
	if depth > 8 {
		return Type{}, errors.New("records nested more than 8 deep")
	}
	p.accept("[")
	r := Type{Kind: 'r'}
	for !p.accept("]") {
		if err := p.field(&r, depth); err != nil {
			return Type{}, err
		}
		if !p.accept(",") {
			if !p.accept("]") {
				return Type{}, errors.New("a comma or ] is missing")
			}
			break
		}
	}
	if r.Size == 0 {
		return Type{}, errors.New("a record without fields")
	}
	return r, nil
}

// field reads ('name', type) or ('name', type, shape) and puts it behind the fields of r. A name may be ('title',
// 'name').
func (p *parser) field(r *Type, depth int) error {
	if !p.accept("(") {
		return errors.New("a field of a record, ('name', 'type'), should come here")
	}
	titled := p.accept("(")
	name, err := p.str()
	if err == nil && titled {
		if !p.accept(",") {
			return errors.New("a comma is missing")
		}
		if name, err = p.str(); err == nil && !p.accept(")") {
			return errors.New("a ) is missing")
		}
	}
	if err != nil {
		return err
	}
	if strings.ContainsRune(name, '\'') {
		return fmt.Errorf("the name %q has a quote in it", name)
	}
	if !p.accept(",") {
		return errors.New("a comma is missing")
	}
	t, err := p.dtype(depth + 1)
	if err != nil {
		return err
	}
	if p.accept(",") {
		if p.space(); !strings.HasPrefix(p.rest, ")") {
			shape, err := p.tuple()
			if err != nil {
				return err
			}
			n, err := product(shape)
			if err != nil || n > maxElement/t.Size || n == 0 {
				return errors.New("a field's shape is too large or empty")
			}
			elem := t
			t = Type{Kind: elem.Kind, Size: n * elem.Size, Count: shape, Elem: &elem}
		}
	}
	if !p.accept(")") {
		return errors.New("a ) is missing")
	}
	if name != "" {
		r.Fields = append(r.Fields, Field{name, r.Size, t})
	}
	if r.Size += t.Size; r.Size > maxElement {
		return fmt.Errorf("records of more than %d bytes are not supported", maxElement)
	}
	return nil
}

// A Part is one number of an element: where it lies in the element, and its type.
type Part struct {
	Name   string // of the field, such as pos.x[2]; "" for a plain element
	Offset int
	Type   Type
}

// Parts lists the plain parts of an element.
func (t Type) Parts() []Part { return t.parts("", 0) }

func (t Type) parts(name string, at int) (list []Part) {
	switch {
	case t.Elem != nil:
		for i := range t.Size / t.Elem.Size {
			list = append(list, t.Elem.parts(fmt.Sprintf("%s[%d]", name, i), at+i*t.Elem.Size)...)
		}
	case t.Kind == 'r':
		for _, f := range t.Fields {
			full := f.Name
			if name != "" {
				full = name + "." + f.Name
			}
			list = append(list, f.Type.parts(full, at+f.Offset)...)
		}
	default:
		list = []Part{{name, at, t}}
	}
	return list
}

// Raw is an array of elements of any type, as it is in a file.
type Raw struct {
	Type  Type
	Shape []int
	Data  []byte // last index fastest
}

// Len is the number of elements.
func (a *Raw) Len() int { return len(a.Data) / a.Type.Size }

// Zeros makes an array of zeros; the product of the shape and the type's size is for the caller to bound.
func Zeros(t Type, shape []int) (*Raw, error) {
	n, err := product(shape)
	if err != nil {
		return nil, err
	}
	if n > math.MaxInt/t.Size {
		return nil, fmt.Errorf("npy: shape %s of %v: %w", tuple(shape), t, errTooLarge)
	}
	return &Raw{Type: t, Shape: shape, Data: make([]byte, n*t.Size)}, nil
}
