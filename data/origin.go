package data

import (
	"cmp"
	"fmt"
	"math"
	"strconv"

	"bilevel/internal/npy"
)

// farShare is the range of a column as a share of its distance from 0 below which float32, of 24 bits, leaves fewer
// than 11 to tell its numbers apart.
const farShare = 1e-4

// ranges are the columns of a part before its numbers were rounded to float32: the first row, and how far the others
// lie below and above it.
type ranges struct{ first, below, above []float64 }

func rangesFrom(first []float64) *ranges {
	return &ranges{first, make([]float64, len(first)), make([]float64, len(first))}
}

// add counts a number in, given by its difference from that of the first row.
func (r *ranges) add(column int, difference float64) {
	r.below[column], r.above[column] = min(r.below[column], difference), max(r.above[column], difference)
}

// measure begins rows of text, whose numbers are added one by one, and takes the origin that is given for them.
func (r *rows) measure(origin []float64) {
	if len(origin) == r.dim() {
		r.origin = origin
		return
	}
	r.ranges = &ranges{}
}

// add appends a number, which is in this column.
func (r *rows) add(column int, v float64) {
	if r.origin != nil {
		v -= r.origin[column]
	} else if m := r.ranges; len(r.features) < r.dim() {
		m.first, m.below, m.above = append(m.first, v), append(m.below, 0), append(m.above, 0)
	} else {
		m.add(column, v-m.first[column])
	}
	r.features = append(r.features, float32(v))
}

// far is the first number of each column in which float32 tells few of the numbers apart, and 0 of the others; nil
// where there are no such columns.
func (r *ranges) far() (origin []float64) {
	if r == nil {
		return nil
	}
	for j, first := range r.first {
		if extent := r.above[j] - r.below[j]; extent > 0 && extent < farShare*max(first, -first) {
			if origin == nil {
				origin = make([]float64, len(r.first))
			}
			origin[j] = first
		}
	}
	return origin
}

// farNote names the columns that far found.
func farNote(origin []float64) string {
	var columns []string
	for j, first := range origin {
		if first != 0 {
			columns = append(columns, fmt.Sprintf("%d (near %g)", j, first))
		}
	}
	return fmt.Sprintf("columns whose numbers lie so far from 0 that float32 tells few of them apart: %s, counted "+
		"from 0; subtract a constant from each", fewOf(columns))
}

// isWide tells whether float32 does not hold all numbers of a type.
func isWide(t npy.DType) bool {
	switch t {
	case npy.Float64Type, npy.Int32Type, npy.Uint32Type, npy.Int64Type, npy.Uint64Type:
		return true
	}
	return false
}

// rangesOf measures the columns of an array of rows of so many numbers; nil where float32 holds them all. Numbers that
// are too large for float32 are an error.
func rangesOf(a *npy.Array, dim int) (*ranges, error) {
	if !isWide(a.DType) {
		return nil, nil
	}
	first := make([]float64, dim)
	row := &npy.Array{DType: a.DType, Shape: []int{dim}, Data: a.Data[:dim*a.DType.Size()]}
	if err := row.Differences(make([]float64, dim), func(j int, v float64) { first[j] = v }); err != nil {
		return nil, err
	}
	r := rangesFrom(first)
	var far error
	err := a.Differences(first, func(i int, d float64) {
		r.add(i%dim, d)
		if v := first[i%dim] + d; far == nil && beyond(v) && !math.IsInf(v, 0) {
			far = fmt.Errorf("row %d, column %d (counted from 0): %w", i/dim, i%dim,
				beyondError(strconv.FormatFloat(v, 'g', -1, 64)))
		}
	})
	return r, cmp.Or(err, far)
}

// less gives the numbers of an array less the origin of their columns, rounded to float32 after that.
func less(a *npy.Array, origin []float64) ([]float32, error) {
	features := make([]float32, a.Len())
	return features, a.Differences(origin, func(i int, d float64) { features[i] = float32(d) })
}
