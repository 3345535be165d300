package bench

import (
	"math"
	"slices"
	"testing"

	"bilevel/device"
	"bilevel/device/cpudevice"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
)

// counting is a device that counts the multiplications and additions of the products of matrices and of the
// convolutions in the programs that it prepares. Each kind of a convolution multiplies every weight with every place of
// the kernel, those that lie beyond the images counted.
type counting struct {
	device.Device
	flop float64
}

func (c *counting) Prepare(p *device.Program) (device.Runner, error) {
	for _, in := range p.Code {
		if in.Op == device.Gemm {
			c.flop += 2 * float64(in.Out[0].Size()) * float64(in.In[0].Shape[2])
		}
		if a, ok := in.Attr.(device.ConvAttr); ok {
			c.flop += 2 * float64(a.Shape.MultiplyAdds())
		}
	}
	return c.Device.Prepare(p)
}

// The work that a series reports is that of the matrix products which the device is told to compute, and twice the
// batch is twice the work.
func TestScalingWork(t *testing.T) {
	dev := cpudevice.New(1)
	defer dev.Close()
	for _, s := range scalingSeries() {
		before := math.NaN()
		for _, at := range (Scaling{Largest: 128}).sizes(s, 3) {
			w, flop := s.workload(at)
			c := &counting{Device: dev}
			ex := tensor.NewExecutor(c)
			_, err := w.Prepare(ex)
			require.NoError(t, err)
			require.NoError(t, ex.Close())
			require.Equal(t, c.flop, flop, "%s %d", s.Key, at)
			if s.Axis == "batch" && at > s.from {
				require.Equal(t, 2*before, flop)
			}
			before = flop
		}
	}
}

func TestScalingSizes(t *testing.T) {
	batches, widths, threads := scalingSeries()[0], scalingSeries()[1], scalingSeries()[2]
	all := Scaling{Largest: LargestScale}
	require.Equal(t, []int{16, 32, 64, 128, 256, 512, 1024, 2048, 4096}, all.sizes(batches, 2))
	require.Equal(t, []int{32, 64}, Scaling{Largest: 127}.sizes(widths, 2))
	for most, want := range map[int][]int{1: {1}, 2: {1, 2}, 6: {1, 2, 4, 6}, 8: {1, 2, 4, 8}} {
		require.Equal(t, want, Scaling{Largest: 32}.sizes(threads, most))
	}
}

// In proportion to the work per thread are twice the time for twice the work, and half the time on twice the threads.
func TestScalingInProportion(t *testing.T) {
	batch, threads := &ScalingSeries{Axis: "batch"}, &ScalingSeries{Axis: overThreads}
	require.Equal(t, 6.0, batch.inProportion(
		ScalingPoint{At: 64, Milliseconds: 3, Flop: 1000}, ScalingPoint{At: 128, Flop: 2000}))
	require.Equal(t, 1.5, threads.inProportion(
		ScalingPoint{At: 2, Milliseconds: 3, Flop: 1000}, ScalingPoint{At: 4, Flop: 1000}))
}

// A loop that has run once allocates nothing when it runs again. A call of 64 iterations of a solver uploads
// minibatches and step sizes, for which it may allocate fewer objects than one in four iterations.
func TestHotLoopsLeaveNoGarbage(t *testing.T) {
	dev := cpudevice.New(2)
	defer dev.Close()
	for _, w := range slices.Concat(squares()[:1], networks()[:5], cleaning()) {
		ex := tensor.NewExecutor(dev)
		p, err := w.Prepare(ex)
		require.NoError(t, err)
		objects := testing.AllocsPerRun(3, func() {
			if p.Call() != nil {
				panic("call")
			}
		})
		if p.Per == 1 {
			require.Zero(t, objects, w.Key)
		}
		require.Less(t, objects, max(1, 0.25*float64(p.Per)), w.Key)
		require.NoError(t, ex.Close())
	}
}
