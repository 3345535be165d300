package plainyaml

import (
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	got, err := Parse([]byte("b: 1\na: [x, 2.5, true]\nc: {d: -3}\n"))
	require.NoError(t, err)
	require.Equal(t, yaml.MapSlice{
		{Key: "b", Value: uint64(1)}, {Key: "a", Value: []any{"x", 2.5, true}},
		{Key: "c", Value: yaml.MapSlice{{Key: "d", Value: int64(-3)}}},
	}, got)
	for text, want := range map[string]string{
		"- 1\n- 2":                        "",
		"a: [1":                           "",
		"a: 1\na: 2":                      "already defined",
		"a: &x [1]\nb: *x":                "is an anchor or alias",
		strings.Repeat("[", 100):          "more than 50 levels",
		strings.Repeat("- ", 60000) + "a": "more than 50 levels",
		strings.Repeat("a: 1\n", 100000):  "settings have at most",
	} {
		_, err := Parse([]byte(text))
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "\n")
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"a: 1", "a: [1, {b: c}]", "? a\n: - b\n  - c", "a: |\n  text\n", "a: !!binary x", "- - - a: *b",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if _, err := Parse(text); err != nil && (err.Error() == "" || strings.Contains(err.Error(), "\n")) {
			t.Errorf("an error of %d lines: %q", 1+strings.Count(err.Error(), "\n"), err)
		}
	})
}
