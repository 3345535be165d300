package ptx_test

import (
	"encoding/binary"
	"math"

	"bilevel/internal/ptx"
	"bilevel/internal/ptx/arith/exact"
)

// productShapes are M, N, K around the tiles of the kernels; 0: no rows, no depth.
var productShapes = [][]int{{1, 1, 1}, {31, 33, 17}, {64, 64, 36}, {65, 63, 40}, {33, 68, 16}, {30, 5, 9}, {34, 68, 36},
	{35, 8, 4},
	{29, 38, 18}, {31, 39, 19}, {5, 8, 9}, {8, 8, 4}, {0, 5, 3}, {3, 2, 0}}

func matrixScenarios() []scenario {
	return []scenario{
		{"sgemm", "sgemm", productShapes, func(r *rig, s []int) error { return fusedProduct(r, "sgemm", 64, s) }},
		{"sgemm_async", "sgemm_async", productShapes,
			func(r *rig, s []int) error { return fusedProduct(r, "sgemm_async", 32, s) }},
		{"tf32_gemm", "tf32_gemm", productShapes, tf32Product},
		{"hgemm_ldmatrix", "hgemm_ldmatrix", productShapes, func(r *rig, s []int) error {
			return halfProduct(r, "hgemm_ldmatrix", [3]int{cover(s[1], 16), cover(s[0], 32), 1}, 128, s)
		}},
		{"wmma_f16", "wmma_gemm", [][]int{{16, 16, 16}, {32, 48, 64}, {16, 32, 0}, {16, 16, 208}},
			func(r *rig, s []int) error {
				return halfProduct(r, "wmma_f16", [3]int{s[1] / 16, s[0] / 16, 1}, 32, s)
			}},
		{"wmma_tf32", "wmma_gemm", [][]int{{16, 16, 8}, {32, 48, 40}, {16, 16, 0}}, wmmaTF32},
		{"conv", "conv", [][]int{{1, 1, 5, 5, 1, 3, 3, 1, 1}, {2, 3, 7, 6, 4, 3, 2, 2, 0}, {1, 2, 4, 9, 5, 1, 1, 1, 0},
			{3, 1, 8, 8, 2, 5, 5, 1, 2}}, convolution},
		{"transpose", "transpose", [][]int{{1, 1}, {31, 33}, {32, 32}, {65, 7}, {3, 97}}, transpose},
	}
}

// fusedProduct: each element is one chain of fma over k, so the bits are known.
func fusedProduct(r *rig, kernel string, tile int, s []int) error {
	m, n, k := s[0], s[1], s[2]
	a, b := r.normals(m*k), r.normals(k*n)
	want := make([]float32, m*n)
	for i := range m {
		for j := range n {
			for l := range k {
				want[i*n+j] = exact.FMA32(a[i*k+l], b[l*n+j], want[i*n+j])
			}
		}
	}
	c := blank[float32](r, "C", m*n)
	r.launch(kernel, [3]int{cover(n, tile), cover(m, tile), 1}, line(256), 0, upload(r, "A", a), upload(r, "B", b),
		c, m, n, k)
	return equal("C", want, download[float32](r, c, m*n))
}

// tf32 rounds to 11 significant bits, ties away from zero.
func tf32(x float32) float64 {
	f, e := math.Frexp(float64(x))
	return math.Ldexp(math.Round(f*2048), e-11)
}

// tensorBound bounds the error of a sum of n products by steps of width w, each step within one rounding of its exact
// sum, or, in the pessimistic mode, with every term truncated to 23 bits of the largest.
func tensorBound(r *rig, n, w int, magnitude float64) float64 {
	steps, terms := float64((n+w-1)/w), 1.0
	if r.float == ptx.Pessimistic {
		terms = float64(w + 2)
	}
	return steps * terms * magnitude * 0x1p-23
}

func tf32Reference(m, n, k int, a func(i, l int) float32, b func(l, j int) float32) (sum, magnitude []float64) {
	sum, magnitude = make([]float64, m*n), make([]float64, m*n)
	for i := range m {
		for j := range n {
			for l := range k {
				p := tf32(a(i, l)) * tf32(b(l, j))
				sum[i*n+j] += p
				magnitude[i*n+j] += math.Abs(p)
			}
		}
	}
	return sum, magnitude
}

func tf32Product(r *rig, s []int) error {
	m, n, k := s[0], s[1], s[2]
	a, b := r.normals(m*k), r.normals(k*n)
	want, size := tf32Reference(m, n, k, func(i, l int) float32 { return a[i*k+l] },
		func(l, j int) float32 { return b[l*n+j] })
	c := blank[float32](r, "C", m*n)
	r.launch("tf32_gemm", [3]int{cover(n, 8), cover(m, 64), 1}, line(128), 0, upload(r, "A", a), upload(r, "B", b),
		c, m, n, k)
	return within("C", want, download[float32](r, c, m*n), func(i int) float64 { return tensorBound(r, k, 8, size[i]) })
}

// wmmaTF32 has B column major.
func wmmaTF32(r *rig, s []int) error {
	m, n, k := s[0], s[1], s[2]
	a, b := r.normals(m*k), r.normals(k*n)
	want, size := tf32Reference(m, n, k, func(i, l int) float32 { return a[i*k+l] },
		func(l, j int) float32 { return b[j*k+l] })
	c := blank[float32](r, "C", m*n)
	r.launch("wmma_tf32", [3]int{n / 16, m / 16, 1}, line(32), 0, upload(r, "A", a), upload(r, "B", b), c, m, n, k)
	return within("C", want, download[float32](r, c, m*n), func(i int) float64 { return tensorBound(r, k, 8, size[i]) })
}

// eighths are multiples of 1/8 within ±4: products and sums of them are exact in every order and format.
func (r *rig) eighths(n int) (values []float32, halves []uint16) {
	values, halves = make([]float32, n), make([]uint16, n)
	for i := range values {
		values[i] = float32(r.random.IntN(65)-32) / 8
		halves[i] = half(float64(values[i]))
	}
	return values, halves
}

func halfProduct(r *rig, kernel string, grid [3]int, threads int, s []int) error {
	m, n, k := s[0], s[1], s[2]
	a, ah := r.eighths(m * k)
	b, bh := r.eighths(k * n)
	want := make([]float32, m*n)
	for i := range m {
		for j := range n {
			for l := range k {
				want[i*n+j] += float32(a[i*k+l] * b[l*n+j])
			}
		}
	}
	c := blank[float32](r, "C", m*n)
	r.launch(kernel, grid, line(threads), 0, upload(r, "A", ah), upload(r, "B", bh), c, m, n, k)
	return equal("C", want, download[float32](r, c, m*n))
}

// convolution: n, c, h, w, k, r, s, stride, pad.
func convolution(r *rig, s []int) error {
	n, ch, h, w, k, fr, fs, stride, pad := s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], s[8]
	oh, ow := (h+2*pad-fr)/stride+1, (w+2*pad-fs)/stride+1
	in, filter := r.normals(n*ch*h*w), r.normals(k*ch*fr*fs)
	want := make([]float32, 0, n*k*oh*ow)
	for image := range n {
		for f := range k {
			for oy := range oh {
				for ox := range ow {
					var sum float32
					for c := range ch {
						for dy := range fr {
							for dx := range fs {
								y, x := oy*stride-pad+dy, ox*stride-pad+dx
								if y >= 0 && y < h && x >= 0 && x < w {
									sum = exact.FMA32(in[((image*ch+c)*h+y)*w+x], filter[((f*ch+c)*fr+dy)*fs+dx], sum)
								}
							}
						}
					}
					want = append(want, sum)
				}
			}
		}
	}
	addr, size, err := r.machine.Symbol(r.module, "geometry")
	r.fail(err)
	geometry, err := binary.Append(nil, binary.LittleEndian, [10]int32{
		int32(ch), int32(h), int32(w), int32(k), int32(fr), int32(fs), int32(oh), int32(ow), int32(stride), int32(pad)})
	r.fail(err)
	r.fail(r.machine.Write(addr, geometry[:size]))
	out := blank[float32](r, "out", len(want))
	r.launch("conv", line(cover(len(want), 96)), line(96), 0, upload(r, "in", in), upload(r, "filter", filter), out, n)
	return equal("out", want, download[float32](r, out, len(want)))
}

func transpose(r *rig, s []int) error {
	n, m := s[0], s[1]
	in := r.normals(n * m)
	want := make([]float32, n*m)
	for i := range n {
		for j := range m {
			want[j*n+i] = in[i*m+j]
		}
	}
	out := blank[float32](r, "out", n*m)
	r.launch("transpose", [3]int{cover(m, 32), cover(n, 32), 1}, [3]int{32, 8, 1}, 0, upload(r, "in", in), out, n, m)
	return equal("out", want, download[float32](r, out, n*m))
}
