package data

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"bilevel/internal/nearest"
)

// EnvFolder is the environment variable that names the folder of data sets.
const EnvFolder = "BILEVEL_DATA"

// namedSet is a data set that Open knows by name.
type namedSet struct {
	shape   []int // of a row
	classes int
	read    func(dir string) (*Dataset, error)
}

// namedSets are the data sets that are looked for on this machine.
func namedSets() map[string]namedSet {
	type find func(*listing) []string
	type read func(dir string, names []string, o Options) (*Dataset, error)
	layout := func(find find, read read) func(string) (*Dataset, error) {
		return func(dir string) (*Dataset, error) {
			l, err := list(dir)
			if err != nil {
				return nil, err
			}
			names := find(l)
			if len(names) == 0 {
				return nil, fmt.Errorf("its files are not in %s: %w", dir, fs.ErrNotExist)
			}
			return read(dir, names, Options{})
		}
	}
	cifar := func(labelBytes int) func(string) (*Dataset, error) {
		return layout((*listing).cifar, func(dir string, names []string, _ Options) (*Dataset, error) {
			return readCIFAR(dir, names, labelBytes)
		})
	}
	idx := layout((*listing).idx, readIDXFolder)
	fashion := func(dir string) (*Dataset, error) {
		d, err := idx(dir)
		if err != nil || d.Test == nil {
			return d, err
		}
		if d.Dropped = dropDuplicates(d.Train, d.Test); d.Train.N() == 0 {
			return nil, fmt.Errorf("%s: every training image is in the test part too", dir)
		}
		return d, nil
	}
	libsvm := layout((*listing).libsvm, readLIBSVMFolder)
	return map[string]namedSet{
		"mnist":         {[]int{28, 28}, 10, idx},
		"fashion-mnist": {[]int{28, 28}, 10, fashion},
		"cifar10":       {[]int{32, 32, 3}, 10, cifar(1)},
		"cifar100":      {[]int{32, 32, 3}, 100, cifar(2)},
		"ijcnn1":        {[]int{22}, 2, libsvm},
		"adult":         {[]int{123}, 2, libsvm},
		"tiny-imagenet": {[]int{64, 64, 3}, 200, layout((*listing).tinyImageNet, readTinyImageNetFolder)},
		"omniglot":      {[]int{105, 105}, 1623, layout((*listing).omniglot, readOmniglotFolder)},
	}
}

// Names lists the data sets Open knows by name.
func Names() []string {
	return []string{"digits", "mnist", "fashion-mnist", "cifar10", "cifar100", "ijcnn1", "adult", "tiny-imagenet",
		"omniglot"}
}

// Open reads the data set called name; env gives environment variables, usually os.Getenv (nil means that
// none is set).
//
//	digits                        the embedded set, see Digits
//	mnist, cifar10, … (Names)     the folder of that name in $BILEVEL_DATA, else in the user's cache, see CacheFolder
//	a path                        that folder or file, see OpenFolder; a path has a separator in it or is there
//
// A known name is never taken for a path: ./mnist is the folder mnist of the working directory.
//
// From fashion-mnist the training images that the test part has too are left out; its first release has ten.
func Open(name string, env func(string) string) (*Dataset, error) {
	return OpenWith(name, env, Options{})
}

// OpenWith is Open with options for paths.
func OpenWith(name string, env func(string) string, o Options) (*Dataset, error) {
	_, known := namedSets()[name]
	switch {
	case name == "":
		return nil, usagef("the name of a data set is missing; known are %s, and folders", strings.Join(Names(), ", "))
	case o.Label != "" && (known || name == "digits"):
		return nil, usagef("--label names a column of a table of your own; %s has its labels", name)
	case name == "digits":
		return o.deliver(readDigits())
	case known:
		return o.deliver(openNamed(name, env))
	case isPath(name):
		return OpenFolderWith(name, o)
	}
	hint := ""
	if near := nearest.Name(name, Names()); near != "" {
		hint = fmt.Sprintf("did you mean %s? ", near)
	}
	return nil, usagef("unknown data set %q; %sknown are %s, and folders: for a folder write %s",
		name, hint, strings.Join(Names(), ", "), "."+string(filepath.Separator)+name)
}

// CacheFolder returns the folder of the data set name in the user's cache, where downloads go.
func CacheFolder(name string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("there is no user cache (%w); set $%s to a folder for data sets", err, EnvFolder)
	}
	return filepath.Join(cache, "bilevel", name), nil
}

// Folders lists where Open looks for the data set name, in this order: $BILEVEL_DATA/NAME where the variable is set (a
// nil env sets nothing), then the user's cache.
func Folders(name string, env func(string) string) (folders []string) {
	if env != nil && env(EnvFolder) != "" {
		folders = append(folders, filepath.Join(env(EnvFolder), name))
	}
	if dir, err := CacheFolder(name); err == nil {
		folders = append(folders, dir)
	}
	return folders
}

// openNamed finds and reads a data set by its name.
func openNamed(name string, env func(string) string) (*Dataset, error) {
	missing := &NotFoundError{Name: name, Looked: Folders(name, env), Unset: env == nil || env(EnvFolder) == ""}
	for _, dir := range missing.Looked {
		there, err := exists(dir)
		if err != nil {
			return nil, err
		}
		if there {
			return readNamed(name, dir)
		}
	}
	return nil, missing
}

// OpenNamed reads a data set that is known by name from a folder, and checks that its rows and classes are those of the
// set.
func OpenNamed(name, dir string) (*Dataset, error) { return Options{}.deliver(readNamed(name, dir)) }

func readNamed(name, dir string) (*Dataset, error) {
	set, ok := namedSets()[name]
	if !ok {
		return nil, usagef("unknown data set %q", name)
	}
	d, err := set.read(dir)
	if err == nil {
		err = set.check(name, dir, d)
	}
	if err != nil {
		return nil, fmt.Errorf("%w; or remove the folder %s and run: bilevel data get %s", err, dir, name)
	}
	d.Name, d.Source = name, dir
	return d, nil
}

func (set namedSet) check(name, dir string, d *Dataset) error {
	switch {
	case !slices.Equal(d.Shape, set.shape):
		return fmt.Errorf("%s: rows of shape %v, but those of %s are %v", dir, d.Shape, name, set.shape)
	case d.Test == nil:
		return fmt.Errorf("%s: the test part is missing: %w", dir, fs.ErrNotExist)
	}
	if err := set.number(dir, d); err != nil {
		return err
	}
	if d.Classes > set.classes {
		return fmt.Errorf("%s: there are %d classes, but %s has %d", dir, d.Classes, name, set.classes)
	}
	return nil
}

// number gives sets whose labels are 0 … classes-1 that many classes, whether all of them occur or not: a class keeps
// its number in every part of such a set that someone cuts out.
func (set namedSet) number(dir string, d *Dataset) error {
	numbers := make([]int32, len(d.ClassNames))
	for i, name := range d.ClassNames {
		y, err := strconv.Atoi(name)
		if err != nil || y < 0 {
			return nil // the labels have other names
		}
		if y >= set.classes {
			return fmt.Errorf("%s: the label of %s is %d; it must be in 0 … %d", dir, d.firstRow(int32(i)), y,
				set.classes-1)
		}
		numbers[i] = int32(y)
	}
	d.Classes, d.ClassNames, d.Notes = set.classes, nil, nil
	for y := range set.classes {
		d.ClassNames = append(d.ClassNames, strconv.Itoa(y))
	}
	for _, s := range []*Set{d.Train, d.Val, d.Test} {
		if s != nil {
			for i, y := range s.Labels {
				s.Labels[i] = numbers[y]
			}
		}
	}
	return nil
}

// firstRow names the first row of a class.
func (d *Dataset) firstRow(class int32) string {
	for i, s := range []*Set{d.Train, d.Val, d.Test} {
		if s == nil {
			continue
		}
		if row := slices.Index(s.Labels, class); row >= 0 {
			return fmt.Sprintf("%v row %d (counted from 0)", part(i), row)
		}
	}
	return "no row"
}

// isPath tells whether name means a folder or file rather than a known data set.
func isPath(name string) bool {
	if name == "." || name == ".." || strings.ContainsRune(name, '/') ||
		strings.ContainsRune(name, filepath.Separator) {
		return true
	}
	_, err := os.Stat(name)
	return err == nil
}

// exists tells whether a file is there.
func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
