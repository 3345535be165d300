package data

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// cifarPixels is one image of the CIFAR sets: three channels of 32×32 bytes.
const cifarPixels = 3 * 32 * 32

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
// 3·32·32 pixels, channel after channel. Training rows are those of data_batch_1.bin … data_batch_5.bin or train.bin,
// test rows those of test_batch.bin or test.bin. labelBytes 0 finds out by the sizes.
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
				of[i] = &rows{shape: []int{3, 32, 32}, labels: &labelColumn{}, from: path, pixels: true}
			}
			if err := of[i].addCIFAR(path, labelBytes); err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
		}
	}
	return assemble(dir, of)
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
	for k := 1; labelBytes == 0 && k <= 2; k++ {
		if info.Size()%int64(k+cifarPixels) == 0 {
			labelBytes = k
		}
	}
	record := int64(labelBytes + cifarPixels)
	if labelBytes == 0 || info.Size()%record != 0 || info.Size() == 0 {
		return fmt.Errorf("its %d bytes are no whole number of CIFAR's records; replace it by a good copy", info.Size())
	}
	return r.cifarRecords(bufio.NewReaderSize(f, 1<<16), labelBytes)
}

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
		if most := [...]byte{1: 10, 2: 100}[labelBytes]; label >= most {
			return fmt.Errorf("row %d (counted from 0) has the label %d; there are %d classes", r.labels.len(),
				label, most)
		}
		r.labels.numbers = append(r.labels.numbers, whole{magnitude: uint64(label)})
		for _, v := range record[labelBytes:] {
			r.features = append(r.features, float32(v))
		}
	}
}
