package data

import (
	"fmt"
	"math"
	"slices"
)

const (
	// farthest is how many deviations from its column's centre a standardized value may be; a column of 0 with a single
	// other value among 20,000 rows reaches 141.
	farthest = 1000
	// stretched is how many times the deviation of a column may be that of the middle half of its rows.
	stretched = 20
	// normalRange is the interquartile range of the normal distribution with deviation 1.
	normalRange = 1.349
)

// guard replaces the centre and scale of columns that a few rows decide: where the deviation is more than 20 times what
// the middle half of the rows (their interquartile range / 1.349) says, median and that range take their place. Columns
// whose middle half is one value, as most pixels of images are, stay. It returns a sentence for each such column, at
// most three; rows are the numbers to say.
func (s *Scaler) guard(train *Set, rows []int32) (sentences []string) {
	column := make([]float64, train.N())
	count := 0
	for j := range s.Mean {
		for i := range column {
			column[i] = train.origin(j) + float64(train.Row(i)[j])
		}
		worst := 0
		for i, v := range column {
			if math.Abs(v-s.Mean[j]) > math.Abs(column[worst]-s.Mean[j]) {
				worst = i
			}
		}
		far := column[worst]
		least, same := slices.Min(column), 0
		for _, v := range column {
			if v == least {
				same++
			}
		}
		// no row is far out, or most are equal
		if math.Abs(far-s.Mean[j]) < 5*s.Deviation[j] || 4*same > 3*len(column) {
			continue
		}
		slices.Sort(column)
		n := len(column)
		spread := (column[3*n/4] - column[n/4]) / normalRange
		if !(spread > 0) || s.Deviation[j] <= stretched*spread {
			continue
		}
		if count++; count <= 3 {
			sentences = append(sentences,
				fmt.Sprintf("row %d has %g in column %d (counted from 0), where half of the rows lie between %g and "+
					"%g: the column is scaled by those; look at the row",
					rows[worst], float32(far), j, float32(column[n/4]), float32(column[3*n/4])))
		}
		s.Mean[j], s.Deviation[j] = column[n/2], spread
	}
	if count > 3 {
		sentences = append(sentences, fmt.Sprintf("%d more columns have rows that lie as far out", count-3))
	}
	return sentences
}
