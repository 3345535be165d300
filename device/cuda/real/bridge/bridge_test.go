//go:build cuda

package bridge_test

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/cu"

	"bilevel/device/cuda/driver"
	"bilevel/device/cuda/real"
	"bilevel/device/cuda/real/bridge"
	"bilevel/device/cuda/shim"
)

var card = driver.Card{
	Name: "a card", Capability: [2]int{9, 1}, Memory: 1 << 40, Processors: 3, ClockKHz: 4, MaxThreads: 5,
	MaxGrid: [3]int{6, 7, 8}, MaxShared: 9, MaxSharedMore: 10, DriverVersion: 12040,
}

// opened is card 0 of a fake, seen through the bridge.
func opened(t *testing.T) (*fake, driver.Context) {
	t.Helper()
	d := &fake{cards: []driver.Card{card}}
	through, err := bridge.Open(d)
	require.NoError(t, err)
	c, err := through.Open(0)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, c.Close())
		require.True(t, d.opened[0].closed)
		require.Error(t, c.Close())
	})
	return d, c
}

func kernel(t *testing.T, c driver.Context, name string) driver.Function {
	t.Helper()
	m, err := c.Load("good")
	require.NoError(t, err)
	f, err := m.Function(name)
	require.NoError(t, err)
	return f
}

func stream(t *testing.T, c driver.Context) driver.Stream {
	t.Helper()
	s, err := c.Stream()
	require.NoError(t, err)
	return s
}

func word(v uint32) []byte        { return binary.LittleEndian.AppendUint32(nil, v) }
func address(p driver.Ptr) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(p)) }

func TestCardsArriveWhole(t *testing.T) {
	second := card
	second.Name, second.Processors = "another", 33
	through, err := bridge.Open(&fake{cards: []driver.Card{card, second}})
	require.NoError(t, err)
	cards, err := through.Cards()
	require.NoError(t, err)
	second.DriverVersion = card.DriverVersion
	require.Equal(t, []driver.Card{card, second}, cards)

	c, err := through.Open(1)
	require.NoError(t, err)
	require.Equal(t, second, c.Card())
	require.NoError(t, c.Close())
	_, err = through.Open(2)
	var failed *driver.Error
	require.ErrorAs(t, err, &failed)
	require.Equal(t, driver.InvalidDevice, failed.Code)

	through, err = bridge.Open(&fake{})
	require.NoError(t, err)
	cards, err = through.Cards()
	require.NoError(t, err)
	require.Empty(t, cards)
}

func TestDriversOfOldAreRefused(t *testing.T) {
	old := card
	old.DriverVersion = 11080
	_, err := bridge.Open(&fake{cards: []driver.Card{old}})
	require.EqualError(
		t, err,
		"the NVIDIA driver is too old: it is made for CUDA 11.8, and the kernels need 12.2 (driver 535 or newer)",
	)
}

func TestMemoryGoesThereAndBack(t *testing.T) {
	d, c := opened(t)
	s := stream(t, c)
	const n = 1000
	from, err := c.Alloc(n)
	require.NoError(t, err)
	to, err := c.Alloc(n)
	require.NoError(t, err)
	host, err := c.Pinned(n)
	require.NoError(t, err)
	require.Len(t, d.opened[0].pinned, 1)
	back, err := c.Pinned(n)
	require.NoError(t, err)
	for i := range host {
		host[i] = byte(i * 7)
	}
	want := bytes.Clone(host)
	runtime.GC() // pinned memory stays where it is
	require.NoError(t, s.ToDevice(from, host))
	require.NoError(t, s.Copy(to, from, n))
	require.NoError(t, s.Fill(to+8, 0xdeadbeef, 2))
	require.NoError(t, s.ToHost(back, to))
	require.NoError(t, s.Synchronize())
	copy(want[8:], append(word(0xdeadbeef), word(0xdeadbeef)...))
	require.Equal(t, want, back)
	require.NoError(t, c.FreePinned(host))
	require.NoError(t, c.FreePinned(back))
	require.Error(t, c.FreePinned(back))
	require.Empty(t, d.opened[0].pinned)
	require.NoError(t, c.Free(from))
	require.NoError(t, c.Free(to))
	require.Empty(t, d.opened[0].memory)
	require.NoError(t, s.Close())
	require.Zero(t, d.opened[0].open)
}

func TestLaunchesArriveIntact(t *testing.T) {
	d, c := opened(t)
	s := stream(t, c)
	short := driver.Launch{
		Grid: [3]int{1, 2, 3}, Block: [3]int{4, 5, 6}, Shared: 7, Args: [][]byte{address(0), word(0xfedcba98), word(0)},
	}
	require.NoError(t, s.Launch(kernel(t, c, "add"), short))
	wide := driver.Launch{Grid: [3]int{1 << 30, 1, 1}, Block: [3]int{1, 1, 1024},
		Args: [][]byte{{1, 2}, bytes.Repeat([]byte{3, 5, 7}, 8), {9}}}
	require.NoError(t, s.Launch(kernel(t, c, "wide"), wide))
	require.Equal(t, []driver.Launch{short, wide}, d.opened[0].launches)

	more := kernel(t, c, "wide")
	wide.Shared = card.MaxShared + 1
	require.Error(t, s.Launch(more, wide))
	require.NoError(t, more.AllowShared(wide.Shared))
	require.NoError(t, s.Launch(more, wide))
}

func TestErrorsNameCallCodeAndSizes(t *testing.T) {
	d, c := opened(t)
	s := stream(t, c)
	text := func(err error, code driver.Code, want string) {
		t.Helper()
		var failed *driver.Error
		require.ErrorAs(t, err, &failed)
		require.Equal(t, code, failed.Code)
		require.EqualError(t, err, want)
	}
	_, err := c.Alloc(1 << 41)
	text(err, driver.OutOfMemory, "cuMemAlloc failed: out of memory: 2199023255552 bytes: the card is small")
	_, err = c.Load("bad")
	text(err, driver.InvalidPTX, "cuModuleLoadDataEx failed: invalid PTX: line 1: bad")
	m, err := c.Load("good")
	require.NoError(t, err)
	_, err = m.Function("none")
	text(err, driver.NotFound, "cuModuleGetFunction failed: not found: none: no kernel none")
	err = s.Launch(kernel(t, c, "fail"), driver.Launch{Grid: [3]int{1, 2, 3}, Block: [3]int{4, 5, 6}})
	text(err, driver.LaunchFailed, "cuLaunchKernel failed: the kernel failed: "+
		"fail, grid 1 x 2 x 3, block 4 x 5 x 6, 0 bytes of shared memory, 0 parameters: thread 3 read where nothing is")
	err = s.ToDevice(1, make([]byte, 3))
	text(
		err, driver.InvalidValue,
		"cuMemcpyHtoDAsync failed: an invalid value: 3 bytes: 0 of 3 bytes lie in an allocation",
	)

	require.NoError(t, m.Unload())
	text(m.Unload(), 400, "cuModuleUnload failed: an invalid handle: the module is closed")
	require.Empty(t, d.opened[0].memory)
}

func TestContextsStayApart(t *testing.T) {
	_, first := opened(t)
	_, second := opened(t)
	f := kernel(t, first, "fail")
	require.ErrorContains(t, stream(t, second).Launch(f, driver.Launch{}), "not of this context")
}

// The process has one set of entry points.
func TestTheTableIsFreeOnceContextsAreClosed(t *testing.T) {
	nothing := func() error { return nil }
	other, err := shim.New(nil, nil)
	require.NoError(t, err)
	t.Run("open", func(t *testing.T) {
		opened(t)
		require.ErrorIs(t, other.Select(false, nothing), shim.ErrBusy)
	})
	require.NoError(t, other.Select(false, nothing))
}

// The runtime ends a process that loses pinned memory.
func TestClosedContextsUnpin(t *testing.T) {
	t.Run("open", func(t *testing.T) {
		_, c := opened(t)
		_, err := c.Pinned(100)
		require.NoError(t, err)
	})
	for range 3 {
		runtime.GC()
	}
}

// What cuda.h asks of its callers, real always does: here cu is called without it.
func TestEntryPointsRefuseWrongContexts(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_, err := bridge.Open(&fake{cards: []driver.Card{card, card}})
	require.NoError(t, err)
	first, err := primary(0)
	require.NoError(t, err)
	s, err := cu.MakeStream(cu.NonBlocking)
	require.NoError(t, err)
	require.NoError(t, s.Synchronize())
	second, err := primary(1)
	require.NoError(t, err)
	require.EqualError(t, s.Synchronize(), cu.InvalidHandle.Error()) // second is current
	require.NoError(t, cu.SetCurrentContext(first))
	gone := first
	require.NoError(t, cu.Device(0).ReleasePrimaryCtx())
	_, err = cu.MemAlloc(1)
	require.EqualError(t, err, cu.InvalidContext.Error())
	require.EqualError(t, cu.SetCurrentContext(gone), cu.InvalidContext.Error())
	require.NoError(t, cu.SetCurrentContext(second))
	require.EqualError(t, s.Synchronize(), cu.InvalidHandle.Error()) // it went with its context
	require.NoError(t, cu.Device(1).ReleasePrimaryCtx())
	require.EqualError(t, cu.Device(1).ReleasePrimaryCtx(), cu.InvalidContext.Error())
}

// primary makes a card's primary context current.
func primary(card int) (cu.CUContext, error) {
	c, err := cu.Device(card).RetainPrimaryCtx()
	if err != nil {
		return c, err
	}
	return c, cu.SetCurrentContext(c)
}

func TestGraphsAreMadeAndReplayed(t *testing.T) {
	d, c := opened(t)
	s := stream(t, c)
	p, err := c.Alloc(8)
	require.NoError(t, err)
	require.NoError(t, s.Fill(p, 100, 2))
	add := kernel(t, c, "add")
	before, err := c.Event(true)
	require.NoError(t, err)
	after, err := c.Event(true)
	require.NoError(t, err)

	nodes := make([]driver.Node, 3)
	for i := range nodes {
		nodes[i] = driver.Node{Function: add, Launch: driver.Launch{
			Grid: [3]int{1 + i, 2, 3}, Block: [3]int{4, 5, 6}, Shared: i,
			Args: [][]byte{address(p), word(5), word(2)},
		}}
	}
	nodes[1].After, nodes[2].After = []int{0}, []int{0, 1}
	g, err := c.Graph(nodes)
	require.NoError(t, err)
	require.Equal(t, 3, g.Nodes())
	require.Len(t, d.opened[0].graphs, 1)
	for i, n := range d.opened[0].graphs[0] {
		require.Equal(t, nodes[i].Launch, n.Launch)
		require.Equal(t, nodes[i].After, n.After)
	}
	_, err = c.Graph([]driver.Node{nodes[0], {Function: add, After: []int{1}}})
	var at *driver.NodeError
	require.ErrorAs(t, err, &at)
	require.Equal(t, 1, at.Node)
	require.ErrorContains(t, err, "node 1 is to begin after node 1")
	wide := driver.Launch{Args: [][]byte{{1, 2}, make([]byte, 24), {3}}}
	_, err = c.Graph([]driver.Node{{Function: kernel(t, c, "wide"), Launch: wide}})
	require.ErrorContains(t, err, "too wide")
	require.Empty(t, d.opened[0].launches)

	require.NoError(t, s.Record(before))
	require.NoError(t, s.Replay(g))
	require.NoError(t, s.Replay(g))
	require.NoError(t, s.Record(after))
	require.NoError(t, after.Synchronize())
	require.Equal(t, 1, d.opened[0].waits)
	got := make([]byte, 8)
	require.NoError(t, s.ToHost(got, p))
	require.Equal(t, append(word(130), word(130)...), got)
	launches, err := after.Since(before)
	require.NoError(t, err)
	require.Equal(t, 6.0, launches)

	open := d.opened[0].open
	require.NoError(t, g.Close())
	require.NoError(t, before.Close())
	require.NoError(t, after.Close())
	require.Equal(t, open-3, d.opened[0].open)
	require.Error(t, s.Replay(g))
}

// Goroutines wander over threads; every entry makes its own context current.
func TestGoroutinesShareAContext(t *testing.T) {
	// more than there are: threads lose their goroutines in calls
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(8 * runtime.NumCPU()))
	contexts := make([]driver.Context, 2)
	for i := range contexts {
		_, contexts[i] = opened(t)
	}
	failed := make(chan error, 64)
	var all sync.WaitGroup
	for i := range 32 {
		all.Go(func() {
			c := contexts[i%2]
			s, err := c.Stream()
			for range 2000 {
				p, e := c.Alloc(4)
				got := make([]byte, 4)
				err = errors.Join(err, e, s.Fill(p, uint32(i), 1))
				runtime.Gosched()
				if err = errors.Join(err, s.ToHost(got, p), c.Free(p)); err == nil &&
					!bytes.Equal(got, word(uint32(i))) {
					err = errors.New("another goroutine's word")
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
}

// A program with the tag needs no driver to start, and says when there is none.
func TestProgramsStartWithoutADriver(t *testing.T) {
	f, err := elf.Open("/proc/self/exe")
	require.NoError(t, err)
	defer f.Close()
	libraries, err := f.ImportedLibraries()
	require.NoError(t, err)
	require.NotContains(t, libraries, "libcuda.so.1")

	d, err := real.New()
	if errors.Is(err, shim.ErrMissing) {
		require.ErrorContains(t, err, "there is no NVIDIA driver on this machine")
		if os.Getenv("REQUIRE_GPU") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	require.NoError(t, err)
	cards, err := d.Cards()
	require.NoError(t, err)
	if len(cards) == 0 {
		require.Empty(t, os.Getenv("REQUIRE_GPU"))
		t.Skip("there is a driver, but no card")
	}
	_, busy := opened(t)
	_, err = d.Open(0)
	require.ErrorIs(t, err, shim.ErrBusy)
	require.NoError(t, busy.Close())
	c, err := d.Open(0)
	require.NoError(t, err)
	require.NotZero(t, c.Card().Memory)
	require.NoError(t, c.Close())
}

// What was closed is refused before it comes to the driver, which would not notice.
func TestUseAfterClose(t *testing.T) {
	d, c := opened(t)
	s, other := stream(t, c), stream(t, c)
	e, err := c.Event(true)
	require.NoError(t, err)
	g, err := c.Graph(nil)
	require.NoError(t, err)
	m, err := c.Load("good")
	require.NoError(t, err)
	f, err := m.Function("wide")
	require.NoError(t, err)
	gone := func(what string, calls ...func() error) {
		t.Helper()
		for _, call := range calls {
			err := call()
			var failed *driver.Error
			require.ErrorAs(t, err, &failed)
			require.Equal(t, driver.InvalidHandle, failed.Code)
			require.Equal(t, what+" is closed", failed.Detail)
		}
	}
	require.NoError(t, g.Close())
	gone("the graph", g.Close, func() error { return s.Replay(g) })
	require.NoError(t, e.Close())
	gone(
		"the event", e.Close, e.Synchronize, func() error { return s.Record(e) },
		func() error { _, err := e.Since(e); return err },
	)
	require.NoError(t, m.Unload())
	gone(
		"the module", m.Unload, func() error { return f.AllowShared(1) },
		func() error { return s.Launch(f, driver.Launch{}) }, func() error { _, err := m.Function("wide"); return err },
		func() error { _, err := c.Graph([]driver.Node{{Function: f}}); return err },
	)
	require.NoError(t, s.Close())
	gone("the stream", s.Close, s.Synchronize, func() error { return s.Fill(1, 0, 1) })
	require.NoError(t, other.Close())
	require.Zero(t, d.opened[0].open)

	through, err := bridge.Open(&fake{cards: []driver.Card{card}})
	require.NoError(t, err)
	closed, err := through.Open(0)
	require.NoError(t, err)
	last := stream(t, closed)
	require.NoError(t, closed.Close())
	gone(
		"the context", closed.Close, last.Synchronize, last.Close,
		func() error { _, err := closed.Stream(); return err },
	)
}

// A driver without cards says so when it is initialised; the list is empty then.
func TestNoCard(t *testing.T) {
	through, err := bridge.Open(&fake{})
	require.NoError(t, err)
	_, err = through.Open(0)
	require.EqualError(t, err, "cuDeviceGet failed: no card")
}

// Options of the PTX compiler that the bridge does not follow are refused, not passed over.
func TestUnknownCompilerOptionsAreRefused(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_, err := bridge.Open(&fake{cards: []driver.Card{card}})
	require.NoError(t, err)
	_, err = primary(0)
	require.NoError(t, err)
	_, err = cu.LoadDataEx("good")
	require.NoError(t, err)
	_, err = cu.LoadDataEx("good", &cu.JITMaxRegisters{Value: 64})
	require.EqualError(t, err, cu.InvalidValue.Error())
	require.NoError(t, cu.Device(0).ReleasePrimaryCtx())
}

// Devices of one card share its primary context, which ends with the last of them; other cards have their own.
func TestPrimaryContextsAreShared(t *testing.T) {
	d := &fake{cards: []driver.Card{card, card}}
	through, err := bridge.Open(d)
	require.NoError(t, err)
	var list []driver.Context
	for _, i := range []int{0, 1, 0} {
		c, err := through.Open(i)
		require.NoError(t, err)
		list = append(list, c)
	}
	require.Len(t, d.opened, 2)
	p, err := list[0].Alloc(100)
	require.NoError(t, err)
	require.NoError(t, list[0].Close())
	require.False(t, d.opened[0].closed)
	require.NoError(t, list[2].Free(p), "the context of both")
	require.NoError(t, list[2].Close())
	require.True(t, d.opened[0].closed)
	require.False(t, d.opened[1].closed)
	require.NoError(t, list[1].Close())
	again, err := through.Open(0)
	require.NoError(t, err)
	require.Len(t, d.opened, 3)
	require.NoError(t, again.Close())
}
