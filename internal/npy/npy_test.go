package npy

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

// file puts a .npy file together from the text of a header, of the given version.
func file(version byte, header, data string) []byte {
	b := []byte(magic + string(rune(version)) + "\x00")
	b = append(b, byte(len(header)), byte(len(header)>>8))
	if version > 1 {
		b = append(b, byte(len(header)>>16), byte(len(header)>>24))
	}
	return append(append(b, header...), data...)
}

// golden are files of numpy.save (NumPy 2.4.6): the dictionary, the spaces behind it, and the data in hexadecimal.
var golden = []struct {
	dict   string
	spaces int
	data   string
	array  func() (*Array, error)
}{
	{
		"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", 58,
		"0000c03f000000c00000807f00000000c216010000004040",
		func() (*Array, error) {
			return New([]float32{1.5, -2, float32(math.Inf(1)), 0, 1e-40, 3}, 2, 3)
		},
	},
	{
		"{'descr': '|u1', 'fortran_order': False, 'shape': (5,), }", 60,
		"0001020304",
		func() (*Array, error) { return New([]uint8{0, 1, 2, 3, 4}, 5) },
	},
	{
		"{'descr': '<i8', 'fortran_order': False, 'shape': (), }", 62,
		"0700000000000000",
		func() (*Array, error) { return New([]int64{7}) },
	},
	{
		"{'descr': '<f8', 'fortran_order': False, 'shape': (0, 3), }", 58,
		"",
		func() (*Array, error) { return New([]float64{}, 0, 3) },
	},
	{
		"{'descr': '<i2', 'fortran_order': False, 'shape': (" + strings.Repeat("1, ", 39) + "1), }", 72,
		"0000",
		func() (*Array, error) {
			shape := make([]int, 40)
			for i := range shape {
				shape[i] = 1
			}
			return New([]int16{0}, shape...)
		},
	},
	{ // a dictionary that just fills 192 bytes: numpy.save then adds 64 spaces more
		"{'descr': '|u1', 'fortran_order': False, 'shape': (10, " + strings.Repeat("1, ", 34) + "1), }", 83,
		"00010203040506070809",
		func() (*Array, error) {
			shape := make([]int, 36)
			for i := range shape {
				shape[i] = 1
			}
			shape[0] = 10
			return New([]uint8{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, shape...)
		},
	},
	{
		"{'descr': '<f2', 'fortran_order': False, 'shape': (4,), }", 60,
		"003c00b8ff7b0100",
		func() (*Array, error) { return New([]Float16{0x3c00, 0xb800, 0x7bff, 1}, 4) },
	},
}

func TestGoldenFiles(t *testing.T) {
	for _, g := range golden {
		data, err := hex.DecodeString(g.data)
		require.NoError(t, err)
		want := file(1, g.dict+strings.Repeat(" ", g.spaces)+"\n", string(data))
		a, err := g.array()
		require.NoError(t, err)

		var got bytes.Buffer
		require.NoError(t, Write(&got, a))
		require.Equal(t, want, got.Bytes(), g.dict)

		back, err := Read(iotest.OneByteReader(bytes.NewReader(want)))
		require.NoError(t, err)
		require.Equal(t, a, back)
	}
}

func TestReadTakesEveryVersionAndSpelling(t *testing.T) {
	for _, dict := range []string{
		"{'descr': '<u2', 'fortran_order': False, 'shape': (1, 2), }\n",
		"{'descr': '<u2', 'fortran_order': False, 'shape': (1, 2)}",
		`{"shape":(1,2,),"descr":"<u2","fortran_order":False}`,
		" { 'fortran_order' : False , 'shape' : ( 1 , 2 ) , 'descr' : '<u2' , } \n\n",
	} {
		for version := byte(1); version <= 3; version++ {
			a, err := Read(bytes.NewReader(file(version, dict, "\x01\x00\x00\x02")))
			require.NoError(t, err, dict)
			v, err := Values[uint16](a)
			require.NoError(t, err)
			require.Equal(t, []uint16{1, 512}, v)
			require.Equal(t, []int{1, 2}, a.Shape)
		}
	}
	// In one dimension the two orders are the same; and single bytes have no byte order.
	for _, dict := range []string{
		"{'descr': '|u1', 'fortran_order': True, 'shape': (2,), }",
		"{'descr': '<u1', 'fortran_order': False, 'shape': (2,), }",
		"{'descr': '>u1', 'fortran_order': False, 'shape': (2,), }",
	} {
		a, err := Read(bytes.NewReader(file(1, dict, "\x01\x02")))
		require.NoError(t, err, dict)
		require.Equal(t, &Array{DType: Uint8Type, Shape: []int{2}, Data: []byte{1, 2}}, a)
	}
}

func TestReadRefuses(t *testing.T) {
	dict := func(descr, order, shape string) string {
		return "{'descr': " + descr + ", 'fortran_order': " + order + ", 'shape': " + shape + ", }\n"
	}
	whole := file(1, dict("'<f4'", "False", "(2,)"), "12345678")
	for _, c := range []struct {
		name string
		file []byte
		want string
	}{
		{"empty", nil, "ends inside its header"},
		{"cut in the magic", whole[:5], "ends inside its header"},
		{"cut in the length", whole[:9], "ends inside its header"},
		{"cut in the header", whole[:30], "ends inside its header"},
		{"version 2 cut in the length", file(2, "", "")[:11], "ends inside its header"},
		{"short", whole[:len(whole)-1], "data of shape (2,) of float32: it ends after 7 of 8 bytes"},
		{"long", append(whole[:len(whole):len(whole)], 0), "further bytes behind the end"},
		{"magic", []byte("PK\x03\x04 a zip file"), "it begins with"},
		{"version", file(4, "{}", ""), "format version 4.0"},
		{"header size", []byte(magic + "\x02\x00\xff\xff\xff\xff"), "a header of 4294967295 bytes"},
		{"complex", file(1, dict("'<c8'", "False", "(1,)"), "12345678"),
			"the elements are complex numbers (type \"<c8\"); save the array as a.real"},
		{"object", file(1, dict("'|O'", "False", "(1,)"), "12345678"),
			"Python objects (type \"|O\"); save the array as a.astype(str)"},
		{"empty descr", file(1, dict("''", "False", "(1,)"), "1234"), "not supported"},
		{"records", file(1, dict("[('a', '<f4')]", "False", "(1,)"), "1234"), "structured_to_unstructured(a)"},
		{"dates", file(1, dict("'<M8[ns]'", "False", "(1,)"), "12345678"), "dates (type"},
		{"long double", file(1, dict("'<f16'", "False", "(1,)"), ""), "a.astype('<f8')"},
		{"bfloat16", file(1, dict("'|V2'", "False", "(1,)"), ""), "a.astype('<f4')"},
		{"text", file(1, dict("'<U3'", "False", "(1,)"), "123456789012"), "the elements are text"},
		{"huge text", file(1, dict("'<U99999999'", "False", "(1,)"), ""), "not supported"},
		{"negative text", file(1, dict("'|S-3'", "False", "(1,)"), ""), "not supported"},
		{"product", file(1, dict("'<f4'", "False", "(4294967296, 4294967296)"), ""), "too large"},
		{"product, signed", file(1, dict("'|u1'", "False", "(4294967296, 2147483648)"), ""), "too large"},
		{"product, early", file(1, dict("'|u1'", "False", "(8589934592, 8589934592, 1)"), ""), "too large"},
		{"bytes", file(1, dict("'<f4'", "False", "(4611686018427387904,)"), ""), "too large"},
		{"dimension", file(1, dict("'<f4'", "False", "(99999999999999999999,)"), ""), "is too large"},
		{"negative", file(1, dict("'<f4'", "False", "(-1,)"), ""), "whole number of at least 0"},
		{"absurd but possible", file(1, dict("'|u1'", "False", "(1099511627776,)"), "x"), "ends after 1 of"},
		{"rank", file(1, dict("'<f4'", "False", "("+strings.Repeat("1,", 65)+")"), "1234"), "more than 64 dimensions"},
		{"no tuple", file(1, dict("'<f4'", "False", "(2)"), "12345678"), "needs a comma"},
		{"list", file(1, dict("'<f4'", "False", "[2]"), "12345678"), "a tuple should come here"},
		{"tuple open", file(1, "{'shape': (1, 2", ""), "a comma or ) is missing"},
		{"expression", file(1, dict("'<f4'", "False", "(1+1,)"), "12345678"), "a comma or ) is missing"},
		{"order", file(1, dict("'<f4'", "0", "(2,)"), "12345678"), "True or False"},
		{"no dictionary", file(1, "[]", ""), "should begin with {"},
		{"unknown key", file(1, "{'x': 1}", ""), `unknown key "x"`},
		{"bare key", file(1, "{descr: 1}", ""), "a quoted word should come here"},
		{"open key", file(1, "{'descr", ""), "a quote is not closed"},
		{"escape", file(1, `{'de\x73cr': '<f4'}`, ""), "a backslash"},
		{"no colon", file(1, "{'descr' '<f4'}", ""), "a colon is missing"},
		{"no comma", file(1, "{'descr': '<f4' 'shape': ()}", ""), "a comma or } is missing"},
		{"twice", file(1, "{'descr': '<f4', 'descr': '<f4'}", ""), "comes twice"},
		{"missing key", file(1, "{'descr': '<f4', 'shape': ()}", ""), `the key "fortran_order" is missing`},
		{"text behind", file(1, dict("'<f4'", "False", "(2,)")+"x", "12345678"), "text behind the dictionary"},
	} {
		_, err := Read(bytes.NewReader(c.file))
		require.ErrorContains(t, err, c.want, c.name)
		require.ErrorContains(t, err, "npy: ", c.name)

		path := filepath.Join(t.TempDir(), "a.npy")
		require.NoError(t, os.WriteFile(path, c.file, 0o666))
		_, err = ReadFile(path)
		require.ErrorContains(t, err, c.want, c.name)
		require.ErrorContains(t, err, path, c.name)
	}
}

func TestReaderFails(t *testing.T) {
	boom := errors.New("boom")
	whole := file(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", "12345678")
	for _, n := range []int{0, 8, 12, len(whole) - 3, len(whole)} {
		_, err := Read(io.MultiReader(bytes.NewReader(whole[:n]), iotest.ErrReader(boom)))
		require.ErrorIs(t, err, boom, n)
	}
	_, err := ReadFile(filepath.Join(t.TempDir(), "none.npy"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.npy")
	values := make([]float64, 3*50_000) // longer than the first piece of memory
	for i := range values {
		values[i] = float64(i) / 7
	}
	a, err := New(values, 3, 50_000)
	require.NoError(t, err)
	require.NoError(t, WriteFile(path, a))
	back, err := ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, a, back)
	got, err := Values[float64](back)
	require.NoError(t, err)
	require.Equal(t, values, got)
}

func TestWriteRefuses(t *testing.T) {
	for _, a := range []*Array{
		{},
		{DType: 99},
		{DType: Float32Type, Shape: []int{2}, Data: make([]byte, 4)},
		{DType: Float32Type, Shape: []int{1}, Data: make([]byte, 5)},
		{DType: Float32Type, Shape: []int{-1}, Data: nil},
		{DType: Uint8Type, Shape: []int{math.MaxInt, 3}, Data: nil},
	} {
		require.Error(t, Write(io.Discard, a))
		require.Error(t, WriteFile(filepath.Join(t.TempDir(), "a.npy"), a))
		_, err := Values[float32](a)
		require.Error(t, err)
		_, err = a.Float32s()
		require.Error(t, err)
		_, err = a.Int64s()
		require.Error(t, err)
		_ = a.Len()
		_ = a.DType.String()
	}
	_, err := New([]int32{1, 2, 3}, 2)
	require.EqualError(t, err, "npy: 3 values for the shape (2,)")
	_, err = New([]int32{1, 2, 3}, -3)
	require.ErrorContains(t, err, "negative dimension")
}

// What is refused after the header costs no reading: here the numbers are not even there.
func TestReadIf(t *testing.T) {
	var b bytes.Buffer
	a, err := New([]float32{1, 2, 3}, 3)
	require.NoError(t, err)
	require.NoError(t, Write(&b, a))
	refused := errors.New("refused")
	header := b.Bytes()[:b.Len()-len(a.Data)]
	_, err = ReadIf(bytes.NewReader(header), func(d DType, shape []int) error {
		require.Equal(t, Float32Type, d)
		require.Equal(t, []int{3}, shape)
		return refused
	})
	require.ErrorIs(t, err, refused)
	got, err := ReadIf(&b, func(DType, []int) error { return nil })
	require.NoError(t, err)
	require.Equal(t, a, got)
}
