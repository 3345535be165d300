package fetch

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// While one gets a set, another that wants it is refused at once, and finds it there afterwards.
func TestTwoGetOneSet(t *testing.T) {
	set, s := imageSet(t)
	asked, goOn := make(chan struct{}), make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(asked)
		<-goOn
		w.Write(s[filepath.Base(r.URL.Path)])
	}))
	defer slow.Close()
	set.files[0].URLs = []string{slow.URL + "/" + set.files[0].name}
	root := t.TempDir()
	first := make(chan error, 1)
	go func() {
		_, _, err := set.Get(context.Background(), options(root))
		first <- err
	}()
	<-asked
	_, _, err := set.Get(context.Background(), options(root))
	require.EqualError(t, err, fmt.Sprintf("mnist: process %d is getting it into %s just now; wait until it has ended",
		os.Getpid(), root))
	close(goOn)
	require.NoError(t, <-first)
	_, got, err := set.Get(context.Background(), options(root))
	require.NoError(t, err)
	require.False(t, got)
	require.NoFileExists(t, filepath.Join(root, ".mnist.lock"))
}
