package table

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"bilevel/experiments"
	"bilevel/internal/nearest"

	"github.com/goccy/go-yaml"
)

// Published is what others have published of a table's methods: where, under which settings, and what came out. A table
// shows its figures beside ours, and says in which of the settings ours differ.
type Published struct {
	Source   string         `json:"source"` // the paper, or the program, and the table in it
	Settings map[string]any `json:"settings"`
	Seeds    int            `json:"seeds"` // 0: nobody says
	// Values are figures by method and measure: a number, or one for each value of an axis.
	Values map[string]map[string]any `json:"values"`
}

// Figure is a published figure beside ours.
type Figure struct {
	Method    string   `json:"method"`
	Varied    []string `json:"varied"`
	Measure   Measure  `json:"measure"`
	Ours      Stat     `json:"ours"`
	Finished  int      `json:"finished"` // runs of the row; Ours is of those that have the measure
	Published Number   `json:"published"`
}

func (r *Recipe) readPublished(v any) error {
	m, err := names(v)
	if err != nil {
		return err
	}
	p := &Published{Settings: map[string]any{}, Values: map[string]map[string]any{}}
	r.Published = p
	return section{"published", m}.read(map[string]func(any) error{
		"source":   textTo(&p.Source),
		"settings": func(v any) error { return readInto(p.Settings, v) },
		"seeds": func(v any) error {
			n, ok := v.(uint64)
			if !ok || n > MostCells {
				return fmt.Errorf("%v: wants how many", v)
			}
			p.Seeds = int(n)
			return nil
		},
		"values": func(v any) error {
			m, err := names(v)
			for _, item := range m {
				method := fmt.Sprint(item.Key)
				p.Values[method] = map[string]any{}
				if err := readInto(p.Values[method], item.Value); err != nil {
					return fmt.Errorf("%s: %w", method, err)
				}
			}
			return err
		},
	})
}

// check refuses figures of methods that the recipe does not have, what is no figure, and figures by values of which
// nobody can tell whose they are.
func (p *Published) check(methods []string, axes []Axis) error {
	if p == nil {
		return nil
	}
	for _, method := range slices.Sorted(maps.Keys(p.Values)) {
		if !slices.Contains(methods, method) {
			return experiments.Usagef("published: there is no method %q%s", method, nearest.Hint(method, methods))
		}
		values := p.Values[method]
		for _, measure := range slices.Sorted(maps.Keys(values)) {
			each, ok := values[measure].(byValue)
			if !ok {
				each = byValue{"": values[measure]}
			} else if _, err := each.axis(axes); err != nil {
				return experiments.Usagef("published: %s of %s is %v", measure, method, err)
			}
			for _, at := range slices.Sorted(maps.Keys(each)) {
				v := each[at]
				if _, ok := figureOf(v); !ok {
					return experiments.Usagef("published: %s of %s is %v: wants a number, or one for each value of an "+
						"axis", measure, method, v)
				}
			}
		}
	}
	return nil
}

// axis is the one that figures by value follow: it has all of their values, and no other axis has.
func (each byValue) axis(axes []Axis) (int, error) {
	values := slices.Sorted(maps.Keys(each))
	var names []string
	var found []int
	for i, a := range axes {
		has := func(value string) bool {
			return slices.ContainsFunc(a.Values, func(v any) bool { return textOf(v) == value })
		}
		if names = append(names, a.Name); !slices.ContainsFunc(values, func(v string) bool { return !has(v) }) {
			found = append(found, i)
		}
	}
	if len(found) != 1 {
		return 0, fmt.Errorf("given for the values %v: wants values that one of the axes %v has and no other, and %d "+
			"have all of these", values, names, len(found))
	}
	return found[0], nil
}

// set leaves of the figures by the values of an axis those of one value, which is the only one that it keeps.
func (p *Published) set(axes []Axis, axis int, value any) {
	if p == nil {
		return
	}
	for _, values := range p.Values {
		for measure, v := range values {
			each, by := v.(byValue)
			if !by {
				continue
			}
			if at, err := each.axis(axes); err != nil || at != axis {
				continue
			}
			if figure, ok := each[textOf(value)]; ok {
				values[measure] = figure
			} else {
				delete(values, measure)
			}
		}
	}
}

func figureOf(v any) (Number, bool) {
	switch v := v.(type) {
	case float64:
		return Number(v), true
	case uint64:
		return Number(v), true
	case int64:
		return Number(v), true
	}
	return 0, false
}

// publishedYAML is the part of a recipe as text that Parse takes.
func (p *Published) publishedYAML() yaml.MapSlice {
	values := map[string]any{}
	for method, of := range p.Values {
		values[method] = sorted(of)
	}
	return yaml.MapSlice{
		{Key: "source", Value: p.Source}, {Key: "settings", Value: sorted(p.Settings)},
		{Key: "seeds", Value: p.Seeds}, {Key: "values", Value: sorted(values)},
	}
}

// besides joins what was published with a result: figures of the rows that have one, and the settings that differ.
func (r *Result) besides() {
	p := r.Table.Recipe.Published
	if p == nil {
		return
	}
	if list := r.Table.deviations(); len(list) > 0 {
		r.Notes = append(r.Notes, "not as in "+p.Source+": "+strings.Join(list, ", "))
	}
	for i, row := range r.Table.Rows {
		for k, m := range r.Measures {
			value, ok := p.Values[row.Method][m.Scalar]
			if each, by := value.(byValue); by {
				axis, _ := each.axis(r.Table.Recipe.Vary) // Expand has seen that there is one
				value, ok = each[row.Varied[axis]]
			}
			if !ok {
				continue
			}
			figure, _ := figureOf(value)
			ours := r.Rows[i]
			r.Published = append(r.Published,
				Figure{row.Method, ours.Varied, m, ours.Values[k], ours.Finished, figure})
		}
	}
}

// deviations lists the published settings that rows of the table do not have, "epochs 10 instead of 20".
func (t *Table) deviations() (list []string) {
	p := t.Recipe.Published
	for _, item := range sorted(p.Settings) {
		name, want := item.Key.(string), textOf(item.Value)
		var others []string
		for _, row := range t.Rows {
			if is := row.setting(name); is != want && !slices.Contains(others, is) {
				others = append(others, is)
			}
		}
		if len(others) > 0 {
			list = append(list, fmt.Sprintf("%s %s instead of %s", name, strings.Join(others, " or "), want))
		}
	}
	if n := len(t.Recipe.Seeds); p.Seeds > 0 && n != p.Seeds {
		list = append(list, fmt.Sprintf("%s instead of %d", plural(n, "seed", "seeds"), p.Seeds))
	}
	return list
}

// setting is a row's setting as text: that of its configuration, or else of the recipe.
func (r Row) setting(name string) string {
	var config map[string]any
	if text, err := json.Marshal(r.Run.Config); err == nil && json.Unmarshal(text, &config) == nil {
		if v, ok := config[name]; ok {
			return textOf(v)
		}
	}
	if v, ok := r.settings[name]; ok {
		return textOf(v)
	}
	return "none"
}

// beside are the published figures beside ours.
func (r *Result) beside() experiments.Table {
	t := experiments.Table{Columns: append(append([]string{"method"}, r.Varied...), "measure", "ours", "published")}
	if p := r.Table.Recipe.Published; p != nil {
		t.Name = "Ours beside what " + p.Source + " has"
	}
	for _, f := range r.Published {
		line := append([]string{f.Method}, f.Varied...)
		ours := among(f.Measure.text(f.Ours), f.Ours.N, f.Finished)
		t.Rows = append(t.Rows, append(line, f.Measure.Title, ours, f.Measure.number(f.Published)))
	}
	return t
}
