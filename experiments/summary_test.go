package experiments

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

type summaryInner struct {
	Calls int64    `json:"calls"`
	Maybe *float64 `json:"maybe"`
}

type summaryRow struct {
	Error  float64      `json:"error"`
	Maybe  *float64     `json:"maybe"`
	Inner  summaryInner `json:"inner"`
	Device string       `json:"device"`
	Kind   string       `json:"kind"`
	OK     bool         `json:"ok"`
	List   []int        `json:"list"`
	Other  []int        `json:"other"`
	Seed   uint64       `json:"seed"`
}

// summaryText is the summary as the command prints it.
func summaryText(t *testing.T, rows ...summaryRow) string {
	t.Helper()
	s, err := Summarize(rows)
	require.NoError(t, err)
	b, err := json.Marshal(s)
	require.NoError(t, err)
	return string(b)
}

func TestSummarizeOne(t *testing.T) {
	half := 0.5
	row := summaryRow{
		Error: 0.1, Maybe: &half, Inner: summaryInner{Calls: 7},
		Device: "cpu", Kind: "a", OK: true, List: []int{1}, Seed: 3,
	}
	require.JSONEq(t, `{"error": 0.1, "maybe": 0.5, "inner": {"calls": 7, "maybe": null},
		"device": "cpu", "kind": "a", "ok": true, "list": [1], "other": null, "seed": 3}`,
		summaryText(t, row))
}

func TestSummarizeSeveral(t *testing.T) {
	half := 0.5
	inner := summaryInner{Calls: 7, Maybe: &half}
	rows := []summaryRow{
		{Error: 1, Maybe: &half, Inner: inner, Device: "cpu", Kind: "a", OK: true,
			List: []int{1, 2}, Other: []int{1}, Seed: 1},
		{Error: 2, Maybe: nil, Inner: inner, Device: "cpu", Kind: "b", OK: true,
			List: []int{1, 2}, Other: []int{2}, Seed: 2},
		{Error: 6, Maybe: &half, Inner: inner, Device: "cpu", Kind: "a", OK: true,
			List: []int{1, 2}, Other: []int{1}, Seed: 3},
	}
	// The errors 1, 2, 6 have mean 3 and squared deviations 4 + 1 + 9 = 14, whose sum is divided by n-1 = 2.
	require.JSONEq(t, `{
		"error": {"mean": 3, "std": 2.6457513110645907, "values": [1, 2, 6]},
		"maybe": null,
		"inner": {"calls": {"mean": 7, "std": 0, "values": [7, 7, 7]},
			"maybe": {"mean": 0.5, "std": 0, "values": [0.5, 0.5, 0.5]}},
		"device": "cpu", "kind": ["a", "b", "a"], "ok": true,
		"list": [1, 2], "other": [[1], [2], [1]], "seed": [1, 2, 3]}`,
		summaryText(t, rows...))
}

func TestSummarizeKeepsLargeSeeds(t *testing.T) {
	const odd = 1<<53 + 1 // the smallest positive integer that is not a float64
	require.Contains(t, summaryText(t, summaryRow{Seed: odd}), `"seed":9007199254740993`)
	require.Contains(t, summaryText(t, summaryRow{Seed: odd}, summaryRow{Seed: math.MaxUint64}),
		`"seed":[9007199254740993,18446744073709551615]`)
}

func TestSummarizeRefusesWhatJSONCannotSay(t *testing.T) {
	_, err := Summarize([]summaryRow{{Error: math.NaN()}})
	require.Error(t, err)
}

func TestMeanStd(t *testing.T) {
	for _, c := range []struct {
		values    []float64
		mean, std float64
	}{
		{[]float64{4}, 4, 0}, {[]float64{1, 3}, 2, math.Sqrt2},
		{[]float64{2, 4, 4, 4, 5, 5, 7, 9}, 5, math.Sqrt(32.0 / 7)},
		{[]float64{1e8, 1e8 + 2}, 1e8 + 1, math.Sqrt2}, // the mean of the squares minus the squared mean would cancel
	} {
		mean, std := MeanStd(c.values)
		require.InDelta(t, c.mean, mean, 1e-7)
		require.InDelta(t, c.std, std, 1e-7)
	}
}

// Whoever reads result.json alone sees the warnings; where there are none, the list is empty and not absent.
func TestRecordsSayTheirWarnings(t *testing.T) {
	r := NewRecord()
	require.Contains(t, summaryOf(t, r), `"warnings":[]`)
	r.Warn("look at row %d", 7)
	r.Lists["class_mapping"] = []string{"red, dry", "white"}
	require.Contains(t, summaryOf(t, r), `"warnings":["look at row 7"]`)
	require.Contains(t, summaryOf(t, r), `"class_mapping":["red, dry","white"]`)
}

func summaryOf(t *testing.T, r *Record) string {
	t.Helper()
	s, err := Summarize([]*Record{r})
	require.NoError(t, err)
	b, err := json.Marshal(s)
	require.NoError(t, err)
	return string(b)
}

// What a text holds in braces is left as it is, whatever other texts there are.
func TestTitlesOfRows(t *testing.T) {
	r := &Record{Texts: map[string]string{"a": "{b}", "b": "{a}"}}
	for range 20 {
		require.Equal(t, "{b} and {a}", Row{Title: "{a} and {b}"}.title(r))
	}
}
