package train

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"bilevel/experiments"
	"bilevel/internal/exactread"
	"bilevel/internal/npy"
	"bilevel/internal/safetensors"
)

// fileArray is an array of a file with its numbers.
type fileArray struct {
	shape  []int
	values []float64
}

// file is what a file holds.
type file struct {
	path     string
	arrays   map[string]fileArray
	metadata map[string]string
}

// openFile reads all arrays of a file.
func openFile(path string) (*file, error) {
	switch {
	case strings.HasSuffix(path, ".safetensors"):
		return openSafetensors(path)
	case strings.HasSuffix(path, ".npz"):
		return openNPZ(path)
	}
	return nil, experiments.Usagef("%s: a network is a .safetensors or .npz file; PyTorch writes one by "+
		"safetensors.torch.save_file(net.state_dict(), path) or numpy.savez(path, **{k: v.numpy() for k, v in "+
		"net.state_dict().items()})", path)
}

func openSafetensors(path string) (*file, error) {
	f, err := safetensors.ReadFile(path, "model")
	if unreadable := (*fs.PathError)(nil); errors.As(err, &unreadable) {
		return nil, fmt.Errorf("the model cannot be read: %w", err)
	}
	if err != nil {
		return nil, err
	}
	o := &file{path: path, arrays: map[string]fileArray{}, metadata: f.Metadata}
	for name, a := range f.Arrays {
		o.arrays[name] = fileArray{a.Shape, a.Reals()}
	}
	return o, nil
}

func openNPZ(path string) (*file, error) {
	f, size, err := exactread.Open(path)
	if err != nil {
		return nil, fmt.Errorf("the model cannot be read: %w", err)
	}
	defer f.Close()
	members, err := npy.Members(f, size)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	o := &file{path: path, arrays: map[string]fileArray{}}
	for _, m := range members {
		values, shape, err := numbers(m)
		if err != nil {
			return nil, fmt.Errorf("%s: array %s: %w", path, m.Name, err)
		}
		o.arrays[m.Name] = fileArray{shape, values}
	}
	return o, nil
}

// numbers are those of an array of any type.
func numbers(m npy.Member) (values []float64, shape []int, err error) {
	a, err := m.ReadIf(nil)
	if err != nil {
		return nil, nil, err
	}
	switch {
	case a.DType == npy.Float64Type:
		values, err = npy.Values[float64](a)
		return values, a.Shape, err
	case a.DType.IsInteger():
		whole, err := a.Int64s()
		for _, v := range whole {
			values = append(values, float64(v))
		}
		return values, a.Shape, err
	}
	short, err := a.Float32s()
	for _, v := range short {
		values = append(values, float64(v))
	}
	return values, a.Shape, err
}

// prefixes are what programs put before the names of a network's arrays: nn.DataParallel, a wrapper whose member the
// network is, torch.compile.
var prefixes = []string{"module.", "model.", "net.", "_orig_mod."}

// stripPrefixes takes them away, unless two arrays would then have one name.
func (f *file) stripPrefixes() {
	bare := func(name string) string {
		for _, p := range slices.Repeat(prefixes, 2) {
			name = strings.TrimPrefix(name, p)
		}
		return name
	}
	arrays := map[string]fileArray{}
	for name, a := range f.arrays {
		arrays[bare(name)] = a
	}
	if len(arrays) == len(f.arrays) {
		f.arrays = arrays
	}
}

func namesOf(arrays map[string]fileArray) []string { return slices.Sorted(maps.Keys(arrays)) }
