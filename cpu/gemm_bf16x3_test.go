package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"bilevel/internal/ptx/arith/exact"
)

// needBF16x3 gives the kernels of bf16x3 products of this machine's best level.
func needBF16x3(t testing.TB) *bf16x3Kernels {
	k := kernelsOf(Detected()).bf16x3
	if k == nil {
		t.Skip("this processor, its operating system or this build has no matrix units")
	}
	return k
}

// roundPiece rounds to 8 significant bits, halves away from zero; below 2⁻¹²⁶ to multiples of 2⁻¹³³.
func roundPiece(x float32) float32 {
	if x == 0 || x != x || math.IsInf(float64(x), 0) {
		return x
	}
	unit := math.Ldexp(1, max(math.Ilogb(float64(x))-7, -133))
	return float32(math.Round(float64(x)/unit) * unit)
}

// piecesOf is the definition of the pieces of a number, and says whether it has some. Of a last rest finer than 2⁻¹³³,
// which only numbers below 2⁻¹¹⁰ leave and the units take as 0, what is finer is dropped.
func piecesOf(x float32) (p [bf16x3Size]float32, finite bool) {
	rest := x
	for i := range bf16x3Size - 1 {
		p[i] = roundPiece(rest)
		rest -= p[i]
	}
	p[2] = math.Float32frombits(math.Float32bits(rest) &^ 0xffff)
	return p, !math.IsNaN(float64(rest))
}

// halves is memory as 16-bit words.
func halves(x []float32) []uint16 {
	return unsafe.Slice((*uint16)(unsafe.Pointer(unsafe.SliceData(x))), 2*len(x))
}

// leftGeneric is the definition of bf16x3Kernels.left: tiles of 16 rows by 32 terms, those of the rows one after the
// other, then the next piece, then the next terms. What is not written stays.
func leftGeneric(to, from []float32, ld, rows, k int) (finite bool) {
	words, tiles := halves(to), (rows+15)/16
	finite = true
	for i := range rows {
		for q := range roundUp(k, bf16x3Terms) {
			var p [bf16x3Size]float32
			if q < k {
				var ok bool
				p, ok = piecesOf(from[i*ld+q])
				finite = finite && ok
			}
			for piece, v := range p {
				tile := (q/bf16x3Terms*bf16x3Size+piece)*tiles + i/16
				words[tile*512+i%16*32+q%32] = uint16(math.Float32bits(v) >> 16)
			}
		}
	}
	return finite
}

// rightGeneric is the definition of bf16x3Kernels.right: panels of 32 columns or what is left, each of tiles of 16
// pairs of terms by 16 columns, in the same order.
func rightGeneric(to, from []float32, ld, k, cols int) (finite bool) {
	words := halves(to)
	finite = true
	for j := range roundUp(cols, 16) {
		panel, inside := j/bf16x3Panel, j%bf16x3Panel
		tiles := (min(cols-panel*bf16x3Panel, bf16x3Panel) + 15) / 16
		for q := range roundUp(k, bf16x3Terms) {
			var p [bf16x3Size]float32
			if q < k && j < cols {
				var ok bool
				p, ok = piecesOf(from[q*ld+j])
				finite = finite && ok
			}
			for piece, v := range p {
				tile := (q/bf16x3Terms*bf16x3Size+piece)*tiles + inside/16
				at := tile*512 + q%32/2*32 + inside%16*2 + q%2
				words[panel*2*panelRoom(bf16x3Panel, k)+at] = uint16(math.Float32bits(v) >> 16)
			}
		}
	}
	return finite
}

// ordinary has pieces, awkward numbers among them: zeros, halves of a unit, subnormals, the largest.
func ordinary(r *rand.Rand) float32 {
	list := []uint32{
		0, 1 << 31, 1, 0x80000001, 0x7fffff, 0x8000, 0x18000, 0x7f7f7fff, 0xff7f7fff, 0x3f808000, 0x3f818000,
		0x3f807f80, 0xbf807f7f, 0x00800000,
	}
	switch r.IntN(4) {
	case 0:
		return math.Float32frombits(list[r.IntN(len(list))])
	case 1:
		for {
			if x := math.Float32frombits(r.Uint32()); math.Abs(float64(x)) <= 0x1.fefffep127 {
				return x
			}
		}
	}
	return float32(r.NormFloat64())
}

// wild have no pieces: NaN with every kind of payload, infinities, and what rounds to them.
var wild = []uint32{
	0x7f800000, 0xff800000, 0x7f800001, 0xff800001, 0x7fffffff, 0xffffffff, 0x7fc00000, 0xffc00000, 0x7f808000,
	0x7f807fff, 0xff80ffff, 0x7fff8000, 0xffff7fff, 0x7f7fffff, 0xff7fffff, 0x7f7f8000, 0xff7f8000,
}

// sameWords compares memory bit by bit.
func sameWords(t *testing.T, want, got []float32, text string, args ...any) {
	t.Helper()
	for i := range want {
		if w, g := math.Float32bits(want[i]), math.Float32bits(got[i]); w != g {
			t.Fatalf("%s: word %d is %#x, want %#x", fmt.Sprintf(text, args...), i, g, w)
		}
	}
}

// checkCut compares a kernel with its definition, bit by bit.
func checkCut(
	t *testing.T, name string, kernel, twin func(to, from []float32, ld, n, m int) bool, from []float32,
	ld, n, m, room, offset int,
) {
	t.Helper()
	got, want := newGuarded(room, offset), newGuarded(room, offset)
	finite := kernel(got.v, from, ld, n, m)
	require.Equal(t, twin(want.v, from, ld, n, m), finite, "%s of %d×%d, %d apart: finite", name, n, m, ld)
	if !got.intact() {
		t.Fatalf("%s of %d×%d, %d apart wrote outside", name, n, m, ld)
	}
	if finite {
		sameWords(t, want.v, got.v, "%s of %d×%d, %d apart", name, n, m, ld)
	}
}

// roomOf is what cols columns take.
func roomOf(cols, k int) int {
	return cols/bf16x3Panel*panelRoom(bf16x3Panel, k) + panelRoom(cols%bf16x3Panel, k)
}

// Every small block is cut into the pieces of its numbers, and nothing else is written.
func TestCut(t *testing.T) {
	kernels := needBF16x3(t)
	r := rng(1)
	data := make([]float32, 1<<14)
	for i := range data {
		data[i] = ordinary(r)
	}
	for k := 1; k <= 70; k++ {
		for rows := 1; rows <= bf16x3Panel; rows++ {
			if testing.Short() && r.IntN(8) > 0 {
				continue
			}
			ld, at := k+r.IntN(3), r.IntN(1000)
			checkCut(
				t, "left", kernels.left, leftGeneric, data[at:][:(rows-1)*ld+k], ld, rows, k, panelRoom(rows, k),
				r.IntN(16),
			)
		}
		for cols := 1; cols <= 70; cols++ {
			if testing.Short() && r.IntN(8) > 0 {
				continue
			}
			ld, at := cols+r.IntN(3), r.IntN(1000)
			checkCut(
				t, "right", kernels.right, rightGeneric, data[at:][:(k-1)*ld+cols], ld, k, cols, roomOf(cols, k),
				r.IntN(16),
			)
		}
	}
}

// The answer of the kernels is false exactly where a number has no pieces, wherever it lies.
func TestCutTellsWhatHasNoPieces(t *testing.T) {
	kernels := needBF16x3(t)
	r := rng(2)
	for _, s := range [][2]int{{1, 1}, {1, 70}, {17, 33}, {32, 64}, {31, 31}, {35, 97}, {3, 128}} {
		from := make([]float32, s[0]*s[1])
		for i := range from {
			from[i] = ordinary(r)
		}
		toA, toB := make([]float32, panelRoom(bf16x3Panel, s[1])), make([]float32, roomOf(s[1], s[0]))
		answers := func() (left, right bool) {
			rows := min(s[0], bf16x3Panel)
			return kernels.left(toA, from, s[1], rows, s[1]), kernels.right(toB, from, s[1], s[0], s[1])
		}
		left, right := answers()
		require.True(t, left && right, "%v: all numbers are finite", s)
		for i, x := range from {
			from[i] = math.Float32frombits(wild[i%len(wild)])
			left, right := answers()
			require.Equal(t, i >= bf16x3Panel*s[1], left, "%v: left, %#x at %d", s, wild[i%len(wild)], i)
			require.False(t, right, "%v: right, %#x at %d", s, wild[i%len(wild)], i)
			from[i] = x
		}
	}
	for _, bits := range wild { // and each of them somewhere
		x := []float32{math.Float32frombits(bits)}
		require.False(t, kernels.left(make([]float32, panelRoom(1, 1)), x, 1, 1, 1), "%#x", bits)
		require.False(t, kernels.right(make([]float32, panelRoom(1, 1)), x, 1, 1, 1), "%#x", bits)
	}
}

// A number is the sum of its pieces, which are as small as gemm_bf16x3.go says, and so is what the product leaves out:
// all as long as no piece is subnormal, from 2⁻¹⁰³ on.
func TestPieces(t *testing.T) {
	kernels := needBF16x3(t)
	r := rng(3)
	const n = 32
	random := func(i int) float32 {
		mantissa := r.Uint32() & 0x7fffff
		if i%2 == 0 { // near where roundings change
			mantissa = (r.Uint32N(256)<<15 +
				[]uint32{0, 1, 0x40, 0x7f, 0x80, 0x81, 0x7fbf, 0x7fc0, 0x7fff}[r.IntN(9)]) & 0x7fffff
		}
		return math.Float32frombits(r.Uint32N(2)<<31 | (24+r.Uint32N(230))<<23 | mantissa)
	}
	from, to := make([]float32, n*n), make([]float32, panelRoom(n, n))
	rounds := 300
	if testing.Short() {
		rounds = 30
	}
	for range rounds {
		for i := range from {
			from[i] = random(i)
		}
		require.True(t, kernels.left(to, from, n, n, n))
		words := halves(to)
		pieces := func(i int) (p [bf16x3Size]float64) {
			for piece := range p {
				p[piece] = float64(math.Float32frombits(uint32(words[(piece*2+i/n/16)*512+i/n%16*32+i%n]) << 16))
			}
			return p
		}
		var before [bf16x3Size]float64
		for i, x := range from {
			p, size := pieces(i), math.Abs(float64(x))
			if p[0]+p[1]+p[2] != float64(x) || math.Abs(p[1]) > 0x1p-8*size || math.Abs(p[2]) > 0x1p-17*size {
				t.Fatalf("the pieces of %x are %x", x, p)
			}
			if i > 0 {
				out := math.Abs(p[1]*before[2]+p[2]*before[1]) + math.Abs(p[2]*before[2])
				if !(out <= u32*size*math.Abs(float64(from[i-1]))) {
					t.Fatalf("of %x times %x is left out %x", from[i-1], x, out)
				}
			}
			before = p
		}
	}
}

// bf16x3Bound is the error constant of a bf16x3 product, times u, of k terms. With |a₀| + |a₁| + |a₂| ≤ (1 + 2⁻⁷)|a|
// the six products of pieces sum to at most 1+2⁻⁶ of |a||b|; each goes through 15 additions in its tile, whose even and
// odd terms are summed in order, the first exactly, one that adds both, and at most one for each tile after it; what is
// left out counts 1.
func bf16x3Bound(k int) float64 { return 1 + (1+0x1p-6)*(16+float64(tileSums(k))) }

// tileSums is the additions of a tile's products to a sum.
func tileSums(k int) int { return 6 * ((k + bf16x3Terms - 1) / bf16x3Terms) }

// tiny is what underflow adds to the error of k terms a·b, from Σ|a| and Σ|b|: what is below 2⁻¹²⁶ of a number's pieces
// counts as 0, and so does each of 6(k + 2⌈k/32⌉) sums, fewer than 7 a term where k ≥ bf16x3Least.
func tiny(a, b float64, k int) float64 { return 0x1p-126 * (a + b + 7*float64(k)) }

// multiplyGeneric computes one element as the manual defines TDPBF16PS: even and odd terms in two chains of
// multiply-adds, their sum, that added to what is there.
func multiplyGeneric(a, b [][bf16x3Size]float32, c float32) float32 {
	for s := 0; s < len(a); s += bf16x3Terms {
		for _, pair := range [][2]int{{0, 1}, {1, 1}, {1, 0}, {2, 0}, {0, 0}, {0, 2}} {
			var chain [2]float32
			for q := s; q < min(s+bf16x3Terms, len(a)); q++ {
				chain[q%2] = exact.FMA32(a[q][pair[0]], b[q][pair[1]], chain[q%2])
			}
			c += chain[0] + chain[1]
		}
	}
	return c
}

// The kernels of all numbers of tiles: the bits that the definition gives, the error within its bound, nothing written
// outside.
func TestMultiplyPieces(t *testing.T) {
	kernels := needBF16x3(t)
	r := rng(4)
	cases := 400
	if testing.Short() {
		cases = 80
	}
	for n := range cases {
		testMultiplyPieces(t, kernels, r, 1+n%bf16x3Panel, 1+r.IntN(100), 1+r.IntN(100), r.IntN(4), r.IntN(2) == 0)
	}
	for _, rows := range []int{1, 16, 17, 32} { // whole and nearly empty tiles
		for _, cols := range []int{1, 16, 17, 32, 33, 49, 64} {
			for _, k := range []int{1, 2, 31, 32, 33, 64} {
				testMultiplyPieces(t, kernels, r, rows, cols, k, 0, k%2 == 0)
			}
		}
	}
}

func testMultiplyPieces(t *testing.T, kernels *bf16x3Kernels, r *rand.Rand, rows, cols, k, apart int, add bool) {
	t.Helper()
	from, by, ldc := normals(r, rows*k), normals(r, k*cols), cols+apart
	if r.IntN(2) == 0 { // all of one sign, so that sums grow
		for _, list := range [][]float32{from, by} {
			for i, x := range list {
				list[i] = float32(math.Abs(float64(x)))
			}
		}
	}
	a, b := newGuarded(panelRoom(rows, k), r.IntN(16)), newGuarded(roomOf(cols, k), r.IntN(16)) // missing rows are NaN
	kernels.left(a.v, from, k, rows, k)
	kernels.right(b.v, by, cols, k, cols)
	c := newGuarded((rows-1)*ldc+cols, r.IntN(16))
	copy(c.v, normals(r, len(c.v)))
	before := slices.Clone(c.v)
	kernels.multiply(rows, cols, k, a.v, b.v, c.v, ldc, add)
	require.True(t, c.intact(), "%d×%d×%d wrote outside", rows, k, cols)
	look := r.IntN(7) // the definition is slow: some of the elements
	rowOf, colOf := make([][bf16x3Size]float32, k), make([][bf16x3Size]float32, k)
	for at := range c.v {
		i, j, got := at/ldc, at%ldc, c.v[at]
		if j >= cols {
			require.Equal(t, before[at], got, "between rows")
			continue
		}
		begin := float32(0)
		if add {
			begin = before[at]
		}
		s, size := float64(begin), 0.0
		for q := range k {
			x := float64(from[i*k+q]) * float64(by[q*cols+j])
			s, size = s+x, size+math.Abs(x)
		}
		bound := u32 * (bf16x3Bound(k)*size + float64(tileSums(k))*math.Abs(float64(begin)))
		if !(math.Abs(float64(got)-s) <= bound) {
			t.Fatalf(
				"%d×%d×%d, %d apart, add %v: element %d,%d is %v, want %v ± %v", rows, k, cols, ldc, add, i, j, got, s,
				bound,
			)
		}
		if at%7 != look {
			continue
		}
		for q := range k {
			rowOf[q], _ = piecesOf(from[i*k+q])
			colOf[q], _ = piecesOf(by[q*cols+j])
		}
		if want := multiplyGeneric(rowOf, colOf, begin); got != want {
			t.Fatalf(
				"%d×%d×%d, add %v: element %d,%d is %x, the definition gives %x", rows, k, cols, add, i, j, got, want,
			)
		}
	}
}
