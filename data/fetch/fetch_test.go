package fetch

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bilevel/data"
	"bilevel/internal/archive"
	"bilevel/internal/download"

	"github.com/stretchr/testify/require"
)

// site is a server of files by their paths, which a test may change.
type site map[string][]byte

func (s site) start(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, ok := s[strings.TrimPrefix(r.URL.Path, "/")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
	}))
	t.Cleanup(server.Close)
	return server.URL + "/"
}

func sumOf(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func packed(t *testing.T, b []byte, level int) []byte {
	t.Helper()
	var z bytes.Buffer
	w, err := gzip.NewWriterLevel(&z, level)
	require.NoError(t, err)
	_, err = w.Write(b)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return z.Bytes()
}

// digitsLike is four IDX files of 28×28 images: 3 training and 2 test rows.
func digitsLike() map[string][]byte {
	file := func(data []byte, shape ...uint32) []byte {
		b := []byte{0, 0, 8, byte(len(shape))}
		for _, d := range shape {
			b = binary.BigEndian.AppendUint32(b, d)
		}
		return append(b, data...)
	}
	return map[string][]byte{
		"train-images-idx3-ubyte": file(bytes.Repeat([]byte{1, 2}, 3*392), 3, 28, 28),
		"train-labels-idx1-ubyte": file([]byte{0, 9, 4}, 3),
		"t10k-images-idx3-ubyte":  file(bytes.Repeat([]byte{3, 4}, 2*392), 2, 28, 28),
		"t10k-labels-idx1-ubyte":  file([]byte{1, 0}, 2),
	}
}

// imageSet is a set of digitsLike on a new site.
func imageSet(t *testing.T) (Set, site) {
	s := site{}
	address := s.start(t)
	set := Set{Name: "mnist", Train: 3, Test: 2, allKnown: true,
		releases: []release{{name: "the test's release", contents: map[string]string{}}}}
	for name, b := range digitsLike() {
		z := packed(t, b, gzip.DefaultCompression)
		s[name+".gz"] = z
		set.releases[0].contents[name] = sumOf(b)
		set.files = append(set.files, file{name: name + ".gz", File: download.File{
			URLs: []string{"http://127.0.0.1:1/" + name, address + name + ".gz"}, SHA256: sumOf(z), Size: int64(len(z)),
			Begins: gzipMagic,
		}})
	}
	return set, s
}

func options(root string) Options {
	return Options{Root: root, Client: download.Client{Wait: time.Millisecond, Tries: 2}}
}

// must gets a set and returns what the user was told.
func must(t *testing.T, set Set, root string) (said []string) {
	t.Helper()
	o := options(root)
	o.Say = func(line string) { said = append(said, line) }
	dir, got, err := set.Get(context.Background(), o)
	require.NoError(t, err)
	require.True(t, got)
	require.Equal(t, filepath.Join(root, set.Name), dir)
	_, err = os.Stat(filepath.Join(root, "."+set.Name+".part"))
	require.ErrorIs(t, err, os.ErrNotExist)
	return said
}

func verdict(t *testing.T, set Set, root string) Verdict {
	t.Helper()
	v, err := set.Verify(root, filepath.Join(root, set.Name))
	require.NoError(t, err)
	return v
}

func TestGetAndVerify(t *testing.T) {
	set, _ := imageSet(t)
	root := t.TempDir()
	said := must(t, set, root)
	require.Len(t, said, 4)
	require.Contains(t, said[0], "SHA-256 "+set.files[0].SHA256+" (published SHA-256)")
	d, err := data.Open("mnist", func(string) string { return root })
	require.NoError(t, err)
	require.Equal(t, 3, d.Train.N())
	require.Equal(t, Verdict{true, "good: the content is that of the test's release", set.releases[0].contents},
		verdict(t, set, root))

	dir, got, err := set.Get(context.Background(), options(root))
	require.NoError(t, err)
	require.False(t, got, "it is there already")

	// Compressed anew, unpacked, or under other names it is as good.
	for name, b := range digitsLike() {
		require.NoError(t, os.Remove(filepath.Join(dir, name+".gz")))
		switch {
		case strings.HasPrefix(name, "train-images"):
			require.NoError(t, os.WriteFile(filepath.Join(dir, "train-images.idx3-ubyte"), b, 0o666))
		case strings.HasPrefix(name, "train"):
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o666))
		default:
			require.NoError(t, os.WriteFile(filepath.Join(dir, name+".gz"), packed(t, b, gzip.NoCompression), 0o666))
		}
	}
	require.True(t, verdict(t, set, root).Good)

	other := digitsLike()["t10k-labels-idx1-ubyte"]
	other[len(other)-1] = 7 // one label is another
	require.NoError(t, os.WriteFile(filepath.Join(dir, "t10k-labels-idx1-ubyte.gz"), other, 0o666))
	v := verdict(t, set, root)
	require.False(t, v.Good)
	require.Contains(t, v.Says, "bad: t10k-labels-idx1-ubyte is not as in the first download on")
	require.NoError(t, os.Remove(recordPath(root, "mnist")))
	require.Contains(t, verdict(t, set, root).Says, "content is of no known release (t10k-labels-idx1-ubyte differs)")
	set.allKnown = false
	require.Contains(t, verdict(t, set, root).Says, "it is not the test's release; it reads well")

	require.NoError(t, os.WriteFile(filepath.Join(dir, "t10k-labels-idx1-ubyte.gz"), other[:9], 0o666))
	_, err = set.Verify(root, dir)
	require.ErrorContains(t, err, "bilevel data get mnist")
	_, _, err = set.Get(context.Background(), options(root))
	require.ErrorContains(t, err, "or remove the folder "+dir)
}

// What fails leaves nothing under the set's name, and the next call fetches only what is missing.
func TestGetGoesOn(t *testing.T) {
	set, s := imageSet(t)
	root := t.TempDir()
	last := set.files[3].name
	good := s[last]
	flipped := append(bytes.Clone(good[:len(good)-1]), good[len(good)-1]+1)
	for _, bad := range [][]byte{nil, []byte("<html>"), good[:len(good)-1], flipped} {
		if s[last] = bad; bad == nil {
			delete(s, last)
		}
		_, _, err := set.Get(context.Background(), options(root))
		require.ErrorContains(t, err, "mnist: "+last+": no mirror gave the file (127.0.0.1:1: ")
		require.ErrorContains(t, err, "put the file from elsewhere at "+filepath.Join(root, ".mnist.part", last))
		_, err = os.Stat(filepath.Join(root, "mnist"))
		require.ErrorIs(t, err, os.ErrNotExist)
	}
	for name := range s { // only the last one is asked for again
		if name != last {
			delete(s, name)
		}
	}
	s[last] = good
	must(t, set, root)
	require.True(t, verdict(t, set, root).Good)
}

// The advice of the error: a file that was put into place by hand is taken.
func TestGetTakesFilesFromElsewhere(t *testing.T) {
	set, s := imageSet(t)
	root := t.TempDir()
	last := set.files[3].name
	good := s[last]
	delete(s, last)
	_, _, err := set.Get(context.Background(), options(root))
	require.Error(t, err)
	_, rest, _ := strings.Cut(err.Error(), "put the file from elsewhere at ")
	path, _, _ := strings.Cut(rest, " and run")
	require.NoError(t, os.WriteFile(path, good, 0o666))
	must(t, set, root)
}

// Where no sum is published, the first download is recorded, and a later one must be the same.
func TestFirstDownloadIsRecorded(t *testing.T) {
	s := site{"ijcnn1.bz2": []byte("1 1:1 22:2\n-1 3:1\n"), "ijcnn1.t.bz2": []byte("1 2:1\n")}
	address := s.start(t)
	set := Set{Name: "ijcnn1", Train: 2, Test: 1, files: []file{
		{name: "ijcnn1.bz2", File: download.File{URLs: []string{address + "ijcnn1.bz2"}}},
		{name: "ijcnn1.t.bz2", File: download.File{URLs: []string{address + "ijcnn1.t.bz2"}}},
	}}
	root := t.TempDir()
	said := must(t, set, root)
	require.Contains(t, said[0], "SHA-256 "+sumOf(s["ijcnn1.bz2"])+" (none published: compared with this machine's "+
		"first download)")
	require.Contains(t, verdict(t, set, root).Says, "good: the content is that of the first download on 20")

	require.NoError(t, os.RemoveAll(filepath.Join(root, "ijcnn1")))
	s["ijcnn1.bz2"] = []byte("1 1:1 22:3\n-1 3:1\n")
	_, _, err := set.Get(context.Background(), options(root))
	require.ErrorContains(t, err, "ijcnn1: ijcnn1.bz2: its SHA-256 is "+sumOf(s["ijcnn1.bz2"])+", but the first "+
		"download on")
	_, rest, _ := strings.Cut(err.Error(), "remove ")
	both, _, _ := strings.Cut(rest, " to take the new one")
	for _, path := range strings.Split(both, " and ") {
		require.NoError(t, os.Remove(path)) // the advice
	}
	must(t, set, root)

	require.NoError(t, os.WriteFile(recordPath(root, "ijcnn1"), []byte("{}"), 0o666))
	_, err = set.Verify(root, filepath.Join(root, "ijcnn1"))
	require.ErrorContains(t, err, "is no record of a download of ijcnn1; remove it")
	require.NoError(t, os.Remove(recordPath(root, "ijcnn1")))
	require.Contains(t, verdict(t, set, root).Says, "its bytes cannot be compared")
}

func cifarArchive(t *testing.T, top string, rows int) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range []string{"data_batch_1.bin", "test_batch.bin"} {
		text := make([]byte, 3073*rows)
		require.NoError(t, w.WriteHeader(&tar.Header{Name: top + name, Size: int64(len(text)), Mode: 0o600}))
		_, err := w.Write(text)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return packed(t, b.Bytes(), gzip.BestSpeed)
}

func TestArchivesAreUnpacked(t *testing.T) {
	s := site{"a": cifarArchive(t, "cifar-10-batches-bin/", 2)}
	address := s.start(t)
	set := Set{Name: "cifar10", Train: 2, Test: 2, files: []file{
		{name: "a.tar.gz", unpack: archive.Limits{Files: 5, Bytes: 20_000},
			File: download.File{URLs: []string{address + "a"}}},
	}}
	root := t.TempDir()
	must(t, set, root)
	entries, err := os.ReadDir(filepath.Join(root, "cifar10"))
	require.NoError(t, err)
	require.Len(t, entries, 1, "the archive is not kept")
	require.True(t, verdict(t, set, root).Good)

	for want, b := range map[string][]byte{
		"would lead out of the folder":                    cifarArchive(t, "../", 2),
		"unpacks to more than 20000 bytes":                cifarArchive(t, "cifar-10-batches-bin/", 9),
		"holds 1 training and 1 test rows":                cifarArchive(t, "cifar-10-batches-bin/", 1),
		"what was fetched is not the data set":            cifarArchive(t, "other/", 2),
		"not a .tar.gz file":                              []byte("text"),
		"not a usable .tar.gz file: unexpected EOF":       cifarArchive(t, "cifar-10-batches-bin/", 2)[:40],
		"its SHA-256 is " + sumOf([]byte("not the same")): []byte("not the same"),
	} {
		root := t.TempDir()
		s["a"] = b
		if strings.HasPrefix(want, "its SHA") {
			text := fmt.Sprintf(`{"Set": "cifar10", "Archives": {"a.tar.gz": {"SHA256": %q}}}`, sumOf(nil))
			require.NoError(t, os.WriteFile(recordPath(root, "cifar10"), []byte(text), 0o666))
		}
		_, _, err := set.Get(context.Background(), options(root))
		require.ErrorContains(t, err, want)
		_, err = os.Stat(filepath.Join(root, "cifar10"))
		require.ErrorIs(t, err, os.ErrNotExist)
	}
}

// Sets of image files are counted by their names, in archives and unpacked, and have the same sum either way.
func TestImageFilesAreCounted(t *testing.T) {
	files := map[string]string{"images_background/Greek/character01/1.png": "a",
		"images_background/Greek/character01/2.png": "b"}
	evaluation := map[string]string{"images_evaluation/Angelic/character01/1.png": "c"}
	zipped := func(files map[string]string) []byte {
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		for name, text := range files {
			w, err := z.Create(name)
			require.NoError(t, err)
			fmt.Fprint(w, text)
		}
		require.NoError(t, z.Close())
		return b.Bytes()
	}
	set, ok := Find("omniglot")
	require.True(t, ok)
	set.Train, set.Test = 2, 1
	root := t.TempDir()
	dir := filepath.Join(root, "omniglot")
	require.NoError(t, os.Mkdir(dir, 0o777))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "images_background.zip"), zipped(files), 0o666))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "images_evaluation.zip"), zipped(evaluation), 0o666))
	before := verdict(t, set, root)
	require.Contains(t, before.Says, "reads well, 2 + 1 rows")

	require.NoError(t, os.Remove(filepath.Join(dir, "images_background.zip")))
	for name, text := range files {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o777))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666))
	}
	require.Equal(t, before, verdict(t, set, root))

	require.NoError(t, os.WriteFile(filepath.Join(dir, "images_evaluation.zip"),
		zipped(map[string]string{"../evil.png": "x"}), 0o666))
	_, err := set.Verify(root, dir)
	require.ErrorContains(t, err, "would lead out of the folder")
}

func TestStopped(t *testing.T) {
	set, _ := imageSet(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	root := t.TempDir()
	_, _, err := set.Get(ctx, options(root))
	require.ErrorIs(t, err, context.Canceled)
}

func TestCatalog(t *testing.T) {
	var names []string
	for _, s := range Sets() {
		names = append(names, s.Name)
		require.NotEmpty(t, s.files, s.Name)
		for _, f := range s.files {
			require.NotEmpty(t, f.URLs, f.name)
			require.True(t, f.SHA256 == "" || len(f.SHA256) == 64, f.name)
			require.True(t, f.MD5 == "" || len(f.MD5) == 32, f.name)
			require.True(t, filepath.IsLocal(f.name))
		}
	}
	require.Equal(t, data.Names()[1:], names, "digits is embedded")
	_, ok := Find("nothing")
	require.False(t, ok)
}

// TestRealSets checks the real files where $BILEVEL_DATA has them.
func TestRealSets(t *testing.T) {
	root := os.Getenv(data.EnvFolder)
	if root == "" {
		t.Skip("$BILEVEL_DATA is not set: the real data sets were not verified")
	}
	for name, want := range map[string]string{"mnist": "good: the content is that of the official files",
		"fashion-mnist": "good: ", "ijcnn1": "reads well", "omniglot": "reads well"} {
		if _, err := os.Stat(filepath.Join(root, name)); err != nil {
			continue
		}
		set, _ := Find(name)
		require.Contains(t, verdict(t, set, root).Says, want)
	}
}
