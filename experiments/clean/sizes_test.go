package clean

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/data"
	"bilevel/device"
	"bilevel/device/cpudevice"
	"bilevel/device/null"
	"bilevel/experiments"
	"bilevel/solvers/problem"
)

// Rows of many classes are looked at in pieces: a run holds its data, a few tables of the classes' pairs and the arenas
// of its evaluators, and nothing of the size of rows times classes. Where rows are trusted, it holds the data a second
// time in the end, with an evaluator of its own.
func TestManyClassesTakeLittleMemory(t *testing.T) {
	const rows, dim, classes = 120_000, 5, 1200
	r := rand.New(rand.NewPCG(1, 9))
	for name, c := range map[string]struct {
		config  Config
		trusted bool
	}{
		"none trusted": {Config{Weights: Auto, Batch: 64}, false},
		"table":        {Config{Weights: formTable, Model: "softmax", Batch: 64, Iterations: 10}, true},
	} {
		set := &data.Dataset{Name: "many", Source: t.TempDir(), Classes: classes,
			Train: randomSet(r, rows, dim, classes)}
		copies, evaluators := 1, 2*2 // for each model, of all training rows and of a part
		if c.trusted {
			set.Val = randomSet(r, 2*classes, dim, classes)
			copies, evaluators = 2, 3
		}
		dev := null.Like(device.Info{Name: "cpu", RealBits: 32, Free: 1 << 40})
		_, err := experiments.Run(t.Context(), dev, experiments.Env{Data: set}, Experiment{Guided: true},
			experiments.SeedCells("clean", c.config, []uint64{1}), nil, experiments.Hooks{})
		require.NoError(t, err, name)
		data, pairs := 4*copies*rows*(dim+6), 4*classes*classes
		peak := dev.Stats().PeakBytes
		require.Less(t, peak, data+12*pairs+evaluators*problem.DefaultEvaluationMemory, name)
		require.Less(t, peak, 4*rows*classes, name)
		require.NoError(t, dev.Close())
	}
}

// More rows get more iterations, so that nearly all are drawn; where a user asks for fewer, a warning counts those that
// were not.
func TestRoundsLookAtEveryRow(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 9))
	for _, rows := range []int{1000, 100_000, 1_000_000} {
		n := &net{settings: Config{}.settings(), spec: modelSpecs()[0]}
		require.Less(t, neverDrawn(float64(rows), float64(rounds*n.iterationsFor(rows)*n.Batch)), 0.001*float64(rows))
	}
	// Draws with replacement, counted.
	const rows, draws = 2000, 5000
	seen := map[int]bool{}
	for range draws {
		seen[r.IntN(rows)] = true
	}
	require.InEpsilon(t, rows-len(seen), neverDrawn(rows, draws), 0.2)
	g := &guided{r: experiments.NewRecord(), all: indices(3000)}
	g.warnOfRowsNeverDrawn(&net{settings: settings{Iterations: 10, Batch: 64}})
	require.Len(t, g.r.Warnings, 1)
	require.Contains(t, g.r.Warnings[0], "of the 3000 training rows were never drawn")
	g.warnOfRowsNeverDrawn(&net{settings: settings{Iterations: 1000, Batch: 64}})
	require.Len(t, g.r.Warnings, 1)
}

// A class without trusted rows is named, and its rows are not called suspects on that ground.
func TestClassWithoutTrustedRows(t *testing.T) {
	set := digits(t)
	const missing = 3
	kept := func(s *data.Set, from, to int, drop bool) *data.Set {
		var rows []int32
		for i := from; i < to; i++ {
			if !drop || s.Labels[i] != missing {
				rows = append(rows, int32(i))
			}
		}
		out, err := s.Rows(rows)
		require.NoError(t, err)
		return out
	}
	own := &data.Dataset{
		Name: "own", Source: t.TempDir(), Classes: 10, Train: kept(set.Train, 0, 900, false),
		Val: kept(set.Train, 900, 1300, true), Test: kept(set.Train, 1300, 1797, false),
	}
	for _, form := range []string{formTable, formNone} {
		run := mustClean(t, Config{Weights: form, Model: "softmax", Batch: 64, Iterations: 300}, cpudevice.New(1), own,
			1)
		require.Contains(t, run.Warnings[0], "class 3 has no trusted rows")
		first, all := 0, 0
		for i, row := range run.Tables[0].Rows {
			if row[1] == "3" {
				if all++; i < 150 {
					first++
				}
			}
		}
		require.Greater(t, all, 50)
		require.Less(t, first, all/2, form)
	}
}
