package prune_test

import (
	"testing"

	"bilevel/models/params"
	"bilevel/solvers/problem"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
)

// losses gives both levels' losses on all rows as functions of z.
func (s small) losses(t testing.TB, ex *tensor.Executor) (of [2]func(z []float64) float64) {
	t.Helper()
	b := s.bind(t, ex, s.task.Ones())
	z := ex.Variable("z", tensor.Real, len(s.theta))
	var state *tensor.Node
	if s.task.State.Size() > 0 {
		v := ex.Variable("state", tensor.Real, s.task.State.Size())
		require.NoError(t, v.Write(s.task.State.Flat))
		state = v.Node()
	}
	for _, side := range []problem.Side{problem.Lower, problem.Upper} {
		value := ex.Variable("value", tensor.Real)
		f, err := ex.Compile("loss", func() []tensor.Update {
			p := b.Oracle().At(side, tensor.Full(1, z.Size()), z.Node(), b.All(side), params.TrainFrozen, state)
			return []tensor.Update{{Var: value, Value: p.Value().Reshape()}}
		})
		require.NoError(t, err)
		of[side] = func(values []float64) float64 {
			require.NoError(t, z.Write(values))
			require.NoError(t, f.Run(1))
			v, err := value.Number()
			require.NoError(t, err)
			return v
		}
	}
	return of
}

func times(m, theta []float64) []float64 {
	z := make([]float64, len(m))
	for i := range z {
		z[i] = m[i] * theta[i]
	}
	return z
}

// upper is F(m ⊙ θ) on all rows.
func (s small) upper(t testing.TB, ex *tensor.Executor, mask, theta []float64) float64 {
	return s.losses(t, ex)[problem.Upper](times(mask, theta))
}

// differences are ∇z G and ∇z F at z = m ⊙ θ on all rows, by central differences.
func (s small) differences(t testing.TB, ex *tensor.Executor, mask, theta []float64) (gl, gu []float64) {
	t.Helper()
	of := s.losses(t, ex)
	z := times(mask, theta)
	for side, to := range map[problem.Side]*[]float64{problem.Lower: &gl, problem.Upper: &gu} {
		for i, at := range z {
			const step = 1e-5 // the error of truncation, step² times a third derivative, is of the size of 1e-10
			z[i] = at + step
			up := of[side](z)
			z[i] = at - step
			*to = append(*to, (up-of[side](z))/(2*step))
			z[i] = at
		}
	}
	return gl, gu
}
