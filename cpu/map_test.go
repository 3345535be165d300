package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/expr"
)

// point evaluates an expression at one point with float32 steps: what a Map must give, to the bit, where all functions
// are exact or correctly rounded.
func point(e *expr.Expr, idx []int, real func(i int) float32, ints func(i int) int32) ([]float32, []int32) {
	f, n := make([]float32, len(e.Steps)), make([]int32, len(e.Steps))
	for i, s := range e.Steps {
		a, b, c := s.Args[0], s.Args[1], s.Args[2]
		switch s.Fn {
		case expr.Input:
			f[i], n[i] = real(s.Arg), ints(s.Arg)
		case expr.Const:
			f[i] = float32(s.Const)
		case expr.Iota:
			n[i] = int32(idx[s.Arg])
		case expr.IAdd:
			n[i] = n[a] + n[b]
		case expr.ISub:
			n[i] = n[a] - n[b]
		case expr.IMul:
			n[i] = n[a] * n[b]
		case expr.ILt:
			f[i] = truth(n[a] < n[b])
		case expr.IEq:
			f[i] = truth(n[a] == n[b])
		case expr.ToReal:
			f[i] = float32(n[a])
		case expr.ToInt:
			toInt(n[i:i+1], f[a:a+1])
		default:
			f[i] = float32(expr.Table[s.Fn].Eval(float64(f[a]), float64(f[b]), float64(f[c])))
		}
	}
	return f, n
}

// coordinates of point number i.
func coordinates(shape []int, i int) []int {
	idx := make([]int, len(shape))
	for d := len(shape) - 1; d >= 0; d-- {
		idx[d] = i % shape[d]
		i /= shape[d]
	}
	return idx
}

// exactFns are the functions whose float32 result is determined to the bit.
func exactFns() []expr.Fn {
	var list []expr.Fn
	for f := range expr.NumFn {
		if expr.Table[f].Arity > 0 && Ulps[f] <= 0.5 {
			list = append(list, f)
		}
	}
	return list
}

// randomExpr draws an expression over some Real and Int inputs; every step may be an output.
func randomExpr(r *rand.Rand, inputs []expr.Type, rank int) (*expr.Expr, []expr.Type) {
	var b build
	var types []expr.Type
	pick := func(t expr.Type) int {
		for {
			if i := r.IntN(len(types)); types[i] == t {
				return i
			}
		}
	}
	for i, t := range inputs {
		b.in(i)
		types = append(types, t)
	}
	b.c(float64(float32(r.NormFloat64())))
	b.c(0)
	types = append(types, expr.Real, expr.Real)
	if rank > 0 {
		b.iota(r.IntN(rank))
		types = append(types, expr.Int)
	} else {
		b.step(expr.ToInt, len(types)-1)
		types = append(types, expr.Int)
	}
	fns := append(exactFns(), expr.Mul, expr.Mul, expr.Mul, expr.Add, expr.Add, expr.Sub, expr.Sub) // some of them fuse
	for range 1 + r.IntN(12) {
		f := fns[r.IntN(len(fns))]
		var args []int
		for range expr.Table[f].Arity {
			args = append(args, pick(expr.Table[f].In))
		}
		b.step(f, args...)
		types = append(types, expr.Table[f].Out)
	}
	return &b.Expr, types
}

// alike compares bits, any NaN being like any other.
func alike(a, b float32) bool {
	return math.Float32bits(a) == math.Float32bits(b) || a != a && b != b
}

// Random expressions over random views, with several outputs of which some are exactly an input: the same bits as one
// point after the other.
func TestMapRandomExpressions(t *testing.T) {
	p := newPool(t, 3)
	shapes := [][]int{{}, {1}, {5}, {3, 4}, {7, 1, 3}, {2, 3, 4}, {30, 10}, {3, 1000}, {5000}, {2, 2, 2, 2}}
	for seed := range uint64(600) {
		r := rng(seed)
		shape := shapes[r.IntN(len(shapes))]
		n := size(shape)
		var in []Array
		var types []expr.Type
		for range 1 + r.IntN(4) {
			a := randomView(r, shape)
			types = append(types, expr.Real)
			if r.IntN(4) == 0 {
				a = asInt(r, a)
				types[len(types)-1] = expr.Int
			}
			in = append(in, a)
		}
		e, values := randomExpr(r, types, len(shape))
		var out []Array
		taken := map[int]bool{}
		for range 1 + r.IntN(3) {
			v := r.IntN(len(values))
			e.Outs = append(e.Outs, v)
			o := randomOut(r, shape)
			if values[v] == expr.Int {
				o = asInt(r, o)
			}
			for j := range in { // sometimes exactly an input
				if types[j] == values[v] && !taken[j] && canBeOut(&in[j]) && r.IntN(3) == 0 {
					o, taken[j] = in[j], true
					break
				}
			}
			out = append(out, o)
		}
		real := make([][]float32, n)
		ints := make([][]int32, n)
		for i := range n {
			real[i], ints[i] = point(e, coordinates(shape, i),
				func(k int) float32 {
					if in[k].Real == nil {
						return 0
					}
					return in[k].Real[offsetOf(&in[k], i)]
				},
				func(k int) int32 {
					if in[k].Int == nil {
						return 0
					}
					return in[k].Int[offsetOf(&in[k], i)]
				})
		}
		require.NoError(t, hold(p, NewMap(p, e, shape, in, out)))
		for k := range out {
			for i := range n {
				if off := offsetOf(&out[k], i); out[k].Int != nil {
					require.Equal(
						t, ints[i][e.Outs[k]], out[k].Int[off], "seed %d, %v, out %d, point %d", seed, e, k, i,
					)
				} else if got, want := out[k].Real[off], real[i][e.Outs[k]]; !alike(got, want) {
					t.Fatalf(
						"seed %d, shape %v, %v, out %d, point %d: got %v, want %v", seed, shape, e, k, i, got, want,
					)
				}
			}
		}
	}
}

func randomView(r *rand.Rand, shape []int) Array {
	if r.IntN(2) == 0 && len(shape) > 0 {
		if r.IntN(3) == 0 {
			all := make([]int, len(shape))
			for i := range all {
				all[i] = i
			}
			return repeated(r, shape, all...)
		}
		return repeated(r, shape, r.IntN(len(shape)))
	}
	return randomOut(r, shape)
}

func randomOut(r *rand.Rand, shape []int) Array {
	if r.IntN(2) == 0 {
		return scattered(r, "dense", shape...)
	}
	return scattered(r, layouts[r.IntN(len(layouts))], shape...)
}

func asInt(r *rand.Rand, a Array) Array {
	a.Int = make([]int32, len(a.Real))
	for i := range a.Int {
		a.Int[i] = int32(r.IntN(11) - 5)
	}
	a.Real = nil
	return a
}

func canBeOut(a *Array) bool {
	for i, d := range a.Shape {
		if d > 1 && a.Strides[i] == 0 {
			return false
		}
	}
	return true
}

// Outputs that exchange two inputs: each store would destroy what the other reads.
func TestMapSwap(t *testing.T) {
	p := newPool(t, 1)
	x, y := rowMajor([]float32{1, 2, 3}, 3), rowMajor([]float32{4, 5, 6}, 3)
	var b build
	b.in(0)
	b.in(1)
	require.NoError(t, hold(p, NewMap(p, b.outs(1, 0), []int{3}, []Array{x, y}, []Array{x, y})))
	require.Equal(t, []float32{4, 5, 6}, x.Real)
	require.Equal(t, []float32{1, 2, 3}, y.Real)
}

// An expression written into its input keeps the input until its last reader.
func TestMapOutputUnderLaterInput(t *testing.T) {
	p := newPool(t, 1)
	x := rowMajor([]float32{1, 2, 3}, 3)
	other := rowMajor(make([]float32, 3), 3)
	var b build
	in := b.in(0)
	square := b.step(expr.Mul, in, in)
	b.outs(square, b.step(expr.Sub, square, in))
	require.NoError(t, hold(p, NewMap(p, &b.Expr, []int{3}, []Array{x}, []Array{x, other})))
	require.Equal(t, []float32{1, 4, 9}, x.Real)
	require.Equal(t, []float32{0, 2, 6}, other.Real)
}

// A product that something else needs too stays a step of its own.
func TestMapSharedProduct(t *testing.T) {
	p := newPool(t, 1)
	x := rowMajor([]float32{1, 2, 3}, 3)
	for _, alsoOut := range []bool{false, true} {
		var b build
		in := b.in(0)
		product := b.step(expr.Mul, in, in)
		a := b.step(expr.Add, product, in)
		s := b.step(expr.Sub, in, product)
		b.outs(a, s)
		out := []Array{rowMajor(make([]float32, 3), 3), rowMajor(make([]float32, 3), 3)}
		if alsoOut {
			b.outs(a, product)
		}
		require.NoError(t, hold(p, NewMap(p, &b.Expr, []int{3}, []Array{x}, out)))
		require.Equal(t, []float32{2, 6, 12}, out[0].Real)
		if alsoOut {
			require.Equal(t, []float32{1, 4, 9}, out[1].Real)
		} else {
			require.Equal(t, []float32{0, -2, -6}, out[1].Real)
		}
	}
}

// What is the same everywhere is computed once; what lies densely is not copied; w - lr·g is one loop.
func TestMapCodeIsShort(t *testing.T) {
	p := newPool(t, 1)
	n := 4000
	w, g := rowMajor(make([]float32, n), n), rowMajor(make([]float32, n), n)
	lr := Array{Real: []float32{1}, Shape: []int{n}, Strides: []int{0}}
	var b build
	rate := b.step(expr.Div, b.in(2), b.c(10))
	m := NewMap(
		p, b.outs(b.step(expr.Sub, b.in(0), b.step(expr.Mul, rate, b.in(1)))), []int{n}, []Array{w, g, lr}, []Array{w},
	)
	require.Len(t, m.prog.code, 1)
	require.Equal(t, formVSV, m.prog.code[0].form)
	require.Len(t, m.prog.prelude, 2) // load lr, divide
	require.Zero(t, m.prog.realRegs)
}

// A long chain reuses its registers.
func TestMapReusesRegisters(t *testing.T) {
	p := newPool(t, 1)
	n := 100
	var b build
	v := b.in(0)
	for range 30 {
		v = b.step(expr.Div, b.step(expr.Abs, v), b.in(0))
	}
	m := NewMap(
		p, b.outs(v), []int{n}, []Array{rowMajor(make([]float32, n), n)}, []Array{rowMajor(make([]float32, n), n)},
	)
	require.LessOrEqual(t, m.prog.realRegs, 1)
}

func TestCopyCasts(t *testing.T) {
	p := newPool(t, 1)
	src := rowMajor([]float32{1.9, -1.9, float32(math.NaN()), 1e20, 7, 0}, 2, 3)
	dst := Array{Int: make([]int32, 6), Shape: []int{2, 3}, Strides: []int{1, 2}} // transposed
	require.NoError(t, hold(p, NewCopy(p, dst, src)))
	require.Equal(t, []int32{1, 0, -1, 7, 0, 0}, dst.Int)
	back := rowMajor(make([]float32, 6), 2, 3)
	require.NoError(t, hold(p, NewCopy(p, back, dst)))
	require.Equal(t, []float32{1, -1, 0, 0, 7, 0}, back.Real)
}

// Copies between all orders of axes reach every element, and nothing else.
func TestCopyTransposes(t *testing.T) {
	r := rng(8)
	for _, level := range Levels() {
		p := newPoolAt(t, 3, level)
		for _, shape := range [][]int{{1, 1}, {1, 9}, {9, 1}, {2, 3}, {64, 10}, {65, 130}, {130, 65}, {3, 40, 70},
			{2, 1, 5, 90}, {2, 3, 4, 5}, {0, 3}} {
			for _, from := range layouts {
				for _, to := range layouts {
					for turn := range len(shape) {
						src, dst := scattered(r, from, shape...), scattered(r, to, turned(shape, turn)...)
						dst.Shape, dst.Strides = shape, turned(dst.Strides, len(shape)-turn)
						want := append([]float32(nil), dst.Real...)
						for i := range size(shape) {
							want[offsetOf(&dst, i)] = src.Real[offsetOf(&src, i)]
						}
						require.NoError(t, hold(p, NewCopy(p, dst, src)))
						require.Equal(t, want, dst.Real, "%v from %s to %s, turned by %d", shape, from, to, turn)
					}
				}
			}
		}
	}
}

// turned is the list turned by n places.
func turned(list []int, n int) []int {
	n %= len(list)
	return append(append([]int(nil), list[n:]...), list[:n]...)
}

func TestMapOfNothing(t *testing.T) {
	p := newPool(t, 1)
	for _, shape := range [][]int{{0}, {3, 0}, {0, 3}} {
		var b build
		a := Array{Real: nil, Off: 99, Shape: shape, Strides: rowMajorStrides(shape)}
		require.NoError(
			t, hold(p, NewMap(p, b.outs(b.step(expr.Exp, b.in(0))), shape, []Array{a}, []Array{a})), fmt.Sprint(shape),
		)
	}
}
