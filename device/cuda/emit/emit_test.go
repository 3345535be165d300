package emit_test

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device/cuda/emit"
	"bilevel/internal/expr"
	"bilevel/internal/kind"
	"bilevel/internal/ptx"
	"bilevel/kernels"
)

var update = flag.Bool("update", false, "write the golden texts anew")

func step(f expr.Fn, args ...int) expr.Step {
	s := expr.Step{Fn: f}
	copy(s.Args[:], args)
	return s
}

// relu(x·w + b): the body of a dense layer.
var layer = &expr.Expr{
	Steps: []expr.Step{{}, {Arg: 1}, {Arg: 2}, step(expr.Mul, 0, 1), step(expr.Add, 3, 2), step(expr.Relu, 4)},
	Outs:  []int{5},
}

// The upper triangle of x, from Iota.
var triangle = &expr.Expr{
	Steps: []expr.Step{{}, {Fn: expr.Iota, Arg: 1}, {Fn: expr.Iota, Arg: 0}, step(expr.ILt, 1, 2), {Fn: expr.Const},
		step(expr.Where, 3, 4, 0)},
	Outs: []int{5},
}

var square = &expr.Expr{Steps: []expr.Step{{}, step(expr.Mul, 0, 0)}, Outs: []int{1}}

func real(off int, strides ...int) emit.Array { return emit.Array{Off: off, Strides: strides} }

// The texts are part of what is reviewed: a change of the generator shows here.
func TestGolden(t *testing.T) {
	for name, p := range map[string]emit.Program{
		"layer": emit.Map(layer, []int{64, 32}, []emit.Array{real(0, 32, 1), real(0, 0, 1), real(4, 0, 1)},
			[]emit.Array{real(0, 32, 1)}),
		"tail":     emit.Map(square, []int{1023}, []emit.Array{real(0, 1)}, []emit.Array{real(0, 1)}),
		"triangle": emit.Map(triangle, []int{30, 20}, []emit.Array{real(1, 40, 2)}, []emit.Array{real(0, 1, 30)}),
		"norm": emit.Reduce(square, []int{100, 70}, []int{1}, []kind.Reduce{kind.Sum}, []emit.Array{real(0, 70, 1)},
			[]emit.Array{real(0, 1, 1)}),
	} {
		require.Len(t, p.Launches, 1, name)
		text := p.Text[p.Launches[0].Module]
		file := filepath.Join("testdata", name+".ptx")
		if *update {
			require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
		}
		want, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, string(want), text, "%s: go test -update writes it anew", name)
	}
}

func words[T any](t testing.TB, data []T) []byte {
	b, err := binary.Append(nil, binary.LittleEndian, data)
	require.NoError(t, err)
	return b
}

// run executes a program on arrays in memory, under the sanitizer; the last one is the output.
func run(t testing.TB, mode ptx.FloatMode, p emit.Program, arrays ...[]float32) []float32 {
	m := ptx.NewMachine(ptx.Options{Sanitize: true, Float: mode, Seed: 3})
	alloc := func(n int, label string) uint64 {
		a, err := m.Alloc(int64(4*n), label)
		require.NoError(t, err)
		return a
	}
	var at, scratch []uint64
	for i, a := range arrays {
		at = append(at, alloc(len(a), fmt.Sprint("operand ", i)))
		require.NoError(t, m.Write(at[i], words(t, a)))
	}
	for i, n := range p.Workspace {
		scratch = append(scratch, alloc(n/4, fmt.Sprint("scratch ", i)))
	}
	zeros := make([]byte, 4*max(1, p.Counters))
	counters := alloc(len(zeros)/4, "counters")
	require.NoError(t, m.Write(counters, zeros))
	for _, l := range p.Launches {
		mod, err := ptx.Load(l.Module, p.Text[l.Module])
		require.NoError(t, err)
		var args [][]byte
		for _, a := range l.Args {
			o := a.(kernels.Operand)
			base := counters
			if o.Number >= 0 {
				base = at[o.Number]
			} else if o.Number != kernels.Counter {
				base = scratch[kernels.Scratch(o.Number)]
			}
			args = append(args, words(t, []uint64{base + uint64(4*o.Off)}))
		}
		res, err := m.Run(
			context.Background(), ptx.Launch{Kernel: mod.Kernel(l.Entry), Grid: l.Grid, Block: l.Block, Args: args},
		)
		require.NoError(t, err)
		require.Empty(t, res.Reports)
	}
	after := make([]byte, len(zeros))
	require.NoError(t, m.Read(counters, after))
	require.Equal(t, zeros, after, "counters are left as they were")
	last := len(arrays) - 1
	out, raw := make([]float32, len(arrays[last])), make([]byte, 4*len(arrays[last]))
	require.NoError(t, m.Read(at[last], raw))
	_, err := binary.Decode(raw, binary.LittleEndian, out)
	require.NoError(t, err)
	return out
}

// measured are the largest errors that the functions have, in units in the last place of the result: an upper bound of
// what this test finds over all sizes of arguments, not the 4 that devices are allowed.
var measured = map[expr.Fn]float64{
	expr.Exp: 1, expr.Log: 0.8, expr.Sin: 1.6, expr.Cos: 1.6, expr.Tanh: 1.6, expr.Sigmoid: 2.2, expr.Softplus: 2.6,
	expr.Sqrt: 0.5, expr.Floor: 0,
}

// The error of each function against float64, for arguments of every size, and the same bits in every float mode.
func TestErrors(t *testing.T) {
	n := 1 << 17
	if testing.Short() {
		n = 1 << 14
	}
	rng := rand.New(rand.NewPCG(1, 2))
	x := make([]float32, n)
	for i := range x {
		switch i % 4 {
		case 0: // any bits
			x[i] = math.Float32frombits(rng.Uint32())
		case 1: // where exp is finite
			x[i] = float32(rng.Float64()*200 - 105)
		case 2:
			x[i] = float32(rng.NormFloat64())
		default: // near multiples of π/2, and near 1
			x[i] = float32(float64(rng.IntN(1<<20))*math.Pi/2) + float32(i%3-1)*0x1p-20
			if i%8 == 3 {
				x[i] = 1 + float32(rng.NormFloat64())*0x1p-10
			}
		}
	}
	for f, most := range measured {
		e := &expr.Expr{Steps: []expr.Step{{}, step(f, 0)}, Outs: []int{1}}
		p := emit.Map(e, []int{n}, []emit.Array{real(0, 1)}, []emit.Array{real(0, 1)})
		got := run(t, ptx.Exact, p, x, make([]float32, n))
		worst, at := 0., float32(0)
		for i, y := range got {
			want := expr.Table[f].Eval(float64(x[i]), 0, 0)
			if math.IsNaN(want) || math.IsInf(want, 0) || math.Abs(want) > math.MaxFloat32 {
				require.True(
					t, float64(y) == float64(float32(want)) || y != y && want != want, "%s(%v) = %v, want %v", f, x[i],
					y, want,
				)
				continue
			}
			_, exponent := math.Frexp(want)
			if off := math.Abs(float64(y)-want) / math.Ldexp(1, max(exponent-24, -149)); off > worst {
				worst, at = off, x[i]
			}
		}
		t.Logf("%s: %.2f ulps, at %v", f, worst, at)
		require.LessOrEqual(t, worst, most, "%s at %v", f, at)
		if !testing.Short() || f == expr.Sin {
			for _, mode := range []ptx.FloatMode{ptx.Pessimistic, ptx.Contract} {
				require.Equal(
					t, words(t, got), words(t, run(t, mode, p, x, make([]float32, n))), "%s, mode %d", f, mode,
				)
			}
		}
	}
}

// Offsets beyond 31 bits are computed in 64; others are not.
func TestWide(t *testing.T) {
	p := emit.Map(square, []int{2, 3}, []emit.Array{real(0, 1<<30, 1)}, []emit.Array{real(0, 3, 1)})
	require.NotContains(t, p.Text[p.Launches[0].Module], "mad.lo.u64")
	p = emit.Map(square, []int{2, 3}, []emit.Array{real(0, 1<<31, 1)}, []emit.Array{real(0, 3, 1)})
	text := p.Text[p.Launches[0].Module]
	require.Contains(t, text, "mad.lo.u64")
	_, err := ptx.Load("wide", text)
	require.NoError(t, err)
}

// Sums of many terms take several passes, of which the last one belongs to the launch before; the terms are such that
// every order gives the same bits.
func TestPasses(t *testing.T) {
	for _, c := range []struct {
		shape, axes []int
		counters    int
	}{
		{[]int{1 << 18}, []int{0}, 1}, {[]int{5, 40000}, []int{1}, 1}, {[]int{70000, 3}, []int{0}, 1},
		{[]int{3000, 100}, []int{0}, 4}, {[]int{3000, 70}, []int{0}, 3}, {[]int{90, 4000}, []int{1}, 1},
		{[]int{20, 10}, []int{0}, 0}, {[]int{7, 1}, []int{1}, 0},
	} {
		n, kept := 1, 1
		strides, outs := make([]int, len(c.shape)), make([]int, len(c.shape))
		for a := len(c.shape) - 1; a >= 0; a-- {
			strides[a], outs[a] = n, kept
			n *= c.shape[a]
			if a != c.axes[0] {
				kept *= c.shape[a]
			}
		}
		x, want := make([]float32, n), make([]float32, kept)
		for i := range x {
			x[i] = float32(i%5 - 2)
			cell := 0
			for a := range c.shape {
				if a != c.axes[0] {
					cell += i / strides[a] % c.shape[a] * outs[a]
				}
			}
			want[cell] += x[i] * x[i]
		}
		p := emit.Reduce(square, c.shape, c.axes, []kind.Reduce{kind.Sum}, []emit.Array{{Strides: strides}},
			[]emit.Array{{Strides: outs}})
		require.Len(t, p.Launches, 1, "%v", c)
		require.Equal(t, c.counters, p.Counters, "%v", c)
		require.Equal(t, want, run(t, ptx.Exact, p, x, make([]float32, kept)), "%v", c)
	}
}

// The order in which terms are added follows from the shape and does not change, so that a run which is continued gives
// the same bits: the sums of these terms, which every order rounds differently, are those that the first kernels gave,
// which loaded one term at a time and took every step of a tree through shared memory.
func TestOrderOfTerms(t *testing.T) {
	product := &expr.Expr{Steps: []expr.Step{{}, {Arg: 1}, step(expr.Mul, 0, 1)}, Outs: []int{2}}
	for _, c := range []struct {
		shape, axes []int
		sum         uint32 // CRC-32 of the bits of the result
	}{
		{[]int{1 << 18}, []int{0}, 0x217245cb}, {[]int{5, 40000}, []int{1}, 0x67f30361},
		{[]int{70000, 3}, []int{0}, 0x01167016}, {[]int{300, 7, 11}, []int{0, 2}, 0x9edb871f},
		{[]int{33, 100}, []int{1}, 0xdeab747a}, {[]int{20, 10}, []int{0}, 0x11e16ece},
		{[]int{513, 200}, []int{0}, 0xf6c1ccdc}, {[]int{3000, 70}, []int{1}, 0x3081134c},
		{[]int{7, 1}, []int{1}, 0xbbb7880e},
	} {
		n, kept := 1, 1
		strides, outs := make([]int, len(c.shape)), make([]int, len(c.shape))
		for a := len(c.shape) - 1; a >= 0; a-- {
			strides[a] = n
			n *= c.shape[a]
			if !slices.Contains(c.axes, a) {
				outs[a] = kept
				kept *= c.shape[a]
			}
		}
		rng := rand.New(rand.NewPCG(5, 6))
		x, y := make([]float32, n), make([]float32, n)
		for i := range x {
			x[i], y[i] = float32(rng.NormFloat64()), float32(rng.NormFloat64())
		}
		in, out := emit.Array{Strides: strides}, emit.Array{Strides: outs}
		p := emit.Reduce(product, c.shape, c.axes, []kind.Reduce{kind.Sum}, []emit.Array{in, in}, []emit.Array{out})
		got := run(t, ptx.Exact, p, x, y, make([]float32, kept))
		require.Equal(t, c.sum, crc32.ChecksumIEEE(words(t, got)), "%v over %v", c.shape, c.axes)
	}
}
