package ptx_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"bilevel/internal/ptx"
	"bilevel/internal/ptx/arith/exact"
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

func TestTheWatchdogEndsALaunch(t *testing.T) {
	_, _, err := snippet{block: 32, bytes: 4, grid: 4, body: endless, opt: ptx.Options{Watchdog: 1 << 18}}.run(t)
	var f *ptx.Fault
	require.ErrorAs(t, err, &f)
	assert.Equal(t, ptx.Timeout, f.Report.Kind)
	s := snippet{block: 32, bytes: 4, body: endless, opt: ptx.Options{Watchdog: 1 << 18}}
	reports := s.reports(t)
	require.Len(t, reports, 1)
	assert.Equal(t, ptx.Timeout, reports[0].Kind)
}

func TestAContextEndsALaunch(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	counting := "LOOP:\nadd.u32 %r1, %r1, 1;\nbra LOOP;" // a launch that repeats itself ends as one without progress
	_, _, err := snippet{block: 64, bytes: 4, grid: 4, body: counting}.runContext(t, ctx)
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	stopped, stop := context.WithCancelCause(t.Context())
	why := errors.New("why")
	stop(why)
	_, _, err = snippet{block: 32, bytes: 4}.runContext(t, stopped)
	assert.ErrorIs(t, err, why)
}

func TestATrapEndsTheLaunchOfAllBlocks(t *testing.T) {
	s := snippet{block: 32, bytes: 4, grid: 64, opt: ptx.Options{Workers: 4}, body: `
mov.u32 %r1, %ctaid.x;
setp.ne.u32 %p1, %r1, 5;
@%p1 bra LOOP;
trap;
` + endless}
	_, _, err := s.run(t)
	var f *ptx.Fault
	require.ErrorAs(t, err, &f)
	assert.Equal(t, ptx.Trap, f.Report.Kind)
	assert.Equal(t, [3]int{5, 0, 0}, f.Report.Block)
}

// Shared memory that nobody has written holds no zeros, in no block.
func TestSharedMemoryDoesNotStartAtZero(t *testing.T) {
	s := snippet{vars: ".shared .align 4 .b8 s[4];", grid: 2, bytes: 8, body: `
ld.shared.u32 %r1, [s];
st.shared.u32 [s], 0;
mov.u32 %r2, %ctaid.x;
mul.wide.u32 %d1, %r2, 4;
add.u64 %d1, %out, %d1;
st.global.u32 [%d1], %r1;`}
	words, _, err := s.run(t)
	require.NoError(t, err)
	require.NotContains(t, words, uint32(0))
}

func TestUnsupportedInstructionsAreAllNamed(t *testing.T) {
	text := snippet{body: "tex.2d.v4.f32.f32 {%f1,%f2,%f3,%f4}, [%d1, {%f1,%f2}];\nadd.sat.u32 %r1, %r2, %r3;\n" +
		"brkpt;\ncall malloc, (%r1, %r2);"}.text()
	module, err := ptx.Load("x.ptx", text+".visible .entry sound()\n{\nret;\n}\n")
	require.NoError(t, err)
	require.Len(t, module.Kernels(), 2)
	require.NoError(t, module.Kernel("sound").Err())
	_, err = ptx.NewMachine(ptx.Options{}).Run(t.Context(),
		ptx.Launch{Kernel: module.Kernel("sound"), Grid: line(1), Block: line(1)})
	require.NoError(t, err, "what is wrong with one kernel does not concern another")
	_, err = ptx.NewMachine(ptx.Options{}).Run(t.Context(),
		ptx.Launch{Kernel: module.Kernel("k"), Grid: line(1), Block: line(1), Args: [][]byte{make([]byte, 8)}})
	require.ErrorIs(t, err, module.Kernel("k").Err())
	for _, want := range []string{"x.ptx", "tex.2d.v4.f32.f32", "add.sat.u32", "brkpt", "malloc", "kernel k", "line 17",
		"line 20"} {
		assert.ErrorContains(t, err, want)
	}
}

func TestLaunchesOutsideTheLimitsAreRefused(t *testing.T) {
	module, err := ptx.Load("x.ptx", snippet{}.text())
	require.NoError(t, err)
	k := module.Kernel("k")
	good := func() ptx.Launch {
		return ptx.Launch{Kernel: k, Grid: line(1), Block: line(32), Args: [][]byte{make([]byte, 8)}}
	}
	for name, spoil := range map[string]func(l *ptx.Launch){
		"grid.y is 65536":             func(l *ptx.Launch) { l.Grid[1] = 65536 },
		"grid.x is 0":                 func(l *ptx.Launch) { l.Grid[0] = 0 },
		"block.z is 65":               func(l *ptx.Launch) { l.Block[2] = 65 },
		"2048 threads":                func(l *ptx.Launch) { l.Block = [3]int{1024, 2, 1} },
		"49153 bytes":                 func(l *ptx.Launch) { l.Shared = 48<<10 + 1 },
		"at most 166912":              func(l *ptx.Launch) { l.Shared, l.SharedLimit = 164<<10, 1<<20 },
		"0 arguments":                 func(l *ptx.Launch) { l.Args = nil },
		"argument 0 (k_out) has 4":    func(l *ptx.Launch) { l.Args[0] = l.Args[0][:4] },
		"a cooperative launch of 100": func(l *ptx.Launch) { l.Cooperative, l.Grid = true, line(100000) },
	} {
		l := good()
		spoil(&l)
		_, err := ptx.NewMachine(ptx.Options{}).Run(t.Context(), l)
		assert.ErrorContains(t, err, name)
	}
	l := good()
	l.Shared, l.SharedLimit = 100<<10, 100<<10
	_, err = ptx.NewMachine(ptx.Options{}).Run(t.Context(), l)
	assert.NoError(t, err, fmt.Sprint(l))
}

func TestDevicePrintf(t *testing.T) {
	var out strings.Builder
	s := snippet{module: ".extern .func (.param .b32 func_retval0) vprintf(.param .b64 p0, .param .b64 p1);\n" +
		// "%d %5.2f %llx %% %s\n"
		".global .align 1 .b8 format[21] = {37, 100, 32, 37, 53, 46, 50, 102, 32, 37, 108, 108, 120, 32, 37, 37, 32, " +
		"37, 115, 10};\n.global .align 1 .b8 word[3] = {104, 105};", // "hi"
		vars: ".local .align 8 .b8 args[32];", block: 2, bytes: 4, opt: ptx.Options{Output: &out}, body: `
sub.s32 %r1, %t, 1;
st.local.u32 [args], %r1;
mov.f64 %d3, 0d4005BF0A8B145769;
st.local.f64 [args+8], %d3;
mov.u64 %d4, 0x123456789a;
st.local.u64 [args+16], %d4;
mov.u64 %d5, word;
st.local.u64 [args+24], %d5;
mov.u64 %d1, format;
cvta.global.u64 %d1, %d1;
mov.u64 %d2, args;
cvta.local.u64 %d2, %d2;
{
.param .b64 p0;
.param .b64 p1;
.param .b32 r;
st.param.b64 [p0], %d1;
st.param.b64 [p1], %d2;
call.uni (r), vprintf, (p0, p1);
ld.param.b32 %r2, [r];
}
st.global.u32 [%out], %r2;`}
	words, _, err := s.run(t)
	require.NoError(t, err)
	assert.Equal(t, uint32(4), words[0])
	assert.Equal(t, "-1  2.72 123456789a % hi\n0  2.72 123456789a % hi\n", out.String())
	out.Reset()
	s.opt.Sanitize = true
	_, res, err := s.run(t)
	require.NoError(t, err)
	assert.Empty(t, res.Reports)
}

func TestContractFusesWhatPtxasMay(t *testing.T) {
	const x, y, z = 0x3f800001, 0x3f800003, 0xbf800004 // x y + z: 2^-46 and more is lost when the product is rounded
	for name, c := range map[string]struct {
		body string
		want func(a, b, c float32) float32
		same bool // contract changes nothing
	}{
		"sum": {"mul.f32 %f4, %f1, %f2;\nadd.f32 %f5, %f4, %f3;",
			func(a, b, c float32) float32 { return exact.FMA32(a, b, c) }, false},
		"sum, other order": {"mul.f32 %f4, %f1, %f2;\nadd.f32 %f5, %f3, %f4;",
			func(a, b, c float32) float32 { return exact.FMA32(a, b, c) }, false},
		"product minus": {"neg.f32 %f3, %f3;\nmul.f32 %f4, %f1, %f2;\nsub.f32 %f5, %f4, %f3;",
			func(a, b, c float32) float32 { return exact.FMA32(a, b, c) }, false},
		"minus product": {"neg.f32 %f3, %f3;\nmul.f32 %f4, %f1, %f2;\nsub.f32 %f5, %f3, %f4;",
			func(a, b, c float32) float32 { return exact.FMA32(-a, b, -c) }, false},
		"rounding modifier": {"mul.rn.f32 %f4, %f1, %f2;\nadd.f32 %f5, %f4, %f3;",
			func(a, b, c float32) float32 { return float32(a*b) + c }, true},
		"used twice": {"mul.f32 %f4, %f1, %f2;\nadd.f32 %f5, %f4, %f3;\nadd.f32 %f6, %f4, %f4;",
			func(a, b, c float32) float32 { return float32(a*b) + c }, true},
		"another block": {"mul.f32 %f4, %f1, %f2;\nL:\nadd.f32 %f5, %f4, %f3;",
			func(a, b, c float32) float32 { return float32(a*b) + c }, true},
		"operand changed": {"mul.f32 %f4, %f1, %f2;\nmov.f32 %f1, %f2;\nadd.f32 %f5, %f4, %f3;",
			func(a, b, c float32) float32 { return float32(a*b) + c }, true},
	} {
		s := snippet{bytes: 4,
			body: fmt.Sprintf("mov.b32 %%f1, 0x%x;\nmov.b32 %%f2, 0x%x;\nmov.b32 %%f3, 0x%x;\n%s\n"+
				"st.global.f32 [%%out], %%f5;", x, y, z, c.body)}
		exact := s.results(t)[0]
		s.opt.Float = ptx.Contract
		fused := s.results(t)[0]
		want := c.want(math.Float32frombits(x), math.Float32frombits(y), math.Float32frombits(z))
		assert.Equal(t, math.Float32bits(want), fused, name)
		assert.Equal(t, c.same, exact == fused, name)
	}
}
