package ptx_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
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

// warpFlag hands a word from warp 1 to warp 0 of a block.
func warpFlag(fence, behind string) string {
	return `
setp.eq.u32 %p1, %t, 0;
@%p1 bra WAIT;
setp.ne.u32 %p1, %t, 32;
@%p1 bra DONE;
st.global.u32 [g], 5;
` + fence + `
st.relaxed.cta.global.u32 [flag], 1;
bra DONE;
WAIT:
ld.relaxed.cta.global.u32 %r2, [flag];
setp.eq.u32 %p2, %r2, 0;
@%p2 bra WAIT;
` + behind + `
ld.global.u32 %r3, [g];
DONE:`
}

// A lock for all threads of the largest block counts right, is clean and takes few instructions. With warps in step
// most of them wait: without BILEVEL_LONG the block is smaller then.
func TestLocksOfLargeBlocks(t *testing.T) {
	for warps, threads := range map[ptx.WarpOrder]int{
		ptx.WarpsInTurn: 1024, ptx.WarpsInStep: testrun.Size(384, 1024),
	} {
		s := snippet{module: globals, block: threads, bytes: 4,
			opt:  ptx.Options{Sanitize: true, Warps: warps, Watchdog: 1 << 22},
			body: lockBody(takeCAS, "membar.gl;", "st.global.u32 [%out], %r2;\nmembar.gl;", giveExch)}
		words, res, err := s.run(t)
		require.NoError(t, err)
		assert.Empty(t, res.Reports)
		assert.Equal(t, uint32(threads), words[0])
	}
}

// Accesses that race though both are atomic or volatile: their scopes do not reach each other.
func TestScopesOfAtomics(t *testing.T) {
	for text, races := range map[string]bool{
		"atom.cta.global.exch.b32 %r2, [g], %r1;": true,
		// a write, though of the value that is there
		"atom.cta.global.exch.b32 %r2, [g], 0;":                                          true,
		"atom.cluster.global.exch.b32 %r2, [g], %r1;":                                    true,
		"atom.gpu.global.exch.b32 %r2, [g], %r1;":                                        false,
		"atom.sys.global.exch.b32 %r2, [g], %r1;":                                        false,
		"red.cta.global.add.u32 [g], 1;":                                                 true,
		"red.global.add.u32 [g], 1;":                                                     false,
		"st.relaxed.cta.global.u32 [g], %r1;":                                            true,
		"st.relaxed.gpu.global.u32 [g], %r1;":                                            false,
		"st.volatile.global.u32 [g], %r1;":                                               false,
		"@%p1 red.cta.global.add.u32 [g], 1;\n@!%p1 red.gpu.global.add.u32 [g], 1;":      true,
		"@%p1 red.sys.global.add.u32 [g], 1;\n@!%p1 ld.relaxed.gpu.global.u32 %r2, [g];": false,
		"@%p1 red.sys.global.add.u32 [g], 1;\n@!%p1 ld.relaxed.cta.global.u32 %r2, [g];": true,
		"@%p1 red.sys.global.add.u32 [g], 1;\n@!%p1 ld.global.u32 %r2, [g];":             true,
		"@%p1 red.cta.global.add.u32 [g], 1;\n@!%p1 red.cta.global.add.u32 [g+4], 1;":    false,
		"@%p1 st.volatile.global.u32 [g], 1;\n@!%p1 st.relaxed.cta.global.u32 [g], %r1;": true,
		"@%p1 st.volatile.global.u32 [g], 1;\n@!%p1 st.relaxed.gpu.global.u32 [g], %r1;": false,
		"@%p1 st.global.u32 [g], 9;\n@!%p1 st.volatile.global.u32 [g], 9;":               false, // one value
		"@%p1 st.global.u32 [g], 9;\n@!%p1 atom.global.exch.b32 %r2, [g], 8;":            true,
	} {
		s := snippet{module: globals, grid: 2, bytes: 4,
			body: "mov.u32 %r1, %ctaid.x;\nadd.u32 %r1, %r1, 1;\nsetp.eq.u32 %p1, %r1, 1;\n" + text}
		for _, opt := range schedules() {
			s.opt = opt
			assert.Equal(t, races, hasRace(s.reports(t)), "%s, %+v", text, opt)
		}
		s.grid, s.opt = 1, ptx.Options{}
		assert.Empty(t, s.reports(t), text)
	}
}

// With StrictVolatile a flag behind volatile orders nothing, and is itself a race.
func TestStrictVolatile(t *testing.T) {
	s := snippet{module: globals, grid: 2, bytes: 4,
		body: handOver("membar.gl;", "st.volatile.global.u32 [flag], 1;", "ld.volatile.global.u32 %r2, [flag];",
			"membar.gl;")}
	strong := s
	strong.body = strings.ReplaceAll(s.body, "volatile", "relaxed.gpu")
	for _, opt := range schedules() {
		s.opt = opt
		require.Empty(t, s.reports(t))
		opt.StrictVolatile = true
		s.opt, strong.opt = opt, opt
		races := 0
		for _, r := range s.reports(t) {
			if r.Kind == ptx.GlobalRace {
				races++
			}
		}
		require.GreaterOrEqual(t, races, 2, "the flag and what it guards: %v", s.reports(t))
		require.Empty(t, strong.reports(t))
	}
}

// Threads may store one value without order, by whatever instructions; another value, or a later one, races.
func TestStoresOfOneValue(t *testing.T) {
	const two = "setp.lt.u32 %p1, %t, 32;\nmov.u32 %r1, 3;\nmov.u32 %r2, 4;\nmov.b64 %d4, {%r1, %r2};\n"
	for text, races := range map[string]bool{
		"@%p1 st.shared.u32 [s], 3;\n@!%p1 st.shared.u32 [s], 3;":                     false,
		"@%p1 st.shared.u32 [s], 3;\n@!%p1 st.shared.u32 [s], 4;":                     true,
		"@%p1 st.shared.v2.u32 [s], {%r1, %r2};\n@!%p1 st.shared.u32 [s+4], 4;":       false,
		"@%p1 st.shared.v2.u32 [s], {%r1, %r2};\n@!%p1 st.shared.u32 [s+4], 3;":       true,
		"@%p1 st.shared.v2.u32 [s], {%r1, %r2};\n@!%p1 st.shared.u64 [s], %d4;":       false,
		"mov.u16 %h1, 3;\n@%p1 st.shared.u32 [s], 3;\n@!%p1 st.shared.u8 [s], %h1;":   false,
		"mov.u16 %h1, 3;\n@%p1 st.shared.u32 [s], 3;\n@!%p1 st.shared.u8 [s+1], %h1;": true,
		"@%p1 st.volatile.shared.u32 [s], 3;\n@!%p1 st.shared.u32 [s], 3;":            false,
		"@%p1 st.shared.u32 [s], 3;\nbar.sync 0;\n@!%p1 st.shared.u32 [s], 4;":        false,
		"st.shared.u32 [s], 3;\nsetp.eq.u32 %p2, %t, 40;\n@%p2 st.shared.u32 [s], 4;": true,
		// the other warp's 3 may come later
		"st.shared.u32 [s], 3;\nbar.warp.sync -1;\nsetp.eq.u32 %p2, %t, 40;\n@%p2 st.shared.u32 [s], 4;": true,
	} {
		s := snippet{vars: sharedBytes, block: 64, bytes: 4, body: two + text}
		for _, opt := range schedules() {
			s.opt = opt
			assert.Equal(t, races, hasRace(s.reports(t)), "%s, %+v", text, opt)
		}
	}
}

// A store races with every reader, however many there were and whoever came last.
func TestAllReadersCount(t *testing.T) {
	for _, warps := range []int{2, 3, 5, 32} {
		for reader := range warps - 1 {
			// All warps read; a barrier of all but one of them and the storing one orders the rest.
			s := snippet{module: globals, vars: sharedBytes, block: 32 * warps, bytes: 4, body: fmt.Sprintf(`
setp.eq.u32 %%p1, %%t, 0;
@%%p1 st.shared.u32 [s], 7;
bar.sync 0;
ld.shared.u32 %%r1, [s];
shr.u32 %%r2, %%t, 5;
setp.eq.u32 %%p2, %%r2, %d;
@%%p2 bra DONE;
bar.sync 1, %d;
setp.eq.u32 %%p3, %%t, %d;
@%%p3 st.shared.u32 [s], 8;
DONE:`, reader, 32*(warps-1), 32*warps-1)}
			for _, opt := range schedules() {
				s.opt = opt
				require.True(t, hasRace(s.reports(t)), "%d warps, %d is not ordered, %+v", warps, reader, opt)
			}
		}
	}
	for _, grid := range []int{2, 4, 40} { // the last block stores what all blocks have read
		s := snippet{grid: grid, block: 64, bytes: 4 * 64 * 40, body: ownWord + fmt.Sprintf(`
ld.global.u32 %%r1, [%%out+%d];
bar.sync 0;
st.global.u32 [%%d1], %%r1;`, 4*(64*grid-1))}
		for _, opt := range schedules() {
			s.opt = opt
			s.body = strings.Replace(s.body, "st.global.u32 [%d1], %r1;",
				"add.u32 %r2, %r1, %t;\nst.global.u32 [%d1], %r2;", 1)
			require.True(t, hasRace(s.reports(t)), "%d blocks, %+v", grid, opt)
		}
	}
}

// Blocks that wait for the one before them, in any number, do not hang in the opposite order, which a lock asks for.
func TestBlocksThatWaitForEarlierOnes(t *testing.T) {
	s := snippet{module: globals, grid: 100, bytes: 400, opt: ptx.Options{Sanitize: true},
		body: lockBody(takeCAS, "membar.gl;", "membar.gl;", giveExch) + ownWord + `
mov.u32 %r1, %ctaid.x;
WAIT:
ld.acquire.gpu.global.u32 %r3, [flag];
setp.ne.u32 %p2, %r1, %r3;
@%p2 bra WAIT;
st.global.u32 [%d1], %r3;
add.u32 %r3, %r3, 1;
st.release.gpu.global.u32 [flag], %r3;`}
	words, res, err := s.run(t)
	require.NoError(t, err)
	assert.Empty(t, res.Reports)
	assert.Equal(t, sequence(100, func(i int) uint32 { return uint32(i) }), words)
}

// One of two threads takes the lock without a fence behind it. Whoever comes first, the fault is found.
func TestLocksInBothOrders(t *testing.T) {
	for _, careless := range []string{"0", "1"} {
		s := snippet{module: globals, grid: 2, bytes: 4, body: lockBody(takeCAS, `
mov.u32 %r3, %ctaid.x;
setp.ne.u32 %p2, %r3, `+careless+`;
@%p2 membar.gl;`, "membar.gl;", giveExch)}
		for _, opt := range schedules() {
			s.opt = opt
			require.True(t, hasRace(s.reports(t)), "%s, %+v", careless, opt)
		}
	}
}
