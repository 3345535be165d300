package data

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"bilevel/internal/hostmemory"
)

// sparseRows is a LIBSVM file before its number of columns is known: the pairs of row i are those from ends[i-1] to
// ends[i].
type sparseRows struct {
	from    string
	index   []int32
	value   []float64
	ends    []int
	words   []string // the labels
	least   int32    // the least index, where there is one
	most    int32
	counted int // what its comments say of the first index: 0, 1, or -1 for nothing
}

// maxIndex bounds the columns of a LIBSVM file.
const maxIndex = 1 << 24

// readLIBSVM reads the text format of LIBSVM (C.-C. Chang, C.-J. Lin), which svmlight and scikit-learn's
// dump_svmlight_file write too, plain or compressed by gzip or bzip2: a line for each row,
//
//	label index:value index:value …      # comment
//
// with ascending indices and the values that are not 0. Indices count from 1, or from 0 where an index 0 occurs in any
// part or scikit-learn's comment says so.
func readLIBSVM(path string) (*sparseRows, error) {
	s := &sparseRows{from: path, least: math.MaxInt32, most: -1, counted: -1}
	return s, readFile(path, s.read)
}

func (s *sparseRows) read(b *bufio.Reader) error {
	for number := 1; ; number++ {
		line, err := b.ReadString('\n')
		if err != nil && err != io.EOF {
			return err
		}
		end := err == io.EOF
		if err := s.line(line); err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
		if end {
			break
		}
	}
	if len(s.words) == 0 {
		return errors.New("there are no rows in it")
	}
	return nil
}

func (s *sparseRows) line(line string) error {
	line, comment, _ := strings.Cut(line, "#")
	switch {
	case strings.Contains(comment, "Column indices are zero-based"):
		s.counted = 0
	case strings.Contains(comment, "Column indices are one-based"):
		s.counted = 1
	}
	fields := strings.Fields(line)
	if len(fields) == 0 {
		return nil
	}
	if strings.ContainsRune(fields[0], ',') {
		return fmt.Errorf("the row has several labels, %s; a row belongs to one class", fields[0])
	}
	if strings.ContainsRune(fields[0], ':') {
		return fmt.Errorf("the label is missing before %.40q", fields[0])
	}
	last := int32(-1)
	for _, pair := range fields[1:] {
		left, right, ok := strings.Cut(pair, ":")
		if left == "qid" {
			continue
		}
		index, err := strconv.ParseInt(left, 10, 32)
		if !ok || err != nil || index < 0 {
			return fmt.Errorf("%.40q is no pair index:value", pair)
		}
		if index > maxIndex {
			return fmt.Errorf("the index %d is above %d", index, maxIndex)
		}
		if int32(index) <= last {
			return fmt.Errorf("the index %d comes after %d; indices of a row must ascend", index, last)
		}
		value, ok, err := cell(right)
		if err != nil {
			return fmt.Errorf("%.40q: %w", pair, err)
		}
		if !ok {
			value = math.NaN() // named with its row later
		}
		last = int32(index)
		s.least, s.most = min(s.least, last), max(s.most, last)
		s.index, s.value = append(s.index, last), append(s.value, value)
	}
	s.words = append(s.words, strings.Clone(fields[0]))
	s.ends = append(s.ends, len(s.index))
	return nil
}

// dense makes rows of so many columns of which the first has the index first. Features are kept dense here, so that
// files of very many columns that are nearly all 0 are refused rather than grown a thousandfold.
func (s *sparseRows) dense(first, columns int32, o Options) (*rows, error) {
	const free, perPair = 1 << 20, 256
	n := int64(len(s.words))
	if size := n * int64(columns); size > free+perPair*int64(len(s.index)) {
		return nil, fmt.Errorf("%s: %d rows of %d columns, of which %.2g %% have a value, would take %.1f GB, for "+
			"features are kept "+
			"dense; reduce the columns first, in scikit-learn by TruncatedSVD", s.from, n, columns,
			100*float64(len(s.index))/float64(size), float64(size)*4/1e9)
	}
	r := &rows{features: make([]float32, 0, n*int64(columns)), shape: []int{int(columns)}, from: s.from,
		labels: &labelColumn{}}
	r.measure(o.Origin)
	begin, row := 0, make([]float64, columns)
	for _, end := range s.ends {
		clear(row)
		for k := begin; k < end; k++ {
			row[s.index[k]-first] = s.value[k]
		}
		begin = end
		for j, v := range row {
			r.add(j, v)
		}
	}
	r.labels.fromWords(s.words)
	for i, word := range r.labels.words {
		if _, ok := parseNumber(word); !ok {
			return nil, fmt.Errorf("%s: the label of row %d (counted from 0) is %.40q; in LIBSVM's format "+
				"labels are numbers", s.from, i, word)
		}
		if _, ok := parseWhole(word); !ok {
			return nil, fmt.Errorf("%s: the label of row %d (counted from 0) is %s; labels are classes, so "+
				"they must be whole numbers",
				s.from, i, word)
		}
	}
	return r, nil
}

// fitDense refuses files whose rows, kept dense with so many columns, take more than the free memory.
func fitDense(of []*sparseRows, columns, free int64) error {
	var n int64
	var from string
	for _, s := range of {
		if s != nil {
			from = cmp.Or(from, s.from)
			n += int64(len(s.words))
		}
	}
	if need := 4 * n * columns; need > free {
		return fmt.Errorf("%s: %d rows of %d columns would take %.1f GB, for features are kept dense, and %.1f GB are "+
			"free; take fewer rows, or reduce the columns first, in scikit-learn by TruncatedSVD",
			from, n, columns, float64(need)/1e9, float64(free)/1e9)
	}
	return nil
}

// libsvmParts reads the files of the parts and gives them the same columns.
func libsvmParts(name string, paths [parts]string, o Options) (*Dataset, error) {
	var sparse [parts]*sparseRows
	first, most := int32(1), int32(-1)
	if o.ZeroBased {
		first = 0
	}
	for i, path := range paths {
		if path == "" {
			continue
		}
		s, err := readLIBSVM(path)
		if err != nil {
			return nil, err
		}
		if s.least == 0 || s.counted == 0 {
			first = 0
		}
		sparse[i], most = s, max(most, s.most)
	}
	if most = max(most, first+int32(min(o.Width, maxIndex))-1); most < first {
		return nil, fmt.Errorf("%s: no row has a feature", paths[trainPart])
	}
	_, free := hostmemory.Bytes()
	if err := fitDense(sparse[:], int64(most-first+1), free); err != nil {
		return nil, err
	}
	var of [parts]*rows
	for i, s := range sparse {
		if s == nil {
			continue
		}
		var err error
		if of[i], err = s.dense(first, most-first+1, o); err != nil {
			return nil, err
		}
		if err := of[i].check(s.from); err != nil {
			return nil, err
		}
	}
	d, err := assemble(name, of)
	if err != nil {
		return nil, err
	}
	d.ZeroBased = first == 0
	return d, nil
}

// looksLikeLIBSVM tells whether the first line with more than a label is a number and pairs index:value.
func looksLikeLIBSVM(head string) bool {
	for _, line := range strings.Split(head, "\n") {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if _, ok := parseNumber(strings.Split(fields[0], ",")[0]); !ok {
			return false
		}
		if len(fields) == 1 { // a row of zeros
			continue
		}
		left, _, ok := strings.Cut(fields[1], ":")
		_, err := strconv.Atoi(left)
		return ok && (err == nil || left == "qid")
	}
	return false
}
