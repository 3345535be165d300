// Package table runs tables: methods at settings over seeds, from a recipe. Every cell is a run in a folder of its own,
// so that any number of processes may work off one table, and what is shown is computed from the cells' records alone.
package table

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"bilevel/experiments"
	"bilevel/internal/nearest"
	"bilevel/internal/plainyaml"
)

// Recipe says which cells a table has: every method at every combination of the varied settings, with every seed.
type Recipe struct {
	Title      string         `json:"title"`
	About      []string       `json:"-"`          // sentences that stand beside the table
	Experiment string         `json:"experiment"` // of methods that name none
	Settings   map[string]any `json:"settings"`   // of every cell, by their names in configuration files
	Methods    []Method       `json:"methods"`
	Vary       []Axis         `json:"vary"`
	Spread     string         `json:"-"`        // an axis whose values also stand beside each other
	Measures   []string       `json:"measures"` // scalars that are shown; none: what the experiments show first
	Compare    [][2]string    `json:"compare"`  // A, B: the difference A - B; none: each method against the first
	Uncompared bool           `json:"-"`        // no differences at all
	Plots      [][2]string    `json:"plots"`    // a varied setting and a measure that is drawn over it
	Curves     []Curve        `json:"-"`        // columns of the records' curves that are drawn over the course of runs
	Tune       *Tuning        `json:"tune"`     // nil: nothing is chosen
	Published  *Published     `json:"-"`        // what others have of it; nil: nothing
	Seeds      []uint64       `json:"-"`        // a folder's table may be given more
	Version    string         `json:"-"`        // of the program that a folder belongs to; "" in recipes of people
}

// Method is a named choice of settings, which go before those of every cell.
type Method struct {
	Name       string         `json:"name"`
	Experiment string         `json:"experiment"`
	Settings   map[string]any `json:"settings"`

	// likeness names what takes as long as this method, for predictions; empty: itself. It is no part of a file.
	likeness string
}

// Axis is a setting that takes several values.
type Axis struct {
	Name   string `json:"name"`
	Values []any  `json:"values"`
}

// MostCells is how many cells a table may have: far above what anyone runs, and keeps a slip of the pen from filling
// the memory.
const MostCells = 100_000

//go:embed recipes
var recipes embed.FS

// BuiltIn lists the names of the recipes that the program brings along.
func BuiltIn() (names []string) {
	entries, _ := recipes.ReadDir("recipes") // it is embedded
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	return names
}

// Text is the recipe of a built-in name.
func Text(name string) ([]byte, error) {
	text, err := recipes.ReadFile(path.Join("recipes", name+".yaml"))
	if err != nil {
		names := BuiltIn()
		return nil, experiments.Usagef("there is no recipe %q (built in are %s; a file's name ends with .yaml)%s",
			name, strings.Join(names, ", "), nearest.Hint(name, names))
	}
	return text, nil
}

// Parse reads a recipe. Its errors are of usage, and one sentence.
func Parse(text []byte) (*Recipe, error) {
	values, err := plainyaml.Parse(text)
	if err != nil {
		return nil, experiments.Usagef("not the YAML of a recipe: %v", err)
	}
	r := &Recipe{Settings: map[string]any{}}
	if err := (section{"", values}).read(map[string]func(any) error{
		"title":      textTo(&r.Title),
		"about":      r.readAbout,
		"experiment": textTo(&r.Experiment),
		"version":    textTo(&r.Version),
		"settings":   r.readSettings,
		"methods":    r.readMethods,
		"vary":       r.readVary,
		"spread":     textTo(&r.Spread),
		"seeds":      r.readSeeds,
		"measures":   r.readMeasures,
		"compare":    r.readCompare,
		"curves":     r.readCurves,
		"tune":       r.readTuning,
		"published":  r.readPublished,
		"plots":      pairs(&r.Plots, "[S, M] for the measure M over the setting S"),
	}); err != nil {
		return nil, oneLine(err)
	}
	if err := r.check(); err != nil {
		return nil, oneLine(err)
	}
	return r, nil
}

// check refuses a recipe that has no cells, too many, or names of methods that it does not have.
func (r *Recipe) check() error {
	var methods []string
	for _, m := range r.Methods {
		methods = append(methods, m.Name)
	}
	for _, pair := range r.Compare {
		for _, name := range pair {
			if !slices.Contains(methods, name) {
				return experiments.Usagef("compare: there is no method %q%s", name, nearest.Hint(name, methods))
			}
		}
		if pair[0] == pair[1] {
			return experiments.Usagef("compare: %s with itself", pair[0])
		}
	}
	if err := errors.Join(r.checkTuning(methods), r.Published.check(methods, r.Vary)); err != nil {
		return err
	}
	var varied []string
	for _, a := range r.Vary {
		varied = append(varied, a.Name)
	}
	for _, pair := range r.Plots {
		if !slices.Contains(varied, pair[0]) {
			return experiments.Usagef("plots: vary has no setting %q%s", pair[0], nearest.Hint(pair[0], varied))
		}
	}
	if r.Spread != "" && !slices.Contains(varied, r.Spread) {
		return experiments.Usagef("spread: vary has no setting %q%s", r.Spread, nearest.Hint(r.Spread, varied))
	}
	cells := len(r.Methods) * len(r.Seeds)
	for i, a := range r.Vary {
		cells *= len(a.Values)
		if cells > MostCells {
			break
		}
		for _, b := range r.Vary[:i] {
			if a.Name == b.Name {
				return experiments.Usagef("vary: %s is there twice", a.Name)
			}
		}
	}
	if cells > MostCells {
		return experiments.Usagef("the recipe has more than %d cells", MostCells)
	}
	if cells == 0 {
		return experiments.Usagef("the recipe has no cells: it wants methods, seeds, and values in vary")
	}
	return nil
}

// Set gives a setting one value in every cell, whatever the recipe says of it, and the table then says so.
func (r *Recipe) Set(name string, value any) {
	text := fmt.Sprintf("Set for this table: %s %s", name, textOf(value))
	switch was := r.Settings[name].(type) {
	case nil:
	case byValue:
		text += " in place of one for each case"
	default:
		text += " in place of " + textOf(was)
	}
	r.About = append(r.About, text+".")
	r.Settings[name] = value
	for _, m := range r.Methods {
		if _, ok := m.Settings[name]; ok {
			m.Settings[name] = value
		}
	}
	for i := range r.Vary {
		if r.Vary[i].Name == name {
			r.Published.set(r.Vary, i, value)
			r.Vary[i].Values = []any{value}
		}
	}
	if r.Tune == nil {
		return
	}
	named := func(a Axis) bool { return a.Name == name }
	delete(r.Tune.Settings, name)
	r.Tune.Grid = slices.DeleteFunc(r.Tune.Grid, named)
	for method, grid := range r.Tune.Grids {
		r.Tune.Grids[method] = slices.DeleteFunc(grid, named)
	}
}

// difference names the first part in which two recipes differ but for their seeds, "" where there is none.
func difference(there, here *Recipe) string {
	var a, b map[string]json.RawMessage
	for to, r := range map[*map[string]json.RawMessage]*Recipe{&a: there, &b: here} {
		text, err := json.Marshal(r)
		if err != nil || json.Unmarshal(text, to) != nil {
			return "one of the two is no recipe"
		}
	}
	for _, part := range []string{"experiment", "settings", "methods", "vary", "measures", "compare", "title"} {
		if string(a[part]) != string(b[part]) {
			x, y := apart(string(a[part]), string(b[part]))
			return fmt.Sprintf("%s is %s there and %s here", part, x, y)
		}
	}
	return ""
}

// apart is two texts that differ, of long ones what lies around the first difference.
func apart(a, b string) (string, string) {
	const most, before = 80, 30
	same := 0
	for same < min(len(a), len(b)) && a[same] == b[same] {
		same++
	}
	around := func(s string) string {
		if len(s) <= most {
			return s
		}
		from := max(0, min(same-before, len(s)-most))
		part := strings.ToValidUTF8(s[from:min(len(s), from+most)], "")
		if from > 0 {
			part = "…" + part
		}
		if from+most < len(s) {
			part += "…"
		}
		return part
	}
	return around(a), around(b)
}
