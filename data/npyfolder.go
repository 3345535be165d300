package data

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"bilevel/internal/npy"
)

// npyFolder reads train_x.npy, train_y.npy and, where they are there, val_x.npy, val_y.npy, test_x.npy, test_y.npy.
func npyFolder(dir string) (*Dataset, error) {
	d := &Dataset{Name: dir, Source: dir}
	for _, part := range []struct {
		name string
		to   **Set
	}{{"train", &d.Train}, {"val", &d.Val}, {"test", &d.Test}} {
		set, shape, err := npyPart(dir, part.name)
		if err != nil {
			return nil, err
		}
		if set == nil {
			if part.to == &d.Train {
				return nil, fmt.Errorf("%s is missing: %w", filepath.Join(dir, "train_x.npy"), fs.ErrNotExist)
			}
			continue
		}
		if d.Shape == nil {
			d.Shape = shape
		}
		if !slices.Equal(d.Shape, shape) {
			return nil, fmt.Errorf("%s: rows of %s_x.npy have the shape %v, those of train_x.npy %v; all parts must agree",
				dir, part.name, shape, d.Shape)
		}
		*part.to = set
	}
	d.Classes = countClasses(d.Train, d.Val, d.Test)
	return d, nil
}

// npyPart reads one part and the shape of its rows; the set is nil where both files are missing.
func npyPart(dir, part string) (*Set, []int, error) {
	xPath, yPath := filepath.Join(dir, part+"_x.npy"), filepath.Join(dir, part+"_y.npy")
	haveX, err := exists(xPath)
	if err != nil {
		return nil, nil, err
	}
	haveY, err := exists(yPath)
	if err != nil {
		return nil, nil, err
	}
	switch {
	case !haveX && !haveY:
		return nil, nil, nil
	case !haveX:
		return nil, nil, fmt.Errorf("%s is there, but %s is missing: %w", yPath, xPath, fs.ErrNotExist)
	case !haveY:
		return nil, nil, fmt.Errorf("%s is there, but %s is missing: %w", xPath, yPath, fs.ErrNotExist)
	}
	s, shape, err := npyFeatures(xPath)
	if err != nil {
		return nil, nil, err
	}
	if s.Labels, err = npyLabels(yPath); err != nil {
		return nil, nil, err
	}
	if n := len(s.Features) / s.Dim; n != len(s.Labels) {
		return nil, nil, fmt.Errorf("%s holds %d rows, but %s holds %d labels; they must be as many", xPath, n, yPath, len(s.Labels))
	}
	return s, shape, nil
}

// npyFeatures reads an array [n, …] as n rows.
func npyFeatures(path string) (*Set, []int, error) {
	a, err := npy.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	if len(a.Shape) < 2 {
		return nil, nil, fmt.Errorf("%s: the shape is %v; features need at least two dimensions, rows first", path, a.Shape)
	}
	n := a.Shape[0]
	if a.Len() == 0 {
		return nil, nil, fmt.Errorf("%s: the shape is %v; there are no features in it", path, a.Shape)
	}
	if n > maxRows {
		return nil, nil, fmt.Errorf("%s: %d rows; at most %d can be numbered", path, n, maxRows)
	}
	s := &Set{Dim: a.Len() / n}
	if s.Features, err = a.Float32s(); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := checkFinite(s.Features, s.Dim); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, a.Shape[1:], nil
}

// npyLabels reads an array [n] of integers 0, 1, 2, ….
func npyLabels(path string) ([]int32, error) {
	a, err := npy.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(a.Shape) != 1 {
		return nil, fmt.Errorf("%s: the shape is %v; labels have one dimension, save y.reshape(-1)", path, a.Shape)
	}
	if !a.DType.IsInteger() {
		return nil, fmt.Errorf("%s: the labels are %v; they must be integers, save y.astype('int32')", path, a.DType)
	}
	wide, err := a.Int64s()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	labels := make([]int32, len(wide))
	for i, y := range wide {
		if y < 0 || y >= maxClasses {
			return nil, fmt.Errorf("%s: the label of row %d (counted from 0) is %d; labels must be in 0 … %d, number the classes 0, 1, 2, …",
				path, i, y, maxClasses-1)
		}
		labels[i] = int32(y)
	}
	return labels, nil
}

// exists tells whether a file is there.
func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
