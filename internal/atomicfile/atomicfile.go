// Package atomicfile writes files that are there whole or not at all.
package atomicfile

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// Write creates or replaces the file path with what write writes. The content goes to a temporary file in the same
// folder (.NAME.tmp-XXXXXXXX), which is synced to disk and then renamed, so that other processes see the old file or
// the whole new one, and a crash leaves the one or the other. A symbolic link is followed, a file that is replaced
// keeps its permissions, and what is no regular file, such as a device or a pipe, is written to as it is.
//
// When write or anything after it fails, the temporary file is removed, the old file stays as it was, and the error is
// returned; write's own error is returned as it is. A process killed in between leaves its temporary file behind.
func Write(path string, write func(io.Writer) error) (err error) {
	target := follow(path)
	old, err := os.Stat(target)
	if err == nil && !old.Mode().IsRegular() {
		return writeInto(target, write)
	}
	f, err := create(target)
	if err != nil {
		return failed(path, err)
	}
	done := false
	defer func() {
		if !done { // an error, or a panic on its way through
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if old != nil {
		if err := f.Chmod(old.Mode().Perm()); err != nil {
			return failed(path, err)
		}
	}
	if err := buffered(f, path, write); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return failed(path, err)
	}
	if err := f.Close(); err != nil {
		return failed(path, err)
	}
	pause(path)
	if err := os.Rename(f.Name(), target); err != nil {
		return failed(path, err)
	}
	done = true
	return nil
}

// buffered has write write to f, and returns its error as it is.
func buffered(f *os.File, path string, write func(io.Writer) error) error {
	w := bufio.NewWriterSize(f, 64<<10)
	if err := write(w); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return failed(path, err)
	}
	return nil
}

// writeInto writes to what is no regular file, which a rename would replace by one.
func writeInto(path string, write func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return failed(path, err)
	}
	if err := buffered(f, path, write); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return failed(path, err)
	}
	return nil
}

// follow is the file that a path of symbolic links leads to, whether it is there or not.
func follow(path string) string {
	for range 40 { // as many as Linux follows
		to, err := os.Readlink(path)
		if err != nil { // it is no link
			break
		}
		if !filepath.IsAbs(to) {
			to = filepath.Dir(path) + string(filepath.Separator) + to // uncleaned: Dir may be a link, too
		}
		path = to
	}
	return path
}

// failed names the file that was to be written, instead of the temporary one.
func failed(path string, err error) error {
	var named *fs.PathError
	var renamed *os.LinkError
	switch {
	case errors.As(err, &named):
		err = named.Err
	case errors.As(err, &renamed):
		err = renamed.Err
	}
	return &fs.PathError{Op: "write", Path: path, Err: err}
}

// WriteFile is Write of data.
func WriteFile(path string, data []byte) error {
	return Write(path, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// create opens a new temporary file beside path. Unlike os.CreateTemp it leaves the permissions to the process's umask.
func create(path string) (*os.File, error) {
	dir, base := filepath.Split(path)
	for try := 0; ; try++ {
		name := fmt.Sprintf("%s.%s.tmp-%08x", dir, base, rand.Uint32())
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
		if errors.Is(err, fs.ErrExist) && try < 100 {
			continue
		}
		return f, err
	}
}
