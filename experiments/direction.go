package experiments

import (
	"math"

	"bilevel/solvers/hypergrad"
	"bilevel/solvers/linear"

	"gonum.org/v1/gonum/floats"
)

// Direction is what a certified hypergradient ∇h says, at a point of a run, of the direction d that x moves against.
type Direction struct {
	Share  float64 // |C v| / |∇h|, of the implicit term in the hypergradient
	Cosine float64 // of the angle between d and ∇h; 0 where d is 0, with which x does not move
	Error  float64 // the figure of ∇h's error, over |∇h|; uncertified where there is none
}

// DirectionColumns are the names of a Direction's numbers as columns of curves and as scalars of records.
var DirectionColumns = []string{"direction.share", "direction.cosine", "direction.error"}

// NewDirection compares a direction with a hypergradient.
func NewDirection(h *hypergrad.Hypergradient, d []float64) Direction {
	own, of := floats.Norm(d, 2), h.Norm()
	c := Direction{Error: h.Error / of}
	if share := h.Share(); !math.IsNaN(share) && !math.IsInf(share, 0) {
		c.Share = share
	}
	if own > 0 && of > 0 {
		c.Cosine = floats.Dot(d, h.Gradient) / (own * of)
	}
	if h.Status != linear.Converged || !(c.Error < uncertified) {
		c.Error = uncertified
	}
	return c
}

// Row is the numbers in the order of DirectionColumns.
func (d Direction) Row() []float64 { return []float64{d.Share, d.Cosine, d.Error} }

// NoDirection is the row of a point at which nothing was looked at. Curves have numbers alone.
func NoDirection() []float64 { return []float64{0, 0, -1} }

// uncertified is the error of a hypergradient of which nothing is known.
const uncertified = math.MaxFloat32

// certified is the largest figure of error, over |∇h|, with which a hypergradient is held to be known.
const certified = 0.1

// Directions keeps means over the points whose hypergradient is known to a tenth, and counts those and all that were
// looked at. Where there are none no mean is kept.
func (r *Record) Directions(list []Direction) {
	var sum [3]float64
	n := 0.0
	for _, d := range list {
		if d.Error <= certified {
			n++
			for i, v := range d.Row() {
				sum[i] += v
			}
		}
	}
	r.Counts["direction.points"], r.Counts["direction.certified"] = int64(len(list)), int64(n)
	if n == 0 {
		return
	}
	for i, name := range DirectionColumns {
		r.Scalars[name] = sum[i] / n
	}
}

// Directions are the points of a curve at which something was looked at.
func (c Curve) Directions() (list []Direction) {
	share, cosine, figure := c.Column(DirectionColumns[0]), c.Column(DirectionColumns[1]),
		c.Column(DirectionColumns[2])
	for i := range share {
		if figure[i] >= 0 {
			list = append(list, Direction{share[i], cosine[i], figure[i]})
		}
	}
	return list
}
