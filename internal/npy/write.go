package npy

import (
	"io"
	"strconv"

	"bilevel/internal/atomicfile"
)

// Write writes a in format version 1.0, the same bytes as numpy.save.
func Write(w io.Writer, a *Array) error {
	if err := a.check(); err != nil {
		return err
	}
	h := header{descr: a.descr(), shape: a.Shape}
	if _, err := w.Write(h.format()); err != nil {
		return err
	}
	_, err := w.Write(a.Data)
	return err
}

// WriteRawFile creates or replaces the file path by a, whole or not at all.
func WriteRawFile(path string, a *Raw) error {
	h := header{descr: a.Type.String(), shape: a.Shape}
	if a.Type.Kind == 'r' {
		h.record = &a.Type
	}
	return atomicfile.Write(path, func(w io.Writer) error {
		if _, err := w.Write(h.format()); err != nil {
			return err
		}
		_, err := w.Write(a.Data)
		return err
	})
}

// descr is the type as a file's header says it; text counts its characters.
func (a *Array) descr() string {
	row := dtypes[a.DType].descr
	switch a.DType {
	case UnicodeType:
		return row + strconv.Itoa(a.Width/4)
	case BytesType:
		return row + strconv.Itoa(a.Width)
	}
	return row
}

// WriteFile creates or replaces the file path by a, whole or not at all.
func WriteFile(path string, a *Array) error {
	return atomicfile.Write(path, func(w io.Writer) error { return Write(w, a) })
}
