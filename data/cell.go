package data

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// missingWords are how pandas, R and spreadsheets write a value that is not there, all of which pandas reads as such
// with na_values="?".
var missingWords = map[string]bool{
	"": true, "NA": true, "N/A": true, "n/a": true, "NaN": true, "nan": true, "NULL": true, "null": true, "None": true,
	"<NA>": true, "#N/A": true, "?": true,
}

// missingLabel is as missingWords, less the words that may well be classes.
var missingLabel = map[string]bool{"": true, "nan": true, "NaN": true, "NA": true, "<NA>": true, "#N/A": true}

var truthWords = map[string]float64{"true": 1, "false": 0}

// cell reads a number, or true and false as 1 and 0. ok is false where the value is missing.
func cell(field string) (v float64, ok bool, err error) {
	field = strings.TrimSpace(field)
	f, err := strconv.ParseFloat(field, 64)
	switch infinite := math.IsInf(f, 0); {
	case err == nil && !strings.ContainsAny(field, "xXpP_") && (infinite || !beyond(f)):
		return f, f == f, nil
	case beyond(f): // errors of range included
		return 0, false, beyondError(field)
	}
	if missingWords[field] {
		return math.NaN(), false, nil
	}
	if v, is := truthWords[strings.ToLower(field)]; is {
		return v, true, nil
	}
	if decimalComma.MatchString(field) || thousands.MatchString(field) {
		return 0, false, commaError(field)
	}
	return 0, false, fmt.Errorf("%.40q is no number", field)
}

var (
	decimalComma = regexp.MustCompile(`^[+-]?[0-9]*,[0-9]+$`)
	thousands    = regexp.MustCompile(`^[+-]?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]*)?$`)

	errEncoding = errors.New(
		`the file is not UTF-8; if it is Windows-1252 or Latin-1, write it again by ` +
			`pandas.read_csv(…, encoding="cp1252").to_csv(…, index=False)`,
	)
)

// beyond tells whether a number is none that float32 holds.
func beyond(f float64) bool { return math.Abs(f) > math.MaxFloat32 }

// beyondError is a number that float32 does not hold.
type beyondError string

func (e beyondError) Error() string {
	return fmt.Sprintf("%.40q is beyond float32, whose largest number is 3.4e38: divide the column by a constant, or "+
		"take logarithms", string(e))
}

// spelling is a way to write numbers that is not read, and what makes numbers of such a column in pandas.
type spelling struct {
	form         *regexp.Regexp
	what, series string
}

var spellings = []spelling{
	{regexp.MustCompile(`^[+-]?[0-9.]+ ?%$`), "is a percentage", `frame[%q].str.rstrip(" %%").astype(float)`},
	{regexp.MustCompile(`^[\x{2212}\x{2013}][0-9.]+$`), "has a minus sign that is not the one of programs",
		`frame[%q].str.replace("[\u2212\u2013]", "-", regex=True).astype(float)`},
	{regexp.MustCompile(`^[+-]?[0-9]{1,3}([_' \x{a0}\x{202f}][0-9]{3})+(\.[0-9]*)?$`),
		"has signs between its thousands",
		`frame[%q].str.replace("[^0-9.+-]", "", regex=True).astype(float)`},
	{regexp.MustCompile(`^[$€£] ?[0-9.]+$`), "is an amount of money", `frame[%q].str.strip("$€£ ").astype(float)`},
	{regexp.MustCompile(`^([0-9]{4}[-/][0-9]{1,2}[-/][0-9]{1,2}|[0-9]{1,2}[./-][0-9]{1,2}[./-][0-9]{2,4})([T ].*)?$`),
		"is a date", `(pandas.to_datetime(frame[%q]) - pandas.Timestamp(0)).dt.total_seconds()`},
}

// commaError is a number with commas in it.
type commaError string

func (e commaError) Error() string { return fmt.Sprintf("%.40q has a comma in it", string(e)) }

// advise says how pandas reads such numbers. 1,250 may be 1250 or 1.25: where commas separate the columns it is taken
// for 1250, for the comma as a decimal mark goes with semicolons.
func (e commaError) advise(separator rune) error {
	what, option := "a decimal comma", `decimal=","`
	if !decimalComma.MatchString(string(e)) || separator == ',' && thousands.MatchString(string(e)) {
		what, option = "commas between its thousands", `thousands=","`
	}
	return fmt.Errorf("%.40q has %s: write the table again by pandas.read_csv(…, sep=%q, %s).to_csv(…, index=False)",
		string(e), what, string(separator), option)
}

// advise adds to the error of a cell what makes numbers of a column of text.
func (t *table) advise(err error, field string, column int) error {
	var number commaError
	if errors.As(err, &number) {
		return number.advise(t.separator)
	}
	if far := beyondError(""); errors.As(err, &far) {
		return err
	}
	name := t.header[column]
	for _, s := range spellings {
		if s.form.MatchString(strings.TrimSpace(field)) {
			return fmt.Errorf("%.40q %s: make numbers of the column, in pandas by frame[%q] = "+s.series, field, s.what,
				name, name)
		}
	}
	return fmt.Errorf("%w; make columns of 0 and 1 of it, in pandas by get_dummies(frame, columns=[%q]), or leave the "+
		"column out",
		err, name)
}

// missingRows collects the rows with missing values.
type missingRows struct {
	count int
	few   []string
	last  int
}

func (m *missingRows) add(row, line int, column string) {
	if m.count > 0 && m.last == row {
		return
	}
	m.last = row
	if m.count++; m.count <= 5 {
		m.few = append(m.few, fmt.Sprintf("row %d (line %d, column %q)", row, line, column))
	}
}

func (m *missingRows) err() error {
	if m.count == 0 {
		return nil
	}
	more := ""
	if m.count > len(m.few) {
		more = fmt.Sprintf(" and %d more", m.count-len(m.few))
	}
	return fmt.Errorf("values are missing in %s%s; leave these rows out, in pandas by read_csv(…, "+
		"na_values=\"?\").dropna(), or fill the values in",
		strings.Join(m.few, ", "), more)
}
