package sim

// ParamSizes are the sizes of the kernel's parameters in bytes, in order.
func (f *function) ParamSizes() []int {
	sizes := make([]int, len(f.k.Params))
	for i, p := range f.k.Params {
		sizes[i] = p.Size
	}
	return sizes
}
