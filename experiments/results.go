package experiments

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"bilevel/internal/atomicfile"
	"bilevel/internal/npy"
	"bilevel/models/params"
)

// WriteResults writes a folder of results, each file whole or not at all, the first one last:
//
//	result.json                  what --json prints
//	metrics.jsonl, metrics.csv   the curves of every record, where it has some
//	report.html                  one page with all of it, which asks for no other file
//	FILE.svg, FILE.png           the experiment's plots
//	NAME.csv, NAME.safetensors   its tables and models, NAME-seed-S.… where there are several cells
//	NAME.npy                     its arrays, likewise
//	NAME.png, .svg, .npz         pictures, heat maps and networks, likewise
//
// cells is how many records there will be once all are finished.
func WriteResults(dir string, page Page, report Report, records []*Record, cells int) error {
	summary, err := Summarize(records)
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(summary, "", "  ")
	if err != nil {
		return err
	}
	for _, r := range records {
		for _, row := range r.Curve.Rows {
			if slices.ContainsFunc(row, func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) }) {
				return fmt.Errorf("seed %d: the curve has a value that is no number: %v", r.Seed, row)
			}
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if len(records[0].Curve.Columns) > 0 {
		if err := writeMetrics(dir, records); err != nil {
			return err
		}
	}
	if err := writeTables(dir, records, cells); err != nil {
		return err
	}
	if err := writeModels(dir, records, cells); err != nil {
		return err
	}
	if err := writeArrays(dir, records, cells); err != nil {
		return err
	}
	if err := writePlots(dir, page.Title, report, records); err != nil {
		return err
	}
	if err := writePictures(dir, page.Title, records, cells); err != nil {
		return err
	}
	if err := writePage(dir, page, report, records, cells); err != nil {
		return err
	}
	return atomicfile.WriteFile(filepath.Join(dir, "result.json"), append(text, '\n'))
}

// writeTables writes each record's tables.
func writeTables(dir string, records []*Record, cells int) error {
	for _, r := range records {
		for _, t := range r.Tables {
			if err := atomicfile.Write(filepath.Join(dir, t.File(r, cells)), t.Write); err != nil {
				return err
			}
		}
	}
	return nil
}

// File is the name of the file that a record's table is written to, where there are so many cells.
func (t Table) File(r *Record, cells int) string { return t.Name + suffixOf(r, cells) + ".csv" }

// Write writes the table as CSV.
func (t Table) Write(w io.Writer) error {
	c := csv.NewWriter(w)
	c.Write(t.Columns)
	c.WriteAll(t.Rows)
	return c.Error()
}

func writeMetrics(dir string, records []*Record) error {
	err := atomicfile.Write(filepath.Join(dir, "metrics.jsonl"), func(w io.Writer) error {
		for _, r := range records {
			for _, row := range r.Curve.Rows {
				line := fmt.Appendf(nil, `{"seed":%d`, r.Seed)
				for j, v := range row {
					name, err := json.Marshal(r.Curve.Columns[j])
					if err != nil {
						return err
					}
					line = append(append(append(line, ','), name...), ':')
					line = strconv.AppendFloat(line, v, 'g', -1, 64)
				}
				if _, err := w.Write(append(line, "}\n"...)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, "metrics.csv"), func(w io.Writer) error {
		t := Table{Columns: append([]string{"seed"}, records[0].Curve.Columns...)}
		for _, r := range records {
			for _, row := range r.Curve.Rows {
				line := []string{strconv.FormatUint(r.Seed, 10)}
				for _, v := range row {
					line = append(line, Number(v))
				}
				t.Rows = append(t.Rows, line)
			}
		}
		return t.Write(w)
	})
}

// writeModels writes each record's models.
func writeModels(dir string, records []*Record, cells int) error {
	for _, r := range records {
		for _, m := range r.Models {
			name := m.Name + suffixOf(r, cells) + ".safetensors"
			if err := params.WriteSafetensors(filepath.Join(dir, name), m.Metadata, m.Arrays); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeArrays writes each record's arrays.
func writeArrays(dir string, records []*Record, cells int) error {
	for _, r := range records {
		for _, a := range r.Arrays {
			values, err := npy.New(a.Values, a.Shape...)
			if err != nil {
				return err
			}
			if err := npy.WriteFile(filepath.Join(dir, a.Name+suffixOf(r, cells)+npy.Suffix), values); err != nil {
				return err
			}
		}
	}
	return nil
}

// Number is a number as tables show it, with seven digits; whole numbers are written out.
func Number(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
		return strconv.FormatInt(int64(v), 10)
	}
	return strconv.FormatFloat(v, 'g', 7, 64)
}
