package ptx_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/ptx"
)

// Undefined bits may be copied and combined; only a use of them is reported. Each pattern is clean, and its mutant,
// with the marked statement changed so that undefined bits reach a use, is reported there.
func TestUsesOfUndefinedBits(t *testing.T) {
	const l = ".local .align 8 .b8 l[64];"
	for name, s := range map[string]snippet{
		"packed bytes": {body: `
and.b32 %r3, %r1, -256;
or.b32 %r4, %r3, 7;
and.b32 %r7, %r4, 15; // MUST: and.b32 %r7, %r4, 0x1f0;
mul.wide.u32 %d2, %r7, 4;
add.s64 %d3, %out, %d2;
ld.global.u32 %r8, [%d3];`},
		"half of a word": {body: `
mov.u16 %h1, 5;
mov.b32 %r1, {%h1, %h2};
cvt.u16.u32 %h3, %r1; // MUST: mov.b32 {%h4, %h3}, %r1;
st.global.u16 [%out], %h3;`},
		"low byte of a word": {body: `
bfi.b32 %r2, 77, %r1, 0, 8; // MUST: bfi.b32 %r2, 77, %r1, 0, 7;
st.global.u8 [%out], %r2;`},
		"a lane of a pair": {body: `
mov.u16 %h1, 5;
mov.b32 %r1, {%h1, %h2};
add.f16x2 %r2, %r1, %r1;
shl.b32 %r3, %r2, 16; // MUST: shl.b32 %r3, %r2, 8;
st.global.u32 [%out], %r3;`},
		"sign that is shifted out": {body: `
and.b32 %r2, %r1, 0x80000000;
or.b32 %r2, %r2, 3;
shl.b32 %r3, %r2, 1; // MUST: shr.s32 %r3, %r2, 1;
st.global.u32 [%out], %r3;`},
		"a comparison that is decided": {body: `
and.b32 %r2, %r1, 7;
setp.lt.u32 %p1, %r2, 8; // MUST: setp.lt.u32 %p1, %r2, 7;
@%p1 bra DONE;
add.u32 %r3, %r3, 1;
DONE:`},
		"bytes through local memory": {vars: l, body: `
st.local.u8 [l], 1;
st.local.u8 [l+2], 3;
ld.local.u32 %r2, [l];
and.b32 %r3, %r2, 0xff00ff; // MUST: and.b32 %r3, %r2, 0xff01ff;
st.global.u32 [%out], %r3;`},
		"bits through local memory": {vars: l, body: `
and.b32 %r2, %r1, 0xf0;
st.local.u32 [l+8], %r2;
ld.local.u32 %r3, [l+8];
and.b32 %r3, %r3, 0xffffff0f; // MUST: and.b32 %r3, %r3, 0xffffff1f;
st.global.u32 [%out], %r3;`},
		"bits through shared memory": {vars: sharedBytes, body: `
and.b32 %r2, %r1, 0xf0;
st.shared.u32 [s+8], %r2;
ld.shared.u8 %r3, [s+8];
and.b32 %r3, %r3, 0xffffff0f; // MUST
st.global.u32 [%out], %r3;`},
		"a tail that is moved but not used": {vars: sharedBytes, block: 64, body: ownWord + sharedWord + `
setp.lt.u32 %p1, %t, 40;
@%p1 ld.global.u32 %r5, [%d1];
st.shared.u32 [%r3], %r5;
bar.sync 0;
ld.shared.u32 %r6, [%r3];
setp.lt.u32 %p1, %t, 40; // MUST: setp.lt.u32 %p1, %t, 41;
@%p1 st.global.u32 [%d1], %r6;`},
		"vectors of which part is set": {vars: sharedBytes, body: `
mov.u32 %r1, 1;
mov.u32 %r3, 3;
st.shared.v4.u32 [s], {%r1, %r2, %r3, %r4};
ld.shared.v2.u64 {%d1, %d2}, [s];
cvt.u32.u64 %r5, %d2; // MUST: shr.u64 %d2, %d2, 1; cvt.u32.u64 %r5, %d2;
st.global.u32 [%out], %r5;`},
		"a shuffle": {block: 32, body: ownWord + `
setp.lt.u32 %p1, %t, 16;
@%p1 mov.u32 %r1, 5;
shfl.sync.bfly.b32 %r2, %r1, 16, 31, -1;
setp.lt.u32 %p1, %t, 16; // MUST: setp.ge.u32 %p1, %t, 16;
shl.b32 %r2, %r2, 24;
@!%p1 st.global.u32 [%d1], %r2;`},
		"a ballot": {block: 32, body: `
setp.lt.u32 %p1, %t, 16;
@%p1 setp.lt.u32 %p2, %t, 8;
vote.sync.ballot.b32 %r2, %p2, -1;
and.b32 %r2, %r2, 0xffff; // MUST: and.b32 %r2, %r2, 0x1ffff;
st.global.u32 [%out], %r2;`},
		"an argument": {module: ".func (.param .b32 r) low(.param .b32 x)\n{\n.reg .b32 %a<4>;\n" +
			"ld.param.u32 %a1, [x];\nand.b32 %a2, %a1, 255;\nst.param.b32 [r], %a2;\nret;\n}\n", body: `
and.b32 %r2, %r1, 0xff00; // MUST: and.b32 %r2, %r1, 0xff80;
{
.param .b32 x;
.param .b32 y;
st.param.b32 [x], %r2;
call.uni (y), low, (x);
ld.param.b32 %r3, [y];
}
st.global.u32 [%out], %r3;`},
		"shared memory for a barrier": {vars: sharedBytes, body: `
st.shared.u32 [s], 1; // MUST
ld.shared.u32 %r1, [s];
and.b32 %r1, %r1, 1;
bar.sync %r1;`},
		"shared memory for an atomic": {vars: sharedBytes, body: `
st.shared.u32 [s], 1; // MUST
red.shared.add.u32 [s], 1;`},
		"the old value of an exch in shared memory": {vars: sharedBytes, body: `
atom.shared.exch.b32 %r1, [s], 5;
ld.shared.u32 %r1, [s]; // MUST
st.global.u32 [%out], %r1;`},
		"the old value of an exch in global memory": {raw: true, body: `
atom.global.exch.b32 %r1, [%out], 5;
ld.global.u32 %r1, [%out]; // MUST: add.u32 %r1, %r1, 1;
st.global.u32 [%out+4], %r1;`},
		"a copy in bulk to global memory": {vars: ".shared .align 16 .b8 s[16];", body: `
mov.u32 %r1, s;
mov.u64 %d1, 7;
st.shared.u64 [s], %d1;
cp.async.bulk.global.shared::cta.bulk_group [%out], [%r1], 16;
cp.async.bulk.commit_group;
cp.async.bulk.wait_group 0;
ld.global.u32 %r2, [%out+4]; // MUST: ld.global.u32 %r2, [%out+8];
st.global.u32 [%out+16], %r2;`},
		"a matrix of which part is set": {vars: ".shared .align 16 .b8 s[256];", block: 32, body: ownWord + `
mov.u32 %r1, s;
shl.b32 %r2, %t, 2;
add.u32 %r3, %r1, %r2;
setp.lt.u32 %p1, %t, 16;
@%p1 st.shared.u32 [%r3], %t;
bar.sync 0;
and.b32 %r4, %t, 7;
shl.b32 %r4, %r4, 4;
add.u32 %r4, %r1, %r4;
ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r5}, [%r4];
setp.lt.u32 %p1, %t, 16; // MUST: setp.lt.u32 %p1, %t, 17;
@%p1 st.global.u32 [%d1], %r5;`},
	} {
		t.Run(name, func(t *testing.T) {
			s.bytes = 4096
			require.Empty(t, s.reports(t))
			for what, body := range mutantsOf(s.body) {
				s.body = strings.ReplaceAll(body, "; ", ";\n")
				reports := s.reports(t)
				require.Len(t, reports, 1, what)
				require.Equal(t, ptx.UninitializedRead, reports[0].Kind)
			}
		})
	}
}

// A report says which bits were never written, or which load brought them.
func TestReportsOfUndefinedBitsSayWhence(t *testing.T) {
	for _, c := range [][2]string{
		{"st.global.u32 [%out], %r1;", "register %r1, which is stored, was never written"},
		{"and.b32 %r2, %r1, 0xf0;\nst.global.u32 [%out], %r2;",
			"register %r2, which is stored, was never written (of its bits 0xf0)"},
		{"ld.shared.u32 %r1, [s];\nmov.u32 %r2, %r1;\nst.global.u32 [%out], %r2;",
			"register %r2, which is stored, comes from memory that nobody has written, by ld.shared.u32 (PTX line 17)"},
		{"setp.eq.u32 %p1, %r1, 4;\n@%p1 bra L;\nadd.u32 %r2, %r2, 1;\nL:",
			"register %p1, which decides the branch, was never written"},
		{"ld.shared.u16 %r1, [s];\nshl.b32 %r1, %r1, 4;\nst.global.u32 [%out], %r1;", "(of its bits 0xffff0)"},
		{"and.b32 %r1, %r1, 4;\ncvt.u64.u32 %d1, %r1;\nadd.u64 %d1, %d1, %out;\nld.global.u32 %r2, [%d1];",
			"register %d1, which is the address, was never written (of its bits"},
	} {
		body, want := c[0], c[1]
		s := snippet{vars: sharedBytes, bytes: 64, body: body}
		reports := s.reports(t)
		require.Len(t, reports, 1, body)
		require.Contains(t, reports[0].Message, want, fmt.Sprint(reports[0]))
	}
}

// What is stored may be computed from undefined bits that cancel: other values in them show it. Where they do not
// cancel, in one lane only, and where a store in question has too few of them to tell, the report stays.
func TestUndefinedBitsThatCancel(t *testing.T) {
	for name, s := range map[string]snippet{
		"difference": {block: 32, body: ownWord + `
add.u32 %r2, %r1, %t;
sub.u32 %r3, %r2, %r1; // MUST: sub.u32 %r3, %r2, %r4;
st.global.u32 [%d1], %r3;`},
		"difference in all lanes but one": {block: 32, grid: 3, body: ownWord + `
add.u32 %r2, %r1, %t;
setp.eq.u32 %p1, %r30, 71;
mov.u32 %r4, %r1;
@%p1 mov.u32 %r4, %r1; // MUST: @%p1 mov.u32 %r4, %r5;
sub.u32 %r3, %r2, %r4;
st.global.u32 [%d1], %r3;`},
		"a scan through shared memory": {vars: sharedBytes, block: 64, body: ownWord + sharedWord + `
setp.lt.u32 %p1, %t, 40;
@%p1 mov.u32 %r5, %t;
st.shared.u32 [%r3], %r5;
bar.sync 0;
ld.shared.u32 %r6, [s+160];
ld.shared.u32 %r7, [%r3];
add.u32 %r8, %r7, %r6;
sub.u32 %r8, %r8, %r6;
setp.lt.u32 %p1, %t, 40; // MUST: setp.lt.u32 %p1, %t, 41;
@%p1 st.global.u32 [%d1], %r8;`},
		"one bit of a comparison": {block: 1, body: `
setp.eq.u32 %p1, %t, 0; // MUST: setp.eq.u32 %p1, %r1, 3;
selp.u32 %r2, 1, 0, %p1;
st.global.u32 [%out], %r2;`},
	} {
		t.Run(name, func(t *testing.T) {
			s.bytes = 4096
			want, _, err := s.run(t)
			require.NoError(t, err)
			s.opt.Sanitize = true
			got, res, err := s.run(t)
			require.NoError(t, err)
			require.Empty(t, res.Reports)
			require.Equal(t, want, got, "further runs leave no trace in memory")
			for what, body := range mutantsOf(s.body) {
				s.body = body
				reports := s.reports(t)
				require.Len(t, reports, 1, what)
				require.Equal(t, ptx.UninitializedRead, reports[0].Kind)
			}
		})
	}
}

// A register that a function keeps over a call of itself is as undefined after the call as it was before.
func TestUndefinedRegistersOverRecursion(t *testing.T) {
	for set, want := range map[string]int{"": 1, "mov.u32 %a3, 7;": 0} {
		s := snippet{block: 32, bytes: 4, body: `{
.param .b32 p1;
st.param.b32 [p1], 3;
call.uni deep, (p1);
}`, module: `.global .u32 g;
.visible .func deep(.param .b32 n);
.visible .func deep(.param .b32 n)
{
.reg .b32 %a<4>; .reg .pred %q<2>;
ld.param.u32 %a1, [n];
setp.eq.u32 %q1, %a1, 0;
@%q1 bra END;
` + set + `
sub.u32 %a2, %a1, 1;
{
.param .b32 p0;
st.param.b32 [p0], %a2;
call.uni deep, (p0);
}
st.global.u32 [g], %a3;
END:
ret;
}`}
		reports := s.reports(t)
		require.Len(t, reports, want, "%s", set)
		if want > 0 {
			require.Equal(t, ptx.UninitializedRead, reports[0].Kind)
		}
	}
}
