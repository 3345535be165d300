package data

import (
	"math"
	"slices"
)

// Scaler maps each column j to (x - Mean[j]) / Deviation[j]. Where there is an origin, that of the set, what it is
// given is x - Origin[j].
type Scaler struct {
	Mean      []float64
	Deviation []float64 // never 0
	Origin    []float64 // see Set.Origin; nil: none
}

// Standardize measures the columns of train: the mean μ = Σx/n and the population deviation √(Σ(x-μ)²/n), in float64
// and two passes. A column of one value, whose deviation is 0, gets 1, so that it becomes 0.
//
// Measure the training rows only, then apply the Scaler to all parts.
func Standardize(train *Set) (*Scaler, error) {
	if err := train.checkSizes(); err != nil {
		return nil, err
	}
	if train.N() == 0 {
		return nil, usagef("data: there are no rows to standardize by")
	}
	if err := checkFinite(train.Features, train.Dim); err != nil {
		return nil, usagef("data: %v", err)
	}
	n, mean, dev := float64(train.N()), make([]float64, train.Dim), make([]float64, train.Dim)
	for i := range train.N() {
		for j, x := range train.Row(i) {
			mean[j] += float64(x)
		}
	}
	for j := range mean {
		mean[j] /= n
	}
	for i := range train.N() {
		for j, x := range train.Row(i) {
			d := float64(x) - mean[j]
			dev[j] += float64(d * d) // the conversion keeps the bits the same on machines that would fuse
		}
	}
	for j := range dev {
		if dev[j] = math.Sqrt(dev[j] / n); dev[j] == 0 {
			dev[j] = 1
		}
		mean[j] += train.origin(j)
	}
	return &Scaler{Mean: mean, Deviation: dev, Origin: train.Origin}, nil
}

// channels measures the channels of images, which lie side by side in a row, over all pixels of all rows: the mean and
// the population deviation, in float64 and two passes. A channel of one value gets the deviation 1.
func (s *Set) channels(c int) (*Scaler, error) {
	if err := s.checkSizes(); err != nil {
		return nil, err
	}
	if c < 1 || s.Dim%c != 0 || s.N() == 0 {
		return nil, usagef("data: %d rows of %d numbers are no images of %d channels", s.N(), s.Dim, c)
	}
	each := func(visit func(channel int, v float64)) {
		for i, v := range s.Bytes {
			visit(i%c, float64(v))
		}
		for i, v := range s.Features {
			visit(i%c, float64(v))
		}
	}
	n := float64(s.N() * (s.Dim / c))
	sums := &Scaler{Mean: make([]float64, c), Deviation: make([]float64, c)}
	each(func(k int, v float64) { sums.Mean[k] += v })
	for k := range c {
		sums.Mean[k] /= n
	}
	each(func(k int, v float64) { d := v - sums.Mean[k]; sums.Deviation[k] += float64(d * d) })
	for k, sum := range sums.Deviation {
		if sums.Deviation[k] = math.Sqrt(sum / n); sums.Deviation[k] == 0 {
			sums.Deviation[k] = 1
		}
	}
	return sums, nil
}

// Apply computes dst[i,j] = (src[i,j] + Origin[j] - Mean[j]) / Deviation[j], in float64 and rounded once. dst may be
// src.
func (s *Scaler) Apply(dst, src []float32) error {
	d := len(s.Mean)
	if d == 0 || len(s.Deviation) != d || s.Origin != nil && len(s.Origin) != d ||
		len(src)%d != 0 || len(dst) != len(src) {
		return usagef("data: %d features to standardize into %d, in rows of %d", len(src), len(dst), d)
	}
	mean := slices.Clone(s.Mean)
	for j, o := range s.Origin {
		mean[j] -= o
	}
	for ; len(src) > 0; dst, src = dst[d:], src[d:] {
		for j, x := range src[:d] {
			dst[j] = float32((float64(x) - mean[j]) / s.Deviation[j])
		}
	}
	return nil
}
