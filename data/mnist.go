package data

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"regexp"
)

// idxName finds the names that IDX files have: train-images-idx3-ubyte, train-images.idx3-ubyte, labels.idx, with .gz
// or without, and what else has been put before and between.
var idxName = regexp.MustCompile(`(?i)(^|[^a-z0-9])(idx[0-9]*|ubyte)([^a-z0-9]|$)`)

func isIDX(name string) bool { return idxName.MatchString(name) }

// mnistNames are the names of the official release, without the part before them.
var mnistNames = map[string]bool{
	"train-images-idx3-ubyte": true, "train-labels-idx1-ubyte": true,
	"t10k-images-idx3-ubyte": true, "t10k-labels-idx1-ubyte": true,
}

// idxParts reads the pairs of IDX files among names in dir.
func idxParts(dir string, names []string) ([parts]*rows, error) {
	var of [parts]*rows
	pairs, err := pairUp(names, func(name string) []string { return wordsOf(withoutPacking(name)) },
		func(name string) bool { return mnistNames[withoutPacking(name)] })
	if err != nil {
		return of, fmt.Errorf("%s: %w", dir, err)
	}
	for i, p := range pairs {
		switch {
		case p == pairing{} && part(i) == trainPart:
			return of, fmt.Errorf("%s: no file of the training images is there, such as train-images-idx3-ubyte: %w",
				dir, fs.ErrNotExist)
		case p == pairing{}:
			continue
		case p.features == "":
			return of, fmt.Errorf("%s is there, but the %v images are missing, such as %s-images-idx3-ubyte: %w",
				filepath.Join(dir, p.labels), part(i), mnistPart(i), fs.ErrNotExist)
		case p.labels == "":
			return of, fmt.Errorf("%s is there, but the %v labels are missing, such as %s-labels-idx1-ubyte: %w",
				filepath.Join(dir, p.features), part(i), mnistPart(i), fs.ErrNotExist)
		}
		if of[i], err = idxPair(filepath.Join(dir, p.features), filepath.Join(dir, p.labels)); err != nil {
			return of, err
		}
	}
	return of, nil
}

// mnistPart is what a part is called in MNIST's names.
func mnistPart(i int) string { return [...]string{"train", "val", "t10k"}[i] }

// idxPair reads the images and labels of one part.
func idxPair(imagePath, labelPath string) (*rows, error) {
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
func pair(x, y *idxArray, imageName, labelName string) (*rows, error) {
	switch {
	case len(x.shape) < 2:
		return nil, fmt.Errorf("%s: an array of shape %v is not images; is it the label file?", imageName, x.shape)
	case len(x.data) == 0:
		return nil, fmt.Errorf("%s: there are no images in it (shape %v)", imageName, x.shape)
	case len(y.shape) > 2 || len(y.shape) == 2 && y.shape[0] != x.shape[0]:
		return nil, fmt.Errorf("%s: an array of shape %v is not labels; is it the image file?", labelName, y.shape)
	case x.shape[0] != y.shape[0]:
		return nil, fmt.Errorf("%s holds %d images, but %s holds %d labels; the files do not belong together",
			imageName, x.shape[0], labelName, y.shape[0])
	}
	r := &rows{shape: x.shape[1:], labels: &labelColumn{}, from: imageName}
	if x.kind == idxBytes {
		r.bytes = x.data
	} else {
		r.features = x.float32s()
	}
	values := y.values()
	var err error
	if len(y.shape) == 2 && y.shape[1] != 1 {
		k := y.shape[1]
		err = r.labels.oneHot(y.shape[0], k, func(i, j int) float32 { return float32(values[i*k+j]) })
	} else {
		err = r.labels.fromFloats(values)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", labelName, err)
	}
	return r, r.check(labelName)
}

// dropDuplicates removes the rows of train whose features are those of a row of test, whatever their labels, and
// returns how many they were. The first release of Fashion-MNIST has ten of them, MNIST none.
func dropDuplicates(train, test *Set) int {
	inTest := make(map[string]bool, test.N())
	for i := range test.N() {
		inTest[test.bits(i)] = true
	}
	var kept []int32
	for i := range train.N() {
		if !inTest[train.bits(i)] {
			kept = append(kept, int32(i))
		}
	}
	dropped := train.N() - len(kept)
	if rest, err := train.Rows(kept); err == nil && dropped > 0 {
		*train = *rest
	}
	return dropped
}

// bits is row i as a key.
func (s *Set) bits(i int) string {
	if s.Bytes != nil {
		return string(s.Bytes[i*s.Dim : (i+1)*s.Dim])
	}
	b := make([]byte, 0, 4*s.Dim)
	for _, v := range s.Row(i) {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return string(b)
}
