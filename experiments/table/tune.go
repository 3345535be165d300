package table

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"bilevel/experiments"
	"bilevel/internal/nearest"

	"github.com/goccy/go-yaml"
)

// Tuning says how settings of methods are chosen before a table is run: each combination of a method's grid is run with
// a few seeds, and the one with the lowest mean of a measure is taken. Where a setting varies, each of its values gets
// a choice of its own.
type Tuning struct {
	By       string            `json:"by"` // a scalar of records, the lower the better; -NAME: the higher
	Seeds    []uint64          `json:"seeds"`
	Settings map[string]any    `json:"settings"` // of the cells that are tried, before those of the recipe
	Grid     []Axis            `json:"grid"`     // of methods that Grids does not name
	Grids    map[string][]Axis `json:"grids"`    // by method; an empty one leaves the method as it is
}

// readTuning reads the part of a recipe.
func (r *Recipe) readTuning(v any) error {
	m, err := names(v)
	if err != nil {
		return err
	}
	t := &Tuning{Seeds: FirstSeeds(1), Settings: map[string]any{}, Grids: map[string][]Axis{}}
	r.Tune = t
	return section{"tune", m}.read(map[string]func(any) error{
		"by":       textTo(&t.By),
		"seeds":    func(v any) error { return readSeeds(&t.Seeds, v) },
		"settings": func(v any) error { return readInto(t.Settings, v) },
		"grid":     func(v any) error { return readAxes(&t.Grid, v) },
		"grids": func(v any) error {
			m, err := names(v)
			for _, item := range m {
				var axes []Axis
				if err := readAxes(&axes, item.Value); err != nil {
					return fmt.Errorf("%v: %w", item.Key, err)
				}
				t.Grids[fmt.Sprint(item.Key)] = axes
			}
			return err
		},
	})
}

// measure is the scalar, and 1, or -1 where the highest is the best.
func (t *Tuning) measure() (name string, sign float64) {
	if name, ok := strings.CutPrefix(t.By, "-"); ok {
		return name, -1
	}
	return t.By, 1
}

// best is the measure in words.
func (t *Tuning) best() string {
	name, sign := t.measure()
	if sign < 0 {
		return "highest " + name
	}
	return "lowest " + name
}

// of is the grid of a method.
func (t *Tuning) of(method string) []Axis {
	if own, ok := t.Grids[method]; ok {
		return own
	}
	return t.Grid
}

// checkTuning refuses a tuning that can never choose.
func (r *Recipe) checkTuning(methods []string) error {
	t := r.Tune
	if t == nil {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(t.Grids)) {
		if !slices.Contains(methods, name) {
			return experiments.Usagef("tune: grids: there is no method %q%s", name, nearest.Hint(name, methods))
		}
	}
	cells, varied := 0, 1
	for _, a := range r.Vary {
		varied *= len(a.Values)
	}
	for _, m := range methods {
		n := max(1, len(t.Seeds)) * max(1, varied)
		for _, a := range t.of(m) {
			if len(a.Values) == 0 {
				return experiments.Usagef("tune: the grid of %s has no value for %s", m, a.Name)
			}
			if n *= len(a.Values); n > MostCells {
				break
			}
		}
		cells += n
	}
	switch {
	case t.By == "":
		return experiments.Usagef("tune: wants `by`, the measure by which settings are chosen, the lower the better, " +
			"or with a minus before it the higher")
	case len(t.Seeds) == 0:
		return experiments.Usagef("tune: wants at least one seed")
	case len(r.Vary) > 1:
		return experiments.Usagef("tune: the recipe varies %d settings; settings can be chosen for the values of one "+
			"that varies, so give the others in settings or in methods", len(r.Vary))
	case cells > MostCells: // which many axes, or many methods, may come to
		return experiments.Usagef("tune: the grids have more than %d cells", MostCells)
	}
	return nil
}

// tuningYAML is the part of a recipe as YAML.
func (t *Tuning) tuningYAML() yaml.MapSlice {
	grids := yaml.MapSlice{}
	for _, name := range slices.Sorted(maps.Keys(t.Grids)) {
		grids = append(grids, yaml.MapItem{Key: name, Value: axesYAML(t.Grids[name])})
	}
	return yaml.MapSlice{
		{Key: "by", Value: t.By}, {Key: "seeds", Value: t.Seeds}, {Key: "settings", Value: sorted(t.Settings)},
		{Key: "grid", Value: axesYAML(t.Grid)}, {Key: "grids", Value: grids},
	}
}

func axesYAML(axes []Axis) yaml.MapSlice {
	out := yaml.MapSlice{}
	for _, a := range axes {
		out = append(out, yaml.MapItem{Key: a.Name, Value: a.Values})
	}
	return out
}

// Trials is the recipe of the table that tries the grids: a method for each combination. Methods without a grid are not
// in it.
func (r *Recipe) Trials() *Recipe {
	by, _ := r.Tune.measure()
	out := &Recipe{
		Title: r.Title + ": the settings that were tried", Experiment: r.Experiment, Settings: maps.Clone(r.Settings),
		Vary: r.Vary, Seeds: r.Tune.Seeds, Measures: []string{by}, Uncompared: true,
	}
	maps.Copy(out.Settings, r.Tune.Settings)
	r.eachTrial(func(m Method, grid []Axis, at []any) {
		trial := Method{Name: m.Name + ": " + atText(grid, at), Experiment: m.Experiment,
			Settings: maps.Clone(m.Settings), likeness: m.Name}
		maps.Copy(trial.Settings, r.Tune.Settings)
		for i, a := range grid {
			trial.Settings[a.Name] = at[i]
		}
		out.Methods = append(out.Methods, trial)
	})
	return out
}

// eachTrial calls f for the combinations of each method's grid.
func (r *Recipe) eachTrial(f func(m Method, grid []Axis, at []any)) {
	for _, m := range r.Methods {
		grid := r.Tune.of(m.Name)
		if len(grid) == 0 {
			continue
		}
		for _, at := range combinations(grid) {
			f(m, grid, at)
		}
	}
}

// atText is a combination in words.
func atText(grid []Axis, at []any) string {
	var parts []string
	for i, a := range grid {
		parts = append(parts, a.Name+" "+textOf(at[i]))
	}
	return strings.Join(parts, ", ")
}

// tried is what has come of the combinations of one method at one value of the setting that varies.
type tried struct {
	best     []any
	mean     float64
	of, none int // how many there are, and how many of them gave no number
}

// Chosen is the recipe with the settings that the trials, a table of Trials with its outcomes, speak for, and sentences
// that say which and among how many. Where no combination of a method gave a number, the first one stays.
func (r *Recipe) Chosen(trials *Table, outcomes []Outcome) *Recipe {
	values := map[int][]float64{} // of a row, by seed
	by, sign := r.Tune.measure()
	for _, o := range outcomes {
		if v := value(o, by); v.finite() {
			values[o.Cell.Row] = append(values[o.Cell.Row], float64(v))
		}
	}
	varied := combinations(r.Vary)
	found := map[string][]tried{} // of a method, by the values that vary
	row := 0
	r.eachTrial(func(m Method, grid []Axis, at []any) {
		if found[m.Name] == nil {
			found[m.Name] = make([]tried, len(varied))
		}
		for k := range varied {
			t, seeds := &found[m.Name][k], values[row]
			row++
			mean, _ := experiments.MeanStd(seeds)
			works := len(seeds) == len(r.Tune.Seeds)
			if t.of++; !works {
				t.none++
			}
			if t.best == nil || works && (t.none == t.of-1 || sign*mean < sign*t.mean) {
				t.best, t.mean = at, mean
			}
		}
	})
	out := *r
	out.Tune, out.Methods = nil, nil
	out.About = append(slices.Clone(r.About), r.budget())
	for _, m := range r.Methods {
		grid := r.Tune.of(m.Name)
		m.Settings = maps.Clone(m.Settings)
		for i, a := range grid {
			m.Settings[a.Name] = chosenFor(r.Vary, found[m.Name], i)
		}
		for k, t := range found[m.Name] {
			out.About = append(out.About, t.sentence(m.Name, r, grid, varied[k]))
		}
		out.Methods = append(out.Methods, m)
	}
	return &out
}

// chosenFor is the setting number i of the grid: one value, or one for each value of the setting that varies.
func chosenFor(vary []Axis, found []tried, i int) any {
	if len(vary) == 0 {
		return found[0].best[i]
	}
	each := byValue{}
	for k, v := range vary[0].Values {
		each[textOf(v)] = found[k].best[i]
	}
	return each
}

// budget says how settings were chosen.
func (r *Recipe) budget() string {
	text := fmt.Sprintf("Settings were chosen by the %s of the seeds %v", r.Tune.best(), r.Tune.Seeds)
	for _, name := range slices.Sorted(maps.Keys(r.Tune.Settings)) {
		text += fmt.Sprintf(", %s %v", name, r.Tune.Settings[name])
	}
	if len(r.Tune.Grid) > 0 {
		var axes []string
		for _, a := range r.Tune.Grid {
			axes = append(axes, fmt.Sprintf("%s %v", a.Name, a.Values))
		}
		text += fmt.Sprintf(", among %d combinations: %s", len(combinations(r.Tune.Grid)), strings.Join(axes, ", "))
	}
	return text + "."
}

// sentence is a choice in words.
func (t tried) sentence(method string, r *Recipe, grid []Axis, varied []any) string {
	text := method
	for i, v := range varied {
		text += fmt.Sprintf(", %s %s", r.Vary[i].Name, textOf(v))
	}
	if t.none == t.of {
		return fmt.Sprintf("%s: none of %d combinations ended with a number.", text, t.of)
	}
	by, _ := r.Tune.measure()
	text += fmt.Sprintf(": %s (%s %.4g; one of %d", atText(grid, t.best), by, t.mean, t.of)
	if t.none > 0 {
		text += fmt.Sprintf(", %d without a number", t.none)
	}
	return text + ")."
}
