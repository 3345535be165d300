package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"bilevel/device"
	"bilevel/experiments"
)

// resultsFolder is the folder of a command's results where --out names none. For data in a folder, its name has the
// last element of the data folder's path.
func resultsFolder(command, set string) string {
	if abs, err := filepath.Abs(set); err == nil {
		set = abs
	}
	set = filepath.Base(set)
	if set == string(filepath.Separator) {
		set = "root"
	}
	return filepath.Join("results", command+"-"+set)
}

// checkWritable finds out, before any work is done, whether results can be written to a folder. The folder need not
// exist, and checkWritable does not make it.
func checkWritable(dir string) error {
	there := filepath.Clean(dir)
	info, err := os.Stat(there)
	if to, link := os.Readlink(there); link == nil && errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("results cannot be written to %s: it is a link to %s, which is not there", dir, to)
	}
	for errors.Is(err, fs.ErrNotExist) && filepath.Dir(there) != there {
		there = filepath.Dir(there)
		info, err = os.Stat(there)
	}
	if err == nil && info.IsDir() {
		var f *os.File
		if f, err = os.CreateTemp(there, ".bilevel-*"); err == nil {
			return errors.Join(f.Close(), os.Remove(f.Name()))
		}
	}
	if err == nil {
		return fmt.Errorf("results cannot be written to %s: %s is a file; give another folder as --out", dir, there)
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return fmt.Errorf("results cannot be written to %s: %w; give another folder as --out", dir, err)
}

// store keeps cells in a folder of results.
func (a *app) store(dir string) *experiments.Store {
	return &experiments.Store{
		Dir: dir, Version: versionText(),
		Warn: func(format string, args ...any) { fmt.Fprintf(a.stderr, "warning: "+format+"\n", args...) },
	}
}

// deviceText names a device in checkpoints, by which a run that goes on sees that it is on another one.
func deviceText(info device.Info) string { return info.Name + " (" + info.Detail + ")" }
