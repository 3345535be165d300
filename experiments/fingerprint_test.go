package experiments

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/data"
)

// Whatever a run reads is part of its fingerprint, and where it lies is not.
func TestFingerprint(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a")
	require.NoError(t, os.WriteFile(file, []byte("one"), 0o600))
	seen := map[string]bool{}
	see := func(d *data.Dataset, files ...string) {
		t.Helper()
		got, err := Fingerprint(d, files...)
		require.NoError(t, err)
		require.False(t, seen[got])
		seen[got] = true
	}
	set := func() *data.Set { return &data.Set{Features: []float32{1, 2, 3, 4}, Labels: []int32{0, 1}, Dim: 2} }
	see(nil)
	see(&data.Dataset{Train: set()})
	see(&data.Dataset{Train: set(), Test: set()})
	see(&data.Dataset{Train: set(), Val: set()})
	see(&data.Dataset{Train: set()}, file)
	require.NoError(t, os.WriteFile(file, []byte("two"), 0o600))
	see(&data.Dataset{Train: set()}, file)
	see(nil, file)
	for _, change := range []func(*data.Set){
		func(s *data.Set) { s.Features[3] = 5 },
		func(s *data.Set) { s.Labels[0] = 1 },
		func(s *data.Set) { s.Origin = []float64{1, 0} },
		func(s *data.Set) { s.Features, s.Bytes = nil, []byte{1, 2, 3, 4} },
	} {
		s := set()
		change(s)
		see(&data.Dataset{Train: s})
	}
	_, err := Fingerprint(nil, file+"-missing")
	require.ErrorIs(t, err, os.ErrNotExist)
}
