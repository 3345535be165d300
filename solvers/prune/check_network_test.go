package prune_test

import (
	"testing"

	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/solvers/prune"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
)

// On a residual network of convolutions, with masks of weights and of channels: bip-exact is the dense hypergradient,
// and the Hessian-free form is the dense one whose Hessian is zero, with both gradients by central differences.
func TestResidualNetworkIsDense(t *testing.T) {
	ex := executor(t, "ref")
	for _, byUnit := range []bool{false, true} {
		s := newResidual(t)
		if byUnit {
			s = s.byUnit(t)
		}
		mask := s.mask(t, ex)
		const gamma = 10.0
		c := prune.Comparison{Task: s.task, Gamma: []float64{gamma}, Steps: 1, Rate: 0.1}
		list, err := c.Compare(background, ex, s.theta, mask)
		require.NoError(t, err)
		exact := rows(list, prune.RowExact)[0]
		require.Positive(t, exact.Smallest)
		require.Equal(t, linear.Converged, exact.Status)
		require.Less(t, exact.Distance, 1e-6)
		gl, gu := s.differences(t, ex, mask, s.theta)
		free, plain := make([]float64, len(mask)), make([]float64, len(mask))
		for i := range mask {
			plain[i] = s.theta[i] * gu[i]
			free[i] = plain[i] - gl[i]*mask[i]*gu[i]/gamma
		}
		// A relu whose input lies within 1e-5 of 0 would break this; none does here.
		require.InDeltaSlice(t, free, rows(list, prune.RowBiP)[0].Gradient, 1e-6*floats.Norm(free, 2))
		require.InDeltaSlice(t, plain, rows(list, prune.RowNoImplicit)[0].Gradient, 1e-6*floats.Norm(plain, 2))
		require.Greater(t, floats.Distance(free, plain, 2), 1e-4*floats.Norm(plain, 2))
	}
}

// The derivative in a channel's mark is the sum over all parameters that the mark decides about, times the marks of
// what else they belong to: the first iteration of bip on channels against central differences of the losses and of the
// mask.
func TestFirstIterationOnChannels(t *testing.T) {
	ex := executor(t, "ref")
	s := newResidual(t).byUnit(t)
	k, err := s.task.Structure.Keep(0.6, prune.Layer)
	require.NoError(t, err)
	const alpha, beta, inverse = 1e-9, 0.5, 0.7 // weights stay where they are
	m := prune.BiP{WeightStep: alpha, ScoreStep: beta, InverseGamma: inverse}
	before, after := s.first(t, ex, m, k)
	marks, mask := before["marks"], before["x"]
	gl, gu := s.differences(t, ex, mask, s.theta)
	g := make([]float64, len(mask))
	for i := range g {
		g[i] = (s.theta[i] - inverse*mask[i]*gl[i]) * gu[i]
	}
	scores := before["scores"]
	const step = 1e-4 // the mask is a product of two marks at most, so that central differences are exact
	for j := range marks {
		at := func(by float64) []float64 {
			moved := append([]float64(nil), marks...)
			moved[j] += by
			of, err := s.task.Structure.Of(ex, moved)
			require.NoError(t, err)
			return of
		}
		up, down := at(step), at(-step)
		pooled := 0.0
		for i := range g {
			pooled += g[i] * (up[i] - down[i]) / (2 * step)
		}
		require.InDelta(t, scores[j]-beta*pooled, after["scores"][j], 1e-6*floats.Norm(scores, 2), "channel %d", j)
	}
	require.NotEqual(t, scores, after["scores"])
	want, _, err := s.task.Structure.Pick(ex, after["scores"], k)
	require.NoError(t, err)
	require.Equal(t, want, after["marks"])
}

// SNIP and magnitudes of channels: sums over the slices that a channel has in all arrays.
func TestScoresOfChannels(t *testing.T) {
	ex := executor(t, "ref")
	s := newResidual(t).byUnit(t)
	g := s.gradients(t, ex)[problem.Lower](s.theta)
	snip, err := prune.SNIP(background, s.task, s.bind(t, ex, s.task.Ones()), s.theta, nil)
	require.NoError(t, err)
	norms, err := prune.Magnitude(background, ex, s.task.Structure, s.theta)
	require.NoError(t, err)
	at := 0
	for _, u := range s.Units() {
		for unit := range u.Count {
			sum, square := 0.0, 0.0
			for _, slot := range u.Slots {
				a, err := s.Params().Find(slot.Array)
				require.NoError(t, err)
				inner := 1
				for _, d := range a.Shape[slot.Axis+1:] {
					inner *= d
				}
				for i := range a.Size() {
					if i/inner%a.Shape[slot.Axis] != slot.From+unit {
						continue
					}
					w := s.theta[a.Off+i]
					sum += w * g[a.Off+i]
					if slot.Output {
						square += w * w
					}
				}
			}
			require.InDelta(t, max(sum, -sum), snip[at], 1e-12, "%s %d", u.Name, unit)
			require.InDelta(t, square, norms[at]*norms[at], 1e-12, "%s %d", u.Name, unit)
			at++
		}
	}
}
