package download

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
)

// partial is the file that is being fetched, with a note beside it of where its bytes come from.
type partial struct {
	path    string
	resumed bool // some of its bytes were there before the last request
}

// origin is what a partial file's note says.
type origin struct{ URL, ETag, Modified string }

func (p *partial) note() string { return p.path + "-of" }

// begin tells how many bytes are there, and where they come from.
func (p *partial) begin() (size int64, from origin) {
	info, err := os.Stat(p.path)
	if err != nil {
		return 0, from
	}
	if text, err := os.ReadFile(p.note()); err == nil {
		json.Unmarshal(text, &from) // a note that is not understood says nothing
	}
	return info.Size(), from
}

func (p *partial) remove() error {
	return errors.Join(removeIfThere(p.path), removeIfThere(p.note()))
}

func removeIfThere(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// sync has the disk keep the file before it gets its name.
func (p *partial) sync() error {
	f, err := os.OpenFile(p.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// anew takes a partial file that leads nowhere away and has the mirror asked once more.
func anew(p *partial, why error) error {
	if err := p.remove(); err != nil {
		return err
	}
	return &mirrorError{err: why, again: true}
}

// refuse takes bytes away that are not those of the file.
func refuse(p *partial, why error) error {
	if err := p.remove(); err != nil {
		return err
	}
	return &mirrorError{err: why}
}
