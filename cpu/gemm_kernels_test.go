package cpu

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// forKernels runs a test with the kernels of every level that there is.
func forKernels(t *testing.T, f func(t *testing.T, k *kernels)) {
	for _, l := range Levels() {
		t.Run(l.String(), func(t *testing.T) { f(t, kernelsOf(l)) })
	}
}

// Every tile of every level against its formula, around the unrolling of k, in several layouts of A: the error within its
// bound, nothing written outside.
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
	k.tile(rows, vecs, cols, kc, a, rs, cs, b, ldb, c.v, ldc, add, lookahead{})
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
				t.Fatalf("%dx%d, k=%d, rs=%d cs=%d ldb=%d ldc=%d add=%v: [%d,%d] is %v, want %v", rows, cols, kc, rs, cs, ldb, ldc, add, i, j, got, s)
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

func TestDots(t *testing.T) {
	forKernels(t, func(t *testing.T, k *kernels) {
		if k.dots == nil {
			t.Skip("plain Go has none")
		}
		r := rng(8)
		for kc := 1; kc < 70; kc++ {
			rows, rs, ldy := 1+r.IntN(20), kc+r.IntN(3), 1+r.IntN(3)
			a, x := normals(r, (rows-1)*rs+kc), normals(r, kc)
			y := newGuarded((rows-1)*ldy+1, kc%16)
			before := append([]float32(nil), y.v...)
			k.dots(rows, kc, a, rs, x, y.v, ldy)
			require.True(t, y.intact())
			for i := range y.v {
				if i%ldy > 0 {
					require.Equal(t, math.Float32bits(before[i]), math.Float32bits(y.v[i]))
					continue
				}
				var s, size float64
				for q := range kc {
					p := float64(a[i/ldy*rs+q]) * float64(x[q])
					s, size = s+p, size+math.Abs(p)
				}
				require.InDelta(t, s, float64(y.v[i]), float64(kc+2)*u32*size, "%d rows, k=%d, row %d", rows, kc, i/ldy)
			}
		}
	})
}

func TestPeak(t *testing.T) {
	for _, l := range Levels() {
		require.Positive(t, PeakFlops(newPoolAt(t, 2, l), 0))
	}
	if !testing.Short() {
		require.Positive(t, PeakBandwidth(newPool(t, 2), 0))
	}
}
