package bench

import (
	"math"
	"syscall"
	"testing"

	"bilevel/device/cpudevice"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
)

// Four times the rows cost about four times the time, and less than eight times. The test compares processor times of
// one thread, which other processes hardly change. It measures the two batches in turn and takes the best of five times
// each.
func TestCostIsLinearInTheBatch(t *testing.T) {
	seconds := func() float64 {
		var u syscall.Rusage
		require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
		return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
	}
	dev := cpudevice.New(1)
	defer dev.Close()
	batches, best := [2]int{512, 2048}, [2]float64{math.Inf(1), math.Inf(1)}
	var calls [2]func() error
	for i, batch := range batches {
		ex := tensor.NewExecutor(dev)
		defer ex.Close()
		w, _ := gradient(batch, 784, 300, 100, 10)
		p, err := w.Prepare(ex)
		require.NoError(t, err)
		calls[i] = p.Call
	}
	for range 5 {
		for i, call := range calls {
			begin := seconds()
			require.NoError(t, call())
			best[i] = min(best[i], (seconds()-begin)/float64(batches[i]))
		}
	}
	t.Logf("a row takes %.2f times as long in the larger batch", best[1]/best[0])
	require.Less(t, best[1], 2*best[0])
}
