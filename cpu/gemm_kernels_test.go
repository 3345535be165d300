package cpu

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// forKernels runs a test with the kernels of every level that there is.
func forKernels(t *testing.T, f func(t *testing.T, k *kernels)) {
	for _, l := range Levels() {
		t.Run(l.String(), func(t *testing.T) { f(t, kernelsOf(l)) })
	}
}

// Every tile of every level against its formula, around the unrolling of k, in several layouts of A: the error within
// its bound, nothing written outside.
func TestTiles(t *testing.T) {
	forKernels(t, func(t *testing.T, k *kernels) {
		r := rng(3)
		for vecs := 1; vecs < len(k.most); vecs++ {
			for rows := 1; rows <= k.most[vecs]; rows++ {
				for _, cols := range tileCounts(k.lanes, vecs) {
					kc := []int{1, 2, 3, 4, 5, 7, 8, 17}[r.IntN(8)]
					layouts := [][2]int{{kc, 1}, {1, rows}, {0, 1}, {3, 3 * rows}}
					at := layouts[r.IntN(len(layouts))]
					testTile(t, k, rows, vecs, cols, kc, at[0], at[1], uint64(cols), r.IntN(2) == 0)
				}
			}
		}
	})
}

// tileCounts are numbers of columns: every one up to one strip, and some of several.
func tileCounts(lanes, vecs int) (list []int) {
	for cols := 1; cols <= lanes*vecs; cols++ {
		list = append(list, cols)
	}
	return append(list, 2*lanes*vecs, 2*lanes*vecs+1, 3*lanes*vecs+lanes)
}

func testTile(t *testing.T, k *kernels, rows, vecs, cols, kc, rs, cs int, seed uint64, add bool) {
	t.Helper()
	r := rng(seed)
	a, ldb, ldc := normals(r, (rows-1)*rs+(kc-1)*cs+1), cols+r.IntN(3), cols+r.IntN(3)
	b := normals(r, (kc-1)*ldb+cols)
	c := newGuarded((rows-1)*ldc+cols, int(seed)%16)
	copy(c.v, normals(r, len(c.v)))
	before := append([]float32(nil), c.v...)
	var next lookahead
	if r.IntN(2) == 0 { // what a kernel asks for does not change what it computes
		next = lookahead{addressOf(a, 0), r.IntN(100), r.IntN(100)}
	}
	k.tile(rows, vecs, cols, kc, a, rs, cs, b, ldb, c.v, ldc, add, next)
	require.True(t, c.intact())
	for i := range rows {
		for j := range ldc {
			if j >= cols {
				if at := i*ldc + j; at < len(c.v) {
					require.Equal(t, before[at], c.v[at], "between rows")
				}
				continue
			}
			var s, size float64
			for q := range kc {
				x := float64(a[i*rs+q*cs]) * float64(b[q*ldb+j])
				s, size = s+x, size+math.Abs(x)
			}
			if add {
				s, size = s+float64(before[i*ldc+j]), size+math.Abs(float64(before[i*ldc+j]))
			}
			if got := float64(c.v[i*ldc+j]); !(math.Abs(got-s) <= float64(kc+2)*u32*size) {
				t.Fatalf(
					"%dx%d, k=%d, rs=%d cs=%d ldb=%d ldc=%d add=%v: [%d,%d] is %v, want %v", rows, cols, kc, rs, cs,
					ldb, ldc, add, i, j, got, s,
				)
			}
		}
	}
}

// Copies, products with a mask and transposes against their formula, bit by bit.
func TestCopies(t *testing.T) {
	forKernels(t, func(t *testing.T, k *kernels) {
		r := rng(5)
		for rows := 1; rows < 36; rows++ {
			for cols := 1; cols < 36; cols++ {
				lds, ldm, ldd := cols+r.IntN(3), cols+r.IntN(3), max(rows, cols)+r.IntN(3)
				src, by := normals(r, (rows-1)*lds+cols), normals(r, (rows-1)*ldm+cols)
				offset := r.IntN(16)
				room := (max(rows, cols)-1)*ldd + max(rows, cols)
				check := func(name string, do, twin func(dst []float32)) {
					got, want := newGuarded(room, offset), newGuarded(room, offset)
					do(got.v)
					twin(want.v)
					require.True(t, got.intact(), name)
					for i := range want.v {
						if math.Float32bits(got.v[i]) != math.Float32bits(want.v[i]) {
							t.Fatalf("%s %dx%d: element %d is %v, want %v", name, rows, cols, i, got.v[i], want.v[i])
						}
					}
				}
				check("copyRows", func(d []float32) { k.copyRows(d, ldd, src, lds, rows, cols) },
					func(d []float32) { copyRowsGeneric(d, ldd, src, lds, rows, cols) })
				check("mulRows", func(d []float32) { k.mulRows(d, ldd, src, lds, by, ldm, rows, cols) },
					func(d []float32) { mulRowsGeneric(d, ldd, src, lds, by, ldm, rows, cols) })
				check("transpose", func(d []float32) { k.transpose(d, ldd, src, lds, rows, cols) },
					func(d []float32) { transposeGeneric(d, ldd, src, lds, rows, cols) })
			}
		}
	})
}

// Every kernel along k against its formula, for every number of terms around one and several vectors.
func TestDots(t *testing.T) {
	forKernels(t, func(t *testing.T, k *kernels) {
		r := rng(8)
		for cols := 1; cols <= k.mostDots; cols++ {
			for kc := 1; kc < 70; kc++ {
				testDots(t, k, 1+r.IntN(20), cols, kc, uint64(kc), r.IntN(2) == 0)
			}
		}
	})
}

func testDots(t *testing.T, k *kernels, rows, cols, kc int, seed uint64, add bool) {
	t.Helper()
	r := rng(seed)
	rs, ldb, ldc := kc+r.IntN(3), kc+r.IntN(3), cols+r.IntN(3)
	a, b := normals(r, (rows-1)*rs+kc), normals(r, (cols-1)*ldb+kc)
	c := newGuarded((rows-1)*ldc+cols, kc%16)
	copy(c.v, normals(r, len(c.v)))
	before := append([]float32(nil), c.v...)
	k.dots(rows, cols, kc, a, rs, b, ldb, c.v, ldc, add)
	require.True(t, c.intact())
	for at := range c.v {
		i, j := at/ldc, at%ldc
		if j >= cols {
			require.Equal(t, before[at], c.v[at], "between rows")
			continue
		}
		s, size := 0.0, 0.0
		if add {
			s, size = float64(before[at]), math.Abs(float64(before[at]))
		}
		for q := range kc {
			p := float64(a[i*rs+q]) * float64(b[j*ldb+q])
			s, size = s+p, size+math.Abs(p)
		}
		require.InDelta(
			t, s, float64(c.v[at]), float64(kc+3)*u32*size, "%d×%d, k=%d, element %d,%d", rows, cols, kc, i, j,
		)
	}
}

func TestPeak(t *testing.T) {
	for _, l := range Levels() {
		require.Positive(t, PeakFlops(newPoolAt(t, 2, l), 0))
	}
	if !testing.Short() {
		require.Positive(t, PeakBandwidth(newPool(t, 2), 0))
	}
}

// Kernels whose rows are in a list give, bit by bit, what those give that read the rows copied together, and write
// nothing else.
func TestRowsByList(t *testing.T) {
	forKernels(t, func(t *testing.T, k *kernels) {
		if k.dotRows == nil {
			t.Skip("this level has none")
		}
		r := rng(12)
		for range 600 {
			rows, kc := 1+r.IntN(20), 1+r.IntN(5*k.lanes)
			most, stride := 1+r.IntN(20), kc+r.IntN(3)
			cols := k.leastDotRows + r.IntN(k.mostDots-k.leastDotRows+1)
			ldb, ldc := kc+r.IntN(3), cols+r.IntN(3)
			table, b, c := normals(r, (most-1)*stride+kc), normals(r, (cols-1)*ldb+kc), newGuarded(
				(rows-1)*ldc+cols, r.IntN(16),
			)
			at, together := listed(r, rows, most, stride, kc, table)
			copy(c.v, normals(r, len(c.v)))
			want := slices.Clone(c.v)
			add := r.IntN(2) == 0
			k.dots(rows, cols, kc, together, kc, b, ldb, want, ldc, add)
			k.dotRows(rows, cols, kc, at, table, b, ldb, c.v, ldc, add)
			require.True(t, c.intact())
			require.Equal(t, want, c.v, "%d rows of %d times %d columns", rows, kc, cols)
		}
		for range 600 {
			width := k.wide * k.lanes
			rows, terms, cols := 1+r.IntN(k.most[k.wide]), 1+r.IntN(40), width+r.IntN(3*width)
			most, stride := 1+r.IntN(20), cols+r.IntN(3)
			rs, cs, ldc := terms, 1, cols+r.IntN(3)
			if r.IntN(2) == 0 {
				rs, cs = 1, rows
			}
			table, a, c := normals(r, (most-1)*stride+cols), normals(r, rows*terms), newGuarded(
				(rows-1)*ldc+cols, r.IntN(16),
			)
			at, together := listed(r, terms, most, stride, cols, table)
			copy(c.v, normals(r, len(c.v)))
			want := slices.Clone(c.v)
			k.tile(rows, k.wide, cols, terms, a, rs, cs, together, cols, want, ldc, false, lookahead{})
			k.tileRows(rows, cols, terms, a, rs, cs, at, table, c.v, ldc)
			require.True(t, c.intact())
			require.Equal(t, want, c.v, "%d rows times %d of %d", rows, terms, cols)
		}
	})
}

// listed draws rows of a table, in places and copied together.
func listed(r *rand.Rand, rows, most, stride, n int, table []float32) (at []int, together []float32) {
	for range rows {
		at = append(at, r.IntN(most)*stride)
		together = append(together, table[at[len(at)-1]:][:n]...)
	}
	for range morePlaces {
		at = append(at, at[rows-1])
	}
	return at, together
}
