package sim_test

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device/cuda/driver"
	"bilevel/device/cuda/sim"
)

// addOne adds 1 to each of n floats; block is as large as it likes. Its shared memory is of the launch's size.
const addOne = `.version 8.2
.target sm_80
.address_size 64
.extern .shared .align 16 .b8 room[];
.visible .entry add_one(.param .u64 x, .param .u32 n)
{
	.reg .pred %p<2>; .reg .f32 %f<3>; .reg .b32 %r<6>; .reg .b64 %d<4>;
	ld.param.u64 %d1, [x]; ld.param.u32 %r1, [n];
	mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mov.u32 %r4, %tid.x;
	mad.lo.u32 %r5, %r2, %r3, %r4;
	setp.ge.u32 %p1, %r5, %r1;
	@%p1 ret;
	cvta.to.global.u64 %d1, %d1;
	mad.wide.u32 %d2, %r5, 4, %d1;
	ld.global.f32 %f1, [%d2];
	add.rn.f32 %f2, %f1, 0f3F800000;
	st.global.f32 [%d2], %f2;
	ret;
}`

type rig struct {
	t      *testing.T
	d      *sim.Driver
	c      driver.Context
	s      driver.Stream
	f      driver.Function
	x      driver.Ptr
	pinned []byte
}

const count = 100

func newRig(t *testing.T, options ...func(*sim.Driver)) *rig {
	d, err := sim.New("a100", "RTX 4090")
	require.NoError(t, err)
	for _, o := range options {
		o(d)
	}
	r := &rig{t: t, d: d}
	r.c, err = d.Open(0)
	require.NoError(t, err)
	r.s, err = r.c.Stream()
	require.NoError(t, err)
	m, err := r.c.Load(addOne)
	require.NoError(t, err)
	r.f, err = m.Function("add_one")
	require.NoError(t, err)
	r.x, err = r.c.Alloc(4 * count)
	require.NoError(t, err)
	r.pinned, err = r.c.Pinned(4 * count)
	require.NoError(t, err)
	require.NoError(t, r.s.Fill(r.x, 0, count))
	return r
}

func word(n uint32) []byte     { return binary.LittleEndian.AppendUint32(nil, n) }
func long(p driver.Ptr) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(p)) }

// plain is a launch that is right.
func (r *rig) plain() driver.Launch {
	return driver.Launch{Grid: [3]int{1, 1, 1}, Block: [3]int{128, 1, 1}, Args: [][]byte{long(r.x), word(count)}}
}

// first is the first float of x, as its bits.
func (r *rig) first() uint32 {
	require.NoError(r.t, r.s.ToHost(r.pinned, r.x))
	require.NoError(r.t, r.s.Synchronize())
	return binary.LittleEndian.Uint32(r.pinned)
}

func code(t *testing.T, err error) driver.Code {
	t.Helper()
	var e *driver.Error
	require.ErrorAs(t, err, &e)
	return e.Code
}

const one, two, three = 0x3f800000, 0x40000000, 0x40400000

// graph makes nodes of plain launches.
func (r *rig) graph(after ...[]int) (driver.Graph, error) {
	nodes := make([]driver.Node, len(after))
	for i := range nodes {
		nodes[i] = driver.Node{Function: r.f, Launch: r.plain(), After: after[i]}
	}
	return r.c.Graph(nodes)
}

// Making a graph does nothing; a replay does it all, by one call.
func TestGraphs(t *testing.T) {
	r := newRig(t)
	l := r.plain()
	g, err := r.c.Graph([]driver.Node{{Function: r.f, Launch: l}, {Function: r.f, Launch: r.plain(), After: []int{0}}})
	require.NoError(t, err)
	l.Args[1][0] = 0 // arguments were copied
	require.Equal(t, 2, g.Nodes())
	require.EqualValues(t, 0, r.first())
	before := r.d.Calls()
	require.NoError(t, r.s.Replay(g))
	require.Equal(t, before["cuLaunchKernel"], r.d.Calls()["cuLaunchKernel"])
	require.EqualValues(t, two, r.first())
	require.NoError(t, r.s.Launch(r.f, r.plain()))
	require.EqualValues(t, three, r.first())
	require.NoError(t, g.Close())
	require.NoError(t, r.c.Close())
}

// Nodes that use one word must be ordered, whatever the order in which they happened to run; a chain of others will do.
func TestDependencesNeedEdges(t *testing.T) {
	for _, c := range []struct {
		after [][]int
		bad   string
	}{
		{[][]int{nil, {0}, {1}}, ""},
		{[][]int{nil, {0}, {1, 0}}, ""},
		{[][]int{nil, {0}, {0}}, "nodes 1 (add_one"},
		{[][]int{nil, nil}, "nodes 0 (add_one"},
	} {
		for seed := range uint64(4) {
			r := newRig(t, func(d *sim.Driver) { d.Seed = seed })
			g, err := r.graph(c.after...)
			require.NoError(t, err)
			require.NoError(t, r.s.Replay(g))
			if err = r.s.Synchronize(); c.bad == "" {
				require.NoError(t, err)
				continue
			}
			require.Equal(t, driver.LaunchFailed, code(t, err))
			require.ErrorContains(t, err, "of a graph are not ordered, but both use word 0 of")
			if seed == 0 {
				require.ErrorContains(t, err, c.bad)
			}
		}
	}
}

// What hardware refuses is refused, and the context goes on.
func TestLimits(t *testing.T) {
	r := newRig(t)
	for what, change := range map[string]func(*driver.Launch){
		"no block":              func(l *driver.Launch) { l.Grid[0] = 0 },
		"too many along y":      func(l *driver.Launch) { l.Grid[1] = 65536 },
		"too many threads":      func(l *driver.Launch) { l.Block[0] = 1025 },
		"threads together":      func(l *driver.Launch) { l.Block = [3]int{64, 32, 1} },
		"a parameter less":      func(l *driver.Launch) { l.Args = l.Args[:1] },
		"a parameter too small": func(l *driver.Launch) { l.Args[0] = word(1) },
		"48 KiB":                func(l *driver.Launch) { l.Shared = 48<<10 + 1 },
	} {
		l := r.plain()
		change(&l)
		err := r.s.Launch(r.f, l)
		require.Equal(t, driver.InvalidValue, code(t, err), what)
		require.ErrorContains(t, err, "add_one, grid", what)
	}
	l := r.plain()
	l.Shared = 100 << 10
	require.Error(t, r.s.Launch(r.f, l))
	require.NoError(t, r.f.AllowShared(100<<10))
	require.NoError(t, r.s.Launch(r.f, l))
	require.Error(t, r.f.AllowShared(164<<10), "an A100 has 163 KiB for a block")
	require.EqualValues(t, one, r.first())

	require.ErrorContains(t, r.s.ToHost(make([]byte, 8), r.x), "not pinned")
	require.ErrorContains(t, r.s.ToDevice(r.x+4*count-4, r.pinned[:8]), "cuMemcpyHtoDAsync failed: an invalid value")
	require.Error(t, r.c.Free(r.x+4))
	require.Error(t, r.c.FreePinned(r.pinned[4:]))
	_, err := r.c.Alloc(81 << 30)
	require.Equal(t, driver.OutOfMemory, code(t, err))
	_, err = r.c.Load(".version 8.2\n.target sm_80\n.address_size 64\n.visible .entry k() { frobnicate.u32; }")
	require.Equal(t, driver.InvalidPTX, code(t, err))
	require.NoError(t, r.s.Synchronize())
	other, err := r.d.Open(1)
	require.NoError(t, err)
	foreign, err := other.Stream()
	require.NoError(t, err)
	require.ErrorContains(t, foreign.Launch(r.f, r.plain()), "another card")
	_, err = r.d.Open(2)
	require.Equal(t, driver.InvalidDevice, code(t, err))
}

// A fault of a kernel shows at the next call, and at every one after it.
func TestFaultsAreLate(t *testing.T) {
	for name, plain := range map[string]bool{"sanitizer": false, "hardware": true} {
		r := newRig(t, func(d *sim.Driver) { d.Plain = plain })
		l := r.plain()
		l.Args[1] = word(count + 1)
		require.NoError(t, r.s.Launch(r.f, l), name)
		err := r.s.Synchronize()
		require.ErrorContains(t, err, "add_one", name)
		require.ErrorContains(t, err, "out-of-bounds", name)
		var e *driver.Error
		require.ErrorAs(t, err, &e)
		require.True(t, e.Sticky())
		_, err = r.c.Alloc(4)
		require.Equal(t, e.Code, code(t, err))
		require.NoError(t, r.c.Close())
		require.Error(t, r.s.Synchronize())
	}
}

// Time is the estimate: it grows with work, and a faster card needs less.
func TestEvents(t *testing.T) {
	r := newRig(t)
	var events []driver.Event
	for range 3 {
		e, err := r.c.Event(true)
		require.NoError(t, err)
		events = append(events, e)
	}
	require.NoError(t, r.s.Record(events[0]))
	require.NoError(t, r.s.Launch(r.f, r.plain()))
	require.NoError(t, r.s.Record(events[1]))
	_, err := events[2].Since(events[0])
	require.ErrorContains(t, err, "not recorded")
	require.NoError(t, r.s.Launch(r.f, r.plain()))
	require.NoError(t, r.s.Launch(r.f, r.plain()))
	require.NoError(t, r.s.Record(events[2]))
	short, err := events[1].Since(events[0])
	require.NoError(t, err)
	longer, err := events[2].Since(events[1])
	require.NoError(t, err)
	require.Greater(t, short, 1e-3)
	require.InEpsilon(t, 2*short, longer, 1e-9)
}

// Late work waits for a call that waits for it, and an event for no more than came before it.
func TestLate(t *testing.T) {
	r := newRig(t, func(d *sim.Driver) { d.Late = true })
	e, err := r.c.Event(true)
	require.NoError(t, err)
	require.NoError(t, e.Synchronize(), "what was not recorded is over")
	require.NoError(t, r.s.Launch(r.f, r.plain()))
	require.NoError(t, r.s.ToHost(r.pinned[:4], r.x))
	require.NoError(t, r.s.Record(e))
	require.NoError(t, r.s.Launch(r.f, r.plain()))
	require.NoError(t, r.s.ToHost(r.pinned[4:8], r.x))
	require.Equal(t, word(0), r.pinned[:4])
	require.NoError(t, e.Synchronize())
	require.Equal(t, word(one), r.pinned[:4])
	require.Equal(t, word(0), r.pinned[4:8])
	require.NoError(t, r.s.Synchronize())
	require.Equal(t, word(two), r.pinned[4:8])

	copy(r.pinned, word(three))
	require.NoError(t, r.s.ToDevice(r.x, r.pinned[:4]))
	copy(r.pinned, word(one)) // too early
	require.EqualValues(t, one, r.first())

	m, err := r.c.Load(addOne)
	require.NoError(t, err)
	require.NoError(t, r.s.Launch(r.f, r.plain()))
	require.ErrorContains(t, m.Unload(), "work that may need the module is not over")
	l := r.plain()
	l.Args[1] = word(count + 1) // faults
	require.NoError(t, r.s.Launch(r.f, l))
	require.Equal(t, driver.LaunchFailed, code(t, r.c.Free(r.x)), "freeing waits, and tells")
	require.NoError(t, r.c.Close())
}

func TestNames(t *testing.T) {
	_, err := sim.New("h20")
	require.EqualError(
		t, err, `no simulated card "h20": the cards are a100, h100, h200, b200, rtx4090; did you mean "h200"?`,
	)
	d, err := sim.New()
	require.NoError(t, err)
	cards, err := d.Cards()
	require.NoError(t, err)
	require.Len(t, cards, 1)
	require.Equal(t, "simulated A100", cards[0].Name)
	require.Equal(t, [2]int{8, 0}, cards[0].Capability)
}

// What was closed is refused by every call, and the context goes on.
func TestUseAfterClose(t *testing.T) {
	r := newRig(t)
	e, err := r.c.Event(true)
	require.NoError(t, err)
	require.NoError(t, r.s.Record(e))
	g, err := r.graph(nil)
	require.NoError(t, err)
	gone := func(what string, calls ...func() error) {
		t.Helper()
		for _, call := range calls {
			err := call()
			require.Equal(t, driver.InvalidHandle, code(t, err))
			require.ErrorContains(t, err, what+" is closed")
		}
	}
	require.NoError(t, g.Close())
	gone("the graph", g.Close, func() error { return r.s.Replay(g) })
	require.NoError(t, e.Close())
	gone(
		"the event", e.Close, e.Synchronize, func() error { return r.s.Record(e) },
		func() error { _, err := e.Since(e); return err },
	)

	m, err := r.c.Load(addOne) // the same text again: it stays until both are unloaded
	require.NoError(t, err)
	f, err := m.Function("add_one")
	require.NoError(t, err)
	require.NoError(t, m.Unload())
	require.NoError(t, r.s.Launch(r.f, r.plain()))
	gone(
		"the module", m.Unload, func() error { return f.AllowShared(1) },
		func() error { return r.s.Launch(f, r.plain()) }, func() error { _, err := m.Function("add_one"); return err },
	)

	require.NoError(t, r.s.Synchronize())
	require.NoError(t, r.s.Close())
	gone("the stream", r.s.Close, r.s.Synchronize, func() error { return r.s.Fill(r.x, 0, 1) })
	require.NoError(t, r.c.Free(r.x))
	require.NoError(t, r.c.Close())
	gone("the context", r.c.Close, func() error { _, err := r.c.Alloc(4); return err })
}

// A node is checked when its graph is made, as a driver does.
func TestLimitsOfNodes(t *testing.T) {
	r := newRig(t)
	l := r.plain()
	l.Block[0] = 1025
	_, err := r.c.Graph([]driver.Node{{Function: r.f, Launch: r.plain()}, {Function: r.f, Launch: l}})
	require.Equal(t, driver.InvalidValue, code(t, err))
	var at *driver.NodeError
	require.ErrorAs(t, err, &at)
	require.Equal(t, 1, at.Node)
	_, err = r.graph([]int{0})
	require.ErrorContains(t, err, "node 0 is to begin after node 0")
}

// Each driver reads PTX up to the ISA of its own CUDA version.
func TestVersions(t *testing.T) {
	for version, reads := range map[int]bool{11040: false, 11080: false, 12010: false, 12020: true, 12040: true} {
		d, err := sim.New()
		require.NoError(t, err)
		d.Version = version
		cards, err := d.Cards()
		require.NoError(t, err)
		require.Equal(t, version, cards[0].DriverVersion)
		c, err := d.Open(0)
		require.NoError(t, err)
		_, err = c.Load(addOne)
		if reads {
			require.NoError(t, err)
			continue
		}
		require.Equal(t, driver.UnsupportedPTX, code(t, err))
		require.ErrorContains(t, err, "the text is PTX ISA 8.2, the driver reads up to ")
	}
}

// A text runs on the cards that its .target says, as with a real driver, and on a card described as older it does not.
func TestTargets(t *testing.T) {
	cards := []string{"a100", "rtx4090", "h100", "b200"} // 8.0, 8.9, 9.0, 10.0
	for target, runs := range map[string][]bool{
		"sm_50": {true, true, true, true}, "sm_80": {true, true, true, true}, "sm_86": {false, true, true, true},
		"sm_89": {false, true, true, true},
		"sm_90": {false, false, true, true}, "sm_90a": {false, false, true, false},
		"sm_100":  {false, false, false, true},
		"sm_100f": {false, false, false, true}, "sm_120": {false, false, false, false},
	} {
		d, err := sim.New(cards...)
		require.NoError(t, err)
		for i, want := range runs {
			c, err := d.Open(i)
			require.NoError(t, err)
			_, err = c.Load(strings.Replace(addOne, "sm_80", target, 1))
			if want {
				require.NoError(t, err, "%s on %s", target, cards[i])
				continue
			}
			var e *driver.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, driver.InvalidPTX, e.Code)
			require.ErrorContains(
				t, err, "the text is for "+target+", and the card has compute capability ", "%s on %s", target,
				cards[i],
			)
		}
	}
}
