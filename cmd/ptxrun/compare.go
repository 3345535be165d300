package main

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/cmplx"
	"strings"

	"bilevel/internal/npy"
)

// A mismatch is the first element that differs from what was expected.
type mismatch struct {
	Buffer  string `json:"buffer"`
	File    string `json:"file"`
	Element string `json:"element"` // its index
	Got     string `json:"got"`
	Want    string `json:"want"`
	Count   int    `json:"count"` // elements that differ
	Of      int    `json:"of"`
}

func (m mismatch) String() string {
	return fmt.Sprintf("mismatch in %s, element %s: %s, but %s has %s (%d of %d elements differ)", m.Buffer, m.Element,
		m.Got, m.File, m.Want, m.Count, m.Of)
}

// subject finds the buffer that an expectation is about: by its name, its file, or as the only one that is written.
func (p *pool) subject(e expectation) (*buffer, error) {
	var written []*buffer
	var names []string
	for _, b := range p.list {
		if e.buffer != "" && (p.named[e.buffer] == b || b.spec.path == e.buffer) {
			return b, nil
		}
		if b.writes || b.spec.blank {
			written, names = append(written, b), append(names, b.label)
		}
	}
	switch {
	case e.buffer != "":
		return nil, fmt.Errorf("--expect %s=%s: there is no such buffer (there are %s)", e.buffer, e.path,
			strings.Join(names, ", "))
	case len(written) != 1:
		return nil, fmt.Errorf("--expect %s: say which of the %d buffers that are written (%s): --expect BUFFER=%s",
			e.path, len(written), strings.Join(names, ", "), e.path)
	}
	return written[0], nil
}

// compare holds a buffer against the file that it should equal: |got - want| ≤ atol + rtol·|want|, NaN equal to NaN.
// Its error is of files that cannot be compared.
func compare(b *buffer, path string, rtol, atol float64) (*mismatch, error) {
	want, err := npy.ReadRawFile(path)
	if err != nil {
		return nil, err
	}
	got := b.array
	gotParts, wantParts := got.Type.Parts(), want.Type.Parts()
	if got.Len() != want.Len() || len(gotParts) != len(wantParts) {
		return nil, fmt.Errorf("--expect %s: it holds %s of %s with shape %v, %s holds %s of %s with shape %v", path,
			plural(want.Len(), "element"),
			typeName(want.Type), want.Shape, b.label, plural(got.Len(), "element"), typeName(got.Type), got.Shape)
	}
	m := mismatch{Buffer: b.label, File: path, Of: got.Len()}
	for i := range got.Len() {
		x, y := got.Data[i*got.Type.Size:], want.Data[i*want.Type.Size:]
		for k, part := range gotParts {
			a, b := numberAt(part, x), numberAt(wantParts[k], y)
			if a.near(b, rtol, atol) {
				continue
			}
			if m.Count++; m.Count == 1 {
				m.Element, m.Got, m.Want = index(i, got.Shape), a.text(), b.text()
				if part.Name != "" {
					m.Element += "." + part.Name
				}
			}
			break
		}
	}
	if m.Count == 0 {
		return nil, nil
	}
	return &m, nil
}

// A value is one number of an element: a whole number, a complex one (reals too), or bytes.
type value struct {
	whole   bool
	neg     bool
	size    uint64 // of a whole number: its magnitude
	complex complex128
	bytes   string // of what is no number
	single  bool   // float32 or shorter: printed with their digits
}

// numberAt reads the part of an element. Two bytes without a type are a bfloat16.
func numberAt(p npy.Part, element []byte) value {
	b := element[p.Offset : p.Offset+p.Type.Size]
	word := func(b []byte) uint64 {
		var w [8]byte
		copy(w[:], b)
		return binary.LittleEndian.Uint64(w[:])
	}
	real := func(b []byte) float64 {
		switch len(b) {
		case 2:
			return float64(npy.Float16(word(b)).Float32())
		case 4:
			return float64(math.Float32frombits(uint32(word(b))))
		}
		return math.Float64frombits(word(b))
	}
	n := len(b)
	switch kind := p.Type.Kind; {
	case kind == 'b', kind == 'u', kind == 'M', kind == 'm':
		return value{whole: true, size: word(b)}
	case kind == 'i':
		v := int64(word(b)) << (64 - 8*n) >> (64 - 8*n)
		if v < 0 {
			return value{whole: true, neg: true, size: uint64(-v)}
		}
		return value{whole: true, size: uint64(v)}
	case kind == 'f' && n <= 8:
		return value{complex: complex(real(b), 0), single: n < 8}
	case kind == 'c' && n <= 16:
		return value{complex: complex(real(b[:n/2]), real(b[n/2:])), single: n < 16}
	case kind == 'V' && n == 2:
		return value{complex: complex(float64(math.Float32frombits(uint32(word(b))<<16)), 0), single: true}
	}
	return value{bytes: string(b)}
}

func (a value) number() complex128 {
	if !a.whole {
		return a.complex
	}
	if a.neg {
		return complex(-float64(a.size), 0)
	}
	return complex(float64(a.size), 0)
}

func (a value) near(b value, rtol, atol float64) bool {
	switch {
	case a.bytes != "" || b.bytes != "":
		return a.bytes == b.bytes
	case a.whole && b.whole && a.size == b.size && (a.neg == b.neg || a.size == 0):
		return true
	case a.whole && b.whole && rtol == 0 && atol == 0:
		return false
	}
	x, y := a.number(), b.number()
	if x == y || cmplx.IsNaN(x) && cmplx.IsNaN(y) {
		return true
	}
	return cmplx.Abs(x-y) <= atol+rtol*cmplx.Abs(y) && !cmplx.IsInf(x) && !cmplx.IsInf(y)
}

func (a value) text() string {
	switch {
	case a.bytes != "":
		return fmt.Sprintf("%#x", a.bytes)
	case a.whole && a.neg:
		return fmt.Sprintf("-%d", a.size)
	case a.whole:
		return fmt.Sprint(a.size)
	case imag(a.complex) != 0 && a.single:
		return fmt.Sprint(complex64(a.complex))
	case imag(a.complex) != 0:
		return fmt.Sprint(a.complex)
	case a.single:
		return fmt.Sprint(float32(real(a.complex)))
	}
	return fmt.Sprint(real(a.complex))
}
