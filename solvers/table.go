package solvers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	"bilevel/internal/nearest"
)

// Entry is one algorithm's row in the list: its paper, and the algorithm with every setting left to be chosen. What it
// needs is in Needs; what an iteration costs is counted by its engine.
type Entry struct {
	Source string
	Zero   Algorithm
}

// Name is the algorithm's.
func (e Entry) Name() string { return e.Zero.Name() }

// Algorithms lists every algorithm.
func Algorithms() []Entry {
	return []Entry{
		{"Dagréou, Ablin, Vaiter, Moreau, NeurIPS 2022", SOBA{}},
		{"Kwon, Kwon, Wright, Nowak, ICML 2023", F2SA{}},
		{"Ji, Yang, Liang, ICML 2021", StocBiO{}},
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

// Fields lists the names of an algorithm's settings.
func Fields(a Algorithm) (names []string) {
	t := reflect.TypeOf(a)
	for i := range t.NumField() {
		if name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); name != "" && name != "-" {
			names = append(names, name)
		}
	}
	return names
}

// Decode sets fields of an algorithm from a JSON object, {"step": 0.1, "schedule": "linear"}; the others keep their
// values. Its error names an unknown field with the nearest one, or what a field wants.
func Decode(a Algorithm, object []byte) (Algorithm, error) {
	v := reflect.New(reflect.TypeOf(a))
	v.Elem().Set(reflect.ValueOf(a))
	d := json.NewDecoder(bytes.NewReader(object))
	d.DisallowUnknownFields()
	err := d.Decode(v.Interface())
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrong) && wrong.Field != "":
		return nil, fmt.Errorf("%s: the setting %s wants a %s, not a %s", a.Name(), wrong.Field, plainType(wrong.Type),
			wrong.Value)
	case err != nil && strings.Contains(err.Error(), "unknown field"):
		_, name, _ := strings.Cut(err.Error(), "unknown field ")
		name = strings.Trim(name, `"`)
		names := Fields(a)
		return nil, fmt.Errorf("%s has no setting %q (there are %s)%s", a.Name(), name, strings.Join(names, ", "),
			nearest.Hint(name, names))
	case err != nil:
		return nil, fmt.Errorf("%s: the settings are no JSON object: %w", a.Name(), err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: something follows the settings", a.Name())
	}
	return v.Elem().Interface().(Algorithm), nil
}

// Set sets fields given as texts, "step=0.1", as a command line gives them.
func Set(a Algorithm, assignments ...string) (Algorithm, error) {
	for _, s := range assignments {
		name, value, ok := strings.Cut(s, "=")
		if !ok {
			return nil, fmt.Errorf("%s: %q sets nothing: wants NAME=VALUE", a.Name(), s)
		}
		key, _ := json.Marshal(name)
		if !json.Valid([]byte(value)) || isText(a, name) {
			text, _ := json.Marshal(value)
			value = string(text)
		}
		var err error
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

func plainType(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Float64, reflect.Float32:
		return "number"
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return "whole number"
	case reflect.Bool:
		return "true or false"
	}
	return "text"
}
