package solvers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"bilevel/internal/nearest"

	"github.com/goccy/go-yaml"
)

// Entry is one algorithm's row in the list: its paper, and the algorithm with every setting left to be chosen. What it
// needs is in Needs; what its state is and what an iteration costs is counted by its engine.
type Entry struct {
	Source    string
	Principle Principle
	Loops     string // "one", or "two" where steps on y repeat inside an iteration
	About     string // what it does, in a sentence
	Zero      Algorithm
}

// Principle is the way in which an algorithm differentiates through the lower level.
type Principle string

const (
	Implicit      Principle = "implicit"       // v ≈ H⁻¹∇yF, by the implicit function theorem
	Unrolled      Principle = "unrolled"       // the derivative of the inner steps
	ValueFunction Principle = "value function" // gradients of G at y and at its minimizer, no second derivatives
)

// Name is the algorithm's.
func (e Entry) Name() string { return e.Zero.Name() }

// Algorithms lists every algorithm.
func Algorithms() []Entry {
	return []Entry{
		{"Ji, Yang, Liang, ICML 2021", Implicit, "two",
			"Gradient steps on y, conjugate gradients on the linear system from the last v, then a step of x.",
			AIDBiO{}},
		{"Chen, Sun, Yin, NeurIPS 2021", Implicit, "two",
			"A few stochastic steps on y, a Neumann series of random length, then a step of x on the same time scale.",
			ALSET{}},
		{"Arbel, Mairal, ICLR 2022", Implicit, "two",
			"Stochastic steps on y and on the linear system, both from where they stood, then a step of x.", AmIGO{}},
		{"Liu, Ye, Wright, Stone, Liu, NeurIPS 2022", ValueFunction, "two",
			"A step of x and y along a direction that lowers F as far as the gap of the lower level may fall.", BOME{}},
		{"Kwon, Kwon, Wright, Nowak, ICML 2023", ValueFunction, "two",
			"Gradient steps on y for F plus a multiple of G and on z for G alone; x moves by their difference.", F2SA{}},
		{"Yang, Jiang, Tatli, Xiao, RPI 2023", ValueFunction, "two",
			"F2SA with steps of Adam, whose moments of y and z begin anew in each iteration.", F2SAAdam{}},
		{"Ji, Yang, Liang, ICML 2021", Unrolled, "two",
			"Gradient steps on y, then a step of x along the derivative of F through all of them.", ITDBiO{}},
		{"Chen, Xiao, Balasubramanian, 2023", Implicit, "one",
			"SOBA whose x moves along an average of its directions.", MASOBA{}},
		{"Dagréou, Ablin, Vaiter, Moreau, NeurIPS 2022", Implicit, "one",
			"SOBA with a table of the directions of fixed minibatches, which takes the noise away (SAGA).", SABA{}},
		{"Dagréou, Ablin, Vaiter, Moreau, NeurIPS 2022", Implicit, "one",
			"One stochastic step on y, on the linear system and on x at once, each along an unbiased direction.", SOBA{}},
		{"Dagréou, Moreau, Vaiter, Ablin, AISTATS 2024", Implicit, "one",
			"SOBA whose directions are corrected by differences, with all rows once in a while (SARAH).", SRBA{}},
		{"Ji, Yang, Liang, ICML 2021", Implicit, "two",
			"Stochastic steps on y, a Neumann series of fixed length, then a step of x.", StocBiO{}},
		{"Khanduri, Zeng, Hong, Wai, Wang, Yang, NeurIPS 2021", Implicit, "one",
			"Steps of x and y along directions that remember the last ones, corrected by differences (STORM).", SUSTAIN{}},
		{"Hong, Wai, Wang, Yang, SIOPT 2023", Implicit, "one",
			"One stochastic step on y, a Neumann series of random length, and a step of x that falls faster.", TTSA{}},
		{"Shen, Chen, ICML 2023", ValueFunction, "two",
			"Gradient steps on z for G, then a step of x and y on F plus a penalty on the gap between y and z.", VPBGD{}},
		{"Yang, Ji, Liang, NeurIPS 2021", Implicit, "two",
			"A step of x, then steps of y along directions that are sums of differences from a large minibatch (SPIDER).",
			VRBO{}},
	}
}

// AlgorithmByName finds an algorithm; its error names the nearest one.
func AlgorithmByName(name string) (Entry, error) {
	var names []string
	for _, e := range Algorithms() {
		if e.Name() == name {
			return e, nil
		}
		names = append(names, e.Name())
	}
	return Entry{}, fmt.Errorf("unknown algorithm %q (there are %s)%s", name, strings.Join(names, ", "),
		nearest.Hint(name, names))
}

// plain refuses algorithms whose fields cannot be set: those that are no struct, or a pointer to one.
func plain(a Algorithm) error {
	if t := reflect.TypeOf(a); t == nil || t.Kind() != reflect.Struct {
		return fmt.Errorf("an algorithm of type %v: wants a plain struct, given by value", t)
	}
	return nil
}

// Fields lists the names of an algorithm's settings.
func Fields(a Algorithm) (names []string) {
	if plain(a) != nil {
		return nil
	}
	t := reflect.TypeOf(a)
	for i := range t.NumField() {
		if name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); name != "" && name != "-" {
			names = append(names, name)
		}
	}
	return names
}

// Decode sets fields of an algorithm from a YAML mapping or a JSON object, {"step": 0.1, "schedule": "linear"}; the
// others keep their values. Its error names an unknown field with the nearest one, or what a field wants.
func Decode(a Algorithm, text []byte) (Algorithm, error) {
	if err := plain(a); err != nil {
		return nil, err
	}
	v := reflect.New(reflect.TypeOf(a))
	v.Elem().Set(reflect.ValueOf(a))
	object, err := asJSON(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a.Name(), err)
	}
	d := json.NewDecoder(bytes.NewReader(object))
	d.DisallowUnknownFields()
	err = d.Decode(v.Interface())
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrong) && wrong.Field != "":
		return nil, fmt.Errorf("%s: the setting %s wants %s, not %s", a.Name(), wrong.Field, plainType(wrong.Type),
			plainValue(wrong.Value))
	case err != nil && strings.Contains(err.Error(), "unknown field"):
		_, name, _ := strings.Cut(err.Error(), "unknown field ")
		name = strings.Trim(name, `"`)
		names := Fields(a)
		return nil, fmt.Errorf("%s has no setting %q (there are %s)%s", a.Name(), name, strings.Join(names, ", "),
			nearest.Hint(name, names))
	case err != nil:
		return nil, fmt.Errorf("%s: the settings are no names with values: %w", a.Name(), err)
	}
	return v.Elem().Interface().(Algorithm), nil
}

// asJSON is a JSON object as it is, and a YAML mapping written as one.
func asJSON(text []byte) ([]byte, error) {
	if t := bytes.TrimSpace(text); json.Valid(t) && t[0] == '{' {
		return t, nil
	}
	var values map[string]any
	err := yaml.Unmarshal(text, &values)
	if err == nil && values == nil {
		err = errors.New("there are none")
	}
	if err != nil {
		line, _, _ := strings.Cut(yaml.FormatError(err, false, false), "\n")
		return nil, fmt.Errorf("the settings are no names with values, in JSON or YAML: %s", line)
	}
	return json.Marshal(values)
}

// Set sets fields given as texts, "step=0.1", as a command line gives them.
func Set(a Algorithm, assignments ...string) (Algorithm, error) {
	if err := plain(a); err != nil {
		return nil, err
	}
	for _, s := range assignments {
		name, value, ok := strings.Cut(s, "=")
		if !ok {
			return nil, fmt.Errorf("%s: %q sets nothing: wants NAME=VALUE", a.Name(), s)
		}
		key, _ := json.Marshal(name)
		number, err := strconv.ParseFloat(value, 64)
		switch {
		case !isText(a, name) && json.Valid([]byte(value)):
		case !isText(a, name) && err == nil && !math.IsNaN(number) && !math.IsInf(number, 0): // .5 and +5
			value = strconv.FormatFloat(number, 'g', -1, 64)
		default:
			text, _ := json.Marshal(value)
			value = string(text)
		}
		if a, err = Decode(a, fmt.Appendf(nil, "{%s:%s}", key, value)); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// isText tells whether a setting is a text, whatever its value looks like.
func isText(a Algorithm, name string) bool {
	t := reflect.TypeOf(a)
	return slices.ContainsFunc(reflect.VisibleFields(t), func(f reflect.StructField) bool {
		return f.Tag.Get("json") == name && f.Type.Kind() == reflect.String
	})
}

// plainType says in words what a field holds, plainValue what was given instead, as package json calls it.
func plainType(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Float64, reflect.Float32:
		return "a number"
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return "a whole number"
	case reflect.Bool:
		return "true or false"
	}
	return "a text"
}

func plainValue(value string) string {
	words := map[string]string{
		"string": "a text", "number": "a number", "bool": "true or false", "array": "a list", "object": "an object",
	}
	if w, ok := words[value]; ok {
		return w
	}
	return strings.TrimPrefix(value, "number ")
}
