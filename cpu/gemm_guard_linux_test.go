package cpu

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// atPageEnd returns n floats that end where memory ends: a kernel that reads one more faults.
func atPageEnd(t *testing.T, n int) []float32 {
	page := unix.Getpagesize()
	whole := (4*n + page - 1) / page * page
	m, err := unix.Mmap(-1, 0, whole+page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Munmap(m) })
	require.NoError(t, unix.Mprotect(m[whole:], unix.PROT_NONE))
	return unsafe.Slice((*float32)(unsafe.Pointer(&m[whole-4*n])), n)
}

// Kernels touch nothing past the last element of their operands.
func TestTilesStayInside(t *testing.T) {
	r := rng(6)
	forKernels(t, func(t *testing.T, k *kernels) {
		for vecs := 1; vecs < len(k.most); vecs++ {
			if k.most[vecs] == 0 {
				continue
			}
			for _, cols := range []int{k.lanes*(vecs-1) + 1, k.lanes*vecs - 1, k.lanes * vecs} {
				for _, kc := range []int{1, 5, 8} {
					rows := 1 + r.IntN(k.most[vecs])
					a, b, c := atPageEnd(t, rows*kc), atPageEnd(t, kc*cols), atPageEnd(t, rows*cols)
					k.tile(rows, vecs, cols, kc, a, kc, 1, b, cols, c, cols, r.IntN(2) == 0, lookahead{})
					if n := min(cols, k.mostDots); n > 0 {
						k.dots(rows, n, kc, a, kc, atPageEnd(t, n*kc), kc, atPageEnd(t, rows*n), n, r.IntN(2) == 0)
					}
					k.copyRows(c, cols, atPageEnd(t, rows*cols), cols, rows, cols)
					k.mulRows(c, cols, atPageEnd(t, rows*cols), cols, atPageEnd(t, rows*cols), cols, rows, cols)
					stayInside(t, &k.winogradKernels, rows, cols)
					k.transpose(c, rows, atPageEnd(t, rows*cols), cols, rows, cols)
				}
			}
		}
	})
}

// stayInside applies the matrices of Winograd's algorithm to so many tiles and channels.
func stayInside(t *testing.T, k *winogradKernels, tiles, n int) {
	type shape struct {
		apply   winogradMap
		in, out int
	}
	maps := []shape{{k.pixels, tileEdge, tileEdge}}
	for _, z := range k.sizes {
		maps = append(maps, shape{z.results, tileEdge, z.side()}, shape{z.spread, z.side(), tileEdge},
			shape{z.weights, z.taps, tileEdge}, shape{z.gather, tileEdge, z.taps})
	}
	for _, m := range maps {
		m.apply(atPageEnd(t, tiles*m.out*n), n, m.out*n, atPageEnd(t, tiles*m.in*n), n, m.in*n, tiles, n)
	}
}

// Panels of whole vectors are copied from operands whose last element is the last of memory.
func TestPanelsStayInside(t *testing.T) {
	forLevels(t, 2, func(t *testing.T, p *Pool) {
		if kernelsOf(p.level).panelRows == 0 {
			t.Skip("this level has none")
		}
		for _, m := range []int{12, 64, 65, 66, 67, 68, 69, 97} {
			for _, n := range []int{32, 33, 47, 48, 50} {
				const k = 5
				out := rowMajor(atPageEnd(t, m*n), 1, m, n)
				a, b := rowMajor(atPageEnd(t, k*m), 1, k, m), rowMajor(atPageEnd(t, k*n), 1, k, n)
				a.Shape, a.Strides = []int{1, m, k}, []int{0, 1, m}
				for _, turned := range []bool{false, true} {
					require.NoError(t, hold(p, by(p, panels, turned, out, a, b, nil, nil, nil)))
				}
			}
		}
	})
}
