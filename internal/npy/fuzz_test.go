package npy

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"bilevel/internal/alloctest"
)

// FuzzRead holds two properties: whatever Read takes is consistent, and Write gives a file that reads back the same.
func FuzzRead(f *testing.F) {
	for _, g := range golden {
		data, err := hex.DecodeString(g.data)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(file(1, g.dict+strings.Repeat(" ", g.spaces)+"\n", string(data)))
		f.Add(file(3, g.dict, string(data)))
	}
	for _, g := range forms {
		data, err := hex.DecodeString(g.data)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(file(1, g.dict, string(data)))
	}
	f.Add([]byte(magic + "\x02\x00\xff\xff\xff\xff"))
	f.Add(file(1, "{'descr': '<f4', 'fortran_order': True, 'shape': (8192, 8192), }", "1234"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var a *Array
		var err error
		alloctest.Bounded(t, len(b), 4, 2<<20, func() { a, err = ReadAny(bytes.NewReader(b), 0) })
		if err != nil {
			return
		}
		if n, err := product(a.Shape); err != nil || n != a.Len() || n*a.itemSize() != len(a.Data) {
			t.Fatalf("shape %v of %v with %d bytes (%v)", a.Shape, a.DType, len(a.Data), err)
		}
		if a.DType.IsText() {
			if v, err := a.Strings(); err != nil || len(v) != a.Len() {
				t.Fatalf("%d words of %d: %v", len(v), a.Len(), err)
			}
		} else if v, err := a.Float32s(); err != nil || len(v) != a.Len() {
			t.Fatalf("%d numbers of %d: %v", len(v), a.Len(), err)
		}
		var w bytes.Buffer
		if err := Write(&w, a); err != nil {
			t.Fatal(err)
		}
		if (w.Len()-len(a.Data))%align != 0 {
			t.Fatalf("the data begins at byte %d", w.Len()-len(a.Data))
		}
		again, err := ReadAny(&w, 0)
		if err != nil {
			t.Fatal(err)
		}
		if again.DType != a.DType || tuple(again.Shape) != tuple(a.Shape) || !bytes.Equal(again.Data, a.Data) {
			t.Fatalf("%+v became %+v", a, again)
		}
	})
}

// FuzzReadRaw holds of elements of any type that what is read has as many bytes as its shape and type say, and that the
// type's words are read as the same type.
func FuzzReadRaw(f *testing.F) {
	for _, descr := range []string{"'<U3'", "'<M8[ns]'", "'|V2'", "'<c8'", "'<U2305843009213693952'",
		"[('a', '<i2'), ('b', '|u1', (3,)), ('', '|V2')]", "[(('title', 'a'), [('x', '<f4'), ('y', '<f8', (2, 2))])]"} {
		p := parser{rest: descr}
		element, _ := p.dtype(0) // one that is refused has no bytes
		f.Add(file(1, "{'descr': "+descr+", 'fortran_order': True, 'shape': (1, 2), }",
			strings.Repeat("ab", element.Size)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var a *Raw
		var err error
		alloctest.Bounded(t, len(b), 4, 4<<20, func() { a, err = readRaw(bytes.NewReader(b), 0, nil) })
		if err != nil {
			return
		}
		if n, err := product(a.Shape); err != nil || n != a.Len() || n*a.Type.Size != len(a.Data) {
			t.Fatalf("shape %v of %v with %d bytes (%v)", a.Shape, a.Type, len(a.Data), err)
		}
		p := parser{rest: a.Type.quoted()}
		if again, err := p.dtype(0); err != nil || again.String() != a.Type.String() {
			t.Fatalf("%v became %v: %v", a.Type, again, err)
		}
	})
}
