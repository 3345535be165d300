package ptx_test

import (
	"math"

	"bilevel/internal/ptx/arith/exact"
)

// lengths are awkward numbers of elements; 0: none.
var lengths = [][]int{{0}, {1}, {31}, {33}, {257}}

// tables are awkward numbers of rows and columns.
var tables = [][]int{{0, 3}, {1, 1}, {3, 31}, {5, 33}, {2, 128}, {9, 211}}

func mapScenarios() []scenario {
	return []scenario{
		{"bias_relu", "activation", tables, biasReLU},
		{"bias_gelu", "activation", tables, biasGELU},
		{"bias_relu_backward", "activation", tables, biasReLUBackward},
		{"pgd", "optimizer", lengths, pgd},
		{"adamw", "optimizer", lengths, adamw},
		{"haxpy", "halves", lengths, haxpy},
		{"bf16_scale", "halves", lengths, bf16Scale},
		{"half_max", "halves", lengths, halfMax},
		{"relax", "stencil", tables, relax},
		{"calls", "calls", lengths, calls},
		{"guarded", "guarded", lengths, guarded},
	}
}

func (r *rig) table(s []int) (n, m int, x, bias []float32) {
	n, m = s[0], s[1]
	return n, m, r.normals(n * m), r.normals(m)
}

func biasReLU(r *rig, s []int) error {
	n, m, x, bias := r.table(s)
	if len(x) > 2 {
		x[0], x[1] = float32(math.NaN()), float32(math.Inf(1))
	}
	want := make([]float32, n*m)
	for i := range want {
		if v := x[i] + bias[i%m]; v > 0 {
			want[i] = v
		}
	}
	y := blank[float32](r, "y", n*m)
	r.launch("bias_relu", line(2), line(96), 0, upload(r, "x", x), upload(r, "bias", bias), y, n, m)
	return equal("y", want, download[float32](r, y, n*m))
}

// biasGELU: with v exact to half an ulp, u = 0.798 (v + 0.0447 v³) has at most six roundings, and u tanh'(u) < 0.45, so
// tanh is off by 3 · 2⁻²⁴ and its own two ulps; 1 + tanh and the two products round three times. tanh.approx is off by
// 2⁻¹¹.
func biasGELU(r *rig, s []int) error {
	n, m, x, bias := r.table(s)
	want := make([]float64, n*m)
	for i := range want {
		v := float64(x[i] + bias[i%m])
		want[i] = 0.5 * v * (1 + math.Tanh(0.7978845608*(v+0.044715*v*v*v)))
	}
	tanh := 3*0x1p-24 + 2*0x1p-23
	if r.fast {
		tanh = 0x1p-11
	}
	y := blank[float32](r, "y", n*m)
	r.launch("bias_gelu", line(2), line(96), 0, upload(r, "x", x), upload(r, "bias", bias), y, n, m)
	return within("y", want, download[float32](r, y, n*m), func(i int) float64 {
		return math.Abs(float64(x[i]+bias[i%m]))/2*(tanh+2*0x1p-24) + 2*ulp(want[i])
	})
}

func biasReLUBackward(r *rig, s []int) error {
	n, m, y, _ := r.table(s)
	dy := r.normals(n * m)
	dx, dbias := make([]float32, n*m), make([]float32, m)
	for i := range dx {
		if y[i] > 0 {
			dx[i] = dy[i]
		}
		dbias[i%m] += dx[i]
	}
	dxAt, dbiasAt := blank[float32](r, "dx", n*m), blank[float32](r, "dbias", m)
	r.launch("bias_relu_backward", line(cover(m, 64)), line(64), 0, upload(r, "y", y), upload(r, "dy", dy), dxAt,
		dbiasAt, n, m)
	return firstError(equal("dx", dx, download[float32](r, dxAt, n*m)),
		equal("dbias", dbias, download[float32](r, dbiasAt, m)))
}

func pgd(r *rig, s []int) error {
	n := s[0]
	x, g := r.normals(n), r.normals(n)
	if n > 30 {
		g[3], g[7], g[30] = float32(math.NaN()), float32(math.Inf(1)), 0
	}
	const step, lo, hi = 0.3, -0.75, 0.875
	want := make([]float32, n)
	for i := range want {
		want[i] = x[i]
		if g[i] == g[i] {
			want[i] = min(max(x[i]-float32(step*g[i]), lo), hi)
		}
	}
	at := upload(r, "x", x)
	r.launch("pgd", line(cover(n, 64)), line(64), 0, at, upload(r, "g", g), float32(step), float32(lo), float32(hi), n)
	return equal("x", want, download[float32](r, at, n))
}

// adamw: first-order bounds, u the unit roundoff: m and v have three roundings; the quotient adds those of scale,
// square root, sum and division (the approximate forms: two ulps each).
func adamw(r *rig, s []int) error {
	n := s[0]
	x, g, m, v := r.normals(n), r.normals(n), r.normals(n), r.normals(n)
	for i := range v {
		v[i] *= v[i]
	}
	const rate, beta1, beta2, eps, decay, scale1, scale2 = 0.01, 0.875, 0.984375, 0x1p-20, 0.125, 1.5, 2.25
	const u = 0x1p-24
	xs, ms, vs := make([]float64, n), make([]float64, n), make([]float64, n)
	xb, mb, vb := make([]float64, n), make([]float64, n), make([]float64, n)
	rate32 := float64(float32(rate))
	for i := range xs {
		d, x := float64(g[i]), float64(x[i])
		ms[i] = beta1*float64(m[i]) + (1-beta1)*d
		vs[i] = beta2*float64(v[i]) + (1-beta2)*d*d
		root := math.Sqrt(vs[i]*scale2) + eps
		xs[i] = x - rate32*(ms[i]*scale1/root+decay*x)
		mb[i] = 3 * u * (math.Abs(beta1*float64(m[i])) + math.Abs((1-beta1)*d))
		vb[i] = 4 * u * vs[i]
		quotient := math.Abs(ms[i] * scale1 / root)
		xb[i] = rate32*(mb[i]*scale1/root+16*u*quotient+4*u*(quotient+decay*math.Abs(x))) +
			2*u*(math.Abs(x)+math.Abs(xs[i]))
	}
	xa, ma, va := upload(r, "x", x), upload(r, "m", m), upload(r, "v", v)
	r.launch("adamw", line(cover(n, 64)), line(64), 0, xa, upload(r, "g", g), ma, va,
		float32(rate), float32(beta1), float32(beta2), float32(eps), float32(decay), float32(scale1),
		float32(scale2), n)
	return firstError(
		within("m", ms, download[float32](r, ma, n), func(i int) float64 { return mb[i] }),
		within("v", vs, download[float32](r, va, n), func(i int) float64 { return vb[i] }),
		within("x", xs, download[float32](r, xa, n), func(i int) float64 { return xb[i] }))
}

// half rounds to binary16, ties to even.
func half(x float64) uint16 {
	sign := uint16(math.Float64bits(x) >> 63 << 15)
	switch a := math.Abs(x); {
	case a != a:
		return 0x7fff
	case a >= 65520:
		return sign | 0x7c00
	case a < 0x1p-14:
		return sign | uint16(math.RoundToEven(a*0x1p24))
	default:
		f, e := math.Frexp(a) // a = f 2^e, f in [1/2, 1)
		return sign | (uint16(e+13)<<10 + uint16(math.RoundToEven(f*2048)))
	}
}

// fromHalf is the value of a binary16 number, finite.
func fromHalf(h uint16) float64 {
	m, e := float64(h&0x3ff), int(h>>10&31)
	x := math.Ldexp(m, -24)
	if e > 0 {
		x = math.Ldexp(m+1024, e-25)
	}
	if h>>15 == 1 {
		return -x
	}
	return x
}

// halves16 are numbers with up to 11 bits, also subnormal ones.
func (r *rig) halves16(n int) []uint16 {
	x := make([]uint16, n)
	for i := range x {
		x[i] = uint16(r.random.IntN(0x5000)) | uint16(r.random.IntN(2))<<15 // below 32
	}
	return x
}

// haxpy: the sum of a product and a number of 11 bits is exact in float64 within these ranges.
func haxpy(r *rig, s []int) error {
	n := s[0]
	x, y := r.halves16(2*n), r.halves16(2*n)
	a := half(-1.5625)
	want := make([]uint16, 2*n)
	for i := range want {
		want[i] = half(fromHalf(a)*fromHalf(x[i]) + fromHalf(y[i]))
	}
	at := upload(r, "y", y)
	r.launch("haxpy", line(cover(n, 64)), line(64), 0, a, upload(r, "x", x), at, n)
	return equal("y", want, download[uint16](r, at, 2*n))
}

func bf16Scale(r *rig, s []int) error {
	n := s[0]
	const scale = 1.2345678
	x, want := make([]uint16, n), make([]uint16, n)
	for i, v := range r.normals(n) {
		x[i] = uint16(math.Float32bits(v) >> 16)
		bits := math.Float32bits(math.Float32frombits(uint32(x[i])<<16) * float32(scale))
		want[i] = uint16((bits + 0x7fff + bits>>16&1) >> 16)
	}
	y := blank[uint16](r, "y", n)
	r.launch("bf16_scale", line(cover(n, 64)), line(64), 0, upload(r, "x", x), float32(scale), y, n)
	return equal("y", want, download[uint16](r, y, n))
}

func halfMax(r *rig, s []int) error {
	n := s[0]
	x, y := r.halves16(n), r.halves16(n)
	want := make([]uint16, n)
	for i := range want {
		sum, product := half(fromHalf(x[i])+fromHalf(y[i])), half(fromHalf(x[i])*fromHalf(y[i]))
		want[i] = product
		if fromHalf(sum) > fromHalf(product) {
			want[i] = sum
		}
	}
	z := blank[uint16](r, "z", n)
	r.launch("half_max", line(cover(n, 64)), line(64), 0, upload(r, "x", x), upload(r, "y", y), z, n)
	return equal("z", want, download[uint16](r, z, n))
}

func relax(r *rig, s []int) error {
	n, m := s[0], s[1]
	in := r.normals(n * m)
	at := func(i, j int) float32 {
		if i < 0 || j < 0 || i >= n || j >= m {
			return 0
		}
		return in[i*m+j]
	}
	want := make([]float32, n*m)
	for i := range n {
		for j := range m {
			want[i*m+j] = 0.25 * ((at(i-1, j) + at(i+1, j)) + (at(i, j-1) + at(i, j+1)))
		}
	}
	out := blank[float32](r, "out", n*m)
	r.launch("relax", [3]int{cover(m, 16), cover(n, 4), 1}, [3]int{16, 4, 1}, 0, upload(r, "in", in), out, n, m)
	return equal("out", want, download[float32](r, out, n*m))
}

func calls(r *rig, s []int) error {
	n := s[0]
	x := r.normals(n)
	y, divisor := make([]float32, 2*n), make([]int32, n)
	for i, v := range x {
		y[2*i] = v
		for c := 4; c >= 1; c-- {
			y[2*i+1] = exact.FMA32(y[2*i+1], v, float32(c))
		}
		a, b := i+1, 360
		for b != 0 {
			a, b = b, a%b
		}
		divisor[i] = int32(a)
	}
	yAt, divisorAt := blank[float32](r, "y", 2*n), blank[int32](r, "divisor", n)
	r.launch("calls", line(cover(n, 64)), line(64), 0, upload(r, "x", x), yAt, divisorAt, n)
	return firstError(equal("y", y, download[float32](r, yAt, 2*n)),
		equal("divisor", divisor, download[int32](r, divisorAt, n)))
}

func guarded(r *rig, s []int) error {
	n := s[0]
	x := r.normals(n)
	want := make([]float32, n)
	for i := range want {
		want[i] = 2 * x[i]
	}
	y := blank[float32](r, "y", n)
	r.launch("guarded", line(cover(n, 64)), line(64), 0, upload(r, "x", x), y, n)
	return equal("y", want, download[float32](r, y, n))
}
