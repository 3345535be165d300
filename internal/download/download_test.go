package download

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// content is what the servers here have.
func content() []byte {
	b := make([]byte, 300_000)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func sumOf(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// serve is a good server of b, with ranges, as package http has it.
func serve(b []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"`+sumOf(b)[:8]+`"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
	}
}

// mirror starts a server and counts its requests.
func mirror(t *testing.T, h http.HandlerFunc) (address string, requests *atomic.Int32) {
	t.Helper()
	requests = &atomic.Int32{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		h(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL, requests
}

// abort ends the connection without a proper end of the body.
func abort() { panic(http.ErrAbortHandler) }

// cutTo serves with ranges, and ends each connection after n bytes of the body.
func cutTo(b []byte, n int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		first := 0
		if text, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok {
			first, _ = strconv.Atoi(strings.TrimSuffix(text, "-"))
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, len(b)-1, len(b)))
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(b)-first))
		w.Header().Set("ETag", `"x"`)
		if first > 0 {
			w.WriteHeader(http.StatusPartialContent)
		}
		last := min(len(b), first+n)
		w.Write(b[first:last])
		if last < len(b) {
			w.(http.Flusher).Flush()
			abort()
		}
	}
}

func client() *Client {
	return &Client{Stall: 2 * time.Second, Wait: time.Millisecond}
}

// fetched checks that path holds b, and that nothing else is beside it.
func fetched(t *testing.T, path string, b []byte) {
	t.Helper()
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, bytes.Equal(b, got))
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

func TestGet(t *testing.T) {
	b := content()
	address, requests := mirror(t, serve(b))
	var last int64
	c := client()
	c.Progress = func(done, total int64) {
		require.Equal(t, int64(len(b)), total)
		require.Greater(t, done, last)
		last = done
	}
	sum := md5.Sum(b)
	path := filepath.Join(t.TempDir(), "a")
	r, err := c.Get(context.Background(),
		File{URLs: []string{address}, SHA256: sumOf(b), MD5: hex.EncodeToString(sum[:])}, path)
	require.NoError(t, err)
	require.Equal(t, Result{address, int64(len(b)), sumOf(b)}, r)
	require.Equal(t, int64(len(b)), last)
	require.Equal(t, int32(1), requests.Load())
	fetched(t, path, b)
}

// A server that ends every connection early is asked for the rest each time, with a sum and without one.
func TestTruncatedIsResumed(t *testing.T) {
	b := content()
	for _, sum := range []string{"", sumOf(b)} {
		address, requests := mirror(t, cutTo(b, 100_000))
		path := filepath.Join(t.TempDir(), "a")
		_, err := client().Get(context.Background(), File{URLs: []string{address}, SHA256: sum}, path)
		require.NoError(t, err)
		require.Equal(t, int32(3), requests.Load())
		fetched(t, path, b)
	}
	// In the next process, too.
	address, requests := mirror(t, cutTo(b, 100_000))
	path := filepath.Join(t.TempDir(), "a")
	once := client()
	once.Tries = 1
	for try := range 3 {
		_, err := once.Get(context.Background(), File{URLs: []string{address}}, path)
		require.Equal(t, try == 2, err == nil)
	}
	require.Equal(t, int32(3), requests.Load())
	fetched(t, path, b)
}

func TestMirrors(t *testing.T) {
	b := content()
	good, _ := mirror(t, serve(b))
	for name, h := range map[string]http.HandlerFunc{
		"404":   http.NotFound,
		"503":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"403":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) },
		"wrong": serve(content()[1:]),
		"page":  func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>Please log in") },
		"loop":  func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusFound) },
		"abort": func(http.ResponseWriter, *http.Request) { abort() },
		"long":  serve(append(content(), 0)),
		"endless": func(w http.ResponseWriter, _ *http.Request) {
			for range 100 {
				w.Write(content())
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			bad, _ := mirror(t, h)
			path := filepath.Join(t.TempDir(), "a")
			r, err := client().Get(context.Background(),
				File{URLs: []string{bad, good}, SHA256: sumOf(b), Size: int64(len(b)), Begins: string(b[:2])}, path)
			require.NoError(t, err)
			require.Equal(t, good, r.URL)
			fetched(t, path, b)
		})
	}
}

// What one mirror began another goes on with, where a sum tells that the bytes are the same.
func TestAnotherMirrorGoesOn(t *testing.T) {
	b := content()
	dying, requests := mirror(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "" {
			http.NotFound(w, r)
			return
		}
		cutTo(b, 200_000)(w, r)
	})
	var asked string
	good, _ := mirror(t, func(w http.ResponseWriter, r *http.Request) {
		asked = r.Header.Get("Range")
		serve(b)(w, r)
	})
	path := filepath.Join(t.TempDir(), "a")
	_, err := client().Get(context.Background(), File{URLs: []string{dying, good}, SHA256: sumOf(b)}, path)
	require.NoError(t, err)
	require.Equal(t, "bytes=200000-", asked)
	require.Equal(t, int32(2), requests.Load())
	fetched(t, path, b)

	path = filepath.Join(t.TempDir(), "a")
	_, err = client().Get(context.Background(), File{URLs: []string{dying, good}}, path)
	require.NoError(t, err)
	require.Empty(t, asked, "without a sum it begins anew")
	fetched(t, path, b)
}

func TestStalled(t *testing.T) {
	b := content()
	stalls, _ := mirror(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(b)))
		w.Write(b[:1000])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	good, _ := mirror(t, serve(b))
	c := client()
	c.Stall, c.Tries = 100*time.Millisecond, 1
	path := filepath.Join(t.TempDir(), "a")
	_, err := c.Get(context.Background(), File{URLs: []string{stalls}}, path)
	require.ErrorContains(t, err, "nothing came for 100ms")
	_, err = c.Get(context.Background(), File{URLs: []string{stalls, good}}, path)
	require.NoError(t, err)
	fetched(t, path, b)
}

func TestRedirected(t *testing.T) {
	b := content()
	good, _ := mirror(t, serve(b))
	address, _ := mirror(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, good, http.StatusMovedPermanently)
	})
	path := filepath.Join(t.TempDir(), "a")
	_, err := client().Get(context.Background(), File{URLs: []string{address}}, path)
	require.NoError(t, err)
	fetched(t, path, b)
}

// A server that is busy is asked again.
func TestBusy(t *testing.T) {
	b := content()
	var calls atomic.Int32
	address, requests := mirror(t, func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		serve(b)(w, r)
	})
	path := filepath.Join(t.TempDir(), "a")
	_, err := client().Get(context.Background(), File{URLs: []string{address}}, path)
	require.NoError(t, err)
	require.Equal(t, int32(3), requests.Load())
	fetched(t, path, b)
}

// What is left of an earlier try: whole, too long, of other bytes, of another server's file, or at a server without
// ranges.
func TestWhatWasLeft(t *testing.T) {
	b := content()
	good, _ := mirror(t, serve(b))
	plain, _ := mirror(t, func(w http.ResponseWriter, _ *http.Request) { w.Write(b) })
	confused, _ := mirror(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "" {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 5-%d/%d", len(b)-1, len(b)))
			w.WriteHeader(http.StatusPartialContent)
			w.Write(b[5:])
			return
		}
		serve(b)(w, r)
	})
	etag := `"` + sumOf(b)[:8] + `"`
	for name, c := range map[string]struct {
		left, url, etag, sum string
	}{
		"whole":                {string(b), good, etag, sumOf(b)},
		"whole, no sum":        {string(b), good, etag, ""}, // the server answers 416
		"too long":             {string(b) + "x", good, etag, sumOf(b)},
		"too long, no sum":     {string(b) + "x", good, etag, ""},
		"other bytes":          {strings.Repeat("x", 1000), good, etag, sumOf(b)},
		"older file, no sum":   {strings.Repeat("x", 1000), good, `"old"`, ""},
		"other server, no sum": {strings.Repeat("x", 1000), "http://elsewhere.example", etag, ""},
		"no ranges":            {string(b[:1000]), plain, "", sumOf(b)},
		"wrong range":          {string(b[:1000]), confused, etag, sumOf(b)},
		"wrong range, no sum":  {string(b[:1000]), confused, etag, ""},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a")
			require.NoError(t, os.WriteFile(path+".part", []byte(c.left), 0o666))
			require.NoError(t, os.WriteFile(path+".part-of",
				fmt.Appendf(nil, `{"URL": %q, "ETag": %q}`, c.url, c.etag), 0o666))
			address := c.url
			if strings.Contains(address, "elsewhere") {
				address = good
			}
			_, err := client().Get(context.Background(), File{URLs: []string{address}, SHA256: c.sum}, path)
			require.NoError(t, err)
			fetched(t, path, b)
		})
	}
}

func TestAllMirrorsDead(t *testing.T) {
	missing, _ := mirror(t, http.NotFound)
	wrong, _ := mirror(t, serve([]byte("other")))
	path := filepath.Join(t.TempDir(), "a")
	_, err := client().Get(context.Background(), File{URLs: []string{missing, wrong, "http://127.0.0.1:1/", "::"},
		SHA256: sumOf(content())}, path)
	require.ErrorAs(t, err, new(*Error))
	for _, want := range []string{"it answers 404 Not Found", "their SHA-256 is " + sumOf([]byte("other")),
		"127.0.0.1:1: dial tcp", "missing protocol scheme"} {
		require.ErrorContains(t, err, want)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Empty(t, entries)
}

// Bytes that are too many are refused as they come, and too few are known where the size is, whatever the server says.
func TestSizes(t *testing.T) {
	b := content()
	address, _ := mirror(t, func(w http.ResponseWriter, _ *http.Request) { // without a length
		w.Write(b[:200_000])
		w.(http.Flusher).Flush()
		w.Write(b[200_000:])
	})
	dir := t.TempDir()
	c := client()
	c.Most = 250_000
	_, err := c.Get(context.Background(), File{URLs: []string{address}}, filepath.Join(dir, "a"))
	require.ErrorContains(t, err, "it sends more than 250000 bytes")
	_, err = client().Get(context.Background(), File{URLs: []string{address}, Size: 100_000}, filepath.Join(dir, "a"))
	require.ErrorContains(t, err, "it sends more than 100000 bytes")
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
	_, err = client().Get(context.Background(), File{URLs: []string{address}, Size: 300_001}, filepath.Join(dir, "a"))
	require.ErrorContains(t, err, "the connection ended after 300000 of 300001 bytes")
	_, err = client().Get(context.Background(), File{URLs: []string{address}}, filepath.Join(dir, "b"))
	require.NoError(t, err)
}

func TestCancelled(t *testing.T) {
	b := content()
	ctx, cancel := context.WithCancel(context.Background())
	address, _ := mirror(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(b)))
		w.Write(b[:100_000])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	c := client()
	c.Progress = func(done, _ int64) {
		if done == 100_000 {
			cancel()
		}
	}
	path := filepath.Join(t.TempDir(), "a")
	_, err := c.Get(ctx, File{URLs: []string{address}}, path)
	require.ErrorIs(t, err, context.Canceled)
	left, err := os.ReadFile(path + ".part")
	require.NoError(t, err)
	require.True(t, bytes.Equal(b[:100_000], left))
}

func TestMatches(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	b := content()
	require.NoError(t, os.WriteFile(path, b, 0o666))
	for f, want := range map[*File]bool{
		{}: true, {SHA256: sumOf(b)}: true, {Size: int64(len(b))}: true, {SHA256: sumOf(b[1:])}: false,
		{Size: 5}:  false,
		{MD5: "x"}: false,
	} {
		r, ok, err := Matches(*f, path)
		require.NoError(t, err)
		require.Equal(t, want, ok)
		require.Equal(t, sumOf(b), r.SHA256)
	}
}
