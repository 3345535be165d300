package data

import (
	"fmt"
	"slices"
)

// Preparation says what is made of a data set before a model sees it.
type Preparation struct {
	Train, Val int     // rows of the training part; where the set brings validation rows of its own, all of those
	Corrupt    float64 // each training label is redrawn from all classes with this probability
	NoOnes     bool    // leaves out the column of ones, for models with biases of their own
	// InOrder takes the first rows for training, the next for validation, and the last for the test, in place of rows
	// that are drawn at random.
	InOrder bool
	// Scale, where it is not nil, gives the scaling of all parts by the training rows, in place of Standardize.
	Scale func(train *Set) (*Scaler, error)
	// White, where it is not 0, says that features are pixels from 0 to White: they are divided by it and not
	// standardized, so that all are in [0, 1].
	White float64
	// Channels, where it is not 0, says that rows are images with so many channels, side by side, for models that
	// normalize their inputs themselves: features stay as they are, bytes too, and the Scaler has the mean and the
	// deviation of each channel over all pixels of the training rows.
	Channels int
}

// Prepared is a data set split, corrupted on request, and standardized by its training rows, with a column of ones at
// the end of each row, so that a model's bias is the weight of that column.
type Prepared struct {
	Train, Val, Test *Set
	Rows             []int32 // of the training rows in the source
	// Changed marks labels that are another than in the source, Drawn those drawn anew; both nil without corruption.
	Changed, Drawn []bool
	Classes        int
	Scaler         *Scaler // that all parts were scaled with
}

// leftOver is how many of a set's rows neither part takes.
func (p Preparation) leftOver(set *Dataset) int {
	n := set.Train.N() - p.Train
	if set.Val == nil {
		n -= p.Val
	}
	return n
}

// Check refuses sizes that a set cannot give.
func (p Preparation) Check(set *Dataset) error {
	wants, least := fmt.Sprintf("%d training", p.Train), 0
	if set.Val == nil {
		wants += fmt.Sprintf(" and %d validation rows", p.Val)
	} else {
		wants += " rows"
	}
	if set.Test == nil {
		wants, least = wants+", and some left for a test", 1
	}
	switch {
	case p.Train < 1 || p.Val < 1 || p.leftOver(set) < least:
		return usagef("its %d rows are not enough for %s", set.Train.N(), wants)
	case set.Val != nil && p.Val != set.Val.N():
		return usagef("it brings %d validation rows of its own, which are all used, not %d", set.Val.N(), p.Val)
	case set.Classes < 2:
		return usagef("all its labels are the same (%s): there must be at least two classes", set.ClassName(0))
	}
	return nil
}

// parts are the rows, of n, that parts of these sizes take.
func (p Preparation) parts(n int, seed uint64, sizes []int) (parts [][]int32, err error) {
	if !p.InOrder {
		return Split(n, seed, sizes...)
	}
	row := int32(0)
	for _, k := range sizes {
		part := make([]int32, k)
		for i := range part {
			part[i], row = row, row+1
		}
		parts = append(parts, part)
	}
	return parts, nil
}

// Prepare splits a set at random or in order, corrupts the training labels and standardizes all parts, scales them in
// another way that p asks for, or leaves them as they are and measures their Channels. A set without test rows of its
// own gives those that are left over. The source stays as it is; the result depends on the seed alone.
func Prepare(set *Dataset, p Preparation, seed uint64) (*Prepared, error) {
	if err := p.Check(set); err != nil {
		return nil, err
	}
	sizes := []int{p.Train}
	if set.Val == nil {
		sizes = append(sizes, p.Val)
	}
	if set.Test == nil {
		sizes = append(sizes, p.leftOver(set))
	}
	parts, err := p.parts(set.Train.N(), seed, sizes)
	if err != nil {
		return nil, err
	}
	d := &Prepared{Classes: set.Classes, Rows: parts[0], Val: set.Val, Test: set.Test}
	for _, part := range []struct {
		of  **Set
		own *Set
	}{{&d.Train, nil}, {&d.Val, set.Val}, {&d.Test, set.Test}} {
		if part.own != nil {
			continue
		}
		if *part.of, err = set.Train.Rows(parts[0]); err != nil {
			return nil, err
		}
		parts = parts[1:]
	}
	if p.Corrupt > 0 {
		truth := d.Train.Labels
		if d.Train.Labels, d.Drawn, err = Corrupt(truth, p.Corrupt, set.Classes, seed); err != nil {
			return nil, err
		}
		d.Changed = make([]bool, len(truth))
		for i := range truth {
			d.Changed[i] = truth[i] != d.Train.Labels[i]
		}
	}
	if p.Channels != 0 {
		d.Scaler, err = d.Train.channels(p.Channels)
		return d, err
	}
	scale := Standardize
	if p.Scale != nil {
		scale = p.Scale
	}
	if p.White != 0 {
		d.Scaler = &Scaler{Mean: make([]float64, d.Train.Dim),
			Deviation: slices.Repeat([]float64{p.White}, d.Train.Dim), Origin: d.Train.Origin}
	} else if d.Scaler, err = scale(d.Train); err != nil {
		return nil, err
	}
	return d, d.scale(!p.NoOnes)
}

// scale applies the scaler to all parts.
func (d *Prepared) scale(ones bool) (err error) {
	for _, part := range []struct {
		name string
		set  **Set
	}{{"training", &d.Train}, {"validation", &d.Val}, {"test", &d.Test}} {
		if *part.set, err = scaled(*part.set, d.Scaler, ones); err != nil {
			return err
		}
		if (*part.set).Check(d.Classes) != nil {
			return fmt.Errorf("a feature of a %s row is too large beside the training rows' to be divided by their "+
				"deviation: look for outliers in the data", part.name)
		}
	}
	return nil
}

// scaled standardizes into a new set, with one more column of ones where it is wanted.
func scaled(s *Set, scaler *Scaler, ones bool) (*Set, error) {
	scaled := make([]float32, len(s.Features))
	if err := scaler.Apply(scaled, s.Features); err != nil {
		return nil, err
	}
	if !ones {
		return &Set{Features: scaled, Labels: s.Labels, Dim: s.Dim}, nil
	}
	out := &Set{Features: make([]float32, 0, len(scaled)+s.N()), Labels: s.Labels, Dim: s.Dim + 1}
	for i := range s.N() {
		out.Features = append(append(out.Features, scaled[i*s.Dim:(i+1)*s.Dim]...), 1)
	}
	return out, nil
}

// Kept lists the training rows whose label did not change.
func (d *Prepared) Kept() (rows []int32) {
	for i, changed := range d.Changed {
		if !changed {
			rows = append(rows, int32(i))
		}
	}
	return rows
}
