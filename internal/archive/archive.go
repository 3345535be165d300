// Package archive unpacks and examines archives from strangers: no path leaves the folder, and sizes are counted as
// bytes come, whatever headers say.
package archive

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

// Limits bound what an archive may unpack to.
type Limits struct {
	Files int
	Bytes int64 // of all files together
}

// budget is what is left of limits.
type budget struct {
	limits Limits
	files  int
	bytes  int64
}

func (b *budget) file() error {
	if b.files++; b.files > b.limits.Files {
		return fmt.Errorf("it holds more than %d files", b.limits.Files)
	}
	return nil
}

// copy copies until the end of r or the end of the budget.
func (b *budget) copy(w io.Writer, r io.Reader) error {
	n, err := io.Copy(w, io.LimitReader(r, b.limits.Bytes-b.bytes+1))
	if b.bytes += n; err == nil && b.bytes > b.limits.Bytes {
		return fmt.Errorf("it unpacks to more than %d bytes", b.limits.Bytes)
	}
	return err
}

// local refuses names that are absolute, or lead out of the folder, or are no plain path with slashes.
func local(name string) error {
	if !fs.ValidPath(strings.TrimSuffix(strings.TrimPrefix(name, "./"), "/")) || strings.ContainsAny(name, "\\:\x00") {
		return fmt.Errorf("the name %.80q would lead out of the folder or is not portable", name)
	}
	return nil
}

// UnpackTarGz writes the files of a tar archive compressed by gzip into the folder dir, which must exist. Entries other
// than files and folders are refused, and so is a file that is there already, so that no link is ever followed or made.
// What was written before an error stays: unpack into a folder that is thrown away then.
func UnpackTarGz(r io.Reader, dir string, l Limits) error {
	z, err := gzip.NewReader(r)
	if err != nil {
		return fmt.Errorf("not a .tar.gz file: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	left := &budget{limits: l}
	for in := tar.NewReader(z); ; {
		h, err := in.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("not a usable .tar.gz file: %w", err)
		}
		if err := local(h.Name); err != nil {
			return err
		}
		if err := left.file(); err != nil {
			return err
		}
		switch h.Typeflag {
		case tar.TypeDir:
			err = root.MkdirAll(path.Clean(h.Name), 0o777)
		case tar.TypeReg:
			err = unpackFile(root, path.Clean(h.Name), in, left)
		case tar.TypeXGlobalHeader:
		default:
			err = fmt.Errorf("%.80q is a link or device; only files and folders are unpacked", h.Name)
		}
		if err != nil {
			return err
		}
	}
	_, err = io.Copy(io.Discard, io.LimitReader(z, 1<<20)) // to the sum at the end
	return err
}

func unpackFile(root *os.Root, name string, r io.Reader, left *budget) error {
	if dir := path.Dir(name); dir != "." {
		if err := root.MkdirAll(dir, 0o777); err != nil {
			return err
		}
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	return errors.Join(left.copy(f, r), f.Sync(), f.Close())
}

// CheckZip looks at the names of a zip archive; Digest reads it all.
func CheckZip(z *zip.Reader) error {
	for _, f := range z.File {
		if err := local(f.Name); err != nil {
			return err
		}
		if mode := f.Mode(); !mode.IsRegular() && !mode.IsDir() {
			return fmt.Errorf("%.80q is a link or device; archives of files are read only", f.Name)
		}
	}
	return nil
}

// Digest is the SHA-256 of the files of a tree: of the lines "SHA-256 of the content, two spaces, path", as sha256sum
// writes them, in the order of fs.WalkDir. It does not depend on how an archive is compressed, or whether it is
// unpacked.
func Digest(tree fs.FS, top string, l Limits) (string, error) {
	all, left := sha256.New(), &budget{limits: l}
	err := fs.WalkDir(tree, top, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if err := left.file(); err != nil {
			return err
		}
		f, err := tree.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		sum := sha256.New()
		if err := left.copy(sum, f); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		fmt.Fprintf(all, "%s  %s\n", hexSum(sum), name)
		return nil
	})
	if err != nil {
		return "", err
	}
	return hexSum(all), nil
}

func hexSum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }
