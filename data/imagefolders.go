package data

import (
	"cmp"
	"errors"
	"fmt"
	"image"
	"image/color"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Image gives the size of the rows as images. Rows of the shape [height, width] have one channel; in rows of the shape
// [height, width, channels] the channels of a pixel are neighbours. Other rows are no images: the error says why, and
// what makes images of rows whose channels come first.
func (d *Dataset) Image() (height, width, channels int, err error) {
	const few = 4 // no image file has more channels
	switch s := d.Shape; {
	case len(s) == 2:
		return s[0], s[1], 1, nil
	case len(s) == 3 && s[0] <= few && s[1] > few && s[2] > few:
		return 0, 0, 0, fmt.Errorf("the rows of %s have the shape %v, with the channels first; images need them last: "+
			"save x.transpose(0, 2, 3, 1)", d.Name, s)
	case len(s) == 3:
		return s[0], s[1], s[2], nil
	}
	return 0, 0, 0, fmt.Errorf("the rows of %s have the shape %v and are no images, whose shape is [height, width] or "+
		"[height, width, channels]", d.Name, d.Shape)
}

func isImage(name string) bool {
	return slices.Contains([]string{".png", ".jpg", ".jpeg"}, strings.ToLower(path.Ext(name)))
}

// imagesOf lists the image files of a class's folder: those in it, or in its folder images, as Tiny-ImageNet has them.
func imagesOf(in fs.FS, class string) (names []string, err error) {
	for _, dir := range []string{class, path.Join(class, "images")} {
		entries, err := fs.ReadDir(in, dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			file := e.Type().IsRegular() || e.Type() == fs.ModeSymlink
			if file && isImage(e.Name()) && !strings.HasPrefix(e.Name(), ".") {
				names = append(names, path.Join(dir, e.Name()))
			}
		}
	}
	return names, nil
}

// resultFiles are files that every folder of results has. The pictures of a report beside them are no class of images.
var resultFiles = []string{"config.yaml", "result.json"}

func holdsResults(in fs.FS, dir string) bool {
	return slices.ContainsFunc(resultFiles, func(name string) bool {
		_, err := fs.Stat(in, path.Join(dir, name))
		return err == nil
	})
}

// classesOf lists the folders of dir that hold images, each a class.
func classesOf(in fs.FS, dir string) (classes []string, err error) {
	entries, err := fs.ReadDir(in, dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if info, err := fs.Stat(in, path.Join(dir, e.Name())); err != nil || !info.IsDir() { // links are followed
			continue
		}
		if holdsResults(in, path.Join(dir, e.Name())) {
			continue
		}
		names, err := imagesOf(in, path.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		if len(names) > 0 {
			classes = append(classes, e.Name())
		}
	}
	return classes, nil
}

// imageFolders finds folders of images: those of the parts where there is one for training rows, else the classes'.
func (l *listing) imageFolders() []string {
	if l.tinyImageNet() != nil || l.omniglot() != nil {
		return nil
	}
	in := os.DirFS(l.dir)
	var found []string
	for _, name := range l.folders {
		if r := roleOf([]string{strings.ToLower(name)}); r.partSaid {
			if classes, err := classesOf(in, name); err == nil && len(classes) > 0 && r.part == trainPart {
				found = append(found, name)
			}
		}
	}
	if len(found) > 0 {
		return found
	}
	classes, err := classesOf(in, ".")
	if err != nil {
		return nil
	}
	return classes
}

// labelled is an image file and its class.
type labelled struct{ file, class string }

// readImageFolders reads train/CLASS/*.png, and val and test likewise, or CLASS/*.png, which is the training part: PNG
// and JPEG, directly in the folder of a class or in a folder images below it. A validation part may also lie as
// Tiny-ImageNet's does, val/images/*.JPEG with val_annotations.txt. All images must have one size; where none of them
// has colours they have one channel, else three.
func readImageFolders(dir string, names []string, _ Options) (*Dataset, error) {
	in := os.DirFS(dir)
	var files [parts][]labelled
	folders := map[string]part{".": trainPart}
	if r := roleOf([]string{strings.ToLower(names[0])}); r.partSaid && r.part == trainPart {
		folders = map[string]part{}
		entries, err := fs.ReadDir(in, ".")
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if r := roleOf([]string{strings.ToLower(e.Name())}); r.partSaid {
				folders[e.Name()] = r.part
			}
		}
	}
	var seen [parts]string
	var notes []string
	for _, folder := range slices.Sorted(maps.Keys(folders)) {
		p := folders[folder]
		found, err := imagesBelow(in, folder)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", dir, err)
		}
		if len(found) == 0 {
			notes = append(notes, fmt.Sprintf("%s holds no images in folders of their classes; it is left aside",
				filepath.Join(dir, folder)))
			continue
		}
		if seen[p] != "" {
			return nil, fmt.Errorf("%s: %s and %s may both hold the %v images; move one of them elsewhere", dir,
				seen[p], folder, p)
		}
		seen[p], files[p] = folder, found
		left, err := leftOut(in, folder, found)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", dir, err)
		}
		if len(left) > 0 {
			notes = append(notes, fmt.Sprintf("of the images in %s, these are left out: %s; PNG and JPEG are read, in "+
				"the folder of a class or its folder images", filepath.Join(dir, folder), fewOf(left)))
		}
	}
	channels, err := channelsOf(in, files)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	var of [parts]*rows
	for i, list := range files {
		if len(list) == 0 {
			continue
		}
		p := newPictures(filepath.Join(dir, seen[i]), channels)
		for _, f := range list {
			if err := p.add(in, f.file, f.class); err != nil {
				return nil, fmt.Errorf("%s: %w", dir, err)
			}
		}
		if err := p.check(); err != nil {
			return nil, err
		}
		of[i] = &p.rows
	}
	d, err := assemble(dir, of)
	if d != nil {
		d.Notes = append(notes, d.Notes...)
	}
	return d, err
}

// otherImages are endings of images that are not read.
var otherImages = []string{".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".heic", ".ppm", ".pgm", ".jfif"}

// leftOut lists the image files below a part's folder that are neither among those that were taken nor results.
func leftOut(in fs.FS, folder string, taken []labelled) (left []string, err error) {
	known := map[string]bool{}
	for _, f := range taken {
		known[f.file] = true
	}
	err = fs.WalkDir(in, folder, func(file string, entry fs.DirEntry, err error) error {
		below := file != folder
		hidden := below && strings.HasPrefix(entry.Name(), ".")
		switch {
		case err != nil || below && entry.IsDir() && (hidden || holdsResults(in, file)):
			return cmp.Or(err, fs.SkipDir)
		case hidden || entry.IsDir() || known[file]:
		case isImage(file) || slices.Contains(otherImages, strings.ToLower(path.Ext(file))):
			left = append(left, file)
		}
		return nil
	})
	return left, err
}

// imagesBelow lists the images of a part with their classes: by the names of the classes' folders, then by those of
// the files. This order numbers the rows.
func imagesBelow(in fs.FS, folder string) (files []labelled, err error) {
	if _, err := fs.Stat(in, path.Join(folder, tinyAnnotations)); err == nil {
		return annotated(in, folder)
	}
	if info, err := fs.Stat(in, folder); err != nil || !info.IsDir() {
		return nil, err
	}
	classes, err := classesOf(in, folder)
	if err != nil {
		return nil, err
	}
	for _, class := range classes {
		names, err := imagesOf(in, path.Join(folder, class))
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			files = append(files, labelled{name, class})
		}
	}
	return files, nil
}

// channelsOf is 1 where all images are grey, and 3 where one of them may have colours.
func channelsOf(in fs.FS, files [parts][]labelled) (int, error) {
	for _, f := range slices.Concat(files[:]...) {
		grey, err := isGrey(in, f.file)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", f.file, err)
		}
		if !grey {
			return 3, nil
		}
	}
	return 1, nil
}

// isGrey tells by its header whether an image has no colours. An image that cannot be read passes for grey: decoding
// finds out why.
func isGrey(in fs.FS, name string) (bool, error) {
	f, err := in.Open(name)
	if err != nil {
		return false, err
	}
	defer f.Close()
	c, _, err := image.DecodeConfig(io.LimitReader(f, maxImageFile))
	return err != nil || c.ColorModel == color.GrayModel || c.ColorModel == color.Gray16Model, nil
}
