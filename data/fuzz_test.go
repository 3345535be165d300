package data

import (
	"image"
	"image/color"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/alloctest"
)

// sized bounds what a reader makes of an input: features cost at most so many bytes for each byte of it, beside a
// constant.
func sized(t *testing.T, input, features int) {
	t.Helper()
	if features > 1<<20+256*input {
		t.Fatalf("%d bytes became %d features", input, features)
	}
}

// perByte is what a byte of text may allocate: up to 256 features of 4 bytes, and copies of them on their way.
const perByte = 4 * 256 * 4

func FuzzTable(f *testing.F) {
	for _, text := range []string{"a,label\n1,x\n2,y\n", "a;b;label\n1;2;3\n", "\xef\xbb\xbf\"a\",label\n1,\"x,y\"\n",
		"0,1\n1,2\n", ",a,y\n0,1,2\n"} {
		f.Add(text, "")
	}
	f.Add("a,b,c\n1,0,5\n", "a,b")
	f.Fuzz(func(t *testing.T, text, label string) {
		path := filepath.Join(t.TempDir(), "a.csv")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		var d *Dataset
		var err error
		alloctest.Bounded(t, len(text), perByte*alloctest.Factor([]byte(text)), 8<<20, func() {
			d, err = tableParts(path, [parts]string{trainPart: path}, Options{Label: label})
		})
		if err != nil {
			return
		}
		sized(t, len(text), len(d.Train.Features))
		require.NoError(t, d.Train.Check(d.Classes))
		require.Len(t, d.ClassNames, d.Classes)
	})
}

func FuzzLIBSVM(f *testing.F) {
	for _, text := range []string{"1 1:1\n", "-1.0 0:2 5:3\n+1\n", "# x\n2 qid:3 1:0.5", "1 16777216:1\n"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "a")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		var d *Dataset
		var err error
		alloctest.Bounded(t, len(text), perByte*alloctest.Factor([]byte(text)), 16<<20, func() {
			d, err = libsvmParts(path, [parts]string{trainPart: path}, Options{})
		})
		if err != nil {
			return
		}
		if !strings.HasPrefix(text, "BZh") && !strings.HasPrefix(text, "\x1f\x8b") {
			sized(t, len(text), len(d.Train.Features))
		}
		require.NoError(t, d.Train.Check(d.Classes))
	})
}

func FuzzNPZ(f *testing.F) {
	for _, name := range []string{"named.npz", "positional.npz", "packed.npz"} {
		b, err := os.ReadFile(filepath.Join("testdata", "own", name))
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "a.npz")
		require.NoError(t, os.WriteFile(path, b, 0o600))
		var d *Dataset
		var err error
		alloctest.Bounded(t, len(b), 64*alloctest.Unpacked, 8<<20, func() { d, err = OpenFolder(path) })
		if err == nil {
			require.NoError(t, d.Train.Check(d.Classes))
		}
	})
}

// A file of CIFAR's records is read whole or refused, whatever is in it, and the channels of each pixel lie together.
func FuzzCIFAR(f *testing.F) {
	f.Add(cifar(1, 3, 9))
	f.Add(cifar(2, 3, 99))
	f.Add(cifar(1, 10))
	f.Add(cifar(1, 3)[:3072])
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "train.bin")
		require.NoError(t, os.WriteFile(path, b, 0o600))
		var d *Dataset
		var err error
		alloctest.Bounded(t, len(b), 16, 1<<20, func() { d, err = readCIFARFile(path) })
		if err != nil {
			return
		}
		require.NoError(t, d.Train.Check(d.Classes))
		record := len(b) / d.Train.N()
		for i := range d.Train.N() {
			planes := b[(i+1)*record-cifarPixels : (i+1)*record]
			for j, v := range d.Train.Bytes[i*cifarPixels : (i+1)*cifarPixels] {
				if v != planes[j%3*1024+j/3] {
					t.Fatalf("byte %d of image %d is %d, not %d", j, i, v, planes[j%3*1024+j/3])
				}
			}
		}
	})
}

// What the annotations of a validation part say never leads out of its folder.
func FuzzAnnotations(f *testing.F) {
	f.Add("val_0.JPEG\tn02\t0\t0\t62\t57\n")
	f.Add("../x\tn02\n")
	f.Add("a\t\n")
	f.Fuzz(func(t *testing.T, text string) {
		dir := t.TempDir()
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "val"), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "val", tinyAnnotations), []byte(text), 0o600))
		files, err := annotated(os.DirFS(dir), "val")
		if err != nil {
			return
		}
		require.Len(t, files, strings.Count(strings.TrimSuffix(text, "\n"), "\n")+min(1, len(text)))
		for _, f := range files {
			if !fs.ValidPath(f.file) || !strings.HasPrefix(f.file, "val/images") || f.class == "" {
				t.Fatalf("%q of class %q", f.file, f.class)
			}
		}
	})
}

func FuzzImage(f *testing.F) {
	f.Add(picture(f, image.NewGray(image.Rect(0, 0, 3, 2)), color.White, false))
	f.Add(picture(f, image.NewGray(image.Rect(0, 0, 3, 2)), color.White, true))
	f.Fuzz(func(t *testing.T, b []byte) {
		p := newPictures("fuzz", 3)
		var err error
		alloctest.Bounded(t, len(b), 64*alloctest.Unpacked, 8<<20, func() { err = p.decode(b) })
		if err == nil && len(p.bytes) != p.dim() {
			t.Fatalf("%d values of an image of %v", len(p.bytes), p.shape)
		}
	})
}
