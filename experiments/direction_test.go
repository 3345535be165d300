package experiments

import (
	"math"
	"testing"

	"bilevel/solvers/hypergrad"
	"bilevel/solvers/linear"

	"github.com/stretchr/testify/require"
)

// The cosine is that of plain numbers, a direction of 0 has none, and what is not known to a tenth is in no mean.
func TestDirections(t *testing.T) {
	h := &hypergrad.Hypergradient{Gradient: []float64{3, 4}, Implicit: 2.5, Error: 0.05, Status: linear.Converged}
	d := NewDirection(h, []float64{1, 0})
	require.InDelta(t, 0.6, d.Cosine, 1e-15)
	require.InDelta(t, 0.5, d.Share, 1e-15)
	require.InDelta(t, 0.01, d.Error, 1e-15)
	require.InDelta(t, -1, NewDirection(h, []float64{-3, -4}).Cosine, 1e-15)
	still := NewDirection(h, []float64{0, 0})
	require.Zero(t, still.Cosine)

	unknown := *h
	unknown.Status = linear.NegativeCurvature
	stated := *h
	stated.Error = math.Inf(1)
	r := NewRecord()
	r.Directions([]Direction{d, NewDirection(&unknown, []float64{0, 1}), NewDirection(&stated, []float64{0, 1}), still})
	require.EqualValues(t, 4, r.Counts["direction.points"])
	require.EqualValues(t, 2, r.Counts["direction.certified"])
	require.InDelta(t, 0.3, r.Scalars["direction.cosine"], 1e-15)
	none := NewRecord()
	none.Directions([]Direction{NewDirection(&unknown, []float64{0, 1})})
	require.NotContains(t, none.Scalars, "direction.cosine")

	c := Curve{Columns: append([]string{"iteration"}, DirectionColumns...)}
	c.Rows = [][]float64{append([]float64{0}, NoDirection()...), append([]float64{5}, d.Row()...)}
	require.Equal(t, []Direction{d}, c.Directions(), "only the points that were looked at")
}
