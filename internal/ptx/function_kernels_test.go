package ptx_test

import (
	"fmt"
	"math"
	"slices"

	"bilevel/internal/ptx"
)

// A libraryFunction is a row of the CUDA C++ Programming Guide's table of maximal errors, in ulps, and of the guide's
// errors of the intrinsics that --use_fast_math puts in its place. Where a function rests on an approximate
// instruction, the pessimistic mode adds that instruction's documented bound.
type libraryFunction struct {
	name  string
	exact func(x, y float64) float64
	ulps  float64
	worst float64                           // further ulps in the pessimistic mode
	fast  func(x, y, value float64) float64 // absolute error of the fast form; nil: the same function
	valid func(x, y float64) bool           // where the fast form's error is known
}

func unary(f func(float64) float64) func(x, y float64) float64 {
	return func(x, _ float64) float64 { return f(x) }
}

func within2Pi(x, _ float64) bool { return math.Abs(x) <= math.Pi }

// functions in the order of the kernel's op.
var libraryFunctions = []libraryFunction{
	{"exp", unary(math.Exp), 1, 2, func(x, _, v float64) float64 { return (2 + math.Abs(1.173*x)) * ulp(v) }, nil},
	{"log", unary(math.Log), 1, 0, func(x, _, v float64) float64 { return math.Max(0x1p-21, 3*ulp(v)) }, nil},
	{"sin", unary(math.Sin), 2, 0, func(_, _, _ float64) float64 { return 0x1p-20 }, within2Pi},
	{"cos", unary(math.Cos), 2, 0, func(_, _, _ float64) float64 { return 0x1p-20 }, within2Pi},
	{"tanh", unary(math.Tanh), 2, 2, func(_, _, v float64) float64 { return math.Abs(v) * 0x1.2p-11 }, nil},
	{"pow", math.Pow, 4, 2, nil, func(_, _ float64) bool { return false }},
	{"sqrt", unary(math.Sqrt), 0.5, 0, func(_, _, v float64) float64 { return 2 * ulp(v) }, nil},
	{"div", func(x, y float64) float64 { return x / y }, 0.5, 0, func(_, _, v float64) float64 { return 2 * ulp(v) },
		func(_, y float64) bool { return math.Abs(y) < 0x1p126 }},
	{"erf", unary(math.Erf), 2, 2, func(_, _, v float64) float64 { return 6 * ulp(v) }, nil},
	{"rsqrt", unary(func(x float64) float64 { return 1 / math.Sqrt(x) }), 2, 0,
		func(_, _, v float64) float64 { return 2 * ulp(v) }, nil},
}

func functionScenarios() []scenario {
	var shapes [][]int
	for op := range libraryFunctions {
		shapes = append(shapes, []int{op})
	}
	return []scenario{{"functions", "functions", shapes, libraryFunctionErrors}}
}

func libraryFunctionErrors(r *rig, s []int) error {
	f := libraryFunctions[s[0]]
	x := []float32{0, float32(math.Copysign(0, -1)), 1, -1, 0.5, 2, 3, -2.5, 88.7, -87.3, -104, 105614, 105616, 1e10,
		-3e30, 3e38, 1e-30, 2e-39, -1e-45, float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN())}
	x = append(x, r.normals(40)...)
	for range 60 {
		x = append(x, float32(r.random.ExpFloat64()*math.Exp2(float64(r.random.IntN(24)-12))))
	}
	y := slices.Clone(x)
	r.random.Shuffle(len(y), func(i, j int) { y[i], y[j] = y[j], y[i] })
	n := len(x)
	out := blank[float32](r, "out", n)
	r.launch("functions", line(cover(n, 64)), line(64), 0, upload(r, "x", x), upload(r, "y", y), out, s[0], n)
	for i, got := range download[float32](r, out, n) {
		a, b := float64(x[i]), float64(y[i])
		want := f.exact(a, b)
		bound := f.ulps * ulp(want)
		if r.float == ptx.Pessimistic {
			bound += f.worst * ulp(want)
		}
		if r.fast {
			if subnormal(a) || subnormal(b) || subnormal(want) || f.valid != nil && !f.valid(a, b) ||
				math.IsInf(a, 0) || math.IsInf(b, 0) {
				continue
			}
			bound += f.fast(a, b, want)
		}
		if !near(float64(got), want, bound) {
			return fmt.Errorf("%s(%v, %v) is %v, want %v: off by %.3g, bound %.3g", f.name, a, b, got, want,
				math.Abs(float64(got)-want), bound)
		}
	}
	return nil
}

func subnormal(x float64) bool { return x != 0 && math.Abs(x) < 0x1p-126 }

// near compares with a value in float64 that may round to infinity.
func near(got, want, bound float64) bool {
	switch {
	case math.IsNaN(want):
		return math.IsNaN(got)
	case math.Abs(want) > math.MaxFloat32:
		return got == math.Copysign(math.Inf(1), want) || math.Abs(want) < 0x1.000002p128 &&
			math.Abs(got) == math.MaxFloat32
	}
	return math.Abs(got-want) <= bound
}
