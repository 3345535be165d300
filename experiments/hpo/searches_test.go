package hpo

import (
	"math"
	"slices"
	"strings"
	"testing"

	"bilevel/experiments"

	"github.com/stretchr/testify/require"
)

// toy is a quadratic with its minimum away from the middle of the box.
func toy(x []float64) (sum float64) {
	for j, v := range x {
		d := v + 9 - float64(j)
		sum += d * d
	}
	return sum
}

// lowest is what a search finds on the toy in so many trials.
func lowest(propose search, dim, trials int, seed uint64) float64 {
	s := featureSpace(dim, nil)
	done := []trial{{s.start(), toy(s.start())}}
	best := done[0].loss
	for range trials {
		x := propose(s, seed, done)
		done = append(done, trial{x, toy(x)})
		best = min(best, done[len(done)-1].loss)
	}
	return best
}

// TPE finds a known minimum better than random search does, with nearly every seed.
func TestTPEOnAToy(t *testing.T) {
	const seeds = 20
	wins := 0
	for seed := range uint64(seeds) {
		if lowest(tpe, 4, 80, seed) < lowest(random, 4, 80, seed) {
			wins++
		}
	}
	require.GreaterOrEqual(t, wins, 17, "of %d", seeds)
}

// A Parzen density is one over its interval, and its draws follow it.
func TestParzen(t *testing.T) {
	h := featureSpace(1, nil)[0]
	p := newParzen(h, 0, []trial{{x: []float64{-13}}, {x: []float64{-2}}, {x: []float64{-1.5}}})
	const n = 20000
	width, mass, mean := h.hi-h.lo, 0.0, 0.0
	for i := range n {
		x := h.lo + (float64(i)+0.5)/n*width
		mass += p.density(x) * width / n
		mean += x * p.density(x) * width / n
	}
	require.InDelta(t, 1, mass, 1e-6)
	drawn, count := 0.0, 0
	for i := range 200 {
		for k := range 200 {
			x := p.draw((float64(i)+0.5)/200, (float64(k)+0.5)/200)
			require.True(t, x >= h.lo && x <= h.hi)
			drawn += x
			count++
		}
	}
	require.InDelta(t, mean, drawn/float64(count), 0.02)
}

// Grids on one and two axes come to equal steps, and give equal values to all that share an axis.
func TestGrid(t *testing.T) {
	for axes, points := range map[int]int{1: 16, 2: 16} {
		s := featureSpace(3, nil)
		if axes == 2 {
			s[2].axis = 1
		}
		var got [][]float64
		var done []trial
		for range points {
			x := grid(s, 1, done)
			require.Equal(t, x[0], x[1])
			u := []float64{(x[0] - s[0].lo) / (s[0].hi - s[0].lo), (x[2] - s[2].lo) / (s[2].hi - s[2].lo)}
			got, done = append(got, u), append(done, trial{x: x})
		}
		var want [][]float64
		for i := range points {
			if axes == 1 {
				want = append(want, []float64{float64(i) / 16, float64(i) / 16})
			} else {
				want = append(want, []float64{float64(i/4) / 4, float64(i%4) / 4})
			}
		}
		slices.SortFunc(got, slices.Compare)
		for i := range want {
			require.InDeltaSlice(t, want[i], got[i], 1e-12)
		}
	}
}

// Courses of other programs are read by the names of their columns; what is wrong is said with its line.
func TestReadLines(t *testing.T) {
	lines, err := ReadLines(strings.NewReader("seed,method,calls,val_loss,test_loss,more\n" +
		"1,optuna,10,0.5,0.6,x\n1,optuna,20,0.4,0.5,x\n2,optuna,10,0.7,0.8,x\n"))
	require.NoError(t, err)
	require.Len(t, lines, 1)
	require.Equal(t, []uint64{1, 2}, lines[0].Seeds)
	require.Equal(t, []float64{0.5, 0.4}, lines[0].Curves[1].Column("val_loss"))
	for text, want := range map[string]string{
		"": "no first line of names", "method,seed,calls\n": "no column val_loss",
		"method,seed,calls,val_loss,test_loss\na,x,1,1,1\n":   "line 2: the seed \"x\"",
		"method,seed,calls,val_loss,test_loss\na,1,1,nan,1\n": "line 2: val_loss is \"nan\"",
	} {
		_, err := ReadLines(strings.NewReader(text))
		require.ErrorContains(t, err, want)
	}
	figures := Figures("title", append(lines, LinesOf([]Run{{Method: "hoag", Record: &experiments.Record{
		Seed: 1, Curve: experiments.Curve{Columns: []string{"calls", "val_loss", "test_loss"},
			Rows: [][]float64{{10, 0.3, 0.9}}},
	}}})...))
	require.Len(t, figures, 2)
	require.InDeltaSlice(t, []float64{0.2, 0.1}, figures[0].Lines[0].Y[0], 1e-12)
	require.InDeltaSlice(t, []float64{0}, figures[0].Lines[0].Y[1], 1e-12)
	require.Zero(t, figures[0].Lines[1].Y[0][0])
	require.False(t, math.IsNaN(figures[1].Lines[0].Y[0][0]))
}
