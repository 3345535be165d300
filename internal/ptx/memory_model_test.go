package ptx_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/ptx"
	"bilevel/internal/testrun"
)

// schedules are orders of blocks, warps and lanes under which a verdict must be the same: four of them, or eight where
// BILEVEL_LONG is set.
func schedules() (list []ptx.Options) {
	for seed := range testrun.Size[uint64](2, 4) {
		list = append(list, ptx.Options{Seed: seed})
	}
	list = append(list, ptx.Options{Warps: ptx.WarpsInStep})
	for seed := range testrun.Size[uint64](1, 3) {
		list = append(list, ptx.Options{Seed: seed, Warps: ptx.WarpsRandom, WarpSeed: seed})
	}
	return list
}

// mutantsOf lists the bodies that lack one of the statements marked "// MUST", or have what stands behind "// MUST:"
// instead.
func mutantsOf(body string) map[string]string {
	lines := strings.Split(body, "\n")
	list := map[string]string{}
	for i, l := range lines {
		if statement, instead, marked := strings.Cut(l, "// MUST"); marked {
			changed := append([]string(nil), lines...)
			changed[i] = strings.TrimPrefix(instead, ":")
			list[fmt.Sprintf("%d: %s", i, strings.TrimSpace(statement))] = strings.Join(changed, "\n")
		}
	}
	return list
}

const (
	sharedBytes = ".shared .align 8 .b8 s[4096];"
	globals     = ".global .align 8 .b8 g[4096];\n.global .u32 flag;\n.global .u32 second;\n.global .u32 count;\n" +
		".global .u32 lock;\n"
)

// lockBody adds one to a count under a lock.
func lockBody(take, acquire, release, give string) string {
	return `
TRY:
` + take + `
setp.ne.u32 %p1, %r1, 0;
@%p1 bra TRY;
` + acquire + `
ld.global.u32 %r2, [count];
add.u32 %r2, %r2, 1;
st.global.u32 [count], %r2;
` + release + `
` + give
}

const (
	takeCAS  = "atom.global.cas.b32 %r1, [lock], 0, 1;"
	giveExch = "atom.global.exch.b32 %r1, [lock], 0;"
)

// handOver has block 1 store to g and block 0 load from it behind a flag.
func handOver(fence, set, wait, behind string) string {
	return `
mov.u32 %r1, %ctaid.x;
setp.ne.u32 %p1, %t, 0;
@%p1 bra DONE;
setp.eq.u32 %p1, %r1, 0;
@%p1 bra WAIT;
st.global.u32 [g], 5;
` + fence + `
` + set + `
bra DONE;
WAIT:
` + wait + `
setp.eq.u32 %p2, %r2, 0;
@%p2 bra WAIT;
` + behind + `
ld.global.u32 %r3, [g];
DONE:`
}

// Each pattern is clean under all schedules, and reported under all of them without any one of what it marks.
func TestPatternsAndTheirMutants(t *testing.T) {
	const relaxed = "ld.relaxed.gpu.global.u32 %r2, [flag];"
	patterns := map[string]snippet{
		"flag, fences": {grid: 2,
			body: handOver("membar.gl; // MUST: membar.cta;", "st.volatile.global.u32 [flag], 1;",
				"ld.volatile.global.u32 %r2, [flag];", "membar.gl; // MUST")},
		"flag, fence.acq_rel": {grid: 2,
			body: handOver("fence.acq_rel.gpu; // MUST", "st.relaxed.gpu.global.u32 [flag], 1;", relaxed,
				"fence.acq_rel.sys; // MUST: fence.acq_rel.cta;")},
		"flag, st.release": {grid: 2,
			body: handOver("", "st.release.gpu.global.u32 [flag], 1; // MUST: st.relaxed.gpu.global.u32 [flag], 1;",
				"ld.acquire.gpu.global.u32 %r2, [flag]; // MUST: "+relaxed, "")},
		"flag, scopes": {grid: 2,
			body: handOver("", "st.release.sys.global.u32 [flag], 1; // MUST: st.release.cta.global.u32 [flag], 1;",
				"ld.acquire.gpu.global.u32 %r2, [flag]; // MUST: ld.acquire.cluster.global.u32 %r2, [flag];", "")},
		"flag, atomics": {grid: 2,
			body: handOver("membar.gl; // MUST",
				"atom.global.exch.b32 %r4, [flag], 1; // MUST: atom.cta.global.exch.b32 %r4, [flag], 1;",
				"atom.global.add.u32 %r2, [flag], 0;", "")},
		"flag, mixed": {grid: 2,
			body: handOver("membar.gl; // MUST", "red.global.add.u32 [flag], 1;", relaxed, "fence.sc.gpu; // MUST")},
		"flag within the block": {block: 64, body: warpFlag("membar.cta; // MUST", "membar.cta; // MUST")},
		"lock": {block: 2,
			body: lockBody(takeCAS, "membar.gl; // MUST", "membar.gl; // MUST", giveExch)},
		"lock of a warp": {block: 32, body: lockBody(takeCAS, "membar.gl; // MUST", "membar.gl; // MUST", giveExch)},
		"lock of warps":  {block: 96, body: lockBody(takeCAS, "membar.gl; // MUST", "membar.gl; // MUST", giveExch)},
		"lock of blocks": {grid: 3, block: 4,
			body: lockBody(takeCAS, "membar.gl; // MUST: membar.cta;", "membar.gl; // MUST: membar.cta;", giveExch)},
		"lock, acquire and release": {grid: 2, block: 8,
			body: lockBody("atom.acquire.gpu.global.cas.b32 %r1, [lock], 0, 1; // MUST: "+takeCAS, "", "",
				"atom.release.gpu.global.exch.b32 %r1, [lock], 0; // MUST: "+giveExch)},
		"lock, given back by a store": {grid: 2, block: 2,
			body: lockBody(takeCAS, "membar.gl; // MUST", "membar.gl; // MUST", "st.volatile.global.u32 [lock], 0;")},
		"lock by exch": {grid: 2, block: 2,
			body: lockBody("atom.global.exch.b32 %r1, [lock], 1;", "membar.gl; // MUST", "membar.gl; // MUST",
				giveExch)},
		"lock of a block": {block: 64,
			body: lockBody("atom.cta.global.cas.b32 %r1, [lock], 0, 1;", "membar.cta; // MUST", "membar.cta; // MUST",
				"atom.cta.global.exch.b32 %r1, [lock], 0;")},
		"lock in shared memory": {vars: sharedBytes, block: 40,
			body: "setp.eq.u32 %p2, %t, 0;\n@%p2 st.shared.u32 [s], 0;\nbar.sync 0; // MUST\n" +
				lockBody("atom.shared.cas.b32 %r1, [s], 0, 1;", "membar.cta; // MUST", "membar.cta; // MUST",
					"atom.shared.exch.b32 %r1, [s], 0;")},
		"the sum of doubles by compare and swap": {grid: 2, block: 64, body: `
cvta.global.u64 %d1, %out;
ld.global.u64 %d2, [%out];
TRY:
mov.u64 %d3, %d2;
add.s64 %d4, %d3, 1;
atom.cas.b64 %d2, [%d1], %d3, %d4; // MUST: atom.cta.cas.b64 %d2, [%d1], %d3, %d4;
setp.ne.u64 %p1, %d2, %d3;
@%p1 bra TRY; // MUST: st.global.u64 [%out], %d4;`},
		"a flag that atomics poll and pass on": {grid: 3, body: `
mov.u32 %r1, %ctaid.x;
WAIT:
atom.global.add.u32 %r2, [flag], 0;
setp.ne.u32 %p1, %r1, %r2;
@%p1 bra WAIT;
ld.global.u32 %r3, [g];
add.u32 %r3, %r3, 1;
st.global.u32 [g], %r3;
membar.gl; // MUST: membar.cta;
add.u32 %r2, %r2, 1;
atom.global.exch.b32 %r4, [flag], %r2;`},
		"tickets": {block: 40, grid: 2, body: `
atom.global.add.u32 %r1, [lock], 1;
WAIT:
ld.volatile.global.u32 %r2, [flag];
setp.ne.u32 %p1, %r1, %r2;
@%p1 bra WAIT;
membar.gl; // MUST
ld.global.u32 %r3, [count];
add.u32 %r3, %r3, 1;
st.global.u32 [count], %r3;
membar.gl; // MUST
add.u32 %r2, %r2, 1;
st.volatile.global.u32 [flag], %r2;`},
		"fences before a barrier": {block: 64, grid: 2, body: `
mov.u32 %r1, %ctaid.x;
setp.eq.u32 %p1, %r1, 0;
@%p1 bra READ;
mul.wide.u32 %d1, %t, 4;
mov.u64 %d2, g;
add.u64 %d2, %d2, %d1;
st.global.u32 [%d2], %t;
membar.gl; // MUST
bar.sync 0; // MUST
setp.eq.u32 %p1, %t, 5;
@%p1 st.relaxed.gpu.global.u32 [flag], 1;
bra DONE;
READ:
setp.ne.u32 %p1, %t, 0;
@%p1 bra DONE;
WAIT:
ld.relaxed.gpu.global.u32 %r2, [flag];
setp.eq.u32 %p2, %r2, 0;
@%p2 bra WAIT;
fence.acq_rel.gpu; // MUST
ld.global.u32 %r3, [g+160];
DONE:`},
		"one lane for its warp": {grid: 2, block: 32, body: `
mov.u32 %r1, %ctaid.x;
mul.wide.u32 %d1, %t, 4;
mov.u64 %d2, g;
add.u64 %d2, %d2, %d1;
setp.eq.u32 %p1, %r1, 0;
@%p1 bra READ;
st.global.u32 [%d2], %t;
membar.gl; // MUST
bar.warp.sync -1; // MUST
setp.eq.u32 %p1, %t, 5;
@%p1 st.relaxed.gpu.global.u32 [flag], 1;
bra DONE;
READ:
setp.ne.u32 %p1, %t, 3;
@%p1 bra MEET;
WAIT:
ld.acquire.gpu.global.u32 %r2, [flag]; // MUST: ld.relaxed.gpu.global.u32 %r2, [flag];
setp.eq.u32 %p2, %r2, 0;
@%p2 bra WAIT;
MEET:
bar.warp.sync -1; // MUST
ld.global.u32 %r3, [%d2];
DONE:`},
		"passed on by a reader": {grid: 3, body: `
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
st.release.gpu.global.u32 [flag], 1; // MUST: st.relaxed.gpu.global.u32 [flag], 1;
bra DONE;
SECOND:
ld.relaxed.gpu.global.u32 %r2, [flag];
setp.eq.u32 %p2, %r2, 0;
@%p2 bra SECOND;
fence.acq_rel.gpu; // MUST
st.relaxed.gpu.global.u32 [second], 1;
DONE:`},
		"passed on by an atomic": {grid: 3, body: `
mov.u32 %r1, %ctaid.x;
setp.eq.u32 %p1, %r1, 1;
@%p1 bra FIRST;
setp.eq.u32 %p1, %r1, 2;
@%p1 bra SECOND;
LAST:
ld.relaxed.gpu.global.u32 %r2, [flag];
setp.ne.u32 %p2, %r2, 2;
@%p2 bra LAST;
ld.acquire.gpu.global.u32 %r2, [flag]; // MUST
ld.global.u32 %r3, [g];
bra DONE;
FIRST:
st.global.u32 [g], 5;
st.release.gpu.global.u32 [flag], 1;
bra DONE;
SECOND:
ld.relaxed.gpu.global.u32 %r2, [flag];
setp.ne.u32 %p2, %r2, 1;
@%p2 bra SECOND;
atom.relaxed.gpu.global.exch.b32 %r2, [flag], 2; // MUST: st.relaxed.gpu.global.u32 [flag], 2;
DONE:`},
		"a warp, then its block": {vars: sharedBytes, block: 64, body: ownWord + sharedWord + `
st.shared.u32 [%r3], %t;
bar.warp.sync -1; // MUST
xor.b32 %r4, %r3, 4;
ld.shared.u32 %r5, [%r4];
bar.sync 0; // MUST
xor.b32 %r4, %r3, 128;
st.shared.u32 [%r4], %r5;`},
		"a barrier object": {vars: sharedBytes + ".shared .b64 object;", block: 64, body: ownWord + sharedWord + `
setp.eq.u32 %p2, %t, 0;
@%p2 mbarrier.init.shared.b64 [object], 64;
bar.sync 0;
st.shared.u32 [%r3], %t;
mbarrier.arrive.shared.b64 %d3, [object]; // MUST: mbarrier.arrive.relaxed.cta.shared.b64 %d3, [object];
WAIT: mbarrier.test_wait.shared.b64 %p1, [object], %d3; @!%p1 bra WAIT; // MUST
xor.b32 %r4, %r3, 128;
ld.shared.u32 %r5, [%r4];
st.global.u32 [%d1], %r5;`},
		"words without a value that nobody uses": {vars: sharedBytes, block: 64, body: ownWord + sharedWord + `
setp.lt.u32 %p1, %t, 40;
@%p1 mov.u32 %r7, %t;
st.shared.u32 [%r3], %r7;
bar.sync 0; // MUST
sub.u32 %r4, %r1, %r2;
@%p1 ld.shared.u32 %r5, [%r4+156];
@%p1 st.global.u32 [%d1], %r5;`},
		"a named barrier": {vars: sharedBytes, block: 96, body: `
setp.ge.u32 %p1, %t, 64;
@%p1 bra DONE;
setp.lt.u32 %p1, %t, 32;
@%p1 bra FIRST;
bar.sync 3, 64; // MUST
ld.shared.u32 %r1, [s+4];
bra DONE;
FIRST:
shl.b32 %r2, %t, 2;
mov.u32 %r3, s;
add.u32 %r3, %r3, %r2;
st.shared.u32 [%r3], %t;
bar.arrive 3, 64; // MUST
DONE:`},
		"store after all have read": {vars: sharedBytes, block: 160, body: ownWord + `
setp.eq.u32 %p1, %t, 0;
@%p1 st.shared.u32 [s], 7;
bar.sync 0; // MUST
ld.shared.u32 %r1, [s];
bar.sync 0; // MUST
@%p1 st.shared.u32 [s], %t;
st.global.u32 [%d1], %r1;`},
		"store after all blocks have read": {grid: 6, block: 64, body: `
ld.global.u32 %r1, [g];
bar.sync 0; // MUST
setp.ne.u32 %p1, %t, 33;
@%p1 bra DONE;
membar.gl; // MUST
atom.global.add.u32 %r2, [count], 1; // MUST: atom.cta.global.add.u32 %r2, [count], 1;
setp.ne.u32 %p2, %r2, 5;
@%p2 bra DONE;
st.global.u32 [g], 3;
DONE:`},
	}
	for _, op := range []string{"shfl.sync.bfly.b32 %r9, %t, 1, 31, -1;", "vote.sync.ballot.b32 %r9, 1, -1;",
		"vote.sync.any.pred %p7, 1, -1;",
		"match.any.sync.b32 %r9, %t, -1;", "match.all.sync.b32 %r9, %t, -1;", "redux.sync.add.u32 %r9, %t, -1;",
		"activemask.b32 %r9;", "elect.sync %r9|%p7, -1;"} {
		patterns["no order by "+op] = snippet{vars: sharedBytes, block: 32, body: ownWord + sharedWord + `
st.shared.u32 [%r3], %t;
` + op + `
bar.warp.sync -1; // MUST
xor.b32 %r4, %r3, 16;
ld.shared.u32 %r5, [%r4];
st.global.u32 [%d1], %r5;`}
	}
	for name, s := range patterns {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.module, s.bytes = globals, 4096
			bodies := mutantsOf(s.body)
			require.NotEmpty(t, bodies)
			for _, opt := range schedules() {
				opt.Watchdog = 1 << 22
				s.opt = opt
				require.Empty(t, s.reports(t), "%+v", opt)
				for what, body := range bodies {
					m := s
					m.body = body
					reports := m.reports(t)
					require.True(t, hasRace(reports), "%s, %+v: %v", what, opt, reports)
				}
			}
		})
	}
}

func hasRace(reports []ptx.Report) bool {
	for _, r := range reports {
		if r.Kind == ptx.SharedRace || r.Kind == ptx.GlobalRace {
			return true
		}
	}
	return false
}
