package prune_test

import (
	"math"
	"testing"

	"bilevel/models"
	"bilevel/solvers/prune"

	"github.com/stretchr/testify/require"
)

// A variant's direction is what it is compared by with the dense hypergradient, for the elements that are ranked; that
// of the public program follows from θ ⊙ ∇F element by element.
func TestDirection(t *testing.T) {
	ex := executor(t, "ref")
	s := newSmall(t, false, false, 0)
	mask := s.mask(t, ex)
	const gamma = 3.0
	list, err := prune.Comparison{Task: s.task, Gamma: []float64{gamma}, Rate: 0.1}.Compare(background, ex, s.theta,
		mask)
	require.NoError(t, err)
	b, err := s.task.Bind(ex, s.theta, mask)
	require.NoError(t, err)
	defer b.Close()
	ranked := make([]bool, len(s.theta))
	for _, a := range s.task.Structure.Params {
		for i := range a.Size() {
			ranked[a.Off+i] = models.IsWeight(a)
		}
	}
	direction := func(m prune.BiP) []float64 {
		d, err := m.Direction(background, s.task, b, s.theta, mask)
		require.NoError(t, err)
		return d
	}
	for _, row := range []string{prune.RowBiP, prune.RowNoImplicit, prune.RowExact} {
		m := prune.BiP{Row: row, InverseGamma: 1 / gamma, CGTolerance: 1e-12, CGSteps: 500}
		if row == prune.RowNoImplicit {
			m.InverseGamma = 0
		}
		d, want := direction(m), rows(list, row)[0].Gradient
		for i := range d {
			if ranked[i] {
				require.InDelta(t, want[i], d[i], 1e-9, "%s, element %d", row, i)
			} else {
				require.Zero(t, d[i])
			}
		}
	}
	plain := rows(list, prune.RowNoImplicit)[0].Gradient // θ ⊙ ∇F
	for i, v := range direction(prune.BiP{Row: prune.RowOfficial, InverseGamma: 0.5}) {
		if ranked[i] {
			sign := math.Copysign(1, s.theta[i])
			a := sign * plain[i] // |θ| ∇F
			require.InDelta(t, sign*(a-0.5*a*a), v, 1e-12)
		}
	}
	_, err = prune.BiP{Row: prune.RowUnrolled}.Direction(background, s.task, b, s.theta, mask)
	require.ErrorContains(t, err, "every variant but bip-unrolled")
}
