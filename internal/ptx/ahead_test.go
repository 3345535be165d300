package ptx

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A run of loads ends where one of them is needed, at a jump back, at a barrier, and at a wait for copies.
func TestLoadsAhead(t *testing.T) {
	for body, want := range map[string]int{
		"st.global.u32 [%rd1], 1;": 1,
		"ld.global.u32 %r1, [%rd1]; ld.global.u32 %r2, [%rd1+4]; add.u32 %r3, %r1, %r2;":                      2,
		"ld.global.u32 %r1, [%rd1]; add.u32 %r3, %r1, 1; ld.global.u32 %r2, [%rd1+4]; add.u32 %r3, %r1, %r2;": 1,
		"ld.global.v4.u32 {%r1,%r2,%r3,%r4}, [%rd1]; ld.global.u32 %r5, [%rd1+16]; add.u32 %r6, %r3, %r5;":    2,
		"ld.global.u32 %r1, [%rd1]; bar.sync 0; ld.global.u32 %r2, [%rd1+4]; add.u32 %r3, %r1, %r2;":          1,
		"ld.global.u32 %r1, [%rd1]; @%p1 bra NEXT; ld.global.u32 %r2, [%rd1+4]; NEXT: add.u32 %r3, %r1, %r2;": 2,
		"AGAIN: ld.global.u32 %r1, [%rd1]; @%p1 bra AGAIN; ld.global.u32 %r2, [%rd1+4];":                      1,
		"ld.shared.u32 %r1, [buf]; ld.shared.u32 %r2, [buf+4]; add.u32 %r3, %r1, %r2;":                        1,
		"cp.async.ca.shared.global [buf], [%rd1], 4; cp.async.ca.shared.global [buf+4], [%rd1+4], 4; " +
			"cp.async.wait_all; cp.async.ca.shared.global [buf], [%rd1+8], 4; cp.async.wait_all;": 2,
	} {
		module, err := Load("k", ".version 7.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 p) {\n"+
			".shared .align 16 .b8 buf[64]; .reg .u32 %r<8>; .reg .pred %p<2>; .reg .u64 %rd<3>; "+
			"ld.param.u64 %rd1, [p];\n"+body+
			"\nst.global.u32 [%rd1], %r1; ret; }\n")
		require.NoError(t, err, body)
		p, err := module.Kernel("k").program(variant{})
		require.NoError(t, err, body)
		require.Equal(t, want, loadsAhead(p), body)
	}
}
