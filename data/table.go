package data

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"bilevel/internal/nearest"
)

// table is a text file of rows: a header, a column of labels, and columns of numbers.
type table struct {
	path      string
	label     string // the label column that was asked for; "" finds one by its name
	header    []string
	separator rune
	labels    []int // the label column, or the columns of a one-hot label
	keep      []int // the feature columns
	notes     []string
	wanted    []string  // the feature columns where nothing else is looked at; nil: all but the label
	origin    []float64 // see Options.Origin
	before    int       // lines before the header
	// free says that rows are wanted for their features alone, of which there should be so many as width.
	free  bool
	width int
}

// readTable reads a table. order is the feature columns that another part has, in its order; nil takes them as they
// come. A table without a label column gives errNoLabels where the columns of another part are known.
func readTable(path string, o Options, order []string) (r *rows, columns []string, notes []string, err error) {
	t := &table{path: path, label: o.Label, origin: o.Origin, free: o.Unlabelled, width: o.Width}
	if o.Unlabelled {
		t.wanted = o.Columns
	}
	err = readFile(path, func(b *bufio.Reader) error {
		r, err = t.read(b, order)
		return err
	})
	if err != nil {
		return nil, nil, nil, err
	}
	for _, j := range t.keep {
		columns = append(columns, t.header[j])
	}
	return r, columns, t.notes, nil
}

var errNoLabels = errors.New("it has no label column")

func (t *table) read(b *bufio.Reader, order []string) (*rows, error) {
	separator, err := t.begin(b)
	if err != nil {
		return nil, err
	}
	t.separator = separator
	in := csv.NewReader(b)
	in.Comma, in.ReuseRecord, in.TrimLeadingSpace = separator, true, separator != '\t'
	header, err := in.Read()
	if err != nil {
		return nil, t.parsed(err)
	}
	for _, name := range header {
		t.header = append(t.header, strings.TrimSpace(name))
	}
	if !utf8.ValidString(strings.Join(t.header, "")) {
		return nil, fmt.Errorf("line 1: %w", errEncoding)
	}
	for n := len(t.header) - 1; n > 0 && t.header[n] == ""; n-- {
		t.header = t.header[:n] // lines end with separators, behind which nothing is
	}
	if err := t.checkHeader(); err != nil {
		return nil, err
	}
	if t.wanted != nil {
		if err := t.findWanted(); err != nil {
			return nil, err
		}
		return t.body(in)
	}
	if all := t.width == len(t.header) || t.width+1 == len(t.header) && t.isIndex(); !t.free || !all || t.label != "" {
		if err := t.findLabels(order != nil || t.free); err != nil && !(t.free && err == errNoLabels) {
			return nil, err
		}
	}
	if err := t.findFeatures(order); err != nil {
		return nil, err
	}
	return t.body(in)
}

// findWanted finds the columns that were asked for by their names.
func (t *table) findWanted() error {
	for _, name := range t.wanted {
		j := slices.Index(t.header, name)
		if j < 0 {
			return fmt.Errorf("the column %q is missing%s; its columns are %s", name, nearest.Hint(name, t.header),
				quotedFew(t.header))
		}
		t.keep = append(t.keep, j)
	}
	return nil
}

// begin looks at the first line: byte order marks, and what separates the columns.
func (t *table) begin(b *bufio.Reader) (separator rune, err error) {
	head, _ := b.Peek(b.Size())
	if len(head) == 0 {
		return 0, errors.New("the file is empty")
	}
	if strings.HasPrefix(string(head), "\xff\xfe") || strings.HasPrefix(string(head), "\xfe\xff") {
		return 0, errors.New("the file is in UTF-16; save it as UTF-8, which spreadsheets call CSV UTF-8")
	}
	if strings.HasPrefix(string(head), "\xef\xbb\xbf") {
		b.Discard(3)
		head = head[3:]
	}
	line, _, lines := strings.Cut(string(head), "\n")
	if !lines && strings.Contains(line, "\r") {
		return 0, fmt.Errorf("its lines end as on old Macs, by CR alone; write it again, in pandas by read_csv(%q)"+
			".to_csv(%[1]q, index=False)", filepath.Base(t.path))
	}
	if said := separatorLine.FindStringSubmatch(line); said != nil {
		b.Discard(len(line) + 1)
		t.before = 1
		separator, _ := utf8.DecodeRuneInString(said[1])
		return separator, nil
	}
	if strings.ContainsRune(line, 0) {
		return 0, errors.New("the file is no text")
	}
	best := ','
	for _, r := range "\t;" {
		if strings.Count(line, string(r)) > strings.Count(line, string(best)) {
			best = r
		}
	}
	return best, nil
}

// separatorLine is what Excel writes before the header to say what separates the columns.
var separatorLine = regexp.MustCompile(`^"?sep=([,;\t|])"?\r?$`)

// checkHeader refuses a first line that is data, and names that come twice. Columns that are called 0, 1, 2, … are what
// pandas writes where names were never given.
func (t *table) checkHeader() error {
	numbers, counting := true, true
	for i, name := range t.header {
		_, isNumber := parseNumber(name)
		numbers = numbers && isNumber
		counting = counting && name == strconv.Itoa(i)
	}
	if numbers && !counting {
		if t.free {
			return fmt.Errorf("its first line is numbers; the first line must name the columns: put a line before it "+
				"such as %s", strings.TrimSuffix(exampleHeader(len(t.header)+1), ",label"))
		}
		file := filepath.Base(t.path)
		return fmt.Errorf(
			"its first line is numbers; the first line must name the columns: put a line before it such as "+
				"%s, with the name "+
				"label over the labels, or write it again by pandas.read_csv(%q, header=None).to_csv(%q, "+
				"index=False) and give the number "+
				"of the label column, such as --label %d", exampleHeader(len(t.header)), file, file, len(t.header)-1)
	}
	if len(t.header) == 1 && strings.ContainsAny(t.header[0], " |:") {
		return fmt.Errorf("its first line, %.40q, is one column; separate the columns by commas, semicolons or tabs",
			t.header[0])
	}
	seen := map[string]bool{}
	for _, name := range t.header {
		if seen[name] {
			return fmt.Errorf("two columns are called %q; give each a name of its own", name)
		}
		seen[name] = true
	}
	return nil
}

func exampleHeader(columns int) string {
	names := []string{"c0", "c1", "c2"}[:min(3, max(0, columns-1))]
	if columns > 4 {
		names = append(names, "…")
	}
	return strings.Join(append(names, "label"), ",")
}

// findLabels finds the label column by the name that was asked for, else by its usual names.
func (t *table) findLabels(mayLack bool) error {
	if t.label != "" {
		if j := slices.Index(t.header, t.label); j >= 0 {
			t.labels = []int{j}
			return nil
		}
		for _, name := range strings.Split(t.label, ",") {
			j := slices.Index(t.header, strings.TrimSpace(name))
			if j < 0 {
				if mayLack {
					return errNoLabels
				}
				return usagef("there is no column %q%s (--label); its columns are %s", strings.TrimSpace(name),
					nearest.Hint(name, t.header), quotedFew(t.header))
			}
			t.labels = append(t.labels, j)
		}
		return nil
	}
	for j, name := range t.header {
		if labelWords[strings.ToLower(name)] {
			t.labels = append(t.labels, j)
		}
	}
	switch {
	case len(t.labels) == 1:
		return nil
	case len(t.labels) > 1:
		return usagef("several columns may be the label (%s); say which one by --label NAME",
			quotedFew(t.names(t.labels)))
	case mayLack:
		return errNoLabels
	}
	return usagef("which column is the label? Say it by --label NAME; the columns are %s", quotedFew(t.header))
}

func (t *table) names(columns []int) (names []string) {
	for _, j := range columns {
		names = append(names, t.header[j])
	}
	return names
}

// quotedFew lists columns, the first and last of very many.
func quotedFew(names []string) string {
	const shown = 15
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = strconv.Quote(name)
	}
	if len(quoted) > shown {
		quoted = append(append(quoted[:shown-1:shown-1], "…"), quoted[len(quoted)-1])
	}
	return strings.Join(quoted, ", ")
}

// findFeatures takes all other columns, but for the row numbers that pandas puts into a first column without a name.
func (t *table) findFeatures(order []string) error {
	if order != nil {
		for _, name := range order {
			j := slices.Index(t.header, name)
			if j < 0 {
				return fmt.Errorf("the column %q of the training part is missing; all parts must have the same columns",
					name)
			}
			t.keep = append(t.keep, j)
		}
		if extra := len(t.header) - len(t.labels) - len(order); extra > 0 && !t.isIndex() || extra > 1 {
			return fmt.Errorf("it has %d columns that the training part has not; all parts must have the same columns",
				extra)
		}
		return nil
	}
	for j := range t.header {
		if !slices.Contains(t.labels, j) && !(j == 0 && t.isIndex()) {
			t.keep = append(t.keep, j)
		}
	}
	if len(t.keep) == 0 {
		return errors.New("it has no columns but the label; features are the other columns")
	}
	if t.isIndex() {
		t.notes = append(t.notes, "the first column has no name; it is taken for row numbers and left out")
	}
	return nil
}

func (t *table) isIndex() bool {
	return (t.header[0] == "" || t.header[0] == "Unnamed: 0") && !slices.Contains(t.labels, 0)
}

// body reads the rows.
func (t *table) body(in *csv.Reader) (*rows, error) {
	r := &rows{shape: []int{len(t.keep)}, from: t.path, labels: &labelColumn{}}
	r.measure(t.origin)
	var words []string
	var hot []float32 // of a one-hot label
	missing := &missingRows{}
	for n := 0; ; n++ {
		fields, err := in.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, t.parsed(err)
		}
		line, _ := in.FieldPos(0)
		line += t.before
		for k := len(t.header); k < len(fields); k++ {
			if strings.TrimSpace(fields[k]) != "" {
				return nil, fmt.Errorf("line %d: the column %d has no name; give it one in the first line", line, k+1)
			}
		}
		for k, j := range t.keep {
			v, ok, err := cell(fields[j])
			if err != nil {
				return nil, fmt.Errorf("line %d, column %q: %w", line, t.header[j], t.advise(err, fields[j], j))
			}
			if !ok {
				missing.add(n, line, t.header[j])
			}
			r.add(k, v)
		}
		if len(t.labels) == 0 {
			r.labels.numbers = append(r.labels.numbers, whole{})
			continue
		}
		if len(t.labels) == 1 {
			word := strings.TrimSpace(fields[t.labels[0]])
			if !utf8.ValidString(word) {
				return nil, fmt.Errorf("line %d, column %q: %w", line, t.header[t.labels[0]], errEncoding)
			}
			if missingLabel[word] {
				missing.add(n, line, t.header[t.labels[0]])
			}
			words = append(words, strings.Clone(word))
			continue
		}
		for _, j := range t.labels {
			v, _, err := cell(fields[j])
			if err != nil {
				return nil, fmt.Errorf("line %d, column %q: %w; the columns of --label A,B,… hold zeros and a one",
					line, t.header[j], err)
			}
			hot = append(hot, float32(v))
		}
	}
	if err := missing.err(); err != nil {
		return nil, err
	}
	if len(t.labels) == 0 {
		return r, nil
	}
	if len(t.labels) > 1 {
		k := len(t.labels)
		r.labels.columns = t.names(t.labels)
		return r, r.labels.oneHot(len(hot)/k, k, func(i, j int) float32 { return hot[i*k+j] })
	}
	r.labels.fromWords(words)
	return r, t.checkLabels(r.labels)
}

// checkLabels refuses measurements: numbers that are not whole.
func (t *table) checkLabels(c *labelColumn) error {
	if len(c.words) == 0 {
		return nil
	}
	fraction := ""
	for _, word := range c.words {
		v, ok := parseNumber(word)
		if !ok {
			return nil
		}
		if v != math.Trunc(v) {
			fraction = word
		}
	}
	if fraction == "" { // numbers with leading zeros, such as 007
		return nil
	}
	return fmt.Errorf("the labels in column %q are numbers such as %s; labels are classes: whole numbers or words "+
		"(write c%s if it is a class)",
		t.header[t.labels[0]], fraction, fraction)
}

// parsed says in words of this package what package csv found wrong.
func (t *table) parsed(err error) error {
	var parse *csv.ParseError
	switch {
	case err == io.EOF:
		return errors.New("there are no rows in it")
	case errors.As(err, &parse) && errors.Is(err, csv.ErrFieldCount):
		return fmt.Errorf("line %d has more or fewer columns than the first line", parse.Line+t.before)
	case errors.As(err, &parse):
		return fmt.Errorf("line %d, character %d: a quotation mark is out of place or not closed", parse.Line+t.before,
			parse.Column)
	}
	return err
}
