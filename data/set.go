package data

import (
	"fmt"
	"math"
	"strconv"
)

// Limits of a Set: rows are numbered by int32, and there is memory of the order of the classes in every model.
const (
	maxRows    = math.MaxInt32
	maxClasses = 1 << 20
)

// Dataset is what Open returns.
type Dataset struct {
	Name    string   // as it was asked for
	Source  string   // the folder, or "embedded"
	Shape   []int    // of one row, such as [28 28] or [32 32 3]; its product is the Dim of every part
	Classes int      // labels are 0 … Classes-1 in every part
	Columns []string // the names of a table's features; nil elsewhere
	// ZeroBased says that the first index of the LIBSVM files that it is from is 0, not 1.
	ZeroBased bool
	Dropped   int // training rows left out because the test part has the same features

	// ClassNames[y] is what the source calls the class that is numbered y, such as -1 or setosa. Classes are those that
	// occur in any part, in sorted order. See ClassName.
	ClassNames []string
	// Notes say what a user should know of the set before believing results, a sentence each without a full stop.
	Notes []string

	Train *Set
	Val   *Set // nil where the source has none
	Test  *Set // nil where the source has none

	far []float64 // the origin with which float32 would tell the numbers apart that it does not; nil: none is needed
}

// ClassName returns what the source calls the class y: outputs for people name labels by it. It is y itself where the
// set has no names.
func (d *Dataset) ClassName(y int32) string {
	if 0 <= y && int(y) < len(d.ClassNames) {
		return d.ClassNames[y]
	}
	return strconv.Itoa(int(y))
}

// Widened returns the set with numbers in place of bytes in all parts, for models and methods that need them. The set
// itself stays as it is, for others may have use for its bytes.
func (d *Dataset) Widened() *Dataset {
	wide := *d
	for _, part := range []**Set{&wide.Train, &wide.Val, &wide.Test} {
		if *part == nil || (*part).Bytes == nil {
			continue
		}
		s := **part
		s.Features, s.Bytes = make([]float32, len(s.Bytes)), nil
		for i, b := range (*part).Bytes {
			s.Features[i] = float32(b)
		}
		*part = &s
	}
	return &wide
}

// Renumbered tells whether a class is called otherwise than by its number.
func (d *Dataset) Renumbered() bool { return !plainNames(d.ClassNames) }

// Set is labelled rows. Their features are numbers, or bytes where Options.Bytes asked for them and the source has
// bytes: exactly one of the slices is set.
type Set struct {
	Features []float32 // [N, Dim], row-major
	Bytes    []byte    // [N, Dim], row-major
	Labels   []int32   // [N]
	Dim      int       // features of a row
	// Files[i] is the image file that row i was read from, below the folder or archive; nil where rows have no files.
	Files []string
	// Origin[j] was subtracted from column j before its numbers were rounded to float32; nil: nothing. All parts of a
	// set have one origin.
	Origin []float64
}

// N returns the number of rows.
func (s *Set) N() int { return len(s.Labels) }

// Row returns the features of row i, not copied, 0 ≤ i < N, of a set whose features are numbers.
func (s *Set) Row(i int) []float32 { return s.Features[i*s.Dim : (i+1)*s.Dim : (i+1)*s.Dim] }

// origin is what was subtracted from column j.
func (s *Set) origin(j int) float64 {
	if s.Origin == nil {
		return 0
	}
	return s.Origin[j]
}

// Rows returns a new Set of the given rows in the given order; a row may come several times.
func (s *Set) Rows(rows []int32) (*Set, error) {
	if err := s.checkSizes(); err != nil {
		return nil, err
	}
	sub := &Set{Labels: make([]int32, len(rows)), Dim: s.Dim, Origin: s.Origin}
	if s.Bytes != nil {
		sub.Bytes = make([]byte, 0, len(rows)*s.Dim)
	} else {
		sub.Features = make([]float32, 0, len(rows)*s.Dim)
	}
	for j, i := range rows {
		if i < 0 || int(i) >= s.N() {
			return nil, usagef("data: row %d of a set of %d rows", i, s.N())
		}
		if s.Bytes != nil {
			sub.Bytes = append(sub.Bytes, s.Bytes[int(i)*s.Dim:(int(i)+1)*s.Dim]...)
		} else {
			sub.Features = append(sub.Features, s.Row(int(i))...)
		}
		sub.Labels[j] = s.Labels[i]
		if s.Files != nil {
			sub.Files = append(sub.Files, s.Files[i])
		}
	}
	return sub, nil
}

// Check holds what every reader of this package guarantees: as many features as N·Dim, all finite, and labels in
// 0 … classes-1. The error names the first row, counted from 0, that breaks it.
func (s *Set) Check(classes int) error {
	if err := s.checkSizes(); err != nil {
		return err
	}
	if err := checkFinite(s.Features, s.Dim); err != nil {
		return fmt.Errorf("data: %w", err)
	}
	if err := checkLabels(s.Labels, classes); err != nil {
		return fmt.Errorf("data: %w", err)
	}
	return nil
}

func (s *Set) checkSizes() error {
	n, features := s.N(), len(s.Features)
	if s.Bytes != nil && s.Features != nil {
		return usagef("data: a set has either numbers or bytes for features, not both")
	}
	if s.Bytes != nil {
		features = len(s.Bytes)
	}
	if s.Dim < 1 || n > maxRows || features%s.Dim != 0 || features/s.Dim != n {
		return usagef("data: %d features and %d labels are no set of rows of %d features", features, n, s.Dim)
	}
	return nil
}

// checkFinite finds NaN and infinities in features [n, dim].
func checkFinite(features []float32, dim int) error {
	var first error
	var others []string
	last := -1
	for i, v := range features {
		if v-v == 0 || i/dim == last {
			continue
		}
		last = i / dim
		if first == nil {
			first = fmt.Errorf("row %d, column %d (counted from 0) is %v; every feature must be a finite float32",
				last, i%dim, v)
		} else {
			others = append(others, strconv.Itoa(last))
		}
	}
	if len(others) > 0 {
		return fmt.Errorf("%w, which rows %s are not either: leave these rows out or fill their values in", first,
			fewOf(others))
	}
	if first != nil {
		return fmt.Errorf("%w: leave the row out or fill its value in", first)
	}
	return nil
}

// checkLabels finds labels outside 0 … classes-1.
func checkLabels(labels []int32, classes int) error {
	for i, y := range labels {
		if y < 0 || int(y) >= classes {
			return fmt.Errorf("the label of row %d (counted from 0) is %d; it must be in 0 … %d", i, y, classes-1)
		}
	}
	return nil
}
