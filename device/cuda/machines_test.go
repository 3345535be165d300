package cuda_test

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device"
	"bilevel/device/cuda"
	"bilevel/device/cuda/driver"
	"bilevel/device/cuda/sim"
	"bilevel/device/devicetest"
	"bilevel/internal/expr"
)

// described is a driver whose cards are described otherwise than they are.
type described struct {
	driver.Driver
	describe func([]driver.Card) []driver.Card
}

func (d *described) Cards() ([]driver.Card, error) {
	cards, err := d.Driver.Cards()
	return d.describe(cards), err
}

// A machine whose driver finds no card, and one whose driver is too old, are told apart in a sentence.
func TestMachinesWithoutAUsableCard(t *testing.T) {
	const old = "the NVIDIA driver is too old: it is made for CUDA 11.4, and the kernels need 12.2 (driver " +
		"535 or newer)"
	for _, c := range []struct {
		name    string
		version int
		cards   int
		want    string
	}{
		{"no card", 12020, 0, "device not available: cuda:0: the NVIDIA driver finds no card"},
		{"too old", 11040, 1, old},
	} {
		drv, err := sim.New()
		require.NoError(t, err)
		drv.Version = c.version
		d := &described{drv, func(cards []driver.Card) []driver.Card { return cards[:c.cards] }}
		_, err = newDevice(t, d)
		require.ErrorContains(t, err, c.want)
	}
}

// A card older than the kernels is missing, with the reason, when it is asked for by name; and passed over where any
// card will do.
func TestCardsTooOldForTheKernels(t *testing.T) {
	drv, err := sim.New("a100", "h100", "rtx4090")
	require.NoError(t, err)
	of := func(capabilities ...[2]int) driver.Driver {
		return &described{drv, func(cards []driver.Card) []driver.Card {
			for i, c := range capabilities {
				cards[i].Capability = c
			}
			return cards[:len(capabilities)]
		}}
	}
	const old = "is too old: it has compute capability 7.0, and the kernels need 8.0 (Ampere or newer)"
	_, err = newDevice(t, of([2]int{7, 0}))
	require.ErrorIs(t, err, device.ErrMissing)
	require.EqualError(t, err, "device not available: cuda:0: simulated A100 "+old)
	for _, c := range []struct {
		want         int
		capabilities [][2]int
	}{
		{0, [][2]int{{8, 0}}}, {0, [][2]int{{8, 6}, {9, 0}}}, {1, [][2]int{{7, 5}, {8, 0}}},
		{2, [][2]int{{7, 0}, {6, 1}, {10, 0}}}, {1, [][2]int{{5, 9}, {12, 1}}},
	} {
		n, err := cuda.Choose(of(c.capabilities...))
		require.NoError(t, err)
		require.Equal(t, c.want, n, "%v", c.capabilities)
	}
	_, err = cuda.Choose(of([2]int{7, 0}, [2]int{7, 5}))
	require.ErrorIs(t, err, device.ErrMissing)
	require.EqualError(t, err, "device not available: cuda:0: simulated A100 "+old+
		"; cuda:1: simulated H100 is too old: it has compute capability 7.5, and the kernels need 8.0 "+
		"(Ampere or newer)")
	_, err = cuda.Choose(of())
	require.ErrorIs(t, err, device.ErrMissing)
	require.EqualError(t, err, "device not available: cuda:0: the NVIDIA driver finds no card")
	drv.Version = 11040
	_, err = cuda.Choose(of([2]int{8, 0}))
	require.ErrorContains(t, err, "cuda:0: the NVIDIA driver is too old")
}

// A launch beyond the card's limits is refused when the program is prepared, with all names; nothing stays taken.
func TestLimitsOfTheCard(t *testing.T) {
	drv, err := sim.New()
	require.NoError(t, err)
	d, err := newDevice(t, &described{drv, func(cards []driver.Card) []driver.Card {
		cards[0].MaxGrid[0] = 3
		return cards
	}})
	require.NoError(t, err)
	x := upload(t, d, make([]float32, 100000)...)
	before := drv.Calls()
	_, err = d.Prepare(devicetest.Increment(x))
	require.Regexp(
		t,
		`^cuda:0: program "increment", instruction 0 \(Map of \[100000\], \[100000\]\): kernel map_\w+, grid \[\d+ 1 `+
			`1\], block \[\d+ 1 1\]: `+
			`\d+ blocks along x: simulated A100 takes 1 to 3$`,
		err,
	)
	require.Empty(t, difference(before, drv.Calls()), "nothing was loaded or captured")
	small := upload(t, d, 1)
	r, err := d.Prepare(devicetest.Increment(small))
	require.NoError(t, err)
	require.NoError(t, r.Run(1))
	require.Equal(t, []float32{2}, download(t, d, small))
	require.NoError(t, r.Close())
	d.Free(x)
	d.Free(small)
	shut(t, d)
}

// A process that prepares ever new expressions keeps the modules of the last ones only, and those in use.
func TestModulesAreBounded(t *testing.T) {
	const idle, many = 64, 150
	d, drv := open(t, late)
	x := upload(t, d, 1)
	add := func(c float64) *device.Program {
		p := devicetest.Increment(x)
		e := *p.Code[0].Attr.(device.MapAttr).Expr
		e.Steps = append([]expr.Step{}, e.Steps...)
		e.Steps[1].Const = c
		p.Code[0].Attr = device.MapAttr{Shape: []int{1}, Expr: &e}
		return p
	}
	loaded := func() int { return drv.Calls()["cuModuleLoadData"] - drv.Calls()["cuModuleUnload"] }
	used, err := d.Prepare(add(0.5))
	require.NoError(t, err)
	for i := range many {
		r, err := d.Prepare(add(float64(1 + i)))
		require.NoError(t, err)
		require.NoError(t, r.Run(i%2))
		require.NoError(t, r.Close())
		require.LessOrEqual(t, loaded(), 1+idle)
	}
	require.Equal(t, 1+idle, loaded())
	before := drv.Calls()["cuModuleLoadData"]
	for _, again := range []struct{ c, loads int }{{many, 0}, {many - idle + 1, 0}, {1, 1}} {
		r, err := d.Prepare(add(float64(again.c)))
		require.NoError(t, err)
		require.NoError(t, r.Run(1))
		require.NoError(t, r.Close())
		require.Equal(t, before+again.loads, drv.Calls()["cuModuleLoadData"], "number %d", again.c)
	}
	require.NoError(t, used.Run(1))
	require.Equal(t, []float32{1 + many*(many+2)/4 + many + many - idle + 1 + 1 + 0.5}, download(t, d, x))
	require.NoError(t, used.Close())
	d.Free(x)
	shut(t, d)
	require.Zero(t, loaded())
}

// newDevice opens card 0 of a driver.
func newDevice(t *testing.T, d driver.Driver) (*cuda.Device, error) {
	t.Helper()
	reached, err := reach(d)
	if err != nil {
		return nil, err
	}
	return cuda.New(reached, cuda.Options{Name: "cuda:0"})
}

// Several goroutines use two cards of one driver at once. They have more threads than there are processors, so that a
// thread goes from card to card: each entry must make its own context current.
func TestTwoCardsAtOnce(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(8 * runtime.NumCPU()))
	drv, err := sim.New("h100", "rtx4090")
	require.NoError(t, err)
	drv.Plain = true
	reached := through(t, drv)
	var cards [2]*cuda.Device
	for i := range cards {
		cards[i], err = cuda.New(reached, cuda.Options{Name: fmt.Sprint("cuda:", i), Card: i})
		require.NoError(t, err)
	}
	failed := make(chan error, 8)
	var all sync.WaitGroup
	for i := range cap(failed) {
		all.Go(func() {
			var err error
			for range 5 {
				sum, e := job(cards[i%2])
				if err = errors.Join(err, e); err == nil && sum != 9000 {
					err = fmt.Errorf("%g instead of 9000", sum)
				}
			}
			failed <- err
		})
	}
	all.Wait()
	close(failed)
	for err := range failed {
		require.NoError(t, err)
	}
	for _, d := range cards {
		shut(t, d)
	}
}

// All contexts of a card are one, which outlives a device where others use the card: closing a device gives back all
// that it took, also where it could not be opened whole.
func TestCloseLeavesNothing(t *testing.T) {
	held := func(drv *sim.Driver) map[string]int {
		left := map[string]int{}
		calls := drv.Calls()
		for _, pair := range [][2]string{
			{"cuDevicePrimaryCtxRetain", "cuDevicePrimaryCtxRelease"}, {"cuStreamCreate", "cuStreamDestroy"},
			{"cuEventCreate", "cuEventDestroy"}, {"cuMemHostAlloc", "cuMemFreeHost"}, {"cuMemAlloc", "cuMemFree"},
			{"cuModuleLoadData", "cuModuleUnload"},
		} {
			if n := calls[pair[0]] - calls[pair[1]]; n != 0 {
				left[pair[0]] = n
			}
		}
		return left
	}
	d, drv := open(t)
	_, err := job(d)
	require.NoError(t, err)
	x := upload(t, d, 1, 2)
	wait, err := d.Peek(x, 0)
	require.NoError(t, err)
	_, err = wait()
	require.NoError(t, err)
	_, err = d.Peek(x, 1) // which nobody waits for
	require.NoError(t, err)
	d.Free(x)
	require.NotEmpty(t, held(drv))
	shut(t, d)
	require.Empty(t, held(drv))

	full, err := sim.New()
	require.NoError(t, err)
	_, err = newDevice(t, refusesSecondEvent{full})
	require.ErrorContains(t, err, "cuda:0: cuEventCreate failed: out of memory")
	require.Empty(t, held(full))
}

// refusesSecondEvent is a driver that has one event only.
type refusesSecondEvent struct{ driver.Driver }

type oneEvent struct {
	driver.Context
	made *int
}

func (d refusesSecondEvent) Open(i int) (driver.Context, error) {
	c, err := d.Driver.Open(i)
	return oneEvent{c, new(int)}, err
}

func (c oneEvent) Event(timed bool) (driver.Event, error) {
	if *c.made++; *c.made > 1 {
		return nil, &driver.Error{Call: "cuEventCreate", Code: driver.OutOfMemory}
	}
	return c.Context.Event(timed)
}
