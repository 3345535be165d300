package archive

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"bilevel/internal/alloctest"
)

// entry is one of a tar archive.
type entry struct {
	name, text, link string
	kind             byte
}

func tarGz(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, e := range entries {
		kind := e.kind
		if kind == 0 {
			kind = tar.TypeReg
		}
		require.NoError(t,
			w.WriteHeader(&tar.Header{Name: e.name, Typeflag: kind, Linkname: e.link, Size: int64(len(e.text)),
				Mode: 0o600}))
		_, err := w.Write([]byte(e.text))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	require.NoError(t, z.Close())
	return b.Bytes()
}

var small = Limits{Files: 5, Bytes: 1000}

func TestUnpackTarGz(t *testing.T) {
	dir := t.TempDir()
	b := tarGz(t, entry{name: "top/", kind: tar.TypeDir}, entry{name: "top/a", text: "one"},
		entry{name: "./top/below/b", text: "two"})
	require.NoError(t, UnpackTarGz(bytes.NewReader(b), dir, small))
	for name, want := range map[string]string{"top/a": "one", "top/below/b": "two"} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, want, string(got))
	}
}

func TestUnpackRefuses(t *testing.T) {
	good := tarGz(t, entry{name: "a", text: "some text"})
	var many []entry
	for i := range 6 {
		many = append(many, entry{name: fmt.Sprint(i)})
	}
	for _, c := range []struct {
		file []byte
		want string
	}{
		{tarGz(t, entry{name: "../evil", text: "x"}), `"../evil" would lead out of the folder`},
		{tarGz(t, entry{name: "a/../../evil", text: "x"}), "would lead out"},
		{tarGz(t, entry{name: "/evil", text: "x"}), "would lead out"},
		{tarGz(t, entry{name: `..\evil`, text: "x"}), "would lead out"},
		{tarGz(t, entry{name: "C:evil", text: "x"}), "would lead out"},
		{tarGz(t, entry{name: "", text: "x"}), "would lead out"},
		{tarGz(t, entry{name: "a", kind: tar.TypeSymlink, link: "/etc"}, entry{name: "a/evil", text: "x"}),
			"is a link or device"},
		{tarGz(t, entry{name: "a", kind: tar.TypeLink, link: "/etc/passwd"}), "is a link or device"},
		{tarGz(t, entry{name: "a", kind: tar.TypeFifo}), "is a link or device"},
		{tarGz(t, entry{name: "a", text: "1"}, entry{name: "a", text: "2"}), "exists"},
		{tarGz(t, entry{name: "a", text: string(make([]byte, 600))}, entry{name: "b", text: string(make([]byte, 600))}),
			"more than 1000 bytes"},
		{tarGz(t, many...), "more than 5 files"},
		{good[:len(good)/2], "unexpected EOF"},
		{good[:len(good)-3], "unexpected EOF"},
		{[]byte("<html>"), "not a .tar.gz file"},
		{nil, "not a .tar.gz file"},
	} {
		above := t.TempDir()
		dir := filepath.Join(above, "dir")
		require.NoError(t, os.Mkdir(dir, 0o777))
		require.ErrorContains(t, UnpackTarGz(bytes.NewReader(c.file), dir, small), c.want)
		require.Equal(t, []string{"dir"}, names(t, above), c.want)
	}
}

func names(t testing.TB, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// A link that is in the folder beforehand is not followed out of it.
func TestUnpackDoesNotFollowLinks(t *testing.T) {
	above := t.TempDir()
	dir := filepath.Join(above, "dir")
	require.NoError(t, os.Mkdir(dir, 0o777))
	require.NoError(t, os.Symlink(above, filepath.Join(dir, "out")))
	require.Error(t, UnpackTarGz(bytes.NewReader(tarGz(t, entry{name: "out/evil", text: "x"})), dir, small))
	require.Equal(t, []string{"dir"}, names(t, above))
}

func zipOf(t testing.TB, method uint16, names ...string) *zip.Reader {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, name := range names {
		f, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: method})
		require.NoError(t, err)
		fmt.Fprintf(f, "text of %s", name)
	}
	require.NoError(t, w.Close())
	z, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	require.NoError(t, err)
	return z
}

func TestCheckZip(t *testing.T) {
	require.NoError(t, CheckZip(zipOf(t, zip.Store, "a/b", "c")))
	for _, name := range []string{"../evil", "/evil", `a\..\evil`} {
		require.ErrorContains(t, CheckZip(zipOf(t, zip.Store, name)), "would lead out")
	}
}

func TestDigest(t *testing.T) {
	// The same as `sha256sum a/b c | sha256sum`, whatever the packing.
	line := func(name string) string { return fmt.Sprintf("%x  %s\n", sha256.Sum256([]byte("text of "+name)), name) }
	want := fmt.Sprintf("%x", sha256.Sum256([]byte(line("a/b")+line("c"))))
	for _, tree := range []fs.FS{
		zipOf(t, zip.Store, "a/b", "c"), zipOf(t, zip.Deflate, "c", "a/b"),
		fstest.MapFS{"a/b": {Data: []byte("text of a/b")}, "c": {Data: []byte("text of c")}},
	} {
		got, err := Digest(tree, ".", small)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, l := range []Limits{{1, 1000}, {5, 10}} {
		_, err := Digest(zipOf(t, zip.Deflate, "a/b", "c"), ".", l)
		require.ErrorContains(t, err, "more than")
	}
}

func FuzzTarGz(f *testing.F) {
	f.Add(tarGz(f, entry{name: "top/a", text: "one"}, entry{name: "../evil", text: "x"}))
	f.Add(tarGz(f, entry{name: "a", kind: tar.TypeSymlink, link: ".."}))
	f.Fuzz(func(t *testing.T, b []byte) {
		above := t.TempDir()
		dir := filepath.Join(above, "dir")
		require.NoError(t, os.Mkdir(dir, 0o777))
		alloctest.Bounded(t, len(b), 64, 1<<20, func() { _ = UnpackTarGz(bytes.NewReader(b), dir, small) })
		require.Equal(t, []string{"dir"}, names(t, above))
		var total int64
		require.NoError(t, filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				info, _ := d.Info()
				total += info.Size()
			}
			return err
		}))
		require.LessOrEqual(t, total, small.Bytes+1)
	})
}

func FuzzZip(f *testing.F) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	_, err := w.Create("a/b")
	require.NoError(f, err)
	require.NoError(f, w.Close())
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		alloctest.Bounded(t, len(b), 64, 1<<20, func() {
			z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
			if err != nil || CheckZip(z) != nil {
				return
			}
			_, _ = Digest(z, ".", small)
		})
	})
}
