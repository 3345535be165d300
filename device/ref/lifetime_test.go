package ref

import (
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device"
)

func TestAfterClose(t *testing.T) {
	d := New()
	b, err := d.Alloc(device.Real, 3)
	require.NoError(t, err)
	r, err := d.Prepare(&device.Program{Buffers: []device.Buffer{b}})
	require.NoError(t, err)
	require.NoError(t, d.Close())

	_, err = d.Alloc(device.Real, 1)
	require.ErrorIs(t, err, device.ErrClosed)
	_, err = d.Prepare(&device.Program{})
	require.ErrorIs(t, err, device.ErrClosed)
	one := device.Float32s(make([]float32, 1))
	require.ErrorIs(t, d.Upload(b, 0, one), device.ErrClosed)
	require.ErrorIs(t, d.Download(one, b, 0), device.ErrClosed)
	require.ErrorIs(t, d.Copy(b, 0, b, 1, 1), device.ErrClosed)
	require.ErrorIs(t, r.Run(1), device.ErrClosed)
	require.ErrorIs(t, d.Sync(), device.ErrClosed)
	require.ErrorIs(t, d.Close(), device.ErrClosed)
	d.Free(b)
	require.NoError(t, r.Close())
}

func TestAfterFree(t *testing.T) {
	d, other := New(), New()
	b, _ := d.Alloc(device.Real, 3)
	foreign, _ := other.Alloc(device.Real, 3)
	r, err := d.Prepare(&device.Program{Buffers: []device.Buffer{b}})
	require.NoError(t, err)
	d.Free(foreign)
	d.Free(b)
	d.Free(b)
	d.Free(nil)

	one := device.Float32s(make([]float32, 1))
	for _, x := range []device.Buffer{b, foreign, nil} {
		require.ErrorIs(t, d.Upload(x, 0, one), device.ErrBuffer)
		require.ErrorIs(t, d.Download(one, x, 0), device.ErrBuffer)
		require.ErrorIs(t, d.Copy(x, 0, x, 1, 1), device.ErrBuffer)
		if x != nil { // what no instruction views may be nil
			_, err = d.Prepare(&device.Program{Buffers: []device.Buffer{x}})
			require.ErrorIs(t, err, device.ErrBuffer)
		}
	}
	require.ErrorIs(t, r.Run(1), device.ErrBuffer)
	require.NoError(t, other.Upload(foreign, 0, one), "another device's buffer lives on")
	require.Equal(t, 3, b.Len())
}

func TestRunner(t *testing.T) {
	d := New()
	r, err := d.Prepare(&device.Program{})
	require.NoError(t, err)
	require.NoError(t, r.Run(0))
	require.Error(t, r.Run(-1))
	require.NoError(t, r.Close())
	require.NoError(t, r.Close())
	require.Error(t, r.Run(1))
}
