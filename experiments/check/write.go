package check

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"

	"bilevel/solvers/hypergrad"
)

// Write prints a result: what the problem is, a line for each estimator, and what there is to say.
func (r *Result) Write(w io.Writer) error {
	along := ""
	if r.Directions < r.Upper {
		along = fmt.Sprintf(" along %d random directions", r.Directions)
	}
	fmt.Fprintf(w, "%s: %d upper and %d lower variables, h = %.6g, |∇h| = %.6g%s (by differences, ± %.1g)\n", r.Problem,
		r.Upper, r.Lower, r.Value, r.Size, along, r.Uncertainty)
	if !math.IsNaN(float64(r.Smallest)) {
		fmt.Fprintf(w, "H at y* has eigenvalues from %.4g to %.4g\n", float64(r.Smallest), float64(r.Largest))
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "estimator\terror\tcosine\tresidual\tits own figure\tcalls\tms\t")
	for _, row := range r.Rows {
		if row.Refused != "" {
			continue
		}
		label := row.Label
		if row.FromStart {
			label += " *"
		}
		if row.Label == r.Recommended {
			label += " <"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%.2g\t%s\n", label, short(row.Error), cosine(row.Cosine),
			short(row.Residual), row.figure(), row.Counts, 1e3*row.Seconds, row.Status)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	var lines []string
	if r.Recommended != "" {
		lines = append(lines, "<  recommended: the fewest oracle calls among those within twice the smallest error")
	}
	for _, row := range r.Rows {
		if row.FromStart && row.Refused == "" {
			lines = append(lines, "*  begins at the start values and not at y*: its steps solve the lower level too")
			break
		}
	}
	for _, word := range r.Words {
		lines = append(lines, sentence(word))
	}
	lines = append(lines, r.grouped("%s: %s", func(row Row) []string { return append(row.Notes, row.Bias) })...)
	lines = append(lines, r.grouped("refused (%s): %s", func(row Row) []string { return []string{row.Refused} })...)
	if len(lines) == 0 {
		return nil
	}
	_, err := fmt.Fprintf(w, "\n%s\n", strings.Join(lines, "\n"))
	return err
}

// grouped lists what is said of rows, each text once with the labels of all rows of which it is said.
func (r *Result) grouped(format string, of func(Row) []string) (lines []string) {
	by := map[string][]string{}
	var texts []string
	for _, row := range r.Rows {
		for _, text := range of(row) {
			if text == "" {
				continue
			}
			if by[text] == nil {
				texts = append(texts, text)
			}
			by[text] = append(by[text], row.Label)
		}
	}
	for _, text := range texts {
		lines = append(lines, sentence(fmt.Sprintf(format, strings.Join(by[text], "; "), text)))
	}
	return lines
}

// figure is what the estimator says of its own error.
func (r Row) figure() string {
	if r.Kind == hypergrad.Stated {
		return "stated"
	}
	return fmt.Sprintf("%s (%s)", short(r.Figure), r.Kind)
}

func short(n Number) string {
	switch v := float64(n); {
	case math.IsNaN(v):
		return "-"
	case v == 0:
		return "0"
	default:
		return fmt.Sprintf("%.1e", v)
	}
}

// cosine shows how far below 1 it is.
func cosine(n Number) string {
	v := float64(n)
	if math.IsNaN(v) {
		return "-"
	}
	if gap := 1 - v; gap > 0 && gap < 1e-4 {
		return fmt.Sprintf("1 - %.0e", gap)
	}
	return fmt.Sprintf("%.4f", v)
}

// sentence ends with a full stop.
func sentence(s string) string {
	if strings.HasSuffix(s, ".") {
		return s
	}
	return s + "."
}
