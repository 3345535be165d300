package fetch

import (
	"archive/zip"
	"bufio"
	"compress/bzip2"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bilevel/internal/archive"
	"bilevel/internal/download"
)

// zipLimits bound what is read of a zip archive to check it: Tiny-ImageNet has 120,000 files.
var zipLimits = archive.Limits{Files: 1 << 18, Bytes: 4 << 30}

// Verdict is what Verify found.
type Verdict struct {
	Good     bool
	Says     string            // in a sentence
	Contents map[string]string // SHA-256 of the unpacked files
}

// Verify checks a set on this machine: that it reads as the set should, and that the unpacked content of its files is
// the published one, or that of this machine's first download, however the files are packed. root is where records of
// first downloads are.
func (s Set) Verify(root, dir string) (Verdict, error) {
	if err := s.readable(dir); err != nil {
		return Verdict{}, err
	}
	have, err := contents(dir)
	if err != nil {
		return Verdict{}, err
	}
	v := Verdict{Good: true, Contents: have}
	for _, r := range s.releases {
		if covers(have, r.contents) {
			v.Says = "good: the content is that of " + r.name
			if r.note != "" {
				v.Says += "; " + r.note
			}
			return v, nil
		}
	}
	published, err := s.asPublished(dir)
	if err != nil {
		return Verdict{}, err
	}
	if published {
		v.Says = "good: the files are the published ones"
		return v, nil
	}
	first, err := readRecord(root, s.Name)
	if err != nil {
		return Verdict{}, err
	}
	if first != nil && len(first.Contents) > 0 {
		if covers(have, first.Contents) {
			v.Says = "good: the content is that of the first download on " + first.Time.Format(time.DateOnly)
			return v, nil
		}
		v.Good = false
		v.Says = fmt.Sprintf(
			"bad: %s is not as in the first download on %s; remove the folder %s and run: bilevel data get %s",
			differing(have, first.Contents), first.Time.Format(time.DateOnly), dir, s.Name)
		return v, nil
	}
	if s.allKnown {
		v.Good = false
		v.Says = fmt.Sprintf(
			"bad: its files read well, but their content is of no known release (%s differs); remove the "+
				"folder %s and run: bilevel data get %s",
			differing(have, s.releases[0].contents), dir, s.Name)
		return v, nil
	}
	for _, r := range s.releases {
		v.Says = fmt.Sprintf("it is not %s; it ", r.name)
	}
	v.Says += fmt.Sprintf("reads well, %d + %d rows as published; its bytes cannot be compared, for no sums of the "+
		"content are published and this "+
		"machine has not downloaded it", s.Train, s.Test)
	return v, nil
}

// asPublished tells whether all files are there as they are published, by their sums.
func (s Set) asPublished(dir string) (bool, error) {
	for _, f := range s.files {
		if f.SHA256 == "" && f.MD5 == "" {
			return false, nil
		}
		_, ok, err := download.Matches(f.File, filepath.Join(dir, f.name))
		if os.IsNotExist(err) {
			return false, nil
		}
		if err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

// covers tells whether have holds all of want.
func covers(have, want map[string]string) bool {
	for key, sum := range want {
		if have[key] != sum {
			return false
		}
	}
	return true
}

func differing(have, want map[string]string) string {
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if have[key] != want[key] {
			return key
		}
	}
	return "nothing"
}

// contents gives the SHA-256 of the unpacked content of the files of a set's folder, by their names without the endings
// of packing; the dot before idx that some unpackers write counts as a hyphen. A zip archive, or a folder beside, is
// one content: archive.Digest of its tree, so that an unpacked copy has the sum of its archive.
func contents(dir string) (map[string]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	sums := map[string]string{}
	for _, e := range entries {
		name := e.Name()
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		key := strings.ReplaceAll(name, ".idx", "-idx")
		var sum string
		switch {
		case strings.HasPrefix(name, "."):
			continue
		case info.IsDir():
			sum, err = archive.Digest(os.DirFS(dir), name, zipLimits)
		case strings.HasSuffix(name, ".zip"):
			key = strings.TrimSuffix(name, ".zip")
			sum, err = zipDigest(path)
		default:
			sum, err = fileDigest(path)
			key = strings.TrimSuffix(strings.TrimSuffix(key, ".gz"), ".bz2")
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		sums[key] = sum
	}
	return sums, nil
}

func zipDigest(path string) (string, error) {
	z, err := zip.OpenReader(path)
	if err != nil {
		return "", err
	}
	defer z.Close()
	if err := archive.CheckZip(&z.Reader); err != nil {
		return "", err
	}
	return archive.Digest(fs.FS(z), ".", zipLimits)
}

// fileDigest is the SHA-256 of a file's content, unpacked where it begins as gzip or bzip2 files do.
func fileDigest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b := bufio.NewReader(f)
	var r io.Reader = b
	switch head, _ := b.Peek(3); {
	case strings.HasPrefix(string(head), gzipMagic):
		if r, err = gzip.NewReader(b); err != nil {
			return "", err
		}
	case string(head) == bzipMagic:
		r = bzip2.NewReader(b)
	}
	sum := sha256.New()
	_, err = io.Copy(sum, io.LimitReader(r, zipLimits.Bytes))
	return hex.EncodeToString(sum.Sum(nil)), err
}
