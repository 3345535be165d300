package params

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"bilevel/internal/atomicfile"
	"bilevel/internal/safetensors"
)

// WriteSafetensors creates or replaces a file of the safetensors format, completely or not at all, with the arrays of
// values, such as a model's parameters and state, and with metadata, which may be nil. PyTorch takes it by
//
//	net.load_state_dict(safetensors.torch.load_file(path))
//
// Arrays lie as PyTorch stores them (Array.Peer), as float32 where that loses nothing, and as float64 otherwise.
func WriteSafetensors(path string, metadata map[string]string, of ...Values) error {
	if err := checkNames(of); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	f := safetensors.File{Arrays: map[string]safetensors.Array{}, Metadata: metadata}
	for _, v := range of {
		for _, a := range v.Layout {
			f.Arrays[a.Name] = safetensors.Compact(a.PeerShape(), a.ToPeer(v.Of(a.Name)))
		}
	}
	return atomicfile.Write(path, func(w io.Writer) error { return safetensors.Write(w, f) })
}

// ReadSafetensors reads the arrays of layouts by their names from a file of the safetensors format, which PyTorch
// writes by safetensors.torch.save_file(net.state_dict(), path), and returns the values of each layout.
//
// The file must hold the arrays of the layouts and no others. Otherwise the error names the arrays that are missing,
// those that are in no layout, and those that have another shape, all at once.
func ReadSafetensors(path string, of ...Layout) ([]Values, error) {
	out, destinations, err := room(of)
	if err != nil {
		return nil, err
	}
	f, err := safetensors.ReadFile(path, "state dict in the safetensors format")
	if err != nil {
		return nil, err
	}
	var bad mismatches
	for _, name := range slices.Sorted(maps.Keys(f.Arrays)) {
		d, got := destinations[name], f.Arrays[name]
		if d == nil {
			bad.extra = append(bad.extra, name)
			continue
		}
		d.found = true
		if want := d.array.PeerShape(); !slices.Equal(got.Shape, want) {
			bad.shapes = append(bad.shapes, fmt.Sprintf("%s is %v, not %v", name, got.Shape, want))
			continue
		}
		copy(d.dst, d.array.FromPeer(got.Reals()))
	}
	bad.findMissing(of, destinations)
	if err := bad.err(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return out, nil
}
