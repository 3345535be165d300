package table

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
)

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
