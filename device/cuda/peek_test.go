package cuda_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device"
	"bilevel/device/cuda/sim"
	"bilevel/device/devicetest"
)

// A number is that of its time, however late it is asked for, and several may be under way.
func TestPeek(t *testing.T) {
	d, drv := open(t, late)
	x := upload(t, d, 5, 1)
	r, err := d.Prepare(devicetest.Increment(x))
	require.NoError(t, err)
	var waits []func() (float64, error)
	for range 3 {
		wait, err := d.Peek(x, 1)
		require.NoError(t, err)
		waits = append(waits, wait)
		require.NoError(t, r.Run(1))
	}
	require.Equal(t, []float32{8, 4}, download(t, d, x))
	// through the staging area, which is free again
	require.NoError(t, d.Upload(x, 0, device.Float32s([]float32{0, 0})))
	before := drv.Calls()
	for i := 2; i >= 0; i-- {
		got, err := waits[i]()
		require.NoError(t, err)
		require.Equal(t, float64(1+i), got)
	}
	require.Equal(t, map[string]int{"cuEventSynchronize": 3}, difference(before, drv.Calls()))

	n, err := d.Alloc(device.Int, 1)
	require.NoError(t, err)
	_, err = d.Peek(n, 0)
	require.ErrorContains(t, err, "download")
	_, err = d.Peek(x, 2)
	require.ErrorContains(t, err, "download")
	wait, err := d.Peek(x, 0)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	d.Free(x)
	d.Free(n)
	shut(t, d)
	_, err = wait()
	require.EqualError(t, err, "cuda-sim: the device is closed")
}

// A kernel that faults is told by the look that waits for it.
func TestPeekOfALostCard(t *testing.T) {
	drv, err := sim.New()
	require.NoError(t, err)
	drv.Late, drv.Faults.Sticky = true, 2
	d, err := newDevice(t, drv)
	require.NoError(t, err)
	x := upload(t, d, 1)
	r, err := d.Prepare(devicetest.Increment(x))
	require.NoError(t, err)
	require.NoError(t, r.Run(1))
	first, err := d.Peek(x, 0)
	require.NoError(t, err)
	require.NoError(t, r.Run(1))
	second, err := d.Peek(x, 0)
	require.NoError(t, err)
	got, err := first()
	require.NoError(t, err)
	require.Equal(t, 2., got)
	_, err = second()
	require.ErrorContains(t, err, `the card is lost to this process, the last to run was program "increment"`)
	_, err = d.Peek(x, 0)
	require.ErrorContains(t, err, "the card is lost to this process")
	require.NoError(t, d.Close())
}
