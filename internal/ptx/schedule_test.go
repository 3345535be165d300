package ptx_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"bilevel/internal/ptx"
)

func TestLoopsOfDifferentLengthsConverge(t *testing.T) {
	s := snippet{block: 32, bytes: 4 * 32, body: ownWord + `
mov.u32 %r1, 0;
mov.u32 %r2, 0;
LOOP:
setp.ge.u32 %p1, %r1, %t;
@%p1 bra DONE;
mad.lo.u32 %r2, %r1, %r1, %r2;
add.u32 %r1, %r1, 1;
bra.uni LOOP;
DONE:
activemask.b32 %r3;
setp.eq.u32 %p2, %r3, 0xffffffff;
selp.u32 %r4, 1000000, 0, %p2;
add.u32 %r2, %r2, %r4;
st.global.u32 [%d1], %r2;`}
	want := sequence(32, func(i int) uint32 {
		sum := uint32(1000000) // all lanes are together again
		for k := range i {
			sum += uint32(k * k)
		}
		return sum
	})
	assert.Equal(t, want, s.results(t))
}

func TestNestedLoopsBreaksAndReturns(t *testing.T) {
	// for i in 0..t: for j in 0..: if j > i break; if i+j == 40 return; sum += j
	s := snippet{block: 64, bytes: 4 * 64, body: ownWord + `
mov.u32 %r1, 0;
mov.u32 %r2, 0;
OUTER:
setp.ge.u32 %p1, %r1, %t;
@%p1 bra DONE;
mov.u32 %r3, 0;
INNER:
setp.gt.u32 %p2, %r3, %r1;
@%p2 bra NEXT;
add.u32 %r4, %r1, %r3;
setp.eq.u32 %p3, %r4, 40;
st.global.u32 [%d1], %r2;
@%p3 ret;
add.u32 %r2, %r2, %r3;
add.u32 %r3, %r3, 1;
bra INNER;
NEXT:
add.u32 %r1, %r1, 1;
bra OUTER;
DONE:
st.global.u32 [%d1], %r2;`}
	want := sequence(64, func(n int) uint32 {
		sum := uint32(0)
		for i := range n {
			for j := 0; j <= i; j++ {
				if i+j == 40 {
					return sum
				}
				sum += uint32(j)
			}
		}
		return sum
	})
	assert.Equal(t, want, s.results(t))
}

func TestSpinLocksWithinAWarpMakeProgress(t *testing.T) {
	// The losers' loop lies below the winner's code: the lowest group alone would spin for ever.
	s := snippet{module: ".global .u32 lock;\n.global .u32 count;", grid: 3, block: 64, bytes: 4, body: `
TRY:
atom.global.cas.b32 %r1, [lock], 0, 1;
setp.ne.u32 %p1, %r1, 0;
@%p1 bra TRY;
ld.volatile.global.u32 %r2, [count];
add.u32 %r2, %r2, 1;
st.volatile.global.u32 [count], %r2;
membar.gl;
st.volatile.global.u32 [%out], %r2;
atom.global.exch.b32 %r1, [lock], 0;`}
	for _, workers := range []int{1, 3} {
		s.opt = ptx.Options{Workers: workers, Watchdog: 1 << 28}
		words, _, err := s.run(t)
		require.NoError(t, err)
		assert.Equal(t, uint32(192), words[0])
	}
}

func TestBlocksThatWaitForEachOtherMakeProgress(t *testing.T) {
	// Block 0 waits for the last block, though it starts first.
	s := snippet{module: ".global .u32 flag;", grid: 4, block: 32, bytes: 4 * 4 * 32, body: ownWord + `
mov.u32 %r1, %ctaid.x;
setp.eq.u32 %p1, %r1, 3;
@%p1 bra SET;
setp.ne.u32 %p2, %r1, 0;
@%p2 bra DONE;
WAIT:
ld.acquire.gpu.global.u32 %r2, [flag];
setp.eq.u32 %p3, %r2, 0;
@%p3 bra WAIT;
bra DONE;
SET:
st.release.gpu.global.u32 [flag], 7;
DONE:
mov.u32 %r4, 1;
st.global.u32 [%d1], %r4;`}
	for _, coop := range []bool{false, true} {
		for _, workers := range []int{1, 2} {
			s.coop, s.opt = coop, ptx.Options{Workers: workers, Watchdog: 1 << 28}
			words, _, err := s.run(t)
			require.NoError(t, err)
			assert.Equal(t, sequence(128, func(int) uint32 { return 1 }), words)
		}
	}
}

func TestBarriersWithCountsPassDataBetweenWarps(t *testing.T) {
	// Warp 0 produces for warp 1 through barrier 1; warps 2 and 3 go past.
	s := snippet{vars: ".shared .align 4 .b8 s[128];", block: 128, bytes: 4 * 128, body: ownWord + `
mov.u32 %r1, s;
and.b32 %r2, %t, 31;
shl.b32 %r3, %r2, 2;
add.u32 %r1, %r1, %r3;
mov.u32 %r5, 5;
setp.ge.u32 %p1, %t, 64;
@%p1 bra DONE;
setp.ge.u32 %p2, %t, 32;
@%p2 bra CONSUME;
mul.lo.u32 %r4, %t, 3;
st.shared.u32 [%r1], %r4;
bar.arrive 1, 64;
bra DONE;
CONSUME:
bar.sync 1, 64;
ld.shared.u32 %r5, [%r1];
DONE:
st.global.u32 [%d1], %r5;`}
	want := sequence(128, func(i int) uint32 {
		if i >= 32 && i < 64 {
			return uint32(3 * (i - 32))
		}
		return 5
	})
	assert.Equal(t, want, s.results(t))
}

func TestBarriersReduce(t *testing.T) {
	s := snippet{block: 96, bytes: 4 * 96, body: ownWord + `
setp.lt.u32 %p1, %t, 70;
bar.red.popc.u32 %r1, 0, %p1;
bar.red.and.pred %p2, 0, %p1;
bar.red.or.pred %p3, 0, !%p1;
selp.u32 %r2, 1000, 0, %p2;
selp.u32 %r3, 2000, 0, %p3;
add.u32 %r1, %r1, %r2;
add.u32 %r1, %r1, %r3;
st.global.u32 [%d1], %r1;`}
	assert.Equal(t, sequence(96, func(int) uint32 { return 2070 }), s.results(t))
}

func TestBarriersGoOnWithoutExitedThreads(t *testing.T) {
	s := snippet{block: 96, bytes: 4 * 96, body: ownWord + `
setp.gt.u32 %p1, %t, 40;
@%p1 exit;
bar.sync 0;
st.global.u32 [%d1], 1;
setp.gt.u32 %p1, %t, 20;
@%p1 exit;
bar.sync 0;
st.global.u32 [%d1], 2;`}
	words, _, err := s.run(t)
	require.NoError(t, err)
	assert.Equal(t, sequence(96, func(i int) uint32 {
		switch {
		case i > 40:
			return 0
		case i > 20:
			return 1
		}
		return 2
	}), words)
}

func TestWarpBarriersMeetAtDifferentPlaces(t *testing.T) {
	s := snippet{vars: ".shared .align 4 .b8 s[128];", block: 32, bytes: 4 * 32, body: ownWord + `
mov.u32 %r1, s;
shl.b32 %r2, %t, 2;
add.u32 %r3, %r1, %r2;
xor.b32 %r2, %r2, 64;
add.u32 %r4, %r1, %r2;
setp.lt.u32 %p1, %t, 16;
@%p1 bra LOW;
st.shared.u32 [%r3], %t;
bar.warp.sync -1;
bra DONE;
LOW:
st.shared.u32 [%r3], %t;
bar.warp.sync -1;
DONE:
ld.shared.u32 %r5, [%r4];
st.global.u32 [%d1], %r5;`}
	assert.Equal(t, sequence(32, func(i int) uint32 { return uint32(i ^ 16) }), s.results(t))
}

func TestCallsOfFunctions(t *testing.T) {
	s := snippet{module: `
.func (.param .b32 square_result) square(.param .b32 square_x)
{
.reg .b32 %r<4>;
.reg .pred %p<2>;
ld.param.u32 %r1, [square_x];
setp.gt.u32 %p1, %r1, 20;
@%p1 bra BIG;
mul.lo.u32 %r2, %r1, %r1;
st.param.b32 [square_result], %r2;
ret;
BIG:
st.param.b32 [square_result], %r1;
ret;
}
.func (.reg .u32 %sum) plus(.reg .u32 %a, .reg .u32 %b)
{
add.u32 %sum, %a, %b;
ret;
}`, block: 32, bytes: 4 * 32, body: ownWord + `
{
.param .b32 x;
.param .b32 y;
st.param.b32 [x], %t;
call.uni (y), square, (x);
ld.param.b32 %r1, [y];
}
setp.lt.u32 %p1, %t, 7;
@%p1 bra SMALL;
call (%r1), plus, (%r1, 100);
bra DONE;
SMALL:
call (%r1), plus, (%r1, %t);
DONE:
st.global.u32 [%d1], %r1;`}
	want := sequence(32, func(i int) uint32 {
		v := uint32(i * i)
		if i > 20 {
			v = uint32(i)
		}
		if i < 7 {
			return v + uint32(i)
		}
		return v + 100
	})
	assert.Equal(t, want, s.results(t))
}

func TestCarriesStayWithTheirLane(t *testing.T) {
	// (2^64 - 1 - t) + (t + odd) over two words, while the lanes part between the words.
	s := snippet{block: 32, bytes: 4 * 32, body: ownWord + `
not.b32 %r1, %t;
and.b32 %r2, %t, 1;
add.u32 %r3, %t, %r2;
add.cc.u32 %r4, %r1, %r3;
setp.eq.u32 %p1, %r2, 0;
@%p1 bra EVEN;
addc.u32 %r5, 10, 20;
bra DONE;
EVEN:
addc.u32 %r5, 30, 40;
DONE:
st.global.u32 [%d1], %r5;`}
	// not t + t = 2^32 - 1: no carry; one more carries.
	assert.Equal(t, sequence(32, func(i int) uint32 { return []uint32{70, 31}[i%2] }), s.results(t))
}

func TestGenericAddresses(t *testing.T) {
	s := snippet{module: ".const .align 4 .u32 table[4] = {11, 22, 33, 44};\n" +
		".global .align 8 .u64 pointer = generic(table);",
		vars: ".shared .align 4 .b8 s[128];\n.local .align 4 .b8 l[16];", block: 32, bytes: 4 * 32, body: ownWord + `
mov.u64 %d2, s;
cvta.shared.u64 %d2, %d2;
mul.wide.u32 %d3, %t, 4;
add.u64 %d2, %d2, %d3;
st.u32 [%d2], %t;
mov.u64 %d4, l;
cvta.local.u64 %d4, %d4;
add.u32 %r1, %t, 1;
st.u32 [%d4+8], %r1;
ld.u32 %r2, [%d2];
ld.u32 %r3, [%d4+8];
ld.local.u32 %r4, [l+8];
ld.global.u64 %d5, [pointer];
ld.u32 %r5, [%d5+4];
isspacep.shared %p1, %d2;
isspacep.local %p2, %d4;
isspacep.global %p3, %out;
isspacep.global %p4, %d2;
selp.u32 %r6, 100, 0, %p1;
selp.u32 %r7, 200, 0, %p2;
selp.u32 %r8, 400, 0, %p3;
selp.u32 %r9, 800, 0, %p4;
add.u32 %r2, %r2, %r3;
add.u32 %r2, %r2, %r4;
add.u32 %r2, %r2, %r5;
add.u32 %r2, %r2, %r6;
add.u32 %r2, %r2, %r7;
add.u32 %r2, %r2, %r8;
add.u32 %r2, %r2, %r9;
cvta.to.global.u64 %d1, %d1;
st.u32 [%d1], %r2;`}
	assert.Equal(t, sequence(32, func(i int) uint32 { return uint32(i + 2*(i+1) + 22 + 700) }), s.results(t))
}

func TestResultsDoNotDependOnWorkersOrSeed(t *testing.T) {
	s := snippet{module: ".global .u32 total;", vars: ".shared .align 4 .b8 s[256];", grid: 100, block: 64,
		bytes: 4 * 6400, body: ownWord + `
mov.u32 %r1, s;
shl.b32 %r2, %t, 2;
add.u32 %r3, %r1, %r2;
st.shared.u32 [%r3], %r30;
bar.sync 0;
xor.b32 %r2, %r2, 252;
add.u32 %r3, %r1, %r2;
ld.shared.u32 %r4, [%r3];
red.global.add.u32 [total], %r4;
st.global.u32 [%d1], %r4;`}
	want := sequence(6400, func(i int) uint32 { return uint32(i ^ 63) })
	var first *ptx.Result
	for _, workers := range []int{1, 2, 7} {
		for seed := range uint64(4) {
			s.opt = ptx.Options{Workers: workers, Seed: seed}
			words, res, err := s.run(t)
			require.NoError(t, err)
			require.Equal(t, want, words)
			if first == nil {
				first = res
			}
			require.Equal(t, first.Counters, res.Counters)
		}
	}
}

const endless = "LOOP:\nadd.u32 %r1, %t, 1;\nbra LOOP;"
