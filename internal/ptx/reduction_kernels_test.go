package ptx_test

import (
	"fmt"
	"math"

	"bilevel/internal/ptx"
	"bilevel/internal/ptx/arith/exact"
)

func reductionScenarios() []scenario {
	return []scenario{
		{"xent_forward", "softmax_xent", tables, crossEntropy},
		{"xent_backward", "softmax_xent", tables, crossEntropyBackward},
		{"layernorm", "layernorm", [][]int{{1, 1}, {2, 31}, {3, 128}, {2, 257}, {1, 512}, {2, 1301}}, layerNorm},
		{"block_sum", "reduce", [][]int{{0, 1, 32}, {1, 1, 64}, {33, 2, 32}, {1000, 5, 64}, {4099, 7, 128}},
			twoPassSum},
		{"reduce_last", "reduce_last", [][]int{{0, 1}, {1, 2}, {129, 3}, {1000, 8}, {4099, 33}, {9000, 128}},
			lastBlockSum},
		{"axpy_dot", "axpy_dot", [][]int{{0, 1}, {1, 1}, {33, 2}, {257, 1}, {1000, 3}, {3001, 1}}, axpyDot},
		{"spmv", "spmv", [][]int{{1, 1, 1}, {5, 40, 33}, {33, 7, 3}, {0, 4, 0}, {3, 90, 300}}, sparseProduct},
		{"moments", "moments", [][]int{{1}, {31}, {257}, {1000}, {3001}}, moments},
	}
}

// crossEntropy. With u = 2⁻²⁴: the arguments of exp are off by |z-top| u, exp by two ulps (by more where it is
// approximate), the sum by (m/32 + 5) u, all relative to the sum; log adds its own ulp and the last additions theirs.
func crossEntropy(r *rig, s []int) error {
	n, m := s[0], s[1]
	z := r.normals(n * m)
	for i := range z {
		z[i] *= 4
	}
	label := make([]int32, n)
	loss, lse, bound := make([]float64, n), make([]float64, n), make([]float64, n)
	for i := range n {
		label[i] = int32(r.random.IntN(m))
		row, top, sum := z[i*m:(i+1)*m], math.Inf(-1), 0.0
		for _, v := range row {
			top = max(top, float64(v))
		}
		spread := 0.0
		for _, v := range row {
			sum += math.Exp(float64(v) - top)
			spread = max(spread, top-float64(v))
		}
		lse[i] = top + math.Log(sum)
		loss[i] = lse[i] - float64(row[label[i]])
		const u = 0x1p-24
		bound[i] = (spread+float64(m)/32+5+8)*u + 4*ulp(math.Abs(top)+math.Log(sum)) + ulp(loss[i])
		if r.fast { // exp2 of a rounded product; the logarithm is off by 2⁻²² absolutely
			bound[i] += 2*spread*u + 0x1p-21
		}
	}
	lossAt, lseAt := blank[float32](r, "loss", n), blank[float32](r, "lse", n)
	r.launch("xent_forward", line(cover(n, 4)), line(128), 0, upload(r, "z", z), upload(r, "label", label), lossAt,
		lseAt, n, m)
	limit := func(i int) float64 { return bound[i] }
	return firstError(within("lse", lse, download[float32](r, lseAt, n), limit),
		within("loss", loss, download[float32](r, lossAt, n), limit))
}

// crossEntropyBackward: p is off by (|z - lse| + 6) ulps (more for the approximate exp), p - 1 and the product round
// once each.
func crossEntropyBackward(r *rig, s []int) error {
	n, m := s[0], s[1]
	z, g := r.normals(n*m), r.normals(n)
	label, lse := make([]int32, n), make([]float32, n)
	want, bound := make([]float64, n*m), make([]float64, n*m)
	for i := range n {
		label[i] = int32(r.random.IntN(m))
		sum := 0.0
		for _, v := range z[i*m : (i+1)*m] {
			sum += math.Exp(float64(v))
		}
		lse[i] = float32(math.Log(sum))
		for j := range m {
			d := float64(z[i*m+j]) - float64(lse[i])
			p := math.Exp(d)
			want[i*m+j] = float64(g[i]) * p
			if j == int(label[i]) {
				want[i*m+j] = float64(g[i]) * (p - 1)
			}
			bound[i*m+j] = math.Abs(float64(g[i]))*p*(3*math.Abs(d)+6)*0x1p-23 + 2*ulp(float64(g[i]))
		}
	}
	dz := blank[float32](r, "dz", n*m)
	r.launch("xent_backward", line(cover(n*m, 96)), line(96), 0,
		upload(r, "z", z), upload(r, "label", label), upload(r, "lse", lse), upload(r, "g", g), dz, n, m)
	return within("dz", want, download[float32](r, dz, n*m), func(i int) float64 { return bound[i] })
}

// layerNorm: every sum has at most m/128 + 7 roundings, so mean and variance are off by k = (m/128 + 16) ulps relative
// to the mean magnitude and to themselves; y follows.
func layerNorm(r *rig, s []int) error {
	n, m := s[0], s[1]
	const eps = 0x1p-10
	x, gain, shift := r.normals(n*m), r.normals(m), r.normals(m)
	want, bound := make([]float64, n*m), make([]float64, n*m)
	for i := range n {
		var mean, size, variance float64
		for _, v := range x[i*m : (i+1)*m] {
			mean += float64(v) / float64(m)
			size += math.Abs(float64(v)) / float64(m)
		}
		for _, v := range x[i*m : (i+1)*m] {
			variance += (float64(v) - mean) * (float64(v) - mean) / float64(m)
		}
		scale, k := 1/math.Sqrt(variance+eps), (float64(m)/128+16)*0x1p-23
		for j := range m {
			hat := (float64(x[i*m+j]) - mean) * scale
			want[i*m+j] = hat*float64(gain[j]) + float64(shift[j])
			bound[i*m+j] = k*(math.Abs(hat)+size*scale)*math.Abs(float64(gain[j])) + ulp(want[i*m+j]) +
				ulp(float64(shift[j]))
		}
	}
	y := blank[float32](r, "y", n*m)
	r.launch("layernorm", line(n), line(128), 0, upload(r, "x", x), upload(r, "gain", gain), upload(r, "shift", shift),
		y, float32(eps), m)
	return within("y", want, download[float32](r, y, n*m), func(i int) float64 { return bound[i] })
}

// blockSum is the sum of x by a block of threads in the order of block_sum.
func blockSum(x []float32, block, blocks, threads int) float32 {
	s := make([]float32, threads)
	for i := block * threads; i < len(x); i += blocks * threads {
		for t := 0; t < threads && i+t < len(x); t++ {
			s[t] += x[i+t]
		}
	}
	for o := threads / 2; o > 0; o /= 2 {
		for t := range o {
			s[t] += s[t+o]
		}
	}
	return s[0]
}

func twoPassSum(r *rig, s []int) error {
	n, blocks, threads := s[0], s[1], s[2]
	x := r.normals(n)
	want := make([]float32, blocks)
	for b := range want {
		want[b] = blockSum(x, b, blocks, threads)
	}
	part, out := blank[float32](r, "part", blocks), blank[float32](r, "out", 1)
	r.launch("block_sum", line(blocks), line(threads), 4*threads, upload(r, "in", x), part, n)
	r.launch("block_sum", line(1), line(threads), 4*threads, part, out, blocks)
	return firstError(
		equal("part", want, download[float32](r, part, blocks)),
		equal("out", []float32{blockSum(want, 0, 1, threads)}, download[float32](r, out, 1)))
}

// treeSum adds the lanes of a warp as shuffles down by 16, 8, 4, 2, 1 do.
func treeSum(lanes []float32) float32 {
	s := make([]float32, 64)
	copy(s, lanes)
	for o := 16; o > 0; o /= 2 {
		for t := range o {
			s[t] += s[t+o]
		}
	}
	return s[0]
}

func lastBlockSum(r *rig, s []int) error {
	n, blocks := s[0], s[1]
	x := r.normals(n)
	sum := func(x []float32, block, blocks int) float32 {
		lanes := make([]float32, 128)
		for i := block * 128; i < len(x); i += blocks * 128 {
			for t := 0; t < 128 && i+t < len(x); t++ {
				lanes[t] += x[i+t]
			}
		}
		return treeSum(lanes[:32]) + treeSum(lanes[32:64]) + treeSum(lanes[64:96]) + treeSum(lanes[96:])
	}
	parts := make([]float32, blocks)
	for b := range parts {
		parts[b] = sum(x, b, blocks)
	}
	part, out, done := blank[float32](r, "part", blocks), blank[float32](r, "out", 1), upload(r, "done", []uint32{0})
	in := upload(r, "in", x)
	for range 2 { // the counter must be ready for the second launch
		r.launch("reduce_last", line(blocks), line(128), 0, in, part, out, done, n)
	}
	return firstError(
		equal("part", parts, download[float32](r, part, blocks)),
		equal("out", []float32{sum(parts, 0, 1)}, download[float32](r, out, 1)),
		equal("done", []uint32{0}, download[uint32](r, done, 1)))
}

// axpyDot: squares of float32 numbers are exact in float64, so fusing them changes no bit.
func axpyDot(r *rig, s []int) error {
	n, blocks := s[0], s[1]
	const a = 0.7
	x, y := r.normals(n), r.normals(n)
	want := make([]float32, n)
	for i := range want {
		want[i] = exact.FMA32(a, x[i], y[i])
	}
	square := func(i int) float64 { return float64(want[i]) * float64(want[i]) }
	parts := make([]float64, blocks)
	for b := range parts {
		lanes := make([]float64, 128)
		for i := b * 128; i < n/2; i += blocks * 128 {
			for t := 0; t < 128 && i+t < n/2; t++ {
				lanes[t] += square(2*(i+t)) + square(2*(i+t)+1)
			}
		}
		if n%2 == 1 && b == 0 {
			lanes[0] += square(n - 1)
		}
		for w := range 4 { // shuffles by exclusive or: every lane has the whole sum, lane 0 in this order
			warp := lanes[w*32 : w*32+32]
			for o := 16; o > 0; o /= 2 {
				for t := range o {
					warp[t] += warp[t+o]
				}
			}
		}
		parts[b] = lanes[0] + lanes[32] + lanes[64] + lanes[96]
	}
	at, part := upload(r, "y", y), blank[float64](r, "part", blocks)
	r.launch("axpy_dot", line(blocks), line(128), 0, float32(a), upload(r, "x", x), at, part, n)
	return firstError(equal("y", want, download[float32](r, at, n)),
		equal("part", parts, download[float64](r, part, blocks)))
}

// sparseProduct: rows, columns, most entries a row.
func sparseProduct(r *rig, s []int) error {
	n, m, most := s[0], s[1], s[2]
	start := []int32{0}
	var column []int32
	want := make([]float32, n)
	x := r.normals(m)
	var value []float32
	for i := range n {
		lanes := make([]float32, 32)
		for e := range r.random.IntN(most + 1) {
			column = append(column, int32(r.random.IntN(m)))
			value = append(value, float32(r.random.NormFloat64()))
			k := len(column) - 1
			lanes[e%32] = exact.FMA32(value[k], x[column[k]], lanes[e%32])
		}
		want[i] = treeSum(lanes)
		start = append(start, int32(len(column)))
	}
	y := blank[float32](r, "y", n)
	r.launch("spmv", line(cover(n, 4)), line(128), 0,
		upload(r, "start", start), upload(r, "column", column), upload(r, "value", value), upload(r, "x", x), y, n)
	return equal("y", want, download[float32](r, y, n))
}

// moments: the compilers contract (x - mean)² + sum to one fma, which the oracle does too.
func moments(r *rig, s []int) error {
	n := s[0]
	x := make([]float64, n)
	lo, hi := math.Inf(1), math.Inf(-1)
	for i := range x {
		x[i] = 3 + r.random.NormFloat64()
		lo, hi = min(lo, x[i]), max(hi, x[i])
	}
	sum := func(add func(sum, x float64) float64) float64 {
		s := make([]float64, 256)
		for i, v := range x {
			s[i%256] = add(s[i%256], v)
		}
		for o := 128; o > 0; o /= 2 {
			for t := range o {
				s[t] += s[t+o]
			}
		}
		return s[0]
	}
	mean := sum(func(s, x float64) float64 { return s + x }) / float64(n)
	variance := sum(func(s, x float64) float64 { return math.FMA(x-mean, x-mean, s) }) / float64(n)
	out := blank[float64](r, "out", 4)
	r.launch("moments", line(1), line(256), 0, upload(r, "x", x), out, n)
	got := download[float64](r, out, 4)
	if r.float == ptx.Pessimistic && got[0] != mean {
		return fmt.Errorf("mean is %v, want %v: no approximation is involved", got[0], mean)
	}
	return equal("out", []float64{mean, math.Sqrt(variance), lo, hi}, got)
}
