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
