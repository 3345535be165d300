package ptx_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"bilevel/internal/ptx"
)

const sharedWord = `
mov.u32 %r1, s;
shl.b32 %r2, %t, 2;
add.u32 %r3, %r1, %r2;
`

// The address of a byte for each thread is in %r3, its index in %h1, and %p1 says whether it is the first of its word.
const ownByte = `
mov.u32 %r1, s;
add.u32 %r3, %r1, %t;
cvt.u16.u32 %h1, %t;
and.b32 %r2, %t, 3;
setp.eq.u32 %p1, %r2, 0;
`

// Each case has one fault; the statement with "// HERE" behind it is where a report must be. A race may be reported at
// its other end too, and as a read of what is not there yet; nothing else is.
func TestFaultsOfSnippets(t *testing.T) {
	const s64 = ".shared .align 8 .b8 s[256];"
	const global = ".global .align 4 .b8 g[4096];\n.global .u32 flag;"
	for name, c := range map[string]struct {
		kind ptx.Kind
		snippet
	}{
		"store past the end": {ptx.OutOfBounds,
			snippet{block: 32, bytes: 124, body: ownWord + "st.global.u32 [%d1], %t; // HERE"}},
		"null pointer": {ptx.OutOfBounds, snippet{bytes: 4, body: "ld.global.u32 %r1, [8]; // HERE"}},
		"below shared": {ptx.OutOfBounds,
			snippet{vars: s64, bytes: 4, body: "mov.u32 %r1, 0;\nst.shared.u32 [%r1+-4], %r1; // HERE"}},
		"past local": {ptx.OutOfBounds,
			snippet{vars: ".local .align 4 .b8 l[8];", bytes: 4,
				body: "mov.u64 %d1, l;\nst.local.u32 [%d1+8], %t; // HERE"}},
		"constant is stored": {ptx.OutOfBounds,
			snippet{module: ".const .u32 c = 3;", bytes: 4, body: "mov.u64 %d1, c;\nst.u32 [%d1], %t; // HERE"}},
		"misaligned vector": {ptx.Misaligned,
			snippet{bytes: 32, body: "ld.global.v4.u32 {%r1,%r2,%r3,%r4}, [%out+8]; // HERE"}},
		"misaligned shared": {ptx.Misaligned,
			snippet{vars: s64, bytes: 4, body: "mov.u32 %r1, s;\nst.shared.u64 [%r1+4], %out; // HERE"}},

		"global never written": {ptx.UninitializedRead,
			snippet{bytes: 8, raw: true, body: "ld.global.u32 %r1, [%out+4]; // HERE"}},
		"shared never written": {ptx.UninitializedRead,
			snippet{vars: s64, bytes: 4, body: "ld.shared.u32 %r1, [s+12];\nst.global.u32 [%out], %r1; // HERE"}},
		"register as value": {ptx.UninitializedRead,
			snippet{bytes: 4, body: "add.u32 %r1, %r2, 1;\nst.global.u32 [%out], %r1; // HERE"}},
		"register as address": {ptx.UninitializedRead, snippet{bytes: 4, body: "ld.global.u32 %r1, [%d3]; // HERE"}},
		"register in a branch": {ptx.UninitializedRead,
			snippet{bytes: 4, body: "setp.eq.u32 %p1, %r5, 3;\n@%p1 bra L; // HERE\nL:"}},
		"register of some lanes": {ptx.UninitializedRead, snippet{block: 32, bytes: 128, body: ownWord +
			"setp.lt.u32 %p1, %t, 16;\n@%p1 mov.u32 %r1, 1;\nst.global.u32 [%d1], %r1; // HERE"}},
		"local as value": {ptx.UninitializedRead, snippet{vars: ".local .align 4 .b8 l[8];", bytes: 4,
			body: "st.local.u32 [l], %t;\nld.local.u32 %r1, [l+4];\nst.global.u32 [%out], %r1; // HERE"}},
		"value through a shuffle": {ptx.UninitializedRead, snippet{block: 32, bytes: 128, body: ownWord +
			"setp.ne.u32 %p1, %t, 3;\n@%p1 mov.u32 %r1, 1;\nshfl.sync.bfly.b32 %r2, %r1, 1, 31, -1;\n" +
			"st.global.u32 [%d1], %r2; // HERE"}},

		"read after write of another warp": {ptx.SharedRace,
			snippet{vars: s64, block: 64, bytes: 256, body: ownWord + sharedWord +
				"st.shared.u32 [%r3], %t;\nxor.b32 %r2, %r2, 128;\nadd.u32 %r3, %r1, %r2;\n" +
				"ld.shared.u32 %r4, [%r3]; // HERE"}},
		"write after read of another warp": {ptx.SharedRace,
			snippet{vars: s64, block: 64, bytes: 256, body: ownWord + sharedWord +
				"st.shared.u32 [%r3], %t;\nbar.sync 0;\nxor.b32 %r2, %r2, 128;\nadd.u32 %r5, %r1, %r2;\n" +
				"ld.shared.u32 %r4, [%r5];\nst.shared.u32 [%r3], %r4; // HERE"}},
		"lanes without a warp barrier": {ptx.SharedRace,
			snippet{vars: s64, block: 32, bytes: 128, body: ownWord + sharedWord +
				"st.shared.u32 [%r3], %t;\nxor.b32 %r2, %r2, 4;\nadd.u32 %r3, %r1, %r2;\n" +
				"ld.shared.u32 %r4, [%r3]; // HERE"}},
		"lanes behind a barrier of others": {ptx.SharedRace,
			snippet{vars: s64, block: 32, bytes: 128, body: ownWord + sharedWord +
				"setp.lt.u32 %p1, %t, 16;\nselp.b32 %r6, 0xffff, 0xffff0000, %p1;\nst.shared.u32 [%r3], %t;\n" +
				"bar.warp.sync %r6;\nxor.b32 %r2, %r2, 64;\nadd.u32 %r3, %r1, %r2;\n" +
				"ld.shared.u32 %r4, [%r3]; // HERE"}},
		"byte of a word of another warp": {ptx.SharedRace, snippet{vars: s64, block: 64, bytes: 4, body: ownByte +
			"st.shared.u8 [%r3], %h1;\nbar.warp.sync -1;\nxor.b32 %r4, %t, 32;\nand.b32 %r4, %r4, 60;\n" +
			"add.u32 %r4, %r1, %r4;\nld.shared.u32 %r5, [%r4]; // HERE"}},
		"byte of another lane": {ptx.SharedRace, snippet{vars: s64, block: 4, bytes: 4, body: ownByte +
			"st.shared.u8 [%r3], %h1;\nxor.b32 %r4, %t, 1;\nadd.u32 %r4, %r1, %r4;\nld.shared.u8 %h2, [%r4]; // HERE"}},
		"word over bytes that others read": {ptx.SharedRace, snippet{vars: s64, block: 64, bytes: 4, body: ownByte + `
st.shared.u8 [%r3], %h1;
bar.sync 0;
ld.shared.u8 %h1, [%r3];
setp.eq.u32 %p1, %t, 0;
@%p1 st.shared.u32 [s+44], %t; // HERE`}},
		"byte of a word that another warp stored": {ptx.SharedRace,
			snippet{vars: s64, block: 64, bytes: 4,
				body: "setp.eq.u32 %p1, %t, 0;\n@%p1 st.shared.u32 [s], %t;\nsetp.eq.u32 %p2, %t, 32;\n" +
					"@%p2 ld.shared.u8 %h1, [s+1]; // HERE"}},
		"store after a load before the last": {ptx.SharedRace, snippet{vars: s64, block: 64, bytes: 4, body: `
setp.eq.u32 %p1, %t, 0;
@%p1 st.shared.u32 [s], %t;
bar.sync 0;
and.b32 %r1, %t, 31;
setp.eq.u32 %p2, %r1, 0;
@%p2 ld.shared.u32 %r2, [s];
setp.eq.u32 %p3, %t, 0;
@%p3 st.shared.u32 [s], %t; // HERE`}},
		"addresses that change in a loop": {ptx.SharedRace, snippet{vars: s64, block: 64, bytes: 4, body: sharedWord + `
st.shared.u32 [%r3], %t;
bar.sync 0;
setp.eq.u32 %p1, %t, 37;
@%p1 st.shared.u32 [s+20], %t;
setp.gt.u32 %p2, %t, 31;
@%p2 bra DONE;
mov.u32 %r4, 0;
LOOP:
mad.lo.u32 %r5, %r4, %r2, %r1;
ld.shared.u32 %r6, [%r5]; // HERE
add.u32 %r4, %r4, 1;
setp.lt.u32 %p3, %r4, 2;
@%p3 bra LOOP;
DONE:`}},
		"one instruction, different values": {ptx.SharedRace,
			snippet{vars: s64, block: 32, bytes: 4, body: "st.shared.u32 [s], %t; // HERE"}},
		"atomic after a store": {ptx.SharedRace,
			snippet{vars: s64, block: 64, bytes: 4,
				body: "setp.eq.u32 %p1, %t, 0;\n@%p1 st.shared.u32 [s], 0;\nbar.warp.sync -1;\n" +
					"setp.gt.u32 %p2, %t, 31;\n@%p2 atom.shared.add.u32 %r1, [s], 1; // HERE"}},
		"named barrier of others": {ptx.SharedRace, snippet{vars: s64, block: 96, bytes: 4, body: `
setp.lt.u32 %p1, %t, 32;
@%p1 st.shared.u32 [s], 7;
setp.ge.u32 %p2, %t, 64;
@%p2 bra LAST;
bar.sync 1, 64;
ret;
LAST:
ld.shared.u32 %r1, [s]; // HERE`}},
		"blocks store to one place": {ptx.GlobalRace,
			snippet{grid: 2, bytes: 4, body: "mov.u32 %r1, %ctaid.x;\nst.global.u32 [%out], %r1; // HERE"}},
		"warps without a barrier": {ptx.GlobalRace, snippet{module: global, block: 64, bytes: 256, body: ownWord + `
st.global.u32 [%d1], %t;
xor.b32 %r2, %t, 32;
mul.wide.u32 %d2, %r2, 4;
add.u64 %d2, %out, %d2;
ld.global.u32 %r3, [%d2]; // HERE`}},
		"flag with a fence for the block": {ptx.GlobalRace,
			snippet{module: global, grid: 2, block: 32, bytes: 4,
				body: flagged("membar.cta;") + "membar.gl;\nld.global.u32 %r3, [g]; // HERE\nDONE:"}},
		"flag without a fence": {ptx.GlobalRace,
			snippet{module: global, grid: 2, block: 32, bytes: 4,
				body: flagged("") + "membar.gl;\nld.global.u32 %r3, [g]; // HERE\nDONE:"}},
		"flag without the reader's fence": {ptx.GlobalRace,
			snippet{module: global, grid: 2, block: 32, bytes: 4,
				body: flagged("membar.gl;") + "ld.global.u32 %r3, [g]; // HERE\nDONE:"}},
		"reader's fence for the block": {ptx.GlobalRace,
			snippet{module: global, grid: 2, block: 32, bytes: 4,
				body: flagged("membar.gl;") + "membar.cta;\nld.global.u32 %r3, [g]; // HERE\nDONE:"}},

		"barrier for half a warp": {ptx.DivergentBarrier,
			snippet{block: 32, bytes: 4,
				body: "setp.lt.u32 %p1, %t, 16;\n@%p1 bar.sync 0; // HERE\nbar.warp.sync -1;"}},
		"barrier that a warp skips": {ptx.DivergentBarrier,
			snippet{block: 64, bytes: 4,
				body: "setp.lt.u32 %p1, %t, 32;\n@%p1 bra L;\nbar.sync 1;\nL:\nbar.sync 0; // HERE\n"}},
		"threads that exited": {ptx.DivergentBarrier,
			snippet{block: 64, bytes: 4, body: "setp.gt.u32 %p1, %t, 50;\n@%p1 exit;\nbar.sync 0; // HERE"}},
		"two instructions": {ptx.SplitBarrier,
			snippet{block: 64, bytes: 4,
				body: "setp.lt.u32 %p1, %t, 32;\n@%p1 bra L;\nbar.sync 0; // HERE\nbra M;\nL:\nbar.sync 0;\nM:"}},
		"two counts": {ptx.DivergentBarrier,
			snippet{block: 64, bytes: 4,
				body: "setp.lt.u32 %p1, %t, 32;\nselp.u32 %r1, 64, 96, %p1;\nbar.sync 1, %r1; // HERE"}},

		"shuffle from an exited lane": {ptx.InactiveLaneShuffle,
			snippet{block: 32, bytes: 4,
				body: "setp.gt.u32 %p1, %t, 15;\n@%p1 exit;\nshfl.sync.idx.b32 %r1, %t, 20, 31, -1; // HERE"}},
		"shuffle from no thread": {ptx.InactiveLaneShuffle,
			snippet{block: 24, bytes: 4, body: "shfl.sync.down.b32 %r1, %t, 8, 31, 0xffffff; // HERE"}},
		"shuffle in one branch": {ptx.InactiveLaneShuffle,
			snippet{block: 32, bytes: 4, body: "setp.gt.u32 %p1, %t, 15;\n@%p1 bra L;\n" +
				"shfl.sync.bfly.b32 %r1, %t, 1, 31, -1; // HERE\nL:\nbar.sync 0;"}},
		"lane not in its mask": {ptx.MismatchedMask,
			snippet{block: 32, bytes: 4, body: "vote.sync.ballot.b32 %r1, 1, 0x7fffffff; // HERE"}},
		"masks that differ": {ptx.MismatchedMask,
			snippet{block: 32, bytes: 4, body: "setp.lt.u32 %p1, %t, 8;\nselp.b32 %r1, -1, 0xffffff00, %p1;\n" +
				"match.any.sync.b32 %r2, %t, %r1; // HERE"}},
		"vote in one branch": {ptx.MismatchedMask,
			snippet{block: 32, bytes: 4, body: "setp.gt.u32 %p1, %t, 15;\n@%p1 bra L;\n" +
				"vote.sync.ballot.b32 %r1, 1, -1; // HERE\nL:\nbar.sync 0;"}},

		"copy without wait": {ptx.MissingAsyncWait,
			snippet{vars: s64, bytes: 4, body: "cp.async.ca.shared.global [s], [%out], 4;\ncp.async.commit_group;\n" +
				"ld.shared.u32 %r1, [s]; // HERE"}},
		"copy over what is known": {ptx.MissingAsyncWait,
			snippet{vars: s64, bytes: 4, body: "st.shared.u32 [s], %t;\ncp.async.ca.shared.global [s], [%out], 4;\n" +
				"cp.async.commit_group;\nld.shared.u32 %r1, [s]; // HERE"}},
		"copy behind a barrier": {ptx.MissingAsyncWait,
			snippet{vars: s64, bytes: 4, body: "st.shared.u32 [s], %t;\ncp.async.ca.shared.global [s], [%out], 4;\n" +
				"bar.sync 0;\nld.shared.u32 %r1, [s]; // HERE"}},
		"copy of a later group": {ptx.MissingAsyncWait, snippet{vars: s64, bytes: 8, body: `
cp.async.ca.shared.global [s], [%out], 4;
cp.async.commit_group;
cp.async.ca.shared.global [s+4], [%out+4], 4;
cp.async.commit_group;
cp.async.wait_group 1;
ld.shared.u32 %r1, [s];
ld.shared.u32 %r1, [s+4]; // HERE`}},
		"copy of another thread": {ptx.SharedRace,
			snippet{vars: s64, block: 64, bytes: 256, body: ownWord + sharedWord + `
cp.async.ca.shared.global [%r3], [%d1], 4;
cp.async.wait_all;
xor.b32 %r2, %r2, 128;
add.u32 %r3, %r1, %r2;
ld.shared.u32 %r4, [%r3]; // HERE`}},
		"copy over what others read": {ptx.SharedRace,
			snippet{vars: s64, block: 64, bytes: 256, body: ownWord + sharedWord + `
st.shared.u32 [%r3], %t;
bar.sync 0;
xor.b32 %r2, %r2, 128;
add.u32 %r5, %r1, %r2;
ld.shared.u32 %r4, [%r5];
cp.async.ca.shared.global [%r3], [%d1], 4; // HERE
cp.async.wait_all;`}},
		"sum of floats": {ptx.OrderDependentAtomic,
			snippet{block: 32, bytes: 4, body: "cvt.rn.f32.u32 %f1, %t;\nmul.f32 %f1, %f1, 0f3DCCCCCD;\n" +
				"red.global.add.f32 [%out], %f1; // HERE"}},
	} {
		t.Run(name, func(t *testing.T) {
			reports := c.reports(t)
			at := 0
			for i, l := range strings.Split(c.text(), "\n") {
				if strings.HasSuffix(l, "// HERE") {
					at = i + 1
				}
			}
			require.Contains(t, kinds(reports), fmt.Sprintf("%s:%d", c.kind, at), "%v\n%s", reports, c.text())
			race := c.kind == ptx.SharedRace || c.kind == ptx.GlobalRace
			for seed := range uint64(4) {
				found := false
				for _, r := range reports {
					found = found || r.Kind == c.kind
					require.True(t, r.Kind == c.kind || race && r.Kind == ptx.UninitializedRead ||
						strings.HasPrefix(name, "register as address"), "%v", r)
				}
				require.True(t, found, "seed %d", seed)
				c.opt.Seed = seed + 1
				reports = c.reports(t)
			}
		})
	}
}

// A copy lands at its wait: a barrier before that orders nothing, for words and for their bytes.
func TestCopiesLandAtTheirWait(t *testing.T) {
	for _, load := range []string{"ld.shared.u32 %r1, [s];", "ld.shared.u8 %h1, [s];"} {
		s := snippet{vars: ".shared .align 8 .b8 s[256];", block: 64, bytes: 4, body: `
setp.eq.u32 %p1, %t, 0;
@%p1 st.shared.u8 [s], %h0;
bar.sync 0;
@%p1 cp.async.ca.shared.global [s], [%out], 4;
bar.sync 0;
@%p1 cp.async.wait_all;
setp.eq.u32 %p2, %t, 32;
@%p2 ` + load}
		s.body = "mov.u16 %h0, 1;" + s.body
		reports := s.reports(t)
		require.Len(t, reports, 1)
		require.Equal(t, ptx.SharedRace, reports[0].Kind)
	}
}

func TestFreedMemoryIsToldApart(t *testing.T) {
	module, err := ptx.Load("x.ptx", snippet{body: "ld.global.u32 %r1, [%out+4];"}.text())
	require.NoError(t, err)
	m := ptx.NewMachine(ptx.Options{Sanitize: true})
	out, err := m.Alloc(64, "weights")
	require.NoError(t, err)
	require.NoError(t, m.Free(out))
	require.Error(t, m.Free(out))
	require.Error(t, m.Write(out, []byte{1}))
	again, err := m.Alloc(64, "weights")
	require.NoError(t, err)
	require.NotEqual(t, out, again)
	l := ptx.Launch{Kernel: module.Kernel("k"), Grid: line(1), Block: line(1),
		Args: [][]byte{binary.LittleEndian.AppendUint64(nil, out)}}
	res, err := m.Run(t.Context(), l)
	require.NoError(t, err)
	require.Len(t, res.Reports, 1)
	text, err := json.Marshal(res.Reports[0])
	require.NoError(t, err)
	assert.JSONEq(t,
		`{"kind": "use-after-free", "kernel": "k", "block": [0,0,0], "thread": [0,0,0], "file": "", "line": 0,
		"ptx_line": 17, "instruction": "ld.global.u32", "allocation": "weights", "offset": 4, "count": 1,
		"message": `+strconv.Quote(res.Reports[0].Message)+`}`, string(text))
}

// Without the sanitizer hardware's own faults end the launch.
func TestFaultsEndALaunchWithoutTheSanitizer(t *testing.T) {
	for kind, body := range map[ptx.Kind]string{
		ptx.OutOfBounds:      "st.global.u32 [%out+400], %t;",
		ptx.Misaligned:       "st.global.u32 [%out+2], %t;",
		ptx.DivergentBarrier: "setp.lt.u32 %p1, %t, 16;\n@%p1 bra L;\nbar.sync 0;\nL:\nbar.sync 1;",
	} {
		_, _, err := snippet{block: 32, bytes: 400, body: body}.run(t)
		var f *ptx.Fault
		require.ErrorAs(t, err, &f, kind)
		assert.Equal(t, kind, f.Report.Kind)
	}
}

// A fault in a called function is reported at the line of the kernel that called it, like one in an inlined function.
func TestReportsNameTheKernelsOwnLine(t *testing.T) {
	s := snippet{module: `.file 1 "kernel.cu"
.file 2 "library.h"
.func load_past(.param .b64 load_past_p)
{
.reg .b32 %r<2>;
.reg .b64 %d<2>;
.loc 2 100 1
ld.param.u64 %d1, [load_past_p];
ld.global.u32 %r1, [%d1+64];
ret;
}

.func twice(.param .b64 twice_p)
{
.reg .b64 %d<2>;
.loc 2 200 1
ld.param.u64 %d1, [twice_p];
{
.param .b64 x;
st.param.b64 [x], %d1;
call.uni load_past, (x);
}
ret;
}`, bytes: 64, body: `
.loc 1 7 1
{
.param .b64 x;
st.param.b64 [x], %out;
call.uni twice, (x);
}
.loc 1 8 1`}
	reports := s.reports(t)
	require.Len(t, reports, 1)
	assert.Equal(t, ptx.OutOfBounds, reports[0].Kind)
	assert.Equal(t, "kernel.cu", reports[0].File)
	assert.Equal(t, 7, reports[0].Line)
	assert.Equal(t, "out", reports[0].Allocation)
	assert.Equal(t, int64(64), *reports[0].Offset)
}
