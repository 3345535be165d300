package ptx_test

import (
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/ptx"
)

// Copies of many pieces are whole, and other goroutines run between the pieces, even on a single processor.
func TestLargeCopiesLetOthersRun(t *testing.T) {
	const n = 16<<20 + 5
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(i * 7 >> 3)
	}
	m := ptx.NewMachine(ptx.Options{})
	addr, err := m.Alloc(n, "large")
	require.NoError(t, err)
	back := make([]byte, n)
	for _, move := range []func() error{
		func() error { return m.Write(addr, data) },
		func() error { return m.Read(addr, back) },
	} {
		before := runtime.GOMAXPROCS(1)
		var ran atomic.Bool
		go ran.Store(true)
		err := move()
		inBetween := ran.Load()
		runtime.GOMAXPROCS(before)
		require.NoError(t, err)
		require.True(t, inBetween)
	}
	require.Equal(t, data, back)
}
