package data

import (
	"math"

	"bilevel/internal/philox"
)

// Batches draws minibatches: B rows out of 0 … N-1 for each iteration, independently and with replacement. The rows of
// an iteration depend on (Seed, Stream, iteration) only, so that a resumed run goes on with the same ones, and every device
// can draw them itself: element j of iteration k is philox.Integers with n = N, step k, index j.
type Batches struct {
	Seed   uint64
	Stream uint32 // philox.StreamLowerBatch, philox.StreamUpperBatch, …
	N      int    // rows to draw from
	B      int    // rows of a minibatch
}

// Fill computes the minibatches of iterations step, step+1, …, as many as dst [k, B] has rows. It does not allocate.
func (b Batches) Fill(dst []int32, step uint32) error {
	switch {
	case b.N < 1 || b.N > maxRows:
		return usagef("data: minibatches out of %d rows; there must be 1 … %d", b.N, maxRows)
	case b.B < 1:
		return usagef("data: minibatches of %d rows; there must be at least 1", b.B)
	case b.Stream == 0:
		return usagef("data: minibatches without a stream of random numbers")
	case len(dst)%b.B != 0:
		return usagef("data: %d places are no whole number of minibatches of %d", len(dst), b.B)
	case uint64(step)+uint64(len(dst)/b.B) > math.MaxUint32+1:
		return usagef("data: minibatches end at iteration %d", uint32(math.MaxUint32))
	}
	for ; len(dst) > 0; dst = dst[b.B:] {
		philox.Integers(dst[:b.B], uint32(b.N), b.Seed, step, b.Stream, 0)
		step++
	}
	return nil
}
