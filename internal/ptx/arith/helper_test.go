package arith_test

import (
	"math/rand/v2"

	"bilevel/internal/ptx/arith"
	"bilevel/internal/ptx/arith/exact"
)

var directions = []arith.Round{arith.RN, arith.RZ, arith.RM, arith.RP}

func random() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

// near gives bits of format f whose exponents lie close together, so that sums cancel and round.
func near(r *rand.Rand, f exact.Format) uint64 {
	u := r.Uint64() & (2*f.Sign() - 1)
	if r.IntN(4) == 0 {
		return u
	}
	bias := uint64(1<<(f.Exp-1) - 1)
	span := min(uint64(f.Frac)+2, bias/2)
	return u&^f.Inf() | (bias-span/2+r.Uint64N(span))<<f.Frac
}
