package engine_test

import (
	"context"
	"errors"
	"math"
	"testing"

	"bilevel/device/cpudevice"
	"bilevel/internal/philox"
	"bilevel/models/params"
	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
)

// Step sizes decided by the host: every five iterations it looks at the value of the objective, and halves the step
// where that rose. What it decides is in the state, so that the run can be cut and resumed anywhere.
func TestBetween(t *testing.T) {
	const n, chunk = 43, 5
	m := newToy(6, 1)
	looks := 0
	spec := engine.Spec{
		Name: "backtracking", Seed: seed, Chunk: chunk,
		State: []engine.Array{scalar("x", 1), scalar("y", 2), scalar("value", 0), scalar("lowest", math.MaxFloat64),
			scalar("step", 3)},
		Phases: []engine.Phase{{Build: func(it *engine.Iteration, s *engine.State) {
			p := it.Lower(s.Get("x"), s.Get("y"), it.All(problem.Lower))
			s.Set("value", p.Value())
			s.Set("y", s.Get("y").Sub(s.Get("step").Mul(p.GradY())))
		}}},
		Between: func(e *engine.Engine, k int) error {
			looks++
			value, err1 := e.Variable("value").Number()
			lowest, err2 := e.Variable("lowest").Number()
			step, err3 := e.Variable("step").Number()
			if err := errors.Join(err1, err2, err3); err != nil || k == 0 {
				return err
			}
			if value > lowest {
				step /= 2
			}
			return errors.Join(e.Variable("lowest").Write([]float64{min(value, lowest)}),
				e.Variable("step").Write([]float64{step}))
		},
	}
	got := sameHowever(t, n, func() *engine.Engine { return start(t, m.problem(), spec) })
	value := func(y float64) float64 {
		return mean(nil, 6, func(i int) float64 { return 0.5 * m.a[i] * (y - 1 - m.b[i]) * (y - 1 - m.b[i]) })
	}
	y, size, last, lowest, halved := 2.0, 3.0, 0.0, math.MaxFloat64, 0
	for k := range n {
		if k > 0 && k%chunk == 0 {
			if last > lowest {
				size /= 2
				halved++
			}
			lowest = min(last, lowest)
		}
		last = value(y)
		y -= size * m.gy(1, y, nil)
	}
	require.Positive(t, halved)
	require.InDelta(t, size, got["step"][0], 0)
	require.InDelta(t, y, got["y"][0], tolerance*math.Abs(y))
	looks = 0
	step(t, start(t, m.problem(), spec), 0, n)
	require.Equal(t, (n+chunk-1)/chunk, looks, "once for every multiple of the chunk")

	full := errors.New("no more memory")
	spec.Between = func(*engine.Engine, int) error { return full }
	err := start(t, m.problem(), spec).Step(context.Background(), 0, 1)
	require.ErrorIs(t, err, full)
	require.ErrorContains(t, err, "backtracking: before iteration 1")
}

// Random numbers on the device are functions of the seed and the number of the repetition: those of package philox, in
// every phase another stream, and in a resumed run the same.
func TestRandom(t *testing.T) {
	const n, size = 66, 5
	spec := func(seed uint64) engine.Spec {
		return engine.Spec{
			Name: "noise", Seed: seed,
			State: []engine.Array{{Name: "walk", Values: make([]float64, size)},
				{Name: "last", Values: make([]float64, size)}, {Name: "second", Values: make([]float64, size)}},
			Phases: []engine.Phase{
				{Repeat: func(k int) int { return k % 3 }, Build: func(it *engine.Iteration, s *engine.State) {
					s.Set("walk", s.Get("walk").Add(it.Random().Normal(size)))
				}},
				{Build: func(it *engine.Iteration, s *engine.State) {
					s.Set("last", it.Random().Uniform(size))
					s.Set("second", it.Random().Ints(1000, size).ToReal())
				}},
			},
		}
	}
	p := newToy(1, 1).problem()
	got := sameHowever(t, n, func() *engine.Engine { return start(t, p, spec(seed)) })
	// Streams begin at 1<<24, 1<<12 of them for each phase, one for each call.
	const first, second = 1 << 24, 1<<24 + 1<<12
	walk, repetition := make([]float64, size), uint32(0)
	draw := make([]float32, size)
	for k := range n {
		for range k % 3 {
			philox.Normals(draw, seed, repetition, first, 0)
			for i := range walk {
				walk[i] += float64(draw[i])
			}
			repetition++
		}
	}
	require.InDeltaSlice(t, walk, got["walk"], tolerance)
	philox.Uniforms(draw, seed, n-1, second, 0)
	for i, v := range draw {
		require.Equal(t, float64(v), got["last"][i])
	}
	whole := make([]int32, size)
	philox.Integers(whole, 1000, seed, n-1, second+1, 0)
	require.Equal(t, whole, ints(got["second"]))

	other := start(t, p, spec(seed+1))
	step(t, other, 0, n)
	require.NotEqual(t, got, state(t, other), "another seed")

	dev := cpudevice.New(2)
	ex := tensor.NewExecutor(dev)
	b, err := p.Bind(ex)
	require.NoError(t, err)
	e, err := engine.New(b, spec(seed))
	require.NoError(t, err)
	step(t, e, 0, n)
	require.Equal(t, got["last"], state(t, e)["last"], "the same numbers on another device")
	require.NoError(t, errors.Join(e.Close(), ex.Close(), dev.Close()))
}

// attack is a problem with a lower variable for every batch, a perturbation δ_i [d] of each row in a box that depends
// on the row: scores s_i = xᵀ(z_i + δ_i) with signs t_i, losses ℓ_i = log(1 + exp(-t_i s_i)),
//
//	G = -Σ ℓ_i,   F = mean ℓ_i,   max(-ε, -z) <= δ <= min(ε, 1-z)
type attack struct {
	rows, d int
	eps     float64
	z, t    []float64
}

func (m attack) problem() *problem.Problem {
	losses := func(x, delta *tensor.Node, b problem.Batch) *tensor.Node {
		scores := b.Get("z").Add(delta.Reshape(b.Rows, m.d)).MatMul(x.Reshape(m.d, 1)).Flatten()
		return scores.Mul(b.Get("sign")).Neg().Softplus()
	}
	box := problem.BatchBox{Of: func(b problem.Batch) (lo, hi *tensor.Node) {
		z := b.Get("z")
		return z.Neg().Max(tensor.Const(-m.eps)), tensor.Const(1).Sub(z).Min(tensor.Const(m.eps))
	}}
	rows := problem.Rows{"z": problem.Reals(m.z, m.d), "sign": problem.Reals(m.t)}
	return &problem.Problem{
		Name: "attack",
		Lower: problem.Level{Rows: rows, Set: box, Sampler: problem.Epochs(4),
			Value: problem.Flat(func(x, delta *tensor.Node, b problem.Batch) *tensor.Node {
				return losses(x, delta, b).Sum().Neg()
			})},
		Upper: problem.Level{Start: problem.Vector(0.5, -1, 2),
			Value: problem.Flat(func(x, delta *tensor.Node, b problem.Batch) *tensor.Node {
				return losses(x, delta, b).Mean()
			})},
		PerBatch: &problem.PerBatch{
			Size: func(rows int) int { return rows * m.d },
			Start: func(_ problem.Vars, b problem.Batch, r *problem.Random) *tensor.Node {
				return r.Uniform(b.Rows * m.d).AddConst(-0.5).Scale(4 * m.eps) // a part of it lies outside
			},
		},
	}
}

// One lower step with a closed form and its exact derivative (the shape of Fast-BAT, Zhang et al., ICML 2022):
// δ = P(δ₀ - ∇δG/λ), dδ/dx = -mask ∇²δx G/λ, where the mask is 1 for the coordinates that no bound holds.
func TestLowerVariablePerBatch(t *testing.T) {
	const n, lambda, gamma = 21, 8.0, 0.3
	m := attack{rows: 9, d: 3, eps: 0.2}
	for i := range m.rows {
		m.t = append(m.t, float64(1-2*(i%2)))
		for j := range m.d {
			m.z = append(m.z, 0.5+0.5*math.Sin(float64(4*i+j)))
		}
	}
	spec := engine.Spec{
		Name: "one step", Seed: seed, State: []engine.Array{{Name: "x", Values: []float64{0.5, -1, 2}}},
		Phases: []engine.Phase{{Draws: []engine.Draw{{Of: problem.Lower}},
			Build: func(it *engine.Iteration, s *engine.State) {
				x, b := s.Get("x"), it.Batch("lower")
				start := it.Start(x, b)
				g := it.Lower(x, start, b)
				delta := it.Project(problem.Lower, start.Sub(g.GradY().Scale(1/lambda)), b)
				f := it.Upper(x, delta, b)
				mask := it.Free(problem.Lower, delta, b)
				s.Set("x", x.Sub(f.GradX().Sub(g.Cross(f.GradY().Mul(mask)).Scale(1/lambda)).Scale(gamma)))
			}}},
	}
	got := sameHowever(t, n, func() *engine.Engine { return start(t, m.problem(), spec) })

	x, xi, held, free := []float64{0.5, -1, 2}, lowerDraws(problem.Epochs(4), m.rows), 0, 0
	noise := make([]float32, 4*m.d)
	sigma := func(u float64) float64 { return 1 / (1 + math.Exp(-u)) }
	dot := func(u, v []float64) (sum float64) {
		for i := range u {
			sum += u[i] * v[i]
		}
		return sum
	}
	for k := range n {
		philox.Uniforms(noise, seed, uint32(k), 1<<24, 0)
		h := make([]float64, m.d)
		for place, row := range xi.take(t) {
			z, sign := m.z[int(row)*m.d:(int(row)+1)*m.d], m.t[row]
			clip := func(j int, v float64) float64 {
				return math.Min(math.Min(m.eps, 1-z[j]), math.Max(math.Max(-m.eps, -z[j]), v))
			}
			at, moved := make([]float64, m.d), make([]float64, m.d) // z + δ₀ and z + δ
			for j := range at {
				at[j] = z[j] + clip(j, (float64(noise[place*m.d+j])-0.5)*4*m.eps)
			}
			r := -sign * sigma(-sign*dot(x, at)) // dℓ/ds at δ₀; ∇δG = -r x
			curve := sigma(-sign*dot(x, at)) * (1 - sigma(-sign*dot(x, at)))
			mask := make([]float64, m.d)
			for j := range at {
				want := at[j] - z[j] + r*x[j]/lambda
				delta := clip(j, want)
				if mask[j] = 1; delta != want {
					mask[j] = 0
					held++
				} else {
					free++
				}
				moved[j] = z[j] + delta
			}
			slope := -sign * sigma(-sign*dot(x, moved)) / 4 // dF/ds of this row
			v := make([]float64, m.d)
			for j := range v {
				v[j] = slope * x[j] * mask[j]
			}
			for j := range h { // C v = -Σ (ℓ'' (xᵀv)(z + δ₀) + ℓ' v)
				h[j] += slope*moved[j] + (curve*dot(x, v)*at[j]+r*v[j])/lambda
			}
		}
		for j := range x {
			x[j] -= gamma * h[j]
		}
	}
	require.InDeltaSlice(t, x, got["x"], tolerance)
	require.Greater(t, held, 20)
	require.Greater(t, free, 20)
}

// PerBatch is for algorithms that ask for it, and its start has the size that it states.
func TestPerBatchErrors(t *testing.T) {
	spec := engine.Spec{Name: "one step", State: []engine.Array{scalar("x", 1)}, Phases: []engine.Phase{{
		Draws: []engine.Draw{{Of: problem.Lower}},
		Build: func(it *engine.Iteration, s *engine.State) { it.Start(s.Get("x"), it.Batch("lower")) },
	}}}
	b, err := newToy(2, 2).problem().Bind(executor(t))
	require.NoError(t, err)
	_, err = engine.New(b, spec)
	require.ErrorContains(t, err, "the problem toy has no lower variable for every batch")
	p := attack{rows: 4, d: 1, eps: 1, z: make([]float64, 4), t: make([]float64, 4)}.problem()
	p.PerBatch.Start = func(problem.Vars, problem.Batch, *problem.Random) *tensor.Node { return tensor.Zeros(3) }
	b, err = p.Bind(executor(t))
	require.NoError(t, err)
	_, err = engine.New(b, spec)
	require.ErrorContains(t, err, "for a batch of 4 rows; wants 4 elements")
}

// Random numbers of a minibatch are the same whoever asks for them, begin anew each time, are apart for each minibatch
// of each phase, and are functions of the seed and the number of the repetition.
func TestRandomOfBatches(t *testing.T) {
	const n, size = 7, 5
	array := func(name string) engine.Array { return engine.Array{Name: name, Values: make([]float64, size)} }
	p := newToy(4, 4).problem()
	p.Lower.Sampler, p.Upper.Sampler = problem.WithReplacement(2), problem.WithReplacement(2)
	spec := engine.Spec{
		Name: "noise", Seed: seed, State: []engine.Array{array("walk"), array("again"), array("upper"), array("next")},
		Phases: []engine.Phase{
			{Repeat: func(k int) int { return k % 3 }, Draws: []engine.Draw{{Of: problem.Lower}},
				Build: func(it *engine.Iteration, s *engine.State) {
					b := it.Batch("lower")
					s.Set("walk", s.Get("walk").Add(b.Random().Uniform(size)))
					s.Set("again", s.Get("again").Add(it.Batch("lower").Random().Uniform(size)))
					require.Nil(t, it.All(problem.Lower).Random())
				}},
			{Draws: []engine.Draw{{Of: problem.Lower}, {Of: problem.Upper}},
				Build: func(it *engine.Iteration, s *engine.State) {
					r := it.Batch("upper").Random()
					s.Set("upper", r.Uniform(size))
					s.Set("next", r.Uniform(size))
				}},
		},
	}
	got := sameHowever(t, n, func() *engine.Engine { return start(t, p, spec) })
	walk, draw, repetition := make([]float64, size), make([]float32, size), uint32(0)
	for k := range n {
		for range k % 3 {
			philox.Uniforms(draw, seed, repetition, 1<<25, 0)
			for i := range walk {
				walk[i] += float64(draw[i])
			}
			repetition++
		}
	}
	require.InDeltaSlice(t, walk, got["walk"], tolerance)
	require.Equal(t, got["walk"], got["again"])
	for i, name := range []string{"upper", "next"} {
		philox.Uniforms(draw, seed, n-1, 1<<25+1<<12+1<<8+uint32(i), 0)
		for j, v := range draw {
			require.Equal(t, float64(v), got[name][j])
		}
	}
}

// Running statistics: passes chain, each reads what the last Commit left, and they move as often as the algorithm
// commits. The value of a pass in mode Eval depends on them.
func TestChainedStatistics(t *testing.T) {
	const n, momentum = 7, 0.25
	m := newToy(8, 1)
	p := m.problem()
	p.State = params.Values{}.And("mean", 1).And("count", 0)
	p.Lower.Value = nil
	p.Lower.Sampler = problem.WithReplacement(3)
	p.Lower.Loss = func(x, y problem.Vars, b problem.Batch, pass problem.Pass) problem.Loss {
		average := b.Get("b").Mean().Add(y.Flat().Sum())
		old := pass.State["mean"]
		next := tensor.Concat(0, old.Scale(1-momentum).Add(average.Scale(momentum)), pass.State["count"].AddConst(1))
		switch pass.Mode {
		case params.Train:
			return problem.Loss{Value: y.Flat().Square().Sum().Scale(0.5), State: next}
		case params.TrainFrozen:
			return problem.Loss{Value: y.Flat().Square().Sum().Scale(0.5)}
		}
		return problem.Loss{Value: old.Sum()}
	}
	for _, commits := range []int{0, 1, 4} {
		spec := engine.Spec{
			Name: "statistics", Seed: seed, State: []engine.Array{scalar("x", 0), scalar("y", 2), scalar("seen", 0)},
			Phases: []engine.Phase{{Draws: []engine.Draw{{Of: problem.Lower}},
				Build: func(it *engine.Iteration, s *engine.State) {
					x, y, b := s.Get("x"), s.Get("y"), it.Batch("lower")
					first := it.Lower(x, y, b)
					it.Lower(x, y.Scale(7), b) // not committed: it leaves no trace
					it.Commit(it.Upper(x, y, it.All(problem.Upper)))
					it.Commit(it.At(problem.Lower, x, y, b, params.TrainFrozen))
					at, point := y, first
					for i := range commits {
						if i > 0 {
							at = at.Scale(0.5)
							point = it.Lower(x, at, b)
						}
						it.Commit(point)
					}
					s.Set("seen", it.At(problem.Lower, x, y, b, params.Eval).Value())
					s.Set("y", y.Sub(first.GradY().Scale(0.1)))
				}}},
		}
		got := sameHowever(t, n, func() *engine.Engine { return start(t, p, spec) })
		y, average := 2.0, 1.0
		xi := lowerDraws(problem.WithReplacement(3), 8)
		for range n {
			rows := xi.take(t)
			for i := range commits {
				batch := mean(rows, 8, func(i int) float64 { return m.b[i] }) + y*math.Pow(0.5, float64(i))
				average = (1-momentum)*average + momentum*batch
			}
			y -= 0.1 * y
		}
		require.InDeltaSlice(t, []float64{average, float64(n * commits)}, got[engine.StateName], tolerance,
			"%d commits", commits)
		require.InDelta(t, average, got["seen"][0], tolerance, "a pass after the last commit reads what it left")
		require.InDelta(t, y, got["y"][0], tolerance)
	}
}

// Without running statistics Commit does nothing, and an objective that moves some is refused.
func TestStatisticsWithoutState(t *testing.T) {
	p := newToy(2, 2).problem()
	spec := engine.Spec{Name: "plain", State: []engine.Array{scalar("x", 1), scalar("y", 1)}, Phases: []engine.Phase{{
		Build: func(it *engine.Iteration, s *engine.State) {
			it.Commit(it.Lower(s.Get("x"), s.Get("y"), it.All(problem.Lower)))
		},
	}}}
	require.Equal(t, []string{"x", "y"}, start(t, p, spec).Names())
	p.Lower.Value = nil
	p.Lower.Loss = func(_, y problem.Vars, _ problem.Batch, pass problem.Pass) problem.Loss {
		return problem.Loss{Value: y.Flat().Sum(), State: y.Flat()}
	}
	b, err := p.Bind(executor(t))
	require.NoError(t, err)
	_, err = engine.New(b, spec)
	require.ErrorContains(t, err, "the lower objective of toy moves running statistics, but the problem has no State")
	p.State = problem.Vector(1, 2)
	b, err = p.Bind(executor(t))
	require.NoError(t, err)
	_, err = engine.New(b, spec)
	require.ErrorContains(t, err, "gives running statistics of shape [1]; wants [2]")
}

// Next is what was set, or else the entry as it was; Close frees what Between made.
func TestNextAndClose(t *testing.T) {
	m, closed := newToy(6, 1), 0
	spec := engine.Spec{
		Name: "held", Seed: 7, State: []engine.Array{scalar("x", 1), scalar("y", 2), scalar("z", 0)},
		Close: func() error { closed++; return nil },
		Phases: []engine.Phase{{Build: func(it *engine.Iteration, s *engine.State) {
			before := s.Next("y")
			s.Set("y", s.Get("y").AddConst(3))
			s.Set("z", before.Scale(100).Add(s.Next("y").Scale(10)).Add(s.Get("y")))
		}}},
	}
	e, err := engine.New(bound(t, m), spec)
	require.NoError(t, err)
	require.EqualValues(t, 7, e.Seed())
	step(t, e, 0, 1)
	require.Equal(t, []float64{200 + 50 + 2}, state(t, e)["z"])
	require.Zero(t, closed)
	require.NoError(t, e.Close())
	require.Equal(t, 1, closed)
}

func bound(t *testing.T, m toy) *problem.Bound {
	t.Helper()
	b, err := m.problem().Bind(executor(t))
	require.NoError(t, err)
	return b
}
