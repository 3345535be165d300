// Package exactread reads the bodies of binary files whose headers say how long they are, without believing them.
package exactread

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// ErrTrailing says that the reader holds more than the bytes asked for.
var ErrTrailing = errors.New("there are further bytes behind the end")

// Open opens a file. known is the number of bytes that it is known to hold: 0 where it is no regular file.
func Open(path string) (f *os.File, known int64, err error) {
	if f, err = os.Open(path); err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	if info.Mode().IsRegular() {
		known = info.Size()
	}
	return f, known, nil
}

// first is the memory set aside before anything was read.
const first = 1 << 20

// All returns the n bytes r holds. It is an error if r ends before (it wraps io.ErrUnexpectedEOF) or goes on behind
// them (it wraps ErrTrailing). Memory grows by doubling with what is really read, so that a header that claims absurd
// sizes costs nothing. With known, which says that r is known to hold n bytes, as from the size of its file, it is set
// aside at once.
func All(r io.Reader, n int, known bool) ([]byte, error) {
	size := min(n, first)
	if known {
		size = n
	}
	buf := make([]byte, size)
	for got := 0; ; {
		k, err := io.ReadFull(r, buf[got:])
		got += k
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil, fmt.Errorf("it ends after %d of %d bytes: %w", got, n, io.ErrUnexpectedEOF)
		}
		if err != nil {
			return nil, err
		}
		if got == n {
			break
		}
		bigger := make([]byte, got+min(n-got, got))
		copy(bigger, buf)
		buf = bigger
	}
	return buf, End(r)
}

// End checks that r is at its end.
func End(r io.Reader) error {
	var one [1]byte
	switch _, err := io.ReadFull(r, one[:]); err {
	case io.EOF:
		return nil
	case nil:
		return ErrTrailing
	default:
		return err
	}
}
