package table

import (
	"fmt"
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

// Figures by value are those of the one axis that has all of their values, also where another one has some of them, or
// where only one value is left. What two axes have, or none, is refused.
func TestPublishedByValueOfOneAxis(t *testing.T) {
	text := strings.NewReplacer("  noise: [0, 0.5]", "  size: [0.5, 2]\n  noise: [0, 0.5]", "{size: 1}", "{kind: y}",
		"{size: 2, kind: x}", "{kind: x}").Replace(small) + published
	figures := func(r *Recipe) (list []string) {
		table, err := Expand(r, newInvented().application(someRows(1)))
		require.NoError(t, err)
		for _, f := range Summarize(table, nil).Published {
			if f.Method == "one" {
				list = append(list, fmt.Sprint(f.Varied, f.Published))
			}
		}
		return list
	}
	require.Equal(t, []string{"[0.5 0] 7", "[0.5 0.5] 8.5", "[2 0] 7", "[2 0.5] 8.5"}, figures(parse(t, text)))

	for value, want := range map[any][]string{0.5: {"[0.5 0.5] 8.5", "[2 0.5] 8.5"}, uint64(4): nil} {
		r := parse(t, text)
		r.Set("noise", value)
		require.Equal(t, want, figures(r))
		written, err := r.YAML()
		require.NoError(t, err)
		require.Equal(t, want, figures(parse(t, string(written))), "a folder's recipe is one to run")
	}
	for change, want := range map[string]string{
		"size: [0.5, 2]>size: [0.5, 0]": "loss of one is given for the values [0 0.5]: wants values that one of the " +
			"axes [size noise] has and no other, and 2 have all of these",
		"0.5: 8.5>0.6: 8.5": "loss of one is given for the values [0 0.6]: wants values that one of the axes " +
			"[size noise] has and no other, and 0 have all of these",
	} {
		from, to, _ := strings.Cut(change, ">")
		require.Contains(t, text, from)
		_, err := Parse([]byte(strings.Replace(text, from, to, 1)))
		require.ErrorContains(t, err, want)
	}
	r := parse(t, strings.Replace(text, "0: 7, 0.5", "0", 1))
	r.Set("size", uint64(0))
	_, err := Expand(r, newInvented().application(someRows(1)))
	require.ErrorContains(t, err, "2 have all of these", "a recipe that was changed is looked at again")
}
