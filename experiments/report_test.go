package experiments

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
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
)

// someRun is a made-up result.
func someRun(seed uint64, known bool) *CleanRun {
	r := &CleanRun{TestError: 0.05 + 0.01*float64(seed), ValError: 0.04, ValLoss: 0.3, Iterations: 20, Seconds: 0.5, Device: "cpu", Seed: seed}
	r.Baselines = CleanBaselines{All: 0.2, Validation: 0.1, Converged: true}
	norm := 1e-3
	r.Hypergradient = Certificate{Norm: &norm, Kind: "estimate", Status: "converged"}
	r.Weights = []float64{0, 0.01, 0.02, 0.5, 0.99, 1, 0.97, 0.98}
	if known {
		r.Changed = []bool{true, true, true, false, false, false, false, false}
		r.Detector = detect(r.Weights, r.Changed, r.Changed)
		r.Baselines.Clean = &r.ValError
	}
	for i := range 3 {
		r.Curve = append(r.Curve, CurvePoint{10 * i, 0.25 * float64(i), int64(1280 * i), 0.9 / float64(i+1), 2.3 / float64(i+1), (0.9 + 0.01*float64(seed)) / float64(i+1)})
	}
	for i, w := range r.Weights {
		r.Suspects = append(r.Suspects, Suspect{Row: 100 + i, Label: i % 3, Weight: w, Own: (i + 1) % 3})
	}
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

// checkPlots decodes every plot, and asks that it is not blank.
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
		require.True(t, colours[[3]uint32{0, 114 * 257, 178 * 257}], "%s has no blue in it", name)
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

func TestCleanResults(t *testing.T) {
	for _, runs := range [][]*CleanRun{{someRun(1, true)}, {someRun(1, false)}, {someRun(1, true), someRun(2, true), someRun(math.MaxUint64, true)}} {
		dir := filepath.Join(t.TempDir(), "new", "folder")
		require.NoError(t, WriteCleanResults(dir, "a <title> & more", runs))
		checkPlots(t, dir)
		want := []string{"metrics.csv", "metrics.jsonl", "result.json"}
		for _, p := range plots {
			want = append(want, p+".svg", p+".png")
		}
		for _, r := range runs {
			suspects := "suspects.csv"
			if len(runs) > 1 {
				suspects = "suspects-seed-" + strconv.FormatUint(r.Seed, 10) + ".csv"
			}
			want = append(want, suspects)
			rows := table(t, dir, suspects)
			require.Equal(t, []string{"row", "label", "weight", "own_label"}, rows[0])
			require.Equal(t, []string{"101", "1", "0.01", "2"}, rows[2])
			require.Len(t, rows, 9)
		}
		slices.Sort(want)
		require.Equal(t, want, names(t, dir), "and no temporary file")

		rows := table(t, dir, "metrics.csv")
		require.Equal(t, []string{"seed", "iteration", "seconds", "samples", "val_error", "val_loss", "test_error"}, rows[0])
		require.Len(t, rows, 1+3*len(runs))
		lines := json.NewDecoder(bytes.NewReader(read(t, dir, "metrics.jsonl")))
		for i, r := range runs {
			for j, p := range r.Curve {
				var line struct {
					Seed uint64 `json:"seed"`
					CurvePoint
				}
				require.NoError(t, lines.Decode(&line))
				require.Equal(t, r.Seed, line.Seed)
				require.Equal(t, p, line.CurvePoint)
				row := rows[1+3*i+j]
				require.Equal(t, strconv.FormatUint(r.Seed, 10), row[0])
				got, err := strconv.ParseFloat(row[6], 64)
				require.NoError(t, err)
				require.InEpsilon(t, p.TestError, got, 1e-6)
			}
		}
		require.False(t, lines.More())

		summary, err := Summarize(runs)
		require.NoError(t, err)
		text, err := json.Marshal(summary)
		require.NoError(t, err)
		require.JSONEq(t, string(text), string(read(t, dir, "result.json")))
	}
}

func TestCleanResultsLeaveNothingHalfWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.Error(t, WriteCleanResults(filepath.Join(file, "out"), "t", []*CleanRun{someRun(1, true)}))

	dir := filepath.Join(t.TempDir(), "out")
	broken := someRun(1, true)
	broken.ValLoss = math.NaN()
	require.Error(t, WriteCleanResults(dir, "t", []*CleanRun{broken}))
	require.NoDirExists(t, dir)

	require.NoError(t, os.MkdirAll(filepath.Join(dir, "weights.png", "in the way"), 0o700))
	require.Error(t, WriteCleanResults(dir, "t", []*CleanRun{someRun(1, true)}))
	for _, name := range names(t, dir) {
		require.False(t, strings.HasPrefix(name, "."), "a temporary file: %s", name)
		require.NotEqual(t, "result.json", name, "it comes last")
	}
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

func TestCurvesScaleToWhatComesAfterTheStart(t *testing.T) {
	s := series{"s", blue, [][]float64{{0, 1, 2}, {0, 1, 2}}, [][]float64{{90, 10, 6}, {90, 12, 6}}}
	p, err := curves("t", "x", "y", s)
	require.NoError(t, err)
	require.Zero(t, p.Y.Min)
	require.InDelta(t, 1.1*(11+math.Sqrt2), p.Y.Max, 1e-9)
	require.Equal(t, []float64{0, 2}, []float64{p.X.Min, p.X.Max})
}

func TestTicks(t *testing.T) {
	for _, c := range []struct {
		from, to float64
		want     string
	}{
		{0, 2000, "0 500 1000 1500 2000"}, {0, 0.034, "0 0.01 0.02 0.03"}, {0, 1, "0 0.2 0.4 0.6 0.8 1"}, {0, 16.1, "0 5 10 15"},
		{0, 1e6, "0 200000 400000 600000 800000 1e+06"},
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

func TestCleanTable(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, WriteCleanTable(&b, []*CleanRun{someRun(1, true)}))
	require.Regexp(t, `(?m)^test error, cleaned +6\.00 %$`, b.String())
	require.Regexp(t, `(?m)^  on the truly clean rows +4\.00 %$`, b.String())
	require.NotContains(t, b.String(), "±")
	require.NotContains(t, b.String(), "warning")

	b.Reset()
	bad := someRun(2, false)
	bad.Baselines.Converged, bad.Hypergradient.Status = false, "max steps"
	require.NoError(t, WriteCleanTable(&b, []*CleanRun{someRun(1, false), bad}))
	require.Regexp(t, `(?m)^test error, cleaned +6\.50 % ± 0\.71$`, b.String()) // 6 and 7 %
	require.NotContains(t, b.String(), "detector")
	require.NotContains(t, b.String(), "truly clean")
	require.Equal(t, 2, strings.Count(b.String(), "warning: seed 2: "))

	require.Error(t, WriteCleanTable(failing{}, []*CleanRun{bad}))
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("full") }

// A folder used again holds the lists of the last run only.
func TestSuspectsOfEarlierRunsGo(t *testing.T) {
	dir := t.TempDir()
	names := func() (out []string) {
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		require.NoError(t, err)
		for _, f := range files {
			out = append(out, filepath.Base(f))
		}
		return out
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "suspects-mine.csv"), nil, 0o644))
	require.NoError(t, writeSuspects(dir, []*CleanRun{{Seed: 1}, {Seed: 2}}))
	require.Equal(t, []string{"suspects-mine.csv", "suspects-seed-1.csv", "suspects-seed-2.csv"}, names())
	require.NoError(t, writeSuspects(dir, []*CleanRun{{Seed: 1}}))
	require.Equal(t, []string{"suspects-mine.csv", "suspects.csv"}, names())
}
