package prune_test

import (
	"context"
	"math"
	"slices"
	"testing"

	"bilevel/models/params"
	"bilevel/solvers/engine"
	"bilevel/solvers/linear"
	"bilevel/solvers/minimize"
	"bilevel/solvers/problem"
	"bilevel/solvers/prune"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
)

// gradients gives ∇z of both losses on all rows as functions of z, computed by the device.
func (s small) gradients(t testing.TB, ex *tensor.Executor) (of [2]func(z []float64) []float64) {
	t.Helper()
	b := s.bind(t, ex, s.task.Ones())
	z, g := ex.Variable("z", tensor.Real, len(s.theta)), ex.Variable("g", tensor.Real, len(s.theta))
	var state *tensor.Node
	if s.task.State.Size() > 0 {
		v := ex.Variable("state", tensor.Real, s.task.State.Size())
		require.NoError(t, v.Write(s.task.State.Flat))
		state = v.Node()
	}
	for _, side := range []problem.Side{problem.Lower, problem.Upper} {
		f, err := ex.Compile("gradient", func() []tensor.Update {
			p := b.Oracle().At(side, tensor.Full(1, z.Size()), z.Node(), b.All(side), params.TrainFrozen, state)
			return []tensor.Update{{Var: g, Value: p.GradY()}}
		})
		require.NoError(t, err)
		of[side] = func(values []float64) []float64 {
			require.NoError(t, z.Write(values))
			require.NoError(t, f.Run(1))
			list, err := g.Read()
			require.NoError(t, err)
			return list
		}
	}
	return of
}

// first runs one iteration of a search, and gives the state before and after it.
func (s small) first(t *testing.T, ex *tensor.Executor, search prune.Search, k prune.Kept) (
	before, after map[string][]float64) {
	t.Helper()
	b := s.bind(t, ex, s.task.Ones())
	e, err := prune.New(background, search, s.task, b, k, 10, 1)
	require.NoError(t, err)
	defer func() { require.NoError(t, e.Close()) }()
	read := func() map[string][]float64 {
		m := map[string][]float64{}
		for _, name := range e.Names() {
			m[name], err = e.Variable(name).Read()
			require.NoError(t, err)
		}
		return m
	}
	before = read()
	require.NoError(t, e.Step(background, 0, 1))
	return before, read()
}

// step is z - rate·g where the mask is not 0.
func step(z, g, mask []float64, rate float64) []float64 {
	out := slices.Clone(z)
	for i := range z {
		if mask == nil || mask[i] != 0 {
			out[i] -= rate * g[i]
		}
	}
	return out
}

// checkTerm holds what a run of one iteration noted about its implicit term to g and the term; a term of zeros is none.
func checkTerm(t *testing.T, state map[string][]float64, g, term []float64, name string) {
	t.Helper()
	got, ok := prune.TermOf(state)
	share := floats.Norm(term, 2) / floats.Norm(g, 2)
	require.Equal(t, share > 0, ok, name)
	if ok {
		require.InEpsilon(t, share, got.Share, 1e-6, name) // finite differences have some of the g
		require.InDelta(t, floats.Dot(term, g)/floats.Norm(term, 2)/floats.Norm(g, 2), got.Cosine, 1e-6, name)
	}
}

// The first iteration of every variant is the formula of its documentation, in plain loops.
func TestFirstIteration(t *testing.T) {
	ex := executor(t, "ref")
	const alpha, beta, decay, inverse = 0.1, 0.5, 1e-2, 0.7
	for _, batchNorm := range []bool{false, true} {
		s := newSmall(t, batchNorm, false, 0)
		k, err := s.task.Structure.Keep(0.4, prune.Global)
		require.NoError(t, err)
		of, n := s.gradients(t, ex), len(s.theta)
		check := func(search prune.Search, theta, scores []float64, state map[string][]float64, name string) {
			mask := slices.Repeat([]float64{1}, n)
			sorted(s.task.Structure, scores, s.task.Structure.Ranked, k[0], mask)
			require.InDeltaSlice(t, theta, state["y"], 1e-12, search.Name())
			require.InDeltaSlice(t, scores, state[name], 1e-9, search.Name())
			require.Equal(t, mask, state["x"], search.Name())
		}
		m := prune.BiP{WeightStep: alpha, WeightMomentum: 0.9, WeightDecay: decay, ScoreStep: beta, ScoreMomentum: 0.9}
		lower := func(mask, theta []float64) []float64 { // m ⊙ ∇G + λ θ
			g := of[problem.Lower](times(mask, theta))
			for i := range g {
				g[i] = mask[i]*g[i] + decay*theta[i]
			}
			return g
		}
		magnitudes := make([]float64, n)
		for i, w := range s.theta {
			magnitudes[i] = math.Abs(w)
		}
		mask := slices.Repeat([]float64{1}, n)
		sorted(s.task.Structure, magnitudes, s.task.Structure.Ranked, k[0], mask)
		for _, sign := range []bool{false, true} {
			for row, gamma := range map[string]float64{prune.RowBiP: inverse, prune.RowNoImplicit: 0} {
				m.Row, m.InverseGamma, m.ScoreSign = row, gamma, sign
				before, after := s.first(t, ex, m, k)
				require.Equal(t, mask, before["x"])
				theta := step(s.theta, lower(mask, s.theta), mask, alpha)
				gl, gu := of[problem.Lower](times(mask, theta)), of[problem.Upper](times(mask, theta))
				g := make([]float64, n)
				for i := range g { // scores begin positive, so that their sign is 1, or 0 where the weight is 0
					g[i] = (theta[i] - gamma*mask[i]*gl[i]) * gu[i]
					if sign && magnitudes[i] == 0 {
						g[i] = 0
					}
				}
				check(m, theta, step(magnitudes, g, nil, beta), after, "scores")
				term := make([]float64, n)
				for i := range term {
					term[i] = -gamma * mask[i] * gl[i] * gu[i]
				}
				if !sign {
					checkTerm(t, after, g, term, row)
				}
			}
		}
		m.ScoreSign = false

		m.Row, m.InverseGamma, m.LowerSteps = prune.RowUnrolled, 0, 2
		_, after := s.first(t, ex, m, k)
		through := func(m []float64) (theta []float64) { // two steps with momentum of the weights that mask keeps
			g := lower(m, s.theta)
			theta = step(s.theta, g, mask, alpha)
			h := lower(m, theta)
			for i := range h {
				h[i] += 0.9 * g[i]
			}
			return step(theta, h, mask, alpha)
		}
		upper, g := s.losses(t, ex)[problem.Upper], make([]float64, n)
		theta := through(mask)
		for i := range g {
			const h = 1e-5
			at := func(by float64) float64 {
				m := slices.Clone(mask)
				m[i] += by
				return upper(times(m, through(m)))
			}
			g[i] = (at(h) - at(-h)) / (2 * h)
		}
		check(m, theta, step(magnitudes, g, nil, beta), after, "scores")
		direct := func(theta []float64) []float64 { // g without the answer of the weights
			d := of[problem.Upper](times(mask, theta))
			for i := range d {
				d[i] *= theta[i]
			}
			return d
		}
		checkTerm(t, after, g, floats.SubTo(make([]float64, n), g, direct(theta)), m.Name())
		m.LowerSteps = 0

		m.Row, m.InverseGamma, m.CGSteps, m.CGTolerance = prune.RowExact, 0.5, 200, 1e-12
		_, after = s.first(t, ex, m, k)
		c := prune.Comparison{Task: s.task, Gamma: []float64{2}, Rate: 0.1}
		list, err := c.Compare(background, ex, s.theta, mask)
		require.NoError(t, err)
		scores := step(magnitudes, rows(list, "dense")[0].Gradient, nil, beta)
		next := slices.Repeat([]float64{1}, n)
		sorted(s.task.Structure, scores, s.task.Structure.Ranked, k[0], next)
		check(m, step(s.theta, lower(next, s.theta), next, alpha), scores, after, "scores")
		exactly := rows(list, "dense")[0].Gradient
		checkTerm(t, after, exactly, floats.SubTo(make([]float64, n), exactly, direct(s.theta)), m.Name())
		counts := prune.SolvesOf(after)
		require.Equal(t, 1, counts.Solves)
		require.Positive(t, counts.Products)
		require.Equal(t, linear.Converged, rows(list, prune.RowExact)[0].Status)
		require.Zero(t, counts.NegativeCurvature+counts.NotConverged)

		m = prune.BiP{Row: prune.RowOfficial, WeightStep: alpha, ScoreStep: alpha, WeightMomentum: 0.9,
			ScoreMomentum: 0.9, WeightDecay: decay, InverseGamma: 0.3}
		_, after = s.first(t, ex, m, k)
		theta = step(s.theta, lower(mask, s.theta), nil, alpha)
		sorted(s.task.Structure, theta, s.task.Structure.Ranked, k[0], next)
		gu := of[problem.Upper](times(next, theta))
		g = make([]float64, n)
		for _, a := range s.task.Structure.Ranked {
			for i := a.Off; i < a.Off+a.Size(); i++ {
				d := math.Abs(theta[i]) * gu[i]
				g[i] = d - 0.3*d*d + decay*theta[i]
			}
		}
		theta = step(theta, g, nil, alpha)
		check(m, theta, theta, after, "y")

		hydra := prune.HYDRA{Step: beta, Momentum: 0.9}
		before, after := s.first(t, ex, hydra, k)
		gu = of[problem.Upper](times(before["x"], s.theta))
		g = make([]float64, n)
		for _, a := range s.task.Structure.Ranked {
			largest := 0.0
			for _, w := range s.theta[a.Off : a.Off+a.Size()] {
				largest = max(largest, math.Abs(w))
			}
			for i := a.Off; i < a.Off+a.Size(); i++ {
				want := math.Sqrt(6/float64(a.Shape[1])) * s.theta[i] / largest
				require.InDelta(t, want, before["scores"][i], 1e-14)
				g[i] = s.theta[i] * gu[i]
				if want < 0 {
					g[i] = -g[i]
				}
			}
		}
		check(hydra, s.theta, step(before["scores"], g, nil, beta), after, "scores")
	}
}

// SNIP is |θ ⊙ ∇z G|, by unit the absolute sum over what belongs to it.
func TestSNIP(t *testing.T) {
	ex := executor(t, "ref")
	s := newSmall(t, true, false, 0)
	g := s.gradients(t, ex)[problem.Lower](s.theta)
	b := s.bind(t, ex, s.task.Ones())
	scores, err := prune.SNIP(background, s.task, b, s.theta, nil)
	require.NoError(t, err)
	for i := range g {
		require.InDelta(t, math.Abs(s.theta[i]*g[i]), scores[i], 1e-12)
	}
	unit := s.byUnit(t)
	scores, err = prune.SNIP(background, unit.task, b, s.theta, nil)
	require.NoError(t, err)
	sum := 0.0
	for _, u := range s.Units() {
		for _, slot := range u.Slots {
			a, err := s.Params().Find(slot.Array)
			require.NoError(t, err)
			width := 1
			if len(a.Shape) == 2 {
				width = a.Shape[1]
			}
			for i := range a.Size() {
				if at := [2]int{i / width, i % width}; at[slot.Axis] == 3 {
					sum += s.theta[a.Off+i] * g[a.Off+i]
				}
			}
		}
	}
	require.InDelta(t, math.Abs(sum), scores[3], 1e-12)
	some, err := prune.SNIP(background, s.task, b, s.theta, []int32{3, 1, 4})
	require.NoError(t, err)
	require.NotEqual(t, scores, some[:len(scores)])
}

// The number of kept elements falls by the cubic schedule to exactly k, and what is masked stays masked.
func TestGradual(t *testing.T) {
	for _, byUnit := range []bool{false, true} {
		ex := executor(t, "ref")
		s := newSmall(t, true, false, 4)
		part := 0.2
		if byUnit {
			s, part = s.byUnit(t), 0.4
		}
		k, err := s.task.Structure.Keep(part, prune.Global)
		require.NoError(t, err)
		const n, until = 40, 0.75
		b := s.bind(t, ex, s.task.Ones())
		m := prune.Gradual{Method: minimize.SGD{Step: 0.05, Momentum: 0.9, WeightDecay: 1e-3}, Every: 3, Until: until}
		e, err := prune.New(background, m, s.task, b, k, n, 1)
		require.NoError(t, err)
		name := "x"
		if byUnit {
			name = "marks"
		}
		last := s.task.Ones()
		all := s.task.Structure.Count()
		for i := range n {
			require.NoError(t, e.Step(background, i, 1))
			mask, err := e.Variable("x").Read()
			require.NoError(t, err)
			marks, err := e.Variable(name).Read()
			require.NoError(t, err)
			for j := range mask {
				require.LessOrEqual(t, mask[j], last[j], "masked weights stay masked")
			}
			last = mask
			kept := 0
			for _, h := range s.task.Structure.Shares(marks) {
				kept += h.Kept
			}
			if i%3 == 0 && i < n*until {
				want := math.Round(float64(k[0]) + float64(all-k[0])*math.Pow(1-float64(i)/(n*until-1), 3))
				require.Equal(t, int(want), kept, i)
			}
			if i >= n*until-1 {
				require.Equal(t, k[0], kept)
			}
		}
		require.NoError(t, e.Close())
	}
}

// 1,000 steps of each optimizer leave masked weights and what belongs to them as they are, to the bit.
func TestMaskedWeightsStay(t *testing.T) {
	ex := executor(t, "cpu")
	s := newSmall(t, true, false, 4)
	mask := s.mask(t, ex)
	for name, m := range map[string]minimize.Method{
		"sgd":      minimize.SGD{Step: 0.05, Momentum: 0.9, WeightDecay: 1e-2, Schedule: "cosine"},
		"nesterov": minimize.SGD{Step: 0.05, Momentum: 0.9, Nesterov: true, WeightDecay: 1e-2},
		"adam":     minimize.Adam{WeightDecay: 1e-2, Average: minimize.Average{EMA: 0.9}},
		"adamw":    minimize.Adam{WeightDecay: 1e-2, Decoupled: true},
	} {
		b := s.bind(t, ex, mask)
		const n = 1000
		e, err := minimize.New(b, prune.Masked{Method: m}, n, 1)
		require.NoError(t, err)
		before := map[string][]float32{}
		for _, entry := range e.Names() {
			if v := e.Variable(entry); entry != "x" && v.Size() == len(mask) && entry != "y" && entry != "average" {
				start := make([]float32, len(mask)) // as if these weights had been trained before
				for i := range start {
					start[i] = 0.25 + float32(i)/64
				}
				require.NoError(t, v.Write32(start))
			}
			before[entry], err = e.Variable(entry).Read32()
			require.NoError(t, err)
		}
		out, err := e.Run(background, engine.Limits{Iterations: n})
		require.NoError(t, err)
		require.NoError(t, out.Err())
		seen := 0
		for entry, start := range before {
			if len(start) != len(mask) || entry == "x" {
				continue
			}
			seen++
			after := out.Last.Arrays[entry]
			moved := 0
			for i := range mask {
				if mask[i] != 0 {
					if after[i] != float64(start[i]) {
						moved++
					}
					continue
				}
				bits := math.Float32bits(float32(after[i]))
				require.Equal(t, math.Float32bits(start[i]), bits, "%s: %s %d", name, entry, i)
				require.Zero(t, mask[i]*after[i])
			}
			require.Positive(t, moved, "%s: %s", name, entry)
		}
		require.GreaterOrEqual(t, seen, 2)
		require.NoError(t, e.Close())
	}
}

// In every iteration of BiP, weights that are masked while the weights step do not move, nor does their momentum, while
// the mask changes between iterations; and the mask always has k ones.
func TestBiPHoldsMaskedWeights(t *testing.T) {
	ex := executor(t, "cpu")
	for _, byUnit := range []bool{false, true} {
		s := newSmall(t, true, false, 4)
		part := 0.3
		if byUnit {
			s, part = s.byUnit(t), 0.6
		}
		k, err := s.task.Structure.Keep(part, prune.Global)
		require.NoError(t, err)
		for _, row := range []string{prune.RowBiP, prune.RowNoImplicit, prune.RowUnrolled} {
			m := prune.BiP{Row: row, WeightStep: 0.05, WeightMomentum: 0.9, WeightDecay: 1e-2, ScoreStep: 1,
				ScoreMomentum: 0.9}
			if row == prune.RowBiP {
				m.InverseGamma = 1
			}
			e, err := prune.New(background, m, s.task, s.bind(t, ex, s.task.Ones()), k, 50, 1)
			require.NoError(t, err)
			read := func(name string) []float64 {
				values, err := e.Variable(name).Read()
				require.NoError(t, err)
				return values
			}
			changed := 0
			for i := range 50 {
				mask, theta, v := read("x"), read("y"), read("momentum")
				require.NoError(t, e.Step(background, i, 1))
				for j, next := range read("y") {
					if mask[j] == 0 {
						require.Equal(t, theta[j], next)
					}
				}
				for j, next := range read("momentum") {
					if mask[j] == 0 {
						require.Equal(t, v[j], next)
					}
				}
				if !slices.Equal(mask, read("x")) {
					changed++
				}
				name := "x"
				if byUnit {
					name = "marks"
				}
				kept := 0
				for _, h := range s.task.Structure.Shares(read(name)) {
					kept += h.Kept
				}
				require.Equal(t, k[0], kept)
			}
			require.Positive(t, changed, row)
			require.NoError(t, e.Close())
		}
	}
}

// A search that goes on from a snapshot comes to the same bits.
func TestSearchResumes(t *testing.T) {
	ex := executor(t, "cpu")
	s := newSmall(t, true, false, 4)
	k, err := s.task.Structure.Keep(0.3, prune.Global)
	require.NoError(t, err)
	sgd := minimize.SGD{Step: 0.05, Momentum: 0.9}
	bip := prune.BiP{WeightStep: 0.05, WeightMomentum: 0.9, ScoreStep: 1, InverseGamma: 0.1}
	exact := bip
	exact.Row, exact.CGSteps = prune.RowExact, 3
	for _, m := range []prune.Search{bip, exact, prune.HYDRA{Step: 1}, prune.Gradual{Method: sgd, Every: 2}} {
		run := func(ctx context.Context, l engine.Limits) *engine.Outcome {
			e, err := prune.New(ctx, m, s.task, s.bind(t, ex, s.task.Ones()), k, 20, 1)
			require.NoError(t, err)
			out, err := e.Run(ctx, l)
			require.NoError(t, err)
			require.NoError(t, e.Close())
			return out
		}
		whole := run(background, engine.Limits{Iterations: 20})
		half := run(background, engine.Limits{Iterations: 11})
		rest := run(background, engine.Limits{Iterations: 20, Resume: half.Last})
		require.Equal(t, whole.Last.Arrays, rest.Last.Arrays, m.Name())
	}
}

func TestSettingsAreRefused(t *testing.T) {
	ex := executor(t, "ref")
	s := newSmall(t, false, false, 0)
	b := s.bind(t, ex, s.task.Ones())
	good := prune.BiP{WeightStep: 0.1, ScoreStep: 1}
	for says, change := range map[string]func(*prune.BiP){
		`row is "bop"`:                        func(m *prune.BiP) { m.Row = "bop" },
		"weight_step is 0":                    func(m *prune.BiP) { m.WeightStep = 0 },
		"score_step is NaN":                   func(m *prune.BiP) { m.ScoreStep = math.NaN() },
		"weight_momentum is 1":                func(m *prune.BiP) { m.WeightMomentum = 1 },
		"score_momentum is -1":                func(m *prune.BiP) { m.ScoreMomentum = -1 },
		"weight_decay is -1":                  func(m *prune.BiP) { m.WeightDecay = -1 },
		"inverse_gamma is +Inf":               func(m *prune.BiP) { m.InverseGamma = math.Inf(1) },
		"this row has no such term":           func(m *prune.BiP) { m.Row, m.InverseGamma = prune.RowNoImplicit, 1 },
		"wants 1/γ above 0":                   func(m *prune.BiP) { m.Row = prune.RowExact },
		"lower_steps is 65":                   func(m *prune.BiP) { m.LowerSteps = 65 },
		"one rate for both":                   func(m *prune.BiP) { m.Row = prune.RowOfficial },
		`unknown schedule "cosin"`:            func(m *prune.BiP) { m.WeightSchedule = "cosin" },
		"cg_tolerance is -1":                  func(m *prune.BiP) { m.CGTolerance = -1 },
		"wants 1 to 64 (0: 1), and 0 or more": func(m *prune.BiP) { m.CGSteps = -1 },
	} {
		m := good
		change(&m)
		_, err := prune.New(background, m, s.task, b, prune.Kept{5}, 10, 1)
		require.ErrorContains(t, err, says)
	}
	_, err := prune.New(background, good, s.task, b, prune.Kept{500}, 10, 1)
	require.ErrorContains(t, err, "500 kept elements of 35")
	_, err = prune.New(background, prune.HYDRA{}, s.task, b, prune.Kept{5}, 10, 1)
	require.ErrorContains(t, err, "step is 0")
	_, err = prune.New(background, prune.Gradual{}, s.task, b, prune.Kept{5}, 10, 1)
	require.ErrorContains(t, err, "wants a method that trains")
	_, err = s.task.Bind(ex, s.theta, []float64{1})
	require.ErrorContains(t, err, "43 weights and a mask of 1 elements for a network of 43 parameters")
	unit := s.byUnit(t)
	_, err = prune.New(background, prune.BiP{Row: prune.RowOfficial, WeightStep: 1, ScoreStep: 1}, unit.task, b,
		prune.Kept{2}, 10, 1)
	require.ErrorContains(t, err, "it prunes single weights, not units")
}
