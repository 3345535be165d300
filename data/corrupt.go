package data

import "bilevel/internal/philox"

// Corrupt returns labels with noise: with probability p a row's label is drawn anew, uniformly out of all the classes,
// so that one in classes of the drawn rows keeps the label it had. drawn marks the rows that were drawn, those
// included.
//
// Whether row i is drawn, and what, depends on (seed, i) only; the rows drawn at a smaller p are among those at a
// larger.
func Corrupt(labels []int32, p float64, classes int, seed uint64) (noisy []int32, drawn []bool, err error) {
	if !(p >= 0 && p <= 1) {
		return nil, nil, usagef("data: the probability of label noise is %v; it must be between 0 and 1", p)
	}
	if classes < 1 || classes > maxClasses {
		return nil, nil, usagef("data: %d classes; there must be 1 … %d", classes, maxClasses)
	}
	if err := checkLabels(labels, classes); err != nil {
		return nil, nil, usagef("data: %v", err)
	}
	noisy, drawn = make([]int32, len(labels)), make([]bool, len(labels))
	philox.Bits(noisy, seed, 0, philox.StreamCorrupt, 0)
	for i, b := range noisy {
		drawn[i] = float64(uint32(b))*0x1p-32 < p
	}
	philox.Integers(noisy, uint32(classes), seed, 1, philox.StreamCorrupt, 0)
	for i, y := range labels {
		if !drawn[i] {
			noisy[i] = y
		}
	}
	return noisy, drawn, nil
}
