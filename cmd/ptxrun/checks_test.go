package main

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Two kernels without faults in what they compute: a float sum by atomics, and a flag behind volatile and fences.
const checked = `.version 8.0
.target sm_80
.address_size 64
.global .u32 flag;
.global .u32 data;
.visible .entry sum(.param .u64 in, .param .u64 out)
{
.reg .b32 %r<4>; .reg .f32 %f<4>; .reg .b64 %d<5>;
mov.u32 %r1, %tid.x;
ld.param.u64 %d1, [in];
ld.param.u64 %d2, [out];
mul.wide.u32 %d3, %r1, 4;
add.s64 %d3, %d1, %d3;
ld.global.f32 %f1, [%d3];
mul.f32 %f1, %f1, 0f3DCCCCCD;
red.global.add.f32 [%d2], %f1;
ret;
}
.visible .entry flagged(.param .u64 out)
{
.reg .b32 %r<5>; .reg .b64 %d<2>; .reg .pred %p<2>;
ld.param.u64 %d1, [out];
mov.u32 %r1, %ctaid.x;
setp.eq.u32 %p1, %r1, 0;
@%p1 bra WAIT;
st.global.u32 [data], 5;
membar.gl;
st.volatile.global.u32 [flag], 1;
ret;
WAIT:
ld.volatile.global.u32 %r2, [flag];
setp.eq.u32 %p1, %r2, 0;
@%p1 bra WAIT;
membar.gl;
ld.global.u32 %r3, [data];
st.global.u32 [%d1], %r3;
ret;
}
`

// checkedFiles are the files that the kernels need.
func checkedFiles(t *testing.T) *session {
	s := begin(t)
	require.NoError(t, os.WriteFile("checked.ptx", []byte(checked), 0o666))
	save(s, "x.npy", ramp(64))
	return s
}

const (
	sum     = "-ptx checked.ptx -entry sum -grid 1 -block 64 -arg in:x.npy -arg out:y.npy:f32:1 "
	flagged = "-ptx checked.ptx -entry flagged -grid 2 -block 1 -arg out:y.npy:u32:1 "
)

func TestTheOrderOfAtomicsIsANote(t *testing.T) {
	s := checkedFiles(t)
	out, _ := s.run(exitClean, sum+"--sanitize")
	require.Contains(t, out, "order-dependent-atomic")
	require.Contains(t, out, "sum: 0 reports, 1 note\n")
	out, _ = s.run(exitReports, sum+"--sanitize --strict-order")
	require.Contains(t, out, "sum: 1 report\n")
	out, _ = s.run(exitClean, sum+"--sanitize --json")
	var found struct{ Reports []struct{ Note bool } }
	require.NoError(t, json.Unmarshal([]byte(out), &found))
	require.Len(t, found.Reports, 1)
	assert.True(t, found.Reports[0].Note)
}

func TestVolatileFlags(t *testing.T) {
	s := checkedFiles(t)
	for _, order := range []string{"", " --warps in-step", " --warps 3", " --seed 2"} {
		out, _ := s.run(exitClean, flagged+"--sanitize"+order)
		require.Contains(t, out, "flagged: 0 reports")
		require.Equal(t, []uint32{5}, load[uint32](s, "y.npy", 1))
		out, _ = s.run(exitReports, flagged+"--sanitize --strict-volatile"+order)
		require.Contains(t, out, "global-race")
	}
}

func TestOrdersOfWarps(t *testing.T) {
	s := checkedFiles(t)
	out, _ := s.run(exitClean, sum+"--sanitize --warps 17")
	require.Contains(t, out, "(--warps 17)\n")
	out, _ = s.run(exitClean, sum+"--sanitize --warps random")
	require.Regexp(t, `\(--warps \d+\)\n$`, out)
	for line, want := range map[string]string{
		sum + "--warps backwards":  "want in-step, random or the number of a random order",
		sum + "--warps -1":         "want in-step, random or the number of a random order",
		sum + "--strict-volatile":  "--strict-volatile is for checks, which --sanitize asks for",
		sum + "--strict-order":     "--strict-order is for checks, which --sanitize asks for",
		sum + "--sanitize --warps": "flag needs an argument",
	} {
		_, stderr := s.run(exitRefused, line)
		assert.Contains(t, stderr, want)
	}
	for range 20 {
		err := (&checks{strictVolatile: true, strictOrder: true}).sound(false)
		require.ErrorContains(t, err, "--strict-volatile", "the first of two")
	}
}
