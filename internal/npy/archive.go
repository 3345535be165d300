package npy

import (
	"archive/zip"
	"bufio"
	"fmt"
	"io"
	"strings"
)

// Suffix ends the names of the files in an .npz archive, and of files of one array.
const Suffix = ".npy"

// Member is one array of an .npz file, NumPy's format for several: a zip archive of a file NAME.npy for each.
type Member struct {
	Name string // without the suffix
	file *zip.File
}

// Members lists the arrays of an .npz file of size bytes, compressed or not, in the order of the file. It refuses what
// is no zip archive, and an archive that holds an array twice.
func Members(r io.ReaderAt, size int64) ([]Member, error) {
	z, err := zip.NewReader(r, size)
	if err != nil {
		return nil, fmt.Errorf("not a usable .npz file: %w", err)
	}
	members := make([]Member, len(z.File))
	seen := map[string]bool{}
	for i, f := range z.File {
		members[i] = Member{strings.TrimSuffix(f.Name, Suffix), f}
		if seen[members[i].Name] {
			return nil, fmt.Errorf("it holds the array %s twice", members[i].Name)
		}
		seen[members[i].Name] = true
	}
	return members, nil
}

// ReadIf is ReadIf of the array, ReadAny is ReadAny. Errors name neither file nor array.
func (m Member) ReadIf(accept func(d DType, shape []int) error) (*Array, error) {
	return m.read(func(r io.Reader) (*Array, error) { return ReadIf(r, accept) })
}

func (m Member) ReadAny() (*Array, error) {
	return m.read(func(r io.Reader) (*Array, error) { return ReadAny(r, 0) })
}

func (m Member) read(read func(io.Reader) (*Array, error)) (*Array, error) {
	f, err := m.file.Open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return read(bufio.NewReader(f))
}
