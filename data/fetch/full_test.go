//go:build unix

package fetch

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"bilevel/internal/archive"
	"bilevel/internal/download"
)

const (
	fullChild = "FETCH_TEST_FULL" // the child's address, root, sum and limit
	fullSize  = 300_000
)

// fullSet is one packed file of which the archive is smaller than what is in it.
func fullSet(address, sum string, size int64) Set {
	return Set{Name: "cifar10", Train: 1, Test: 1, files: []file{{
		name: "cifar-10-binary.tar.gz", unpack: archive.Limits{Files: 10, Bytes: 1 << 24},
		File: download.File{URLs: []string{address + "a.tar.gz"}, SHA256: sum, Size: size, Begins: gzipMagic},
	}}}
}

// A disk that is full while a set is fetched or unpacked loses nothing, and is said in one clear sentence. The limit on
// the size of files stands for the disk.
func TestFullDisk(t *testing.T) {
	if given := os.Getenv(fullChild); given != "" {
		getWithLimit(t, strings.Fields(given))
		return
	}
	noise := make([]byte, fullSize)
	source := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = byte(source.Uint32())
	}
	content := append(noise, make([]byte, 1<<20)...)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	require.NoError(t, w.WriteHeader(&tar.Header{
		Name: "cifar-10-batches-bin/data_batch_1.bin", Size: int64(len(content)), Mode: 0o600,
	}))
	_, err := w.Write(content)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	whole := packed(t, b.Bytes(), gzip.BestSpeed)
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(0)
		var from int64
		if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err == nil {
			asked.Store(from)
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(whole))
	}))
	defer server.Close()
	root := t.TempDir()
	child := func(limit int) string {
		c := exec.Command(os.Args[0], "-test.run=^TestFullDisk$")
		given := fmt.Sprintf("%s=%s/ %s %s %d %d", fullChild, server.URL, root, sumOf(whole), len(whole), limit)
		c.Env = append(os.Environ(), given)
		out, err := c.CombinedOutput()
		require.NoError(t, err, "%s", out)
		said, _, _ := strings.Cut(string(out), "\n")
		return said
	}
	archivePath := filepath.Join(root, ".cifar10.part", "cifar-10-binary.tar.gz")
	const limit = 100_000
	said := child(limit)
	require.Equal(t, "cifar10: cifar-10-binary.tar.gz: write "+archivePath+".part: file too large; what was "+
		"fetched is kept, and the same command goes on from there", said)
	info, err := os.Stat(archivePath + ".part")
	require.NoError(t, err)
	require.EqualValues(t, limit, info.Size(), "every byte that fitted")

	said = child(len(whole) + 100) // enough for the archive and not for what is in it
	require.EqualValues(t, limit, asked.Load(), "it went on from there")
	require.Contains(t, said, "file too large")
	require.Contains(t, said, "cifar10: cifar-10-binary.tar.gz")
	require.FileExists(t, archivePath, "the whole archive stays")
	require.NoDirExists(t, archivePath+".unpacking", "what was unpacked by half does not")

	said = child(1 << 30)
	require.Contains(t, said, "no whole number of CIFAR's records",
		"the test's archive is no CIFAR, which is found out once it is unpacked")
	require.FileExists(t, filepath.Join(root, ".cifar10.part", "cifar-10-batches-bin", "data_batch_1.bin"))
}

// getWithLimit gets the set in a process whose files cannot grow beyond a limit, and prints the error.
func getWithLimit(t *testing.T, given []string) {
	size, err := strconv.ParseInt(given[3], 10, 64)
	require.NoError(t, err)
	limit, err := strconv.ParseUint(given[4], 10, 64)
	require.NoError(t, err)
	signal.Ignore(syscall.SIGXFSZ)
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: limit, Max: limit}))
	_, _, err = fullSet(given[0], given[2], size).Get(context.Background(), options(given[1]))
	fmt.Println(err)
}
