package device_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device"
)

// owned is a device's own buffer.
type owned struct {
	device.Block
	freed bool
}

// The books of a device: what is in use, what is refused, and what happens to buffers that were freed, are foreign, or
// outlive it.
func TestLedger(t *testing.T) {
	l, other := device.NewLedger("here", 32), device.NewLedger("there", 64)
	take := func(l *device.Ledger, typ device.Type, n int) *owned {
		block, err := l.Request(typ, n, 1000-l.Bytes())
		require.NoError(t, err)
		b := &owned{Block: block}
		l.Add(b, &b.Block)
		return b
	}
	a, b, c := take(l, device.Real, 100), take(l, device.Byte, 100), take(other, device.Real, 100)
	require.Equal(t, []int64{400, 100, 800}, []int64{a.Bytes(), b.Bytes(), c.Bytes()})
	require.Equal(t, device.Byte, b.Type())
	require.Equal(t, 100, b.Len())
	require.EqualValues(t, 500, l.Bytes())
	require.Equal(t, 2, l.Buffers())
	require.NoError(t, l.Check(a))

	for _, n := range []int{126, math.MaxInt} {
		_, err := l.Request(device.Int, n, 500)
		require.ErrorIs(t, err, device.ErrMemory)
		require.ErrorContains(
			t, err, "elements of 4 bytes: there is room for 500 bytes, beside 500 in use: out of memory",
		)
	}
	_, err := l.Request(device.Int, 125, 500)
	require.NoError(t, err)
	_, err = l.Request(device.Real, -1, 500)
	require.EqualError(t, err, "here: alloc: -1 elements")
	_, err = l.Request(device.Type(7), 1, 500)
	require.EqualError(t, err, "here: alloc: unknown type 7")

	for _, foreign := range []device.Buffer{c, words(3), nil} {
		require.ErrorIs(t, l.Check(foreign), device.ErrBuffer)
		require.False(t, l.Remove(foreign))
	}
	require.True(t, l.Remove(a))
	require.False(t, l.Remove(a), "it was freed before")
	require.EqualError(t, l.Check(a), "here: the buffer was freed or belongs to another device")
	require.EqualValues(t, 100, l.Bytes())

	require.NoError(t, l.Close(func(b device.Buffer) { b.(*owned).freed = true }))
	require.Equal(t, []bool{false, true}, []bool{a.freed, b.freed}, "what was still in use is released")
	require.Zero(t, l.Bytes())
	_, err = l.Request(device.Int, 1, 500)
	for _, err := range []error{err, l.Open(), l.Check(b), l.Close(nil)} {
		require.ErrorIs(t, err, device.ErrClosed)
		require.EqualError(t, err, "here: the device is closed")
	}
	require.NoError(t, other.Check(c))
}
