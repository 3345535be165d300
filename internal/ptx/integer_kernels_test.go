package ptx_test

import (
	"math"
	"math/big"
	"math/bits"
	"slices"

	"bilevel/internal/ptx/arith/exact"
)

func integerScenarios() []scenario {
	return []scenario{
		{"scan_blocks", "scan", [][]int{{1}, {31}, {256}, {257}, {2999}}, prefixSums},
		{"histogram", "histogram", [][]int{{0, 1}, {1, 1}, {33, 2}, {2999, 3}}, histogram},
		{"bitonic_sort", "bitonic", [][]int{{1}, {33}, {700}, {1024}, {1531}}, bitonicSort},
		{"philox_integers", "philox", lengths, philoxIntegers},
		{"philox_uniforms", "philox", lengths, philoxUniforms},
		{"philox_normals", "philox", lengths, philoxNormals},
		{"argmax", "argmax", [][]int{{1, 1}, {3, 31}, {5, 33}, {2, 97}, {3, 0}, {3, 301}}, argmax},
		{"gather", "rows", tables, gatherRows},
		{"scatter_add", "rows", tables, scatterAdd},
		{"scatter_max", "rows", tables, scatterMax},
		{"groups", "groups", [][]int{{1}, {31}, {128}, {300}}, groups},
		{"votes", "votes", [][]int{{1}, {31}, {64}, {200}}, votes},
		{"stencil", "stencil", lengths, stencil},
		{"mandelbrot", "mandelbrot", [][]int{{1, 1}, {17, 9}, {33, 31}}, mandelbrot},
		{"integers", "integers", lengths, integerOps},
	}
}

func prefixSums(r *rig, s []int) error {
	n := s[0]
	in := r.integers(n, 1000)
	want := slices.Clone(in)
	for i := 1; i < n; i++ {
		want[i] += want[i-1]
	}
	blocks := cover(n, 256)
	out, totals := blank[int32](r, "out", n), blank[int32](r, "blocks", blocks)
	r.launch("scan_blocks", line(blocks), line(256), 0, upload(r, "in", in), out, totals, n)
	r.launch("scan_totals", line(1), line(256), 0, totals, blocks)
	r.launch("scan_add", line(blocks), line(256), 0, out, totals, n)
	return equal("out", want, download[int32](r, out, n))
}

func histogram(r *rig, s []int) error {
	n, blocks := s[0], s[1]
	in, want := make([]uint8, n), make([]uint32, 256)
	for i := range in {
		in[i] = uint8(r.random.IntN(1 + r.random.IntN(256)))
		if i == 0 {
			in[i] = 255
		}
		want[in[i]]++
	}
	count := upload(r, "count", make([]uint32, 256))
	r.launch("histogram", line(blocks), line(96), 0, upload(r, "in", in), count, n)
	return equal("count", want, download[uint32](r, count, 256))
}

func bitonicSort(r *rig, s []int) error {
	n := s[0]
	keys := r.integers(n, 300)
	want := slices.Clone(keys)
	for part := range slices.Chunk(want, 1024) {
		slices.Sort(part)
	}
	at := upload(r, "keys", keys)
	r.launch("bitonic_sort", line(cover(n, 1024)), line(512), 0, at, n)
	return equal("keys", want, download[int32](r, at, n))
}

const philoxSeed, philoxStream = uint64(0x0123456789abcdef), uint32(7)

// philox is Philox 4x32-10 as its authors define it (Salmon et al., SC 2011).
func philox(counter [4]uint32) [4]uint32 {
	c, k := counter, [2]uint32{uint32(philoxSeed & 0xffffffff), uint32(philoxSeed >> 32)}
	for range 10 {
		h0, l0 := bits.Mul32(0xD2511F53, c[0])
		h1, l1 := bits.Mul32(0xCD9E8D57, c[2])
		c = [4]uint32{h1 ^ c[1] ^ k[0], l1, h0 ^ c[3] ^ k[1], l0}
		k[0] += 0x9E3779B9
		k[1] += 0xBB67AE85
	}
	return c
}

func philoxIntegers(r *rig, s []int) error {
	n := s[0]
	var want []uint32
	for i := range uint32(n) {
		c := philox([4]uint32{i, 0, philoxStream, 0})
		want = append(want, c[:]...)
	}
	out := blank[[4]uint32](r, "out", n)
	r.launch("philox_integers", line(cover(n, 64)), line(64), 0, out, philoxSeed, philoxStream, n)
	return equal("out", want, download[uint32](r, out, 4*n))
}

func philoxUniforms(r *rig, s []int) error {
	n := s[0]
	var want []float32
	for i := range uint32(n) {
		for _, b := range philox([4]uint32{i, 0, philoxStream, 0}) {
			want = append(want, float32(b>>8)*0x1p-24)
		}
	}
	out := blank[[4]float32](r, "out", n)
	r.launch("philox_uniforms", line(cover(n, 64)), line(64), 0, out, philoxSeed, philoxStream, n)
	return equal("out", want, download[float32](r, out, 4*n))
}

// philoxNormals: the products by 2⁻²⁴ are exact, so a fused sum has the same bits.
func philoxNormals(r *rig, s []int) error {
	n := s[0]
	want := make([]float32, n)
	for i := range want {
		want[i] = -6
		for j := range uint32(3) {
			for _, b := range philox([4]uint32{uint32(i), j, philoxStream, 1}) {
				want[i] += float32(b>>8) * 0x1p-24
			}
		}
	}
	out := blank[float32](r, "out", n)
	r.launch("philox_normals", line(cover(n, 64)), line(64), 0, out, philoxSeed, philoxStream, n)
	return equal("out", want, download[float32](r, out, n))
}

// argmax: ties and NaN occur; a row without an element above -∞ gives m.
func argmax(r *rig, s []int) error {
	n, m := s[0], s[1]
	x, want := make([]float32, n*m), make([]int32, n)
	for i := range x {
		x[i] = float32(r.random.IntN(12))
		if x[i] == 11 {
			x[i] = float32(math.NaN())
		}
	}
	for i := range want {
		want[i] = int32(m)
		best := float32(math.Inf(-1))
		for j, v := range x[i*m : (i+1)*m] {
			if v > best {
				best, want[i] = v, int32(j)
			}
		}
	}
	place := blank[int32](r, "place", n)
	r.launch("argmax", line(cover(n, 2)), line(64), 0, upload(r, "x", x), place, n, m)
	return equal("place", want, download[int32](r, place, n))
}

// index draws n of k rows.
func (r *rig) index(n, k int) []int64 {
	x := make([]int64, n)
	for i := range x {
		x[i] = int64(r.random.IntN(k))
	}
	return x
}

const sourceRows = 4

func gatherRows(r *rig, s []int) error {
	n, m := s[0], s[1]
	in, index := r.normals(sourceRows*m), r.index(n, sourceRows)
	want := make([]float32, n*m)
	for i := range want {
		want[i] = in[int(index[i/m])*m+i%m]
	}
	out := blank[float32](r, "out", n*m)
	r.launch("gather", line(cover(n*m, 64)), line(64), 0, upload(r, "in", in), upload(r, "index", index), out, n, m)
	return equal("out", want, download[float32](r, out, n*m))
}

func scatterAdd(r *rig, s []int) error {
	n, m := s[0], s[1]
	in, index := r.integers(n*m, 1<<20), r.index(n, sourceRows)
	want := make([]int32, sourceRows*m)
	out := upload(r, "out", want)
	for i, v := range in {
		want[int(index[i/m])*m+i%m] += v
	}
	r.launch("scatter_add", line(cover(n*m, 64)), line(64), 0, upload(r, "in", in), upload(r, "index", index),
		out, n, m)
	return equal("out", want, download[int32](r, out, len(want)))
}

func scatterMax(r *rig, s []int) error {
	n, m := s[0], s[1]
	in, index := r.normals(n*m), r.index(n, sourceRows)
	want := make([]float32, sourceRows*m)
	for i := range want {
		want[i] = float32(math.Inf(-1))
	}
	out := upload(r, "out", want)
	for i, v := range in {
		to := &want[int(index[i/m])*m+i%m]
		*to = max(*to, v)
	}
	r.launch("scatter_max", line(cover(n*m, 64)), line(64), 0, upload(r, "in", in), upload(r, "index", index),
		out, n, m)
	return equal("out", want, download[float32](r, out, len(want)))
}

func groups(r *rig, s []int) error {
	n := s[0]
	in := r.integers(n, 1000)
	blocks := cover(n, 128)
	tiles, odd, total := make([]int32, cover(n, 8)), make([]int32, cover(n, 32)), make([]int32, blocks)
	oddAt := upload(r, "odd", odd)
	for i, v := range in {
		tiles[i/8] += v
		total[i/128] += v
		odd[i/32] += v & 1
	}
	tilesAt, totalAt := blank[int32](r, "tiles", len(tiles)), blank[int32](r, "total", blocks)
	r.launch("groups", line(blocks), line(128), 0, upload(r, "in", in), tilesAt, oddAt, totalAt, n)
	return firstError(
		equal("tiles", tiles, download[int32](r, tilesAt, len(tiles))),
		equal("odd", odd, download[int32](r, oddAt, len(odd))),
		equal("total", total, download[int32](r, totalAt, blocks)))
}

func votes(r *rig, s []int) error {
	n, warps := s[0], 2*cover(s[0], 64)
	const bound = 3
	in := r.integers(n, 9)
	if n == 64 {
		in = slices.Repeat([]int32{7}, n) // every lane keeps its element
	}
	out, kept, flags, same := make([]int32, 32*warps), make([]int32, warps), make([]int32, 4*warps), make([]uint32, n)
	outAt := upload(r, "out", out)
	for w := range warps {
		x := slices.Repeat([]int32{bound}, 32)
		copy(x, in[min(32*w, n):])
		f := flags[4*w : 4*w+4]
		f[1], f[3] = 1, math.MinInt32
		for lane, v := range x {
			if v > bound {
				out[32*w+int(kept[w])] = v
				kept[w]++
			}
			if v == 7 {
				f[0] = 1
			}
			if v < bound {
				f[1] = 0
			}
			f[2] += v
			f[3] = max(f[3], v)
			for other, o := range x {
				if i := 32*w + lane; i < n && o&3 == v&3 {
					same[i] |= 1 << other
				}
			}
		}
	}
	keptAt, flagsAt, sameAt := blank[int32](r, "kept", warps), blank[int32](r, "flags", 4*warps),
		blank[uint32](r, "same", n)
	r.launch("votes", line(warps/2), line(64), 0, upload(r, "in", in), outAt, keptAt, flagsAt, sameAt, bound, n)
	return firstError(
		equal("out", out, download[int32](r, outAt, len(out))),
		equal("kept", kept, download[int32](r, keptAt, warps)),
		equal("flags", flags, download[int32](r, flagsAt, 4*warps)),
		equal("same", same, download[uint32](r, sameAt, n)))
}

func stencil(r *rig, s []int) error {
	n := s[0]
	in := r.integers(n, 1000)
	want := make([]int32, n)
	for i := range want {
		for j := max(0, i-3); j <= min(n-1, i+3); j++ {
			want[i] += in[j]
		}
	}
	out := blank[int32](r, "out", n)
	r.launch("stencil", line(cover(n, 128)), line(128), 0, upload(r, "in", in), out, n)
	return equal("out", want, download[int32](r, out, n))
}

func mandelbrot(r *rig, s []int) error {
	w, h := s[0], s[1]
	const x0, y0, dx, limit = -2.1, -1.3, 0.0875, 60
	want := make([]int32, 0, w*h)
	for py := range h {
		for px := range w {
			cx, cy := exact.FMA32(float32(px), dx, x0), exact.FMA32(float32(py), dx, y0)
			var x, y float32
			k := 0
			for ; k < limit; k++ {
				xx, yy := float32(x*x), float32(y*y)
				if xx+yy > 4 {
					break
				}
				x, y = float32(xx-yy)+cx, float32(2*float32(x*y))+cy
			}
			want = append(want, int32(k))
		}
	}
	steps := blank[int32](r, "steps", w*h)
	r.launch("mandelbrot", [3]int{cover(w, 16), cover(h, 4), 1}, [3]int{16, 4, 1}, 0,
		steps, float32(x0), float32(y0), float32(dx), w, h, limit)
	return equal("steps", want, download[int32](r, steps, w*h))
}

func integerOps(r *rig, s []int) error {
	n := s[0]
	a, b := make([]int64, n), make([]int64, n)
	quotient, remainder, word, narrow := make([]int64, n), make([]int64, n), make([]uint32, 6*n), make([]int16, n)
	for i := range a {
		a[i] = int64(r.random.Uint64()) >> r.random.IntN(64)
		for b[i] == 0 {
			b[i] = int64(r.random.Uint64()) >> r.random.IntN(64)
		}
		if i == 0 {
			a[i], b[i] = math.MinInt64, 3
		}
		x, y := a[i], b[i]
		quotient[i] = new(big.Int).Quo(big.NewInt(x), big.NewInt(y)).Int64()
		remainder[i] = int64(uint64(x) % uint64(y))
		u, v := uint32(x), uint32(y)
		ffs := uint32(0)
		if y != 0 {
			ffs = uint32(bits.TrailingZeros64(uint64(y))) + 1
		}
		copy(word[6*i:], []uint32{
			uint32(bits.OnesCount32(u) + 64*bits.LeadingZeros32(u)),
			bits.Reverse32(u),
			uint32((uint64(v)<<32 | uint64(u)) << (v & 31) >> 32),
			u&0xff | v>>8&0xff<<8 | u>>8&0xff<<16 | v&0xff<<24, // bytes 0, 5, 1, 4 of (u, v)
			uint32(bits.OnesCount64(uint64(x))) + 128*ffs,
			uint32(int64(int32(u)) * int64(int32(v)) >> 32),
		})
		narrow[i] = int16(int8(x)) + int16(uint8(y))
	}
	quotientAt, remainderAt := blank[int64](r, "quotient", n), blank[int64](r, "remainder", n)
	wordAt, narrowAt := blank[uint32](r, "bits", 6*n), blank[int16](r, "narrow", n)
	r.launch("integers", line(cover(n, 64)), line(64), 0, upload(r, "a", a), upload(r, "b", b), quotientAt, remainderAt,
		wordAt, narrowAt, n)
	return firstError(
		equal("quotient", quotient, download[int64](r, quotientAt, n)),
		equal("remainder", remainder, download[int64](r, remainderAt, n)),
		equal("bits", word, download[uint32](r, wordAt, 6*n)),
		equal("narrow", narrow, download[int16](r, narrowAt, n)))
}
