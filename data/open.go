package data

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"bilevel/internal/nearest"
)

// EnvFolder is the environment variable that names the folder of data sets.
const EnvFolder = "BILEVEL_DATA"

// Names lists the data sets Open knows by name.
func Names() []string { return []string{"digits", "mnist", "fashion-mnist"} }

// Open reads the data set called name; env gives environment variables, usually os.Getenv (nil means that
// none is set).
//
//	digits                  the embedded set, see Digits
//	mnist, fashion-mnist    the folder of that name in $BILEVEL_DATA, else in the user's cache, see CacheFolder
//	a path                  that folder, see OpenFolder; a path has a separator in it or is a folder that exists
//
// A known name is never taken for a path: ./mnist is the folder mnist of the working directory.
//
// From fashion-mnist the training images that the test part has too are left out; its first release has ten.
func Open(name string, env func(string) string) (*Dataset, error) {
	switch name {
	case "":
		return nil, usagef("the name of a data set is missing; known are %s, and folders", strings.Join(Names(), ", "))
	case "digits":
		return Digits()
	case "mnist", "fashion-mnist":
		return openNamed(name, env)
	}
	if isPath(name) {
		return OpenFolder(name)
	}
	hint := ""
	if near := nearest.Name(name, Names()); near != "" {
		hint = fmt.Sprintf("did you mean %s? ", near)
	}
	return nil, usagef("unknown data set %q; %sknown are %s, and folders: for a folder write %s",
		name, hint, strings.Join(Names(), ", "), "."+string(filepath.Separator)+name)
}

// OpenFolder reads a folder in MNIST's layout or with NumPy arrays, see the package comment. The classes are as many as the
// largest label + 1.
func OpenFolder(dir string) (*Dataset, error) {
	if info, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("the data folder cannot be read: %w", err)
	} else if !info.IsDir() {
		return nil, fmt.Errorf("%s is a file; data is read from folders, give the one it is in", dir)
	}
	isNPY, err := exists(filepath.Join(dir, "train_x.npy"))
	if err != nil {
		return nil, err
	}
	_, err = mnistFile(dir, mnistImages(mnistTrain))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	isMNIST := err == nil
	switch {
	case isNPY && isMNIST:
		return nil, fmt.Errorf("%s holds both train_x.npy and %s; move one of the two data sets elsewhere", dir, mnistImages(mnistTrain))
	case isNPY:
		return npyFolder(dir)
	case isMNIST:
		return mnistFolder(dir, false)
	}
	return nil, fmt.Errorf("%s holds neither train_x.npy nor %s (or .gz): it is not a data set in a layout that is read here%s: %w",
		dir, mnistImages(mnistTrain), csvHint(dir), fs.ErrNotExist)
}

// CacheFolder returns the folder of the data set name in the user's cache, where downloads go.
func CacheFolder(name string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("there is no user cache (%w); set $%s to a folder for data sets", err, EnvFolder)
	}
	return filepath.Join(cache, "bilevel", name), nil
}

// Folders lists where Open looks for the data set name, in this order: $BILEVEL_DATA/NAME where the variable is set (a nil
// env sets nothing), then the user's cache.
func Folders(name string, env func(string) string) (folders []string) {
	if env != nil && env(EnvFolder) != "" {
		folders = append(folders, filepath.Join(env(EnvFolder), name))
	}
	if dir, err := CacheFolder(name); err == nil {
		folders = append(folders, dir)
	}
	return folders
}

// openNamed finds and reads mnist or fashion-mnist.
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

// readNamed reads mnist or fashion-mnist from dir: 28×28 images in 10 classes.
func readNamed(name, dir string) (*Dataset, error) {
	const remedy = "%w; or remove the folder %s and run: bilevel data get %s"
	d, err := mnistFolder(dir, name == "fashion-mnist")
	if err != nil {
		return nil, fmt.Errorf(remedy, err, dir, name)
	}
	if len(d.Shape) != 2 || d.Shape[0] != 28 || d.Shape[1] != 28 {
		return nil, fmt.Errorf(remedy, fmt.Errorf("%s: images of shape %v, but those of %s are [28 28]", dir, d.Shape, name), dir, name)
	}
	for _, part := range []struct {
		set  *Set
		file string
	}{{d.Train, mnistLabels(mnistTrain)}, {d.Test, mnistLabels(mnistTest)}} {
		if err := checkLabels(part.set.Labels, 10); err != nil {
			return nil, fmt.Errorf(remedy, fmt.Errorf("%s: %w", filepath.Join(dir, part.file), err), dir, name)
		}
	}
	d.Name, d.Classes = name, 10
	return d, nil
}

// isPath tells whether name means a folder rather than a known data set.
func isPath(name string) bool {
	if name == "." || name == ".." || strings.ContainsRune(name, '/') || strings.ContainsRune(name, filepath.Separator) {
		return true
	}
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}
