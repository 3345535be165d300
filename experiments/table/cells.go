package table

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"bilevel/data"
	"bilevel/experiments"
	"bilevel/internal/nearest"
)

// Application makes runs of settings, which have the names of the experiment's configuration files.
type Application struct {
	Name string
	Make func(settings map[string]any) (*Run, error)
}

// Run is an experiment with its configuration and data.
type Run struct {
	Experiment experiments.Experiment
	Config     any
	Data       *data.Dataset
}

// Table is the rows and cells of a recipe.
type Table struct {
	Recipe *Recipe
	Rows   []Row
	Cells  []Cell
}

// Row is one line of the results: a method at one combination of the varied settings.
type Row struct {
	Method string
	Varied []string // the values of the recipe's axes, as texts
	Run    *Run

	likeness string         // of the method
	settings map[string]any // of the recipe
}

// Name is the row's method and varied settings.
func (t *Table) Name(row int) string {
	name := t.Rows[row].Method
	for i, value := range t.Rows[row].Varied {
		name += fmt.Sprintf(", %s %s", t.Recipe.Vary[i].Name, value)
	}
	return name
}

// Cell is one run of the table: a row with one seed.
type Cell struct {
	experiments.Cell
	Key string
	Row int // index into Table.Rows
}

// Title is what a cell is called in messages.
func (t *Table) Title(c Cell) string { return fmt.Sprintf("%s, seed %d", t.Name(c.Row), c.Seed) }

// caseAxis is the name of an axis that is no setting itself: its values are names of cases, which settings follow.
const caseAxis = "case"

// Expand makes the table of a recipe, row by row, and in each row seed by seed.
func Expand(r *Recipe, applications []Application) (*Table, error) {
	if err := r.check(); err != nil { // it was right when it was read, and may have been given other values since
		return nil, err
	}
	t := &Table{Recipe: r}
	prints := map[*data.Dataset]string{}
	seen := map[string]int{}
	for _, method := range r.Methods {
		for _, at := range combinations(r.Vary) {
			row := Row{Method: method.Name, likeness: cmp.Or(method.likeness, method.Name)}
			settings := maps.Clone(r.Settings)
			maps.Copy(settings, method.Settings)
			for i, a := range r.Vary {
				settings[a.Name] = at[i]
				if a.Name == caseAxis {
					delete(settings, caseAxis)
				}
				row.Varied = append(row.Varied, textOf(at[i]))
			}
			if err := choose(settings, r.Vary, row.Varied); err != nil {
				return nil, experiments.Usagef("method %s: %v", method.Name, err)
			}
			row.settings = settings
			app, err := find(applications, method, r.Experiment)
			if err != nil {
				return nil, err
			}
			if row.Run, err = app.Make(settings); err != nil {
				return nil, fmt.Errorf("method %s: %w", method.Name, err)
			}
			cells, err := row.Run.Experiment.Cells(row.Run.Config, r.Seeds)
			if err != nil {
				return nil, experiments.Usagef("method %s: %v", method.Name, err)
			}
			if prints[row.Run.Data] == "" {
				if prints[row.Run.Data], err = experiments.Fingerprint(row.Run.Data); err != nil {
					return nil, err
				}
			}
			t.Rows = append(t.Rows, row)
			for _, c := range cells {
				c.Data = prints[row.Run.Data]
				key, err := c.Key()
				if err != nil {
					return nil, err
				}
				if other, ok := seen[key]; ok {
					return nil, experiments.Usagef("the rows %q and %q are one and the same run",
						t.Name(other), t.Name(len(t.Rows)-1))
				}
				seen[key] = len(t.Rows) - 1
				t.Cells = append(t.Cells, Cell{c, key, len(t.Rows) - 1})
			}
		}
	}
	return t, nil
}

// textOf is a value of an axis as it is shown, which has six digits: those of a series have many more.
func textOf(v any) string {
	if x, ok := v.(float64); ok {
		return strconv.FormatFloat(x, 'g', 6, 64)
	}
	return fmt.Sprint(v)
}

// choose puts the value for a row in place of settings that follow an axis: the one axis whose value they know.
func choose(settings map[string]any, axes []Axis, varied []string) error {
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		each, ok := settings[name].(byValue)
		if !ok {
			continue
		}
		found := 0
		for _, at := range varied {
			if v, ok := each[at]; ok {
				settings[name], found = v, found+1
			}
		}
		if found != 1 {
			var names []string
			for _, a := range axes {
				names = append(names, a.Name)
			}
			return fmt.Errorf("%s is given for the values %v: wants each value of one of the axes %v, and %v is there "+
				"%d times", name, slices.Sorted(maps.Keys(each)), names, varied, found)
		}
	}
	return nil
}

// find is the application of a method.
func find(applications []Application, m Method, all string) (Application, error) {
	name := m.Experiment
	if name == "" {
		name = all
	}
	var names []string
	for _, a := range applications {
		if a.Name == name {
			return a, nil
		}
		names = append(names, a.Name)
	}
	if name == "" {
		return Application{}, experiments.Usagef("method %s has no experiment: wants one of %s", m.Name,
			strings.Join(names, ", "))
	}
	return Application{}, experiments.Usagef("method %s: unknown experiment %q (there are %s)%s", m.Name, name,
		strings.Join(names, ", "), nearest.Hint(name, names))
}

// combinations are the values of all axes, those of the last changing fastest; without axes there is one, of no values.
func combinations(axes []Axis) [][]any {
	out := [][]any{nil}
	for _, a := range axes {
		var next [][]any
		for _, head := range out {
			for _, value := range a.Values {
				next = append(next, append(slices.Clone(head), value))
			}
		}
		out = next
	}
	return out
}

// Shard is a part of a table for one of several processes that share no folder: cells I-1, I-1+N, I-1+2N, …
type Shard struct{ I, N int }

// ParseShard reads I/N; "" is the whole table.
func ParseShard(text string) (s Shard, err error) {
	if text == "" {
		return Shard{1, 1}, nil
	}
	n, _ := fmt.Sscanf(text, "%d/%d", &s.I, &s.N)
	if n != 2 || s.I < 1 || s.I > s.N || fmt.Sprintf("%d/%d", s.I, s.N) != text {
		return Shard{}, experiments.Usagef("shard %q: wants I/N with I from 1 to N, such as 2/8", text)
	}
	return s, nil
}

// Has tells whether cell number i of the table is the shard's.
func (s Shard) Has(i int) bool { return i%s.N == s.I-1 }
