package params

import (
	"archive/zip"
	"bytes"
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"

	"bilevel/internal/npy"

	"github.com/stretchr/testify/require"

	"bilevel/internal/alloctest"
)

// goldenValues are the numbers that testdata/npz.py writes.
func goldenValues() (p, state Values) {
	tenth, smallest := float64(float32(0.1)), float64(math.Float32frombits(71362)) // the latter is 1e-40
	weight := []float64{1.5, -2, tenth, float64(float32(3e38)), smallest, math.Copysign(0, -1)}
	p = Values{}.AndShaped("0.weight", []int{2, 3}, weight)
	p = p.And("0.bias", 0.1, 1.0/3)
	return p, Values{}.AndShaped("1.num_batches_tracked", nil, []float64{7})
}

// sameBits requires numbers to be equal bit by bit: -0 differs from 0, and a NaN equals itself.
func sameBits(t *testing.T, want, got []float64) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		require.Equal(t, math.Float64bits(want[i]), math.Float64bits(got[i]),
			"element %d: %g and %g", i, want[i], got[i])
	}
}

func TestReadsNumPy(t *testing.T) {
	p, state := goldenValues()
	half := Layout{}.With("half", 2)
	for _, file := range []string{"numpy.npz", "compressed.npz"} {
		got, err := ReadNPZ(filepath.Join("testdata", file), p.Layout, state.Layout, half, nil)
		require.NoError(t, err)
		require.Len(t, got, 4)
		sameBits(t, p.Flat, got[0].Flat)
		require.Equal(t, p.Layout, got[0].Layout)
		require.Equal(t, []float64{7}, got[1].Flat)
		require.Equal(t, []float64{0.5, -65504}, got[2].Flat)
		require.Equal(t, Values{}, got[3])
	}
}

// WriteNPZ writes the bytes of written.npz, a file that testdata/npz.py has read with numpy.
func TestWritesWhatNumPyReads(t *testing.T) {
	p, state := goldenValues()
	path := filepath.Join(t.TempDir(), "w.npz")
	require.NoError(t, WriteNPZ(path, p, state, Values{}))
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	want, err := os.ReadFile(filepath.Join("testdata", "written.npz"))
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got))
}

func TestNPZRoundTrip(t *testing.T) {
	special := Values{}.And("float32", math.Inf(1), math.Inf(-1), math.NaN(), 0.25)
	special = special.And("float64", 1e300, 0.1, math.Inf(1))
	path := filepath.Join(t.TempDir(), "x.npz")
	require.NoError(t, WriteNPZ(path, special))
	got, err := ReadNPZ(path, special.Layout)
	require.NoError(t, err)
	require.True(t, math.IsNaN(got[0].Flat[2]))
	special.Flat[2], got[0].Flat[2] = 0, 0
	sameBits(t, special.Flat, got[0].Flat)

	require.NoError(t, WriteNPZ(path, Values{}.And("other", 1)), "an existing file is replaced")
	got, err = ReadNPZ(path, Layout{}.With("other", 1))
	require.NoError(t, err)
	require.Equal(t, []float64{1}, got[0].Flat)
}

// archive makes an .npz file of named contents.
func archive(t testing.TB, files ...any) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		w, err := z.CreateHeader(&zip.FileHeader{Name: files[i].(string), Method: zip.Store})
		if err != nil {
			t.Fatal(err)
		}
		switch c := files[i+1].(type) {
		case []byte:
			_, err = w.Write(c)
		case *npy.Array:
			err = npy.Write(w, c)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func numbers(t testing.TB, shape ...int) *npy.Array {
	n := 1
	for _, d := range shape {
		n *= d
	}
	a, err := npy.New(make([]float32, n), shape...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestReadNPZRefuses(t *testing.T) {
	l := Layout{}.With("0.weight", 3, 4).With("0.bias", 3)
	w, b := numbers(t, 3, 4), numbers(t, 3)
	fits := archive(t, "0.bias.npy", b, "0.weight.npy", w)
	damaged := bytes.Clone(fits)
	damaged[bytes.Index(damaged, []byte(" \n"))+5] ^= 1 // one bit among the numbers of the first array
	for _, c := range []struct {
		says string
		file []byte
		of   []Layout
	}{
		{"its arrays do not fit: missing 0.weight, 0.bias", archive(t), nil},
		{"its arrays do not fit: missing 0.bias; not asked for bias; 0.weight is [4 3], not [3 4]",
			archive(t, "0.weight.npy", numbers(t, 4, 3), "bias.npy", b), nil},
		{"it holds the array 0.bias twice", archive(t, "0.bias.npy", b, "0.bias.npy", b, "0.weight.npy", w), nil},
		{"array 0.bias: npy: it begins with", archive(t, "0.bias.npy", []byte("no array"), "0.weight.npy", w), nil},
		{"array 0.bias: npy: it ends inside its header", archive(t, "0.bias.npy", []byte(""), "0.weight.npy", w), nil},
		{"not a usable .npz file", []byte("no archive"), nil},
		{"not a usable .npz file", nil, nil},
		{"checksum", damaged, nil},
		{`two arrays are called "0.bias"`, fits, []Layout{l, {Array{Name: "0.bias", Shape: []int{3}}}}},
		{`two arrays are called "a"`, fits, []Layout{Layout{}.With("a", 3).With("a", 3)}},
	} {
		of := c.of
		if of == nil {
			of = []Layout{l}
		}
		_, err := readNPZ(bytes.NewReader(c.file), int64(len(c.file)), of)
		require.ErrorContains(t, err, c.says, c.says)
	}
	_, err := readNPZ(bytes.NewReader(fits), int64(len(fits)), []Layout{l})
	require.NoError(t, err)

	_, err = ReadNPZ(filepath.Join(t.TempDir(), "none.npz"), l)
	require.ErrorIs(t, err, os.ErrNotExist)
	broken := filepath.Join(t.TempDir(), "broken.npz")
	require.NoError(t, os.WriteFile(broken, []byte("no archive"), 0o666))
	_, err = ReadNPZ(broken, l)
	require.ErrorContains(t, err, "broken.npz: not a usable .npz file")
}

// An array of another shape is refused before its numbers are read. This one claims to have 4 EB of them.
func TestReadNPZDoesNotBelieveShapes(t *testing.T) {
	const header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000000000,), }\n"
	z := archive(t, "a.npy", append([]byte("\x93NUMPY\x01\x00"+string(rune(len(header)))+"\x00"), header...))
	_, err := readNPZ(bytes.NewReader(z), int64(len(z)), []Layout{Layout{}.With("a", 3)})
	require.ErrorContains(t, err, "a is [1000000000000000000], not [3]")
}

func TestWriteNPZRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.npz")
	a := Values{}.And("a", 1, 2)
	require.ErrorContains(t, WriteNPZ(path, a, a), `two arrays are called "a"`)
	require.ErrorContains(t, WriteNPZ(path, Vector(1, 2)), "a vector of 2 numbers has no named arrays")
	require.ErrorContains(t, WriteNPZ(path, a.Like([]float64{1})), "1 numbers for the arrays a")
	_, err := os.Stat(path)
	require.ErrorIs(t, err, os.ErrNotExist, "nothing is left behind")
	require.Error(t, WriteNPZ(filepath.Join(path, "in", "no", "folder.npz"), a))
	require.Error(t, writeNPZ(full{}, []Values{a}))
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

// FuzzReadNPZ requires that whatever ReadNPZ accepts fits the layouts, and survives writing and reading again.
func FuzzReadNPZ(f *testing.F) {
	for _, name := range []string{"numpy.npz", "compressed.npz", "written.npz"} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	p, state := goldenValues()
	of := []Layout{p.Layout, state.Layout}
	f.Add(archive(f, "0.weight.npy", numbers(f, 2, 3), "0.bias.npy", numbers(f, 2),
		"1.num_batches_tracked.npy", numbers(f)))
	f.Fuzz(func(t *testing.T, b []byte) {
		var got []Values
		var err error
		alloctest.Bounded(t, len(b), 4*alloctest.Unpacked, 4<<20, func() {
			got, err = readNPZ(bytes.NewReader(b), int64(len(b)), of)
		})
		if err != nil {
			return
		}
		var w bytes.Buffer
		if err := writeNPZ(&w, got); err != nil {
			t.Fatal(err)
		}
		again, err := readNPZ(bytes.NewReader(w.Bytes()), int64(w.Len()), of)
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range got {
			if err := v.Check(); err != nil {
				t.Fatal(err)
			}
			for j, x := range v.Flat {
				if y := again[i].Flat[j]; x != y && !(math.IsNaN(x) && math.IsNaN(y)) {
					t.Fatalf("%g became %g", x, y)
				}
			}
		}
	})
}
