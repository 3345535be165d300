package engine_test

import (
	"math"
	"slices"
	"testing"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
)

const tolerance = 1e-12 // some hundreds of roundings of numbers near 1

// Inner loops that grow: k+1 steps of y in iteration k, then one of x. Draws of both phases follow each other in one
// sequence of lower minibatches.
func TestGrowingInnerLoop(t *testing.T) {
	const n, alpha, beta = 70, 0.2, 0.05 // more iterations than a chunk has
	m := newToy(13, 7)
	p := m.problem()
	p.Lower.Sampler, p.Upper.Sampler = problem.WithReplacement(3), problem.Epochs(2)
	lower := []engine.Draw{{Of: problem.Lower}}
	spec := engine.Spec{
		Name: "growing", Seed: seed, State: []engine.Array{scalar("x", 1), scalar("y", 2)},
		Rates: []engine.Rate{constant("inner", alpha),
			{Name: "outer", At: func(k int) float64 { return beta / float64(k+1) }}},
		Phases: []engine.Phase{
			{Name: "inner", Repeat: func(k int) int { return k + 1 }, Draws: lower,
				Build: func(it *engine.Iteration, s *engine.State) {
					y := s.Get("y")
					s.Set("y", y.Sub(it.Rate("inner").Mul(it.Lower(s.Get("x"), y, it.Batch("lower")).GradY())))
				}},
			{Name: "outer", Draws: []engine.Draw{{Of: problem.Lower}, {Of: problem.Upper}},
				Build: func(it *engine.Iteration, s *engine.State) {
					x, y := s.Get("x"), s.Get("y")
					g, f := it.Lower(x, y, it.Batch("lower")), it.Upper(x, y, it.Batch("upper"))
					s.Set("x", x.Sub(it.Rate("outer").Mul(f.GradX().Sub(g.Cross(f.GradY())))))
				}},
		},
	}
	got := sameHowever(t, n, func() *engine.Engine { return start(t, p, spec) })
	x, y := 1.0, 2.0
	xi, zeta := lowerDraws(problem.WithReplacement(3), 13), upperDraws(problem.Epochs(2), 7)
	for k := range n {
		for range k + 1 {
			y -= alpha * m.gy(x, y, xi.take(t))
		}
		rows := xi.take(t)
		x -= beta / float64(k+1) * (m.fx(x) + m.h(rows)*m.fy(y, zeta.take(t)))
	}
	require.InDelta(t, x, got["x"][0], tolerance)
	require.InDelta(t, y, got["y"][0], tolerance)

	e := start(t, p, spec)
	for k := range 5 {
		require.Equal(t, problem.Counts{LowerGradients: int64(k + 1), UpperGradients: 1, JVP: 1,
			Samples: int64(3*(k+1) + 3 + 2)}, e.Counts(k))
	}
	require.Equal(t, problem.Counts{LowerGradients: 2 + 3, UpperGradients: 2, JVP: 2, Samples: 3*5 + 2*5},
		e.CountsOf(1, 2))
}

// Every q-th iteration takes the gradient on all rows, the others correct it with a difference on one minibatch of
// another stream (SPIDER, SARAH).
func TestEveryQth(t *testing.T) {
	const n, q, alpha = 67, 5, 0.3
	m := newToy(12, 3)
	every := func(k int) bool { return k%q == 0 }
	times := func(wanted bool) func(int) int {
		return func(k int) int {
			if every(k) == wanted {
				return 1
			}
			return 0
		}
	}
	spec := engine.Spec{
		Name: "spider", Seed: seed,
		State: []engine.Array{scalar("x", 1), scalar("y", 2), scalar("before", 2), scalar("d", 0)},
		Rates: []engine.Rate{constant("step", alpha)},
		Phases: []engine.Phase{
			{Repeat: times(true), Draws: []engine.Draw{{Of: problem.Lower, Full: true}},
				Build: func(it *engine.Iteration, s *engine.State) {
					s.Set("d", it.Lower(s.Get("x"), s.Get("y"), it.Batch("lower")).GradY())
				}},
			{Repeat: times(false), Draws: []engine.Draw{{Of: problem.Lower, Sampler: problem.WithReplacement(2)}},
				Build: func(it *engine.Iteration, s *engine.State) {
					b := it.Batch("lower")
					now, old := it.Lower(s.Get("x"), s.Get("y"), b), it.Lower(s.Get("x"), s.Get("before"), b)
					s.Set("d", s.Get("d").Add(now.GradY()).Sub(old.GradY()))
				}},
			{Build: func(it *engine.Iteration, s *engine.State) {
				s.Set("y", s.Get("y").Sub(it.Rate("step").Mul(s.Get("d"))))
				s.Set("before", s.Get("y"))
			}},
		},
	}
	got := sameHowever(t, n, func() *engine.Engine { return start(t, m.problem(), spec) })
	y, before, d := 2.0, 2.0, 0.0
	xi := lowerDraws(problem.WithReplacement(2), 12)
	for k := range n {
		if every(k) {
			d = m.gy(1, y, nil)
		} else {
			rows := xi.take(t)
			d += m.gy(1, y, rows) - m.gy(1, before, rows)
		}
		y, before = y-alpha*d, y
	}
	require.InDelta(t, y, got["y"][0], tolerance)
	require.InDelta(t, d, got["d"][0], tolerance)
	e := start(t, m.problem(), spec)
	require.Equal(t, problem.Counts{LowerGradients: 1, Samples: 12}, e.Counts(0))
	require.Equal(t, problem.Counts{LowerGradients: 2, Samples: 2}, e.Counts(1))
}

// A last phase that is skipped or repeated is allowed too: the iteration then ends by itself.
func TestLastPhaseRepeats(t *testing.T) {
	spec := engine.Spec{
		Name: "count", Seed: seed, State: []engine.Array{scalar("n", 0)},
		Phases: []engine.Phase{{Repeat: func(k int) int { return k % 3 },
			Build: func(_ *engine.Iteration, s *engine.State) {
				s.Set("n", s.Get("n").AddConst(1))
			}}},
	}
	got := sameHowever(t, 130, func() *engine.Engine { return start(t, newToy(1, 1).problem(), spec) })
	require.Equal(t, float64(43*3), got["n"][0])
}

// Several draws in one phase, each with its own sampler, size and stream: every one is its sampler's sequence, and no
// two streams give the same minibatches, not even the same stream of the two levels.
func TestSeveralDraws(t *testing.T) {
	const n = 70
	m := newToy(24, 24)
	p := m.problem()
	p.Lower.Sampler = problem.Epochs(6)
	draws := []engine.Draw{
		{Of: problem.Lower}, {Name: "more", Of: problem.Lower}, {Name: "third", Of: problem.Lower, Stream: 1},
		{Name: "large", Of: problem.Lower, Sampler: problem.WithReplacement(9), Stream: 2},
		{Of: problem.Upper, Sampler: problem.Epochs(6), Stream: 1}, {Name: "all", Of: problem.Upper, Full: true},
	}
	names := []string{"lower", "more", "third", "large", "upper"}
	spec := engine.Spec{Name: "draws", Seed: seed,
		Phases: []engine.Phase{{Draws: draws, Build: func(it *engine.Iteration, s *engine.State) {
			for _, name := range names {
				s.Set(name, it.Batch(name).Index.ToReal())
			}
			require.Nil(t, it.Batch("all").Index)
			require.Equal(t, 24, it.Batch("all").Rows)
			require.Nil(t, it.Batch("all").Slot)
		}}}}
	for _, name := range names {
		size := map[string]int{"large": 9}[name]
		spec.State = append(spec.State, engine.Array{Name: name, Values: make([]float64, max(6, size))})
	}
	e := start(t, p, spec)
	require.Equal(t, problem.Counts{Samples: 6 + 6 + 6 + 9 + 6 + 24}, e.Counts(0))
	seen := make(map[string][][]float64)
	for k := range n {
		step(t, e, k, 1)
		for name, rows := range state(t, e) {
			seen[name] = append(seen[name], rows)
		}
	}
	// "lower" and "more" share a sequence of epochs: together they go through all rows once in every two iterations.
	own := lowerDraws(problem.Epochs(6), 24)
	for k := range n {
		require.Equal(t, own.take(t), ints(seen["lower"][k]))
		require.Equal(t, own.take(t), ints(seen["more"][k]))
	}
	for k := 0; k+2 <= n; k += 2 {
		once(t, 24, seen["lower"][k], seen["more"][k], seen["lower"][k+1], seen["more"][k+1])
	}
	for k := 0; k+4 <= n; k += 4 {
		once(t, 24, seen["third"][k:k+4]...)
		once(t, 24, seen["upper"][k:k+4]...)
	}
	require.NotEqual(t, seen["third"], seen["upper"], "stream 1 of the lower level is not stream 1 of the upper one")
	require.NotEqual(t, seen["third"], seen["lower"])
	drawn := make(map[int32]int)
	for _, rows := range seen["large"] {
		for _, i := range ints(rows) {
			drawn[i]++
		}
	}
	require.Len(t, drawn, 24, "630 draws miss one of 24 rows with probability 1e-10")
}

func ints(values []float64) (out []int32) {
	for _, v := range values {
		out = append(out, int32(v))
	}
	return out
}

// once checks that minibatches hold every one of n rows exactly once.
func once(t *testing.T, n int, batches ...[]float64) {
	all := slices.Concat(batches...)
	slices.Sort(all)
	want := make([]float64, n)
	for i := range want {
		want[i] = float64(i)
	}
	require.Equal(t, want, all)
}

// Minibatches so large that a window holds fewer than a chunk of them, in a phase that ends the iteration.
func TestLargeMinibatches(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds under the race detector")
	}
	const size = 1<<14 + 1 // 64 of them are more than a window
	m := newToy(40, 1)
	p := m.problem()
	p.Lower.Sampler = problem.WithReplacement(size)
	draw := []engine.Draw{{Of: problem.Lower}}
	sum := func(it *engine.Iteration, s *engine.State) {
		s.Set("sum", s.Get("sum").Add(it.Batch("lower").Index.ToReal().Sum()))
	}
	phase := engine.Phase{Draws: draw, Build: sum}
	for _, spec := range []engine.Spec{
		{Phases: []engine.Phase{phase}}, {Phases: []engine.Phase{phase, phase}},
		{Phases: []engine.Phase{phase, phase}, Chunk: 66},
	} {
		spec.Name, spec.Seed, spec.State = "large", seed, []engine.Array{scalar("sum", 0)}
		e := start(t, p, spec)
		step(t, e, 0, 66)
		xi, want := lowerDraws(problem.WithReplacement(size), 40), 0.0
		for range 66 * len(spec.Phases) {
			for _, i := range xi.take(t) {
				want += float64(i)
			}
		}
		require.Equal(t, want, state(t, e)["sum"][0], "%d phases, chunks of %d", len(spec.Phases), spec.Chunk)
	}
}

// A table with an entry for each fixed minibatch (SAGA): the iterates of a plain loop, and what variance reduction is
// for, convergence to the minimizer on all rows with a constant step.
func TestTableOfFixedMinibatches(t *testing.T) {
	const n, alpha, rows, size = 400, 0.15, 12, 3
	m := newToy(rows, 1)
	p := m.problem()
	p.Lower.Sampler = problem.Fixed(size)
	spec := engine.Spec{
		Name: "saga", Seed: seed,
		State: []engine.Array{scalar("x", 1), scalar("y", 2), {Name: "table", Values: make([]float64, rows/size)}},
		Rates: []engine.Rate{constant("step", alpha)},
		Phases: []engine.Phase{{Draws: []engine.Draw{{Of: problem.Lower}},
			Build: func(it *engine.Iteration, s *engine.State) {
				b, y, table := it.Batch("lower"), s.Get("y"), s.Get("table")
				g := it.Lower(s.Get("x"), y, b).GradY()
				old := tensor.Gather(table, b.Slot.Reshape(1)).Reshape()
				s.Set("y", y.Sub(it.Rate("step").Mul(g.Sub(old).Add(table.Mean()))))
				s.Set("table", tensor.Where(tensor.Iota(0, rows/size).Eq(b.Slot), g, table))
			}}},
	}
	got := sameHowever(t, n, func() *engine.Engine { return start(t, p, spec) })
	y, table := 2.0, make([]float64, rows/size)
	sampler := problem.Fixed(size)
	xi := lowerDraws(sampler, rows)
	visited := make(map[int32]bool)
	for k := range n {
		slot, err := sampler.Slot(xi.source, uint64(k))
		require.NoError(t, err)
		visited[slot] = true
		g, average := m.gy(1, y, xi.take(t)), 0.0
		for _, v := range table {
			average += v / float64(len(table))
		}
		y -= alpha * (g - table[slot] + average)
		table[slot] = g
	}
	require.Len(t, visited, rows/size)
	require.InDelta(t, y, got["y"][0], tolerance)
	require.InDeltaSlice(t, table, got["table"], tolerance)
	least := 1 + mean(nil, rows, func(i int) float64 { return m.a[i] * m.b[i] })/m.h(nil)
	require.InDelta(t, least, got["y"][0], 1e-9, "the minimizer on all rows")
	require.Greater(t, math.Abs(m.gy(1, least, []int32{0, 1, 2})), 0.01, "which is not that of a minibatch")
}

// Old and new points under the same draw (STORM): the draw is counted once, the gradients twice.
func TestOldAndNewPoint(t *testing.T) {
	const n, alpha, eta = 66, 0.1, 0.3
	m := newToy(10, 1)
	p := m.problem()
	p.Lower.Sampler = problem.WithReplacement(4)
	spec := engine.Spec{
		Name: "storm", Seed: seed,
		State: []engine.Array{scalar("x", 1), scalar("y", 2), scalar("before", 2), scalar("d", 0)},
		Rates: []engine.Rate{constant("step", alpha)},
		Phases: []engine.Phase{{Draws: []engine.Draw{{Of: problem.Lower}},
			Build: func(it *engine.Iteration, s *engine.State) {
				x, y := s.Get("x"), s.Get("y")
				now := it.Lower(x, y, it.Batch("lower"))
				old := it.Lower(x, s.Get("before"), it.Batch("lower"))
				d := now.GradY().Add(s.Get("d").Sub(old.GradY()).Scale(1 - eta))
				s.Set("d", d)
				s.Set("before", y)
				s.Set("y", y.Sub(it.Rate("step").Mul(d)))
			}}},
	}
	got := sameHowever(t, n, func() *engine.Engine { return start(t, p, spec) })
	y, before, d := 2.0, 2.0, 0.0
	xi := lowerDraws(problem.WithReplacement(4), 10)
	for range n {
		rows := xi.take(t)
		d = m.gy(1, y, rows) + (1-eta)*(d-m.gy(1, before, rows))
		y, before = y-alpha*d, y
	}
	require.InDelta(t, y, got["y"][0], tolerance)
	require.Equal(t, problem.Counts{LowerGradients: 2, Samples: 4}, start(t, p, spec).Counts(0))
}
