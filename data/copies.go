package data

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"math"
	"slices"
)

// checkCopies counts the trusted rows that have the same features as rows that are judged. Those of a file of their own
// are refused where they were copied from the training rows: a model would be judged by what it was trained on. Rows of
// tables of categories meet equal ones by chance, but seldom just one: a trusted row that has λ equal training rows on
// average has exactly one with the probability λ exp(-λ), which is at most 1/e. Where half of the rows have exactly
// one, they are copies.
func (d *Judged) checkCopies() error {
	seed, places, buffer := maphash.MakeSeed(), map[uint64][]int32{}, make([]byte, 0, 4*d.Train.Dim)
	hash := func(row []float32) uint64 {
		buffer = buffer[:0]
		for _, v := range row {
			buffer = binary.LittleEndian.AppendUint32(buffer, math.Float32bits(v))
		}
		return maphash.Bytes(seed, buffer)
	}
	for i := range d.Train.N() {
		h := hash(d.Train.Row(i))
		places[h] = append(places[h], int32(i))
	}
	met, once, first := 0, 0, ""
	for k := range d.Trusted.N() {
		row, equal := d.Trusted.Row(k), 0
		for _, i := range places[hash(row)] {
			if !slices.Equal(row, d.Train.Row(int(i))) {
				continue
			}
			if equal++; first == "" {
				first = fmt.Sprintf("trusted row %d is training row %d", d.placeOfTrusted(k), d.Rows[i])
			}
			if equal > 1 {
				break
			}
		}
		if equal > 0 {
			met++
		}
		if equal == 1 {
			once++
		}
	}
	switch {
	case met == 0:
	case d.TrustedRows == nil && 2*once >= d.Trusted.N():
		return fmt.Errorf("%d of %d trusted rows are training rows too (such as: %s, by its features): take them out "+
			"of the training rows, or mark them there with %s", met, d.Trusted.N(), first, TrustedFile)
	default:
		d.Warnings = append(d.Warnings, fmt.Sprintf("the features of %d of %d trusted rows are those of judged rows "+
			"too (such as: %s)", met, d.Trusted.N(), first))
	}
	return nil
}

// placeOfTrusted is where a trusted row lies in the training file, or in its own.
func (d *Judged) placeOfTrusted(k int) int32 {
	if d.TrustedRows != nil {
		return d.TrustedRows[k]
	}
	return int32(k)
}
