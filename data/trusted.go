package data

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"bilevel/internal/npy"
)

// Judging says which rows of a data set are judged and which are trusted.
type Judging struct {
	// Trusted marks training rows whose labels are known to be right. nil: the set's validation rows are the trusted
	// ones, if it has some, or those of Val.
	Trusted []bool
	// Corrupt redraws each judged label from all classes with this probability, to see it found. The source's labels
	// are the truth then, and where the set brings no validation rows, Val of its training rows, drawn at random, are
	// trusted; Train others are judged, and the rest is the test part of a set that brings none.
	Corrupt    float64
	Train, Val int
}

// Judged is a data set prepared for finding wrong labels, standardized by the rows that are judged.
type Judged struct {
	Train *Set    // the rows that are judged and trained on
	Rows  []int32 // their places in the training file
	// Trusted is nil where no row is trusted. TrustedRows are the places in the training file of its last rows, as many
	// as come from there; the others are rows of a file of their own.
	Trusted     *Set
	TrustedRows []int32
	Provisional int  // of the trusted rows, the last so many stand in for classes without trusted rows
	Test        *Set // nil where there are no test rows

	// Changed marks labels that are another than in the source, Drawn those drawn anew; both nil without corruption.
	Changed, Drawn []bool
	Classes        int
	Scaler         *Scaler // by which all parts were standardized
	Warnings       []string

	name func(class int32) string // for people
}

// TrustedFile is the name of the array that marks trusted rows in a folder of data.
const TrustedFile = "trusted.npy"

// ReadTrusted reads which of n training rows are trusted: an array [n] of 0 and 1, numbers or booleans.
func ReadTrusted(path string, n int) ([]bool, error) {
	a, err := npy.ReadFile(path)
	if err != nil {
		return nil, err
	}
	const wants = "an array with 1 for each training row whose label is known to be right and 0 for the others: " +
		"np.save('" + TrustedFile + "', mask.astype('uint8'))"
	if len(a.Shape) != 1 || a.Shape[0] != n {
		return nil, fmt.Errorf("%s: the shape is %v, but there are %d training rows; wants %s", path, a.Shape, n, wants)
	}
	values, err := a.Float32s()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	trusted := make([]bool, n)
	for i, v := range values {
		if v != 0 && v != 1 {
			return nil, fmt.Errorf("%s: entry %d (counted from 0) is %v; wants %s", path, i, v, wants)
		}
		trusted[i] = v == 1
	}
	return trusted, nil
}

// FindTrusted reads the marks of trusted rows: of the file given, or of trusted.npy in the set's folder; nil where
// there is neither.
func FindTrusted(set *Dataset, file string) ([]bool, error) {
	file, err := TrustedPath(set, file)
	if err != nil || file == "" {
		return nil, err
	}
	if set.Val != nil {
		return nil, fmt.Errorf("trusted rows are named twice, by %s and by the set's validation rows: keep "+
			"one of the two", file)
	}
	return ReadTrusted(file, set.Train.N())
}

// TrustedPath is the file that FindTrusted reads, empty where there is none.
func TrustedPath(set *Dataset, file string) (string, error) {
	if file != "" {
		return file, nil
	}
	if info, err := os.Stat(set.Source); err != nil || !info.IsDir() {
		return "", nil // a file, or an embedded set
	}
	file = filepath.Join(set.Source, TrustedFile)
	if there, err := exists(file); err != nil || !there {
		return "", err
	}
	return file, nil
}

// Judge prepares a data set. The source stays as it is; the result depends on the seed alone.
func Judge(set *Dataset, j Judging, seed uint64) (*Judged, error) {
	d := &Judged{Classes: set.Classes, Test: set.Test, name: set.ClassName}
	if set.Classes < 2 {
		return nil, usagef("all its labels are 0: there must be at least two classes")
	}
	all := make([]int32, set.Train.N())
	for i := range all {
		all[i] = int32(i)
	}
	var trusted, test []int32
	switch {
	case j.Trusted != nil:
		for _, i := range all {
			if j.Trusted[i] {
				trusted = append(trusted, i)
			} else {
				d.Rows = append(d.Rows, i)
			}
		}
	case set.Val == nil && j.Corrupt > 0:
		if err := (Preparation{Train: j.Train, Val: j.Val}).Check(set); err != nil {
			return nil, err
		}
		left := set.Train.N() - j.Train - j.Val
		if set.Test != nil {
			left = 0
		}
		parts, err := Split(set.Train.N(), seed, j.Train, j.Val, left)
		if err != nil {
			return nil, err
		}
		d.Rows, trusted, test = parts[0], parts[1], parts[2]
	default:
		d.Rows = all
	}
	var err error
	if d.Train, err = set.Train.Rows(d.Rows); err != nil {
		return nil, err
	}
	if len(d.Rows) < 2 {
		return nil, fmt.Errorf("%d rows are left to be judged: at least two must not be trusted", len(d.Rows))
	}
	if j.Corrupt > 0 {
		if err := d.corrupt(j.Corrupt, seed); err != nil {
			return nil, err
		}
	}
	if d.Trusted = set.Val; len(trusted) > 0 {
		d.TrustedRows = trusted
		if d.Trusted, err = set.Train.Rows(trusted); err != nil {
			return nil, err
		}
	}
	if len(test) > 0 {
		if d.Test, err = set.Train.Rows(test); err != nil {
			return nil, err
		}
	}
	if d.Trusted == nil {
		d.warnOfStrays()
	} else if err := d.checkTrusted(); err != nil {
		return nil, err
	}
	return d, d.standardize()
}

func (d *Judged) corrupt(p float64, seed uint64) (err error) {
	truth := d.Train.Labels
	if d.Train.Labels, d.Drawn, err = Corrupt(truth, p, d.Classes, seed); err != nil {
		return err
	}
	d.Changed = make([]bool, len(truth))
	for i := range truth {
		d.Changed[i] = truth[i] != d.Train.Labels[i]
	}
	return nil
}

// byClass lists the rows of each class.
func byClass(s *Set, classes int) [][]int32 {
	rows := make([][]int32, classes)
	for i, y := range s.Labels {
		rows[y] = append(rows[y], int32(i))
	}
	return rows
}

// strayRows is the largest number of rows that a label may have which no trusted row carries, to be taken for a mistake
// rather than for a class.
const strayRows = 3

// Stray tells whether a label on so few of all judged rows is taken for a mistake where no trusted row carries it: on
// at most three, and on less than a tenth of what a class has on average.
func Stray(rows, all, classes int) bool {
	return rows > 0 && rows <= strayRows && 10*rows*classes < all
}

// namedClasses is how many classes with the same fault are named.
const namedClasses = 3

// warnOfClasses adds the sentences, one a class, and says how many more classes there are where they are many.
func (d *Judged) warnOfClasses(sentences []string) {
	if more := len(sentences) - namedClasses; more > 1 {
		sentences = append(sentences[:namedClasses:namedClasses], fmt.Sprintf("so it is with %d more classes", more))
	}
	d.Warnings = append(d.Warnings, sentences...)
}

// warnOfStrays names the labels that nothing can be learned of where no rows are trusted.
func (d *Judged) warnOfStrays() {
	var sentences []string
	for c, rows := range byClass(d.Train, d.Classes) {
		if Stray(len(rows), d.Train.N(), d.Classes) {
			sentences = append(sentences, fmt.Sprintf("the label %s occurs in %s (the first is row %d): that is too "+
				"few to learn what it means, so that it is suggested for no row", d.name(int32(c)),
				trainingRows(len(rows)), d.Rows[rows[0]]))
		}
	}
	d.warnOfClasses(sentences)
}

func trainingRows(n int) string {
	if n == 1 {
		return "1 training row"
	}
	return fmt.Sprintf("%d training rows", n)
}

// checkTrusted holds the trusted rows against those that are judged.
func (d *Judged) checkTrusted() error {
	judged, trusted := byClass(d.Train, d.Classes), byClass(d.Trusted, d.Classes)
	present := 0
	var each []int
	for c := range judged {
		if len(judged[c]) == 0 && len(trusted[c]) > 0 {
			return fmt.Errorf(
				"the label %s of trusted row %d occurs in no training row: the model could not learn to find it; "+
					"look whether both files number the classes alike", d.name(int32(c)), trusted[c][0])
		}
		if len(judged[c]) > strayRows || len(trusted[c]) > 0 {
			present++
		}
		if len(trusted[c]) > 0 {
			each = append(each, len(trusted[c]))
		}
	}
	if n := d.Trusted.N(); n < present {
		return fmt.Errorf("there are %d trusted rows for %d classes: each class wants a few, some hundred rows "+
			"together are good", n, present)
	}
	if err := d.checkCopies(); err != nil {
		return err
	}
	slices.Sort(each)
	return d.standIn(judged, trusted, each[len(each)/2])
}

// standIn moves some rows of classes without trusted rows to the trusted ones: a model that never saw the class would
// call all of its rows wrong.
func (d *Judged) standIn(judged, trusted [][]int32, each int) error {
	moved := make([]bool, d.Train.N())
	count := 0
	var stray, absent []string
	for c := range judged {
		if len(trusted[c]) > 0 || len(judged[c]) == 0 {
			continue
		}
		if len(judged[c]) <= strayRows {
			stray = append(stray,
				fmt.Sprintf("the label %s occurs in %s (the first is row %d) and in no trusted one: what carries it "+
					"is taken for wrong", d.name(int32(c)), trainingRows(len(judged[c])), d.Rows[judged[c][0]]))
			continue
		}
		k := min(each, (len(judged[c])+1)/2)
		for _, i := range judged[c][:k] {
			moved[i] = true
		}
		count += k
		absent = append(absent,
			fmt.Sprintf("class %s has no trusted rows: %d of its %d training rows stand in for them, so that wrong "+
				"labels in this class are found worse; trust a few rows of it", d.name(int32(c)), k, len(judged[c])))
	}
	d.warnOfClasses(absent)
	d.warnOfClasses(stray)
	if count == 0 {
		return nil
	}
	var keep, take []int32
	for i, m := range moved {
		if m {
			take = append(take, int32(i))
		} else {
			keep = append(keep, int32(i))
		}
	}
	more, err := d.Train.Rows(take)
	if err != nil {
		return err
	}
	d.Trusted = &Set{
		Dim: more.Dim, Features: append(slices.Clone(d.Trusted.Features), more.Features...),
		Labels: append(slices.Clone(d.Trusted.Labels), more.Labels...), Origin: more.Origin,
	}
	d.Provisional = count
	for _, i := range take {
		d.TrustedRows = append(d.TrustedRows, d.Rows[i])
	}
	return d.keep(keep)
}

// keep leaves only some of the judged rows.
func (d *Judged) keep(rows []int32) (err error) {
	if d.Train, err = d.Train.Rows(rows); err != nil {
		return err
	}
	places := make([]int32, len(rows))
	for k, i := range rows {
		places[k] = d.Rows[i]
	}
	d.Rows = places
	for _, marks := range []*[]bool{&d.Changed, &d.Drawn} {
		if *marks == nil {
			continue
		}
		kept := make([]bool, len(rows))
		for k, i := range rows {
			kept[k] = (*marks)[i]
		}
		*marks = kept
	}
	return nil
}

func (d *Judged) standardize() error {
	scaler, err := Standardize(d.Train)
	if err != nil {
		return err
	}
	d.Warnings = append(d.Warnings, scaler.guard(d.Train, d.Rows)...)
	d.Scaler = scaler
	for _, part := range []**Set{&d.Train, &d.Trusted, &d.Test} {
		s := *part
		if s == nil {
			continue
		}
		scaled := &Set{Features: make([]float32, len(s.Features)), Labels: s.Labels, Dim: s.Dim}
		if err := scaler.Apply(scaled.Features, s.Features); err != nil {
			return err
		}
		for i, v := range scaled.Features { // only an outlier comes near this limit
			scaled.Features[i] = max(-farthest, min(farthest, v))
		}
		*part = scaled
	}
	return nil
}
