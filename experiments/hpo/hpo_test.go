package hpo

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"bilevel/data"
	"bilevel/device/cpudevice"
	"bilevel/device/ref"
	"bilevel/experiments"
	"bilevel/experiments/experimentstest"
	"bilevel/models"
	"bilevel/models/params"
	"bilevel/solvers/hypergrad"
	"bilevel/solvers/linear"
	"bilevel/solvers/minimize"
	"bilevel/solvers/problem"
	"bilevel/tensor"
	"bilevel/tensor/tensortest"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
)

// drawn is rows of two or more classes, which depend on the first two features.
func drawn(seed uint64, n, dim, classes int) *data.Dataset {
	r := rand.New(rand.NewPCG(seed, 7))
	s := &data.Set{Dim: dim}
	for range n {
		row := make([]float32, dim)
		for j := range row {
			row[j] = float32(r.NormFloat64())
		}
		s.Features = append(s.Features, row...)
		score := float64(row[0]) + 0.5*float64(row[1]) + 0.5*r.NormFloat64()
		s.Labels = append(s.Labels, int32(min(float64(classes-1), max(0, math.Floor(score+float64(classes)/2)))))
	}
	return &data.Dataset{Name: "drawn", Shape: []int{dim}, Classes: classes, Train: s}
}

func small(search string) Config {
	c := Config{Search: search, Method: "hoag", Calls: 400, Steps: 200, Train: 60, Val: 60, Records: 10}
	if search == Layers {
		c.Model, c.Tolerance = "mlp:4", 0.1
	}
	return c
}

func sets() map[string]*data.Dataset {
	return map[string]*data.Dataset{Features: drawn(1, 200, 5, 2), Layers: drawn(2, 200, 5, 3)}
}

// prepared is a task on an executor.
func prepared(t *testing.T, ex *tensor.Executor, c Config, set *data.Dataset) *task {
	t.Helper()
	task := &task{Config: c, ex: ex, scope: ex.Scope(), seed: 1}
	require.NoError(t, task.prepare(set))
	t.Cleanup(func() { require.NoError(t, task.scope.Close()) })
	return task
}

// smooth is a task whose perceptron has a smooth activation, with rows that are given by hand.
func smooth(t *testing.T, search string, folds int) *task {
	t.Helper()
	set := map[string]*data.Dataset{Features: drawn(1, 48, 5, 2), Layers: drawn(2, 48, 5, 3)}[search]
	ex := tensortest.Executor(t, ref.New())
	s := &task{Config: Config{Search: search, Folds: folds, Steps: 3000}, ex: ex, scope: ex.Scope(), seed: 1}
	t.Cleanup(func() { require.NoError(t, s.scope.Close()) })
	if search == Features {
		s.learner, s.space = Logistic(params.Repeat(0, 5), 4), featureSpace(4, nil)
	} else {
		m := models.MLP{Widths: []int{5, 3, 3}, Activation: models.Tanh}
		start, _ := m.Init(4)
		s.learner, s.space = Perceptron(m, start), layerSpace(m.Params())
	}
	rows, err := experiments.Upload(s.scope, set.Train)
	require.NoError(t, err)
	x := params.Vector(s.space.start()...)
	p := s.learner.HoldOut(x, rows, rows)
	if folds > 0 {
		rows[FoldName] = problem.Ints(foldsOf(set.Train.N(), folds))
		p = s.learner.Folds(x, rows, folds)
	}
	s.bound, err = p.Bind(ex)
	require.NoError(t, err)
	s.scope.Own(s.bound.Close)
	require.NoError(t, s.measures(set.Train))
	return s
}

// The hypergradient of each search by the implicit function theorem against central differences of h in float64.
func TestHypergradients(t *testing.T) {
	for _, search := range Searches() {
		for _, folds := range []int{0, 2} {
			t.Run(fmt.Sprintf("%s, %d folds", search, folds), func(t *testing.T) {
				s := smooth(t, search, folds)
				m, err := s.trainer(s.bound)
				require.NoError(t, err)
				m.tolerance = 1e-11
				x := make([]float64, len(s.space))
				for j := range x {
					x[j] = -3 + 0.2*float64(j)
				}
				y := s.bound.Lower.Start.Flat
				value := func(x []float64) float64 {
					out, err := m.train(t.Context(), x, y)
					require.NoError(t, err)
					require.NotEqual(t, minimize.MaxSteps, out.status)
					y = out.y
					h, err := s.validate(x, y)
					require.NoError(t, err)
					return h
				}
				value(x)
				at := slices.Clone(y)
				star := s.scope.Variable("y*", tensor.Real, len(y))
				require.NoError(t, star.Write(at))
				require.NoError(t, s.x.Write(x))
				method, err := hypergrad.Implicit{Solver: linear.CG{RTol: 1e-12, MaxSteps: 2000}}.Prepare(s.bound, s.x,
					star)
				require.NoError(t, err)
				defer func() { require.NoError(t, method.Close()) }()
				g, err := method.Compute(t.Context())
				require.NoError(t, err)
				const step = 1e-4
				want := make([]float64, len(x))
				for j := range x {
					up, down := slices.Clone(x), slices.Clone(x)
					up[j] += step
					down[j] -= step
					y = slices.Clone(at)
					want[j] = value(up)
					y = slices.Clone(at)
					want[j] = (want[j] - value(down)) / (2 * step)
				}
				// Differences have an error of the order step² and round-off of about 1e-16/step.
				require.Greater(t, floats.Norm(want, 2), 1e-4)
				require.InDeltaSlice(t, want, g.Gradient, 1e-6*(1+floats.Norm(want, 2)))
			})
		}
	}
}

// Both levels by plain loops: each model of the folds is trained on the rows of the others, and judged on its own.
func TestFoldsOfPlainLoops(t *testing.T) {
	set, c := drawn(3, 200, 3, 2), small(Features)
	c.Folds = 3
	s := prepared(t, tensortest.Executor(t, ref.New()), c, set)
	p, err := data.Prepare(set, data.Preparation{Train: c.Train, Val: c.Val}, 1)
	require.NoError(t, err)
	rows, err := joined(p.Train, p.Val, 3)
	require.NoError(t, err)
	dim, n := rows.Dim, rows.N()
	x := []float64{-1, 0.5, 0.2}
	y := make([]float64, 3*dim)
	for i := range y {
		y[i] = math.Sin(float64(i))
	}
	lower, upper := 0.0, 0.0
	for k := range 3 {
		own := y[k*dim : (k+1)*dim]
		for i := range n {
			z := 0.0
			for j, v := range rows.Row(i) {
				z += float64(v) * own[j]
			}
			loss := math.Log1p(math.Exp(-z * float64(2*rows.Labels[i]-1)))
			if i/(n/3) == k {
				upper += loss / float64(n)
			} else {
				lower += loss / (float64(n) * 2 / 3)
			}
		}
		for j, v := range x {
			lower += 0.5 * math.Exp(v) * own[j] * own[j]
		}
	}
	got, err := s.validate(x, y)
	require.NoError(t, err)
	require.InDelta(t, upper, got, 1e-12)
	at := s.scope.Number("lower")
	f := s.scope.Compile("lower", func() []tensor.Update {
		p := s.bound.Oracle().At(problem.Lower, s.x.Node(), s.y.Node(), s.bound.All(problem.Lower), 0, nil)
		return []tensor.Update{{Var: at, Value: p.Value().Reshape()}}
	})
	require.NoError(t, s.scope.Err())
	require.NoError(t, f.Run(1))
	got, err = at.Number()
	require.NoError(t, err)
	require.InDelta(t, lower, got, 1e-12)
}

// A search that is stopped again and again and goes on each time ends with the bits of one that never was, and within
// its budget.
func TestStoppedSearchesGoOnToTheSameBits(t *testing.T) {
	for _, method := range []string{"hoag", "soba", "tpe"} {
		for search, set := range sets() {
			t.Run(method+", "+search, func(t *testing.T) {
				c := small(search)
				c.Method, c.Calls = method, 600
				if method == "soba" {
					c.Batch, c.Calls, c.Folds = 10, 60, 2
				}
				dev := cpudevice.New(1)
				defer func() { require.NoError(t, dev.Close()) }()
				cells, err := Experiment{}.Cells(c, []uint64{3})
				require.NoError(t, err)
				run := experimentstest.Run{Device: dev, Experiment: Experiment{}, Cell: cells[0], Data: set}
				whole := run.SameBits(t, 2)
				require.LessOrEqual(t, whole.Counts["oracle.calls"], c.Calls)
				require.Greater(t, whole.Scalars["points"], 2.0)
			})
		}
	}
}

// Settings that can never work are refused with the setting's name and what to do.
func TestChecks(t *testing.T) {
	set := sets()
	for want, change := range map[string]func(c *Config){
		`search is "feature": wants one of features, layers; did you mean`: func(c *Config) { c.Search = "feature" },
		"leave the model out":                        func(c *Config) { c.Model = "mlp:3" },
		"model is \"resnet20\": the search layers":   func(c *Config) { c.Search, c.Model = Layers, "resnet20" },
		`method is "hog"`:                            func(c *Config) { c.Method = "hog" },
		"folds is 1: wants 2 to 100":                 func(c *Config) { c.Folds = 1 },
		"calls is 0":                                 func(c *Config) { c.Calls = 0 },
		"tolerance is -1":                            func(c *Config) { c.Tolerance = -1 },
		"batch is -1":                                func(c *Config) { c.Batch = -1 },
		"grid has none: leave them out":              func(c *Config) { c.Method, c.Batch = "grid", 8 },
		"steps 0 and":                                func(c *Config) { c.Steps = 0 },
		"schedule is cosine and adaptive true":       func(c *Config) { c.Set = []string{"schedule=cosine"} },
		"batch is 61 and the lower level has 60":     func(c *Config) { c.Method, c.Batch = "soba", 61 },
		"rows give no 100 folds":                     func(c *Config) { c.Train, c.Val, c.Folds = 20, 20, 100 },
		"its 200 rows are not enough":                func(c *Config) { c.Train = 1000 },
		"one iteration takes 7 oracle calls":         func(c *Config) { c.Method, c.Calls = "sbfw", 1 },
		"the upper objective of hyperparameters":     func(c *Config) { c.Method = "alternation" },
		"search features is for two classes, and th": func(c *Config) { c.Records = 7 },
	} {
		c := small(Features)
		change(&c)
		of := set[Features]
		if c.Records == 7 {
			of = set[Layers]
		}
		err := Experiment{}.Check(t.Context(), tensortest.Executor(t, ref.New()), of, c)
		require.ErrorContains(t, err, want)
	}
}

// What a stop leaves at the end of a search is not lost.
func TestStopAtTheEnd(t *testing.T) {
	for _, method := range []string{"tpe", "soba"} {
		c, set := small(Features), sets()[Features]
		c.Method, c.Calls = method, 600
		if method == "soba" {
			c.Batch, c.Calls, c.Folds = 10, 60, 2
		}
		experimentstest.StopsAtTheEnd(t, cpudevice.New(1), set, Experiment{}, c)
	}
}

// counting is a context that ends when it has been asked so many times whether it has; 0: never.
type counting struct {
	context.Context
	asked, last int
}

func (c *counting) Err() error {
	c.asked++
	if c.last > 0 && c.asked >= c.last {
		return context.Canceled
	}
	return nil
}

// Wherever a point is stopped, in its training or where it is scored, the points before are kept, and the search goes
// on to the same bits.
func TestStopInAPoint(t *testing.T) {
	c, set := small(Features), sets()[Features]
	c.Method, c.Calls = "tpe", 120
	dev := cpudevice.New(1)
	cells, err := Experiment{}.Cells(c, []uint64{3})
	require.NoError(t, err)
	run := func(ctx context.Context, store *experiments.Store, done func(int)) (*experiments.Record, error) {
		env := experiments.Env{Data: set, Progress: done}
		return experiments.RunCell(ctx, dev, env, Experiment{}, cells[0], store)
	}
	whole := &counting{Context: t.Context()}
	var points []int // how often a whole run has asked after each point
	want, err := run(whole, nil, func(int) { points = append(points, whole.asked) })
	require.NoError(t, err)
	for last := points[0] + 1; last <= points[len(points)-1]; last++ {
		store := &experiments.Store{Dir: t.TempDir(), Resume: true, Every: time.Hour}
		_, err := run(&counting{t.Context(), 0, last}, store, nil)
		require.ErrorIs(t, err, context.Canceled)
		require.True(t, store.Written(), "%d", last)
		got, err := run(t.Context(), store, nil)
		require.NoError(t, err)
		require.Equal(t, experimentstest.Untimed(want), experimentstest.Untimed(got), "%d", last)
	}
	require.NoError(t, dev.Close())
}
