package data

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Options say how a folder or file of one's own is read.
type Options struct {
	Label string // the label column of tables by its name, or the columns of a one-hot label, separated by commas
	// Unlabelled says that rows are wanted for their features alone: labels may be missing, and are 0 where they are.
	// Then Columns, where given, are the feature columns of tables in their order, and other columns are not looked at.
	Unlabelled bool
	Columns    []string
	// Width, where it is not 0, is how many columns rows of LIBSVM's text have at least: values of 0 are not written
	// there, and the last may be 0 in all rows. ZeroBased says that their first index is 0.
	Width     int
	ZeroBased bool
	// Bytes says that features which are bytes in every part of the source, as pixels are, stay bytes: the sets then
	// have Bytes and no Features, a quarter of the memory.
	Bytes bool
	// Wide says that the numbers of columns that lie far from 0, beside which they differ little, are kept relative to
	// Set.Origin: rounded to float32 many of them would be the same. Else such columns are named in the notes.
	Wide bool
	// Origin, where it is not nil, takes the place of the origin that Wide finds, for rows that are to be rounded as
	// those before; with no numbers in it there is none.
	Origin []float64
}

// deliver gives a data set as the options want it.
func (o Options) deliver(d *Dataset, err error) (*Dataset, error) {
	if err != nil {
		return d, err
	}
	sets := []*Set{d.Train, d.Val, d.Test}
	if o.Bytes && !slices.ContainsFunc(sets, func(s *Set) bool { return s != nil && s.Bytes == nil }) {
		return d, nil
	}
	return d.Widened(), nil
}

// layout is a way in which a data set may lie in a folder.
type layout struct {
	what string
	find func(f *listing) []string // the names that belong to it
	read func(dir string, names []string, o Options) (*Dataset, error)
}

// layouts are in no order: a folder with two of them is ambiguous.
func layouts() []layout {
	return []layout{
		{"NumPy arrays", byEnding(".npy", hasRole), readNPYFolder},
		{"NumPy archives", byEnding(".npz", always), readNPZ},
		{"IDX files", (*listing).idx, readIDXFolder},
		{"tables", (*listing).tables, readTables},
		{"LIBSVM files", (*listing).libsvm, readLIBSVMFolder},
		{"CIFAR batches", (*listing).cifar, readCIFARFolder},
		{"Omniglot", (*listing).omniglot, readOmniglotFolder},
		{"Tiny-ImageNet", (*listing).tinyImageNet, readTinyImageNetFolder},
		{"folders of images", (*listing).imageFolders, readImageFolders},
	}
}

// listing is the entries of a folder.
type listing struct {
	dir            string
	files, folders []string
}

func list(dir string) (*listing, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("the data folder cannot be read: %w", err)
	}
	l := &listing{dir: dir}
	for _, e := range entries {
		name := e.Name()
		info, err := os.Stat(filepath.Join(dir, name)) // links are followed
		switch {
		case strings.HasPrefix(name, ".") || err != nil:
		case info.IsDir():
			l.folders = append(l.folders, name)
		case info.Mode().IsRegular(): // opening a pipe would wait for whoever writes into it
			l.files = append(l.files, name)
		}
	}
	return l, nil
}

func always(string) bool { return true }

// hasRole tells whether a name says that it holds features or labels.
func hasRole(name string) bool {
	r := roleOf(wordsOf(strings.TrimSuffix(name, filepath.Ext(name))))
	return r.labels || r.image
}

func byEnding(ending string, also func(name string) bool) func(*listing) []string {
	return func(l *listing) (names []string) {
		for _, name := range l.files {
			if strings.HasSuffix(strings.ToLower(name), ending) && also(name) {
				names = append(names, name)
			}
		}
		return names
	}
}

func (l *listing) idx() (names []string) {
	for _, name := range l.files {
		if isIDX(name) {
			names = append(names, name)
		}
	}
	return names
}

// tableEndings are the names of tables, before .gz or .bz2.
var tableEndings = []string{".csv", ".tsv", ".tab"}

func isTable(name string) bool {
	return slices.Contains(tableEndings, strings.ToLower(filepath.Ext(withoutPacking(name))))
}

func (l *listing) tables() (names []string) {
	for _, name := range l.files {
		if isTable(name) {
			names = append(names, name)
		}
	}
	return names
}

// otherEndings are files that are not opened to see whether they are LIBSVM's, whose names have no ending of their own.
var otherEndings = []string{".npy", ".npz", ".csv", ".tsv", ".tab", ".bin", ".zip", ".tar", ".tgz", ".png", ".jpeg",
	".jpg", ".md",
	".json", ".yaml", ".py", ".html", ".pdf"}

// maxLooked is how many files of a folder are opened to see what they are: a data set has a few.
const maxLooked = 64

func (l *listing) libsvm() (names []string) {
	looked := 0
	for _, name := range l.files {
		if isIDX(name) || slices.Contains(otherEndings, strings.ToLower(filepath.Ext(withoutPacking(name)))) {
			continue
		}
		if looked++; looked > maxLooked {
			break
		}
		if head, err := headOf(filepath.Join(l.dir, name)); err == nil && looksLikeLIBSVM(head) {
			names = append(names, name)
		}
	}
	return names
}

// headOf is the beginning of a file's unpacked content.
func headOf(path string) (head string, err error) {
	err = readFile(path, func(b *bufio.Reader) error {
		text, _ := b.Peek(1 << 14)
		head = string(text)
		return nil
	})
	return head, err
}

// OpenFolder reads a folder, or a file that holds a whole data set, see the package comment for their layouts. The
// classes are those that occur.
func OpenFolder(path string) (*Dataset, error) { return OpenFolderWith(path, Options{}) }

// OpenFolderWith is OpenFolder with options.
func OpenFolderWith(path string, o Options) (*Dataset, error) {
	d, err := openPath(path, o)
	if err != nil || d.far == nil || o.Origin != nil {
		return o.deliver(d, err)
	}
	if !o.Wide || len(d.Shape) > 1 { // networks of images take the numbers as they are
		d.Notes = append(d.Notes, farNote(d.far))
		return o.deliver(d, nil)
	}
	o.Origin = d.far
	return o.deliver(openPath(path, o))
}

func openPath(path string, o Options) (*Dataset, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("the data folder cannot be read: %w", err)
	}
	switch {
	case info.Mode().IsRegular():
		return openFile(path, o)
	case !info.IsDir(): // files are read more than once
		return nil, fmt.Errorf("%s is not a regular file but a pipe or a device: write its content into a file and "+
			"give that", path)
	}
	l, err := list(path)
	if err != nil {
		return nil, err
	}
	found, names := l.layouts()
	switch {
	case len(found) > 1:
		return nil, fmt.Errorf("%s holds both %s (%s) and %s (%s); move one of the two data sets elsewhere, or give a "+
			"file as --data",
			path, found[0].what, names[0][0], found[1].what, names[1][0])
	case len(found) == 1:
		if o.Label != "" && found[0].what != "tables" {
			return nil, usagef("--label names a column of a table, but %s holds %s, where labels have their own place",
				path, found[0].what)
		}
		return found[0].read(path, names[0], o)
	}
	return nil, l.nothing()
}

// layouts finds the layouts that a folder has, and the names that belong to each.
func (l *listing) layouts() (found []layout, names [][]string) {
	for _, layout := range layouts() {
		if n := layout.find(l); len(n) > 0 {
			found, names = append(found, layout), append(names, n)
		}
	}
	return found, names
}

// Files are the paths that OpenWith reads for a name: a file, or the files and folders of a folder that belong to a
// data set. There are none for a known set.
func Files(name string) (paths []string) {
	if !isPath(name) {
		return nil
	}
	l, err := list(name)
	if err != nil {
		return []string{name}
	}
	_, names := l.layouts()
	for _, file := range slices.Concat(names...) {
		paths = append(paths, filepath.Join(name, file))
	}
	return paths
}

// nothing says what a folder without a data set holds and what it should.
func (l *listing) nothing() error {
	holds := "it is empty"
	if all := slices.Concat(l.files, l.folders); len(all) > 0 {
		holds = "it has " + fewOf(all)
		for _, name := range l.files {
			if advice := adviceFor(name); advice != "" {
				holds += "; " + advice
				break
			}
		}
	}
	for _, below := range l.folders { // as the files of a library that has a folder of its own for them
		if deeper, err := list(filepath.Join(l.dir, below)); err == nil {
			if found, _ := deeper.layouts(); len(found) > 0 {
				return fmt.Errorf("%s holds no data set itself, but %s holds %s: give that folder: %w", l.dir,
					deeper.dir, found[0].what,
					fs.ErrNotExist)
			}
		}
	}
	return fmt.Errorf("%s holds no data set that is read here (%s); it should have arrays (train_x.npy and "+
		"train_y.npy, or data.npz "+
		"with x and y), a table with a header (train.csv), IDX files (train-images-idx3-ubyte and "+
		"train-labels-idx1-ubyte), "+
		"LIBSVM files or a folder of images for each class (CLASS/*.png): %w", l.dir, holds, fs.ErrNotExist)
}

// together reads the arrays of a folder, all of one layout.
func together(dir string, of [parts]*rows, err error) (*Dataset, error) {
	if err != nil {
		return nil, err
	}
	return assemble(dir, of)
}

func readNPYFolder(dir string, names []string, o Options) (*Dataset, error) {
	of, err := arrayParts(dir, npySources(dir, names), o)
	return together(dir, of, err)
}

func readNPZ(dir string, names []string, o Options) (*Dataset, error) {
	var sources []arraySource
	for _, name := range names {
		of, archive, err := npzSources(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		defer archive.Close()
		sources = append(sources, of...)
	}
	where := dir
	if len(names) == 1 {
		where = filepath.Join(dir, names[0])
	}
	of, err := arrayParts(where, sources, o)
	if errors.Is(err, fs.ErrNotExist) {
		var have []string
		for _, s := range sources {
			have = append(have, s.name)
		}
		err = fmt.Errorf("%w; there are %s: call them x and y, or x_train, y_train, x_test, y_test", err, fewOf(have))
	}
	return together(dir, of, err)
}

func readIDXFolder(dir string, names []string, _ Options) (*Dataset, error) {
	of, err := idxParts(dir, names)
	return together(dir, of, err)
}

// onePart finds the file of each part among names, which are whole parts each.
func onePart(dir, what string, names []string, words func(name string) []string) ([parts]string, error) {
	var paths [parts]string
	said := false
	for _, name := range names {
		r := roleOf(words(name))
		said = said || r.partSaid && r.part == trainPart
	}
	for i := range paths {
		var candidates []candidate
		for _, name := range names {
			r := roleOf(words(name))
			if r.part != part(i) || said && !r.partSaid {
				continue
			}
			c := candidate{filepath.Join(dir, name), 1}
			if strings.TrimSuffix(withoutPacking(name), filepath.Ext(withoutPacking(name))) == arrayPart(i) {
				c.rank = 0
			}
			candidates = append(candidates, c)
		}
		var err error
		if paths[i], err = only(fmt.Sprintf("the %v rows", part(i)), candidates); err != nil {
			return paths, fmt.Errorf("%w, or give one file as --data", err)
		}
	}
	if paths[trainPart] == "" {
		return paths, fmt.Errorf("%s holds %s (%s) but none with training rows, such as train.csv: %w", dir, what,
			fewOf(names), fs.ErrNotExist)
	}
	return paths, nil
}

func readTables(dir string, names []string, o Options) (*Dataset, error) {
	paths, err := onePart(dir, "tables", names, func(name string) []string { return wordsOf(withoutPacking(name)) })
	if err != nil {
		return nil, err
	}
	return tableParts(dir, paths, o)
}

// tableParts reads the tables of the parts. A table of test rows without labels, as competitions give them, is left
// aside.
func tableParts(name string, paths [parts]string, o Options) (*Dataset, error) {
	var of [parts]*rows
	var columns, notes []string
	for i, path := range paths {
		if path == "" {
			continue
		}
		r, header, said, err := readTable(path, o, columns)
		if i != int(trainPart) && errors.Is(err, errNoLabels) {
			notes = append(notes, fmt.Sprintf("%s has no label column; it is left aside", path))
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := r.check(path); err != nil {
			return nil, err
		}
		if columns == nil {
			columns = header
		}
		of[i], notes = r, append(notes, said...)
	}
	d, err := assemble(name, of)
	if err != nil {
		return nil, err
	}
	d.Notes, d.Columns = append(notes, d.Notes...), columns
	return d, nil
}

// readLIBSVMFolder reads NAME and NAME.t, as LIBSVM's page calls training and test parts, or any names with words for
// them.
func readLIBSVMFolder(dir string, names []string, o Options) (*Dataset, error) {
	paths, err := onePart(dir, "LIBSVM files", names, func(name string) []string {
		name = withoutPacking(name)
		if filepath.Ext(name) == ".t" {
			return []string{"test"}
		}
		return wordsOf(name)
	})
	if err != nil {
		return nil, err
	}
	return libsvmParts(dir, paths, o)
}
