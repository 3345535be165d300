package problem_test

import (
	"math"
	"slices"
	"sync"
	"testing"

	"bilevel/internal/philox"
	"bilevel/solvers/problem"

	"github.com/stretchr/testify/require"
)

func draw(t *testing.T, s problem.Sampler, from problem.Source, first uint64, n int) []int32 {
	out := make([]int32, n*s.Size())
	require.NoError(t, s.Fill(out, from, first))
	return out
}

// A draw depends on seed, stream, rows and its number alone: in whatever order and in whatever pieces it is asked for.
func TestDrawsAreFunctions(t *testing.T) {
	from := problem.Source{Seed: 3, Stream: 9, Rows: 12}
	for name, fresh := range map[string]func() problem.Sampler{
		"with replacement": func() problem.Sampler { return problem.WithReplacement(4) },
		"epochs":           func() problem.Sampler { return problem.Epochs(5) },
		"fixed":            func() problem.Sampler { return problem.Fixed(3) },
	} {
		s := fresh()
		size := s.Size()
		require.NoError(t, s.Check(12))
		all := draw(t, s, from, 0, 40)
		for _, i := range all {
			require.True(t, i >= 0 && i < 12, name)
		}
		for _, first := range []int{39, 0, 17, 2} {
			require.Equal(t, all[first*size:], draw(t, fresh(), from, uint64(first), 40-first), "%s from draw %d on",
				name, first)
			require.Equal(t, all[first*size:(first+1)*size], draw(t, s, from, uint64(first), 1), "%s: draw %d again",
				name, first)
		}
		for _, other := range []problem.Source{{Seed: 4, Stream: 9, Rows: 12}, {Seed: 3, Stream: 8, Rows: 12}} {
			require.NotEqual(t, all, draw(t, s, other, 0, 40), "%s: %+v", name, other)
			require.Equal(t, all, draw(t, s, from, 0, 40), "%s: asked for another sequence in between", name)
		}
	}
}

// With replacement: element j of draw d is what a device would draw by itself.
func TestWithReplacement(t *testing.T) {
	from := problem.Source{Seed: 3, Stream: 9, Rows: 1000}
	got := draw(t, problem.WithReplacement(6), from, 5, 2)
	want := make([]int32, 6)
	for d := range 2 {
		philox.Integers(want, 1000, 3, uint32(5+d), 9, 0)
		require.Equal(t, want, got[d*6:(d+1)*6])
	}
}

// Epochs: minibatches of an epoch do not overlap, and those that divide the rows cover every row once; the next epoch
// has another order.
func TestEpochs(t *testing.T) {
	for _, c := range []struct{ rows, size int }{{12, 4}, {12, 5}, {7, 7}, {100, 1}} {
		s, from := problem.Epochs(c.size), problem.Source{Seed: 1, Stream: 4, Rows: c.rows}
		each := c.rows / c.size
		var orders [][]int32
		for epoch := range 5 {
			rows := draw(t, s, from, uint64(epoch*each), each)
			orders = append(orders, slices.Clone(rows))
			slices.Sort(rows)
			require.Len(t, slices.Compact(rows), each*c.size, "%+v: no row twice", c)
			require.True(t, rows[0] >= 0 && int(rows[len(rows)-1]) < c.rows)
		}
		require.NotEqual(t, orders[0], orders[1], "%+v", c)
	}
	// Rows that do not fill a last minibatch are not always the same ones.
	s, from := problem.Epochs(5), problem.Source{Seed: 1, Stream: 4, Rows: 12}
	seen := draw(t, s, from, 0, 2*20)
	slices.Sort(seen)
	require.Len(t, slices.Compact(seen), 12)
}

// Fixed: the minibatches are a partition of the rows, each draw is one of them whole, and its slot says which.
func TestFixed(t *testing.T) {
	const rows, size = 20, 4
	s, from := problem.Fixed(size), problem.Source{Seed: 1, Stream: 4, Rows: rows}
	require.Equal(t, rows/size, s.Slots(rows))
	bySlot := make(map[int32][]int32)
	var order []int32
	counts := make([]int, rows/size)
	const draws = 2000
	for d := range uint64(draws) {
		slot, err := s.Slot(from, d)
		require.NoError(t, err)
		batch := draw(t, s, from, d, 1)
		if before, ok := bySlot[slot]; ok {
			require.Equal(t, before, batch)
		}
		bySlot[slot] = batch
		counts[slot]++
	}
	for slot, batch := range bySlot {
		order = append(order, batch...)
		// Uniform: 5 standard deviations of a binomial count.
		require.InDelta(t, draws*size/rows, counts[slot], 5*math.Sqrt(draws*0.2*0.8))
	}
	require.False(t, slices.IsSorted(bySlot[0]) && slices.IsSorted(bySlot[1]) && slices.IsSorted(bySlot[2]),
		"the rows are shuffled")
	slices.Sort(order)
	require.Len(t, slices.Compact(order), rows)
}

func TestSamplersRefuse(t *testing.T) {
	require.ErrorContains(t, problem.Epochs(13).Check(12),
		"epochs of minibatches of 13 from 12 rows: wants at most as many as there are rows")
	require.ErrorContains(t, problem.Fixed(5).Check(12), "fixed minibatches of 5 do not divide 12 rows: 4 do")
	require.ErrorContains(t, problem.Fixed(13).Check(12), "fixed minibatches of 13 do not divide 12 rows: 12 do")
	require.NoError(t, problem.WithReplacement(13).Check(12))
	from := problem.Source{Rows: 12}
	for _, s := range []problem.Sampler{problem.WithReplacement(4), problem.Epochs(4), problem.Fixed(4)} {
		require.ErrorContains(t, s.Fill(make([]int32, 6), from, 0), "6 places are no whole number of minibatches of 4")
	}
	require.ErrorContains(t, problem.WithReplacement(4).Fill(make([]int32, 8), from, math.MaxUint32),
		"minibatches end at draw 4294967295")
	_, err := problem.Fixed(4).Slot(from, 1<<32)
	require.ErrorContains(t, err, "minibatches end at draw")
	require.ErrorContains(t, problem.Epochs(12).Fill(make([]int32, 12), from, 1<<33), "minibatches end at draw")
}

// One sampler may serve several levels and goroutines.
func TestSamplersAreShared(t *testing.T) {
	s := problem.Epochs(3)
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			from := problem.Source{Seed: uint64(i), Rows: 12}
			want := make([]int32, 12)
			if err := problem.Epochs(3).Fill(want, from, 8); err != nil {
				panic(err)
			}
			for range 50 {
				got := make([]int32, 12)
				if err := s.Fill(got, from, 8); err != nil || !slices.Equal(want, got) {
					t.Errorf("goroutine %d: %v, %v instead of %v", i, err, got, want)
				}
			}
		})
	}
	all.Wait()
}
