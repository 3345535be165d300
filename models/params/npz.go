package params

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"bilevel/internal/atomicfile"
	"bilevel/internal/exactread"
	"bilevel/internal/npy"
)

// WriteNPZ creates or replaces a file of NumPy's .npz format, a zip archive with one file NAME.npy for each array. It
// writes the file completely or not at all. numpy.load(path)[name] reads one array; PyTorch takes all of them by
//
//	net.load_state_dict({k: torch.from_numpy(v) for k, v in numpy.load(path).items()})
//
// An array is stored as float32 where that loses nothing, as with all results of a device that computes in float32, and
// as float64 otherwise. Several values, such as a model's parameters and state, go into one file.
func WriteNPZ(path string, of ...Values) error {
	if err := checkNames(of); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return atomicfile.Write(path, func(w io.Writer) error { return writeNPZ(w, of) })
}

// checkNames refuses values that cannot go into one file by the names of their arrays.
func checkNames(of []Values) error {
	seen := make(map[string]bool)
	for _, v := range of {
		if err := v.Check(); err != nil {
			return err
		}
		if len(v.Layout) == 0 && len(v.Flat) > 0 {
			return fmt.Errorf("a vector of %d numbers has no named arrays", len(v.Flat))
		}
		for _, a := range v.Layout {
			if seen[a.Name] {
				return fmt.Errorf("two arrays are called %q", a.Name)
			}
			seen[a.Name] = true
		}
	}
	return nil
}

func writeNPZ(w io.Writer, of []Values) error {
	z := zip.NewWriter(w)
	for _, v := range of {
		for _, a := range v.Layout {
			array, err := encode(a.ToPeer(v.Of(a.Name)), a.PeerShape())
			if err != nil {
				return fmt.Errorf("array %s: %w", a.Name, err)
			}
			// The arrays are not compressed, as with numpy.savez: compression hardly shrinks trained parameters.
			f, err := z.CreateHeader(&zip.FileHeader{Name: a.Name + npy.Suffix, Method: zip.Store})
			if err != nil {
				return err
			}
			if err := npy.Write(f, array); err != nil {
				return err
			}
		}
	}
	return z.Close()
}

// encode makes an array of float32 numbers where that loses nothing, and of float64 numbers otherwise.
func encode(values []float64, shape []int) (*npy.Array, error) {
	short := make([]float32, len(values))
	for i, v := range values {
		short[i] = float32(v)
		if float64(short[i]) != v && !math.IsNaN(v) {
			return npy.New(values, shape...)
		}
	}
	return npy.New(short, shape...)
}

// ReadNPZ reads the arrays of layouts by their names from a file of NumPy's .npz format, compressed or not, and returns
// the values of each layout. Arrays may be of any floating-point or integer type. PyTorch writes such a file by
//
//	numpy.savez(path, **{k: v.numpy() for k, v in net.state_dict().items()})
//
// The file must hold the arrays of the layouts and no others. Otherwise the error names the arrays that are missing,
// those that are in no layout, and those that have another shape.
func ReadNPZ(path string, of ...Layout) ([]Values, error) {
	f, size, err := exactread.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	values, err := readNPZ(f, size, of)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return values, nil
}

// mismatches collects the differences between the arrays of a file and those of the layouts, so that one error names
// them all.
type mismatches struct{ missing, extra, shapes []string }

func (m *mismatches) err() error {
	var all []string
	for _, kind := range []struct {
		says  string
		names []string
	}{{"missing ", m.missing}, {"not asked for ", m.extra}, {"", m.shapes}} {
		if len(kind.names) > 0 {
			all = append(all, kind.says+strings.Join(kind.names, ", "))
		}
	}
	if all == nil {
		return nil
	}
	return errors.New("its arrays do not fit: " + strings.Join(all, "; "))
}

// destination is where the numbers of an array go.
type destination struct {
	array Array
	dst   []float64
	found bool // in the file
}

func readNPZ(r io.ReaderAt, size int64, of []Layout) ([]Values, error) {
	out, destinations, err := room(of)
	if err != nil {
		return nil, err
	}
	members, err := npy.Members(r, size)
	if err != nil {
		return nil, err
	}
	var bad mismatches
	for _, m := range members {
		d := destinations[m.Name]
		if d == nil {
			bad.extra = append(bad.extra, m.Name)
			continue
		}
		d.found = true
		var other shapeError
		switch err := d.read(m); {
		case errors.As(err, &other):
			bad.shapes = append(bad.shapes, fmt.Sprintf("%s is %v, not %v", m.Name, []int(other), d.array.PeerShape()))
		case err != nil:
			return nil, fmt.Errorf("array %s: %w", m.Name, err)
		}
	}
	bad.findMissing(of, destinations)
	if err := bad.err(); err != nil {
		return nil, err
	}
	return out, nil
}

// room makes values of layouts and tells where in them each array goes.
func room(of []Layout) (out []Values, destinations map[string]*destination, err error) {
	out, destinations = make([]Values, len(of)), make(map[string]*destination)
	for i, l := range of {
		if err := l.Check(); err != nil {
			return nil, nil, err
		}
		if len(l) == 0 {
			continue
		}
		out[i] = Values{Layout: l, Flat: make([]float64, l.Size())}
		for _, a := range l {
			if destinations[a.Name] != nil {
				return nil, nil, fmt.Errorf("two arrays are called %q", a.Name)
			}
			destinations[a.Name] = &destination{array: a, dst: out[i].Of(a.Name)}
		}
	}
	return out, destinations, nil
}

// findMissing notes the arrays that the file does not have.
func (m *mismatches) findMissing(of []Layout, destinations map[string]*destination) {
	for _, l := range of {
		for _, a := range l {
			if !destinations[a.Name].found {
				m.missing = append(m.missing, a.Name)
			}
		}
	}
}

// shapeError is the shape of an array in a file, where it is not the shape in the layout.
type shapeError []int

func (e shapeError) Error() string { return fmt.Sprintf("shape %v", []int(e)) }

// read fills the destination from an array of the file. It looks at the shape before it reads any numbers, so that a
// file that claims a huge array costs neither time nor memory.
func (d *destination) read(m npy.Member) error {
	a, err := m.ReadIf(func(_ npy.DType, shape []int) error {
		if !slices.Equal(shape, d.array.PeerShape()) {
			return shapeError(shape)
		}
		return nil
	})
	if err != nil {
		return err
	}
	values, err := float64s(a)
	if err == nil {
		copy(d.dst, d.array.FromPeer(values))
	}
	return err
}

func float64s(a *npy.Array) ([]float64, error) {
	switch {
	case a.DType == npy.Float64Type:
		return npy.Values[float64](a)
	case a.DType.IsInteger():
		values, err := a.Int64s()
		return widened(values), err
	}
	values, err := a.Float32s()
	return widened(values), err
}

func widened[T int64 | float32](values []T) []float64 {
	out := make([]float64, len(values))
	for i, v := range values {
		out[i] = float64(v)
	}
	return out
}
