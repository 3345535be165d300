package hpo

import (
	"maps"
	"slices"

	"bilevel/internal/philox"
)

// trial is a point that a search has looked at.
type trial struct {
	x    []float64
	loss float64 // on the validation rows; +Inf where training failed
}

// A search proposes the next point of a space after some trials, of which the first was at the space's start. It
// depends on its arguments alone, so that a run that is resumed goes on in the same way.
type search func(s space, seed uint64, done []trial) []float64

// searches are those that look at losses alone, by name.
var searches = map[string]search{"grid": grid, "random": random, "tpe": tpe}

// BlackBox lists their names.
func BlackBox() []string { return slices.Sorted(maps.Keys(searches)) }

// grid goes through a grid that gets finer: the bits of the trial's number are dealt to the axes in turn, and each axis
// takes the radical inverse of its bits, the middle first. After 2^(a n) trials on a axes each has been looked at in
// 2^n equal steps. All hyperparameters of one axis have equal values, for a grid over more than a few axes is never
// gone through.
func grid(s space, _ uint64, done []trial) []float64 {
	axes := 0
	for _, h := range s {
		axes = max(axes, h.axis+1)
	}
	at, scale := make([]float64, axes), make([]float64, axes)
	for i := range scale {
		scale[i] = 1
	}
	for bits, i := len(done), 0; bits > 0; bits, i = bits/2, (i+1)%axes {
		scale[i] /= 2
		at[i] += scale[i] * float64(bits%2)
	}
	x := make([]float64, len(s))
	for j, h := range s {
		x[j] = h.lo + at[h.axis]*(h.hi-h.lo)
	}
	return x
}

// random draws a point of the box, uniformly.
func random(s space, seed uint64, done []trial) []float64 {
	from := philox.New(seed, uint32(len(done)), philox.StreamSearch)
	x := make([]float64, len(s))
	for j, h := range s {
		x[j] = h.lo + from.Float64()*(h.hi-h.lo)
	}
	return x
}
