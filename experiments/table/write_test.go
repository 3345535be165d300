package table

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A mean that leaves out finished runs, which came to no number, says so wherever it stands, and so does a plot.
func TestMeansOfFewerRuns(t *testing.T) {
	text := strings.Replace(small, "kind: x", "kind: diverges", 1) + published +
		"spread: noise\nplots: [[noise, loss]]\n"
	table := expand(t, newInvented(), text)
	f := open(t, table, t.TempDir())
	work(t, table, f, Shard{1, 1})
	r := result(t, table, f)
	require.Contains(t, r.Notes, "the plot of loss over noise: 2 of its 4 means leave out runs that came to no number")
	got := files(t, f.Dir)
	require.Regexp(t, `\| two +\| 0 +\| 3 +\| 3 ± 1.4 \(2 of 3\) +\| 7 +\|`, got["table.md"], "the rows")
	require.Regexp(t, `\| two +\| 3 \(2 of 3\) +\| 3.5 \(2 of 3\) +\|`, got["table.md"], "the spread")
	require.Regexp(t, `\| two +\| 0 +\| loss +\| 3 ± 1.4 \(2 of 3\) +\| 9 +\|`, got["table.md"],
		"beside what is published")
	require.Regexp(t, `\| one +\| 0 +\| 3 +\| 2 ± 1 +\|`, got["table.md"], "a mean of all says nothing")
	require.Contains(t, got["table.tex"], `two & 0 & 3 & 3 $\pm$ 1.4 (2 of 3) &`)
	require.Contains(t, got["table.csv"], "loss.mean,loss.std,loss.n,")
	require.Contains(t, got["table.csv"], "two,0,3,0,0,3,1.4142135623730951,2,")
	var shown strings.Builder
	require.NoError(t, r.Show(&shown))
	require.Contains(t, shown.String(), "3 ± 1.4 (2 of 3)")
}
