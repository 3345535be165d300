package ptx_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"bilevel/internal/ptx"
)

func TestCountersOfASmallKernel(t *testing.T) {
	s := snippet{vars: ".shared .align 16 .b8 s[4096];", grid: 2, block: 48, bytes: 4096, body: ownWord + `
ld.global.f32 %f1, [%d1];
fma.rn.f32 %f1, %f1, %f1, %f1;
mul.wide.u32 %d2, %t, 32;
add.u64 %d2, %out, %d2;
ld.global.f32 %f2, [%d2];
mov.u32 %r1, s;
shl.b32 %r2, %t, 3;
add.u32 %r1, %r1, %r2;
st.shared.f32 [%r1], %f2;
bar.sync 0;
setp.lt.u32 %p1, %t, 8;
@%p1 bra L;
add.f32 %f1, %f1, %f2;
L:
red.global.add.u32 [%out+4000], 1;`}
	_, res, err := s.run(t)
	require.NoError(t, err)
	c := res.Counters
	assert.Equal(t, [3]uint64{2, 4, 96}, [3]uint64{c.Blocks, c.Warps, c.Threads})
	assert.Equal(t, uint64(2*(48*2+40)), c.FLOP32)
	assert.Equal(t, [2]uint64{4, 2}, [2]uint64{c.Branches, c.DivergentBranches})
	assert.Equal(t, uint64(4), c.Barriers)
	// A warp of 32 and one of 16 in each block: consecutive words, then one sector for each lane.
	assert.Equal(t, ptx.Requests{Requests: 8, Bytes: 2 * 2 * 192, Sectors: 2 * (4 + 2 + 32 + 16), Ideal: 2 * 2 * 6},
		c.GlobalLoads)
	assert.Equal(t, ptx.Banks{Requests: 4, Wavefronts: 2 * (2 + 1), Conflicts: 2}, c.Shared)
	assert.Equal(t, uint64(96), c.Atomics)
	assert.Equal(t, map[string]uint64{"out": 48*32 + 32}, c.UniqueBytes)
	assert.Equal(t, uint64(4), c.ByClass["barrier"])
	assert.Equal(t, uint64(4), c.ByClass["atomic"])
	sum := uint64(0)
	for _, n := range c.ByClass {
		sum += n
	}
	assert.Equal(t, c.WarpInstructions, sum)
	assert.InDelta(t, float64(c.ThreadInstructions)/float64(32*c.WarpInstructions), c.SIMTEfficiency, 1e-12)
	s.opt.Sanitize = true
	_, checked, err := s.run(t)
	require.NoError(t, err)
	assert.Equal(t, c, checked.Counters)
}

// What cp.async writes is a store of shared memory: 32 banks of 4 bytes, half a warp at a time for 8 bytes, a quarter
// for 16.
func TestCopiesStoreToShared(t *testing.T) {
	for name, c := range map[string]struct {
		lanes, size, apart int // lanes write size bytes each, so many bytes apart
		read               int // bytes that are read, zeros follow
		want               ptx.Banks
	}{
		"words, one a bank":                {32, 4, 4, 4, ptx.Banks{Requests: 1, Wavefronts: 1}},
		"words, two in every other bank":   {32, 4, 8, 4, ptx.Banks{Requests: 1, Wavefronts: 2, Conflicts: 1}},
		"words, all in one bank":           {32, 4, 128, 4, ptx.Banks{Requests: 1, Wavefronts: 32, Conflicts: 31}},
		"8 bytes, half a warp a row":       {32, 8, 8, 8, ptx.Banks{Requests: 1, Wavefronts: 2}},
		"8 bytes, half a warp in two rows": {32, 8, 16, 8, ptx.Banks{Requests: 1, Wavefronts: 4, Conflicts: 2}},
		"16 bytes, a quarter a row":        {32, 16, 16, 16, ptx.Banks{Requests: 1, Wavefronts: 4}},
		"16 bytes, a quarter in two rows":  {32, 16, 32, 16, ptx.Banks{Requests: 1, Wavefronts: 8, Conflicts: 4}},
		"16 bytes, three quarters":         {20, 16, 16, 16, ptx.Banks{Requests: 1, Wavefronts: 3}},
		"zeros":                            {32, 16, 32, 0, ptx.Banks{Requests: 1, Wavefronts: 8, Conflicts: 4}},
	} {
		t.Run(name, func(t *testing.T) {
			// Twice, the second time elsewhere: the addresses look the same but for the first.
			body := fmt.Sprintf(`
mul.wide.u32 %%d1, %%t, %d;
add.u64 %%d1, %%out, %%d1;
mov.u32 %%r1, s;
mad.lo.u32 %%r1, %%t, %d, %%r1;
mov.u32 %%r2, 0;
L:
cp.async.ca.shared.global [%%r1], [%%d1], %d, %d;
cp.async.wait_all;
add.u32 %%r1, %%r1, 4096;
add.u32 %%r2, %%r2, 1;
setp.lt.u32 %%p1, %%r2, 2;
@%%p1 bra L;`, c.size, c.apart, c.size, c.read)
			s := snippet{vars: ".shared .align 16 .b8 s[8192];", block: c.lanes, bytes: 512, body: body}
			_, res, err := s.run(t)
			require.NoError(t, err)
			c.want.Requests, c.want.Wavefronts, c.want.Conflicts = 2*c.want.Requests, 2*c.want.Wavefronts,
				2*c.want.Conflicts
			got := res.Counters
			assert.Equal(t, c.want, got.Shared)
			assert.Equal(t, uint64(2*c.lanes*c.size), got.Async)
			if c.read == 0 {
				return
			}
			n := uint64(c.lanes * c.size) // consecutive in global memory
			assert.Equal(t, ptx.Requests{Requests: 2, Bytes: 2 * n, Sectors: 2 * n / 32, Ideal: 2 * n / 32},
				got.GlobalLoads)
		})
	}
}

func TestResourcesAreReadLeniently(t *testing.T) {
	old := `ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'sgemm' for 'sm_80'
ptxas info    : Function properties for sgemm
    8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 63 registers, 8448 bytes smem, 392 bytes cmem[0]
ptxas info    : Compiling entry function '_Z3tinyv' for 'sm_80'
ptxas info    : Used 8 registers, used 1 barriers, 16 bytes smem`
	assert.Equal(t, map[string]ptx.Resources{
		"sgemm":    {Registers: 63, Shared: 8448, Stack: 8, SpillStores: 4, SpillLoads: 12},
		"_Z3tinyv": {Registers: 8, Shared: 16},
	}, ptx.ParseResources(old))
}

func TestEstimatesFollowTheRoofline(t *testing.T) {
	card, err := ptx.FindCard("a100")
	require.NoError(t, err)
	c := ptx.Counters{Blocks: 108 * 8, Warps: 108 * 8 * 8, UniqueBytes: map[string]uint64{"x": 2039e6, "y": 0}}
	e := ptx.NewEstimate(card, c, ptx.Resources{Registers: 32}, 0)
	assert.Equal(t, "dram", e.Limit)
	assert.InDelta(t, 1e-3+3e-6, e.Seconds, 1e-9)
	assert.Equal(t, 8, e.Resident)
	assert.InDelta(t, 1, e.Occupancy, 1e-12)
	assert.InDelta(t, 1, e.WaveLoss, 1e-12)

	c.FLOP32, c.Blocks, c.Warps = 39e9, 108*8+1, (108*8+1)*8
	e = ptx.NewEstimate(card, c, ptx.Resources{Registers: 32}, 0)
	assert.Equal(t, "fp32", e.Limit)
	assert.InDelta(t, 2e-3*2*864/865+3e-6, e.Seconds, 1e-7) // a second wave for one block

	// Registers and shared memory limit the blocks of an SM.
	assert.Equal(t, 2, ptx.NewEstimate(card, c, ptx.Resources{Registers: 128}, 0).Resident)
	assert.Equal(t, 1, ptx.NewEstimate(card, c, ptx.Resources{Registers: 32, Shared: 1 << 10}, 100<<10).Resident)
	_, err = ptx.FindCard("voodoo")
	assert.ErrorContains(t, err, "A100, H100, H200, B200, RTX4090")
}

func TestMemoryIsLimited(t *testing.T) {
	m := ptx.NewMachine(ptx.Options{Memory: 1000})
	a, err := m.Alloc(600, "a")
	require.NoError(t, err)
	for _, bytes := range []int64{401, math.MaxInt64} {
		_, err = m.Alloc(bytes, "b")
		assert.ErrorContains(t, err, "out of memory")
	}
	require.NoError(t, m.Free(a))
	_, err = m.Alloc(1000, "b")
	assert.NoError(t, err)
	assert.Equal(t, int64(1000), m.MemoryInUse())
}

// A sample of like blocks counts as all of them do; the others have not run.
func TestSampleOfBlocks(t *testing.T) {
	s := snippet{grid: 60, block: 32, bytes: 60 * 128, body: `
mov.u32 %r1, %ctaid.x;
mad.lo.u32 %r1, %r1, 32, %t;
mul.wide.u32 %d2, %r1, 4;
add.u64 %d2, %out, %d2;
ld.global.f32 %f1, [%d2];
fma.rn.f32 %f1, %f1, %f1, 0f3F800000;
st.global.f32 [%d2], %f1;`}
	all, want, err := s.run(t)
	require.NoError(t, err)
	for _, workers := range []int{1, 4} {
		s.opt.Sample, s.opt.Workers = 7, workers
		few, got, err := s.run(t)
		require.NoError(t, err)
		// Counts are rounded down.
		assert.Equal(t, want.Counters.Blocks, got.Counters.Blocks)
		assert.Equal(t, want.Counters.FLOP32, got.Counters.FLOP32)
		assert.Equal(t, want.Counters.WarpInstructions, got.Counters.WarpInstructions)
		assert.Equal(t, want.Counters.GlobalLoads, got.Counters.GlobalLoads)
		assert.Equal(t, want.Counters.UniqueBytes, got.Counters.UniqueBytes)
		ran := 0
		for i := range 60 {
			if few[32*i] == all[32*i] {
				ran++
			}
		}
		assert.Equal(t, 7, ran)
	}
}

// A card takes no less than its shortest kernel, and loads that wait for each other take their time, however few bytes
// they bring.
func TestEstimatesKnowLatency(t *testing.T) {
	card, err := ptx.FindCard("h100")
	require.NoError(t, err)
	c := ptx.Counters{Blocks: 1, Warps: 4, UniqueBytes: map[string]uint64{"x": 64}}
	e := ptx.NewEstimate(card, c, ptx.Resources{Registers: 32}, 0)
	assert.Equal(t, "overhead", e.Limit)
	assert.InDelta(t, card.Times.Least+card.Times.Launch, e.Seconds, 1e-12)

	// 4 warps, 25 loads each, of 128 bytes that are all new, one at a time: 25 times the latency of memory.
	c.GlobalLoads, c.LoadsAhead = ptx.Requests{Requests: 100, Sectors: 400}, 1
	c.UniqueBytes["x"] = 400 * 32
	e = ptx.NewEstimate(card, c, ptx.Resources{Registers: 32}, 0)
	assert.Equal(t, "latency", e.Limit)
	assert.InDelta(t, 25*card.Times.DRAM+card.Times.Launch, e.Seconds, 1e-12)
	c.LoadsAhead = 5
	e = ptx.NewEstimate(card, c, ptx.Resources{Registers: 32}, 0)
	assert.InDelta(t, 5*card.Times.DRAM, e.Terms["latency"], 1e-12)
}
