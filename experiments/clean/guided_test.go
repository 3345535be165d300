package clean

import (
	"context"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/data"
	"bilevel/device"
	"bilevel/device/cpudevice"
	"bilevel/device/ref"
	"bilevel/experiments"
	"bilevel/experiments/train"
	"bilevel/models/params"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// guidedConfig is a run on digits of about a second.
func guidedConfig(form, model string) Config {
	return Config{Weights: form, Model: model, Corrupt: 0.4, Train: 600, Val: 150, Reg: 0.005, Batch: 64,
		Iterations: 150}
}

// netOn is a model on the rows of a small set on the reference device.
func netOn(t *testing.T, training, trusted *data.Set, classes int, model string) *net {
	t.Helper()
	dev := ref.New()
	ex := tensor.NewExecutor(dev)
	sc := ex.Scope()
	var rows tables
	var err1, err2 error
	rows.train, err1 = upload(sc, "training", training)
	rows.trusted, err2 = upload(sc, "trusted", trusted)
	require.NoError(t, err1)
	require.NoError(t, err2)
	c := Config{Model: model}
	n, err := newNet(ex, c.settings(), c.specs()[0], train.Inputs{Count: rows.train.dim}, &rows, classes, 1,
		newPieces(nil))
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, n.close())
		require.NoError(t, sc.Close())
		require.NoError(t, ex.Close())
		require.NoError(t, dev.Close())
	})
	return n
}

func randomSet(r *rand.Rand, n, dim, classes int) *data.Set {
	s := &data.Set{Dim: dim}
	for range n {
		for range dim {
			s.Features = append(s.Features, float32(r.NormFloat64()))
		}
		s.Labels = append(s.Labels, int32(r.IntN(classes)))
	}
	return s
}

// probabilities of a softmax regression y = (weight [classes, dim], bias [classes]), by plain loops.
func probabilities(s *data.Set, classes int, y []float64, i int) []float64 {
	p, sum := make([]float64, classes), 0.0
	for c := range p {
		z := y[classes*s.Dim+c]
		for j, v := range s.Row(i) {
			z += float64(v) * y[c*s.Dim+j]
		}
		p[c] = math.Exp(z)
		sum += p[c]
	}
	for c := range p {
		p[c] /= sum
	}
	return p
}

// Values of both levels, and the gradient in x, of every form against the formulas of the doc comment.
func TestGuidedObjectives(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const classes = 3
	train, trusted := randomSet(r, 40, 4, classes), randomSet(r, 20, 4, classes)
	n := netOn(t, train, trusted, classes, "softmax")
	y := make([]float64, n.start.Size())
	norm := 0.0
	for i := range y {
		y[i] = r.NormFloat64()
		norm += y[i] * y[i]
	}
	j, err := n.judge(context.Background(), n.rows.train, y, nil)
	require.NoError(t, err)
	prior, pair := n.priors(j, train.Labels)
	require.NoError(t, n.prior.Write(prior))
	require.NoError(t, n.pair.WriteInts(pair))
	for _, form := range []string{formTable, formRows, formNone} {
		size, _ := n.upperSize(form)
		x := make([]float64, size)
		for i := range x {
			x[i] = r.NormFloat64()
		}
		lower, slope := 0.005*norm, make([]float64, size)
		weights := n.weights(form, j, train.Labels, x)
		for i, g := range train.Labels {
			p := probabilities(train, classes, y, i)
			suggested := int32(slices.Index(p, slices.Max(p)))
			given := math.Min(0.98, math.Max(0.02, p[g]))
			z, at := math.Log(given/(1-given)), -1
			switch form {
			case formTable:
				at = int(g)*classes + int(suggested)
				z += x[at]
			case formRows:
				at = i
				z = x[at]
			}
			w := 1 / (1 + math.Exp(-z))
			require.InDelta(t, w, weights[i], 1e-12)
			lower += w * -math.Log(p[g]) / 40
			if at >= 0 {
				slope[at] += w * (1 - w) * -math.Log(p[g]) / 40
			}
		}
		upper := 0.0
		for i, g := range trusted.Labels {
			upper -= math.Log(probabilities(trusted, classes, y, i)[g]) / 20
		}
		value, gradient := evaluate(t, n, form, x, y)
		require.InDelta(t, lower, value[0], 1e-12, form)
		require.InDelta(t, upper, value[1], 1e-12, form)
		if form != formNone {
			require.InDeltaSlice(t, slope, gradient, 1e-12, form)
		}
	}
}

// evaluate gives both objectives on all rows, and the gradient in x of the lower one.
func evaluate(t *testing.T, n *net, form string, x, y []float64) (values, gradient []float64) {
	p := n.bilevel(form, indices(n.rows.train.n), indices(n.rows.trusted.n), n.start, len(x))
	b, err := p.Bind(n.ex)
	require.NoError(t, err)
	sc := n.ex.Scope()
	xs, ys := sc.Variable("x", tensor.Real, len(x)), sc.Variable("y", tensor.Real, len(y))
	value, grad := sc.Variable("value", tensor.Real, 2), sc.Variable("grad", tensor.Real, len(x))
	require.NoError(t, xs.Write(x))
	require.NoError(t, ys.Write(y))
	f := sc.Compile("objectives", func() []tensor.Update {
		at := func(side problem.Side) *problem.Point {
			return b.Oracle().At(side, xs.Node(), ys.Node(), b.All(side), params.TrainFrozen, nil)
		}
		updates := []tensor.Update{
			{Var: value, Value: tensor.Concat(0, at(problem.Lower).Value().Reshape(1),
				at(problem.Upper).Value().Reshape(1))},
		}
		if form != formNone {
			updates = append(updates, tensor.Update{Var: grad, Value: at(problem.Lower).GradX()})
		}
		return updates
	})
	require.NoError(t, sc.Err())
	require.NoError(t, f.Run(1))
	values, err = value.Read()
	require.NoError(t, err)
	gradient, err = grad.Read()
	require.NoError(t, err)
	require.NoError(t, sc.Close())
	require.NoError(t, b.Close())
	return values, gradient
}

// One step of fit by hand: from zero, y = -rate·∇ on the drawn rows, so that a set of equal rows makes the draw
// certain.
func TestFitMovesAgainstTheGradient(t *testing.T) {
	s := &data.Set{Dim: 2, Features: []float32{1, 2, 1, 2, 1, 2}, Labels: []int32{1, 1, 1}}
	n := netOn(t, s, s, 2, "softmax")
	y, err := n.fit(context.Background(), "test", n.rows.train, indices(3), 2, 1)
	require.NoError(t, err)
	want, u := make([]float64, 6), make([]float64, 6)
	for k := range 2 {
		p := probabilities(s, 2, want, 0)
		for c, d := range []float64{p[0], p[1] - 1} {
			for j, v := range []float64{1, 2} {
				u[2*c+j] = 0.9*u[2*c+j] + d*v + 2*0.005*want[2*c+j]
			}
			u[4+c] = 0.9*u[4+c] + d + 2*0.005*want[4+c]
		}
		for i := range want {
			want[i] -= 0.1 * (1 - float64(k)/2) * u[i]
		}
	}
	require.InDeltaSlice(t, want, y, 1e-12)
}

func guidedRun(t testing.TB, c Config, dev device.Device, set *data.Dataset, seed uint64) *experiments.Record {
	t.Helper()
	return mustClean(t, c, dev, set, seed)
}

func TestGuidedFindsWrongLabels(t *testing.T) {
	for _, form := range []string{Auto, formTable, formRows, formNone} {
		run := guidedRun(t, guidedConfig(form, "softmax"), cpudevice.New(1), digits(t), 1)
		v := run.Scalars
		require.Greater(t, v["auc"], 0.97, form)
		require.Greater(t, v["p_at_k"], 0.85, form)
		require.Less(t, v["test_error"], v["controls.all.test_error"], form)
		require.Contains(t, v, "controls.trusted.held_out_error")
		suspects := run.Tables[0]
		require.Equal(t, []string{"row", "given_label", "suggested_label", "p_given", "p_right", "weight", "flagged"},
			suspects.Columns)
		require.Len(t, suspects.Rows, 750, "judged and trusted rows, which lie in the same file")
		seen := map[string]bool{}
		for _, row := range suspects.Rows {
			require.False(t, seen[row[0]])
			seen[row[0]] = true
		}
		require.InDelta(t, v["precision"], v["expected_precision"], 0.1, form)
		require.Len(t, run.Tables[1].Rows, 750)
	}
}

func TestGuidedBitsDependOnTheSeedAlone(t *testing.T) {
	for _, model := range []string{"softmax", "mlp:64"} {
		c := guidedConfig(formTable, model)
		c.Iterations = 40
		set := digits(t)
		text := func(r *experiments.Record) string {
			b, err := json.Marshal(r)
			require.NoError(t, err)
			return string(b)
		}
		one := guidedRun(t, c, cpudevice.New(1), set, 7)
		two := guidedRun(t, c, cpudevice.New(2), set, 7)
		require.Equal(t, text(one), text(two), "two threads")
		require.Equal(t, one.Tables, two.Tables)
		require.NotEqual(t, one.Tables, guidedRun(t, c, cpudevice.New(1), set, 8).Tables)
	}
}

// Without trusted rows every row is listed, and what nobody can know is not said.
func TestGuidedWithoutTrustedRows(t *testing.T) {
	set := digits(t)
	rows, err := data.Split(set.Train.N(), 1, 600)
	require.NoError(t, err)
	part, err := set.Train.Rows(rows[0])
	require.NoError(t, err)
	truth := slices.Clone(part.Labels)
	noisy, _, err := data.Corrupt(part.Labels, 0.2, 10, 3)
	require.NoError(t, err)
	part.Labels = noisy
	run := guidedRun(t, Config{Weights: Auto, Model: "softmax", Batch: 64}, cpudevice.New(1),
		&data.Dataset{Name: "own", Source: t.TempDir(), Classes: 10, Train: part}, 1)
	require.Contains(t, run.Texts["headline"], "no bi-level run was made")
	for _, name := range []string{"auc", "p_at_k", "precision", "recall", "test_error", "expected_precision"} {
		require.NotContains(t, run.Scalars, name)
	}
	wrong := 0
	for i, y := range noisy {
		if y != truth[i] {
			wrong++
		}
	}
	require.Len(t, run.Tables[0].Rows, 600)
	hits := 0
	for _, row := range run.Tables[0].Rows[:wrong] {
		if i := atoi(t, row[0]); noisy[i] != truth[i] {
			hits++
		}
	}
	require.Greater(t, float64(hits), 0.85*float64(wrong))
	require.InDelta(t, float64(wrong), run.Scalars["confident_learning.wrong_labels"], 0.35*float64(wrong))
}

// One odd label must not make confident learning find a third of the rows: as its models never saw the label, its mean
// probability over its rows is next to 0, a limit that every row reaches.
func TestConfidentWithAStrayLabel(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	s := &data.Set{Dim: 2}
	for i := range 120 {
		c := i % 2
		s.Features = append(s.Features, float32(3*c)+float32(r.NormFloat64()), float32(r.NormFloat64()))
		s.Labels = append(s.Labels, int32(c))
	}
	s.Labels[0] = 2
	n := netOn(t, s, nil, 3, "softmax")
	o, err := n.confident(context.Background(), s.Labels, nil, 4, 200, 1, func(int) {})
	require.NoError(t, err)
	require.True(t, o.found[0])
	for i, c := range o.confident {
		require.NotEqualValues(t, 2, c, "row %d", i)
	}
	require.Less(t, o.wrong, 20.0)
}

// The joint by hand: limits are the mean probabilities of their classes; row 2, given 0, reaches only the limit of 1.
func TestConfidentCounts(t *testing.T) {
	o := &outOfFold{judgement: judgement{label: []int32{0, 0, 1, 1, 1, 0}, confident: []int32{0, -1, 1, 1, 1, 0}}}
	labels := []int32{0, 0, 0, 1, 1, 1}
	o.count(labels, []float64{3, 3})
	require.Equal(t, []bool{false, false, true, false, false, true}, o.found)
	require.InDelta(t, 3*1.0/2+3*1.0/3, o.wrong, 1e-12,
		"rows without a confident label count as the others of their class do")
	require.Equal(t, []int32{0, 1, 3, 4}, o.keeps())
}

// confident against plain loops over the probabilities of its own models: each row's confident label is the most
// probable one among those that reach the mean probability of their class.
func TestConfidentLabelsReachTheirLimits(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	s := randomSet(r, 60, 3, 3)
	n := netOn(t, s, s, 3, "softmax")
	y := make([]float64, n.start.Size())
	for i := range y {
		y[i] = r.NormFloat64()
	}
	limits := []float64{0.5, 0.3, 0.6}
	j, err := n.judge(context.Background(), n.rows.train, y, &second{limits: limits})
	require.NoError(t, err)
	none := 0
	for i := range s.Labels {
		p, want, best := probabilities(s, 3, y, i), int32(-1), 0.0
		for c, v := range p {
			if v >= limits[c] && v > best {
				want, best = int32(c), v
			}
		}
		if want < 0 {
			none++
		}
		require.Equal(t, want, j.confident[i])
		require.InDelta(t, p[s.Labels[i]], j.given(i), 1e-12)
	}
	require.Positive(t, none)
}

func TestFoldsDivideEveryClass(t *testing.T) {
	labels := make([]int32, 43)
	for i := range labels {
		labels[i] = int32(i % 4)
	}
	all := folds(labels, 4, 3, 1)
	require.Len(t, all, fewFolds)
	held := map[int32]int{}
	for _, f := range all {
		require.Len(t, f.use, len(labels)-len(f.hold))
		counts := [4]int{}
		for _, i := range f.hold {
			held[i]++
			counts[labels[i]]++
			require.NotContains(t, f.use, i)
		}
		for _, c := range counts {
			require.InDelta(t, 10.0/fewFolds, float64(c), 1)
		}
	}
	require.Len(t, held, 40, "provisional rows never judge")
	for _, times := range held {
		require.Equal(t, 1, times)
	}
	require.Len(t, folds(make([]int32, oneSplit), 1, 0, 1), 1)
}

// --weights plain is the form of earlier versions: figures and order of suspects are those that they gave.
func TestPlainKeepsItsFigures(t *testing.T) {
	c := Defaults(digits(t), 300)
	text, err := os.ReadFile(filepath.Join("testdata", "plain.json"))
	require.NoError(t, err)
	var want struct {
		TestError float64 `json:"test_error"`
		ValLoss   float64 `json:"val_loss"`
		AUC       float64 `json:"auc"`
		Baselines map[string]any
		Rows      []int
		Weights   []float64
	}
	require.NoError(t, json.Unmarshal(text, &want))
	run := mustClean(t, c, ref.New(), digits(t), 4)
	require.InDelta(t, want.TestError, run.Scalars["test_error"], 1e-5)
	require.InDelta(t, want.ValLoss, run.Scalars["val_loss"], 1e-5)
	require.InDelta(t, want.AUC, run.Scalars["auc"], 1e-5)
	for name, e := range want.Baselines {
		if v, ok := e.(float64); ok {
			require.InDelta(t, v, run.Scalars["baselines."+name], 1e-5)
		}
	}
	suspects := run.Tables[0].Rows
	require.Len(t, suspects, len(want.Rows))
	for k, row := range suspects {
		require.Equal(t, want.Rows[k], atoi(t, row[0]), "place %d", k)
	}
	got := weights(run)
	slices.Sort(got)
	require.InDeltaSlice(t, want.Weights, got, 1e-5)
}

func TestPlainWarnsOfRowsNeverDrawn(t *testing.T) {
	c := small()
	c.Iterations = 60 // 3,840 draws of 600 rows: e^-6.4 of them, about one, are never drawn
	require.Len(t, mustClean(t, c, cpudevice.New(1), digits(t), 1).Warnings, 1)
	c.Iterations = 10
	require.Contains(t, mustClean(t, c, cpudevice.New(1), digits(t), 1).Warnings[0],
		"about 206 of the 600 training rows were never drawn")
	c.Iterations = 80
	require.Empty(t, mustClean(t, c, cpudevice.New(1), digits(t), 1).Warnings)
}

func TestMemoryIsLookedAtBeforeTheStart(t *testing.T) {
	require.NoError(t, fits(1<<20, 12<<20))
	require.ErrorContains(t, fits(1<<30, 12<<30-1),
		"would need about 12.0 GiB of memory beside what it holds, and 12.0 GiB are free")
	require.NoError(t, fits(1<<40, 0), "nobody knows what is free")
}

// A control that is as good within the standard error is named; one that is clearly worse is not, and one that is
// clearly better gives the ranking.
func TestControlsThatAreAsGood(t *testing.T) {
	sure := func(name string, wrong int) *control {
		h := &held{name: name}
		for i := range 100 {
			loss, w := 0.1, 0.0
			if i < wrong {
				loss, w = 2, 1
			}
			h.rows, h.loss = append(h.rows, int32(i)), append(h.loss, loss)
			h.wrong, h.label = append(h.wrong, w), append(h.label, 0)
		}
		return &control{name: name, title: name, held: h, judged: &judgement{}}
	}
	for _, c := range []struct {
		wrong  int
		warned bool
		method string
	}{{10, true, "run"}, {30, false, "run"}, {2, false, "other"}} {
		g := &guided{r: experiments.NewRecord()}
		end := &ending{method: "run", held: sure("run", 10).held}
		g.decide(end, []*control{sure("other", c.wrong)})
		require.Equal(t, c.method, end.method, c.wrong)
		require.Equal(t, c.warned, len(g.r.Warnings) > 0, c.wrong)
	}
}

// The certificate of a round: asked for or cheap, of the table's problem only, with an error below the hypergradient's
// norm.
func TestGuidedCertificate(t *testing.T) {
	set, err := data.Open("digits", nil)
	require.NoError(t, err)
	for _, c := range []struct {
		form, model string
		asked       bool
		certified   bool
	}{
		{formTable, "softmax", false, true}, {formTable, "mlp:64", false, false}, {formTable, "mlp:64", true, true},
		{formNone, "softmax", true, false},
	} {
		config := guidedConfig(c.form, c.model)
		config.Certificate, config.Iterations = c.asked, 30
		if c.certified && c.model == "softmax" {
			config.Iterations = 300 // before, the lower level is so far from solved that the error exceeds the norm
		}
		dev := cpudevice.New(1)
		records, err := experiments.Run(t.Context(), dev, experiments.Env{Data: set}, Experiment{Guided: true},
			experiments.SeedCells("clean", config, []uint64{1}), nil, experiments.Hooks{})
		require.NoError(t, err)
		require.NoError(t, dev.Close())
		r := records[0]
		require.Equal(t, c.certified, r.Certificate != nil, c)
		if c.certified && c.model == "softmax" {
			require.Len(t, r.Certificate.Gradient, 100)
			require.Less(t, r.Scalars["hypergradient.error"], r.Scalars["hypergradient.norm"])
		}
		if c.asked && !c.certified {
			require.NotEmpty(t, r.Warnings)
		}
	}
}

// A convolutional network judges labels of images, where it is asked for by its name, and nothing else.
func TestGuidedByLeNet(t *testing.T) {
	c := guidedConfig(formNone, "lenet")
	c.Train, c.Val, c.Iterations, c.Batch = 300, 150, 60, 6
	run := guidedRun(t, c, cpudevice.New(1), digits(t), 1)
	require.Greater(t, run.Scalars["auc"], 0.9)
	require.Equal(t, "lenet", run.Texts["model"])
	for _, s := range (Config{Model: Auto}).specs() {
		require.NotEqual(t, "lenet", s.name)
	}
	set := digits(t)
	set.Shape = []int{64}
	dev := cpudevice.New(1)
	_, err := experiments.Run(context.Background(), dev, experiments.Env{Data: set}, Experiment{Guided: true},
		experiments.SeedCells("clean", c, []uint64{1}), nil, experiments.Hooks{})
	require.ErrorContains(t, err, "the model lenet is for images: the rows of digits have the shape [64]")
	require.NoError(t, dev.Close())
}
