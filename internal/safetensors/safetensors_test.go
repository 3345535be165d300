package safetensors

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/alloctest"
)

func roundTrip(t *testing.T, f File) *File {
	var b bytes.Buffer
	require.NoError(t, Write(&b, f))
	got, err := Read(bytes.NewReader(b.Bytes()), int64(b.Len()))
	require.NoError(t, err)
	return got
}

func TestRoundTrip(t *testing.T) {
	long := make([]float64, 20000)
	for i := range long {
		long[i] = math.Sin(float64(i))
	}
	f := File{
		Arrays: map[string]Array{
			"0.weight": {Shape: []int{2, 3}, F32: []float32{1, -2, 3.5, float32(math.Inf(1)), 0, 1e-40}},
			"scalar":   {Shape: []int{}, F64: []float64{math.Pi}},
			"empty":    {Shape: []int{0, 4}, F32: []float32{}},
			"labels":   {Shape: []int{3}, I32: []int32{-1, 0, math.MaxInt32}},
			"long":     {Shape: []int{100, 200}, F64: long},
		},
		Metadata: map[string]string{"version": "1", "a \"quoted\" key": "ü"},
	}
	require.Equal(t, f, *roundTrip(t, f))
	nan := roundTrip(t, File{Arrays: map[string]Array{"x": {Shape: []int{1}, F64: []float64{math.NaN()}}}})
	require.True(t, math.IsNaN(nan.Arrays["x"].Reals()[0]))
	require.Equal(t, []float64{-1, 0, math.MaxInt32}, f.Arrays["labels"].Reals())
}

// file is a file with a header and data as they are.
func file(header string, data []byte) []byte {
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(out, header...), data...)
}

func TestOtherTypes(t *testing.T) {
	header := `{"h":{"dtype":"F16","shape":[4],"data_offsets":[0,8]},` +
		`"b":{"dtype":"BF16","shape":[1],"data_offsets":[8,10]},` +
		`"l":{"dtype":"I64","shape":[1],"data_offsets":[10,18]},` +
		`"t":{"dtype":"BOOL","shape":[2],"data_offsets":[18,20]}}`
	data := []byte{0x00, 0x3c, 0x01, 0x00, 0x00, 0xfc, 0xff, 0x7b, 0xc0, 0xbf, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0xff, 1, 0}
	b := file(header, data)
	f, err := Read(bytes.NewReader(b), int64(len(b)))
	require.NoError(t, err)
	require.Equal(t, []float32{1, 0x1p-24, float32(math.Inf(-1)), 65504}, f.Arrays["h"].F32)
	require.Equal(t, []float32{-1.5}, f.Arrays["b"].F32)
	require.Equal(t, []int32{-2}, f.Arrays["l"].I32)
	require.Equal(t, []int32{1, 0}, f.Arrays["t"].I32)
}

func TestRefuses(t *testing.T) {
	one := func(dtype, shape, offsets string) string {
		return fmt.Sprintf(`{"x":{"dtype":%q,"shape":%s,"data_offsets":%s}}`, dtype, shape, offsets)
	}
	for header, want := range map[string]string{
		one("F32", "[3]", "[0,8]"):                       "shape [3] of F32 in 8 bytes",
		one("F32", "[1]", "[4,8]"):                       "lies at bytes 4 to 8",
		one("F32", "[3]", "[0,12]"):                      "the arrays end at byte 12 of 8",
		one("F32", "[-1]", "[0,8]"):                      "shape [-1]",
		one("C64", "[1]", "[0,8]"):                       `type "C64" are not read`,
		one("I64", "[1]", "[0,8]"):                       "which is no int32",
		one("F32", "[2]", "[8,0]"):                       "lies at bytes 8 to 0",
		`[1]`:                                            "no JSON object",
		`{"__metadata__":{"a":1}}`:                       "the metadata are no texts",
		`{"x":1}`:                                        `the entry of "x"`,
		one("F32", "[2,9223372036854775807,9]", "[0,8]"): "shape [2 9223372036854775807 9]",
	} {
		b := file(header, []byte{1, 2, 3, 4, 5, 6, 7, 8})
		_, err := Read(bytes.NewReader(b), int64(len(b)))
		require.ErrorContains(t, err, want, header)
	}
	for range 20 {
		b := file(`{"b":1,"c":2,"a":3}`, nil)
		_, err := Read(bytes.NewReader(b), int64(len(b)))
		require.ErrorContains(t, err, `the entry of "a"`, "the first of three")
	}
	for _, b := range [][]byte{nil, {1, 2}, file(string(make([]byte, 5)), nil)[:9]} {
		_, err := Read(bytes.NewReader(b), int64(len(b)))
		require.Error(t, err)
	}
	var w bytes.Buffer
	require.ErrorContains(t, Write(&w, File{Arrays: map[string]Array{"x": {Shape: []int{2}, F32: []float32{1}}}}),
		"has 1 elements")
	require.ErrorContains(t, Write(&w,
		File{Arrays: map[string]Array{"__metadata__": {Shape: []int{1}, F32: []float32{1}}}}), "__metadata__")
}

// Whatever the bytes, reading ends with an error or with arrays that are written and read back the same.
func FuzzRead(f *testing.F) {
	var b bytes.Buffer
	if err := Write(&b, File{Arrays: map[string]Array{"x": {Shape: []int{2}, F32: []float32{1, 2}}},
		Metadata: map[string]string{"a": "b"}}); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add(file(`{}`, nil))
	f.Add(file(`{"x": {"dtype": "F64", "shape": [8388608], "data_offsets": [0, 67108864]}}`, nil))
	f.Add([]byte("\x00\xe1\xf5\x05\x00\x00\x00\x00{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var got *File
		var err error
		alloctest.Bounded(t, len(data), 64, 2<<20, func() { got, err = Read(bytes.NewReader(data), int64(len(data))) })
		if err != nil {
			return
		}
		total := 0
		for _, a := range got.Arrays {
			total += a.Len()
		}
		if total > len(data) {
			t.Fatalf("%d elements out of %d bytes", total, len(data))
		}
		var b bytes.Buffer
		if err := Write(&b, *got); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(bytes.NewReader(b.Bytes()), int64(b.Len())); err != nil {
			t.Fatal(err)
		}
	})
}
