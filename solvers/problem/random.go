package problem

import "bilevel/tensor"

// Random draws numbers inside an iteration, on the device: Philox 4x32-10, a function of (seed, step, stream, element)
// and so the same on every device and in a resumed run. Each call draws from a stream of its own.
type Random struct {
	seed, step *tensor.Node // Int [2], Int scalar
	stream     uint32       // of the next call
}

// NewRandom gives numbers of a seed (Int [2], its two words) and a step (an Int scalar). Its calls draw from the
// streams first, first+1, and so on.
func NewRandom(seed, step *tensor.Node, first uint32) *Random { return &Random{seed, step, first} }

func (r *Random) next() uint32 {
	r.stream++
	return r.stream - 1
}

// Uniform draws numbers in [0, 1), Normal standard normals, Ints whole numbers below limit.
func (r *Random) Uniform(shape ...int) *tensor.Node {
	return tensor.RandomUniform(r.seed, r.step, r.next(), shape...)
}

func (r *Random) Normal(shape ...int) *tensor.Node {
	return tensor.RandomNormal(r.seed, r.step, r.next(), shape...)
}

func (r *Random) Ints(limit uint32, shape ...int) *tensor.Node {
	return tensor.RandomInts(limit, r.seed, r.step, r.next(), shape...)
}

// Crops picks images by their index, shifted and perhaps mirrored at random, see tensor.RandomCrops.
func (r *Random) Crops(images, index *tensor.Node, padding int, flip bool) *tensor.Node {
	return tensor.RandomCrops(images, index, padding, flip, r.seed, r.step, r.next())
}
