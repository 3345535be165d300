package table

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"bilevel/experiments"
	"bilevel/internal/nearest"

	"github.com/goccy/go-yaml"
)

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
