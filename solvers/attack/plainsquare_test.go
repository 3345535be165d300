package attack_test

import (
	"context"
	"math"
	"slices"
	"testing"

	"bilevel/internal/philox"
	"bilevel/solvers/attack"

	"github.com/stretchr/testify/require"
)

// margin is how far the largest other logit is above that of y.
func (w wavy) margin(x []float64, y int32) float64 {
	classes := len(w.b)
	z := make([]float64, classes)
	for k := range z {
		z[k] = w.b[k]
		inner := 0.0
		for j, v := range x {
			z[k] += w.w[k][j] * v
			inner += w.v[j*classes+k] * v
		}
		z[k] += 0.5 * math.Sin(inner)
	}
	own := z[y]
	z[y] = math.Inf(-1)
	return slices.Max(z) - own
}

// plainSquare is the search for one image of 8 x 8 pixels, written out in loops. draw gives the numbers of a query,
// those of the start being query 0; sides are those of the windows.
func plainSquare(w wavy, b attack.Ball, x0 []float64, y int32, sides []int, draw func(query, n int) []float32) (
	x []float64, taken int) {
	const size = 8
	sign := func(u float32) float64 {
		if u < 0.5 {
			return -1
		}
		return 1
	}
	at := func(delta []float64) []float64 { // the point of a perturbation
		out, scale := make([]float64, len(x0)), 1.0
		if b.Norm == attack.L2 {
			scale = b.Eps / euclidean(delta)
		}
		for j := range out {
			out[j] = min(max(x0[j]+scale*delta[j], 0), 1)
		}
		return out
	}
	start := make([]float64, len(x0))
	if b.Norm == attack.Linf {
		u := draw(0, size)
		for j := range start {
			start[j] = b.Eps * sign(u[j%size])
		}
	} else { // tiles of one pixel, where η is -1
		u := draw(0, size*size)
		for j := range start {
			start[j] = -sign(u[j])
		}
	}
	x = at(start)
	best := w.margin(x, y)
	for q, side := range sides {
		if best > 0 {
			break
		}
		u := draw(q+1, map[attack.Norm]int{attack.Linf: 3, attack.L2: 6}[b.Norm])
		corner := func(i int) int { return int(u[i] * float32(size-side)) }
		in := func(j, r, c int) bool {
			return j/size >= r && j/size < r+side && j%size >= c && j%size < c+side
		}
		r1, c1 := corner(0), corner(1)
		next := make([]float64, len(x0))
		for j := range next {
			next[j] = x[j] - x0[j]
		}
		if b.Norm == attack.Linf {
			next = slices.Clone(x)
			for j := range next {
				if in(j, r1, c1) {
					next[j] = min(max(x0[j]+b.Eps*sign(u[2]), 0), 1)
				}
			}
		} else {
			r2, c2 := corner(2), corner(3)
			all, both, first := 0.0, 0.0, 0.0
			for j, v := range next {
				all += v * v
				if in(j, r1, c1) || in(j, r2, c2) {
					both += v * v
				}
				if in(j, r1, c1) {
					first += v * v
				}
			}
			pattern, fresh := attack.Eta(side), make([]float64, len(x0))
			for j := range fresh {
				if in(j, r1, c1) {
					i, k := j/size-r1, j%size-c1
					if u[4] < 0.5 {
						i, k = k, i
					}
					fresh[j] = sign(u[5])*pattern[i*side+k] + next[j]/(math.Sqrt(first)+1e-12)
				}
			}
			length := euclidean(fresh) + 1e-12
			for j := range next {
				switch {
				case in(j, r1, c1):
					next[j] = fresh[j] / length * math.Sqrt(max(b.Eps*b.Eps-all, 0)+both)
				case in(j, r2, c2):
					next[j] = 0
				}
			}
			next = at(next)
		}
		if m := w.margin(next, y); m > best {
			x, best = next, m
			taken++
		}
	}
	return x, taken
}

// Square on the device takes the queries of the search written out in loops, image by image.
func TestSquareAgainstLoops(t *testing.T) {
	const n, queries, seed = 12, 120, 5
	l, s := digits(t, n, 10)
	w := wavy{linear: l}
	for i := range 64 * 10 {
		w.v = append(w.v, 3*math.Sin(float64(i*i%977)))
	}
	sides := map[attack.Norm][]int{}
	for q := range queries { // p is 0.8, halved after the queries 10 and 50: √(0.8·64) is 7.2, and so on
		part := 0.8
		if q > 10 {
			part /= 2
		}
		if q > 50 {
			part /= 2
		}
		side := int(math.Round(math.Sqrt(part * 64)))
		sides[attack.Linf] = append(sides[attack.Linf], side)
		sides[attack.L2] = append(sides[attack.L2], min(side+1-side%2, 8))
	}
	for _, b := range []attack.Ball{{Norm: attack.Linf, Eps: 0.04}, {Norm: attack.L2, Eps: 0.3}} {
		ex := refExecutor(t)
		a := attacker(t, ex, l.curved(t, ex), attack.Options{Seed: seed})
		r, err := a.Run(context.Background(), b, s, attack.Square{Queries: queries})
		require.NoError(t, err)
		total := 0
		for i := range n {
			if !r.Clean[i] {
				continue
			}
			x0 := make([]float64, 64)
			for j := range x0 {
				x0[j] = float64(s.Images[i*64+j])
			}
			draw := func(query, columns int) []float32 {
				u := make([]float32, columns)
				philox.Uniforms(u, attack.StartSeed(seed, 0, 0, "square"), uint32(query), philox.StreamAttack,
					uint64(i*columns))
				return u
			}
			want, taken := plainSquare(w, b, x0, s.Labels[i], sides[b.Norm], draw)
			total += taken
			require.Equal(t, w.margin(want, s.Labels[i]) <= 0, r.Robust[i])
			for j := range want {
				require.InDelta(t, want[j], r.Images[i*64+j], 2e-6, "image %d in a %s", i, b)
			}
		}
		require.Greater(t, total, 3*n, "few queries were taken: the test says little")
	}
}
