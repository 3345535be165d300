package data

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// whole is a whole number of either sign with 64 bits of magnitude: whatever int64 and uint64 hold.
type whole struct {
	negative  bool // never of zero
	magnitude uint64
}

func wholeOf(v int64) whole {
	if v < 0 {
		return whole{true, -uint64(v)}
	}
	return whole{false, uint64(v)}
}

// wholeOfFloat takes floats without a fraction, of magnitudes below 2⁶⁴.
func wholeOfFloat(v float64) (whole, bool) {
	m := math.Abs(v)
	if !(m < 1<<64) || m != math.Trunc(m) {
		return whole{}, false
	}
	return whole{v < 0, uint64(m)}, true
}

// parseWhole reads 3, +3, -3, 3.0 and 3e0.
func parseWhole(text string) (whole, bool) {
	digits := strings.TrimPrefix(strings.TrimPrefix(text, "+"), "-")
	if strings.HasPrefix(digits, "+") || strings.HasPrefix(digits, "-") {
		return whole{}, false
	}
	if m, err := strconv.ParseUint(digits, 10, 64); err == nil {
		return whole{text[0] == '-' && m > 0, m}, true
	}
	v, ok := parseNumber(text)
	if !ok {
		return whole{}, false
	}
	return wholeOfFloat(v)
}

// parseNumber reads a number in decimal notation, NaN and infinities included.
func parseNumber(text string) (float64, bool) {
	if strings.ContainsAny(text, "xXpP_") { // what Go's own source may have in numbers
		return 0, false
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil && !math.IsInf(v, 0) { // a number out of range is infinite
		return 0, false
	}
	return v, true
}

func (w whole) String() string {
	text := strconv.FormatUint(w.magnitude, 10)
	if w.negative {
		return "-" + text
	}
	return text
}

func compareWhole(a, b whole) int {
	switch {
	case a.negative != b.negative:
		if a.negative {
			return -1
		}
		return 1
	case a.negative:
		return cmp.Compare(b.magnitude, a.magnitude)
	}
	return cmp.Compare(a.magnitude, b.magnitude)
}

// labelColumn is the labels of one part as their file has them: one of the two lists.
type labelColumn struct {
	numbers []whole
	words   []string
	boolean bool     // numbers that are 0 for False and 1 for True
	columns []string // numbers that are columns of a one-hot matrix whose columns have names
}

func (c *labelColumn) len() int { return max(len(c.numbers), len(c.words)) }

// fromFloats makes labels of floats without fractions.
func (c *labelColumn) fromFloats(values []float64) error {
	c.numbers = make([]whole, len(values))
	for i, v := range values {
		w, ok := wholeOfFloat(v)
		if v != v {
			return fmt.Errorf("the label of row %d (counted from 0) is NaN; leave rows without a label out", i)
		}
		if !ok {
			return fmt.Errorf(
				"the label of row %d (counted from 0) is %v; labels are classes, and whole numbers where they "+
					"are numbers: save numpy.unique(y, return_inverse=True)[1]", i, v)
		}
		c.numbers[i] = w
	}
	return nil
}

// fromWords makes labels of text: numbers where all of them are whole numbers in their usual spelling, so that 10 comes
// after 9 and not after 1. Words with leading zeros stay words.
func (c *labelColumn) fromWords(words []string) {
	numbers := make([]whole, len(words))
	for i, word := range words {
		w, ok := parseWhole(word)
		digits := strings.TrimLeft(word, "+-")
		if !ok || len(digits) > 1 && digits[0] == '0' && digits[1] != '.' {
			c.words = words
			return
		}
		numbers[i] = w
	}
	c.numbers = numbers
}

// asWords gives the labels as the user would write them.
func (c *labelColumn) asWords() []string {
	if c.words != nil {
		return c.words
	}
	words := make([]string, len(c.numbers))
	for i, w := range c.numbers {
		words[i] = c.word(w)
	}
	return words
}

func (c *labelColumn) word(w whole) string {
	switch {
	case c.columns != nil:
		return c.columns[w.magnitude]
	case c.boolean && w.magnitude == 0:
		return "False"
	case c.boolean:
		return "True"
	}
	return w.String()
}

// oneHot makes labels of a matrix with a single 1 in each row, and zeros: the column of the 1. at gives an element.
func (c *labelColumn) oneHot(n, columns int, at func(row, column int) float32) error {
	c.numbers = make([]whole, n)
	for i := range n {
		ones := 0
		for j := range columns {
			switch v := at(i, j); v {
			case 0:
			case 1:
				ones++
				c.numbers[i] = whole{magnitude: uint64(j)}
			default:
				return fmt.Errorf(
					"the label of row %d (counted from 0) has %d columns, one of which is %v: it is neither one "+
						"label "+
						"nor one-hot; save y.argmax(1) if the columns are scores of the classes, or y[:, k] if "+
						"column k is the label",
					i, columns, v)
			}
		}
		if ones != 1 {
			return fmt.Errorf(
				"row %d (counted from 0) of the labels has ones in %d of its %d columns; a row belongs to one "+
					"class: "+
					"keep the rows with y.sum(1) == 1, or save y[:, k] to learn column k alone", i, ones, columns)
		}
	}
	return nil
}

// mapLabels numbers the classes that occur in any part 0, 1, 2, … in sorted order (by number where all labels are
// numbers, else by text) and returns their names as the user writes them, and the numbered labels of each part. Parts
// may be nil.
func mapLabels(parts ...*labelColumn) (names []string, labels [][]int32, err error) {
	text, boolean := false, true
	var first *labelColumn
	for _, p := range parts {
		if p == nil {
			continue
		}
		if first == nil {
			first = p
		}
		text = text || p.words != nil || !slices.Equal(p.columns, first.columns)
		boolean = boolean && p.boolean
	}
	labels = make([][]int32, len(parts))
	if text {
		columns := make([][]string, len(parts))
		for i, p := range parts {
			if p != nil {
				columns[i] = p.asWords()
			}
		}
		names, err = number(columns, labels, strings.Compare)
		return names, labels, err
	}
	columns := make([][]whole, len(parts))
	for i, p := range parts {
		if p != nil {
			columns[i] = p.numbers
		}
	}
	classes, err := number(columns, labels, compareWhole)
	naming := labelColumn{boolean: boolean}
	if first != nil {
		naming.columns = first.columns
	}
	for _, w := range classes {
		names = append(names, naming.word(w))
	}
	return names, labels, err
}

// number fills labels with the places of values in the sorted list of those that occur, which it returns.
func number[T comparable](columns [][]T, labels [][]int32, compare func(a, b T) int) ([]T, error) {
	place := map[T]int32{}
	var classes []T
	for _, values := range columns {
		for _, v := range values {
			if _, ok := place[v]; !ok {
				place[v] = 0
				if classes = append(classes, v); len(classes) > maxClasses {
					return nil, fmt.Errorf("there are more than %d different labels; labels are classes: is another "+
						"column meant?", maxClasses)
				}
			}
		}
	}
	slices.SortFunc(classes, compare)
	for i, v := range classes {
		place[v] = int32(i)
	}
	for i, values := range columns {
		if values == nil {
			continue
		}
		labels[i] = make([]int32, len(values))
		for j, v := range values {
			labels[i][j] = place[v]
		}
	}
	return classes, nil
}

// plainNames tells whether the names are 0, 1, 2, …, as they are where nothing was renumbered.
func plainNames(names []string) bool {
	for i, name := range names {
		if name != strconv.Itoa(i) {
			return false
		}
	}
	return true
}

// describeClasses lists the names and numbers of classes, the first few of many.
func describeClasses(names []string) string {
	const shown = 8
	var list []string
	for i, name := range names[:min(len(names), shown)] {
		if quoted := strconv.Quote(name); strings.ContainsAny(name, ", ") || quoted != `"`+name+`"` || name == "" {
			name = quoted
		}
		list = append(list, fmt.Sprintf("%s is %d", name, i))
	}
	if len(names) > shown {
		list = append(list, fmt.Sprintf("…, %s is %d", names[len(names)-1], len(names)-1))
	}
	return strings.Join(list, ", ")
}
