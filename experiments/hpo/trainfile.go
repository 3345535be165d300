package hpo

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"

	"bilevel/experiments"
)

// Run is one record of a search with what it is of.
type Run struct {
	Method string // as its row is called
	Config Config
	Record *experiments.Record
}

// hyperparameterTable is the name of a record's table of the best hyperparameters.
const hyperparameterTable = "hyperparameters"

// byLoss is the scalar that the best run is chosen by.
const byLoss = "refit.val_loss"

// Best are, for each seed in the order of the runs, the run with the lowest loss on the validation rows of what was
// trained anew: the y of some algorithms is drawn towards the validation rows.
func Best(runs []Run) (best []Run) {
	for _, r := range runs {
		i := slices.IndexFunc(best, func(b Run) bool { return b.Record.Seed == r.Record.Seed })
		switch {
		case i < 0:
			best = append(best, r)
		case r.Record.Scalars[byLoss] < best[i].Record.Scalars[byLoss]:
			best[i] = r
		}
	}
	return best
}

// TrainFile is the configuration of `bilevel train` with the hyperparameters that a search has found, on the same split
// of the data that are called so.
func (r Run) TrainFile(data, label string) ([]byte, error) {
	model := "softmax"
	if r.Config.Search == Layers {
		model = r.Config.model()
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "# What `bilevel hpo` has found by %s: validation loss %.6g.\n", r.Method,
		r.Record.Scalars[byLoss])
	if r.Config.Folds > 0 {
		fmt.Fprintf(&b, "# It was judged by %d folds of %d rows, of which train holds out %d again.\n", r.Config.Folds,
			r.Config.Train+r.Config.Val, r.Config.Val)
	}
	fmt.Fprintf(&b, "command: train\ndata: %q\nlabel: %q\nseed: %d\nmodel: %s\ntrain: %d\nval: %d\n", data, label,
		r.Record.Seed, model, r.Config.Train, r.Config.Val)
	fmt.Fprintf(&b, "weight_decay: 0\n")
	t := slices.IndexFunc(r.Record.Tables, func(t experiments.Table) bool { return t.Name == hyperparameterTable })
	if t < 0 {
		return nil, fmt.Errorf("the record of %s has no hyperparameters", r.Method)
	}
	rows := slices.Clone(r.Record.Tables[t].Rows)
	slices.SortStableFunc(rows, func(a, b []string) int { return cmp.Compare(a[2], b[2]) })
	before := ""
	for _, row := range rows {
		name, setting, text := row[0], row[2], row[3]
		if setting != listSetting {
			fmt.Fprintf(&b, "%s: %s\n", setting, text)
			continue
		}
		if setting != before {
			fmt.Fprintf(&b, "%s:\n", setting)
		}
		before = setting
		fmt.Fprintf(&b, "  - %q # %s\n", text, oneLine(name))
	}
	return b.Bytes(), nil
}

// listSetting is the setting of train that takes several values.
const listSetting = "decay"

// oneLine keeps what may stand in a comment.
func oneLine(s string) string {
	clean := []rune(s)
	for i, c := range clean {
		if c < ' ' || c == 0x7f {
			clean[i] = ' '
		}
	}
	return string(clean)
}

// Lines are points of searches that are drawn over calls: of a method, for each seed in their order.
type Lines struct {
	Method string
	Seeds  []uint64
	Curves map[uint64]experiments.Curve
}

// LinesOf are the courses of runs, a line for each method.
func LinesOf(runs []Run) (lines []Lines) {
	for _, r := range runs {
		lines = appendCurve(lines, r.Method, r.Record.Seed, r.Record.Curve)
	}
	return lines
}

func appendCurve(lines []Lines, method string, seed uint64, c experiments.Curve) []Lines {
	i := slices.IndexFunc(lines, func(l Lines) bool { return l.Method == method })
	if i < 0 {
		i = len(lines)
		lines = append(lines, Lines{Method: method, Curves: map[uint64]experiments.Curve{}})
	}
	lines[i].Seeds = append(lines[i].Seeds, seed)
	lines[i].Curves[seed] = c
	return lines
}

// otherColumns are those of a file of another program's searches that are read.
var otherColumns = []string{"method", "seed", "calls", "val_loss", "test_loss"}

// ReadLines reads the courses of another program's searches: CSV with the columns method, seed, calls, val_loss and
// test_loss, as curves.csv has them, among others that are not looked at.
func ReadLines(from io.Reader) (lines []Lines, err error) {
	in := csv.NewReader(from)
	head, err := in.Read()
	if err != nil {
		return nil, experiments.Usagef("it has no first line of names: %v", err)
	}
	var at []int
	for _, name := range otherColumns {
		i := slices.Index(head, name)
		if i < 0 {
			return nil, experiments.Usagef("it has no column %s: wants %v", name, otherColumns)
		}
		at = append(at, i)
	}
	for number := 2; ; number++ {
		row, err := in.Read()
		if err == io.EOF {
			return lines, nil
		}
		if err != nil {
			return nil, experiments.Usagef("%v", err)
		}
		method := row[at[0]]
		seed, err := strconv.ParseUint(row[at[1]], 10, 64)
		if err != nil {
			return nil, experiments.Usagef("line %d: the seed %q is no whole number", number, row[at[1]])
		}
		values := make([]float64, 3)
		for i := range values {
			v, err := strconv.ParseFloat(row[at[2+i]], 64)
			if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
				return nil, experiments.Usagef("line %d: %s is %q and no number", number, otherColumns[2+i],
					row[at[2+i]])
			}
			values[i] = v
		}
		i := slices.IndexFunc(lines, func(l Lines) bool { return l.Method == method })
		if i < 0 || lines[i].Curves[seed].Columns == nil {
			lines = appendCurve(lines, method, seed, experiments.Curve{Columns: otherColumns[2:]})
			i = slices.IndexFunc(lines, func(l Lines) bool { return l.Method == method })
		}
		c := lines[i].Curves[seed]
		c.Rows = append(c.Rows, values)
		lines[i].Curves[seed] = c
	}
}

// Figures draw the loss of the best point on the validation and on the test rows over the calls that were spent, above
// the lowest that any method comes to with the same seed, since seeds divide the rows differently.
func Figures(title string, lines []Lines) (list []experiments.Courses) {
	for _, f := range []struct{ column, says string }{
		{"val_loss", "validation loss"}, {"test_loss", "test loss of the best by validation"},
	} {
		lowest := map[uint64]float64{}
		for _, l := range lines {
			for seed, c := range l.Curves {
				for _, v := range c.Column(f.column) {
					if low, ok := lowest[seed]; !ok || v < low {
						lowest[seed] = v
					}
				}
			}
		}
		plot := experiments.Courses{File: f.column + "-above-lowest", Title: title, X: "oracle calls over all rows",
			Y: f.says + ", above the lowest"}
		for _, l := range lines {
			course := experiments.Course{Name: l.Method}
			for _, seed := range l.Seeds {
				x, y := l.Curves[seed].Column("calls"), slices.Clone(l.Curves[seed].Column(f.column))
				for i := range y {
					y[i] -= lowest[seed]
				}
				course.X, course.Y = append(course.X, x), append(course.Y, y)
			}
			plot.Lines = append(plot.Lines, course)
		}
		list = append(list, plot)
	}
	return list
}
