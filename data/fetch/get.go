package fetch

import (
	"archive/zip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"bilevel/data"
	"bilevel/internal/archive"
	"bilevel/internal/atomicfile"
	"bilevel/internal/download"
	"bilevel/internal/lockfile"
)

// Options say how to fetch.
type Options struct {
	Root     string // the folder of data sets
	Client   download.Client
	Begin    func(what string)       // is told of each piece of work; may be nil
	Progress func(done, total int64) // bytes of the piece of work; may be nil
	Say      func(line string)       // is told what a user should know; may be nil
}

// Root is the folder where data sets are put: $BILEVEL_DATA where it is set, else the user's cache.
func Root(env func(string) string) (string, error) {
	if env != nil && env(data.EnvFolder) != "" {
		return env(data.EnvFolder), nil
	}
	dir, err := data.CacheFolder("")
	return filepath.Clean(dir), err
}

// record is what this machine knows of its first download of a set. It lies beside the set's folder, so that it
// outlives it.
type record struct {
	Set      string
	Time     time.Time
	Archives map[string]archived
	Contents map[string]string // SHA-256 of the unpacked files, see contents
}

type archived struct {
	URL, SHA256, Checked string
	Bytes                int64
}

func recordPath(root, name string) string { return filepath.Join(root, name+".sums.json") }

// readRecord returns nil where there is none.
func readRecord(root, name string) (*record, error) {
	path := recordPath(root, name)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var r record
	if err := json.Unmarshal(text, &r); err != nil || r.Set != name {
		return nil, fmt.Errorf("%s is no record of a download of %s; remove it", path, name)
	}
	return &r, nil
}

// Get fetches a set into Root/NAME, whole or not at all: files are fetched and unpacked in Root/.NAME.part, which stays
// where Get fails or is cancelled, and then renamed. got is false where the set is there already. Two processes do not
// get one set at the same time: the second is refused.
func (s Set) Get(ctx context.Context, o Options) (dir string, got bool, err error) {
	dir = filepath.Join(o.Root, s.Name)
	const remedy = "%w; set $" + data.EnvFolder + " to a folder that can be written to"
	if err := os.MkdirAll(o.Root, 0o777); err != nil {
		return dir, false, fmt.Errorf(remedy, err)
	}
	if there, err := s.isThere(dir); there || err != nil {
		return dir, false, err
	}
	release, err := lockfile.Take(filepath.Join(o.Root, "."+s.Name+".lock"))
	if held := (*lockfile.Held)(nil); errors.As(err, &held) {
		return dir, false, fmt.Errorf("%s: %s is getting it into %s just now; wait until it has ended",
			s.Name, held.Holder, o.Root)
	}
	if err != nil {
		return dir, false, fmt.Errorf(remedy, err)
	}
	defer func() { err = errors.Join(err, release()) }()
	if there, err := s.isThere(dir); there || err != nil { // got by another process since
		return dir, false, err
	}
	old, err := readRecord(o.Root, s.Name)
	if err != nil {
		return dir, false, err
	}
	stage := filepath.Join(o.Root, "."+s.Name+".part")
	if err := os.MkdirAll(stage, 0o777); err != nil {
		return dir, false, fmt.Errorf(remedy, err)
	}
	now := &record{Set: s.Name, Time: time.Now().UTC().Truncate(time.Second), Archives: map[string]archived{}}
	for _, f := range s.files {
		a, err := s.getFile(ctx, o, f, stage, old)
		if err != nil {
			return dir, false, fmt.Errorf("%s: %s: %w", s.Name, f.name, err)
		}
		now.Archives[f.name] = a
		o.say(fmt.Sprintf("%s: %d bytes, SHA-256 %s (%s)", f.name, a.Bytes, a.SHA256, a.Checked))
	}
	for _, f := range s.files {
		if err := unpack(f, stage); err != nil {
			return dir, false, fmt.Errorf("%s: %s: %w", s.Name, f.name, err)
		}
	}
	o.begin(s.Name + ": checking")
	if err := s.readable(stage); err != nil {
		return dir, false, fmt.Errorf("what was fetched is not the data set: %w", err)
	}
	if now.Contents, err = contents(stage); err != nil {
		return dir, false, err
	}
	if old == nil {
		text, err := json.MarshalIndent(now, "", "  ")
		if err != nil {
			return dir, false, err
		}
		if err := atomicfile.WriteFile(recordPath(o.Root, s.Name), append(text, '\n')); err != nil {
			return dir, false, err
		}
	}
	return dir, true, os.Rename(stage, dir)
}

// isThere tells whether the set's folder is there; its error is a folder that does not hold the set.
func (s Set) isThere(dir string) (bool, error) {
	if _, err := os.Stat(dir); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return false, err
	}
	return true, s.readable(dir)
}

// readable holds the set's folder against what is published of its form and rows.
func (s Set) readable(dir string) error {
	train, test, err := s.count(dir)
	if err != nil {
		return err
	}
	if train != s.Train || test != s.Test {
		return fmt.Errorf("%s holds %d training and %d test rows, but %s has %d and %d; remove the folder and run: "+
			"bilevel data get %s",
			dir, train, test, s.Name, s.Train, s.Test, s.Name)
	}
	return nil
}

// count reads the set and counts its rows. Of sets of images in files, which would take gigabytes in memory, it counts
// the files.
func (s Set) count(dir string) (train, test int, err error) {
	if len(s.images) == 0 {
		d, err := data.OpenNamed(s.Name, dir)
		if err != nil {
			return 0, 0, err
		}
		return d.Train.N() + d.Dropped, d.Test.N(), nil
	}
	for _, pattern := range s.images {
		top, below, _ := strings.Cut(pattern.names, "/")
		n, err := countTree(dir, top, top+"/"+below)
		if err != nil {
			return 0, 0, fmt.Errorf("%w; remove the folder %s and run: bilevel data get %s", err, dir, s.Name)
		}
		if pattern.test {
			test += n
		} else {
			train += n
		}
	}
	return train, test, nil
}

// countTree counts the files of a pattern in the folder top of dir, or in the archive top.zip.
func countTree(dir, top, pattern string) (int, error) {
	var tree fs.FS = os.DirFS(dir)
	if _, err := os.Stat(filepath.Join(dir, top)); err != nil {
		path := filepath.Join(dir, top+".zip")
		z, err := zip.OpenReader(path)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
		defer z.Close()
		if err := archive.CheckZip(&z.Reader); err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
		tree = z
	}
	names, err := fs.Glob(tree, pattern)
	return len(names), err
}

// getFile fetches one file into the stage, unless a good copy is there, and compares it with the first download.
func (s Set) getFile(ctx context.Context, o Options, f file, stage string, old *record) (archived, error) {
	path := filepath.Join(stage, f.name)
	want := f.File
	first, known := archived{}, false
	if old != nil {
		first, known = old.Archives[f.name]
	}
	result, ok, err := download.Matches(want, path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return archived{}, err
	}
	if err != nil || !ok {
		o.begin(fmt.Sprintf("%s: %s", s.Name, f.name))
		client := o.Client
		client.Progress = o.Progress
		if result, err = client.Get(ctx, want, path); err != nil {
			var dead *download.Error
			if errors.As(err, &dead) {
				err = fmt.Errorf("%w; try again later, or put the file from elsewhere at %s and run the same command",
					err, path)
			}
			return archived{}, err
		}
	}
	if known && first.SHA256 != result.SHA256 && f.SHA256 == "" {
		return archived{}, fmt.Errorf("its SHA-256 is %s, but the first download on %s had %s: the publisher may have "+
			"changed the file; "+
			"remove %s and %s to take the new one", result.SHA256, old.Time.Format(time.DateOnly), first.SHA256,
			recordPath(o.Root, s.Name), path)
	}
	return archived{URL: result.URL, SHA256: result.SHA256, Bytes: result.Bytes, Checked: f.published()}, nil
}

// unpack unpacks a .tar.gz file in the stage and removes it. It goes through a folder of its own that is renamed at the
// end, so that what a crash leaves is never taken for the whole.
func unpack(f file, stage string) error {
	path := filepath.Join(stage, f.name)
	if f.unpack == (archive.Limits{}) {
		return nil
	}
	half := path + ".unpacking"
	if err := os.RemoveAll(half); err != nil {
		return err
	}
	if err := os.Mkdir(half, 0o777); err != nil {
		return err
	}
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	if err := errors.Join(archive.UnpackTarGz(in, half, f.unpack), in.Close()); err != nil {
		return errors.Join(err, os.RemoveAll(half))
	}
	entries, err := os.ReadDir(half)
	if err != nil {
		return err
	}
	for _, e := range entries {
		to := filepath.Join(stage, e.Name())
		if err := errors.Join(os.RemoveAll(to), os.Rename(filepath.Join(half, e.Name()), to)); err != nil {
			return err
		}
	}
	return errors.Join(os.Remove(half), os.Remove(path))
}

func (o Options) begin(what string) {
	if o.Begin != nil {
		o.Begin(what)
	}
}

func (o Options) say(line string) {
	if o.Say != nil {
		o.Say(strings.TrimSpace(line))
	}
}
