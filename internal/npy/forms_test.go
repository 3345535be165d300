package npy

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// forms are files of numpy.save (NumPy 2.4.6) in the forms that Write does not give: the dictionary, the data in
// hexadecimal, and the elements in C order.
var forms = []struct {
	dict, data string
	numbers    []float32
	words      []string
}{
	{ // numpy.asfortranarray(numpy.arange(24).reshape(2, 3, 4))
		"{'descr': '|i1', 'fortran_order': True, 'shape': (2, 3, 4), }",
		"000c04100814010d05110915020e06120a16030f07130b17",
		[]float32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23}, nil,
	},
	{
		"{'descr': '>i2', 'fortran_order': True, 'shape': (2, 2), }", "0000000c00040010",
		[]float32{0, 4, 12, 16}, nil,
	},
	{
		"{'descr': '>f8', 'fortran_order': False, 'shape': (2,), }", "3ff8000000000000c000000000000000",
		[]float32{1.5, -2}, nil,
	},
	{"{'descr': '|b1', 'fortran_order': False, 'shape': (2,), }", "0100", []float32{1, 0}, nil},
	{
		"{'descr': '<U2', 'fortran_order': False, 'shape': (3,), }",
		"6100000000000000df000000780000000000000000000000", nil, []string{"a", "ßx", ""},
	},
	{
		"{'descr': '>U2', 'fortran_order': False, 'shape': (2,), }", "0000006100000000000000df00000078",
		nil, []string{"a", "ßx"},
	},
	{"{'descr': '|S2', 'fortran_order': False, 'shape': (2,), }", "61626300", nil, []string{"ab", "c"}},
	{
		"{'descr': '<U1', 'fortran_order': True, 'shape': (2, 2), }", "61000000630000006200000064000000",
		nil, []string{"a", "b", "c", "d"},
	},
	// NumPy below Python 2 writes dimensions beyond its int with an L, and words of a Unicode source with a u.
	{"{'descr': '<i2', 'fortran_order': False, 'shape': (2L,), }", "01000200", []float32{1, 2}, nil},
	{"{u'descr': u'<i2', u'fortran_order': False, u'shape': (1L, 2L), }", "01000200", []float32{1, 2}, nil},
	{"{'descr': '|S0', 'fortran_order': False, 'shape': (2,), }", "", nil, []string{"", ""}},
}

func TestReadEveryForm(t *testing.T) {
	for _, f := range forms {
		data, err := hex.DecodeString(f.data)
		require.NoError(t, err)
		a, err := ReadAny(bytes.NewReader(file(1, f.dict, string(data))), 0)
		require.NoError(t, err, f.dict)
		if f.words != nil {
			words, err := a.Strings()
			require.NoError(t, err)
			require.Equal(t, f.words, words, f.dict)
			_, err = a.Float32s()
			require.ErrorContains(t, err, "not numbers")
		} else {
			numbers, err := a.Float32s()
			require.NoError(t, err)
			require.Equal(t, f.numbers, numbers, f.dict)
			_, err = a.Strings()
			require.ErrorContains(t, err, "not text")
		}
		var w bytes.Buffer
		require.NoError(t, Write(&w, a))
		again, err := ReadAny(&w, 0)
		require.NoError(t, err)
		require.Equal(t, a, again)
	}
}

func TestBytesThatAreNoUTF8(t *testing.T) {
	a := &Array{DType: BytesType, Width: 2, Shape: []int{1}, Data: []byte{0xe9, 'x'}}
	words, err := a.Strings()
	require.NoError(t, err)
	require.Equal(t, []string{"éx"}, words)
}

func TestTextOfNothingIsBounded(t *testing.T) {
	_, err := ReadAny(
		bytes.NewReader(file(1, "{'descr': '|S0', 'fortran_order': False, 'shape': (99999999999,), }", "")), 0)
	require.ErrorContains(t, err, "texts of no characters")
}

// Records in Fortran order: numpy.asfortranarray of [[(0, 0), (1, 1), (2, 2)], [(3, 3), (4, 4), (5, 5)]].
func TestReadRecordsInFortranOrder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.npy")
	dict := "{'descr': [('a', '<i2'), ('b', '|u1')], 'fortran_order': True, 'shape': (2, 3), }"
	data := string([]byte{0, 0, 0, 3, 0, 3, 1, 0, 1, 4, 0, 4, 2, 0, 2, 5, 0, 5})
	require.NoError(t, os.WriteFile(path, file(1, dict, data), 0o600))
	a, err := ReadRawFile(path)
	require.NoError(t, err)
	require.Equal(t, []int{2, 3}, a.Shape)
	require.Equal(t, 3, a.Type.Size)
	require.Equal(t, []byte{0, 0, 0, 1, 0, 1, 2, 0, 2, 3, 0, 3, 4, 0, 4, 5, 0, 5}, a.Data)
}

// Texts whose bytes no int counts are refused, alone and in records.
func TestHugeElementsAreRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.npy")
	for _, descr := range []string{
		"'<U2305843009213693952'", "'<U4611686018427387905'", "[('a', '<U2305843009213693952')]",
	} {
		dict := "{'descr': " + descr + ", 'fortran_order': False, 'shape': (1,), }"
		require.NoError(t, os.WriteFile(path, file(1, dict, "abcd"), 0o600))
		_, err := ReadRawFile(path)
		require.ErrorContains(t, err, "are not supported: they have more than 1048576 bytes", descr)
	}
}
