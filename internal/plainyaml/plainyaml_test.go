package plainyaml

import (
	"fmt"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"

	"bilevel/internal/alloctest"
)

// distinct is a text of n names that all differ.
func distinct(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "k%d: 1\n", i)
	}
	return b.String()
}

func TestParse(t *testing.T) {
	got, err := Parse([]byte("b: 1\na: [x, 2.5, true]\nc: {d: -3}\n"))
	require.NoError(t, err)
	require.Equal(t, yaml.MapSlice{
		{Key: "b", Value: uint64(1)}, {Key: "a", Value: []any{"x", 2.5, true}},
		{Key: "c", Value: yaml.MapSlice{{Key: "d", Value: int64(-3)}}},
	}, got)
	for _, text := range []string{"\ufeffa: 1", "---\na: 1\n", "# why\n---\na: 1\n...\n"} {
		got, err := Parse([]byte(text))
		require.NoError(t, err)
		require.Equal(t, yaml.MapSlice{{Key: "a", Value: uint64(1)}}, got)
	}
	for text, want := range map[string]string{
		"b: 1\na\tb: 2":                   `line 2: the name "a\tb" has a tab or another control character`,
		"a: 1\n---\nb: 2":                 "line 2: a second document begins",
		"---\na: 1\n...\n---\nb: 2":       "a second document begins",
		"---\n---\na: 2":                  "a second document begins",
		"- 1\n- 2":                        "",
		"a: [1":                           "",
		"a: 1\na: 2":                      "already defined",
		"a: &x [1]\nb: *x":                "is an anchor or alias",
		strings.Repeat("[", 100):          "more than 50 levels",
		strings.Repeat("- ", 60000) + "a": "more than 50 levels",
		strings.Repeat("a: 1\n", 100000):  "settings have at most",
		distinct(1001):                    "line 1001: more than 1000 names",
		"a:\n" + strings.ReplaceAll(distinct(1001), "k", "  k"):         "line 1002: more than 1000 names",
		"a: {" + strings.ReplaceAll(distinct(1001), "\n", ", ") + "}":   "line 1: more than 1000 names",
		"- - a: 1\n" + strings.ReplaceAll(distinct(1001), "k", "    k"): "line 1001: more than 1000 names",
	} {
		_, err := Parse([]byte(text))
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "\n")
	}
}

// bounded parses text and fails where that allocates more than a file of its size is worth.
func bounded(t *testing.T, text []byte) (err error) {
	t.Helper()
	alloctest.Bounded(t, len(text), 2048, 8<<20, func() { _, err = Parse(text) })
	return err
}

func TestMemory(t *testing.T) {
	for _, text := range []string{
		distinct(1000), distinct(20000), "a:\n" + strings.ReplaceAll(distinct(20000), "k", "  k"),
		"{" + strings.ReplaceAll(distinct(20000), "\n", ", ") + "}", strings.Repeat("{}", 100000),
		"a: [" + strings.Repeat("1,", 100000) + "]", "a:\n" + strings.Repeat("- 1\n", 50000),
		"a: \"" + strings.Repeat("x\n", 100000) + "\"", strings.Repeat("---\n", 60000),
	} {
		_ = bounded(t, []byte(text))
	}
	require.NoError(t, bounded(t, []byte(distinct(1000))))
	many := strings.Repeat("- name: a\n  settings: {a: 1, b: 2}\n  more:\n    c: 3\n", 2000)
	require.NoError(t, bounded(t, []byte("rows:\n"+many)), "10,000 names, few of each mapping")
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"a: 1", "a: [1, {b: c}]", "? a\n: - b\n  - c", "a: |\n  text\n", "a: !!binary x", "- - - a: *b",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := bounded(t, text); err != nil && (err.Error() == "" || strings.Contains(err.Error(), "\n")) {
			t.Errorf("an error of %d lines: %q", 1+strings.Count(err.Error(), "\n"), err)
		}
	})
}
