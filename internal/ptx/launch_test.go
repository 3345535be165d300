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
		"9223372036854775807 bytes":   func(l *ptx.Launch) { l.Shared, l.SharedLimit = math.MaxInt, math.MaxInt },
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

// Local memory is taken for every thread of a block at once: what no card has is refused before.
func TestLocalMemoryIsLimited(t *testing.T) {
	for bytes, says := range map[int]string{512 << 10: "", 1 << 31: "its local variables take 2147483648 bytes"} {
		module, err := ptx.Load("x.ptx", snippet{vars: fmt.Sprintf(".local .b8 a[%d];", bytes)}.text())
		require.NoError(t, err)
		err = module.Kernel("k").Err()
		if says == "" {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, says)
		}
	}
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
