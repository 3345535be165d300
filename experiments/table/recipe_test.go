package table

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const small = `
title: made up
experiment: invented
settings: {data: a}
methods:
  one: {size: 1}
  two: {size: 2, kind: x}
vary:
  noise: [0, 0.5]
seeds: 3
measures: [loss]
`

func parse(t *testing.T, text string) *Recipe {
	t.Helper()
	r, err := Parse([]byte(text))
	require.NoError(t, err)
	return r
}

func TestParse(t *testing.T) {
	r := parse(t, small)
	require.Equal(t, []Method{
		{Name: "one", Settings: map[string]any{"size": uint64(1)}},
		{Name: "two", Settings: map[string]any{"size": uint64(2), "kind": "x"}},
	}, r.Methods)
	require.Equal(t, []Axis{{"noise", []any{uint64(0), 0.5}}}, r.Vary)
	require.Equal(t, []uint64{1, 2, 3}, r.Seeds)
	require.Equal(t, []uint64{7, 4}, parse(t, strings.Replace(small, "seeds: 3", "seeds: [7, 4]", 1)).Seeds)
	for _, name := range BuiltIn() {
		text, err := Text(name)
		require.NoError(t, err)
		require.NotEmpty(t, parse(t, string(text)).Title)
	}
	require.GreaterOrEqual(t, len(BuiltIn()), 2)
}

// Numbers stay numbers in a recipe that is written and read, also those that have no point when Go prints them.
func TestNumbersOfRecipes(t *testing.T) {
	r := parse(t, small)
	for _, v := range []float64{1e-5, 1e30, 2, 0.1, -1.5e-300, math.Inf(1), math.Inf(-1)} {
		r.Settings["number"] = v
		text, err := r.YAML()
		require.NoError(t, err)
		require.Equal(t, v, parse(t, string(text)).Settings["number"], "%s", text)
	}
}

func TestRecipesRefused(t *testing.T) {
	for change, want := range map[string]string{
		"title>titel":                            `unknown key "titel" of a recipe (there are about, compare, `,
		"vary>varry":                             `did you mean "vary"?`,
		"seeds: 3>seeds: 0":                      "the recipe has no cells",
		"seeds: 3>seeds: []":                     "the recipe has no cells",
		"seeds: 3>seeds: [1, 1]":                 "wants different whole numbers",
		"seeds: 3>seeds: -1":                     "seeds: -1: wants how many",
		"seeds: 3>seeds: many":                   "seeds: many: wants how many",
		"[0, 0.5]>[]":                            "the recipe has no cells",
		"[0, 0.5]>[1, 1]":                        "vary: noise has 1 twice",
		"[0, 0.5]>1":                             "vary: noise is 1: wants a list",
		"[0, 0.5]>[[1], 2]":                      "wants single values in its list",
		"seeds: 3>seeds: 50000":                  "more than 100000 cells",
		"{data: a}>{data: {b: [1]}}":             "settings: data is",
		"{data: a}>[1]":                          "settings: [1]: wants names with values",
		"{data: a}>{data: null}":                 "wants a value, a list, or",
		"title: made up>title: [1]":              "title: [1]: wants a text",
		"title: made up>command: train":          "this is a configuration of `bilevel train` and no recipe",
		"measures: [loss]>compare: [[one]]":      "wants pairs",
		"measures: [loss]>compare: [[a, b]]":     `there is no method "a"`,
		"measures: [loss]>compare: [[two, tow]]": `did you mean "two"?`,
		"measures: [loss]>compare: [[two, two]]": "two with itself",
		"seeds: 3>seeds: [3":                     "not the YAML of a recipe",
		"measures: [loss]>plots: [[noises, a]]":  `plots: vary has no setting "noises"`,
		"measures: [loss]>plots: [noise]":        "wants pairs",
		"measures: [loss]>curves: [[a]]":         "wants [A, B] for the column B over the column A",
		"measures: [loss]>curves: [[a, b, low]]": "wants [A, B] for the column B over the column A",
		"[0, 0.5]>{powers: 0.8, to: 2000}":       "wants a list, or {powers: B",
		"[0, 0.5]>{powers: 0.8, from: 3, to: 2}": "wants a list, or {powers: B",
		"[0, 0.5]>{powers: -1, to: 2}":           "wants a list, or {powers: B",
		"[0, 0.5]>{powers: 0.8, until: 2}":       "wants a list, or {powers: B",
	} {
		from, to, _ := strings.Cut(change, ">")
		require.Contains(t, small, from)
		_, err := Parse([]byte(strings.Replace(small, from, to, 1)))
		require.ErrorContains(t, err, want, change)
	}
	_, err := Parse(nil)
	require.ErrorContains(t, err, "the recipe has no cells")
	for grid, want := range map[string]string{
		"tune: {grid: {size: [1, 2]}}":                                               "tune: wants `by`",
		"tune: {by: loss, grid: {size: []}}":                                         "one has no value for size",
		"tune: {by: loss, seeds: [], grid: {size: [1]}}":                             "tune: wants at least one seed",
		"tune: {by: loss, gird: {size: [1]}}":                                        `did you mean "grid"?`,
		"tune: {by: loss, grids: {on: {size: [1]}}}":                                 `did you mean "one"?`,
		"tune: {by: loss, grid: {a: {powers: 2, to: 999}, b: {powers: 3, to: 500}}}": "more than 100000",
	} {
		_, err := Parse([]byte(strings.Replace(small, "seeds: 3", "seeds: 3\n"+grid, 1)))
		require.ErrorContains(t, err, want, grid)
	}
	_, err = Text("optimizer")
	require.ErrorContains(t, err, `did you mean "optimizers"?`)
}

// A series of powers is its values, and a setting may follow an axis.
func TestSeriesAndSettingsThatFollowAnAxis(t *testing.T) {
	r := parse(t, strings.Replace(small, "[0, 0.5]", "{powers: 0.8, from: 0, to: 2}", 1))
	b := 0.8
	require.Equal(t, []Axis{{"noise", []any{1.0, b, b * b}}}, r.Vary)
	text, err := r.YAML()
	require.NoError(t, err)
	require.Equal(t, r.Vary, parse(t, string(text)).Vary)

	x := newInvented()
	follows := strings.Replace(small, "{size: 1}", "{size: {0: 3, 0.5: 4}}", 1)
	r = parse(t, follows)
	text, err = r.YAML()
	require.NoError(t, err)
	require.Equal(t, r, parse(t, string(text)))
	table := expand(t, x, follows)
	require.Equal(t, []inventedConfig{{3, 0, ""}, {4, 0.5, ""}, {2, 0, "x"}, {2, 0.5, "x"}}, configs(table))
	for _, missing := range []string{"{size: {0: 3}}", "{size: {0: 3, 0.4: 4}}", "{size: {a: 3}}"} {
		_, err := Expand(parse(t, strings.Replace(small, "{size: 1}", missing, 1)), x.application(someRows(1)))
		require.ErrorContains(t, err, "method one: size is given for the values", missing)
	}
	for range 20 {
		err := choose(map[string]any{"b": byValue{}, "a": byValue{}}, nil, nil)
		require.ErrorContains(t, err, "a is given for the values", "the first of two")
	}
}

func configs(t *Table) (list []inventedConfig) {
	for _, row := range t.Rows {
		list = append(list, row.Run.Config.(inventedConfig))
	}
	return list
}

// What a folder writes down is a recipe of the same table.
func TestYAMLIsARecipe(t *testing.T) {
	r := parse(t, small+"compare: [[two, one]]\n")
	r.Version = "v1"
	text, err := r.YAML()
	require.NoError(t, err)
	require.Equal(t, r, parse(t, string(text)))

	other := parse(t, small)
	require.Contains(t, difference(r, other), "compare is")
	r.Compare, r.Seeds = nil, []uint64{9}
	require.Empty(t, difference(r, other), "a table may be given more seeds")
	other.Set("size", uint64(3))
	require.Contains(t, difference(r, other), `settings is {"data":"a"} there and {"data":"a","size":3} here`)
}

func TestSet(t *testing.T) {
	r := parse(t, small)
	r.Set("size", 5)
	r.Set("noise", 0.1)
	r.Set("kind", "y")
	require.Equal(t, map[string]any{"size": 5}, r.Methods[0].Settings)
	require.Equal(t, map[string]any{"size": 5, "kind": "y"}, r.Methods[1].Settings)
	require.Equal(t, []Axis{{"noise", []any{0.1}}}, r.Vary)
	require.Equal(t, "y", r.Settings["kind"])
}

func TestParseShard(t *testing.T) {
	for text, want := range map[string]Shard{"": {1, 1}, "1/1": {1, 1}, "3/8": {3, 8}} {
		s, err := ParseShard(text)
		require.NoError(t, err)
		require.Equal(t, want, s)
	}
	for _, text := range []string{
		"0/3", "4/3", "1", "1/", "/3", "a/b", "1/3/5", "1/3x", "-1/3", "01/3", " 1/3", "1/0",
	} {
		_, err := ParseShard(text)
		require.ErrorContains(t, err, "wants I/N with I from 1 to N", text)
	}
	seen := map[int]int{}
	for i := 1; i <= 3; i++ {
		for k := range 10 {
			if (Shard{i, 3}).Has(k) {
				seen[k]++
			}
		}
	}
	require.Len(t, seen, 10)
	for k, n := range seen {
		require.Equal(t, 1, n, k)
	}
}

// A recipe that is read is written as one that reads the same; nothing crashes.
func FuzzRecipe(f *testing.F) {
	f.Add([]byte(small))
	for _, name := range BuiltIn() {
		text, _ := Text(name)
		f.Add(text)
	}
	f.Add([]byte(small + published))
	f.Add([]byte(small + "compare: none\ncurves: [[a, b], [a, c, above lowest]]\n" +
		"tune: {by: loss, seeds: [4], settings: {size: 1}, grid: {size: [1, 2]}, grids: {one: {}}}\n"))
	f.Add([]byte("methods: {a: {experiment: train}}\nseeds: [18446744073709551615]\n" +
		"vary: {x: [.nan, -0, 1e5, \"1\", yes]}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := Parse(text)
		if err != nil {
			if text := err.Error(); text == "" || strings.Contains(text, "\n") || len(text) > 1500 {
				t.Errorf("an error of %d bytes: %q", len(text), text)
			}
			return
		}
		again, err := r.YAML()
		if err != nil {
			t.Fatal(err)
		}
		second, err := Parse(again)
		if err != nil {
			t.Fatalf("%v in\n%s", err, again)
		}
		if before, after := printed(*r), printed(*second); before != after {
			t.Fatalf("%v\nbecame\n%v\nby\n%s", before, after, again)
		}
	})
}

// printed is a recipe as text, with what its pointers lead to. NaN is itself.
func printed(r Recipe) string {
	var parts []any
	if r.Tune != nil {
		parts = append(parts, "tune", *r.Tune)
	}
	if r.Published != nil {
		parts = append(parts, "published", *r.Published)
	}
	r.Tune, r.Published = nil, nil
	return fmt.Sprint(append(parts, r)...)
}

// Of long recipes that differ only what lies around the difference is told.
func TestApart(t *testing.T) {
	long := func(name string) string {
		return strings.Repeat("a", 500) + name + strings.Repeat("b", 500)
	}
	a, b := apart(long("soba"), long("f2sa"))
	want := strings.Repeat("a", 30) + "soba" + strings.Repeat("b", 46)
	require.Equal(t, "…"+want+"…", a)
	require.Equal(t, strings.Replace(a, "soba", "f2sa", 1), b)
	a, b = apart("1", long("x"))
	require.Equal(t, "1", a)
	require.Equal(t, strings.Repeat("a", 80)+"…", b)
}
