package table

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const published = `
published:
  source: a paper
  settings: {Size: 2, epochs: 30}
  seeds: 5
  values:
    one: {loss: {0: 7, 0.5: 8.5}}
    two: {loss: 9, part: 0.5}
`

// Published figures stand beside ours, and settings that ours do not have are told; a recipe goes through its text.
func TestPublished(t *testing.T) {
	table := expand(t, newInvented(), small+published)
	text, err := table.Recipe.YAML()
	require.NoError(t, err)
	require.Equal(t, table.Recipe.Published, parse(t, string(text)).Published)

	f := open(t, table, t.TempDir())
	work(t, table, f, Shard{1, 1})
	r := result(t, table, f)
	require.Equal(t, []string{"not as in a paper: Size 1 instead of 2, epochs none instead of 30, 3 seeds instead " +
		"of 5"}, r.Notes)
	var beside [][]string
	for _, shown := range r.shown(false) {
		if strings.Contains(shown.Name, "a paper") {
			beside = shown.Rows
		}
	}
	require.Equal(t, [][]string{{"one", "0", "loss", "2 ± 1", "7"}, {"one", "0.5", "loss", "2.5 ± 1", "8.5"},
		{"two", "0", "loss", "4 ± 2", "9"}, {"two", "0.5", "loss", "4.5 ± 2", "9"}}, beside)

	for change, want := range map[string]string{
		"one: {loss>oen: {loss":      `there is no method "oen"; did you mean "one"?`,
		"part: 0.5>part: many":       "part of two is many: wants a number",
		"source: a paper>source: []": "source: []: wants a text",
		"seeds: 5>seeds: few":        "seeds: few: wants how many",
		"values>value":               `did you mean "values"?`,
	} {
		from, to, _ := strings.Cut(change, ">")
		require.Contains(t, published, from)
		_, err := Parse([]byte(small + strings.Replace(published, from, to, 1)))
		require.ErrorContains(t, err, want)
	}
	bad := strings.NewReplacer("7", "a", "8.5", "b", "9", "c").Replace(published)
	for range 20 {
		_, err := Parse([]byte(small + bad))
		require.ErrorContains(t, err, "loss of one is a: wants a number", "the first of three")
	}
}
