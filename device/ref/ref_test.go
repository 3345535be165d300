package ref

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"

	"bilevel/device"
	"bilevel/internal/expr"
	"bilevel/internal/philox"
)

// The reference device is what all others are compared with, so its own tests compare it with something else: gonum,
// and numbers worked out by hand.

// run executes one instruction over Real or Int buffers and gives the contents of the last one.
func run(t *testing.T, in device.Instr, mem ...any) ([]float64, []int32) {
	t.Helper()
	reals, ints, err := try(t, in, mem...)
	require.NoError(t, err)
	return reals, ints
}

func try(t *testing.T, in device.Instr, mem ...any) ([]float64, []int32, error) {
	t.Helper()
	d := New()
	defer d.Close()
	p := &device.Program{Name: t.Name(), Code: []device.Instr{in}}
	var last device.HostSlice
	for _, m := range mem {
		switch m := m.(type) {
		case []float64:
			last = device.Float64s(m)
		case []int32:
			last = device.Int32s(m)
		}
		b, err := d.Alloc(last.Type(), last.Len())
		require.NoError(t, err)
		require.NoError(t, d.Upload(b, 0, last))
		p.Buffers = append(p.Buffers, b)
	}
	r, err := d.Prepare(p)
	require.NoError(t, err)
	defer r.Close()
	if err := r.Run(1); err != nil {
		return nil, nil, err
	}
	out := device.HostSlice{F64: make([]float64, len(last.F64))}
	if last.Type() == device.Int {
		out = device.Int32s(make([]int32, len(last.I32)))
	}
	require.NoError(t, d.Download(out, p.Buffers[len(p.Buffers)-1], 0))
	return out.F64, out.I32, nil
}

func normals(n int) []float64 {
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	x := make([]float64, n)
	for i := range x {
		x[i] = rng.NormFloat64()
	}
	return x
}

func views(v ...device.View) []device.View { return v }

// relu(in0 + in1)
var reluSum = &expr.Expr{
	Steps: []expr.Step{
		{Fn: expr.Input}, {Fn: expr.Input, Arg: 1}, {Fn: expr.Add, Args: [3]int{0, 1}},
		{Fn: expr.Relu, Args: [3]int{2}},
	},
	Outs: []int{3},
}

func TestGemmAgainstGonum(t *testing.T) {
	const m, k, n = 17, 130, 23
	a, b, mask, bias := normals(m*k), normals(k*n), normals(m*k), normals(n)
	masked := make([]float64, m*k)
	floats.MulTo(masked, a, mask)
	var want mat.Dense
	want.Mul(mat.NewDense(m, k, masked), mat.NewDense(k, n, b))
	want.Apply(func(_, j int, y float64) float64 { return max(y+bias[j], 0) }, &want)

	in := device.Instr{
		Op: device.Gemm, Attr: device.GemmAttr{MaskA: true, Epilogue: reluSum},
		In: views(device.Dense(0, 0, 1, m, k), device.Dense(1, 0, 1, k, n), device.Dense(2, 0, 1, m, k),
			device.View{Buf: 3, Shape: []int{1, m, n}, Strides: []int{0, 0, 1}}),
		Out: views(device.Dense(4, 0, 1, m, n)),
	}
	got, _ := run(t, in, a, b, mask, bias, make([]float64, m*n))
	require.InDeltaSlice(t, want.RawMatrix().Data, got, 1e-12)

	// The same product from transposed memory: (B'A')' with strides exchanged.
	in = device.Instr{
		Op: device.Gemm, Attr: device.GemmAttr{},
		In: views(device.View{Buf: 1, Shape: []int{1, n, k}, Strides: []int{0, 1, n}},
			device.View{Buf: 0, Shape: []int{1, k, m}, Strides: []int{0, 1, k}}),
		Out: views(device.View{Buf: 2, Shape: []int{1, n, m}, Strides: []int{0, 1, n}}),
	}
	got, _ = run(t, in, masked, b, make([]float64, m*n))
	want.Mul(mat.NewDense(m, k, masked), mat.NewDense(k, n, b))
	require.InDeltaSlice(t, want.RawMatrix().Data, got, 1e-12)
}

func TestGemmBatches(t *testing.T) {
	in := device.Instr{Op: device.Gemm, Attr: device.GemmAttr{},
		In:  views(device.Dense(0, 0, 2, 1, 2), device.Dense(1, 0, 2, 2, 1)),
		Out: views(device.Dense(2, 0, 2, 1, 1))}
	got, _ := run(t, in, []float64{1, 2, 3, 4}, []float64{5, 6, 7, 8}, make([]float64, 2))
	require.Equal(t, []float64{1*5 + 2*6, 3*7 + 4*8}, got)
}

func TestMapStrides(t *testing.T) {
	// out[i,j] = relu(x[j,i] + b[i]) with the output transposed once more
	in := device.Instr{
		Op:   device.Map,
		Attr: device.MapAttr{Shape: []int{2, 3}, Expr: reluSum},
		In: views(
			device.View{Buf: 0, Shape: []int{2, 3}, Strides: []int{1, 2}},
			device.View{Buf: 1, Off: 1, Shape: []int{2, 3}, Strides: []int{1, 0}},
		),
		Out: views(device.View{Buf: 2, Off: 1, Shape: []int{2, 3}, Strides: []int{1, 2}}),
	}
	got, _ := run(t, in, []float64{1, 2, 3, 4, 5, 6}, []float64{100, 10, -4}, make([]float64, 8))
	require.Equal(t, []float64{0, 11, 0, 13, 0, 15, 2, 0}, got)
}

func TestIntFunctions(t *testing.T) {
	for _, c := range []struct {
		f    expr.Fn
		a, b int32
		want int32
	}{
		{expr.IAdd, math.MaxInt32, 1, math.MinInt32}, {expr.ISub, 3, 5, -2}, {expr.IMul, 1 << 20, 1 << 12, 0},
		{expr.IMul, -3, 5, -15},
	} {
		e := &expr.Expr{
			Steps: []expr.Step{{Fn: expr.Input}, {Fn: expr.Input, Arg: 1}, {Fn: c.f, Args: [3]int{0, 1}}},
			Outs:  []int{2},
		}
		in := device.Instr{
			Op: device.Map, Attr: device.MapAttr{Expr: e}, In: views(device.Dense(0, 0), device.Dense(1, 0)),
			Out: views(device.Dense(2, 0)),
		}
		_, got := run(t, in, []int32{c.a}, []int32{c.b}, []int32{99})
		require.Equal(t, []int32{c.want}, got, "%s %d %d", c.f, c.a, c.b)
	}
	for _, c := range []struct {
		f    expr.Fn
		a, b int32
		want float64
	}{
		{expr.ILt, 1, 2, 1}, {expr.ILt, 2, 2, 0}, {expr.ILt, 2, math.MinInt32, 0}, {expr.IEq, 2, 2, 1},
		{expr.IEq, 2, 3, 0},
	} {
		e := &expr.Expr{
			Steps: []expr.Step{{Fn: expr.Input}, {Fn: expr.Input, Arg: 1}, {Fn: c.f, Args: [3]int{0, 1}}},
			Outs:  []int{2},
		}
		in := device.Instr{
			Op: device.Map, Attr: device.MapAttr{Expr: e}, In: views(device.Dense(0, 0), device.Dense(1, 0)),
			Out: views(device.Dense(2, 0)),
		}
		got, _ := run(t, in, []int32{c.a}, []int32{c.b}, []float64{99})
		require.Equal(t, []float64{c.want}, got, "%s %d %d", c.f, c.a, c.b)
	}
	for _, c := range []struct {
		a    float64
		want int32
	}{
		{1.9, 1}, {-1.9, -1}, {math.NaN(), 0}, {math.Inf(1), 0}, {math.MaxInt32, math.MaxInt32}, {0x1p31, 0},
		{math.MinInt32, math.MinInt32}, {-0x1p31 - 0.5, math.MinInt32}, {-0x1p31 - 1, 0},
	} {
		require.Equal(t, c.want, toInt(c.a), "%v", c.a)
	}
}

// TestEveryFunctionHasADefinition goes through the default branch of evaluate.
func TestEveryFunctionHasADefinition(t *testing.T) {
	for f := range expr.NumFn {
		e := &expr.Expr{Steps: []expr.Step{{Fn: expr.Const, Const: 1}, {Fn: f}}}
		require.NotPanics(t, func() { evaluate(e, make([]value, 2), []int{0}, func(int) value { return value{} }) }, f)
	}
}

func TestReduce(t *testing.T) {
	x := []float64{1, 5, 3, 4, 2, 6} // [[1 5 3] [4 2 6]]
	first := &expr.Expr{Steps: []expr.Step{{Fn: expr.Input}}, Outs: []int{0}}
	for _, c := range []struct {
		axes  []int
		shape []int
		kind  device.ReduceKind
		want  []float64
	}{
		{[]int{1}, []int{2, 1}, device.Sum, []float64{9, 12}},
		{[]int{0}, []int{1, 3}, device.Sum, []float64{5, 7, 9}},
		{[]int{0, 1}, []int{1, 1}, device.Sum, []float64{21}},
		{[]int{1}, []int{2, 1}, device.Maximum, []float64{5, 6}},
		{nil, []int{2, 3}, device.Sum, x},
	} {
		in := device.Instr{
			Op:   device.Reduce,
			Attr: device.ReduceAttr{Shape: []int{2, 3}, Expr: first, Axes: c.axes, Kinds: []device.ReduceKind{c.kind}},
			In:   views(device.Dense(0, 0, 2, 3)), Out: views(device.Dense(1, 0, c.shape...)),
		}
		got, _ := run(t, in, x, make([]float64, len(c.want)))
		require.Equal(t, c.want, got, "%v over %v", c.kind, c.axes)
	}
	require.Equal(t, 0., combine(device.Sum, nil))
	require.Equal(t, math.Inf(-1), combine(device.Maximum, nil))
	require.True(t, math.IsNaN(combine(device.Maximum, []float64{1, math.NaN(), 2})))
}

// TestSumIsPairwise adds numbers whose plain sum loses everything: blocks of one large and many small terms.
func TestSumIsPairwise(t *testing.T) {
	x := make([]float64, 1<<16)
	for i := range x {
		x[i] = 0.1
	}
	bound := New().Info().SumError(len(x)) * 0x1p-53 * 6553.6
	require.InDelta(t, 6553.6, sum(x), bound)
	require.InDelta(t, 655.36, dot(x, x), bound)
	require.Less(t, bound, 1e-10)
}

func TestRowSoftmaxAgainstGonum(t *testing.T) {
	z := normals(3 * 7)
	z[2] = math.Inf(-1)
	labels := []int32{0, 6, 7}
	row := func(kind device.SoftmaxKind, ins []device.View, out device.View, mem ...any) []float64 {
		got, _ := run(
			t,
			device.Instr{Op: device.RowSoftmax, Attr: device.SoftmaxAttr{Kind: kind}, In: ins, Out: views(out)},
			mem...)
		return got
	}
	soft := row(device.Softmax, views(device.Dense(0, 0, 3, 7)), device.Dense(1, 0, 3, 7), z, make([]float64, 21))
	logs := row(device.LogSoftmax, views(device.Dense(0, 0, 3, 7)), device.Dense(1, 0, 3, 7), z, make([]float64, 21))
	loss := row(
		device.CrossEntropy, views(device.Dense(0, 0, 3, 7), device.Dense(1, 0, 3)), device.Dense(2, 0, 3), z, labels,
		make([]float64, 3),
	)
	for r := range 3 {
		lse := floats.LogSumExp(z[7*r : 7*r+7])
		for c := 7 * r; c < 7*r+7; c++ {
			if c == 2 {
				require.Equal(t, math.Inf(-1), logs[c])
				require.Equal(t, 0., soft[c])
				continue
			}
			require.InDelta(t, z[c]-lse, logs[c], 1e-14)
			require.InDelta(t, math.Exp(z[c]-lse), soft[c], 1e-14)
		}
		if r == 2 {
			require.True(t, math.IsNaN(loss[r]), "a label outside")
		} else {
			require.InDelta(t, lse-z[7*r+int(labels[r])], loss[r], 1e-14)
		}
	}
}

func TestRows(t *testing.T) {
	table := []float64{1, 2, 3, 4, 5, 6} // 3 rows
	gather := device.Instr{
		Op: device.Gather, In: views(device.Dense(0, 0, 3, 2), device.Dense(1, 0, 4)),
		Out: views(device.Dense(2, 0, 4, 2)),
	}
	got, _ := run(t, gather, table, []int32{2, 0, 2, 1}, make([]float64, 8))
	require.Equal(t, []float64{5, 6, 1, 2, 5, 6, 3, 4}, got)

	scatter := device.Instr{
		Op: device.ScatterAdd, In: views(device.Dense(0, 0, 3, 2), device.Dense(1, 0, 3), device.Dense(2, 0, 3, 2)),
		Out: views(device.Dense(3, 0, 3, 2)),
	}
	got, _ = run(t, scatter, table, []int32{2, 0, 2}, []float64{10, 20, 30, 40, 50, 60}, make([]float64, 6))
	require.Equal(t, []float64{31, 42, 3, 4, 65, 86}, got)

	for _, bad := range []int32{-1, 3} {
		_, _, err := try(t, gather, table, []int32{2, 0, bad, 1}, make([]float64, 8))
		require.True(t, errors.Is(err, device.ErrIndex))
		require.ErrorContains(t, err, "at place 2 of a table of 3 rows")
		_, _, err = try(t, scatter, table, []int32{2, 0, bad}, make([]float64, 6), make([]float64, 6))
		require.True(t, errors.Is(err, device.ErrIndex))
	}

	nan := math.NaN()
	argmax := device.Instr{
		Op: device.Order, Attr: device.OrderAttr{}, In: views(device.Dense(0, 0, 4, 3)),
		Out: views(device.Dense(1, 0, 4)),
	}
	_, where := run(
		t, argmax, []float64{1, 3, 3, nan, 9, nan, 2, nan, 3, math.Copysign(0, -1), 0, -1}, make([]int32, 4),
	)
	require.Equal(t, []int32{1, 0, 1, 0}, where)

	kth := device.Instr{
		Op:   device.Order,
		Attr: device.OrderAttr{Kind: device.KthLargest},
		Out:  views(device.Dense(3, 0, 1)),
		In: views(
			device.Dense(0, 0, 1), device.View{Buf: 1, Shape: []int{3}, Strides: []int{2}}, device.Dense(2, 0, 5),
		),
	}
	x, y := []float64{3, 0, nan, 0, math.Inf(-1)}, []float64{math.Copysign(0, -1), 3, math.Inf(1), 0, nan}
	for i, want := range []int32{1, 7, 5, 0, 4, 3, 6, 2} { // NaN NaN +Inf 3 3 -0 0 -Inf
		_, where := run(t, kth, []int32{int32(i + 1)}, x, y, make([]int32, 1))
		require.Equal(t, []int32{want}, where, "k = %d", i+1)
	}
	for _, bad := range []int32{0, -1, 9, math.MinInt32} {
		_, _, err := try(t, kth, []int32{bad}, x, y, make([]int32, 1))
		require.ErrorIs(t, err, device.ErrIndex)
		require.ErrorContains(t, err, fmt.Sprintf("k is %d, for 8 elements", bad))
	}
}

func TestRandomIsPhilox(t *testing.T) {
	const seed, step, stream, n = uint64(0x8765432112345678), uint32(0xfffffff0), uint32(5), 11
	seeds := []int32{0x12345678, int32(seed>>32&0x7fffffff) | math.MinInt32}
	for kind := device.Bits; kind <= device.Normal; kind++ {
		in := device.Instr{Op: device.Random, Attr: device.RandomAttr{Kind: kind, Stream: stream, N: 10},
			In: views(device.Dense(0, 0, 2), device.Dense(1, 0, 1)), Out: views(device.Dense(2, 0, n))}
		steps := []int32{-16}
		if kind < device.Uniform {
			_, got := run(t, in, seeds, steps, make([]int32, n))
			want := make([]int32, n)
			if kind == device.Bits {
				philox.Bits(want, seed, step, stream, 0)
			} else {
				philox.Integers(want, 10, seed, step, stream, 0)
			}
			require.Equal(t, want, got)
			continue
		}
		got, _ := run(t, in, seeds, steps, make([]float64, n))
		want := make([]float32, n)
		if kind == device.Uniform {
			philox.Uniforms(want, seed, step, stream, 0)
		} else {
			philox.Normals(want, seed, step, stream, 0)
		}
		for i := range want {
			require.Equal(t, float64(want[i]), got[i])
		}
	}
}

func TestCopyCasts(t *testing.T) {
	in := device.Instr{
		Op: device.Copy, In: views(device.View{Buf: 0, Shape: []int{3, 2}, Strides: []int{1, 3}}),
		Out: views(device.Dense(1, 0, 3, 2)),
	}
	_, ints := run(t, in, []float64{1.5, -2.5, 3, 4, math.NaN(), 1e10}, make([]int32, 6))
	require.Equal(t, []int32{1, 4, -2, 0, 3, 0}, ints)
	reals, _ := run(t, in, []int32{1, 2, 3, 4, 5, math.MaxInt32}, make([]float64, 6))
	require.Equal(t, []float64{1, 4, 2, 5, 3, math.MaxInt32}, reals)
}

// TestEmptyOutputsTakeNoMemory: a view without elements may have any extent on its other axes.
func TestEmptyOutputsTakeNoMemory(t *testing.T) {
	const huge = 1 << 40
	empty := func(shape ...int) device.View { return device.View{Shape: shape, Strides: make([]int, len(shape))} }
	run(
		t,
		device.Instr{
			Op: device.RowSoftmax, Attr: device.SoftmaxAttr{}, In: views(empty(0, huge)), Out: views(empty(0, huge)),
		},
		make([]float64, 1),
	)
	run(
		t,
		device.Instr{
			Op: device.Gemm, Attr: device.GemmAttr{}, In: views(empty(0, 3, huge), empty(0, huge, 2)),
			Out: views(empty(0, 3, 2)),
		},
		make([]float64, 1),
	)
}
