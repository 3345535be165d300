package table

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"bilevel/internal/atomicfile"
)

// A cell is locked by the files lock.1, lock.2, … in its folder. Who takes it makes the next one, which only one
// process can: the highest tells who has the cell, and until the cell is finished none is removed, so that a process
// that has read an old one can never take the cell from a new owner. An owner says that it lives by writing its file
// anew, which moves the file's time. A cell is free where there is no lock, where the highest says so, where its
// process on this host is dead, and where another host's file has not moved for a long time, by the clock of the file
// system that holds it.
const (
	lockPrefix = "lock."
	beatEvery  = 5 * time.Second
	staleAfter = 2 * time.Minute
)

// owner is what a lock says of the process that holds it.
type owner struct {
	Host    string `json:"host"` // with what makes processes see each other: its boot and its process namespace
	PID     int    `json:"pid"`
	Started string `json:"started"` // of the process; a later one with the same number has another
	Free    bool   `json:"free,omitempty"`
}

func (o owner) String() string {
	host, _, _ := strings.Cut(o.Host, " ")
	return fmt.Sprintf("process %d on %s", o.PID, host)
}

func self() owner { return owner{Host: host(), PID: os.Getpid(), Started: started(os.Getpid())} }

// lock is a cell that this process holds.
type lock struct {
	dir  string
	n    int
	text []byte
	end  chan struct{}
	done chan struct{}
}

// acquire takes the cell of a folder; where another process has it, it gives that one and a nil lock. lost is called
// once if a process of another host takes the cell later on.
func acquire(dir string, me owner, lost func()) (*lock, *owner, error) {
	return acquireEvery(dir, me, beatEvery, lost)
}

// acquireEvery is acquire with the time between two beats.
func acquireEvery(dir string, me owner, every time.Duration, lost func()) (*lock, *owner, error) {
	n, err := latest(dir)
	if err != nil {
		return nil, nil, err
	}
	if n > 0 {
		by, free, err := holder(dir, n, me)
		if !free || err != nil {
			return nil, by, err
		}
	}
	text, err := json.Marshal(me)
	if err != nil {
		return nil, nil, err
	}
	l := &lock{dir, n + 1, text, make(chan struct{}), make(chan struct{})}
	whole, err := os.CreateTemp(dir, ".lock-*")
	if err != nil {
		return nil, nil, err
	}
	defer os.Remove(whole.Name())
	_, err = whole.Write(text)
	if err = errors.Join(err, whole.Close()); err != nil {
		return nil, nil, err
	}
	switch err := os.Link(whole.Name(), l.path()); { // fails where the file exists, else it is there with all it says
	case errors.Is(err, fs.ErrExist):
		return nil, &owner{Host: "this or another host"}, nil
	case err != nil:
		return nil, nil, fmt.Errorf("the folder cannot be locked: %w", err)
	}
	go l.beat(every, lost)
	return l, nil, nil
}

func lockPath(dir string, n int) string { return filepath.Join(dir, lockPrefix+strconv.Itoa(n)) }
func (l *lock) path() string            { return lockPath(l.dir, l.n) }

// latest is the number of the highest lock, 0 without any.
func latest(dir string) (n int, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if rest, ok := strings.CutPrefix(e.Name(), lockPrefix); ok {
			if k, err := strconv.Atoi(rest); err == nil {
				n = max(n, k)
			}
		}
	}
	return n, err
}

// holder reads lock n, and tells whether its cell may be taken.
func holder(dir string, n int, me owner) (by *owner, free bool, err error) {
	by = &owner{Host: "an unknown host"}
	text, err := os.ReadFile(lockPath(dir, n))
	if errors.Is(err, fs.ErrNotExist) { // the cell was finished a moment ago
		return by, false, nil
	}
	if err != nil {
		return by, false, err
	}
	json.Unmarshal(text, by) // what cannot be read is of an unknown host, and its time decides
	if by.Free {
		return by, true, nil
	}
	if by.Host == me.Host {
		return by, !alive(by.PID, by.Started), nil
	}
	age, err := unmoved(dir, lockPath(dir, n))
	return by, age > staleAfter, err
}

// unmoved is how long ago a file was written, by the clock that dates the folder's files.
func unmoved(dir, path string) (time.Duration, error) {
	now, err := os.CreateTemp(dir, ".now-*")
	if err != nil {
		return 0, err
	}
	here, err := now.Stat()
	if err = errors.Join(err, now.Close(), os.Remove(now.Name())); err != nil {
		return 0, err
	}
	there, err := os.Stat(path)
	if err != nil {
		return 0, nil // it was released a moment ago
	}
	return here.ModTime().Sub(there.ModTime()), nil
}

// beat moves the file's time until the lock is released. The bytes stay the same, so that nobody can read half of them.
func (l *lock) beat(every time.Duration, lost func()) {
	defer close(l.done)
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-l.end:
			return
		case <-t.C:
		}
		if n, err := latest(l.dir); err == nil && n > l.n {
			lost()
			return
		}
		if f, err := os.OpenFile(l.path(), os.O_WRONLY, 0); err == nil {
			f.WriteAt(l.text, 0) // where it fails, another host may take the cell, and this one learns of it
			f.Close()
		}
	}
}

// release gives the cell back. Where it is finished, nobody asks for its locks any more.
func (l *lock) release(finished bool) error {
	close(l.end)
	<-l.done
	if !finished {
		var o owner
		if err := json.Unmarshal(l.text, &o); err != nil {
			return err
		}
		o.Free = true
		text, err := json.Marshal(o)
		if err != nil {
			return err
		}
		return atomicfile.WriteFile(l.path(), text)
	}
	for n := l.n; n > 0; n-- {
		if err := os.Remove(lockPath(l.dir, n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
