package ptx_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"bilevel/internal/ptx"
)

const inlined = `.file 1 "kernel.cu"
.file 2 "library.h"
.file 3 "inner.h"
`

// A fault in an inlined function is reported with the line of the kernel and that of the function, the other end of a
// race too.
func TestReportsNameBothLinesOfInlinedFunctions(t *testing.T) {
	s := snippet{module: inlined, vars: sharedBytes, block: 64, bytes: 256, body: ownWord + sharedWord + `
.loc 1 7 1
.loc 2 100 1, function_name $names, inlined_at 1 7 1
st.shared.u32 [%r3], %t;
xor.b32 %r4, %r3, 128;
.loc 1 9 1
.loc 2 200 1, function_name $names+6, inlined_at 1 9 1
.loc 3 300 1, function_name $names+12, inlined_at 2 200 1
ld.shared.u32 %r5, [%r4];
.loc 1 10 1`}
	text := s.text() + `.section .debug_str
{
$names:
.b8 115,116,111,114,101,0
.b8 102,101,116,99,104,0
.b8 105,110,110,101,114,0
}
`
	reports := reportsOfText(t, text, s)
	require.NotEmpty(t, reports)
	r := reports[len(reports)-1]
	require.Equal(t, ptx.SharedRace, r.Kind)
	assert.Equal(t, "kernel.cu", r.File)
	assert.Equal(t, 9, r.Line)
	assert.Equal(t, []ptx.Place{{File: "inner.h", Line: 300, Function: "inner"},
		{File: "library.h", Line: 200, Function: "fetch"}}, r.Inlined)
	assert.Contains(t, r.String(), "kernel.cu:9, in inner at inner.h:300, PTX line")
	assert.Contains(t, r.Message, "st.shared.u32 (kernel.cu:7, in store at library.h:100)")
	bytes, err := json.Marshal(r)
	require.NoError(t, err)
	assert.Contains(t, string(bytes),
		`"inlined":[{"file":"inner.h","line":300,"function":"inner"},`+
			`{"file":"library.h","line":200,"function":"fetch"}]`)
}

// reportsOfText runs a text made from a snippet.
func reportsOfText(t *testing.T, text string, s snippet) []ptx.Report {
	module, err := ptx.Load("x.ptx", text)
	require.NoError(t, err)
	r := newRig(module, ptx.Options{Sanitize: true})
	r.launch("k", line(max(s.grid, 1)), line(s.block), 0, upload(r, "out", make([]byte, s.bytes)))
	require.NoError(t, r.err)
	return r.reports
}

// Barriers at two places are a kind of their own where every warp comes as a whole, and divergent where one does not.
func TestBarriersAtTwoPlaces(t *testing.T) {
	body := func(bound string) string {
		return ownWord + sharedWord + `
st.shared.u32 [%r3], %t;
setp.lt.u32 %p1, %t, ` + bound + `;
@%p1 bra LOW;
bar.sync 0;
bra DONE;
LOW:
bar.sync 0;
DONE:
xor.b32 %r4, %r3, 252;
ld.shared.u32 %r5, [%r4];
st.global.u32 [%d1], %r5;`
	}
	for bound, kind := range map[string]ptx.Kind{"32": ptx.SplitBarrier, "64": "", "0": "", "16": ptx.DivergentBarrier,
		"48": ptx.DivergentBarrier} {
		s := snippet{vars: sharedBytes, block: 64, bytes: 256, body: body(bound)}
		for _, opt := range schedules() {
			s.opt = opt
			found := map[ptx.Kind]bool{}
			for _, r := range s.reports(t) {
				found[r.Kind] = true
			}
			if kind == "" {
				require.Empty(t, found, "%s, %+v", bound, opt)
				continue
			}
			require.True(t, found[kind], "%s, %+v: %v", bound, opt, found)
			if kind == ptx.SplitBarrier {
				require.Len(t, found, 1, "what stands behind it is ordered")
			}
		}
	}
}

// The order of float atomics is a note: what it is about is right in every order, only not to the last bit.
func TestTheOrderOfFloatAtomicsIsANote(t *testing.T) {
	sum := snippet{block: 32, bytes: 4,
		body: "cvt.rn.f32.u32 %f1, %t;\nmul.f32 %f1, %f1, 0f3DCCCCCD;\nred.global.add.f32 [%out], %f1;"}
	reports := sum.reports(t)
	require.Len(t, reports, 1)
	assert.True(t, reports[0].Note)
	fault := snippet{block: 32, bytes: 4, body: "st.global.u32 [%out], %t;"}
	reports = fault.reports(t)
	require.Len(t, reports, 1)
	assert.False(t, reports[0].Note)
}

// Without races the order of warps changes nothing but the order of atomics, which these sums do not show.
func TestOrdersOfWarpsGiveTheSameResults(t *testing.T) {
	s := snippet{module: globals, vars: sharedBytes, grid: 3, block: 160, bytes: 4 * 480, body: ownWord + sharedWord + `
mov.u32 %r5, 0;
st.shared.u32 [%r3], %t;
bar.sync 0;
LOOP:
add.u32 %r6, %t, %r5;
rem.u32 %r6, %r6, 160;
shl.b32 %r6, %r6, 2;
add.u32 %r6, %r6, %r1;
ld.shared.u32 %r7, [%r6];
add.u32 %r8, %r8, %r7;
and.b32 %r9, %t, 15;
add.u32 %r5, %r5, 1;
setp.lt.u32 %p1, %r5, %r9;
@%p1 bra LOOP;
red.global.add.u32 [count], %r8;
st.global.u32 [%d1], %r8;`}
	s.body = "mov.u32 %r8, 0;\n" + s.body
	want, first, err := s.run(t)
	require.NoError(t, err)
	orders := map[uint64]bool{}
	for _, opt := range schedules() {
		for _, sanitize := range []bool{false, true} {
			s.opt, s.opt.Sanitize = opt, sanitize
			got, res, err := s.run(t)
			require.NoError(t, err)
			require.Empty(t, res.Reports)
			require.Equal(t, want, got, "%+v", opt)
			require.Equal(t, first.Counters.ThreadInstructions, res.Counters.ThreadInstructions)
		}
	}
	// What depends on the order shows that there are several.
	s = snippet{module: globals, block: 256, bytes: 1024,
		body: ownWord + "atom.global.add.u32 %r1, [count], 1;\nadd.u32 %r2, %r1, 1;\n" +
			"atom.global.add.u32 %r1, [count], 1;\nst.global.u32 [%d1], %r1;"}
	for seed := range uint64(4) {
		for _, opt := range []ptx.Options{{}, {Warps: ptx.WarpsInStep}, {Warps: ptx.WarpsRandom, WarpSeed: seed}} {
			s.opt = opt
			words, _, err := s.run(t)
			require.NoError(t, err)
			hash := uint64(0)
			for _, w := range words {
				hash = hash*1000003 + uint64(w)
			}
			orders[hash] = true
		}
	}
	assert.Len(t, orders, 6, "in turn, in step, and four random ones")
}

// Names of functions are those of the source.
func TestNamesOfInlinedFunctions(t *testing.T) {
	for mangled, want := range map[string]string{
		"_ZN52_INTERNAL_00000000_25_22_spin_lock_in_a_warp_cu_spin9atomicCASEPiii": "atomicCAS",
		// malformed
		"_ZN18cooperative_groups4__v14sync":                "_ZN18cooperative_groups4__v14sync",
		"_ZNK18cooperative_groups4__v110grid_group4syncEv": "cooperative_groups::__v1::grid_group::sync",
		"_Z5clampIfET_S0_S0_S0_":                           "clamp",
		"plain":                                            "plain",
	} {
		s := snippet{bytes: 64, block: 1}
		var text strings.Builder
		for i := range len(mangled) {
			fmt.Fprintf(&text, ".b8 %d\n", mangled[i])
		}
		s.module = inlined
		s.body = ".loc 1 7 1\n.loc 2 100 1, function_name $names, inlined_at 1 7 1\nst.global.u32 [%out+64], 1;"
		reports := reportsOfText(t, s.text()+".section .debug_str\n{\n$names:\n"+text.String()+".b8 0\n}\n", s)
		require.Len(t, reports, 1)
		assert.Equal(t, want, reports[0].Inlined[0].Function)
	}
}

// Of a deep recursion the innermost places are listed, and then the call that it began with.
func TestPlacesOfDeepRecursion(t *testing.T) {
	const turn = `.visible .func (.param .b32 r) THIS(.param .b32 a)
{
.reg .pred %p<2>;
.reg .b32 %r<4>;
.reg .b64 %d<2>;
ld.param.b32 %r1, [a];
setp.eq.u32 %p1, %r1, 0;
@%p1 bra LAST;
sub.u32 %r2, %r1, 1;
.loc 1 LINE 1
{ .param .b32 x; .param .b32 y; st.param.b32 [x], %r2; call.uni (y), OTHER, (x); ld.param.b32 %r3, [y]; }
st.param.b32 [r], %r3;
ret;
LAST:
.loc 1 99 1
mov.u64 %d1, 4;
ld.global.u32 %r3, [%d1];
st.param.b32 [r], %r3;
ret;
}
`
	text := ".version 8.0\n.target sm_80\n.address_size 64\n.file 1 \"deep.cu\"\n" +
		".visible .func (.param .b32 r) odd(.param .b32 a);\n" +
		strings.NewReplacer("THIS", "even", "OTHER", "odd", "LINE", "10").Replace(turn) +
		strings.NewReplacer("THIS", "odd", "OTHER", "even", "LINE", "20").Replace(turn) +
		".visible .entry k(.param .u64 out)\n{\n.loc 1 3 1\n" +
		"{ .param .b32 x; .param .b32 y; st.param.b32 [x], DEPTH; call.uni (y), even, (x); }\nret;\n}\n"
	for depth, places := range map[int]int{3: 4, 100: 17} { // inside of the kernel: the fault, and calls
		reports := reportsOfText(t, strings.ReplaceAll(text, "DEPTH", strconv.Itoa(depth)),
			snippet{grid: 1, block: 1, bytes: 4})
		require.Len(t, reports, 1)
		r := reports[0]
		require.Equal(t, ptx.OutOfBounds, r.Kind)
		require.Equal(t, 3, r.Line)
		require.Len(t, r.Inlined, places)
		require.Equal(t, 99, r.Inlined[0].Line)
		for i, p := range r.Inlined[1:] {
			require.Equal(t, []int{20, 10}[(i+depth)%2], p.Line, "place %d at depth %d", i, depth)
		}
	}
}
