package cuda_test

import (
	"cmp"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device"
	"bilevel/device/cuda"
	"bilevel/device/cuda/driver"
	"bilevel/device/cuda/sim"
	"bilevel/device/devicetest"
	"bilevel/internal/expr"
	"bilevel/internal/ptx"
	"bilevel/internal/testrun"
)

// through is reach for drivers that it does not refuse.
func through(t testing.TB, d driver.Driver) driver.Driver {
	t.Helper()
	reached, err := reach(d)
	require.NoError(t, err)
	return reached
}

// open opens a card of a simulated driver of its own.
func open(t testing.TB, options ...func(*sim.Driver)) (*cuda.Device, *sim.Driver) {
	t.Helper()
	drv, err := sim.New()
	require.NoError(t, err)
	for _, o := range options {
		o(drv)
	}
	d, err := cuda.New(through(t, drv), cuda.Options{Name: "cuda-sim", Exact: true})
	require.NoError(t, err)
	return d, drv
}

// late makes a driver do its work when a call waits for it.
func late(d *sim.Driver) { d.Late = true }

// shut closes a device that must have nothing left.
func shut(t testing.TB, d *cuda.Device) {
	t.Helper()
	require.Zero(t, d.Statistics().InUse, "bytes in use")
	require.Zero(t, d.Statistics().Blocks, "blocks in use")
	require.NoError(t, d.Close())
}

func init() { testrun.CollectLess() }

func TestConformance(t *testing.T) {
	t.Parallel()
	d, _ := open(t)
	for _, c := range devicetest.Cases() {
		t.Run(c.Name, func(t *testing.T) { require.NoError(t, c.Run(d)) })
	}
	shut(t, d)
}

// A card has no convolutions yet, and says so with a way out.
func TestLacks(t *testing.T) {
	d, _ := open(t)
	require.Equal(t, []device.Op{device.Conv, device.Pool}, d.Info().Lacks)
	x := upload(t, d, 1, 2, 3, 4, 5)
	s := device.ConvShape{N: 1, H: 2, W: 1, C: 1, K: 1, R: 1, S: 1, StrideH: 1, StrideW: 1, DilationH: 1, DilationW: 1,
		Groups: 1}
	_, err := d.Prepare(&device.Program{Name: "net", Buffers: []device.Buffer{x}, Code: []device.Instr{{
		Op: device.Conv, Attr: device.ConvAttr{Shape: s},
		In:  []device.View{device.Dense(0, 0, 1, 2, 1, 1), device.Dense(0, 2, 1, 1, 1, 1)},
		Out: []device.View{device.Dense(0, 3, 1, 2, 1, 1)},
	}}})
	require.ErrorIs(t, err, device.ErrOperation)
	require.ErrorContains(t, err, `program "net", instruction 0 (Conv of [1 2 1 1], [1 1 1 1], [1 2 1 1])`)
	require.ErrorContains(t, err, d.Info().Name+" has no Conv yet, devices cpu and ref have")
	d.Free(x)
	shut(t, d)
}

// The suite again under other orders of blocks and warps, other readings of float instructions, and with cached memory.
// Each takes every thirty-second case, from another one on; BILEVEL_LONG takes them all, in twenty orders.
func TestConformanceOtherwise(t *testing.T) {
	if testing.Short() {
		t.Skip("long: one order and mode is enough with -short")
	}
	every, orders := testrun.Size(32, 1), testrun.Size(8, 20)
	type way struct {
		name string
		set  func(*sim.Driver)
	}
	ways := []way{
		{"pessimistic", func(d *sim.Driver) { d.Float, d.Seed = ptx.Pessimistic, 1 }},
		{"contract", func(d *sim.Driver) { d.Float = ptx.Contract }},
		{"late", late},
	}
	for seed := range uint64(orders) {
		ways = append(ways, way{fmt.Sprintf("seed %d", seed+1), func(d *sim.Driver) { d.Seed = seed + 1 }})
	}
	for i, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			drv, err := sim.New("h100")
			require.NoError(t, err)
			w.set(drv)
			d, err := cuda.New(through(t, drv), cuda.Options{Name: "cuda-sim", Exact: i%2 == 0})
			require.NoError(t, err)
			cases := devicetest.Cases()
			for k := i % every; k < len(cases); k += every {
				require.NoError(t, cases[k].Run(d), cases[k].Name)
			}
			shut(t, d)
		})
	}
}

func upload(t testing.TB, d device.Device, v ...float32) device.Buffer {
	t.Helper()
	b, err := d.Alloc(device.Real, len(v))
	require.NoError(t, err)
	require.NoError(t, d.Upload(b, 0, device.Float32s(v)))
	return b
}

func download(t testing.TB, d device.Device, b device.Buffer) []float32 {
	t.Helper()
	v := make([]float32, b.Len())
	require.NoError(t, d.Download(device.Float32s(v), b, 0))
	return v
}

// work is a program of several instructions and kernels: x ← x[index]; x ← x + 1; s ← Σ x², on 40 rows of 25.
func work(x, index, y, s device.Buffer) *device.Program {
	e := &expr.Expr{Steps: []expr.Step{{}, {Fn: expr.Mul}}, Outs: []int{1}}
	p := devicetest.Increment(x)
	p.Name, p.Buffers = "work", []device.Buffer{x, index, y, s}
	table := device.Dense(0, 0, 40, 25)
	p.Code = append([]device.Instr{
		{
			Op: device.Gather, In: []device.View{table, device.Dense(1, 0, 40)},
			Out: []device.View{device.Dense(2, 0, 40, 25)},
		},
		{Op: device.Copy, In: []device.View{device.Dense(2, 0, 40, 25)}, Out: []device.View{table}},
	}, p.Code...)
	p.Code = append(
		p.Code,
		device.Instr{
			Op:  device.Reduce,
			In:  []device.View{device.Dense(0, 0, 1000)},
			Out: []device.View{device.Dense(3, 0, 1)},
			Attr: device.ReduceAttr{
				Shape: []int{1000}, Expr: e, Axes: []int{0}, Kinds: []device.ReduceKind{device.Sum},
			},
		},
	)
	return p
}

// job runs work from beginning to end, three times over, and gives back what it took, whatever happens.
func job(d device.Device) (sum float32, err error) {
	var list []device.Buffer
	defer func() {
		for _, b := range list {
			d.Free(b)
		}
	}()
	for _, b := range []struct {
		t device.Type
		n int
	}{{device.Real, 1000}, {device.Int, 40}, {device.Real, 1000}, {device.Real, 1}} {
		buf, err := d.Alloc(b.t, b.n)
		if err != nil {
			return 0, err
		}
		list = append(list, buf)
	}
	if err := d.Upload(list[0], 0, device.Float32s(make([]float32, 1000))); err != nil {
		return 0, err
	}
	r, err := d.Prepare(work(list[0], list[1], list[2], list[3]))
	if err != nil {
		return 0, err
	}
	defer func() { err = cmp.Or(err, r.Close()) }()
	if err := r.Run(3); err != nil {
		return 0, err
	}
	out := make([]float32, 1)
	err = d.Download(device.Float32s(out), list[3], 0)
	return out[0], err
}

// difference counts what calls the driver got in between.
func difference(before, after map[string]int) map[string]int {
	d := map[string]int{}
	for name, n := range after {
		if n > before[name] {
			d[name] = n - before[name]
		}
	}
	return d
}

// A repetition is one call of the driver, whatever the program; nothing waits before Sync.
func TestCallsOfARun(t *testing.T) {
	d, drv := open(t)
	x, s := upload(t, d, make([]float32, 1000)...), upload(t, d, 0)
	y := upload(t, d, make([]float32, 1000)...)
	index, err := d.Alloc(device.Int, 40)
	require.NoError(t, err)
	r, err := d.Prepare(work(x, index, y, s))
	require.NoError(t, err)

	before := drv.Calls()
	require.NoError(t, r.Run(7))
	require.Equal(t, map[string]int{"cuGraphLaunch": 7}, difference(before, drv.Calls()))
	before = drv.Calls()
	require.NoError(t, d.Sync())
	require.Equal(
		t, map[string]int{"cuMemcpyDtoHAsync": 1, "cuStreamSynchronize": 1}, difference(before, drv.Calls()),
		"the fault word is read",
	)
	before = drv.Calls()
	require.NoError(t, d.Sync())
	require.Equal(t, map[string]int{"cuStreamSynchronize": 1}, difference(before, drv.Calls()))
	require.Equal(t, []float32{49000}, download(t, d, s))
	require.Zero(t, testing.AllocsPerRun(20, func() { require.NoError(t, d.Upload(s, 0, device.Float32s(nil))) }))

	require.NoError(t, r.Close())
	for _, b := range []device.Buffer{x, s, y, index} {
		d.Free(b)
	}
	shut(t, d)
}

// A bad index is an error that names everything, is told once, and the device goes on.
func TestBadIndex(t *testing.T) {
	d, _ := open(t)
	x, s := upload(t, d, make([]float32, 1000)...), upload(t, d, 0)
	y := upload(t, d, make([]float32, 1000)...)
	index, err := d.Alloc(device.Int, 40)
	require.NoError(t, err)
	require.NoError(t, d.Upload(index, 7, device.Int32s([]int32{40, -3})))
	r, err := d.Prepare(work(x, index, y, s))
	require.NoError(t, err)
	require.NoError(t, r.Run(2))
	err = d.Sync()
	require.ErrorIs(t, err, device.ErrIndex)
	require.ErrorContains(
		t, err,
		`cuda-sim: program "work", instruction 0: index out of range (Gather: element 7 is 40, the table has 40 rows)`,
	)
	require.NoError(t, d.Sync())
	require.NoError(t, r.Run(1))
	require.ErrorIs(t, r.Close(), device.ErrIndex, "closing is the last chance to tell")
	require.NoError(t, d.Sync())
	for _, b := range []device.Buffer{x, s, y, index} {
		d.Free(b)
	}
	shut(t, d)
}

// A bad k names the instruction too, and how many elements there are.
func TestBadK(t *testing.T) {
	d, _ := open(t)
	x := upload(t, d, 1, 2, 3)
	k, err := d.Alloc(device.Int, 2)
	require.NoError(t, err)
	r, err := d.Prepare(&device.Program{Name: "prune", Buffers: []device.Buffer{x, k}, Code: []device.Instr{{
		Op: device.Order, Attr: device.OrderAttr{Kind: device.KthLargest}, Out: []device.View{device.Dense(1, 1, 1)},
		In: []device.View{device.Dense(1, 0, 1), device.Dense(0, 0, 2), device.Dense(0, 2, 1)}}}})
	require.NoError(t, err)
	require.NoError(t, r.Run(1))
	require.EqualError(
		t, d.Sync(),
		`cuda-sim: program "prune", instruction 0: index out of range (Order: k is 0, there are 3 elements)`,
	)
	require.NoError(t, d.Upload(k, 0, device.Int32s([]int32{1})))
	require.NoError(t, r.Run(1))
	place := make([]int32, 1)
	require.NoError(t, d.Download(device.Int32s(place), k, 1))
	require.Equal(t, []int32{2}, place)
	require.NoError(t, r.Close())
	d.Free(x)
	d.Free(k)
	shut(t, d)
}

func TestTwoCards(t *testing.T) {
	drv, err := sim.New("h100", "rtx4090")
	require.NoError(t, err)
	var cards []*cuda.Device
	for i, name := range []string{"simulated H100", "simulated RTX4090"} {
		d, err := cuda.New(through(t, drv), cuda.Options{Name: fmt.Sprint("cuda:", i), Card: i})
		require.NoError(t, err)
		require.Contains(t, d.Info().Detail, name)
		require.True(t, d.Info().Async)
		cards = append(cards, d)
	}
	x := upload(t, cards[0], 1, 2)
	require.ErrorContains(t, cards[1].Upload(x, 0, device.Float32s([]float32{1})), "another device")
	_, err = cards[1].Prepare(devicetest.Increment(x))
	require.ErrorContains(t, err, "cuda:1")
	for _, d := range cards {
		sum, err := job(d)
		require.NoError(t, err)
		require.Equal(t, float32(9000), sum)
	}
	_, err = cuda.New(through(t, drv), cuda.Options{Name: "cuda:2", Card: 2})
	require.ErrorIs(t, err, device.ErrMissing)
	require.ErrorContains(t, err, "cuda:2: the NVIDIA driver finds 2 cards, numbered from 0")
	cards[0].Free(x)
	for _, d := range cards {
		shut(t, d)
	}
}

// Memory is kept for the next buffer of its size, and given back before an allocation fails.
func TestCaching(t *testing.T) {
	drv, err := sim.New()
	require.NoError(t, err)
	drv.Memory = 64 << 20
	d, err := cuda.New(through(t, drv), cuda.Options{Name: "cuda-sim"})
	require.NoError(t, err)
	x := upload(t, d, make([]float32, 1000)...)
	d.Free(x)
	y, err := d.Alloc(device.Int, 1020) // the same block: 4096 bytes
	require.NoError(t, err)
	s := d.Statistics()
	require.Equal(t, []int64{4096, 0, 4096}, []int64{s.InUse, s.Cached, s.Peak})
	require.Equal(t, []int{1, 2, 1}, []int{s.Blocks, s.Asked, s.Reused})
	d.Free(y)

	big, err := d.Alloc(device.Real, 10<<20)
	require.NoError(t, err)
	d.Free(big)
	require.EqualValues(t, 40<<20+4096, d.Statistics().Cached)
	big, err = d.Alloc(device.Real, 11<<20) // does not fit beside what is kept
	require.NoError(t, err)
	require.Zero(t, d.Statistics().Cached)
	_, err = d.Alloc(device.Real, 11<<20)
	require.ErrorIs(t, err, device.ErrMemory)
	require.ErrorContains(t, err, "cuda-sim: alloc of 11534336 elements")
	d.Free(big)
	shut(t, d)
}

// Kernels that count in 32 bits refuse what is beyond: a view may be large over a small buffer.
func TestTooLarge(t *testing.T) {
	d, _ := open(t)
	x := upload(t, d, 1)
	y, err := d.Alloc(device.Int, 1)
	require.NoError(t, err)
	_, err = d.Prepare(&device.Program{Name: "huge", Buffers: []device.Buffer{x, y}, Code: []device.Instr{
		{
			Op: device.Order, Attr: device.OrderAttr{},
			In:  []device.View{{Shape: []int{1, 1 << 32}, Strides: []int{0, 0}}},
			Out: []device.View{device.Dense(1, 0, 1)},
		},
	}})
	require.ErrorContains(
		t, err, `program "huge", instruction 0: Order takes fewer than 2^31 elements, not shape [1 4294967296]`,
	)
	d.Free(x)
	d.Free(y)
	shut(t, d)
}

// Transfers larger than the staging area go in parts, and none is overwritten before it is over.
func TestLargeTransfer(t *testing.T) {
	d, _ := open(t, late)
	v := make([]float32, 1<<21+77)
	for i := range v {
		v[i] = float32(i)
	}
	b := upload(t, d, v...)
	require.Equal(t, v, download(t, d, b))
	d.Free(b)
	shut(t, d)
}

func TestUseAfterFreeAndClose(t *testing.T) {
	d, _ := open(t)
	x := upload(t, d, 1)
	r, err := d.Prepare(devicetest.Increment(x))
	require.NoError(t, err)
	d.Free(x)
	d.Free(x)
	d.Free(nil)
	require.ErrorContains(t, r.Run(1), "freed")
	require.NoError(t, r.Close())
	require.ErrorContains(t, r.Run(1), "closed")
	x = upload(t, d, 1)
	r, err = d.Prepare(devicetest.Increment(x))
	require.NoError(t, err)
	require.NoError(t, d.Close()) // frees what is left
	d.Free(x)
	_, allocErr := d.Alloc(device.Real, 1)
	_, prepareErr := d.Prepare(devicetest.Increment(x))
	for _, err := range []error{allocErr, prepareErr, d.Sync(), d.Close(), r.Run(1),
		d.Upload(x, 0, device.Float32s([]float32{1})),
		d.Download(device.Float32s([]float32{1}), x, 0), d.Copy(x, 0, x, 0, 0)} {
		require.ErrorContains(t, err, "closed")
	}
	require.NoError(t, r.Close())
}
