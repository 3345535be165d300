package data

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

const (
	mnistTrain = "train" // the names of the two parts in file names
	mnistTest  = "t10k"
)

func mnistImages(part string) string { return part + "-images-idx3-ubyte" }
func mnistLabels(part string) string { return part + "-labels-idx1-ubyte" }

// images is one part in bytes.
type images struct {
	pixels []byte // [n, dim]
	labels []byte // [n]
	shape  []int  // of one image
}

func (m *images) dim() int { return len(m.pixels) / len(m.labels) }

func (m *images) row(i int) []byte { return m.pixels[i*m.dim() : (i+1)*m.dim()] }

// set converts to a Set; pixels keep their values 0 … 255.
func (m *images) set() *Set {
	s := &Set{Features: make([]float32, len(m.pixels)), Labels: make([]int32, len(m.labels)), Dim: m.dim()}
	for i, v := range m.pixels {
		s.Features[i] = float32(v)
	}
	for i, v := range m.labels {
		s.Labels[i] = int32(v)
	}
	return s
}

// mnistFolder reads the four files of MNIST's layout. If drop is set, training images that the test part has too are
// left out.
func mnistFolder(dir string, drop bool) (*Dataset, error) {
	train, err := mnistPart(dir, mnistTrain)
	if err != nil {
		return nil, err
	}
	test, err := mnistPart(dir, mnistTest)
	if err != nil {
		return nil, err
	}
	if !slices.Equal(train.shape, test.shape) {
		return nil, fmt.Errorf("%s: training images have the shape %v and test images %v; the files do not belong together",
			dir, train.shape, test.shape)
	}
	d := &Dataset{Name: dir, Source: dir, Shape: train.shape}
	if drop {
		if d.Dropped = dropDuplicates(train, test); len(train.labels) == 0 {
			return nil, fmt.Errorf("%s: every training image is in the test part too", dir)
		}
	}
	d.Train, d.Test = train.set(), test.set()
	d.Classes = countClasses(d.Train, d.Test)
	return d, nil
}

// mnistPart reads the images and labels of one part.
func mnistPart(dir, part string) (*images, error) {
	imagePath, err := mnistFile(dir, mnistImages(part))
	if err != nil {
		return nil, err
	}
	labelPath, err := mnistFile(dir, mnistLabels(part))
	if err != nil {
		return nil, err
	}
	x, err := readIDXFile(imagePath)
	if err != nil {
		return nil, err
	}
	y, err := readIDXFile(labelPath)
	if err != nil {
		return nil, err
	}
	return pair(x, y, imagePath, labelPath)
}

// pair joins images x and labels y; the names are for its errors.
func pair(x, y *idxArray, imageName, labelName string) (*images, error) {
	switch {
	case len(x.shape) < 2:
		return nil, fmt.Errorf("%s: an array of shape %v is not images; is it the label file?", imageName, x.shape)
	case len(y.shape) != 1:
		return nil, fmt.Errorf("%s: an array of shape %v is not labels; is it the image file?", labelName, y.shape)
	case len(x.data) == 0:
		return nil, fmt.Errorf("%s: there are no images in it (shape %v)", imageName, x.shape)
	case x.shape[0] != y.shape[0]:
		return nil, fmt.Errorf("%s holds %d images, but %s holds %d labels; the files do not belong together",
			imageName, x.shape[0], labelName, y.shape[0])
	case x.shape[0] > maxRows:
		return nil, fmt.Errorf("%s: %d images; at most %d can be numbered", imageName, x.shape[0], maxRows)
	}
	return &images{pixels: x.data, labels: y.data, shape: x.shape[1:]}, nil
}

// mnistFile finds the file name in dir, with or without .gz.
func mnistFile(dir, name string) (string, error) {
	path := filepath.Join(dir, name)
	for _, p := range []string{path, path + ".gz"} {
		_, err := os.Stat(p)
		if err == nil {
			return p, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return "", fmt.Errorf("%s (or %s.gz) is missing; MNIST's layout has four files: %w", path, name, fs.ErrNotExist)
}

// dropDuplicates removes the training images whose pixels are those of a test image, whatever their labels, and returns
// how many they were. The first release of Fashion-MNIST has ten of them, MNIST none.
func dropDuplicates(train, test *images) int {
	inTest := make(map[string]bool, len(test.labels))
	for i := range test.labels {
		inTest[string(test.row(i))] = true
	}
	dim, kept := train.dim(), 0
	for i := range train.labels {
		row := train.row(i)
		if inTest[string(row)] {
			continue
		}
		copy(train.pixels[kept*dim:], row)
		train.labels[kept] = train.labels[i]
		kept++
	}
	dropped := len(train.labels) - kept
	train.pixels, train.labels = train.pixels[:kept*dim], train.labels[:kept]
	return dropped
}
