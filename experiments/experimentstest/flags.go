// Package experimentstest has what the tests of several experiments share.
package experimentstest

import (
	"bilevel/data"
	"bilevel/internal/philox"
)

// Flags are made-up images of height × width pixels as bytes, so many to train on and to test, in three
// classes that differ in the colour of their left half.
func Flags(height, width, train, test int) *data.Dataset {
	return &data.Dataset{
		Name: "flags", Shape: []int{height, width, 3}, Classes: 3, Train: flags(height, width, train),
		Test: flags(height, width, test),
	}
}

func flags(height, width, n int) *data.Set {
	s := &data.Set{Dim: height * width * 3, Labels: make([]int32, n), Bytes: make([]byte, n*height*width*3)}
	noise := make([]int32, len(s.Bytes))
	philox.Integers(noise, 120, 5, uint32(n), philox.StreamTest, 0)
	for i := range s.Bytes {
		row, column, channel := i/s.Dim, i/3%width, i%3
		s.Labels[row] = int32(row % 3)
		s.Bytes[i] = byte(noise[i])
		if column < width/2 && channel == row%3 {
			s.Bytes[i] += 100
		}
	}
	return s
}
