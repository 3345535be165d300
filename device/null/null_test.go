package null

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device"
)

func TestStatsFollowALifetime(t *testing.T) {
	d := New()
	x, err := d.Alloc(device.Real, 10)
	require.NoError(t, err)
	y, err := d.Alloc(device.Int, 5)
	require.NoError(t, err)
	require.Equal(t, Stats{Allocs: 2, LiveBuffers: 2, LiveBytes: 60, PeakBytes: 60}, d.Stats())

	require.NoError(t, d.Upload(x, 2, device.Float32s(make([]float32, 8))))
	require.NoError(t, d.Copy(x, 0, x, 5, 5))
	got := []int32{1, 2}
	require.NoError(t, d.Download(device.Int32s(got), y, 3))
	require.Equal(t, []int32{0, 0}, got)

	p := &device.Program{
		Name:    "cast",
		Buffers: []device.Buffer{x, y},
		Code: []device.Instr{
			{Op: device.Copy, In: []device.View{device.Dense(0, 0, 5)}, Out: []device.View{device.Dense(1, 0, 5)}},
		},
	}
	r, err := d.Prepare(p)
	require.NoError(t, err)
	require.NoError(t, r.Run(3))
	require.NoError(t, r.Run(4))
	require.NoError(t, d.Sync())
	require.Equal(t, 1, d.Stats().LiveRunners)
	require.NoError(t, r.Close())
	require.NoError(t, r.Close())
	require.Error(t, r.Run(1))

	d.Free(y)
	d.Free(y)
	d.Free(nil)
	require.Equal(t, Stats{
		Allocs: 2, Frees: 1, LiveBuffers: 1, LiveBytes: 40, PeakBytes: 60,
		Uploads: 1, UploadBytes: 32, Downloads: 1, DownloadBytes: 8, Copies: 1, Syncs: 1,
		Prepared: 1, Runs: 2, Repetitions: 7, Work: Work{Bytes: 7 * (20 + 20), Instructions: 7},
	}, d.Stats())

	require.NoError(t, d.Close())
	require.Zero(t, d.Stats().LiveBuffers)
	require.Error(t, d.Close())
}

func TestWhatCannotWorkFails(t *testing.T) {
	d, other := New(), New()
	x, _ := d.Alloc(device.Real, 4)
	freed, _ := d.Alloc(device.Real, 4)
	d.Free(freed)
	foreign, _ := other.Alloc(device.Real, 4)

	for _, b := range []device.Buffer{nil, freed, foreign} {
		require.Error(t, d.Upload(b, 0, device.Float32s(make([]float32, 1))))
		require.Error(t, d.Download(device.Float32s(make([]float32, 1)), b, 0))
		require.Error(t, d.Copy(b, 0, x, 0, 1))
		if b != nil { // what no instruction views may be nil
			_, err := d.Prepare(&device.Program{Buffers: []device.Buffer{b}})
			require.Error(t, err)
		}
	}
	require.Error(t, d.Upload(x, 0, device.Int32s(make([]int32, 1))), "types")
	require.Error(t, d.Upload(x, 2, device.Float32s(make([]float32, 3))), "range")
	_, err := d.Prepare(&device.Program{Buffers: []device.Buffer{x}, Code: []device.Instr{{Op: device.NumOp}}})
	require.Error(t, err, "a program that does not validate")
	_, err = d.Alloc(device.Real, -1)
	require.Error(t, err)
	_, err = d.Alloc(device.Real, 1<<60)
	require.True(t, errors.Is(err, device.ErrMemory))

	r, err := d.Prepare(&device.Program{Buffers: []device.Buffer{x}})
	require.NoError(t, err)
	d.Free(x)
	require.Error(t, r.Run(1), "a buffer freed under a runner")
	require.Zero(t, d.Stats().Uploads+d.Stats().Copies+d.Stats().Runs, "failures are not counted")
}

// A product of [2,3] and [3,4] whose second factor is one row repeated reads 6 + 4 numbers, writes 8 and has 24
// multiply-adds; two rows of a table of ten are read and written.
func TestWork(t *testing.T) {
	d := New()
	x, err := d.Alloc(device.Real, 100)
	require.NoError(t, err)
	index, err := d.Alloc(device.Int, 2)
	require.NoError(t, err)
	row := device.View{Buf: 0, Off: 10, Shape: []int{1, 3, 4}, Strides: []int{0, 0, 1}}
	r, err := d.Prepare(&device.Program{
		Name: "work", Buffers: []device.Buffer{x, index},
		Code: []device.Instr{
			{Op: device.Gemm, Attr: device.GemmAttr{}, In: []device.View{device.Dense(0, 0, 1, 2, 3), row},
				Out: []device.View{device.Dense(0, 20, 1, 2, 4)}},
			{Op: device.Gather, In: []device.View{device.Dense(0, 30, 10, 5), device.Dense(1, 0, 2)},
				Out: []device.View{device.Dense(0, 80, 2, 5)}},
		},
	})
	require.NoError(t, err)
	require.NoError(t, r.Run(10))
	require.Equal(t, Work{FLOP: 480, Bytes: 10 * 4 * (6 + 4 + 8 + 10 + 2 + 10), Instructions: 20}, d.Stats().Work)
}

// A meter counts what another device does, each repetition by itself.
func TestMeter(t *testing.T) {
	m := NewMeter(New())
	x, err := m.Alloc(device.Real, 10)
	require.NoError(t, err)
	r, err := m.Prepare(&device.Program{
		Name: "copy", Buffers: []device.Buffer{x},
		Code: []device.Instr{
			{Op: device.Copy, In: []device.View{device.Dense(0, 0, 5)}, Out: []device.View{device.Dense(0, 5, 5)}},
		},
	})
	require.NoError(t, err)
	require.NoError(t, r.Run(3))
	work, took := m.Done()
	require.Equal(t, Work{Bytes: 3 * (20 + 20), Instructions: 3}, work)
	require.Positive(t, took)
	require.NoError(t, r.Close())
	require.Error(t, r.Run(1))
	again, _ := m.Done()
	require.Equal(t, work, again, "failures are not counted")
}
