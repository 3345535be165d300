// Package table runs tables: methods at settings over seeds, from a recipe. Every cell is a run in a folder of its own,
// so that any number of processes may work off one table, and what is shown is computed from the cells' records alone.
package table

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	"bilevel/experiments"
	"bilevel/internal/nearest"
	"bilevel/internal/plainyaml"

	"github.com/goccy/go-yaml"
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

// oneLine is an error of usage whose text, which quotes what was read, is one line that can be looked at.
func oneLine(err error) error {
	const most = 300
	text := []rune(strings.Join(strings.Fields(err.Error()), " "))
	if len(text) > most {
		text = append(text[:most], '…')
	}
	return experiments.Usagef("%s", string(text))
}

// section is a part of a recipe, with the name that errors call it by.
type section struct {
	name   string
	values yaml.MapSlice
}

// read gives each value to the function of its key, and refuses other keys.
func (s section) read(to map[string]func(any) error) error {
	for _, item := range s.values {
		key := fmt.Sprint(item.Key)
		f, ok := to[key]
		if key == "command" && s.name == "" {
			return experiments.Usagef("this is a configuration of `bilevel %v` and no recipe", item.Value)
		}
		if !ok {
			var names []string
			for name := range to {
				names = append(names, name)
			}
			slices.Sort(names)
			return experiments.Usagef("unknown key %q of a recipe (there are %s)%s", key, strings.Join(names, ", "),
				nearest.Hint(key, names))
		}
		if err := f(item.Value); err != nil {
			return experiments.Usagef("%s: %v", key, err)
		}
	}
	return nil
}

func textTo(to *string) func(any) error {
	return func(v any) error {
		s, ok := v.(string)
		if !ok {
			return fmt.Errorf("%v: wants a text", v)
		}
		*to = s
		return nil
	}
}

func names(v any) (yaml.MapSlice, error) {
	m, ok := v.(yaml.MapSlice)
	if !ok && v != nil {
		return nil, fmt.Errorf("%v: wants names with values", v)
	}
	return m, nil
}

func list(v any) ([]any, error) {
	l, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("%v: wants a list", v)
	}
	return l, nil
}

// byValue is a setting that follows an axis: its value for each value of the axis, as text.
type byValue map[string]any

// readInto puts settings, which are single values, lists of them, or one for each value of an axis, into a map.
func readInto(to map[string]any, v any) error {
	m, err := names(v)
	for _, item := range m {
		if l, ok := item.Value.([]any); ok {
			for _, one := range l {
				if !single(one) {
					return fmt.Errorf("%v is %v: wants single values in its list", item.Key, item.Value)
				}
			}
		} else if of, ok := item.Value.(yaml.MapSlice); ok {
			each := byValue{}
			for _, one := range of {
				if !single(one.Value) {
					return fmt.Errorf("%v is %v: wants a single value for each value of an axis", item.Key, item.Value)
				}
				each[textOf(one.Key)] = one.Value
			}
			item.Value = each
		} else if !single(item.Value) {
			return fmt.Errorf("%v is %v: wants a value, a list, or a value for each value of an axis", item.Key,
				item.Value)
		}
		to[fmt.Sprint(item.Key)] = item.Value
	}
	return err
}

// single tells whether a value is a text, a number or true or false.
func single(v any) bool {
	switch v.(type) {
	case string, bool, int64, uint64, float64:
		return true
	}
	return false
}

func (r *Recipe) readSettings(v any) error { return readInto(r.Settings, v) }

func (r *Recipe) readMethods(v any) error {
	m, err := names(v)
	for _, item := range m {
		method := Method{Name: fmt.Sprint(item.Key), Settings: map[string]any{}}
		if err := readInto(method.Settings, item.Value); err != nil {
			return fmt.Errorf("%s: %w", method.Name, err)
		}
		if x, ok := method.Settings["experiment"]; ok {
			delete(method.Settings, "experiment")
			method.Experiment = fmt.Sprint(x)
		}
		r.Methods = append(r.Methods, method)
	}
	return err
}

func (r *Recipe) readVary(v any) error { return readAxes(&r.Vary, v) }

// readAxes reads settings with several values each.
func readAxes(to *[]Axis, v any) error {
	m, err := names(v)
	for _, item := range m {
		values, err := axisValues(item.Value)
		if err != nil {
			return fmt.Errorf("%v is %w", item.Key, err)
		}
		for i, one := range values {
			if !single(one) {
				return fmt.Errorf("%v is %v: wants single values in its list", item.Key, item.Value)
			}
			if slices.Contains(values[:i], one) {
				return fmt.Errorf("%v has %v twice", item.Key, one)
			}
		}
		*to = append(*to, Axis{fmt.Sprint(item.Key), values})
	}
	return err
}

// axisValues is a list, or the powers of a number: {powers: 0.8, to: 20} is 0.8, 0.8², … 0.8²⁰, with `from` another
// first exponent.
func axisValues(v any) ([]any, error) {
	of, ok := v.(yaml.MapSlice)
	if !ok {
		return list(v)
	}
	refused := fmt.Errorf("%v: wants a list, or {powers: B, from: M, to: N} for B^M to B^N, with B above 0 and M and "+
		"N from 0 to %d", v, mostPower)
	base, from, to := 0.0, uint64(1), uint64(0)
	for _, item := range of {
		switch x := item.Value.(type) {
		case float64:
			if item.Key != "powers" {
				return nil, refused
			}
			base = x
		case uint64:
			switch item.Key {
			case "powers":
				base = float64(x)
			case "from":
				from = x
			case "to":
				to = x
			default:
				return nil, refused
			}
		default:
			return nil, refused
		}
	}
	if !(base > 0) || math.IsInf(base, 0) || from > to || to > mostPower {
		return nil, refused
	}
	var values []any
	for n := from; n <= to; n++ {
		values = append(values, math.Pow(base, float64(n)))
	}
	return values, nil
}

// mostPower bounds the exponents of a series.
const mostPower = 1000

func (r *Recipe) readSeeds(v any) error { return readSeeds(&r.Seeds, v) }

// readSeeds takes a number of seeds, 1 to it, or a list of seeds.
func readSeeds(to *[]uint64, v any) error {
	*to = nil
	if n, ok := v.(uint64); ok && n <= MostCells {
		*to = FirstSeeds(int(n))
		return nil
	}
	values, err := list(v)
	if err != nil {
		return fmt.Errorf("%v: wants how many, at most %d, or a list of them", v, MostCells)
	}
	for _, one := range values {
		seed, ok := one.(uint64)
		if !ok || slices.Contains(*to, seed) {
			return fmt.Errorf("%v: wants different whole numbers from 0 on", v)
		}
		*to = append(*to, seed)
	}
	return nil
}

// FirstSeeds are 1 to n.
func FirstSeeds(n int) []uint64 {
	seeds := make([]uint64, n)
	for i := range seeds {
		seeds[i] = uint64(i + 1)
	}
	return seeds
}

func (r *Recipe) readAbout(v any) error {
	values, err := list(v)
	for _, one := range values {
		text, ok := one.(string)
		if !ok {
			return fmt.Errorf("%v: wants sentences", one)
		}
		r.About = append(r.About, text)
	}
	return err
}

func (r *Recipe) readMeasures(v any) error {
	values, err := list(v)
	for _, one := range values {
		r.Measures = append(r.Measures, fmt.Sprint(one))
	}
	return err
}

// readCompare takes pairs of methods, or the word none.
func (r *Recipe) readCompare(v any) error {
	if r.Uncompared = v == "none"; r.Uncompared {
		return nil
	}
	return pairs(&r.Compare, "[A, B] for the difference A - B, or the word none")(v)
}

func pairs(to *[][2]string, wants string) func(any) error {
	return func(v any) error {
		values, err := list(v)
		for _, one := range values {
			pair, ok := one.([]any)
			if !ok || len(pair) != 2 {
				return fmt.Errorf("%v: wants pairs, %s", v, wants)
			}
			*to = append(*to, [2]string{fmt.Sprint(pair[0]), fmt.Sprint(pair[1])})
		}
		return err
	}
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
	if err := errors.Join(r.checkTuning(methods), r.Published.check(methods)); err != nil {
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

// YAML is the recipe as text that Parse takes, with the seeds as a list.
func (r *Recipe) YAML() ([]byte, error) {
	methods := yaml.MapSlice{}
	for _, m := range r.Methods {
		settings := sorted(m.Settings)
		if m.Experiment != "" {
			settings = append(yaml.MapSlice{{Key: "experiment", Value: m.Experiment}}, settings...)
		}
		methods = append(methods, yaml.MapItem{Key: m.Name, Value: settings})
	}
	all := yaml.MapSlice{}
	if r.Version != "" {
		all = yaml.MapSlice{{Key: "version", Value: r.Version}}
	}
	var compare any = orEmpty(r.Compare)
	if r.Uncompared {
		compare = "none"
	}
	all = append(all, yaml.MapSlice{
		{Key: "title", Value: r.Title}, {Key: "about", Value: orEmpty(r.About)},
		{Key: "experiment", Value: r.Experiment},
		{Key: "settings", Value: sorted(r.Settings)}, {Key: "methods", Value: methods},
		{Key: "vary", Value: axesYAML(r.Vary)},
		{Key: "spread", Value: r.Spread}, {Key: "seeds", Value: r.Seeds}, {Key: "measures", Value: orEmpty(r.Measures)},
		{Key: "compare", Value: compare}, {Key: "plots", Value: orEmpty(r.Plots)},
		{Key: "curves", Value: curvesYAML(r.Curves)},
	}...)
	if r.Tune != nil {
		all = append(all, yaml.MapItem{Key: "tune", Value: r.Tune.tuningYAML()})
	}
	if r.Published != nil {
		all = append(all, yaml.MapItem{Key: "published", Value: r.Published.publishedYAML()})
	}
	return yaml.MarshalWithOptions(all, yaml.CustomMarshaler(numberYAML))
}

// numberYAML writes a number so that it is read as one: without a point, 1e-05 would be read as a text.
func numberYAML(v float64) ([]byte, error) {
	text := strconv.FormatFloat(v, 'g', -1, 64)
	mantissa, exponent, small := strings.Cut(text, "e")
	switch {
	case math.IsNaN(v):
		return []byte(".nan"), nil
	case math.IsInf(v, 0):
		return []byte(strings.NewReplacer("+Inf", ".inf", "-Inf", "-.inf").Replace(text)), nil
	case !strings.Contains(mantissa, "."):
		mantissa += ".0"
	}
	if small {
		mantissa += "e" + exponent
	}
	return []byte(mantissa), nil
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func sorted(settings map[string]any) yaml.MapSlice {
	out := yaml.MapSlice{}
	for name, value := range settings {
		out = append(out, yaml.MapItem{Key: name, Value: value})
	}
	slices.SortFunc(out, func(a, b yaml.MapItem) int { return strings.Compare(a.Key.(string), b.Key.(string)) })
	return out
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
			return fmt.Sprintf("%s is %s there and %s here", part, a[part], b[part])
		}
	}
	return ""
}
