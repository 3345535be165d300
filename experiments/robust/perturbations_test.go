package robust

import (
	"math"
	"testing"

	"bilevel/device/ref"
	"bilevel/internal/philox"
	"bilevel/models"
	"bilevel/models/params"
	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/solvers/robust"
	"bilevel/tensor/tensortest"

	"github.com/stretchr/testify/require"
)

// spy is a method that keeps its perturbation in the state.
type spy struct{ robust.Method }

func (s spy) Plan(t robust.Task) (robust.Plan, error) {
	plan, err := s.Method.Plan(t)
	size := t.Sampler.Size() * t.Rows[robust.Features].Row()[0]
	plan.State = append(plan.State, engine.Array{Name: "delta", Values: make([]float64, size)})
	build := plan.Step
	plan.Step = func(r *robust.Round) robust.Step {
		step := build(r)
		r.State.Set("delta", step.Delta.Flatten())
		return step
	}
	return plan, err
}

// The perturbations of the methods that go by signs are those of their formulas, computed in plain numbers: starts,
// objectives, directions and bounds.
func TestPerturbationsOfTheFormulas(t *testing.T) {
	const seed = 4
	entry, err := robust.ByName("fast-bat")
	require.NoError(t, err)
	net := models.MLP{Widths: []int{3, 5, 4, 3}, Activation: "tanh"}
	d := newDense(checkCase{net: plainNet{net}, method: entry.Method.(robust.FastBAT)}, seed)
	n := len(d.x)
	crossEntropy := func(delta []float64) []float64 { return d.slope(d.theta, delta, 1) }
	divergence := func(delta []float64) []float64 { return d.divergence(delta, 1) }
	images := func(delta []float64) []float64 {
		out := make([]float64, n)
		for i, v := range delta {
			out[i] = math.Min(1-d.x[i], math.Max(-d.x[i], v))
		}
		return out
	}
	uniforms := func(count int, radius float64) []float64 {
		draws, out := make([]float32, count), make([]float64, count)
		philox.Uniforms(draws, seed, 0, 1<<24, 0)
		for i, u := range draws {
			out[i] = radius * (2*float64(u) - 1)
		}
		return out
	}
	normals := make([]float32, n)
	philox.Normals(normals, seed, 0, 1<<24, 0)
	zero, noise := make([]float64, n), make([]float64, n)
	for i, v := range normals {
		noise[i] = 0.001 * float64(v)
	}
	eta := images(uniforms(n, 2*checkEps))
	stronger := make([]float64, n)
	for i, v := range crossEntropy(eta) {
		stronger[i] = eta[i] + checkEps*sign(v)
	}
	shift := uniforms(checkRows*3, 1)
	target := d.logits(d.theta, zero, -1, -1, 1)
	for r, row := range target {
		for j := range row {
			row[j] = plainNumber(row[j].v + shift[3*r+j])
		}
	}
	back := make([]float64, n)
	for i := range back {
		back[i] = -checkEps * sign(distance(target, d.logits(d.theta, zero, -1, i, 1)).b)
	}
	for name, want := range map[string][]float64{
		"standard":           zero,
		"fast-at":            d.climb(d.project(d.start), 1, 1.25, crossEntropy),
		"pgd":                d.climb(d.project(d.start), 7, 0.25, crossEntropy),
		"n-fgsm":             images(stronger),
		"grad-align":         d.climb(zero, 1, 1.25, crossEntropy),
		"trades":             d.climb(noise, 10, 0.25, divergence),
		"backward-smoothing": d.climb(d.project(back), 1, 1, divergence),
		"free":               d.climb(zero, 1, 1, crossEntropy), // of the second replay; θ has hardly moved
	} {
		entry, err := robust.ByName(name)
		require.NoError(t, err)
		task := robust.Task{
			Name: "formulas", Model: net, Start: params.Values{Layout: net.Params(), Flat: d.theta},
			Rows: problem.Rows{robust.Features: problem.Reals(d.x, net.Widths[0]),
				robust.Labels: problem.Ints(d.labels)},
			Sampler: inOrder(checkRows), Eps: checkEps, Optimizer: robust.SGD{Rate: 1e-12},
		}
		e, err := robust.New(tensortest.Executor(t, ref.New()), task, spy{entry.Method}, 2, 2, seed)
		require.NoError(t, err)
		iterations := 1
		if name == "free" {
			iterations = 2
		}
		require.NoError(t, e.Step(t.Context(), 0, iterations))
		got, err := e.Variable("delta").Read()
		require.NoError(t, err)
		require.InDeltaSlice(t, want, got, 1e-10, name)
		require.NoError(t, e.Close())
	}
}
