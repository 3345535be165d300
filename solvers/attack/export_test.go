package attack

import "bilevel/tensor"

// KeepAll makes an attacker leave broken rows in their batches.
func (a *Attacker) KeepAll() { a.keepAll = true }

// Hyperplane, Eta and Checkpoints are tested by themselves.
func (n Norm) Hyperplane(t, w, need *tensor.Node) *tensor.Node { return n.hyperplane(t, w, need) }
func Eta(side int) []float64                                   { return eta(side) }
func Checkpoints(steps int) []int                              { return checkpoints(steps) }

// In fills what is zero for rows of d pixels.
func (i Image) In(d int) (Image, error) { return i.in(d) }

// StartSeed is the seed of the numbers that a run of an attack draws for the images of a group.
func StartSeed(seed uint64, run, group int, name string) uint64 {
	key := drawKey(seed, run, group, name)
	return uint64(key[0]) | uint64(key[1])<<32
}
