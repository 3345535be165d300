package ptx_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"bilevel/internal/ptx"
)

// flagged passes g from block 1 to block 0 through flag, with the given fence between the store and the flag.
func flagged(fence string) string {
	return `
mov.u32 %r1, %ctaid.x;
setp.ne.u32 %p1, %t, 0;
@%p1 bra DONE;
setp.eq.u32 %p1, %r1, 0;
@%p1 bra WAIT;
st.global.u32 [g], 5;
` + fence + `
st.volatile.global.u32 [flag], 1;
bra DONE;
WAIT:
ld.volatile.global.u32 %r2, [flag];
setp.eq.u32 %p2, %r2, 0;
@%p2 bra WAIT;
`
}

// Patterns that are right, and that a coarser check would report.
func TestCleanSnippets(t *testing.T) {
	const s64 = ".shared .align 8 .b8 s[256];"
	const global = ".global .align 4 .b8 g[4096];\n.global .u32 flag;"
	for name, s := range map[string]snippet{
		"flag with a fence": {module: global, grid: 2, block: 32, bytes: 4,
			body: flagged("membar.gl;") + "membar.gl;\nld.global.u32 %r3, [g];\nDONE:"},
		"flag passed on": {module: global + "\n.global .u32 second;", grid: 3, bytes: 4, body: `
mov.u32 %r1, %ctaid.x;
setp.eq.u32 %p1, %r1, 1;
@%p1 bra FIRST;
setp.eq.u32 %p1, %r1, 2;
@%p1 bra SECOND;
LAST:
ld.acquire.gpu.global.u32 %r2, [second];
setp.eq.u32 %p2, %r2, 0;
@%p2 bra LAST;
ld.global.u32 %r3, [g];
bra DONE;
FIRST:
st.global.u32 [g], 5;
st.release.gpu.global.u32 [flag], 1;
bra DONE;
SECOND:
ld.acquire.gpu.global.u32 %r2, [flag];
setp.eq.u32 %p2, %r2, 0;
@%p2 bra SECOND;
st.release.gpu.global.u32 [second], 1;
DONE:`},
		"sums before and after a barrier": {block: 64, bytes: 4, body: `
mov.f32 %f1, 0f3DCCCCCD;
mov.f32 %f2, 0f4B800000;
setp.eq.u32 %p1, %t, 40;
setp.eq.u32 %p2, %t, 3;
@%p1 red.global.add.f32 [%out], %f2;
bar.sync 0;
@%p2 red.global.add.f32 [%out], %f1;
bar.sync 0;
neg.f32 %f2, %f2;
@%p1 red.global.add.f32 [%out], %f2;`},
		"release and acquire": {module: global, grid: 2, bytes: 4,
			body: strings.NewReplacer("st.volatile.global", "st.release.gpu.global", "ld.volatile.global",
				"ld.acquire.gpu.global").Replace(flagged("")) + "ld.global.u32 %r3, [g];\nDONE:"},
		"one value by all": {vars: s64, block: 64, bytes: 4,
			body: "mov.u32 %r1, 1;\nst.shared.u32 [s], %r1;\nst.global.u32 [%out], %r1;"},
		"atomics of all": {vars: s64, block: 64, grid: 3, bytes: 4,
			body: "setp.eq.u32 %p1, %t, 0;\n@%p1 st.shared.u32 [s], 0;\nbar.sync 0;\nred.shared.add.u32 [s], 1;\n" +
				"red.global.add.u32 [%out], 1;"},
		"bytes of one word": {block: 64, bytes: 64,
			body: "cvt.u64.u32 %d1, %t;\nadd.u64 %d1, %d1, %out;\nst.global.u8 [%d1], %t;"},
		"bytes of one shared word, twice": {vars: s64, block: 4, bytes: 4, body: ownByte +
			"st.shared.u8 [%r3], %h1;\nld.shared.u8 %h1, [%r3];\nadd.u16 %h1, %h1, 1;\nst.shared.u8 [%r3], %h1;\n" +
			"ld.shared.u8 %h1, [%r3];\nst.shared.u8 [%r3], %h1;"},
		"bytes, then words": {vars: s64, block: 64, grid: 3, bytes: 4, body: ownByte +
			"st.shared.u8 [%r3], %h1;\nbar.sync 0;\nand.b32 %r4, %t, 60;\nadd.u32 %r4, %r1, %r4;\n" +
			"ld.shared.u32 %r5, [%r4];\nbar.sync 0;\n@%p1 st.shared.u32 [%r4], %r5;\nbar.sync 0;\n" +
			"ld.shared.u8 %h1, [%r3];\nbar.sync 0;\nst.shared.u8 [%r3], %h1;"},
		"undefined but unused": {bytes: 4,
			body: "add.u32 %r2, %r1, 1;\nsetp.eq.u32 %p1, %t, 0;\nselp.u32 %r3, 7, %r2, %p1;\n" +
				"st.global.u32 [%out], %r3;"},
		"exact sum of floats": {block: 64, grid: 4, bytes: 4,
			body: "cvt.rn.f32.u32 %f1, %t;\nred.global.add.f32 [%out], %f1;"},
		"two floats commute": {block: 2, bytes: 4,
			body: "cvt.rn.f32.u32 %f1, %t;\nadd.f32 %f1, %f1, 0f3DCCCCCD;\nred.global.add.f32 [%out], %f1;"},
		"tiles with their masks": {vars: s64, block: 32, bytes: 128,
			body: ownWord + sharedWord + "setp.lt.u32 %p1, %t, 16;\nselp.b32 %r6, 0xffff, 0xffff0000, %p1;\n" +
				"st.shared.u32 [%r3], %t;\nbar.warp.sync %r6;\nxor.b32 %r2, %r2, 32;\nadd.u32 %r3, %r1, %r2;\n" +
				"ld.shared.u32 %r4, [%r3];\nshfl.sync.bfly.b32 %r5, %r4, 4, 31, %r6;\nst.global.u32 [%d1], %r5;"},
		"copies in two groups": {vars: s64, bytes: 8,
			body: "cp.async.ca.shared.global [s], [%out], 4;\ncp.async.commit_group;\n" +
				"cp.async.ca.shared.global [s+4], [%out+4], 4;\ncp.async.commit_group;\ncp.async.wait_group 1;\n" +
				"ld.shared.u32 %r1, [s];\ncp.async.wait_group 0;\nld.shared.u32 %r1, [s+4];"},
		"barrier without .aligned": {block: 64, bytes: 4,
			body: "setp.lt.u32 %p1, %t, 40;\n@%p1 bra L;\nbarrier.sync 0;\nbra M;\nL:\nbarrier.sync 0;\nM:"},
		"masks that name exited lanes": {block: 32, bytes: 4,
			body: "setp.gt.u32 %p1, %t, 15;\n@%p1 exit;\nbar.warp.sync -1;\nvote.sync.ballot.b32 %r1, 1, -1;\n" +
				"shfl.sync.idx.b32 %r2, %t, 3, 31, -1;"},
		"back to a barrier where others wait": {block: 32, bytes: 4,
			body: "setp.lt.u32 %p1, %t, 8;\nsetp.lt.u32 %p2, %t, 16;\n@!%p1 bra L;\nBAR:\nbarrier.sync 0;\n" +
				"bra DONE;\nL:\n@%p2 bra BAR;\nbra BAR;\nDONE:"},
		"shared memory, block after block": {vars: s64, block: 64, grid: 5, bytes: 4,
			body: sharedWord + "st.shared.u32 [%r3], %t;\nbar.sync 0;\nxor.b32 %r2, %r2, 128;\n" +
				"add.u32 %r3, %r1, %r2;\nld.shared.u32 %r4, [%r3];"},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(8) {
				s.opt.Seed = seed
				require.Empty(t, s.reports(t))
			}
		})
	}
}

// The last block to arrive adds up what all blocks have left: __threadfence and atomicInc order it.
func TestTheLastBlockReductionIsClean(t *testing.T) {
	body := func(fence string) string {
		return `
mov.u32 %r1, %ctaid.x;
mul.wide.u32 %d1, %r1, 4;
mov.u64 %d2, g;
add.u64 %d2, %d2, %d1;
setp.ne.u32 %p1, %t, 0;
@%p1 bra ALL;
add.u32 %r2, %r1, 1;
st.global.u32 [%d2], %r2;
` + fence + `
atom.global.inc.u32 %r3, [flag], 15;
st.shared.u32 [s], %r3;
ALL:
bar.sync 0;
ld.shared.u32 %r4, [s];
setp.ne.u32 %p2, %r4, 15;
@%p2 bra DONE;
setp.ge.u32 %p3, %t, 16;
@%p3 bra DONE;
mul.wide.u32 %d1, %t, 4;
mov.u64 %d2, g;
add.u64 %d2, %d2, %d1;
ld.global.u32 %r5, [%d2];
red.global.add.u32 [%out], %r5;
DONE:`
	}
	s := snippet{module: ".global .align 4 .b8 g[64];\n.global .u32 flag;", vars: ".shared .align 4 .b8 s[4];",
		grid: 16, block: 64, bytes: 4}
	for seed := range uint64(8) {
		s.opt.Seed = seed
		s.body = body("membar.gl;")
		assert.Equal(t, uint32(136), s.results(t)[0])
		s.body = body("")
		reports := s.reports(t)
		require.Len(t, reports, 1)
		assert.Equal(t, ptx.GlobalRace, reports[0].Kind)
	}
}
