package audit

import (
	"context"
	"errors"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"bilevel/experiments"
	"bilevel/experiments/table"

	"github.com/stretchr/testify/require"
)

// Every part has the term off first, and asks for all that its row shows; parts of one size have names of their own.
func TestParts(t *testing.T) {
	for _, quick := range []bool{true, false} {
		parts, err := Parts(quick)
		require.NoError(t, err)
		require.Greater(t, len(parts), 5)
		names := Names(parts)
		slices.Sort(names)
		require.Len(t, slices.Compact(names), len(parts))
		for _, p := range parts {
			require.Equal(t, "term off", p.Recipe.Methods[0].Name, p.Name)
			require.Equal(t, "exact", p.Recipe.Methods[len(p.Recipe.Methods)-1].Name, p.Name)
			for _, name := range []string{shareName, cosineName, errorName, certifiedName, pointsName, secondsName} {
				require.Contains(t, p.Recipe.Measures, name, p.Name)
			}
			require.NotNil(t, p.Recipe.Tune, p.Name)
			require.GreaterOrEqual(t, len(p.Recipe.Seeds), 5, p.Name)
			require.NotContains(t, p.Recipe.Seeds, p.Recipe.Tune.Seeds[0], "%s: settings are chosen by other seeds",
				p.Name)
			require.Len(t, p.Recipe.About, 2, p.Name)
			require.Contains(t, p.Recipe.About[0], "Measure: ", p.Name)
			require.True(t, strings.HasPrefix(p.Recipe.About[1], "Budget: "), p.Name)
			require.Equal(t, strings.Contains(p.Recipe.About[0], "higher the better"),
				strings.Contains(p.Recipe.Measures[0], "acc"), p.Name)
		}
	}
	parts, err := Parts(true)
	require.NoError(t, err)
	two, err := Chosen(parts, []string{"fast-bat", "aligned"})
	require.NoError(t, err)
	require.Equal(t, []string{"aligned", "fast-bat"}, Names(two))
	for range 20 {
		_, err = Chosen(parts, []string{"fast-bad", "aligne"})
		require.ErrorContains(t, err, `did you mean "fast-bat"?`, "of the first")
	}
}

// What an interval says depends on whether the measure is an error or an accuracy.
func TestReadings(t *testing.T) {
	d := func(low, high float64) table.Difference {
		return table.Difference{Low: table.Number(low), High: table.Number(high)}
	}
	require.Equal(t, better, reading(d(-2, -1), "gap"))
	require.Equal(t, worse, reading(d(-2, -1), "robust_acc"))
	require.Equal(t, worse, reading(d(1, 2), "test_error"))
	require.Equal(t, better, reading(d(1, 2), "test_accuracy"))
	require.Equal(t, neither, reading(d(-1, 2), "gap"))
	require.Equal(t, neither, reading(d(0, 0), "gap"))
	require.Equal(t, neither, reading(d(math.NaN(), math.NaN()), "gap"), "of one seed")
}

// fake is an experiment that nobody runs: records are made by hand.
type fake struct{}

func (fake) Name() string { return "fake" }
func (fake) Cells(c any, seeds []uint64) ([]experiments.Cell, error) {
	return experiments.SeedCells("fake", c, seeds), nil
}
func (fake) Report() experiments.Report {
	return experiments.Report{Rows: []experiments.Row{{Title: "accuracy", Scalar: "acc", Percent: true}}}
}

func (fake) Run(context.Context, *experiments.Env, experiments.Cell) (*experiments.Record, error) {
	return nil, errors.New("it is never run")
}

// page is one of a part of two variants with two seeds each.
func page(t *testing.T, seconds float64) *Page {
	t.Helper()
	r, err := table.Parse([]byte(`
title: A part
about: ["Measure: accuracy, the higher the better.", "Budget: none."]
experiment: fake
methods: {term off: {level: 0.5}, exact: {level: 0.7}}
measures: [acc, direction.share, direction.cosine, direction.error, direction.certified, direction.points, seconds]
seeds: 2`))
	require.NoError(t, err)
	tab, err := table.Expand(r, []table.Application{{Name: "fake", Make: func(s map[string]any) (*table.Run, error) {
		return &table.Run{Experiment: fake{}, Config: s}, nil
	}}})
	require.NoError(t, err)
	var outcomes []table.Outcome
	for _, c := range tab.Cells {
		record := experiments.NewRecord()
		record.Scalars["acc"] = c.Config.(map[string]any)["level"].(float64) + 0.01*float64(c.Seed)*float64(1+c.Row)
		record.Scalars["seconds"] = seconds
		record.Counts["oracle.hvp"] = 7
		h := experiments.Direction{Share: 0.25, Cosine: 0.5 + 0.5*float64(c.Row), Error: 0.01}
		record.Directions([]experiments.Direction{h, {Error: 1}})
		outcomes = append(outcomes, table.Outcome{Cell: c, Record: record})
	}
	p := &Page{Size: "quick"}
	p.Add(Part{"part", r}, table.Summarize(tab, outcomes))
	return p
}

func markdown(t *testing.T, p *Page) string {
	t.Helper()
	b := &strings.Builder{}
	require.NoError(t, p.Markdown(b))
	return b.String()
}

// The page has every figure in its place, and nothing of the clock.
func TestPage(t *testing.T) {
	got := markdown(t, page(t, 1.5))
	require.Equal(t, got, markdown(t, page(t, 2.5)))
	lines := strings.Split(got, "\n")
	require.Equal(t, header("quick"), lines[0])
	require.Equal(t, "| A part | term off | 2 | 0.25 | 0.5 | 0.01 | 1 of 2 | acc | 51.50 ± 0.71 % |  |  |  | 7 |",
		lines[4])
	// 0.72 - 0.51 and 0.74 - 0.52: mean 0.215, deviation 0.00707, and the quantile 12.706 of one degree of freedom
	require.Equal(t, "|  | exact | 2 | 0.25 | 1 | 0.01 | 1 of 2 |  | 73.00 ± 1.41 % | 21.50 % | 15.15 % to 27.85 % | "+
		"better | 7 |", lines[5])
	require.Contains(t, got, "\n**A part** (`part`). Measure: accuracy, the higher the better. Budget: none.\n")
	b := &strings.Builder{}
	require.NoError(t, page(t, 1.5).Clock(b))
	require.Contains(t, b.String(), "| A part | term off | 1.5 |")
}

// docs/audit.md has a page of the format that the command writes: a line for each variant of each quick part, in order,
// and the part's own sentences.
func TestDocument(t *testing.T) {
	doc, err := os.ReadFile("../../docs/audit.md")
	require.NoError(t, err)
	_, after, ok := strings.Cut(string(doc), "\n"+header("quick")+"\n\n")
	require.True(t, ok, "the page begins with %q", header("quick"))
	lines := strings.Split(after, "\n")
	want := strings.Split(markdown(t, &Page{Size: "quick"}), "\n")[2:4] // the columns and the rule
	require.Equal(t, want, lines[:2])
	lines = lines[2:]
	parts, err := Parts(true)
	require.NoError(t, err)
	joined := strings.Join(strings.Fields(after), " ")
	for _, p := range parts {
		for i, m := range p.Recipe.Methods {
			cells := strings.Split(lines[0], "|")
			title := ""
			if i == 0 {
				title = p.Recipe.Title
			}
			require.Len(t, cells, strings.Count(want[0], "|")+1, lines[0])
			require.Equal(t, title, strings.TrimSpace(cells[1]))
			require.Equal(t, m.Name, strings.TrimSpace(cells[2]))
			lines = lines[1:]
		}
		require.Contains(t, joined, strings.Join(strings.Fields("**"+p.Recipe.Title+"** (`"+p.Name+"`). "+
			strings.Join(p.Recipe.About, " ")), " "))
	}
	require.Empty(t, strings.TrimSpace(lines[0]), "the table ends there")
}
