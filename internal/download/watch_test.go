package download

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// transport answers requests without a network, so that a test's time can be synctest's.
type transport func(*http.Request) *http.Response

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r), nil }

// slow gives a body in pieces, and waits before each.
type slow struct {
	ctx    context.Context
	pieces io.Reader
	wait   func() time.Duration
}

func (s *slow) Read(b []byte) (int, error) {
	select {
	case <-time.After(s.wait()):
		return s.pieces.Read(b)
	case <-s.ctx.Done():
		return 0, s.ctx.Err()
	}
}

// slowly serves b with the waits that wait gives.
func slowly(b []byte, wait func() time.Duration) transport {
	return func(r *http.Request) *http.Response {
		return &http.Response{StatusCode: http.StatusOK, ContentLength: int64(len(b)),
			Body: io.NopCloser(&slow{r.Context(), bytes.NewReader(b), wait})}
	}
}

// What the reader of the bytes does with them may take as long as it wants, many times: only the server is watched.
func TestSlowReaderIsNoStall(t *testing.T) {
	b, path := content(), filepath.Join(t.TempDir(), "a")
	synctest.Test(t, func(t *testing.T) {
		requests := 0
		send := slowly(b, func() time.Duration { return 20 * time.Second })
		c := &Client{HTTP: &http.Client{Transport: transport(func(r *http.Request) *http.Response {
			requests++
			return send(r)
		})}}
		c.Progress = func(int64, int64) { time.Sleep(time.Hour) }
		_, err := c.Get(t.Context(), File{URLs: []string{"http://a.example"}, SHA256: sumOf(b)}, path)
		require.NoError(t, err)
		require.Equal(t, 1, requests)
	})
	fetched(t, path, b)
}

// A server that is silent for 30 s is given up, and asked again.
func TestSilentServer(t *testing.T) {
	b, path := content(), filepath.Join(t.TempDir(), "a")
	synctest.Test(t, func(t *testing.T) {
		reads := 0
		c := &Client{HTTP: &http.Client{Transport: slowly(b, func() time.Duration {
			reads++
			return time.Duration(reads) * 10 * time.Second
		})}}
		begin := time.Now()
		_, err := c.Get(t.Context(), File{URLs: []string{"http://a.example"}, SHA256: sumOf(b)}, path)
		require.ErrorContains(t, err, "nothing came for 30s")
		// The first try reads after 10 and 20 s; each of the four ends with 30 s of silence; 1, 2 and 4 s are between.
		require.Equal(t, (10+20+4*30+1+2+4)*time.Second, time.Since(begin))
	})
}

// That one of two files is missing does not hide that the other cannot be removed.
func TestRemoveSaysWhatFailed(t *testing.T) {
	p := &partial{path: filepath.Join(t.TempDir(), "a")}
	require.NoError(t, p.remove(), "neither is there")
	require.NoError(t, os.MkdirAll(filepath.Join(p.path, "full"), 0o777)) // a folder that is not empty stays
	require.ErrorContains(t, p.remove(), "not empty")
}

// Wrong bytes of the right size that an earlier call left are fetched anew, by a single mirror too.
func TestWholeButWrong(t *testing.T) {
	b := content()
	address, requests := mirror(t, serve(b))
	path := filepath.Join(t.TempDir(), "a")
	require.NoError(t, os.WriteFile(path+".part", make([]byte, len(b)), 0o666))
	_, err := client().Get(context.Background(),
		File{URLs: []string{address}, Size: int64(len(b)), SHA256: sumOf(b)}, path)
	require.NoError(t, err)
	require.Equal(t, int32(1), requests.Load())
	fetched(t, path, b)
}
