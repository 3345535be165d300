package emit_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device/cuda/emit"
	"bilevel/internal/expr"
	"bilevel/internal/ptx"
	"bilevel/internal/testrun"
	"bilevel/kernels"
)

func init() { testrun.CollectLess() }

// A finish is a product with the epilogue max(y·p + q, out) + 16·batch + 4·row + column, all numbers of it small
// integers, so that there is but one right result.
type finish struct {
	batch, m, n, k            int
	transA, transB, transOut  bool
	maskA, maskB, tensor, odd bool // odd: rows of extras and result begin anywhere
	processors                int
	last                      bool // run the last launch alone: the others are many
}

var finishing = &expr.Expr{Steps: []expr.Step{
	{Arg: 0}, {Arg: 1}, {Arg: 2}, {Arg: 3}, step(expr.Mul, 0, 1), step(expr.ToReal, 2), step(expr.Add, 4, 5),
	step(expr.Max, 6, 3), {Fn: expr.Iota, Arg: 0}, step(expr.ToReal, 8), {Fn: expr.Const, Const: 16},
	step(expr.Mul, 9, 10), step(expr.Add, 7, 11), {Fn: expr.Iota, Arg: 1}, step(expr.ToReal, 13),
	{Fn: expr.Const, Const: 4}, step(expr.Mul, 14, 15), step(expr.Add, 12, 16), {Fn: expr.Iota, Arg: 2},
	step(expr.ToReal, 18), step(expr.Add, 17, 19),
}, Outs: []int{20}}

// matrix places a batch of matrices, columns contiguous where it is turned.
func matrix(number, batch, rows, cols, off, pad int, turned bool) (s kernels.Strided, size int) {
	s = kernels.Strided{Number: number, Off: off, Strides: [3]int{rows * (cols + pad), cols + pad, 1}}
	if turned {
		s.Strides = [3]int{cols * (rows + pad), 1, rows + pad}
	}
	return s, off + batch*(rows+pad)*(cols+pad)
}

func at(s kernels.Strided, b, i, j int) int {
	return s.Off + b*s.Strides[0] + i*s.Strides[1] + j*s.Strides[2]
}

// run does the product on a simulated card, compares every element and gives the kernels that were launched.
func (c finish) run(t *testing.T, opt ptx.Options) []string {
	rng := rand.New(rand.NewPCG(5, 6))
	off, pad := 0, 0
	if c.odd {
		off, pad = 3, 2
	}
	var data [][]int32
	place := func(batch, rows, cols, off, pad int, turned bool, low, high int) kernels.Strided {
		s, size := matrix(len(data), batch, rows, cols, off, pad, turned)
		list := make([]int32, size)
		for i := range list {
			list[i] = int32(low + rng.IntN(high-low+1))
		}
		data = append(data, list)
		return s
	}
	g := kernels.Gemm{Batch: c.batch, M: c.m, N: c.n, K: c.k, Processors: c.processors, TensorCores: c.tensor}
	g.A = place(c.batch, c.m, c.k, 0, 0, c.transA, -3, 3)
	g.B = place(c.batch, c.k, c.n, 0, 0, c.transB, -3, 3)
	if c.maskA {
		mask := place(c.batch, c.m, c.k, 0, 0, c.transA, 0, 1)
		g.MaskA = &mask
	}
	if c.maskB {
		mask := place(c.batch, c.k, c.n, 0, 0, c.transB, 0, 1)
		g.MaskB = &mask
	}
	p := place(c.batch, c.m, c.n, off, pad, false, -3, 3)
	q := place(1, 1, c.n, off, 0, false, -9, 9) // an Int a column
	q.Strides = [3]int{0, 0, 1}
	g.Out = place(c.batch, c.m, c.n, off, pad, c.transOut, -20, 20)

	want := append([]int32(nil), data[g.Out.Number]...)
	for b := range c.batch {
		for i := range c.m {
			for j := range c.n {
				y := int32(0)
				for k := range c.k {
					x := data[g.A.Number][at(g.A, b, i, k)] * data[g.B.Number][at(g.B, b, k, j)]
					if c.maskA {
						x *= data[g.MaskA.Number][at(*g.MaskA, b, i, k)]
					}
					if c.maskB {
						x *= data[g.MaskB.Number][at(*g.MaskB, b, k, j)]
					}
					y += x
				}
				o := at(g.Out, b, i, j)
				y = y*data[p.Number][at(p, b, i, j)] + data[q.Number][at(q, b, i, j)]
				want[o] = max(y, want[o]) + int32(16*b+4*i+j)
			}
		}
	}

	extra := func(s kernels.Strided, t expr.Type) emit.Extra {
		return emit.Extra{Array: emit.Array{Type: t, Off: s.Off, Strides: s.Strides[:]}, Number: s.Number}
	}
	prog := emit.Epilogue(
		finishing, [3]int{c.batch, c.m, c.n},
		[]emit.Extra{extra(p, expr.Real), extra(q, expr.Int), extra(g.Out, expr.Real)}, g.Plan(),
	)
	launches, first := prog.Launches, 0
	if c.last {
		first = 65535
		launches = launches[len(launches)-1:]
	}
	m := ptx.NewMachine(opt)
	alloc := func(n int, label string) uint64 {
		a, err := m.Alloc(int64(n), label)
		require.NoError(t, err)
		return a
	}
	var place64, scratch []uint64
	for i, list := range data {
		place64 = append(place64, alloc(4*max(len(list), 1), fmt.Sprint("operand ", i)))
		if i == q.Number {
			require.NoError(t, m.Write(place64[i], words(t, list)))
			continue
		}
		reals := make([]float32, len(list))
		for k, v := range list {
			reals[k] = float32(v)
		}
		require.NoError(t, m.Write(place64[i], words(t, reals)))
	}
	for i, n := range prog.Workspace {
		scratch = append(scratch, alloc(n, fmt.Sprint("scratch ", i)))
	}
	counters := alloc(4*max(1, prog.Counters), "counters")
	require.NoError(t, m.Write(counters, make([]byte, 4*max(1, prog.Counters))))
	var names []string
	for _, l := range launches {
		text, fused := prog.Text[l.Module]
		if !fused {
			var err error
			text, err = kernels.PTX(l.Module)
			require.NoError(t, err)
		}
		require.Equal(t, l.Marks != nil, fused)
		mod, err := ptx.Load(l.Module, text)
		require.NoError(t, err)
		var args [][]byte
		for _, a := range l.Args {
			if o, ok := a.(kernels.Operand); ok && o.Number >= 0 {
				a = place64[o.Number] + uint64(4*o.Off)
			} else if ok && o.Number == kernels.Counter {
				a = counters
			} else if ok {
				a = scratch[kernels.Scratch(o.Number)] + uint64(4*o.Off)
			}
			b, err := binary.Append(nil, binary.LittleEndian, a)
			require.NoError(t, err)
			args = append(args, b)
		}
		res, err := m.Run(
			context.Background(), ptx.Launch{Kernel: mod.Kernel(l.Entry), Grid: l.Grid, Block: l.Block, Args: args},
		)
		require.NoError(t, err, l.Entry)
		require.Empty(t, res.Reports, l.Entry)
		names = append(names, l.Entry)
	}
	got, raw := make([]float32, len(want)), make([]byte, 4*len(want))
	require.NoError(t, m.Read(place64[g.Out.Number], raw))
	_, err := binary.Decode(raw, binary.LittleEndian, got)
	require.NoError(t, err)
	for b := first; b < c.batch; b++ {
		for i := range c.m {
			for j := range c.n {
				o := at(g.Out, b, i, j)
				require.Equal(t, want[o], int32(got[o]), "batch %d, row %d, column %d", b, i, j)
			}
		}
	}
	return names
}

// finishes lists products of sizes for each kernel, with combinations of five options: without BILEVEL_LONG half of
// them, those with an even number of options and, for the next size, with an odd one. All combinations of four are
// among them.
func finishes() []finish {
	list := []finish{
		{batch: 2, m: 3, n: 5, k: 4}, {batch: 2, m: 3, n: 5, k: 4, maskA: true, transOut: true},
		{batch: 1, m: 40, n: 44, k: 520, processors: 4},
		{batch: 2, m: 37, n: 45, k: 520, processors: 8, transOut: true, odd: true},
		{batch: 65537, m: 17, n: 1, k: 1, last: true}, {batch: 1, m: 5, n: 3, k: 0},
	}
	for i, size := range [][4]int{{124, 128, 12, 1}, {127, 125, 9, 1}, {68, 72, 12, 0}, {35, 67, 9, 0},
		{132, 12, 12, 0}, {13, 131, 9, 0}} {
		for options := range 32 {
			if testrun.Size(bits.OnesCount(uint(options))%2 != i%2, false) {
				continue
			}
			on := func(i int) bool { return options>>i&1 == 1 }
			c := finish{
				batch: 1, m: size[0], n: size[1], k: size[2], processors: size[3], transA: on(0), transB: on(1),
				transOut: on(2), maskA: on(3), tensor: on(4), odd: options%3 == 1, maskB: options%11 == 10,
			}
			if size[3] == 0 {
				c.batch = 2
			}
			list = append(list, c)
		}
	}
	return list
}

// marked lists the entry points of products: all have marks.
func marked(t *testing.T) []string {
	files, err := filepath.Glob("../../../kernels/ptx/gemm*.ptx")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	var list []string
	for _, f := range files {
		text, err := os.ReadFile(f)
		require.NoError(t, err)
		for _, m := range regexp.MustCompile(`\.visible \.entry (\w+)\(`).FindAllStringSubmatch(string(text), -1) {
			list = append(list, m[1])
		}
	}
	return list
}

// Every kernel that stores a product stores the epilogue of it instead, whatever the layout of extras and result, which
// is one of the extras here; under any order of blocks and warps and any reading of float instructions.
func TestEpilogues(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]bool{}
	t.Run("", func(t *testing.T) {
		for i, c := range finishes() {
			if testing.Short() && i%16 > 0 {
				continue
			}
			t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
				t.Parallel()
				for _, name := range c.run(t, ptx.Options{Sanitize: true, Seed: uint64(i % 8),
					Float: ptx.FloatMode(i % 3)}) {
					mu.Lock()
					if i := strings.LastIndex(name, "_"); len(name)-i == 9 {
						seen[name[:i]] = true
					}
					mu.Unlock()
				}
			})
		}
	})
	for _, name := range marked(t) {
		require.True(t, seen[name] || testing.Short(), "no product ends in %s", name)
	}
}

// NVIDIA's assembler takes every kernel with the longest functions in it, and their registers stay registers.
func TestAssembleEpilogues(t *testing.T) {
	ptxas := os.Getenv("BILEVEL_PTXAS")
	if ptxas == "" {
		t.Skip("BILEVEL_PTXAS names no ptxas (the wheel nvidia-cuda-nvcc has one): the texts are not assembled")
	}
	e := &expr.Expr{
		Steps: []expr.Step{
			{Arg: 0}, {Arg: 1}, {Arg: 2}, step(expr.Tanh, 0), step(expr.Sin, 1), step(expr.Mul, 3, 4),
			step(expr.Softplus, 2), step(expr.Add, 5, 6),
		},
		Outs: []int{7},
	}
	dense := emit.Extra{Array: emit.Array{Strides: []int{64 * 64, 64, 1}}}
	for _, name := range marked(t) {
		t.Run(name, func(t *testing.T) {
			module := name
			if name == "gemm_tiny" {
				module = "gemm"
			}
			p := emit.Epilogue(
				e, [3]int{2, 64, 64}, []emit.Extra{dense, dense},
				kernels.Plan{Launches: []kernels.Launch{{Module: module, Entry: name, Marks: []int{0, 1, 2}}}},
			)
			file := filepath.Join(t.TempDir(), "fused.ptx")
			require.NoError(t, os.WriteFile(file, []byte(p.Text[p.Launches[0].Module]), 0o600))
			out, err := exec.Command(ptxas, "-arch=sm_80", "-v", file, "-o", os.DevNull).CombinedOutput()
			require.NoError(t, err, "%s", out)
			require.Equal(
				t, bytes.Count(out, []byte(" bytes stack frame")),
				bytes.Count(out, []byte(" 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads")), "%s", out,
			)
		})
	}
}
