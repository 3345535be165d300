// Package lockfile keeps two processes of one machine from doing the same work at once. The operating system holds the
// lock, and lets go of it when the process ends in whatever way.
package lockfile

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
)

// Held says that another process has the lock.
type Held struct {
	Path   string
	Holder string // "process 123"; "another process" where that is not known
}

func (e *Held) Error() string { return fmt.Sprintf("%s holds %s", e.Holder, e.Path) }

// Take takes the lock that the file path stands for, or returns a *Held at once. release lets go of it and removes the
// file.
func Take(path string) (release func() error, err error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
		if err != nil {
			return nil, err
		}
		ok, err := lock(f)
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if !ok {
			defer f.Close()
			held := &Held{path, "another process"}
			if text, err := io.ReadAll(io.LimitReader(f, 100)); err == nil && len(text) > 0 {
				held.Holder = strings.TrimSpace(string(text))
			}
			return nil, held
		}
		if !isAt(f, path) { // who had it has removed the file since it was opened, and others lock another one
			f.Close()
			continue
		}
		if err := sign(f); err != nil {
			os.Remove(path)
			f.Close()
			return nil, err
		}
		return func() error { return letGo(f, path) }, nil
	}
}

// sign writes into the file who holds it.
func sign(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := fmt.Fprintf(f, "process %d\n", os.Getpid())
	return err
}

// isAt tells whether an open file is the one that a path leads to.
func isAt(f *os.File, path string) bool {
	open, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(open, there)
}

// letGo removes the file while it is locked, where the system lets open files be removed.
func letGo(f *os.File, path string) error {
	if runtime.GOOS == "windows" {
		if err := f.Close(); err != nil {
			return err
		}
		os.Remove(path) // fails where another process has opened it since, which needs it
		return nil
	}
	err := os.Remove(path)
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}
