package cuda_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device"
	"bilevel/device/cuda"
	"bilevel/device/cuda/driver"
	"bilevel/device/cuda/sim"
)

// faulty opens a card that fails as ordered; the error is that of opening.
func faulty(t *testing.T, f sim.Faults) (*cuda.Device, error) {
	drv, err := sim.New()
	require.NoError(t, err)
	drv.Faults = f
	return cuda.New(through(t, drv), cuda.Options{Name: "cuda-sim"})
}

// eachFails fails the n-th call for n = 1, 2, … until the job gets through, and counts: told looks at each error; the
// device then holds nothing, and does the same job.
func eachFails(t *testing.T, faults func(n int) sim.Faults, told func(error)) (failed int) {
	t.Helper()
	for n := 1; ; n++ {
		d, err := faulty(t, faults(n))
		require.NoError(t, err)
		_, err = job(d)
		if err == nil {
			shut(t, d)
			return failed
		}
		failed++
		told(err)
		require.Zero(t, d.Statistics().InUse)
		sum, err := job(d)
		require.NoError(t, err)
		require.Equal(t, float32(9000), sum)
		shut(t, d)
	}
}

// Each allocation in turn finds no memory: the job ends with ErrMemory, holds nothing, and the same device goes on.
func TestEveryAllocationFails(t *testing.T) {
	failed := eachFails(t, func(n int) sim.Faults { return sim.Faults{Alloc: n} }, func(err error) {
		require.ErrorIs(t, err, device.ErrMemory)
		require.ErrorContains(t, err, "cuda-sim: ")
		require.ErrorContains(t, err, "bytes asked")
	})
	require.Greater(t, failed, 4, "buffers, scratch memory and fault words")
}

// A kernel that the driver refuses is named, with its sizes, and the device goes on.
func TestEveryLaunchFails(t *testing.T) {
	failed := eachFails(t, func(n int) sim.Faults { return sim.Faults{Launch: n} }, func(err error) {
		var e *driver.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, driver.LaunchOutOfResources, e.Code)
		require.Regexp(
			t,
			`^cuda-sim: program "work", instruction \d \(\w+ of \[\d.*\)+: cuGraphLaunch failed: the launch needs `+
				`too many resources: (\d+ nodes: )?\w+, grid \[\d+ 1 1\], block`,
			err.Error(),
		)
	})
	require.GreaterOrEqual(t, failed, 3, "four instructions that are one kernel, three times")
}

// A kernel that faults takes the cards from the process: every later call says so, nothing hangs on, and no other card
// opens.
func TestStickyFault(t *testing.T) {
	for n := 1; n <= 3; n++ {
		drv, err := sim.New("h100", "rtx4090")
		require.NoError(t, err)
		drv.Faults.Sticky = n
		reached := through(t, drv)
		d, err := cuda.New(reached, cuda.Options{Name: "cuda-sim"})
		require.NoError(t, err)
		_, err = job(d)
		require.ErrorContains(t, err, `the last to run was program "work", instruction `)
		require.ErrorContains(t, err, "an illegal address")
		require.ErrorIs(t, err, device.ErrLost)
		require.ErrorContains(t, err, "; start the program again to use a card")
		_, again := d.Alloc(device.Real, 1)
		require.ErrorContains(t, again, "the card is lost to this process")
		require.Error(t, d.Sync())
		require.Zero(t, d.Statistics().InUse)
		require.NoError(t, d.Close())
		_, err = cuda.New(reached, cuda.Options{Name: "cuda:1", Card: 1})
		require.ErrorIs(t, err, device.ErrLost)
		require.Regexp(t, `^cuda:1: the card is lost to this process: [^\n]*an illegal address`, err.Error())
	}
}

// The card goes away at every call of the driver in turn, those of closing the device included: the error is one
// sentence.
func TestLostCard(t *testing.T) {
	lost, closing := 0, 0
	for n := 1; ; n++ {
		d, err := faulty(t, sim.Faults{Lost: n})
		if err == nil {
			_, err = job(d)
			require.Zero(t, d.Statistics().InUse)
			if closed := d.Close(); err != nil {
				require.NoError(t, closed, "told before")
				require.ErrorContains(t, err, "the card is lost")
			} else if closed == nil {
				break
			} else {
				err = closed
				closing++
			}
		}
		require.Regexp(t, `^cuda-sim: .*does not answer any more[^\n]*$`, err.Error())
		lost++
	}
	require.Greater(t, lost, 20)
	require.Greater(t, closing, 8)
}
