package clean

import (
	"fmt"

	"bilevel/data"
	"bilevel/internal/hostmemory"
)

// copiesOfRows is how many copies of the features a run holds at its most: as they were read, a selection of them,
// standardized, and on the device.
const copiesOfRows = 4

// enoughMemory refuses a set whose rows alone are more than the memory that the machine has to give, before anything is
// copied. Where the system does not say what is free, nothing is refused.
func enoughMemory(set *data.Dataset) error {
	rows := 0
	for _, s := range []*data.Set{set.Train, set.Val, set.Test} {
		if s != nil {
			rows += s.N()
		}
	}
	free, _ := hostmemory.Available()
	return fits(int64(rows)*int64(set.Train.Dim), free)
}

// fits holds the bytes for so many features against those that are free; 0 free bytes mean that nobody knows.
func fits(features, free int64) error {
	const gib = 1 << 30
	if need := 4 * (copiesOfRows - 1) * features; free > 0 && need > free { // one copy is there already
		return fmt.Errorf("the run would need about %.1f GiB of memory beside what it holds, and %.1f GiB are "+
			"free: take fewer rows or columns",
			float64(need)/gib, float64(free)/gib)
	}
	return nil
}
