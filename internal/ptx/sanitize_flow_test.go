package ptx

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Rules of undefined bits are held against the instructions themselves: all values of the undefined bits are tried, and
// a bit of the result that comes out in two ways has to be undefined. Where exact is set, no other may be.
func TestBitRulesAgainstAllValues(t *testing.T) {
	const words, longs = "%r1, %r2", "%d1, %d2"
	for _, c := range []struct {
		op, args string
		exact    bool
	}{
		{"mov.b32", "%r1", true}, {"mov.b64", "%d1", true}, {"not.b32", "%r1", true},
		{"and.b32", words, true}, {"or.b32", words, true}, {"xor.b64", longs, true}, {"and.b64", longs, true},
		{"and.b32", "%r1, 0xff0", true},
		{"or.b32", "%r1, 0xff0", true}, {"lop3.b32", "%r1, %r2, %r3, 0xca", true},
		{"lop3.b32", "%r1, %r2, %r3, 0x96", true}, {"lop3.b32", "%r1, %r2, %r3, 0x40", true},
		{"brev.b32", "%r1", true}, {"brev.b64", "%d1", true},
		{"shl.b32", "%r1, 5", true}, {"shl.b32", "%r1, 40", true}, {"shl.b64", "%d1, 33", true},
		{"shl.b16", "%h1, 3", true}, {"shl.b32", words, false},
		{"shr.u32", "%r1, 5", true}, {"shr.s32", "%r1, 5", true}, {"shr.s32", "%r1, 31", true},
		{"shr.u64", "%d1, 33", true}, {"shr.s64", "%d1, 7", true}, {"shr.s16", "%h1, 3", true},
		{"shf.l.wrap.b32", "%r1, %r2, 7", true}, {"shf.r.clamp.b32", "%r1, %r2, 20", true},
		{"shf.r.wrap.b32", "%r1, %r2, %r3", false},
		{"bfe.u32", "%r1, 4, 9", true}, {"bfe.s32", "%r1, 4, 9", true}, {"bfe.s64", "%d1, 40, 12", true},
		{"bfe.u32", "%r1, %r2, 3", false},
		{"bfi.b32", "%r1, %r2, 8, 8", true}, {"bfi.b64", "%d1, %d2, 50, 30", true},
		{"bfi.b32", "%r1, %r2, %r3, 4", false},
		{"prmt.b32", "%r1, %r2, 0x5140", true}, {"prmt.b32", "%r1, %r2, 0x9f31", true},
		{"prmt.b32.rc16", "%r1, %r2, 1", true}, {"prmt.b32.f4e", "%r1, %r2, 3", true},
		{"add.s32", words, false}, {"add.u64", longs, false}, {"sub.s32", words, false}, {"add.s16", "%h1, %h2", false},
		{"neg.s32", "%r1", false}, {"add.s32", "%r1, 256", false},
		{"add.f16x2", words, false}, {"fma.rn.f16x2", "%r1, %r2, %r3", false}, {"max.bf16x2", words, false},
		{"mul.f16x2", words, false},
		{"mul.lo.s32", words, false}, {"mul.lo.s32", "%r1, 256", false}, {"mul.wide.u32", words, false},
		{"mul.wide.s16", "%h1, %h2", false}, {"mul.wide.s32", "%r1, 12", false},
		{"mul.hi.u32", words, false}, {"mad.lo.s32", "%r1, %r2, %r3", false}, {"mad.wide.u32", "%r1, %r2, %d3", false},
		{"selp.b32", "%r1, %r2, %p3", true}, {"selp.b64", "%d1, %d2, %p3", true},
		{"setp.eq.s32", words, false}, {"setp.ne.u16", "%h1, %h2", false}, {"setp.lt.s32", words, false},
		{"setp.ge.u32", words, false}, {"setp.gt.s64", longs, false},
		{"setp.le.u32", words, false}, {"setp.hi.u32", "%r1, 1000", false}, {"setp.lo.u32", words, false},
		{"setp.ls.u32", words, false}, {"setp.hs.u32", words, false},
		{"and.pred", "%p1, %p2", true}, {"or.pred", "%p1, !%p2", true}, {"xor.pred", "%p1, %p2", true},
		{"not.pred", "%p1", true}, {"mov.pred", "%p1", true},
		{"cvt.u32.u8", "%h1", true}, {"cvt.s32.s8", "%h1", true}, {"cvt.u64.u32", "%r1", true},
		{"cvt.s64.s32", "%r1", true}, {"cvt.u16.u32", "%r1", true},
		{"cvt.u32.u64", "%d1", true}, {"cvt.s16.s32", "%r1", true}, {"cvt.s8.s32", "%r1", false},
		{"cvt.u8.u32", "%r1", false}, {"cvt.u32.s16", "%h1", true},
		{"mov.b32", "{%h1, %h2}", true}, {"mov.b64", "{%r1, %r2}", true}, {"cvta.to.global.u64", "%d1", true},
		{"min.s32", words, false}, {"popc.b32", "%r1", false},
	} {
		t.Run(c.op+" "+c.args, func(t *testing.T) {
			r := rand.New(rand.NewPCG(7, uint64(len(c.op+c.args))))
			checkBitRule(t, r, c.op, c.args, c.exact)
		})
	}
}

// classOf is the register class that holds an instruction's result.
func classOf(op string) string {
	last := op[strings.LastIndexByte(op, '.')+1:]
	switch {
	case strings.HasPrefix(op, "setp"), strings.HasSuffix(op, ".pred"):
		return "%p0"
	case strings.HasPrefix(op, "cvt."):
		last = strings.Split(op, ".")[1]
	case strings.Contains(op, ".wide.") && strings.HasSuffix(last, "32"):
		return "%d0"
	case strings.Contains(op, ".wide."):
		return "%r0"
	case strings.HasPrefix(op, "prmt"), strings.HasPrefix(op, "popc"):
		return "%r0"
	}
	return map[int]string{8: "%h0", 16: "%h0", 32: "%r0", 64: "%d0"}[typeBits[last]]
}

func checkBitRule(t *testing.T, r *rand.Rand, op, args string, exact bool) {
	dst := classOf(op)
	text := `.version 8.6
.target sm_90
.address_size 64
.visible .entry k(.param .u64 out, .param .u64 in)
{
.reg .pred %p<8>; .reg .b16 %h<8>; .reg .b32 %r<16>; .reg .b64 %d<16>;
mov.u32 %r9, %tid.x;
ld.param.u64 %d9, [in]; mul.wide.u32 %d10, %r9, 24; add.s64 %d9, %d9, %d10;
ld.param.u64 %d8, [out]; mul.wide.u32 %d10, %r9, 8; add.s64 %d8, %d8, %d10;
`
	for i := 1; i <= 3; i++ {
		text += fmt.Sprintf("ld.global.u64 %%d%d, [%%d9+%d]; cvt.u32.u64 %%r%d, %%d%d; cvt.u16.u64 %%h%d, %%d%d; "+
			"and.b32 %%r10, %%r%d, 1; setp.ne.u32 %%p%d, %%r10, 0;\n", i, 8*i-8, i, i, i, i, i, i)
	}
	text += op + " " + dst + ", " + args + ";\n" + map[byte]string{'p': "selp.u64 %d0, 1, 0, %p0;",
		'h': "cvt.u64.u16 %d0, %h0;", 'r': "cvt.u64.u32 %d0, %r0;", 'd': ""}[dst[1]] +
		"\nst.global.u64 [%d8], %d0;\nret;\n}\n"
	module, err := Load("x.ptx", text)
	require.NoError(t, err)
	k := module.Kernel("k")
	require.NoError(t, k.Err())
	p, err := k.program(variant{sanitize: true})
	require.NoError(t, err)
	var at *meta
	for i := range p.meta {
		if m := &p.meta[i]; len(m.src.Args) > 0 && m.src.Args[0].Name == dst && at == nil {
			at = m
		}
	}
	require.NotNil(t, at)
	require.Equal(t, op, at.text)
	width := map[byte]int{'p': 1, 'h': 16, 'r': 32, 'd': 64}[dst[1]]
	for range 60 {
		var undefined [3]uint64
		for range r.IntN(8) {
			undefined[r.IntN(3)] |= 1 << (r.IntN(64) % []int{64, 32, 16, 8}[r.IntN(4)])
		}
		var value [3]uint64
		for i := range value {
			value[i] = r.Uint64() >> (r.IntN(2) * r.IntN(60))
		}
		results := allResults(t, k, value, undefined)
		var differ uint64
		for _, v := range results {
			differ |= v ^ results[0]
		}
		u := ruleOf(at, value, undefined) & (^uint64(0) >> (64 - width))
		require.Zero(t, differ&^u, "%s %s: values %x, undefined %x: bits %x of the result differ, the rule says %x", op,
			args, value, undefined, differ, u)
		if exact {
			require.Equal(t, differ, u, "%s %s: values %x, undefined %x", op, args, value, undefined)
		}
	}
}

// ruleOf applies the rule of an instruction, or the one for instructions without.
func ruleOf(m *meta, value, undefined [3]uint64) uint64 {
	number := func(name string) int { return int(name[len(name)-1]-'0') - 1 }
	if m.flow == nil {
		for _, u := range m.uses {
			if i := number(u.name); undefined[i]&map[byte]uint64{'p': 1, 'h': 0xffff, 'r': 0xffffffff,
				'd': ^uint64(0)}[u.name[1]] != 0 {
				return ^uint64(0)
			}
		}
		return 0
	}
	var x []bitValue
	args := m.src.Args[1:]
	if len(args[0].List) > 0 {
		args = args[0].List
	}
	for i, a := range m.flow.args {
		if a.constant {
			x = append(x, bitValue{a.value, 0})
			continue
		}
		n := number(args[i].Name)
		keep := a.keep
		switch {
		case a.pred:
			keep = 1
		case !a.wide && args[i].Name[1] == 'h':
			keep &= 0xffff
		case !a.wide:
			keep &= 0xffffffff
		}
		v := bitValue{value[n] & keep, undefined[n] & keep}
		if a.not {
			v.v ^= 1
		}
		x = append(x, v)
	}
	return m.flow.rule(x, 0)
}

// allResults runs the kernel once for each way to fill the undefined bits.
func allResults(t *testing.T, k *Kernel, value, undefined [3]uint64) []uint64 {
	n := 0
	for _, u := range undefined {
		n += bits.OnesCount64(u)
	}
	var in []byte
	for way := range 1 << n {
		left := way
		for i, v := range value {
			v &^= undefined[i]
			for u := undefined[i]; u != 0; u &= u - 1 {
				v |= uint64(left&1) << bits.TrailingZeros64(u)
				left >>= 1
			}
			in = binary.LittleEndian.AppendUint64(in, v)
		}
	}
	m := NewMachine(Options{Workers: 1})
	from, err := m.Alloc(int64(len(in)), "in")
	require.NoError(t, err)
	require.NoError(t, m.Write(from, in))
	to, err := m.Alloc(int64(8<<n), "out")
	require.NoError(t, err)
	arg := func(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }
	_, err = m.Run(t.Context(), Launch{Kernel: k, Grid: [3]int{1, 1, 1}, Block: [3]int{1 << n, 1, 1},
		Args: [][]byte{arg(to), arg(from)}})
	require.NoError(t, err)
	out := make([]byte, 8<<n)
	require.NoError(t, m.Read(to, out))
	var list []uint64
	for ; len(out) > 0; out = out[8:] {
		list = append(list, binary.LittleEndian.Uint64(out))
	}
	return list
}

// A shade keeps bits through overlapping stores of any size, like a plain array of bits.
func TestShadesAgainstBits(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	h, plain := newShade(70), make([]byte, 70)
	for i := range plain {
		plain[i] = 0xff
	}
	for range 5000 {
		n := 1 << r.IntN(4)
		off := r.IntN(70 - n + 1)
		u := uint64(0)
		if r.IntN(2) == 0 {
			u = r.Uint64() >> r.IntN(64)
		}
		if r.IntN(4) == 0 {
			u = ^uint64(0)
		}
		switch r.IntN(3) {
		case 0:
			h.setUndefined(uint64(off), n, u)
			for i := range n {
				plain[off+i] = byte(u >> (8 * i))
			}
		case 1:
			from := r.IntN(70 - n + 1)
			h.copyRange(uint64(off), uint64(from), uint64(n))
			for i := range n { // in the order of addresses
				plain[off+i] = plain[from+i]
			}
		}
		want := uint64(0)
		for i := range n {
			want |= uint64(plain[off+i]) << (8 * i)
		}
		assert.Equal(t, want, h.undefinedBits(uint64(off), n))
	}
}
