package ptx_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/ptx"
)

// A snippet is a kernel "k" given by its statements. It has one parameter, a pointer in %out, and the thread's index in
// %t; registers %r, %d (64 bits), %f, %h (16 bits) and %p are declared.
type snippet struct {
	module string // declarations before the kernel
	vars   string // variables of the kernel
	body   string
	grid   int
	block  int
	bytes  int64 // of out, zero unless raw
	raw    bool  // out is not initialised
	shared int
	coop   bool
	opt    ptx.Options
}

func (s snippet) text() string {
	return ".version 8.0\n.target sm_80\n.address_size 64\n" + s.module + `
.visible .entry k(.param .u64 k_out)
{
` + s.vars + `
.reg .pred %p<8>;
.reg .b16 %h<8>;
.reg .b32 %r<32>;
.reg .f32 %f<16>;
.reg .b64 %d<16>;
.reg .u32 %t;
.reg .u64 %out;
ld.param.u64 %out, [k_out];
mov.u32 %t, %tid.x;
` + s.body + `
ret;
}
`
}

// run executes the snippet and returns what is in out.
func (s snippet) run(t *testing.T) ([]uint32, *ptx.Result, error) {
	t.Helper()
	return s.runContext(t, t.Context())
}

func (s snippet) runContext(t *testing.T, ctx context.Context) ([]uint32, *ptx.Result, error) {
	t.Helper()
	module, err := ptx.Load("snippet.ptx", s.text())
	require.NoError(t, err, s.text())
	m := ptx.NewMachine(s.opt)
	out, err := m.Alloc(s.bytes, "out")
	require.NoError(t, err)
	if !s.raw {
		require.NoError(t, m.Fill(out, 0, s.bytes))
	}
	res, err := m.Run(ctx, ptx.Launch{Kernel: module.Kernel("k"), Grid: line(max(s.grid, 1)),
		Block:  line(max(s.block, 1)),
		Shared: s.shared, Cooperative: s.coop, Args: [][]byte{binary.LittleEndian.AppendUint64(nil, out)}})
	bytes := make([]byte, s.bytes)
	require.NoError(t, m.Read(out, bytes))
	words := make([]uint32, s.bytes/4)
	for i := range words {
		words[i] = binary.LittleEndian.Uint32(bytes[4*i:])
	}
	return words, res, err
}

// results runs the snippet without the sanitizer and with it, where it has to be clean.
func (s snippet) results(t *testing.T) []uint32 {
	t.Helper()
	words, _, err := s.run(t)
	require.NoError(t, err)
	s.opt.Sanitize = true
	again, res, err := s.run(t)
	require.NoError(t, err)
	require.Empty(t, res.Reports)
	require.Equal(t, words, again)
	return words
}

// reports runs the snippet under the sanitizer and returns the kinds that it reports, each once.
func (s snippet) reports(t *testing.T) []ptx.Report {
	t.Helper()
	s.opt.Sanitize = true
	_, res, err := s.run(t)
	if err != nil {
		var f *ptx.Fault
		require.ErrorAs(t, err, &f)
	}
	require.NotNil(t, res)
	return res.Reports
}

// own is the address of the thread's word of out in %d1, for blocks of the launch side by side.
const ownWord = `
mov.u32 %r30, %ctaid.x;
mov.u32 %r31, %ntid.x;
mad.lo.u32 %r30, %r30, %r31, %t;
mul.wide.u32 %d1, %r30, 4;
add.u64 %d1, %out, %d1;
`

func sequence(n int, f func(i int) uint32) []uint32 {
	list := make([]uint32, n)
	for i := range list {
		list[i] = f(i)
	}
	return list
}

func kinds(reports []ptx.Report) (list []string) {
	for _, r := range reports {
		list = append(list, fmt.Sprintf("%s:%d", r.Kind, r.PTXLine))
	}
	return list
}
