package solvertest_test

import (
	"math"
	"slices"
	"testing"

	"bilevel/solvers/solvertest"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
)

// The two answers of a follower who is indifferent to y₂, by search: over a grid of x, the least and the largest F of
// all y₂ in [-½, ½].
func TestOptimisticAndPessimisticByGrid(t *testing.T) {
	for _, pessimistic := range []bool{false, true} {
		best, at := math.Inf(1), 0.0
		for i := range 2001 {
			x := 0.1 + float64(i)*9.5e-4
			h := math.Inf(1)
			if pessimistic {
				h = math.Inf(-1)
			}
			for j := range 1001 {
				y2 := -0.5 + float64(j)*1e-3
				f := (x-y2)*(x-y2)/2 + (x-1)*(x-1)/2
				if pessimistic {
					h = math.Max(h, f)
				} else {
					h = math.Min(h, f)
				}
			}
			if h < best {
				best, at = h, x
			}
		}
		m := solvertest.Indifferent{Pessimistic: pessimistic}
		require.InDelta(t, at, m.Optimum()[0], 1e-3)
		_, slope := m.Exact(m.Optimum())
		require.InDelta(t, 0, slope[0], 1e-15)
	}
}

// What the leader may choose, by the follower's answer at every x of a grid: two intervals, and the best of them at
// x = 8, y = 6.
func TestDisconnectedByGrid(t *testing.T) {
	best, at, parts, inside := math.Inf(1), []float64{0, 0}, 0, false
	for i := range 12001 {
		x := float64(i) * 1e-3
		y, feasible := math.Inf(-1), false
		for j := range 1601 { // the follower's largest y, by search
			if v := float64(j) * 1e-2; v <= 3*x-3+1e-9 && v <= 30-3*x+1e-9 {
				y = v
			}
		}
		if y >= 0 {
			feasible = 2*x-3*y >= -12-0.03 && x+y <= 14+0.01 // as far as the grid of y is from the follower's answer
		}
		if feasible && !inside {
			parts++
		}
		if inside = feasible; feasible && -x-2*y < best {
			best, at = -x-2*y, []float64{x, y}
		}
	}
	require.Equal(t, 2, parts)
	require.InDeltaSlice(t, []float64{8, 6}, at, 0.02)
	d := solvertest.Disconnected{}
	for x, want := range map[float64]bool{0.9: false, 1: true, 3: true, 3.01: false, 5.5: false, 7.99: false, 8: true,
		10: true, 10.1: false} {
		require.Equal(t, want, d.Feasible(x), x)
	}
	y, _ := d.Exact([]float64{8})
	require.Equal(t, 6.0, y[0])
}

// The declared centers are the best of all ways to divide the points, and Lloyd's algorithm, exact steps on both levels
// in turns, comes to them from the start.
func TestKMeansByEnumeration(t *testing.T) {
	m := solvertest.NewKMeans(5, 3, 2)
	value := func(centers []float64) float64 {
		sum := 0.0
		for _, a := range m.Points {
			sum += math.Min(square(a, centers[:2]), square(a, centers[2:]))
		}
		return sum
	}
	best := math.Inf(1)
	for code := 1; code < 1<<len(m.Points)-1; code++ {
		centers, count := make([]float64, 4), [2]float64{}
		for i, a := range m.Points {
			j := code >> i & 1
			count[j]++
			floats.Add(centers[2*j:2*j+2], a)
		}
		for j := range 2 {
			floats.Scale(1/count[j], centers[2*j:2*j+2])
		}
		best = math.Min(best, value(centers))
	}
	require.InDelta(t, best, value(m.Optimum()), 1e-12)

	centers := slices.Clone(m.Problem(nil).Upper.Start.Flat)
	last := math.Inf(1)
	for range 10 {
		now := value(centers)
		require.LessOrEqual(t, now, last+1e-12)
		last = now
		y, g := m.Exact(centers)
		for j := range 2 { // the gradient divided by twice the number of points leads to their mean
			count := 0.0
			for i := range m.Points {
				count += y[2*i+j]
			}
			floats.AddScaled(centers[2*j:2*j+2], -0.5/count, g[2*j:2*j+2])
		}
	}
	require.InDeltaSlice(t, m.Optimum(), centers, 1e-12)
}

func square(a, b []float64) float64 {
	d := floats.Distance(a, b, 2)
	return d * d
}
