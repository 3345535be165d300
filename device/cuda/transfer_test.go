package cuda_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device"
)

// What is longer than half of the staging area goes in parts, each way, and only for a half that is still in use does
// anything wait; small pieces fill a half before the other one is turned to. The card does its work late, so that a
// half used too early would show.
func TestLongTransfers(t *testing.T) {
	const half = 1 << 20
	d, drv := open(t, late)
	for _, n := range []int{half - 1, half, half + 1, 3*half + 7} {
		parts := (n + half - 1) / half
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(i % 8191)
		}
		b, err := d.Alloc(device.Real, n)
		require.NoError(t, err)
		before := drv.Calls()
		require.NoError(t, d.Upload(b, 0, device.Float32s(v)))
		calls := difference(before, drv.Calls())
		require.Equal(t, parts, calls["cuMemcpyHtoDAsync"])
		require.Equal(t, max(0, parts-2), calls["cuEventSynchronize"], "two halves are free at first")
		require.Zero(t, calls["cuStreamSynchronize"])

		back := make([]float32, n)
		before = drv.Calls()
		require.NoError(t, d.Download(device.Float32s(back), b, 0))
		calls = difference(before, drv.Calls())
		require.Equal(t, parts, calls["cuMemcpyDtoHAsync"])
		require.Equal(t, 1, calls["cuStreamSynchronize"])
		if parts > 1 {
			require.Equal(t, parts, calls["cuEventSynchronize"])
		}
		for i := range v { // testify would compare millions one by one
			if back[i] != v[i] {
				require.Equal(t, v[i], back[i], "element %d of %d", i, n)
			}
		}
		d.Free(b)
	}
	b, err := d.Alloc(device.Byte, 3*half)
	require.NoError(t, err)
	before := drv.Calls()
	for off := 0; off < 3*half; off += half / 4 {
		require.NoError(t, d.Upload(b, off, device.Bytes(make([]byte, half/4-1))))
	}
	require.Empty(t, difference(before, drv.Calls())["cuEventSynchronize"])
	d.Free(b)
	shut(t, d)
}

// Numbers are converted as they were: float64 to nearest, and to infinity beyond float32.
func TestConversions(t *testing.T) {
	d, _ := open(t)
	v := []float64{1, -2.5, 1 + 1e-12, 1e300, -1e300, math.Inf(1), 1e-60, 0.1}
	b, err := d.Alloc(device.Real, len(v))
	require.NoError(t, err)
	require.NoError(t, d.Upload(b, 0, device.Float64s(v)))
	got := make([]float64, len(v)-1)
	require.NoError(t, d.Download(device.Float64s(got), b, 1))
	for i := range got {
		require.Equal(t, float64(float32(v[i+1])), got[i])
	}
	whole, err := d.Alloc(device.Int, 3)
	require.NoError(t, err)
	require.NoError(t, d.Upload(whole, 1, device.Int32s([]int32{math.MinInt32, 77})))
	back := make([]int32, 3)
	require.NoError(t, d.Download(device.Int32s(back), whole, 0))
	require.Equal(t, []int32{0, math.MinInt32, 77}, back)
	d.Free(b)
	d.Free(whole)
	shut(t, d)
}

// BenchmarkTransfers is the host's share of transfers: packing and unpacking, and the simulated card's own copy.
func BenchmarkTransfers(b *testing.B) {
	const n = 16 << 20
	d, _ := open(b)
	buf, err := d.Alloc(device.Real, n)
	require.NoError(b, err)
	v := make([]float32, n)
	for name, do := range map[string]func() error{
		"upload":   func() error { return d.Upload(buf, 0, device.Float32s(v)) },
		"download": func() error { return d.Download(device.Float32s(v), buf, 0) },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(4 * n)
			for b.Loop() {
				require.NoError(b, do())
			}
		})
	}
}
