package ptx_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/ptx"
)

const functionsModule = `.version 8.6
.target sm_90
.address_size 64
.extern .func (.param .b64 r) elsewhere(.param .b64 a);
.extern .global .align 4 .u32 far;
.global .texref picture;
.visible .func (.param .b32 r) twice(.param .b32 a);
.visible .func (.param .b32 r) thrice(.param .b32 a);
.global .align 8 .u64 table[3] = {twice, thrice, elsewhere};
.global .align 8 .u64 strange = far;
.visible .func (.param .b32 r) twice(.param .b32 a)
{ .reg .b32 %r<3>; ld.param.b32 %r1, [a]; add.u32 %r2, %r1, %r1; st.param.b32 [r], %r2; ret; }
.visible .func (.param .b32 r) thrice(.param .b32 a)
{ .reg .b32 %r<3>; ld.param.b32 %r1, [a]; mul.lo.u32 %r2, %r1, 3; st.param.b32 [r], %r2; ret; }
.alias double, twice;
.visible .func (.param .b32 r) endless(.param .b32 a)
{
	.reg .b32 %r<3>;
	ld.param.b32 %r1, [a];
	{ .param .b32 x; .param .b32 y; st.param.b32 [x], %r1; call.uni (y), endless, (x); ld.param.b32 %r2, [y]; }
	st.param.b32 [r], %r2;
	ret;
}
`

// kernelOf is a kernel k(out) whose body leaves its result in %r1, behind the functions above.
func kernelOf(body string) string {
	return functionsModule + ".visible .entry k(.param .u64 out)\n{\n.reg .b32 %r<9>;\n.reg .b64 %d<9>;\n" +
		"ld.param.u64 %d1, [out];\n" + body + "\nst.global.u32 [%d1], %r1;\nret;\n}\n"
}

func through(address string) string {
	return "mov.u32 %r2, 14;\n{ .param .b32 p<2>; " + address + " st.param.b32 [p0], %r2;\n" +
		"PROTO: .callprototype (.param .b32 _) _ (.param .b32 _);\n" +
		"call (p1), %d2, (p0), PROTO; ld.param.b32 %r1, [p1]; }"
}

func runOf(t *testing.T, text string, sanitize bool) (uint32, error) {
	t.Helper()
	module, err := ptx.Load("f.ptx", text)
	require.NoError(t, err)
	r := newRig(module, ptx.Options{Sanitize: sanitize})
	out := upload(r, "out", []uint32{0})
	r.launch("k", line(1), line(1), 0, out)
	if r.err != nil {
		return 0, r.err
	}
	require.Empty(t, r.reports)
	return download[uint32](r, out, 1)[0], nil
}

// Functions behind addresses, other names of functions, and sets of variables; what is defined elsewhere hurts only who
// uses it.
func TestFunctionsBehindAddresses(t *testing.T) {
	for body, want := range map[string]uint32{
		"mov.u32 %r1, 5;":                        5,
		through("ld.global.u64 %d2, [table];"):   28,
		through("ld.global.u64 %d2, [table+8];"): 42,
		through("mov.u64 %d2, thrice;"):          42,
		through("mov.u64 %d2, double;"):          28,
		"{ .param .b32 a; .param .b32 b; st.param.b32 [a], 21; call (b), double, (a); " +
			"ld.param.b32 %r1, [b]; }": 42,
		".shared .b32 s<3>; .local .b32 l<2>; st.shared.u32 [s2], 7; st.local.u32 [l1], 8; ld.shared.u32 %r2, [s2]; " +
			"ld.local.u32 %r3, [l1]; add.u32 %r1, %r2, %r3;": 15,
	} {
		for _, sanitize := range []bool{false, true} {
			got, err := runOf(t, kernelOf(body), sanitize)
			require.NoError(t, err, body)
			require.Equal(t, want, got, body)
		}
	}
	for _, c := range [][2]string{
		{through("ld.global.u64 %d2, [table+16];"), "an indirect call of elsewhere, which has no body in this module"},
		{through("mov.u64 %d2, 77;"), "an indirect call of 0x4d, which is not the address of a function"},
		{through("mov.u64 %d2, 0;"), "an indirect call of 0x0, which is not the address of a function"},
		{"{ .param .b32 a; .param .b32 b; st.param.b32 [a], 1; call (b), endless, (a); ld.param.b32 %r1, [b]; }",
			"the thread's stack is full: does endless call itself without end?"},
		{"mov.u32 %r2, 9; T: .branchtargets A, B; brx.idx %r2, T; A: mov.u32 %r1, 1; B:",
			"the index 9 of a list of 2 labels"},
	} {
		body, message := c[0], c[1]
		for _, sanitize := range []bool{false, true} {
			_, err := runOf(t, kernelOf(body), sanitize)
			require.ErrorContains(t, err, message, body)
		}
	}
}

// What the simulator does not have is refused by name, in the kernels that use it.
func TestRefusedByName(t *testing.T) {
	for _, c := range [][2]string{
		{"{ .param .b64 a; .param .b64 b; call (b), elsewhere, (a); }",
			"the function elsewhere has no body in this module"},
		{"{ .param .b64 a; .param .b64 b; call (b), malloc, (a); }",
			"malloc on the device (PTX ISA 2.0) is not supported: the simulator has no heap"},
		{"ld.global.u32 %r1, [far];", "the extern variable far (PTX line 5) is defined in no module here"},
		{"wgmma.fence.sync.aligned;", "matrix products of a warpgroup (PTX ISA 8.0, sm_90a) are not supported"},
		{"tex.2d.v4.f32.f32 {%r1, %r2, %r3, %r4}, [picture, {%r5, %r6}];", "textures (PTX ISA 1.0) are not supported"},
		{"cp.async.bulk.tensor.1d.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%d2, {%r2}], [%r3];",
			"copies of tensors in bulk (PTX ISA 8.0, sm_90) are not supported"},
		{"tcgen05.fence::before_thread_sync;",
			"matrix products in tensor memory (PTX ISA 8.6, sm_100a) are not supported"},
		{"mapa.shared::cluster.u32 %r1, %r2, %r3;", "clusters of blocks (PTX ISA 7.8, sm_90) are not supported"},
		{"barrier.cluster.arrive;", "clusters of blocks (PTX ISA 7.8, sm_90) are not supported"},
	} {
		body, message := c[0], c[1]
		module, err := ptx.Load("f.ptx", kernelOf(body)+".visible .entry sound() { ret; }\n")
		require.NoError(t, err, body)
		require.ErrorContains(t, module.Kernel("k").Err(), message, body)
		require.Equal(t, 1, strings.Count(module.Kernel("k").Err().Error(), "\n")+1, "one sentence")
		require.NoError(t, module.Kernel("sound").Err())
	}
}

// A kernel for clusters is refused, unless each has one block; what is missing is said once, however often it is
// called.
func TestRefusedOnce(t *testing.T) {
	for clusters, message := range map[string]string{
		"":                            "",
		".reqnctapercluster 1, 1, 1 ": "",
		".explicitcluster\n.reqnctapercluster 2 ": "f.ptx: kernel k: clusters of 2 x 1 x 1 blocks " +
			"(PTX ISA 7.8, sm_90) are not supported",
	} {
		text := ".version 8.0\n.target sm_90\n.address_size 64\n.visible .entry k()\n" + clusters + "{ ret; }"
		module, err := ptx.Load("f.ptx", text)
		require.NoError(t, err)
		if message == "" {
			require.NoError(t, module.Kernel("k").Err())
		} else {
			require.EqualError(t, module.Kernel("k").Err(), message)
		}
	}
	const call = "{ .param .b64 a; .param .b64 b; call (b), elsewhere, (a); }\n"
	module, err := ptx.Load("f.ptx", kernelOf(call+call+call+"ld.global.u32 %r1, [far];"))
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(module.Kernel("k").Err().Error(), "elsewhere"))
	require.ErrorContains(t, module.Kernel("k").Err(), "the extern variable far")
}
