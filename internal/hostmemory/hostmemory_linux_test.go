package hostmemory

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAvailable(t *testing.T) {
	for text, want := range map[string]int64{
		"MemTotal: 9 kB\nMemAvailable:    12345 kB\nBuffers: 1 kB\n": 12345,
		"MemTotal: 9 kB\n":                     -1,
		"MemAvailable:\n":                      -1,
		"MemAvailable: many kB\n":              -1,
		"MemAvailable: -1 kB\n":                -1,
		"MemAvailable: 99999999999999999 kB\n": -1,
	} {
		kib, ok := available([]byte(text))
		require.Equal(t, want >= 0, ok, text)
		if ok {
			require.Equal(t, want, kib)
		}
	}
	total, free := Bytes()
	require.Equal(t, total, Total())
	require.Positive(t, total)
	require.LessOrEqual(t, free, total)
}
