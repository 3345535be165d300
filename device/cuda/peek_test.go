package cuda_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device"
	"bilevel/device/cuda"
	"bilevel/device/cuda/driver"
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

// slow is a driver whose events say over a channel that they are waited for, and are not over before they may be.
type slow struct {
	driver.Driver
	may chan struct{}
}

type slowContext struct {
	driver.Context
	may chan struct{}
}

type slowEvent struct {
	driver.Event
	may chan struct{}
}

func (d slow) Open(i int) (driver.Context, error) {
	c, err := d.Driver.Open(i)
	return slowContext{c, d.may}, err
}

func (c slowContext) Event(timed bool) (driver.Event, error) {
	e, err := c.Context.Event(timed)
	return slowEvent{e, c.may}, err
}

// The driver below knows its own events only.
func (c slowContext) Stream() (driver.Stream, error) {
	s, err := c.Context.Stream()
	return slowStream{s}, err
}

type slowStream struct{ driver.Stream }

func (s slowStream) Record(e driver.Event) error { return s.Stream.Record(e.(slowEvent).Event) }

func (e slowEvent) Synchronize() error {
	e.may <- struct{}{}
	<-e.may
	return e.Event.Synchronize()
}

// While one goroutine waits for a number, others give the device work, and closing it waits for the one that waits.
func TestPeekLeavesTheDeviceToOthers(t *testing.T) {
	drv, err := sim.New()
	require.NoError(t, err)
	may := make(chan struct{})
	d, err := cuda.New(slow{drv, may}, cuda.Options{Name: "cuda-sim"})
	require.NoError(t, err)
	x := upload(t, d, 1)
	r, err := d.Prepare(devicetest.Increment(x))
	require.NoError(t, err)
	wait, err := d.Peek(x, 0)
	require.NoError(t, err)
	got := make(chan float64)
	calls := drv.Calls()
	go func() {
		v, err := wait()
		if err != nil {
			v = -1
		}
		got <- v
	}()
	<-may
	require.NoError(t, r.Run(1)) // with the device held, these would wait for ever
	require.Equal(t, []float32{2}, download(t, d, x))
	require.Zero(t, difference(calls, drv.Calls())["cuEventSynchronize"])
	require.NoError(t, r.Close())
	d.Free(x)
	closed := make(chan error)
	go func() { closed <- d.Close() }()
	select {
	case err := <-closed:
		require.Fail(t, "closed with a number on its way", "%v", err)
	case may <- struct{}{}:
	}
	require.Equal(t, 1., <-got)
	require.NoError(t, <-closed)
}
