package ptx_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/ptx"
)

// Statements that are no instructions, or none that the simulator has: the error names opcode and line.
var nonsense = []string{
	"add.rn.s32 %r1, %r2, %r3;", "add.sat.u32 %r1, %r2, %r3;", "cvt.f32.u32.rzi %r1, %r2;",
	"add.rna.f32 %r1, %r2, %r3;", "add.ftz.f64 %d1, %d2, %d3;",
	"fma.f32 %r1, %r2, %r3, %r4;", "fma.rn.s32 %r1, %r2, %r3, %r4;", "fma.rn.ftz.bf16 %h1, %h2, %h3, %h4;",
	"fma.rn.sat.relu.f16 %h1, %h2, %h3, %h4;",
	"mul.s32 %r1, %r2, %r3;", "mul.wide.s64 %d1, %d2, %d3;", "mad.s32 %r1, %r2, %r3, %r4;", "mul.lo.f32 %r1, %r2, %r3;",
	"div.f32 %r1, %r2, %r3;", "div.rn.s32 %r1, %r2, %r3;", "div.approx.f64 %d1, %d2, %d3;", "sqrt.f32 %r1, %r2;",
	"rcp.approx.f64 %d1, %d2;",
	"ex2.f32 %r1, %r2;", "sin.approx.f64 %d1, %d2;", "tanh.approx.ftz.f32 %r1, %r2;", "ex2.approx.bf16 %h1, %h2;",
	"min.abs.f32 %r1, %r2, %r3;", "min.xorsign.f32 %r1, %r2, %r3;", "abs.u32 %r1, %r2;", "neg.ftz.bf16 %h1, %h2;",
	"setp.lt.b32 %p1, %r1, %r2;", "setp.lo.s32 %p1, %r1, %r2;", "setp.equ.s32 %p1, %r1, %r2;",
	"setp.f32 %p1, %r1, %r2;", "setp.lt.ftz.f64 %p1, %d1, %d2;",
	"shl.s32 %r1, %r2, %r3;", "shf.l.b32 %r1, %r2, %r3, %r4;", "and.u32 %r1, %r2, %r3;",
	"prmt.b32.f4f %r1, %r2, %r3, %r4;",
	"cvt.f32.s32 %r1, %r2;", "cvt.s32.f32 %r1, %r2;", "cvt.rn.s32.f32 %r1, %r2;", "cvt.sat.u32.u16 %r1, %h1;",
	"cvt.rn.f64.f32 %d1, %r1;", "cvt.rn.e4m3x2.f32 %h1, %r1, %r2;",
	"mov.f16 %h1, %h2;", "mov.b32 %r1, %d1;", "mov.b64 %d1, %r1;", "selp.pred %p1, %p2, %p3, %p4;",
	"ld.global.f16 %h1, [%d8];", "ld.acquire.global.u32 %r1, [%d8];", "ld.volatile.gpu.u32 %r1, [%d8];",
	"ld.global.nc.acquire.u32 %r1, [%d8];", "ld.v3.u32 {%r1, %r2, %r3}, [%d8];",
	"ld.global.v2.u32 %r1, [%d8];", "ld.v4.u64 {%d1, %d2, %d3, %d4}, [%d8];", "st.const.u32 [%d8], %r1;",
	"st.global.nc.u32 [%d8], %r1;",
	"atom.add.s64 %d1, [%d8], %d2;", "atom.inc.s32 %r1, [%d8], %r2;", "red.exch.b32 [%d8], %r1;",
	"atom.add.f16 %h1, [%d8], %h2;", "atom.cas.b32 %r1, [%d8], %r2;",
	"shfl.bfly.b32 %r1, %r2, 1, 31;", "vote.ballot.b32 %r1, %p1;", "shfl.sync.bfly.b64 %d1, %d2, 1, 31, -1;",
	"redux.sync.add.f32 %r1, %r2, -1;",
	"bar.red.popc.pred %p1, 0, %p2;", "bar.sync 16;", "bar.arrive 1;", "fence.acquire.warp;", "membar.gpu;",
	"tex.2d.v4.f32.f32 {%r1, %r2, %r3, %r4}, [%d1, {%r5, %r6}];", "wgmma.fence.sync.aligned;", "cp.async.bulk.commit;",
	"mbarrier.init.shared.b32 [%r1], 1;",
	"mma.sync.aligned.m16n8k8.row.row.f32.tf32.tf32.f32 {%r1, %r2, %r3, %r4}, {%r1, %r2, %r3, %r4}, {%r1, %r2}, " +
		"{%r1, %r2, %r3, %r4};",
	"vadd.u32.u32.u32 %r1, %r2, %r3;", "frobnicate.s32 %r1, %r2;",
}

// refusal is why the kernel k of a text cannot run.
func refusal(name, text string) error {
	module, err := ptx.Load(name, text)
	if err != nil {
		return err
	}
	return module.Kernel("k").Err()
}

func TestNonsenseIsRefused(t *testing.T) {
	const before = ".version 8.6\n.target sm_90\n.address_size 64\n.visible .entry k()\n{\n.reg .pred %p<10>;\n" +
		".reg .b16 %h<10>;\n.reg .b32 %r<10>;\n.reg .b64 %d<10>;\n"
	line := strings.Count(before, "\n") + 1
	for _, statement := range nonsense {
		err := refusal("nonsense", before+statement+"\nret;\n}\n")
		if err == nil {
			t.Errorf("accepted: %s", statement)
			continue
		}
		opcode, _, _ := strings.Cut(statement, " ")
		require.ErrorContainsf(t, err, strings.TrimSuffix(opcode, ";"), "%s", statement)
		require.Containsf(t, err.Error(), "line "+string(rune('0'+line/10))+string(rune('0'+line%10)), "%s", statement)
	}
}

// ptxas refuses the statements too, but for those that the simulator does not have.
func TestPtxasRefusesNonsense(t *testing.T) {
	ptxas := assembler(t)
	var kernels []string
	for i, statement := range nonsense {
		v := &vector{dst: "b32", body: []string{statement}}
		kernels = append(kernels, v.text("k"+string(rune('a'+i/26))+string(rune('a'+i%26))))
	}
	bad := refusedBy(t, ptxas, kernels)
	beyond := map[string]bool{}
	for i, statement := range nonsense {
		if _, refused := bad[i]; !refused {
			opcode, _, _ := strings.Cut(statement, " ")
			beyond[strings.TrimSuffix(opcode, ";")] = true
		}
	}
	require.Equal(t, map[string]bool{
		"tex.2d.v4.f32.f32": true,
		"vadd.u32.u32.u32":  true,
	}, beyond)
}

func TestTrap(t *testing.T) {
	v := loop(32, 1, func(x []uint64) uint64 { return x[0] })
	v.op, v.in[0] = "trap", []uint64{1}
	v.body = []string{"setp.eq.u32 $P, $a, 1;", "@$P trap;", "mov.u32 $D, $a;"}
	_, err := v.run(ptx.Exact, [][]uint64{{1}})
	var fault *ptx.Fault
	require.ErrorAs(t, err, &fault)
	got, err := v.run(ptx.Exact, [][]uint64{{2}})
	require.NoError(t, err)
	require.Equal(t, []uint64{2}, got)
}
