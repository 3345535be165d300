package data

import (
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"bilevel/internal/exactread"
	"bilevel/internal/npy"
)

// arraySource is a NumPy array in a file or in an archive of them.
type arraySource struct {
	name string   // what errors call it
	said []string // the words of its name that may tell its role
	load func() (*npy.Array, error)
}

// npySources are the .npy files among names in dir.
func npySources(dir string, names []string) []arraySource {
	var all []arraySource
	for _, name := range names {
		path := filepath.Join(dir, name)
		all = append(all, arraySource{path, wordsOf(strings.TrimSuffix(name, npy.Suffix)), func() (*npy.Array, error) {
			return npy.ReadAnyFile(path)
		}})
	}
	return all
}

// npzSources are the arrays of an .npz file. Arrays that numpy.savez was given without names are arr_0 and arr_1:
// features and labels. The caller closes the file.
func npzSources(path string) (all []arraySource, _ io.Closer, err error) {
	archive, size, err := exactread.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			archive.Close()
		}
	}()
	members, err := npy.Members(archive, size)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	file := wordsOf(strings.TrimSuffix(strings.ToLower(filepath.Base(path)), ".npz"))
	fileRole := roleOf(file)
	known := false
	for _, m := range members {
		if m.Name == "indptr" {
			return nil, nil,
				fmt.Errorf("%s holds a sparse matrix of SciPy; save it dense: numpy.savez(%q, x=m.toarray(), y=y)",
					path, filepath.Base(path))
		}
		words := wordsOf(m.Name)
		r := roleOf(words)
		known = known || r.labels || r.image
		if fileRole.partSaid && !r.partSaid {
			words = append(words, file...)
		}
		name := fmt.Sprintf("%s, array %s", path, m.Name)
		all = append(all, arraySource{name, words, func() (*npy.Array, error) {
			a, err := m.ReadAny()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			return a, nil
		}})
	}
	if known {
		return all, archive, nil
	}
	for i, m := range members { // the order in which numpy.savez was given them, or a file with one array
		switch {
		case len(all) == 1:
			all[i].said = append(all[i].said, file...)
		case m.Name == "arr_0":
			all[i].said = append(all[i].said, "x")
		case m.Name == "arr_1":
			all[i].said = append(all[i].said, "y")
		}
	}
	return all, archive, nil
}

// arrayParts reads the pairs of arrays among the sources. where is the folder or archive they are in.
func arrayParts(where string, sources []arraySource, o Options) ([parts]*rows, error) {
	var of [parts]*rows
	byName := map[string]arraySource{}
	var names []string
	for _, s := range sources {
		byName[s.name] = s
		names = append(names, s.name)
	}
	pairs, err := pairUp(names, func(name string) []string { return byName[name].said }, isCanonicalArray)
	if err != nil {
		return of, err
	}
	for i, p := range pairs {
		switch {
		case p == pairing{} && part(i) == trainPart:
			return of, fmt.Errorf("%s: the training features are missing, such as train_x.npy: %w", where,
				fs.ErrNotExist)
		case p == pairing{}:
			continue
		case p.features == "":
			return of, fmt.Errorf("%s is there, but the %v features are missing, such as %s_x.npy: %w",
				p.labels, part(i), arrayPart(i), fs.ErrNotExist)
		case p.labels == "" && !o.Unlabelled && part(i) == testPart: // nothing can be measured on them
			of[i] = &rows{from: p.features}
			continue
		case p.labels == "" && !o.Unlabelled:
			return of, fmt.Errorf("%s is there, but the %v labels are missing, such as %s_y.npy: %w",
				p.features, part(i), arrayPart(i), fs.ErrNotExist)
		}
		if of[i], err = arrayPair(byName[p.features], byName[p.labels], o); err != nil {
			return of, err
		}
	}
	return of, nil
}

// arrayPart is what a part is called in the names that the documentation gives.
func arrayPart(i int) string { return [...]string{"train", "val", "test"}[i] }

func isCanonicalArray(name string) bool {
	for i := range int(parts) {
		if name == arrayPart(i)+"_x.npy" || name == arrayPart(i)+"_y.npy" {
			return true
		}
	}
	return false
}

// arrayPair reads features [n, …] and their labels, which are 0 where y has nothing to load.
func arrayPair(x, y arraySource, o Options) (*rows, error) {
	a, err := x.load()
	if err != nil {
		return nil, err
	}
	if a.DType.IsText() {
		return nil, fmt.Errorf("%s: the features are text; save numbers, for numbers written as text a.astype('<f4')",
			x.name)
	}
	if len(a.Shape) == 0 {
		return nil, fmt.Errorf("%s: it is a single number; features are an array of the shape [rows, features]", x.name)
	}
	if len(a.Shape) < 2 {
		return nil, fmt.Errorf("%s: the shape is %v; features need at least two dimensions, rows first: save "+
			"x.reshape(len(x), -1)",
			x.name, a.Shape)
	}
	if a.Len() == 0 {
		return nil, fmt.Errorf("%s: the shape is %v; there are no features in it", x.name, a.Shape)
	}
	r := &rows{shape: a.Shape[1:], labels: &labelColumn{}, from: x.name}
	switch {
	case len(o.Origin) > 0 && len(o.Origin) == r.dim():
		r.origin = o.Origin
		r.features, err = less(a, o.Origin)
	case a.DType == npy.Uint8Type:
		r.bytes, err = npy.Values[uint8](a)
	default:
		if r.features, err = a.Float32s(); err == nil {
			r.ranges, err = rangesOf(a, r.dim())
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", x.name, err)
	}
	n := a.Shape[0]
	if y.load == nil {
		r.labels.numbers = make([]whole, n)
		return r, r.check(x.name)
	}
	if a, err = y.load(); err != nil {
		return nil, err
	}
	if err := r.labels.fromArray(a, n); err != nil {
		return nil, fmt.Errorf("%s: %w", y.name, err)
	}
	return r, r.check(y.name)
}

// fromArray makes labels of an array for n rows: one label a row in any shape that has no other dimension, or one-hot.
func (c *labelColumn) fromArray(a *npy.Array, n int) error {
	longest := 1
	for _, d := range a.Shape {
		longest = max(longest, d)
	}
	if len(a.Shape) == 0 || a.Len() != longest && (len(a.Shape) != 2 || a.Shape[0] != n) {
		return fmt.Errorf(
			"labels of the shape %v for %d rows of features; save one label a row, an array of the shape [%d]",
			a.Shape, n, n)
	}
	if a.DType.IsText() {
		words, err := a.Strings()
		if err != nil {
			return err
		}
		if a.Len() != longest || n == 1 && longest > 1 {
			return fmt.Errorf("labels of the shape %v in words; save the column that is the label, y[:, 0]", a.Shape)
		}
		for i, word := range words {
			if missingLabel[word] {
				return fmt.Errorf(
					"the label of row %d (counted from 0) is missing (%q); leave such rows out, or give them a "+
						"word of their own",
					i, word)
			}
		}
		c.fromWords(words)
		return nil
	}
	if a.Len() != longest || n == 1 && longest > 1 {
		values, err := a.Float32s()
		if err != nil {
			return err
		}
		k := a.Len() / n
		return c.oneHot(n, k, func(i, j int) float32 { return values[i*k+j] })
	}
	switch {
	case a.DType == npy.Float64Type:
		values, err := npy.Values[float64](a)
		if err != nil {
			return err
		}
		return c.fromFloats(values)
	case a.DType == npy.Uint64Type:
		values, err := npy.Values[uint64](a)
		for _, v := range values {
			c.numbers = append(c.numbers, whole{magnitude: v})
		}
		return err
	case a.DType.IsInteger() || a.DType == npy.BoolType:
		values, err := a.Int64s()
		for _, v := range values {
			c.numbers = append(c.numbers, wholeOf(v))
		}
		c.boolean = a.DType == npy.BoolType
		return err
	}
	values, err := a.Float32s()
	if err != nil {
		return err
	}
	wide := make([]float64, len(values))
	for i, v := range values {
		wide[i] = float64(v)
	}
	return c.fromFloats(wide)
}
