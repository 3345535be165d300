package solvers_test

import (
	"math"
	"testing"

	"bilevel/internal/philox"
	"bilevel/models"
	"bilevel/models/params"
	"bilevel/solvers"
	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
)

// normalized is hyper-cleaning of a perceptron with batch normalization: x weighs the training rows, of which a third
// has a wrong label.
func normalized(net models.MLP, rows, held int) *problem.Problem {
	draw := func(n int, step uint32, wrong bool) problem.Rows {
		features, labels := make([]float32, 4*n), make([]int32, n)
		philox.Normals(features, 1, step, philox.StreamTest, 0)
		for i := range n {
			if features[4*i]+features[4*i+1] > 0 {
				labels[i] = 1
			}
			if wrong && i%3 == 0 {
				labels[i] = 1 - labels[i]
			}
		}
		return problem.Rows{"features": problem.Reals(features, 4), "label": problem.Ints(labels)}
	}
	weights, state := net.Init(1)
	losses := func(y problem.Vars, b problem.Batch, p problem.Pass) (each, next *tensor.Node) {
		z, next := net.Apply(y.Flat(), p.State.Flat(), b.Get("features"), p.Mode)
		return tensor.CrossEntropy(z, b.Get("label")), next
	}
	return &problem.Problem{
		Name: "normalized", State: state,
		Lower: problem.Level{
			Start: weights, Rows: draw(rows, 0, true), Sampler: problem.Epochs(10),
			Loss: func(x, y problem.Vars, b problem.Batch, p problem.Pass) problem.Loss {
				each, next := losses(y, b, p)
				value := b.Of(x["weights"]).Sigmoid().Mul(each).Mean().Add(models.SquaredNorm(y.Flat()).Scale(0.01))
				return problem.Loss{Value: value, State: next}
			},
		},
		Upper: problem.Level{
			Start: params.Values{}.And("weights", make([]float64, rows)...), Rows: draw(held, 1, false),
			Sampler: problem.Epochs(10),
			Loss: func(_, y problem.Vars, b problem.Batch, p problem.Pass) problem.Loss {
				each, next := losses(y, b, p)
				return problem.Loss{Value: each.Mean(), State: next}
			},
		},
	}
}

// A perceptron with batch normalization trains under every algorithm that can use running statistics, and they move as
// often in an iteration as its comment says: once with the lower pass of SOBA, four times in F²SA with three inner
// steps.
func TestBatchNormalization(t *testing.T) {
	net := models.MLP{Widths: []int{4, 6, 2}, BatchNorm: true}
	const rows = 60
	for name, row := range rowsByName(t) {
		t.Run(name, func(t *testing.T) { trainsNormalized(t, net, rows, row) })
	}
}

func trainsNormalized(t *testing.T, net models.MLP, rows int, row row) {
	a := row.weights
	if usable := row.small.Needs().Usable&problem.ModelState != 0; !usable {
		require.Nil(t, a)
		return
	}
	if row.small.Needs().WantsDirectX { // no weight would move
		return
	}
	p := normalized(net, rows, 40)
	if a.Needs().FixedBatches {
		p.Lower.Sampler, p.Upper.Sampler = problem.Fixed(10), problem.Fixed(10)
	}
	suit(p, a)
	const n = 300
	res := solve(t, executor(t), p, a, solvers.Options{Iterations: n, Every: 50, KeepBest: true})
	last := p.State.Like(res.Last.Arrays[engine.StateName])
	require.Equal(t, []float64{row.commits * n}, last.Of("1.num_batches_tracked"), a.Name())
	for _, v := range last.Of("1.running_var") {
		require.Positive(t, v)
	}
	require.Less(t, res.BestValue, 0.45, "%s: the validation loss, which begins near ln 2", a.Name())
	wrong, right := 0.0, 0.0
	for i, w := range p.Upper.Start.Like(res.Last.Arrays["x"]).Of("weights") {
		if w = 1 / (1 + math.Exp(-w)); i%3 == 0 {
			wrong += w / float64(rows/3)
		} else {
			right += w / float64(rows*2/3)
		}
	}
	require.Less(t, wrong, right-0.1, "%s: rows with a wrong label weigh less", a.Name())
}

// A model with statistics in a problem that has none, and the reverse, is refused where the graph is built.
func TestStateMustFit(t *testing.T) {
	net := models.MLP{Widths: []int{4, 6, 2}, BatchNorm: true}
	p := normalized(net, 20, 20)
	p.State = problem.Values{}
	_, err := solvers.Solve(t.Context(), p, solvers.SOBA{Step: 1, OuterStep: 1},
		solvers.Options{Iterations: 1, Device: "ref"})
	require.ErrorContains(t, err, "state is missing")
	p = normalized(models.MLP{Widths: []int{4, 6, 2}}, 20, 20)
	p.State = problem.Vector(1, 2)
	_, err = solvers.Solve(t.Context(), p, solvers.SOBA{Step: 1, OuterStep: 1},
		solvers.Options{Iterations: 1, Device: "ref"})
	require.ErrorContains(t, err, "keeps no state")
}
