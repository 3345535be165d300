package attack

import "bilevel/tensor"

// KeepAll makes an attacker leave broken rows in their batches.
func (a *Attacker) KeepAll() { a.keepAll = true }

// Hyperplane and Checkpoints are tested by themselves.
func (n Norm) Hyperplane(t, w, need *tensor.Node) *tensor.Node { return n.hyperplane(t, w, need) }
func Checkpoints(steps int) []int                              { return checkpoints(steps) }

// In fills what is zero for rows of d pixels.
func (i Image) In(d int) (Image, error) { return i.in(d) }
