package experiments

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
)

// WriteTable prints records for people: texts, mean and deviation of each of the report's rows, warnings, and the texts
// that are to be read last.
func WriteTable(w io.Writer, report Report, records []*Record) error {
	if err := writeTexts(w, report.Before, records); err != nil {
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range report.Rows {
		if text, ok := row.text(records); ok {
			fmt.Fprintf(t, "%s\t%s\n", row.title(records[0]), text)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, r := range records {
		for _, sentence := range r.Warnings {
			if len(records) > 1 {
				sentence = fmt.Sprintf("seed %d: %s", r.Seed, sentence)
			}
			if _, err := fmt.Fprintf(w, "warning: %s\n", sentence); err != nil {
				return err
			}
		}
	}
	return writeTexts(w, report.After, records)
}

// writeTexts prints texts, a line each.
func writeTexts(w io.Writer, names []string, records []*Record) error {
	for _, text := range texts(names, records) {
		if _, err := fmt.Fprintln(w, text); err != nil {
			return err
		}
	}
	return nil
}

// texts are those of these names that records have. Where there are several records, the seed stands before each, and
// files are called by the seed's own names.
func texts(names []string, records []*Record) (list []string) {
	for _, name := range names {
		for _, r := range records {
			text, ok := r.Texts[name]
			if !ok {
				continue
			}
			if len(records) > 1 {
				for _, t := range r.Tables {
					text = strings.ReplaceAll(text, t.Name+".csv", t.File(r, len(records)))
				}
				text = fmt.Sprintf("seed %d: %s", r.Seed, text)
			}
			list = append(list, text)
		}
	}
	return list
}

func (row Row) title(r *Record) string {
	var pairs []string
	for name, text := range r.Texts {
		pairs = append(pairs, "{"+name+"}", text)
	}
	return strings.NewReplacer(pairs...).Replace(row.Title)
}

// text is the row's mean over the records, with its deviation where there are several; ok is false where a record has
// no such number.
func (row Row) text(records []*Record) (text string, ok bool) {
	var values []float64
	for _, r := range records {
		v, ok := r.Scalars[row.Scalar]
		if !ok || math.IsNaN(v) || math.IsInf(v, 0) {
			return "", false
		}
		values = append(values, v)
	}
	mean, std := MeanStd(values)
	switch {
	case row.Percent:
		text = fmt.Sprintf("%.2f %%", 100*mean)
	case row.Whole:
		text = fmt.Sprintf("%.0f", mean)
	default:
		text = fmt.Sprintf("%.4g", mean)
	}
	switch {
	case len(values) == 1:
	case row.Percent:
		text += fmt.Sprintf(" ± %.2f", 100*std)
	default:
		text += fmt.Sprintf(" ± %.2g", std)
	}
	return text, true
}
