package cpudevice_test

import (
	"fmt"
	"math"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"bilevel/cpu"
	"bilevel/device"
	"bilevel/device/cpudevice"
	"bilevel/device/devicetest"
	"bilevel/internal/testrun"
)

func open(t testing.TB, threads int) device.Device {
	d := cpudevice.New(threads)
	t.Cleanup(func() { d.Close() })
	return d
}

// Every case by every set of instructions on several threads, and by the one that this machine takes on one thread.
// With -short the sets between plain Go and that one are left out, and so is one thread.
func TestConformance(t *testing.T) {
	for _, level := range cpu.Levels() {
		best := level == cpu.Detected()
		if testing.Short() && level != cpu.Generic && !best {
			continue
		}
		several := []int{3}
		if best && !testing.Short() {
			several = []int{1, 3}
		}
		for _, threads := range testrun.Size(several, []int{1, 3}) {
			t.Run(fmt.Sprintf("%s/threads=%d", level, threads), func(t *testing.T) {
				d := cpudevice.NewAt(threads, level)
				t.Cleanup(func() { d.Close() })
				for _, c := range devicetest.Cases() {
					t.Run(c.Name, func(t *testing.T) { require.NoError(t, c.Run(d)) })
				}
			})
		}
	}
}

// Convolutions and pools of any geometry.
func FuzzWindows(f *testing.F) {
	for i := range byte(3) { // every kind
		f.Add([]byte{i, 1, 0, 1, 4, 8, 2, 2, 1, 1, 0, 0, 1, 1, 1, 1, 5, 6}, false)
		f.Add([]byte{i, 0, 3, 2, 2, 1, 2, 1, 0, 1, 1, 0, 0, 2, 0, 1, 3, 4}, true)
	}
	d := open(f, 2)
	f.Fuzz(func(t *testing.T, numbers []byte, pool bool) {
		c := devicetest.ConvCase(numbers)
		if pool {
			c = devicetest.PoolCase(numbers)
		}
		require.NoError(t, c.Run(d), c.Name)
	})
}

func TestThreads(t *testing.T) {
	require.Equal(t, runtime.GOMAXPROCS(0), open(t, 0).Info().Threads)
	require.Equal(t, 3, open(t, 3).Info().Threads)
}

func TestCloseEndsTheThreads(t *testing.T) {
	before := runtime.NumGoroutine()
	require.NoError(t, cpudevice.New(9).Close())
	for range 1000 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
}

// upload allocates a Real buffer with contents.
func upload(t testing.TB, d device.Device, v ...float32) device.Buffer {
	b, err := d.Alloc(device.Real, len(v))
	require.NoError(t, err)
	require.NoError(t, d.Upload(b, 0, device.Float32s(v)))
	return b
}

func uploadInts(t testing.TB, d device.Device, v ...int32) device.Buffer {
	b, err := d.Alloc(device.Int, len(v))
	require.NoError(t, err)
	require.NoError(t, d.Upload(b, 0, device.Int32s(v)))
	return b
}

func download(t testing.TB, d device.Device, b device.Buffer) []float32 {
	v := make([]float32, b.Len())
	require.NoError(t, d.Download(device.Float32s(v), b, 0))
	return v
}

func TestRunRepeats(t *testing.T) {
	d := open(t, 2)
	x := upload(t, d, 1, 2, 3)
	r, err := d.Prepare(devicetest.Increment(x))
	require.NoError(t, err)
	require.NoError(t, r.Run(0))
	require.NoError(t, r.Run(5))
	require.NoError(t, r.Run(1))
	require.Equal(t, []float32{7, 8, 9}, download(t, d, x))
	require.Zero(t, testing.AllocsPerRun(100, func() { r.Run(3) }))
	require.NoError(t, r.Close())
	require.Error(t, r.Run(1))
}

func TestConcurrentRunsQueue(t *testing.T) {
	d := open(t, 3)
	x := upload(t, d, make([]float32, 100_000)...)
	r, err := d.Prepare(devicetest.Increment(x))
	require.NoError(t, err)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 10 {
				if err := r.Run(2); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, v := range download(t, d, x) {
		if v != 80 {
			t.Fatalf("got %v, want 80", v)
		}
	}
}

// A bad index is an error that names everything, and the device goes on.
func TestBadIndex(t *testing.T) {
	d := open(t, 1)
	table, idx, out := upload(t, d, 1, 2, 3), uploadInts(t, d, 0, 3), upload(t, d, 8, 9)
	r, err := d.Prepare(&device.Program{Name: "look-up", Buffers: []device.Buffer{table, idx, out},
		Code: []device.Instr{{
			Op: device.Gather, In: []device.View{device.Dense(0, 0, 3, 1), device.Dense(1, 0, 2)},
			Out: []device.View{device.Dense(2, 0, 2, 1)},
		}}})
	require.NoError(t, err)
	err = r.Run(1)
	require.ErrorIs(t, err, device.ErrIndex)
	for _, part := range []string{"look-up", "instruction 0", "Gather", "element 1 is 3", "3 rows"} {
		require.ErrorContains(t, err, part)
	}
	require.NoError(t, d.Upload(idx, 1, device.Int32s([]int32{2})))
	require.NoError(t, r.Run(1))
	require.Equal(t, []float32{1, 3}, download(t, d, out))
}

func TestMemoryRunsOut(t *testing.T) {
	d := open(t, 1)
	for _, n := range []int{math.MaxInt, 1 << 50, 1 << 42} {
		_, err := d.Alloc(device.Real, n)
		require.ErrorIs(t, err, device.ErrMemory)
	}
	_, err := d.Alloc(device.Real, -1)
	require.Error(t, err)
	require.NotErrorIs(t, err, device.ErrMemory)
}

func TestFree(t *testing.T) {
	d, other := open(t, 1), open(t, 1)
	x := upload(t, d, 1)
	r, err := d.Prepare(devicetest.Increment(x))
	require.NoError(t, err)
	other.Free(x) // not its own
	require.NoError(t, r.Run(1))
	d.Free(x)
	d.Free(x)
	d.Free(nil)
	require.Error(t, d.Upload(x, 0, device.Float32s([]float32{1})))
	require.Error(t, r.Run(1))
	_, err = d.Prepare(devicetest.Increment(x))
	require.Error(t, err)
}

func TestUseAfterClose(t *testing.T) {
	d := cpudevice.New(4)
	x := upload(t, d, 1)
	r, err := d.Prepare(devicetest.Increment(x))
	require.NoError(t, err)
	require.NoError(t, d.Close())
	d.Free(x)
	_, allocErr := d.Alloc(device.Real, 1)
	_, prepareErr := d.Prepare(devicetest.Increment(x))
	for _, err := range []error{
		allocErr, prepareErr, d.Sync(), d.Close(), r.Run(1),
		d.Upload(x, 0, device.Float32s([]float32{1})), d.Download(device.Float32s([]float32{1}), x, 0),
		d.Copy(x, 0, x, 0, 0),
	} {
		require.Error(t, err)
	}
}

// BenchmarkInstruction is what one tiny instruction costs within a program, and what calling a program costs.
func BenchmarkInstruction(b *testing.B) {
	d := open(b, 2)
	x := upload(b, d, 1, 2, 3)
	p := devicetest.Increment(x)
	for range 99 {
		p.Code = append(p.Code, p.Code[0])
	}
	r, err := d.Prepare(p)
	require.NoError(b, err)
	for b.Loop() {
		r.Run(1)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/instruction")
}
