package data

import (
	"archive/zip"
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	_ "image/jpeg" // Tiny-ImageNet's
	_ "image/png"  // Omniglot's
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

const (
	maxImageFile   = 1 << 20 // bytes
	maxImagePixels = 1 << 16 // of one image; those of the sets here have at most 11,025
)

// pictures collects images of one size.
type pictures struct {
	rows
	channels int
	first    string   // the image whose size all should have
	odd      []string // images of other sizes
}

// sizeError is the height and width of an image where they are not those of the images before it.
type sizeError [2]int

func (e *sizeError) Error() string { return fmt.Sprintf("%d×%d", e[0], e[1]) }

// check names all images whose size is another than that of the first, besides what is checked of all rows.
func (p *pictures) check() error {
	if len(p.odd) > 0 {
		return fmt.Errorf("%s: images must be of one size, which is %v in %s, but another one in %s; resize or crop "+
			"the images", p.from, &sizeError{p.shape[0], p.shape[1]}, p.first, fewOf(p.odd))
	}
	return p.rows.check(p.from)
}

// add decodes the image file name of tree and appends it with its label: grey values 0 … 255, or red, green and blue
// side by side. Nothing is set aside before the size that the file claims was checked. An image of another size than
// the first is left out and named by check.
func (p *pictures) add(tree fs.FS, name, label string) error {
	f, err := tree.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxImageFile+1))
	if err == nil && len(text) > maxImageFile {
		err = fmt.Errorf("it is larger than %d bytes", maxImageFile)
	}
	if err == nil {
		err = p.decode(text)
	}
	if other := (*sizeError)(nil); errors.As(err, &other) {
		p.odd = append(p.odd, fmt.Sprintf("%s (%v)", name, other))
		return nil
	}
	if p.first == "" {
		p.first = name
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	p.labels.words, p.files = append(p.labels.words, label), append(p.files, name)
	return nil
}

func (p *pictures) decode(text []byte) error {
	c, _, err := image.DecodeConfig(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("no image that is read here: %w", err)
	}
	if c.Width < 1 || c.Height < 1 || c.Width > maxImagePixels || c.Height > maxImagePixels ||
		c.Width*c.Height > maxImagePixels {
		return fmt.Errorf("an image of %d×%d; at most %d pixels are read: make the images smaller", c.Width, c.Height,
			maxImagePixels)
	}
	shape := []int{c.Height, c.Width}
	if p.channels == 3 {
		shape = append(shape, 3)
	}
	if p.shape == nil {
		p.shape = shape
	}
	if !slices.Equal(p.shape, shape) {
		return &sizeError{c.Height, c.Width}
	}
	m, _, err := image.Decode(bytes.NewReader(text))
	if err != nil {
		return err
	}
	b := m.Bounds()
	if b.Dx() != c.Width || b.Dy() != c.Height {
		return errors.New("the image has another size than its header says")
	}
	p.append(m)
	return nil
}

// append appends the pixels of an image.
func (p *pictures) append(m image.Image) {
	b := m.Bounds()
	if p.channels == 1 {
		grey := greyOf(m)
		for y := b.Min.Y; y < b.Max.Y; y++ {
			for x := b.Min.X; x < b.Max.X; x++ {
				p.bytes = append(p.bytes, grey(x, y))
			}
		}
		return
	}
	rgba := image.NewRGBA(b)
	draw.Draw(rgba, b, m, b.Min, draw.Src)
	for i := 0; i < len(rgba.Pix); i += 4 {
		p.bytes = append(p.bytes, rgba.Pix[i:i+3]...)
	}
}

// greyOf gives the grey value of a pixel, 0 … 255. Omniglot's images have palettes, whose few colours are converted
// once.
func greyOf(m image.Image) func(x, y int) uint8 {
	if p, ok := m.(*image.Paletted); ok {
		table := make([]uint8, 256)
		for i, c := range p.Palette {
			table[i] = color.GrayModel.Convert(c).(color.Gray).Y
		}
		return func(x, y int) uint8 { return table[p.ColorIndexAt(x, y)] }
	}
	if g, ok := m.(*image.Gray); ok {
		return func(x, y int) uint8 { return g.GrayAt(x, y).Y }
	}
	return func(x, y int) uint8 { return color.GrayModel.Convert(m.At(x, y)).(color.Gray).Y }
}

// tree opens a folder, or a zip archive of that name, to be walked in the same way.
func tree(dir, name string) (fs.FS, io.Closer, error) {
	if info, err := os.Stat(filepath.Join(dir, name)); err == nil && info.IsDir() {
		return os.DirFS(dir), io.NopCloser(nil), nil
	}
	z, err := zip.OpenReader(filepath.Join(dir, name+".zip"))
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", filepath.Join(dir, name+".zip"), err)
	}
	return z, z, nil
}

// omniglotParts are the folders or archives of Omniglot (B. Lake, R. Salakhutdinov, J. Tenenbaum, Human-level concept
// learning through probabilistic program induction, Science 350, 2015).
var omniglotParts = [parts]string{trainPart: "images_background", testPart: "images_evaluation"}

func (l *listing) omniglot() []string {
	return l.treesOf(omniglotParts[trainPart], omniglotParts[testPart])
}

// treesOf finds folders or archives of these names.
func (l *listing) treesOf(names ...string) (found []string) {
	for _, name := range names {
		if slices.Contains(l.folders, name) || slices.Contains(l.files, name+".zip") {
			found = append(found, name)
		}
	}
	return found
}

// readOmniglotFolder reads ALPHABET/CHARACTER/*.png: a class for each character. The two parts have no class in common.
func readOmniglotFolder(dir string, names []string, _ Options) (*Dataset, error) {
	var of [parts]*rows
	for i, name := range omniglotParts {
		if name == "" || !slices.Contains(names, name) {
			continue
		}
		p := newPictures(filepath.Join(dir, name), 1)
		in, closer, err := tree(dir, name)
		if err != nil {
			return nil, err
		}
		err = fs.WalkDir(in, name, func(file string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(file, ".png") {
				return err
			}
			character := path.Dir(file)
			return p.add(in, file, path.Join(path.Base(path.Dir(character)), path.Base(character)))
		})
		if err := errors.Join(err, closer.Close()); err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Join(dir, name), err)
		}
		if err := p.check(); err != nil {
			return nil, err
		}
		of[i] = &p.rows
	}
	if of[trainPart] == nil {
		return nil, fmt.Errorf("%s: %s is missing (a folder or .zip): %w", dir, omniglotParts[trainPart],
			fs.ErrNotExist)
	}
	d, err := assemble(dir, of)
	if d != nil {
		d.Notes = nil // that the parts have no class in common is what the set is for
	}
	return d, err
}

func newPictures(from string, channels int) *pictures {
	return &pictures{rows: rows{from: from, labels: &labelColumn{words: []string{}}}, channels: channels}
}

const tinyName = "tiny-imagenet-200"

func (l *listing) tinyImageNet() []string {
	if slices.Contains(l.files, "wnids.txt") && slices.Contains(l.folders, "train") {
		return []string{"."}
	}
	for _, name := range l.files { // tiny-imagenet-200.zip, and parts of it
		if short, ok := strings.CutSuffix(name, ".zip"); ok && strings.HasPrefix(name, "tiny-imagenet") {
			return []string{short}
		}
	}
	return l.treesOf(tinyName)
}

// readTinyImageNetFolder reads Tiny-ImageNet (Stanford's course CS231n, from ImageNet): train/ID/images/*.JPEG and
// val/images/*.JPEG with the classes of val/val_annotations.txt. The official validation part is the test part here,
// for the official test part has no labels. Grey images have three equal channels.
func readTinyImageNetFolder(dir string, names []string, _ Options) (*Dataset, error) {
	in, closer, err := tree(dir, names[0])
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	if names[0] != "." {
		if in, err = fs.Sub(in, tinyName); err != nil {
			return nil, err
		}
	}
	var of [parts]*rows
	for i, read := range [parts]func(fs.FS, *pictures) error{trainPart: tinyTrain, testPart: tinyVal} {
		if read == nil {
			continue
		}
		p := newPictures(filepath.Join(dir, names[0]), 3)
		if err := read(in, p); err != nil {
			return nil, fmt.Errorf("%s: %w", p.from, err)
		}
		if err := p.check(); err != nil {
			return nil, err
		}
		of[i] = &p.rows
	}
	return assemble(dir, of)
}

func tinyTrain(in fs.FS, p *pictures) error {
	names, err := fs.Glob(in, "train/*/images/*.JPEG")
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := p.add(in, name, path.Base(path.Dir(path.Dir(name)))); err != nil {
			return err
		}
	}
	return nil
}

func tinyVal(in fs.FS, p *pictures) error {
	files, err := annotated(in, "val")
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := p.add(in, f.file, f.class); err != nil {
			return err
		}
	}
	return nil
}

// tinyAnnotations is the file that says which class each image of Tiny-ImageNet's validation part belongs to: a line
// for each, with the image, the class and what is not looked at here, separated by tabulators.
const tinyAnnotations = "val_annotations.txt"

// annotated lists the images of a folder's annotations.
func annotated(in fs.FS, folder string) (files []labelled, err error) {
	f, err := in.Open(path.Join(folder, tinyAnnotations))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Split(lines.Text(), "\t")
		if len(fields) < 2 || !fs.ValidPath(fields[0]) || fields[1] == "" {
			return nil, fmt.Errorf("%s: %.80q is no line of it", path.Join(folder, tinyAnnotations), lines.Text())
		}
		files = append(files, labelled{path.Join(folder, "images", fields[0]), fields[1]})
	}
	return files, lines.Err()
}
