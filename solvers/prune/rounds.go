package prune

import (
	"fmt"
	"math"
)

// Rewind says which weights a round of iterative magnitude pruning goes on with.
type Rewind string

const (
	ToStart Rewind = "start" // the start values (Frankle, Carbin, ICLR 2019)
	ToEpoch Rewind = "epoch" // those after some epochs of the first round (Frankle, Dziugaite, Roy, Carbin, ICML 2020)
	None    Rewind = "none"  // those that were just trained: fine-tuning (Han and others, NeurIPS 2015)
)

// Rounds is iterative magnitude pruning: train, prune a part of what is left by magnitude, rewind, and again.
type Rounds struct {
	Part   float64 `json:"part"`   // of the remaining elements that a round removes; 0: 0.2
	Rewind Rewind  `json:"rewind"` // empty: start
	Epochs int     `json:"epochs"` // after which the weights are kept, for Rewind epoch
}

// Plan lists the numbers of elements that rounds of count elements keep: each a part less than the one before, and the
// last exactly k.
func (r Rounds) Plan(count, k int) (kept []int, err error) {
	if r.Part == 0 {
		r.Part = 0.2
	}
	switch {
	case !(r.Part > 0 && r.Part < 1):
		return nil, fmt.Errorf("imp: part is %g: wants the part that a round removes, above 0 and below 1", r.Part)
	case r.Rewind != "" && r.Rewind != ToStart && r.Rewind != ToEpoch && r.Rewind != None:
		return nil, fmt.Errorf("imp: rewind is %q: wants %s, %s or %s", r.Rewind, ToStart, ToEpoch, None)
	case r.Rewind == ToEpoch && r.Epochs < 1:
		return nil, fmt.Errorf("imp: epochs is %d: rewinding to an epoch wants its number, from 1 on", r.Epochs)
	case k < 1 || k > count:
		return nil, fmt.Errorf("imp: %d kept elements of %d: wants 1 to all", k, count)
	}
	for j := 1; ; j++ {
		n := int(math.Round(float64(count) * math.Pow(1-r.Part, float64(j))))
		if n <= k {
			return append(kept, k), nil
		}
		kept = append(kept, n)
	}
}
