package data

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// cifarSide² pixels in three channels are one image of the CIFAR sets: cifarPixels bytes.
const (
	cifarSide   = 32
	cifarPixels = 3 * cifarSide * cifarSide
)

// cifarFolders are what the official archives unpack into.
var cifarFolders = []string{"cifar-10-batches-bin", "cifar-100-binary"}

// cifar finds files of CIFAR's binary records, here or in the folder that the archive unpacks into.
func (l *listing) cifar() (names []string) {
	for _, name := range l.files {
		if strings.HasSuffix(name, ".bin") {
			names = append(names, name)
		}
	}
	for _, folder := range cifarFolders {
		for _, below := range l.folders {
			if below == folder {
				names = append(names, folder)
			}
		}
	}
	return names
}

func readCIFARFolder(dir string, names []string, _ Options) (*Dataset, error) {
	return readCIFAR(dir, names, 0)
}

// readCIFAR reads the binary version of CIFAR-10 and CIFAR-100 (A. Krizhevsky, Learning Multiple Layers of Features
// from Tiny Images, 2009): records of one label byte, or of two, coarse and fine, of which the fine one is taken, and
// 3·32·32 pixels, channel after channel, which become images [32, 32, 3] with the channels of a pixel side by side.
// Training rows are those of data_batch_1.bin … data_batch_5.bin or train.bin, test rows those of test_batch.bin or
// test.bin. labelBytes 0 finds out by the sizes.
func readCIFAR(dir string, names []string, labelBytes int) (*Dataset, error) {
	for _, folder := range cifarFolders {
		if len(names) == 1 && names[0] == folder {
			l, err := list(filepath.Join(dir, folder))
			if err != nil {
				return nil, err
			}
			d, err := readCIFAR(l.dir, l.cifar(), labelBytes)
			if d != nil {
				d.Name, d.Source = dir, dir
			}
			return d, err
		}
	}
	var files [parts][]string
	for _, name := range names {
		switch {
		case name == "train.bin" || strings.HasPrefix(name, "data_batch_"):
			files[trainPart] = append(files[trainPart], filepath.Join(dir, name))
		case name == "test.bin" || name == "test_batch.bin":
			files[testPart] = append(files[testPart], filepath.Join(dir, name))
		}
	}
	if len(files[trainPart]) == 0 {
		return nil, fmt.Errorf("%s: there is neither train.bin nor data_batch_1.bin among %s; CIFAR's "+
			"training rows have these names",
			dir, fewOf(names))
	}
	var of [parts]*rows
	for i, paths := range files {
		for _, path := range paths {
			if of[i] == nil {
				of[i] = newCIFAR(path)
			}
			if err := of[i].addCIFAR(path, labelBytes); err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
		}
	}
	return assemble(dir, of)
}

func newCIFAR(path string) *rows {
	return &rows{shape: []int{cifarSide, cifarSide, 3}, labels: &labelColumn{}, from: path}
}

// readCIFARFile reads one file of CIFAR's binary records as a whole training part.
func readCIFARFile(path string) (*Dataset, error) {
	r := newCIFAR(path)
	if err := r.addCIFAR(path, 0); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return assemble(path, [parts]*rows{trainPart: r})
}

// addCIFAR appends the records of a file.
func (r *rows) addCIFAR(path string, labelBytes int) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if labelBytes, err = wholeRecords(info.Size(), labelBytes); err != nil {
		return err
	}
	return r.cifarRecords(bufio.NewReaderSize(f, 1<<16), labelBytes)
}

// wholeRecords finds how many bytes of a record are labels, where that is 0, and refuses a file of another length than
// that of a number of records.
func wholeRecords(size int64, labelBytes int) (int, error) {
	kinds := []int{1, 2}
	if labelBytes != 0 {
		kinds = []int{labelBytes}
	}
	var left []string
	for _, k := range kinds {
		record := int64(k + cifarPixels)
		if size > 0 && size%record == 0 {
			return k, nil
		}
		left = append(left, fmt.Sprintf("%d bytes (CIFAR-%d; %d bytes are left over)", record, cifarClasses[k],
			size%record))
	}
	if size == 0 {
		return 0, errors.New("the file is empty; replace it by a good copy")
	}
	return 0, fmt.Errorf("its %d bytes are no whole number of CIFAR's records of %s: the file is cut off or damaged; "+
		"replace it by a good copy", size, strings.Join(left, " or "))
}

// cifarClasses is the number of classes by the bytes of a label.
var cifarClasses = [...]byte{1: 10, 2: 100}

func (r *rows) cifarRecords(in io.Reader, labelBytes int) error {
	record := make([]byte, labelBytes+cifarPixels)
	for {
		_, err := io.ReadFull(in, record)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		label := record[labelBytes-1]
		if most := cifarClasses[labelBytes]; label >= most {
			return fmt.Errorf("row %d (counted from 0) has the label %d; there are %d classes", r.labels.len(),
				label, most)
		}
		r.labels.numbers = append(r.labels.numbers, whole{magnitude: uint64(label)})
		r.bytes = appendInterleaved(r.bytes, record[labelBytes:], 3)
	}
}

// appendInterleaved appends an image whose channels lie one after the other so that those of a pixel are neighbours.
func appendInterleaved(to, planes []byte, channels int) []byte {
	pixels := len(planes) / channels
	for i := range pixels {
		for c := range channels {
			to = append(to, planes[c*pixels+i])
		}
	}
	return to
}
