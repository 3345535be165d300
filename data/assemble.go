package data

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// rows is one part of a data set as a reader gives it.
type rows struct {
	features []float32 // or bytes, whose scale is known
	bytes    []byte
	shape    []int // of one row
	labels   *labelColumn
	files    []string  // see Set.Files
	origin   []float64 // see Set.Origin
	ranges   *ranges   // nil where float32 holds the numbers of the source
	from     string    // what errors call the file of the features
}

// len is the number of features of all rows together.
func (r *rows) len() int { return len(r.features) + len(r.bytes) }

func (r *rows) dim() int {
	dim := 1
	for _, d := range r.shape {
		dim *= d
	}
	return dim
}

// check holds what all readers promise of one part.
func (r *rows) check(labelsFrom string) error {
	switch n := r.labels.len(); {
	case r.len() == 0:
		return fmt.Errorf("%s: there are no features in it", r.from)
	case r.len()/r.dim() != n:
		return fmt.Errorf("%s holds %d rows, but %s holds %d labels; they must be as many", r.from,
			r.len()/r.dim(), labelsFrom, n)
	case n > maxRows:
		return fmt.Errorf("%s: %d rows; at most %d can be numbered", r.from, n, maxRows)
	}
	if err := checkFinite(r.features, r.dim()); err != nil {
		return fmt.Errorf("%s: %w", r.from, err)
	}
	return nil
}

// assemble makes a data set of its parts: their rows must have one shape, and their labels are numbered together.
func assemble(name string, of [parts]*rows) (*Dataset, error) {
	train := of[trainPart]
	d := &Dataset{Name: name, Source: name, Shape: train.shape}
	of[testPart], d.Notes = known(of)
	columns := make([]*labelColumn, parts)
	for i, p := range of {
		if p == nil {
			continue
		}
		if !slices.Equal(p.shape, train.shape) {
			return nil, fmt.Errorf("%s: rows have the shape %v, but those of %s %v; all parts must agree",
				p.from, p.shape, train.from, train.shape)
		}
		columns[i] = p.labels
	}
	names, labels, err := mapLabels(columns...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", train.from, err)
	}
	d.ClassNames, d.Classes = names, len(names)
	for i, to := range []**Set{&d.Train, &d.Val, &d.Test} {
		if p := of[i]; p != nil {
			*to = &Set{Features: p.features, Bytes: p.bytes, Labels: labels[i], Dim: p.dim(), Files: p.files,
				Origin: p.origin}
		}
	}
	d.Notes = append(d.Notes, labelNotes(d)...)
	d.far = train.ranges.far()
	if train.bytes == nil {
		d.Notes = append(d.Notes, scaleNotes(d.Train)...)
	}
	return d, nil
}

// known leaves out the test rows whose labels are unknown, for nothing can be measured on them: all rows where there
// are no labels, and those with the label -1 where no other part has it.
func known(of [parts]*rows) (test *rows, notes []string) {
	test = of[testPart]
	if test == nil {
		return nil, nil
	}
	if test.labels == nil {
		return nil, []string{fmt.Sprintf("%s has no labels; it is left aside", test.from)}
	}
	unknown := wholeOf(-1)
	for i, p := range of {
		if part(i) != testPart && p != nil &&
			(slices.Contains(p.labels.numbers, unknown) || slices.Contains(p.labels.words, "-1")) {
			return test, nil
		}
	}
	dim, n := test.dim(), len(test.labels.numbers)
	labels := *test.labels
	left := &rows{shape: test.shape, labels: &labels, from: test.from, origin: test.origin}
	labels.numbers = nil
	for i, y := range test.labels.numbers {
		if y != unknown {
			labels.numbers = append(labels.numbers, y)
			if test.files != nil {
				left.files = append(left.files, test.files[i])
			}
			if test.bytes != nil {
				left.bytes = append(left.bytes, test.bytes[i*dim:(i+1)*dim]...)
			} else {
				left.features = append(left.features, test.features[i*dim:(i+1)*dim]...)
			}
		}
	}
	switch k := n - len(labels.numbers); {
	case k == 0:
		return test, nil
	case k == n:
		return nil, []string{fmt.Sprintf("%s: all labels are -1, which no other part has: they are taken for unknown, "+
			"and the rows are left aside", test.from)}
	default:
		return left, []string{fmt.Sprintf("%s: %d of %d rows have the label -1, which no other part has: it is taken "+
			"for unknown, and the rows are left aside", test.from, k, n)}
	}
}

// labelNotes says how labels were numbered, and what is odd about them.
func labelNotes(d *Dataset) (notes []string) {
	if !plainNames(d.ClassNames) {
		occur := fmt.Sprintf("%d classes occur", d.Classes)
		if d.Classes == 1 {
			occur = "one class occurs"
		}
		notes = append(notes, fmt.Sprintf("%s: %s", occur, describeClasses(d.ClassNames)))
	}
	if n := d.Train.N(); n >= 20 && d.Classes > n/2 {
		notes = append(notes,
			fmt.Sprintf("there are %d classes in %d training rows: are these labels, or numbers of the rows or "+
				"measurements?", d.Classes, n))
	}
	inTrain := make([]bool, d.Classes)
	for _, y := range d.Train.Labels {
		inTrain[y] = true
	}
	var missing []string
	for c, there := range inTrain {
		if !there {
			missing = append(missing, d.ClassName(int32(c)))
		}
	}
	if len(missing) > 0 {
		notes = append(notes, fmt.Sprintf("no training row has the label %s, which other parts have", fewOf(missing)))
	}
	return notes
}

// A row alone decides the scale of a column where the deviation of the other rows is below this share of that of all.
const aloneShare = 0.2

// scaleNotes names rows of s whose value in a column is so far out that, after the column is divided by its standard
// deviation, the other rows lie close together: without the row the deviation would be less than a fifth. Columns in
// which the other rows have one value lose nothing and are not named.
func scaleNotes(s *Set) (notes []string) {
	n := s.N()
	if n < 10 {
		return nil
	}
	columns := make([]spread, s.Dim)
	each := func(visit func(c *spread, row int32, x float64)) {
		for i := range n {
			for j, v := range s.Row(i) {
				visit(&columns[j], int32(i), float64(v))
			}
		}
	}
	each(func(c *spread, _ int32, x float64) { c.mean += x / float64(n) })
	each(func(c *spread, row int32, x float64) {
		if d := math.Abs(x - c.mean); d > c.distance {
			c.far, c.distance = row, d
		}
	})
	each(func(c *spread, row int32, x float64) {
		c.all += (x - c.mean) * (x - c.mean)
		if row == c.far {
			return
		}
		if !c.begun {
			c.begun, c.first = true, x
		}
		c.vary = c.vary || x != c.first
		c.others += x / float64(n-1)
	})
	each(func(c *spread, row int32, x float64) {
		if row != c.far {
			c.rest += (x - c.others) * (x - c.others)
		}
	})
	var found []string
	for j, c := range columns {
		if c.vary && c.rest < aloneShare*aloneShare*c.all {
			found = append(found, fmt.Sprintf("row %d in column %d (its value is %v)", c.far, j,
				float32(s.origin(j)+float64(s.Row(int(c.far))[j]))))
		}
	}
	if len(found) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("a training row alone decides the scale of a column, beside which the other rows "+
		"lie close together: %s, counted from 0; is it an error of measurement or a code for a missing value?",
		fewOf(found))}
}

// spread is what scaleNotes gathers of a column: the row that is farthest from the mean, and the squared deviations of
// all rows and of all but that one.
type spread struct {
	far          int32
	distance     float64
	mean, all    float64
	others, rest float64
	begun, vary  bool
	first        float64
}

// fewOf joins the first few of a list and counts the rest.
func fewOf(list []string) string {
	const shown = 5
	if len(list) > shown {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:shown], ", "), len(list)-shown)
	}
	return strings.Join(list, ", ")
}
