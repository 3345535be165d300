package ref

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"

	"bilevel/device"
	"bilevel/internal/expr"
)

// geometries have all options, alone and together.
var geometries = []device.ConvShape{
	{N: 2, H: 5, W: 6, C: 3, K: 4, R: 3, S: 2, StrideH: 1, StrideW: 1, DilationH: 1, DilationW: 1, Groups: 1},
	{N: 1, H: 7, W: 5, C: 2, K: 3, R: 3, S: 3, StrideH: 2, StrideW: 3, DilationH: 1, DilationW: 1, Top: 1, Right: 2,
		Groups: 1},
	{N: 2, H: 7, W: 8, C: 4, K: 6, R: 2, S: 3, StrideH: 2, StrideW: 1, DilationH: 3, DilationW: 2, Bottom: 2, Left: 1,
		Groups: 2},
	{N: 1, H: 4, W: 4, C: 3, K: 3, R: 3, S: 3, StrideH: 1, StrideW: 1, DilationH: 1, DilationW: 1, Top: 1, Bottom: 1,
		Left: 1, Right: 1, Groups: 3},
	{N: 3, H: 1, W: 1, C: 2, K: 2, R: 1, S: 1, StrideH: 1, StrideW: 1, DilationH: 1, DilationW: 1, Groups: 1},
}

// convolve runs one kind over dense operands.
func convolve(t *testing.T, kind device.ConvKind, s device.ConvShape, a, b []float64) []float64 {
	shapes, slots := [3][]int{s.Images(), s.Weights(), s.Result()}, device.ConvSlots[kind]
	got, _ := run(t, device.Instr{
		Op: device.Conv, Attr: device.ConvAttr{Kind: kind, Shape: s},
		In:  views(device.Dense(0, 0, shapes[slots[0]]...), device.Dense(1, 0, shapes[slots[1]]...)),
		Out: views(device.Dense(2, 0, shapes[slots[2]]...)),
	}, a, b, make([]float64, device.Size(shapes[slots[2]])))
	return got
}

// TestConvAgainstGonum lays the pixels of every window in a row of a matrix, so that a convolution is a product of
// matrices, one for each group.
func TestConvAgainstGonum(t *testing.T) {
	for _, s := range geometries {
		x, w := normals(device.Size(s.Images())), normals(device.Size(s.Weights()))
		p, q := s.Out()
		inputs, outputs := s.C/s.Groups, s.K/s.Groups
		want := make([]float64, device.Size(s.Result()))
		for g := range s.Groups {
			rows, terms := s.N*p*q, s.R*s.S*inputs
			windows, kernels := mat.NewDense(rows, terms, nil), mat.NewDense(terms, outputs, nil)
			for row := range rows {
				for term := range terms {
					h := row/q%p*s.StrideH + term/inputs/s.S*s.DilationH - s.Top
					v := row%q*s.StrideW + term/inputs%s.S*s.DilationW - s.Left
					if h >= 0 && h < s.H && v >= 0 && v < s.W {
						windows.Set(row, term, x[((row/(p*q)*s.H+h)*s.W+v)*s.C+g*inputs+term%inputs])
					}
				}
			}
			for term := range terms {
				kernels.SetRow(term, w[term*s.K+g*outputs:][:outputs])
			}
			var y mat.Dense
			y.Mul(windows, kernels)
			for row := range rows {
				copy(want[row*s.K+g*outputs:], y.RawRowView(row))
			}
		}
		require.InDeltaSlice(t, want, convolve(t, device.ConvForward, s, x, w), 1e-13, "%+v", s)
	}
}

// TestConvGradients: the three kinds are one form in y, x and w.
func TestConvGradients(t *testing.T) {
	for _, s := range geometries {
		x, w := normals(device.Size(s.Images())), normals(device.Size(s.Weights()))
		y := normals(device.Size(s.Result()) + 1)[1:] // other numbers than those of x
		form := floats.Dot(y, convolve(t, device.ConvForward, s, x, w))
		require.Greater(t, math.Abs(form), 1e-3)
		require.InDelta(t, form, floats.Dot(x, convolve(t, device.ConvInputGradient, s, y, w)), 1e-12, "%+v", s)
		require.InDelta(t, form, floats.Dot(w, convolve(t, device.ConvWeightGradient, s, x, y)), 1e-12, "%+v", s)
	}
}

func TestConvByHand(t *testing.T) {
	s := device.ConvShape{N: 1, H: 3, W: 3, C: 1, K: 1, R: 2, S: 2, StrideH: 1, StrideW: 2, DilationH: 1, DilationW: 1,
		Bottom: 1, Left: 1, Groups: 1}
	x, w := []float64{1, 2, 3, 4, 5, 6, 7, 8, 9}, []float64{1, 10, 100, 1000}
	// windows at columns -1 and 1: [. 1; . 4] [2 3; 5 6], [. 4; . 7] [5 6; 8 9], [. 7; . .] [8 9; . .]
	require.Equal(t, []float64{4010, 6532, 7040, 9865, 70, 98}, convolve(t, device.ConvForward, s, x, w))

	e := &expr.Expr{ // y·extra - row
		Steps: []expr.Step{
			{Fn: expr.Input}, {Fn: expr.Input, Arg: 1}, {Fn: expr.Mul, Args: [3]int{0, 1}}, {Fn: expr.Iota, Arg: 1},
			{Fn: expr.ToReal, Args: [3]int{3}}, {Fn: expr.Sub, Args: [3]int{2, 4}},
		},
		Outs: []int{5},
	}
	got, _ := run(t, device.Instr{
		Op: device.Conv, Attr: device.ConvAttr{Shape: s, Epilogue: e},
		In: views(device.Dense(0, 0, 1, 3, 3, 1), device.Dense(1, 0, 2, 2, 1, 1),
			device.View{Buf: 2, Shape: []int{1, 3, 2, 1}, Strides: []int{0, 0, 1, 0}}),
		Out: views(device.Dense(3, 0, 1, 3, 2, 1)),
	}, x, w, []float64{1, 2}, make([]float64, 6))
	require.Equal(t, []float64{4010, 13064, 7039, 19729, 68, 194}, got)
}

func TestPoolByHand(t *testing.T) {
	nan := math.NaN()
	x := []float64{1, 7, 3, 7, 5, nan, 2, 2, 2} // [1 7 3; 7 5 NaN; 2 2 2]
	s := device.PoolShape{N: 1, H: 3, W: 3, C: 1, R: 2, S: 2, StrideH: 1, StrideW: 2, Bottom: 1, Left: 1}
	// windows: [. 1; . 7] [7 3; 5 NaN], [. 7; . 2] [5 NaN; 2 2], [. 2] [2 2]
	pooled := func(kind device.PoolKind, s device.PoolShape, x, second []float64) []float64 {
		in, out := s.Images(), s.Result()
		mem := []any{x}
		list := views(device.Dense(0, 0, in...))
		switch kind {
		case device.AveragePoolAdjoint:
			list, out = views(device.Dense(0, 0, s.Result()...)), in
		case device.MaxPoolTangent, device.MaxPoolAdjoint:
			mem = append(mem, second)
			list = append(list, device.Dense(1, 0, in...))
			if kind == device.MaxPoolAdjoint {
				list[1], out = device.Dense(1, 0, s.Result()...), in
			}
		}
		mem = append(mem, make([]float64, device.Size(out)))
		got, _ := run(t, device.Instr{
			Op: device.Pool, Attr: device.PoolAttr{Kind: kind, Shape: s}, In: list,
			Out: views(device.Dense(len(mem)-1, 0, out...)),
		}, mem...)
		return got
	}
	same := func(want, got []float64) { require.Equal(t, fmt.Sprint(want), fmt.Sprint(got)) } // NaN is NaN
	same([]float64{7, nan, 7, nan, 2, 2}, pooled(device.MaxPool, s, x, nil))
	places := []float64{0, 1, 2, 3, 4, 5, 6, 7, 8}
	same([]float64{3, 5, 3, 5, 6, 7}, pooled(device.MaxPoolTangent, s, x, places))
	same([]float64{0, 0, 0, 101, 0, 1010, 10000, 100000, 0},
		pooled(device.MaxPoolAdjoint, s, x, []float64{1, 10, 100, 1000, 10000, 100000}))
	x[5] = 9
	same([]float64{4, 6, 4.5, 4.5, 2, 2}, pooled(device.AveragePool, s, x, nil))
	ones := []float64{1, 1, 1, 1, 1, 1}
	same([]float64{.5, .25, .25, 1, .5, .5, 1.5, .75, .75}, pooled(device.AveragePoolAdjoint, s, ones, nil))
	s.CountPadding = true
	same([]float64{2, 6, 2.25, 4.5, 0.5, 1}, pooled(device.AveragePool, s, x, nil))
	same([]float64{.25, .25, .25, .5, .5, .5, .5, .5, .5}, pooled(device.AveragePoolAdjoint, s, ones, nil))
}
