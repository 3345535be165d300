// Package settings reads the settings of algorithms and methods, which are plain structs, from files and command lines.
package settings

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

// Named is what has settings.
type Named interface{ Name() string }

// Check refuses what has no fields that can be set: what is no struct, or a pointer to one. what is its kind, for the
// error.
func Check(what string, a Named) error {
	if t := reflect.TypeOf(a); t == nil || t.Kind() != reflect.Struct {
		return fmt.Errorf("%s of type %v: wants a plain struct, given by value", what, t)
	}
	return nil
}

// Fields lists the names of the settings: those that fields of the struct have in JSON.
func Fields(a Named) (names []string) {
	if Check("", a) != nil {
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

// Decode sets fields of a plain struct from a YAML mapping or a JSON object, {"step": 0.1, "schedule": "linear"}; the
// others keep their values. Its error names an unknown field with the nearest one, or what a field wants.
func Decode[A Named](a A, text []byte) (A, error) {
	var none A
	v := reflect.New(reflect.TypeOf(a))
	v.Elem().Set(reflect.ValueOf(a))
	object, err := asJSON(text)
	if err != nil {
		return none, fmt.Errorf("%s: %w", a.Name(), err)
	}
	d := json.NewDecoder(bytes.NewReader(object))
	d.DisallowUnknownFields()
	err = d.Decode(v.Interface())
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrong) && wrong.Field != "":
		return none, fmt.Errorf("%s: the setting %s wants %s, not %s", a.Name(), wrong.Field, plainType(wrong.Type),
			plainValue(wrong.Value))
	case err != nil && strings.Contains(err.Error(), "unknown field"):
		_, name, _ := strings.Cut(err.Error(), "unknown field ")
		name = strings.Trim(name, `"`)
		names := Fields(a)
		if len(names) == 0 {
			return none, fmt.Errorf("%s has no settings, and so no %q", a.Name(), name)
		}
		return none, fmt.Errorf("%s has no setting %q (there are %s)%s", a.Name(), name, strings.Join(names, ", "),
			nearest.Hint(name, names))
	case err != nil:
		return none, fmt.Errorf("%s: the settings are no names with values: %w", a.Name(), err)
	}
	return v.Elem().Interface().(A), nil
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
func Set[A Named](a A, assignments ...string) (A, error) {
	var none A
	for _, s := range assignments {
		name, value, ok := strings.Cut(s, "=")
		if !ok {
			return none, fmt.Errorf("%s: %q sets nothing: wants NAME=VALUE", a.Name(), s)
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
			return none, err
		}
	}
	return a, nil
}

// isText tells whether a setting is a text, whatever its value looks like.
func isText(a Named, name string) bool {
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
