package experiments

import (
	"bytes"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"html"
	"image/png"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/solvers/hypergrad"
	"bilevel/solvers/linear"
)

// shown says how the invented records below are reported.
var shown = Report{
	Rows: []Row{
		{Title: "test error, cleaned", Scalar: "test_error", Percent: true},
		{Title: "  on the truly clean rows", Scalar: "baselines.clean", Percent: true},
		{Title: "area", Scalar: "auc"},
		{Title: "  its error figure ({hypergradient.kind})", Scalar: "hypergradient.error"},
	},
	Plots: []Plot{
		{File: "error-iterations", X: "iteration", Y: "error (%)", Over: "iteration",
			Lines:          []Line{{Name: "validation", Column: "val_error"}, {Name: "test", Column: "test_error"}},
			ScaleToPercent: true},
		{File: "error-seconds", X: "seconds", Y: "error (%)", Over: "seconds",
			Lines: []Line{{Name: "validation", Column: "val_error"}}},
	},
	Histogram: Plot{File: "weights", X: "learned weight"},
}

// someRecord is an invented result. Where known is false, the truth about the labels is not known, and the numbers that
// depend on it are NaN.
func someRecord(seed uint64, known bool) *Record {
	r := NewRecord()
	r.Experiment, r.Key, r.Device, r.Seed = "made up", "0123456789abcdef", "cpu", seed
	r.Scalars["test_error"] = 0.05 + 0.01*float64(seed)
	r.Scalars["auc"], r.Scalars["baselines.clean"] = math.NaN(), math.NaN()
	r.Certify(&hypergrad.Hypergradient{
		Gradient: []float64{3, 4}, Error: 0.25, Kind: hypergrad.Estimate, Implicit: 4, Cosine: 0.8,
	}, "")
	weights := []float64{0, 0.01, 0.02, 0.5, 0.99, 1, 0.97, 0.98}
	r.Samples = []Sample{{"all rows", weights}}
	if known {
		r.Samples = []Sample{{"label kept", weights[:3]}, {"label changed", weights[3:]}}
		r.Scalars["auc"], r.Scalars["baselines.clean"] = 0.9, 0.04
	}
	r.Curve.Columns = []string{"iteration", "seconds", "val_error", "test_error"}
	for i := range 3 {
		valError, testError := 0.9/float64(i+1), (0.9+0.01*float64(seed%10))/float64(i+1)
		r.Curve.Rows = append(r.Curve.Rows, []float64{float64(10 * i), 0.25 * float64(i), valError, testError})
	}
	r.Tables = []Table{{"suspects", []string{"row", "label"}, [][]string{{"101", "1"}, {"7", "a, \"b\""}}}}
	return r
}

func read(t *testing.T, path ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	require.NoError(t, err)
	return b
}

func names(t *testing.T, dir string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func table(t *testing.T, path ...string) [][]string {
	t.Helper()
	rows, err := csv.NewReader(bytes.NewReader(read(t, path...))).ReadAll()
	require.NoError(t, err)
	return rows
}

var plots = []string{"error-iterations", "error-seconds", "weights"}

// checkPlots requires that every plot can be decoded, has a line or bar in it, and has its title.
func checkPlots(t *testing.T, dir string) {
	t.Helper()
	for _, name := range plots {
		img, err := png.Decode(bytes.NewReader(read(t, dir, name+".png")))
		require.NoError(t, err)
		colours := map[[3]uint32]bool{}
		for y := range img.Bounds().Dy() {
			for x := range img.Bounds().Dx() {
				r, g, b, _ := img.At(x, y).RGBA()
				colours[[3]uint32{r, g, b}] = true
			}
		}
		require.True(t, colours[[3]uint32{0, 114 * 257, 178 * 257}], "%s must have something blue in it", name)
		d, texts := xml.NewDecoder(bytes.NewReader(read(t, dir, name+".svg"))), ""
		for {
			token, err := d.Token()
			if err == io.EOF {
				break
			}
			require.NoError(t, err)
			if c, ok := token.(xml.CharData); ok {
				texts += string(c) + "\n"
			}
		}
		require.Contains(t, texts, "a <title> & more")
		require.NotContains(t, texts, "NaN")
		require.NotContains(t, texts, "-0\n")
	}
}

func TestResults(t *testing.T) {
	for _, records := range [][]*Record{
		{someRecord(1, true)}, {someRecord(1, false)},
		{someRecord(1, true), someRecord(2, true), someRecord(math.MaxUint64, true)},
	} {
		dir := filepath.Join(t.TempDir(), "new", "folder")
		require.NoError(t, WriteResults(dir, Page{Title: "a <title> & more"}, shown, records, len(records)))
		checkPlots(t, dir)
		want := []string{"metrics.csv", "metrics.jsonl", "report.html", "result.json"}
		for _, p := range plots {
			want = append(want, p+".svg", p+".png")
		}
		for _, r := range records {
			suspects := "suspects.csv"
			if len(records) > 1 {
				suspects = "suspects-seed-" + strconv.FormatUint(r.Seed, 10) + ".csv"
			}
			want = append(want, suspects)
			require.Equal(t, [][]string{{"row", "label"}, {"101", "1"}, {"7", "a, \"b\""}}, table(t, dir, suspects))
		}
		slices.Sort(want)
		require.Equal(t, want, names(t, dir), "there is no other file, such as a temporary one")

		rows := table(t, dir, "metrics.csv")
		require.Equal(t, []string{"seed", "iteration", "seconds", "val_error", "test_error"}, rows[0])
		require.Len(t, rows, 1+3*len(records))
		lines := json.NewDecoder(bytes.NewReader(read(t, dir, "metrics.jsonl")))
		for i, r := range records {
			for j, p := range r.Curve.Rows {
				var line struct {
					Seed      uint64  `json:"seed"`
					Iteration float64 `json:"iteration"`
					TestError float64 `json:"test_error"`
				}
				require.NoError(t, lines.Decode(&line))
				require.Equal(t, r.Seed, line.Seed)
				require.Equal(t, []float64{p[0], p[3]}, []float64{line.Iteration, line.TestError}, "no digit is lost")
				row := rows[1+3*i+j]
				require.Equal(t, strconv.FormatUint(r.Seed, 10), row[0])
				got, err := strconv.ParseFloat(row[4], 64)
				require.NoError(t, err)
				require.InEpsilon(t, p[3], got, 1e-6)
			}
		}
		require.False(t, lines.More())

		summary, err := Summarize(records)
		require.NoError(t, err)
		text, err := json.Marshal(summary)
		require.NoError(t, err)
		require.JSONEq(t, string(text), string(read(t, dir, "result.json")))
	}
}

func TestResultsLeaveNothingHalfWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.Error(t, WriteResults(filepath.Join(file, "out"), Page{Title: "t"}, shown,
		[]*Record{someRecord(1, true)}, 1))

	dir := filepath.Join(t.TempDir(), "out")
	broken := someRecord(1, true)
	broken.Curve.Rows[1][2] = math.NaN()
	require.ErrorContains(t, WriteResults(dir, Page{Title: "t"}, shown, []*Record{broken}, 1),
		"a value that is no number")
	require.NoDirExists(t, dir)

	require.NoError(t, os.MkdirAll(filepath.Join(dir, "weights.png", "in the way"), 0o700))
	require.Error(t, WriteResults(dir, Page{Title: "t"}, shown, []*Record{someRecord(1, true)}, 1))
	for _, name := range names(t, dir) {
		require.False(t, strings.HasPrefix(name, "."), "%s is a temporary file", name)
		require.NotEqual(t, "result.json", name, "result.json is written last, after the plot that fails")
	}
}

// A record is one JSON object. A name with a dot becomes a member of an object inside it, and NaN becomes null.
func TestRecordJSON(t *testing.T) {
	r := someRecord(3, false)
	r.Counts["oracle.hvp"], r.Flags["baselines.converged"] = 7, true
	text, err := json.Marshal(r)
	require.NoError(t, err)
	require.JSONEq(t, `{"auc": null, "baselines": {"clean": null, "converged": true}, "device": "cpu",
		"key": "0123456789abcdef", "seed": 3,
		"hypergradient": {"control": null, "error": 0.25, "implicit_cosine": 0.8, "implicit_share": 0.8,
			"kind": "estimate", "norm": 5, "residual": 0, "smallest_eigenvalue": 0, "stationarity": 0,
			"status": "converged"},
		"oracle": {"hvp": 7}, "test_error": 0.08, "warnings": []}`, string(text))
	require.Empty(t, r.Warnings)
	r.Certify(&hypergrad.Hypergradient{Status: linear.MaxSteps}, "do this")
	require.Equal(t, []string{"the hypergradient at the end is not reliable (max steps): do this"}, r.Warnings)
}

// A cell's key depends on the experiment, the configuration and the seed, and on nothing else.
func TestCellKeys(t *testing.T) {
	type config struct{ A, B int }
	keys := map[string]bool{}
	for _, c := range []Cell{
		{"x", config{1, 2}, 1, ""}, {"x", config{1, 2}, 2, ""}, {"x", config{2, 1}, 1, ""}, {"y", config{1, 2}, 1, ""},
	} {
		key, err := c.Key()
		require.NoError(t, err)
		again, err := c.Key()
		require.NoError(t, err)
		require.Equal(t, key, again)
		require.Len(t, key, 16)
		keys[key] = true
	}
	require.Len(t, keys, 4)
	_, err := Cell{"x", func() {}, 1, ""}.Key()
	require.ErrorContains(t, err, "cannot be written as JSON")
}

func TestPlotsOfEdgeCases(t *testing.T) {
	flat := series{"zero", blue, [][]float64{{0, 0}}, [][]float64{{0, 0}}}
	p, err := curves("t", "x", "y", flat)
	require.NoError(t, err)
	require.NoError(t, savePlot(p, t.TempDir(), "flat"))
	one := series{"one", blue, [][]float64{{0}, {0}}, [][]float64{{3}, {5}}}
	p, err = curves("t", "x", "y", one)
	require.NoError(t, err)
	require.Greater(t, p.Y.Max, 5.0)
	require.NoError(t, savePlot(p, t.TempDir(), "one"))
	p, err = histogram("t", "x", group{"none", blue, nil}, group{"ends", orange, []float64{0, 1, 1}})
	require.NoError(t, err)
	require.NoError(t, savePlot(p, t.TempDir(), "ends"))
}

// Seeds whose runs ended earlier than others are drawn as far as they go, and a misspelt column is named.
func TestPlotsOfUnequalCurves(t *testing.T) {
	long, short := NewRecord(), NewRecord()
	long.Curve = Curve{Columns: []string{"iteration", "loss"}, Rows: [][]float64{{0, 3}, {10, 2}, {20, 1}}}
	short.Curve = Curve{Columns: long.Curve.Columns, Rows: [][]float64{{0, 5}}}
	report := Report{Plots: []Plot{{File: "loss", Over: "iteration", Lines: []Line{{Name: "loss", Column: "loss"}}}}}
	for _, records := range [][]*Record{{long, short}, {short, long}} {
		require.NoError(t, WriteResults(t.TempDir(), Page{}, report, records, 2))
	}
	report.Plots[0].Lines[0].Column = "lost"
	err := WriteResults(t.TempDir(), Page{}, report, []*Record{long}, 1)
	require.EqualError(t, err,
		`plot loss: the curve has no column "lost" (there are: iteration, loss); did you mean "loss"?`)
	require.ErrorContains(t, WriteResults(t.TempDir(), Page{}, report, nil, 0), "there are no records")
}

func TestCurvesScaleToWhatComesAfterTheStart(t *testing.T) {
	s := series{"s", blue, [][]float64{{0, 1, 2}, {0, 1, 2}}, [][]float64{{90, 10, 6}, {90, 12, 6}}}
	p, err := curves("t", "x", "y", s)
	require.NoError(t, err)
	require.Zero(t, p.Y.Min)
	require.InDelta(t, 1.12*(11+math.Sqrt2), p.Y.Max, 1e-9)
	require.Equal(t, []float64{0, 2}, []float64{p.X.Min, p.X.Max})
}

// A start that is no tower is part of the picture, and so is the start of a curve that others lie below.
func TestCurvesShowAStartThatFits(t *testing.T) {
	low := series{"low", blue, [][]float64{{0, 1, 2}}, [][]float64{{4.3, 2.9, 1.4}}}
	high := series{"high", orange, [][]float64{{0, 1, 2}}, [][]float64{{7, 3, 4}}}
	p, err := curves("t", "x", "y", low, high)
	require.NoError(t, err)
	require.Greater(t, p.Y.Max, 7.0)
}

func TestTicks(t *testing.T) {
	for _, c := range []struct {
		from, to float64
		want     string
	}{
		{0, 2000, "0 500 1000 1500 2000"}, {0, 0.034, "0 0.01 0.02 0.03"}, {0, 1, "0 0.2 0.4 0.6 0.8 1"},
		{0, 16.1, "0 5 10 15"}, {0, 1e6, "0 200000 400000 600000 800000 1e+06"},
	} {
		var labels []string
		for _, tick := range roundTicks(c.from, c.to) {
			labels = append(labels, tick.Label)
		}
		require.Equal(t, c.want, strings.Join(labels, " "))
	}
	var labels []string
	for _, tick := range decades(0.5, 2000) {
		if tick.Label != "" {
			labels = append(labels, tick.Label)
		}
	}
	require.Equal(t, []string{"1", "10", "100", "1000"}, labels)
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, WriteTable(&b, shown, []*Record{someRecord(1, true)}))
	require.Regexp(t, `(?m)^test error, cleaned +6\.00 %$`, b.String())
	require.Regexp(t, `(?m)^  on the truly clean rows +4\.00 %$`, b.String())
	require.Regexp(t, `(?m)^  its error figure \(estimate\) +0\.25$`, b.String())
	require.NotContains(t, b.String(), "±")
	require.NotContains(t, b.String(), "warning")

	b.Reset()
	bad := someRecord(2, false)
	bad.Warn("one")
	bad.Warn("two %d", 2)
	require.NoError(t, WriteTable(&b, shown, []*Record{someRecord(1, true), bad}))
	require.Regexp(t, `(?m)^test error, cleaned +6\.50 % ± 0\.71$`, b.String()) // the mean of 6 % and 7 %
	require.NotContains(t, b.String(), "area", "a row is left out where one of the records has no value for it")
	require.NotContains(t, b.String(), "truly clean")
	require.Contains(t, b.String(), "warning: seed 2: one\nwarning: seed 2: two 2\n")

	require.Error(t, WriteTable(failing{}, shown, []*Record{bad}))
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("full") }

// A table names the files of its rows where they have some.
func TestTableAddsFiles(t *testing.T) {
	table := Table{Columns: []string{"row"}, Rows: [][]string{{"2"}, {"0"}}}
	place := func(i int) int32 { return []int32{2, 0}[i] }
	table.AddFiles(nil, place)
	require.Equal(t, []string{"row"}, table.Columns)
	table.AddFiles([]string{"a/1.png", "a/2.png", "b/1.png"}, place)
	require.Equal(t, []string{"row", "file"}, table.Columns)
	require.Equal(t, [][]string{{"2", "b/1.png"}, {"0", "a/1.png"}}, table.Rows)
}

// The page asks for no other file, escapes what it is given, and has everything on it.
func TestPageStandsAlone(t *testing.T) {
	dir := t.TempDir()
	r := someRecord(1, true)
	r.Warn("a <b>warning</b>")
	page := Page{Title: "a <title> & more", Version: "version 7", Config: "step: 0.1 # <x>"}
	require.NoError(t, WriteResults(dir, page, shown, []*Record{r}, 1))
	text := string(read(t, dir, "report.html"))
	for _, want := range []string{
		"<h1>a &lt;title&gt; &amp; more</h1>", "Seed 1: a &lt;b&gt;warning&lt;/b&gt;", "step: 0.1 # &lt;x&gt;",
		"version 7",
		"<td>6.00 %</td>", "its error figure (estimate)", "<td>a, &#34;b&#34;</td>", "hypergradient of norm 5",
	} {
		require.Contains(t, text, want)
	}
	require.Equal(t, 3, strings.Count(text, "<svg"))
	require.NotContains(t, text, "<?xml")
	for _, outside := range []string{"src=", "<script", "<link", "@import", "url(http"} {
		require.NotContains(t, text, outside)
	}
}

// Pictures and heat maps of the first record are on the page themselves.
func TestPageHasThePictures(t *testing.T) {
	dir := t.TempDir()
	var records []*Record
	for seed := range uint64(2) {
		r := someRecord(seed+1, true)
		pixel := []float32{float32(seed)}
		r.Images = []Grid{{Name: "sheet", Height: 1, Width: 1, Pixels: pixel, Captions: []string{"0"}}}
		r.Heats = []Heat{{Name: "heat", X: "given", Y: "suggested", Values: [][]float64{{1, 2}, {3, 4}}}}
		records = append(records, r)
	}
	require.NoError(t, WriteResults(dir, Page{Title: "t"}, shown, records, 2))
	text := string(read(t, dir, "report.html"))
	_, rest, found := strings.Cut(text, `src="data:image/png;base64,`)
	require.True(t, found)
	packed, _, _ := strings.Cut(rest, `"`)
	b, err := base64.StdEncoding.DecodeString(html.UnescapeString(packed))
	require.NoError(t, err)
	require.Equal(t, read(t, dir, "sheet-seed-1.png"), b)
	require.Contains(t, text, "1 images of seed 1, sheet-seed-1.png.")
	require.Contains(t, text, `<figure aria-label="heat-seed-1"><svg`)
	require.Equal(t, 1, strings.Count(text, "src="), "no other file is asked for")
}
