package ptx

import (
	"fmt"
	"slices"
	"strings"
)

// A family is a group of instructions that the simulator does not have, by name, and since when PTX has them.
type family struct {
	op    string   // a name, or its beginning where it ends in *
	words []string // suffixes of which one is there; nil: any
	what  string
	since string
}

// families are in order: the first that fits says why an instruction is refused.
var families = []family{
	{"wgmma", nil, "matrix products of a warpgroup", "PTX ISA 8.0, sm_90a"},
	{"tcgen05", nil, "matrix products in tensor memory", "PTX ISA 8.6, sm_100a"},
	{"cp", []string{"tensor"}, "copies of tensors in bulk", "PTX ISA 8.0, sm_90"},
	{"cp", []string{"reduce"}, "reductions in bulk", "PTX ISA 8.0, sm_90"},
	{"cp", []string{"bulk"}, "this form of copies in bulk", "PTX ISA 8.0, sm_90"},
	{"tensormap", nil, "descriptors of tensors", "PTX ISA 8.3, sm_90a"},
	{"fence", []string{"tensormap::generic"}, "descriptors of tensors", "PTX ISA 8.3, sm_90a"},
	{"tex", nil, "textures", "PTX ISA 1.0"},
	{"tld4", nil, "textures", "PTX ISA 2.2"},
	{"txq", nil, "textures", "PTX ISA 1.5"},
	{"suld", nil, "surfaces", "PTX ISA 1.5"},
	{"sust", nil, "surfaces", "PTX ISA 1.5"},
	{"sured", nil, "surfaces", "PTX ISA 3.0"},
	{"suq", nil, "surfaces", "PTX ISA 1.5"},
	{"istypep", nil, "textures and surfaces", "PTX ISA 4.0"},
	{"mapa", nil, "clusters of blocks", "PTX ISA 7.8, sm_90"},
	{"getctarank", nil, "clusters of blocks", "PTX ISA 7.8, sm_90"},
	{"barrier", []string{"cluster"}, "clusters of blocks", "PTX ISA 7.8, sm_90"},
	{"clusterlaunchcontrol", nil, "clusters of blocks", "PTX ISA 8.6, sm_100"},
	{"multimem", nil, "memory of several cards", "PTX ISA 8.1, sm_90"},
	{"setmaxnreg", nil, "a change of the number of registers", "PTX ISA 8.0, sm_90a"},
	{"red", []string{"async"}, "asynchronous reductions", "PTX ISA 8.1, sm_90"},
	{"st", []string{"async"}, "asynchronous stores", "PTX ISA 8.1, sm_90"},
	{"alloca", nil, "local memory of a size that is computed", "PTX ISA 7.3"},
	{"mma", []string{"sp", "sp::ordered_metadata"}, "products of sparse matrices", "PTX ISA 7.1, sm_80"},
	{"mma", []string{"block_scale"}, "products with scaled blocks", "PTX ISA 8.7, sm_120a"},
	{"shfl", []string{"b32"}, "shuffles without .sync, which PTX took back for sm_70 on,", "PTX ISA 3.0"},
	{"vote", []string{"pred", "b32"}, "votes without .sync, which PTX took back for sm_70 on,", "PTX ISA 1.2"},
}

// beyond says why the instruction at hand is refused, "" where no family fits.
func (d *decoder) beyond() string {
	for _, f := range families {
		if f.op != d.src.Op || f.words != nil &&
			!slices.ContainsFunc(f.words, func(w string) bool { return slices.Contains(d.src.Mods, w) }) {
			continue
		}
		if strings.Contains(f.what, "without .sync") && slices.Contains(d.src.Mods, "sync") {
			continue
		}
		return f.what + " (" + f.since + ") are not supported"
	}
	return ""
}

// clusters refuses a kernel whose clusters have more than one block.
func (d *decoder) clusters() []error {
	c := d.k.fn.Cluster
	for i := range c {
		c[i] = max(c[i], 1)
	}
	if c == [3]int{1, 1, 1} {
		return nil
	}
	return []error{fmt.Errorf("kernel %s: clusters of %d x %d x %d blocks (PTX ISA 7.8, sm_90) are not supported",
		d.k.Name, c[0], c[1], c[2])}
}

// once gives why the instruction at hand is refused its place, and nothing where it is refused like one before.
func (d *decoder) once(err error) []error {
	what := d.meta.text + err.Error()
	if d.refused[what] {
		return nil
	}
	d.refused[what] = true
	return []error{fmt.Errorf("kernel %s, line %d: %s: %w", d.k.Name, d.src.Line, d.meta.text, err)}
}
