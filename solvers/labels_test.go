package solvers_test

import (
	"context"
	"fmt"
	"testing"

	"bilevel/device"
	"bilevel/device/cpudevice"
	"bilevel/device/ref"
	"bilevel/models"
	"bilevel/models/params"
	"bilevel/solvers"
	"bilevel/solvers/engine"
	"bilevel/solvers/hypergrad"
	"bilevel/solvers/linear"
	"bilevel/solvers/minimize"
	"bilevel/solvers/problem"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
)

// softmaxRows is softmax regression of rows weighted by x, in 3 classes; label is that of one training row.
func softmaxRows(label int32) *problem.Problem {
	model := models.Softmax{Inputs: 2, Classes: 3}
	start, _ := model.Init(1)
	rows := func(labels ...int32) problem.Rows {
		features := make([]float64, 2*len(labels))
		for i, l := range labels {
			features[2*i], features[2*i+1] = float64(l%3)-1, float64(i)/4
		}
		return problem.Rows{"features": problem.Reals(features, 2), "label": problem.Ints(labels)}
	}
	each := func(y *tensor.Node, b problem.Batch) *tensor.Node {
		z, _ := model.Apply(y, nil, b.Get("features"), params.Train)
		return tensor.CrossEntropy(z, b.Get("label"))
	}
	return &problem.Problem{
		Name: "labels", Mu: 0.02,
		Lower: problem.Level{
			Start: start, Rows: rows(0, 1, 2, label, 1, 0), Sampler: problem.Epochs(3),
			Value: func(x, y problem.Vars, b problem.Batch) *tensor.Node {
				weighted := b.Of(x.Flat()).Sigmoid().Mul(each(y.Flat(), b)).Mean()
				return weighted.Add(models.SquaredNorm(y.Flat()).Scale(0.01))
			},
		},
		Upper: problem.Level{
			Start: params.Repeat(0, 6), Rows: rows(0, 1, 2, 2), Sampler: problem.Epochs(2),
			Value: func(_, y problem.Vars, b problem.Batch) *tensor.Node { return each(y.Flat(), b).Mean() },
		},
	}
}

// A label outside the classes ends every algorithm, the certificate and the minimizers with the status that says so,
// and with advice that names labels; one inside ends none of them so.
func TestLabelsOutsideTheClassesAreSaid(t *testing.T) {
	ctx := context.Background()
	for _, dev := range []device.Device{ref.New(), cpudevice.New(1)} {
		for _, label := range []int32{2, 3, -1, -100} {
			bad := label != 2
			name := fmt.Sprintf("label %d on %s", label, dev.Info().Name)
			ex := tensor.NewExecutor(dev)
			for _, row := range rowsByName(t) {
				a := row.small
				p := softmaxRows(label)
				suit(p, a)
				if a.Needs().WantsDirectX { // no weight would move
					continue
				}
				if a.Needs().FixedBatches {
					p.Lower.Sampler, p.Upper.Sampler = problem.Fixed(3), problem.Fixed(2)
				}
				_, err := solvers.Solve(ctx, p, a, solvers.Options{Executor: ex, Iterations: 8})
				if !bad {
					require.NoError(t, err, "%s, %s", a.Name(), name)
					continue
				}
				require.ErrorContains(t, err, a.Name()+" on labels: not finite after iteration ", name)
				require.ErrorContains(t, err, "labels outside the classes", name)
			}
			p := softmaxRows(label)
			method := hypergrad.Implicit{Solver: linear.CG{RTol: 1e-3}}
			h, err := hypergrad.OnExecutor(ctx, ex, p, method, p.Upper.Start, p.Lower.Start)
			require.NoError(t, err)
			require.Equal(t, bad, h.Status == linear.NotFinite, "certificate, %s: %v", name, h.Status)

			b, err := p.Bind(ex)
			require.NoError(t, err)
			m, err := minimize.LBFGS{Tol: 1e-3, MaxSteps: 100}.PrepareRows(minimize.RowsObjective{
				Bound: b, Rows: 2,
				Value: func(y *tensor.Node, rows problem.Batch) *tensor.Node {
					return b.Oracle().At(problem.Lower, tensor.Zeros(6), y, rows, params.TrainFrozen, nil).Value()
				},
			})
			require.NoError(t, err)
			require.NoError(t, m.Y().Write(p.Lower.Start.Flat))
			end, err := m.Run(ctx)
			require.NoError(t, err)
			require.Equal(t, bad, end.Status == minimize.NotFinite, "l-bfgs, %s: %v", name, end.Status)
			require.NoError(t, m.Close())
			require.NoError(t, ex.Close())
		}
		require.NoError(t, dev.Close())
	}
	for _, advice := range []string{engine.NotFinite.Advice(), linear.NotFinite.Advice(), minimize.NotFinite.Advice()} {
		require.Contains(t, advice, "labels outside the classes")
	}
}
