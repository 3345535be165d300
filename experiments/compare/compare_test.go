package compare

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"testing"

	"bilevel/data"
	"bilevel/device/null"
	"bilevel/device/open"
	"bilevel/experiments"
	"bilevel/experiments/experimentstest"
	"bilevel/internal/philox"
	"bilevel/solvers"
	"bilevel/solvers/problem"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
)

// runOn does a cell on a device, with a store where it is to be kept. stopAt stops it when it has told of progress so
// often.
func runOn(t *testing.T, name string, c Config, set *data.Dataset, store *experiments.Store, stopAt int) (
	*experiments.Record, error) {
	t.Helper()
	dev, err := open.Open(name, open.Options{Threads: 1})
	require.NoError(t, err)
	defer dev.Close()
	cells, err := Experiment{}.Cells(c, []uint64{3})
	require.NoError(t, err)
	one := experimentstest.Run{Device: dev, Experiment: Experiment{}, Cell: cells[0], Data: set}
	return one.Attempt(t, store, stopAt)
}

func run(t *testing.T, c Config) *experiments.Record {
	t.Helper()
	r, err := runOn(t, "ref", c, nil, nil, 0)
	require.NoError(t, err)
	return r
}

// On Q1 every method's limit is known in closed form: h is smallest at 1/2, where SOBA ends. F2SA with the multiplier λ
// ends at λ/(1+2λ), V-PBGD with the penalty γ at γ/(1+2γ); a penalty that is ten times as large is about ten times as
// near. Plain alternation ends at 0. The steps contract by a constant factor in each iteration, so that after 4,000 of
// them round-off is what is left.
func TestOrderOnAProblemInClosedForm(t *testing.T) {
	distance := func(algorithm string, set ...string) float64 {
		c := Config{Problem: "scalar", Algorithm: algorithm, Iterations: 4000, Records: 1,
			Set: append([]string{"schedule=constant", "outer_step=0.05"}, set...)}
		return run(t, c).Scalars["distance"]
	}
	soba := distance("soba", "step=0.2")
	weak, strong := distance("f2sa", "z_step=0.2", "y_step=0.02", "multiplier=10"),
		distance("f2sa", "z_step=0.2", "y_step=0.002", "multiplier=100")
	require.InDelta(t, 0, soba, 1e-12)
	require.InDelta(t, 0.5-10.0/21, weak, 1e-9)
	require.InDelta(t, 0.5-100.0/201, strong, 1e-9)
	penalty := distance("v-pbgd", "z_step=0.2", "y_step=0.2", "penalty=10", "outer_step=0.2")
	require.InDelta(t, 0.5-10.0/21, penalty, 1e-9)
	require.InDelta(t, 0.5, distance("alternation", "step=0.2"), 1e-9)
}

// A run has as many iterations as its budget of oracle calls allows and not one more, and minibatches of rows count,
// too, where an algorithm passes over all rows.
func TestBudgetsAreEqual(t *testing.T) {
	const budget = 600
	for _, name := range []string{"soba", "aid-bio", "bsa", "srba", "vrbo", "f2sa", "saba"} {
		c := Config{Problem: "finite-sum", Algorithm: name, Calls: budget, Records: 7, StepFactor: 0.1,
			OuterFactor: 0.1}
		r := run(t, c)
		n := int(r.Counts["iterations"])
		require.Greater(t, n, 1, name)
		spent := func(iterations int) float64 {
			c.Iterations = iterations
			counts := run(t, c).Counts
			calls := counts["oracle.lower_gradients"] + counts["oracle.upper_gradients"] + counts["oracle.hvp"] +
				counts["oracle.jvp"] + counts["oracle.values"]
			return max(float64(calls), float64(counts["oracle.samples"])/sampledRows)
		}
		require.LessOrEqual(t, spent(n), float64(budget), name)
		require.Greater(t, spent(n+1), float64(budget), name)
		require.Equal(t, spent(n), r.Scalars["calls"], name)
	}
}

// Where an algorithm works to a tolerance, what its iterations cost is not known before: such a run ends with the last
// record that the budget pays.
func TestBudgetsOfAlgorithmsWithTolerances(t *testing.T) {
	for _, name := range []string{"hoag", "shine"} {
		c := Config{Problem: "quadratic", Algorithm: name, Calls: 3000, Records: 60, StepFactor: 1, OuterFactor: 1}
		r := run(t, c)
		require.LessOrEqual(t, r.Scalars["calls"], 3000.0, name)
		require.Greater(t, r.Scalars["calls"], 1000.0, name)
		c.Iterations = int(r.Counts["iterations"])
		require.InDelta(t, run(t, c).Scalars["gap"], r.Scalars["gap"], 1e-12, name)
		require.Equal(t, run(t, c).Scalars["calls"], r.Scalars["calls"], name)
	}
}

// The factors multiply the steps that the algorithm chose, and nothing else.
func TestFactors(t *testing.T) {
	c := Config{Problem: "quadratic", Algorithm: "stocbio", Iterations: 1, Records: 1}
	one := run(t, c).Scalars
	c.StepFactor, c.OuterFactor = 0.5, 3
	other := run(t, c).Scalars
	require.InEpsilon(t, 0.5*one["settings.step"], other["settings.step"], 1e-12)
	require.InEpsilon(t, 3*one["settings.outer_step"], other["settings.outer_step"], 1e-12)
	require.Equal(t, one["settings.neumann_step"], other["settings.neumann_step"])
}

// A cell gives the same bits again, also where it was stopped again and again and went on.
func TestTheSameBits(t *testing.T) {
	c := Config{Problem: "finite-sum", Algorithm: "soba", Iterations: 3000, Records: 30}
	dev, err := open.Open("cpu", open.Options{Threads: 1})
	require.NoError(t, err)
	defer dev.Close()
	cells, err := Experiment{}.Cells(c, []uint64{3})
	require.NoError(t, err)
	whole := experimentstest.Run{Device: dev, Experiment: Experiment{}, Cell: cells[0]}.SameBits(t, 5)
	require.Len(t, whole.Curve.Rows, 31)
	again, err := runOn(t, "cpu", c, nil, nil, 0)
	require.NoError(t, err)
	require.Equal(t, experimentstest.Untimed(whole), experimentstest.Untimed(again))
}

// Step sizes that suit the problem are measured once for all cells of a seed, whatever their algorithm: what a cell
// takes is what the one before it left.
func TestStepSizesAreShared(t *testing.T) {
	c := Config{Problem: "quadratic", Algorithm: "soba", Iterations: 2, Records: 1}
	alone := run(t, c)
	store := &experiments.Store{Dir: t.TempDir(), Share: true}
	first, err := runOn(t, "ref", c, nil, store, 0)
	require.NoError(t, err)
	require.Equal(t, alone.Scalars["settings.step"], first.Scalars["settings.step"])
	files, err := filepath.Glob(filepath.Join(store.Dir, "shared", "*"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	left, err := experiments.ReadCheckpoint(files[0])
	require.NoError(t, err)
	left.Snapshot.Arrays["scale"][0] *= 2
	require.NoError(t, left.Write(files[0]))
	c.Algorithm, c.StepFactor, c.Iterations = "aid-bio", 0.5, 3
	second, err := runOn(t, "ref", c, nil, store, 0)
	require.NoError(t, err)
	require.Equal(t, alone.Scalars["settings.step"], second.Scalars["settings.step"], "twice as much, halved")
}

// A run that diverges is a record with what it measured before, and a warning.
func TestRunsThatDiverge(t *testing.T) {
	r := run(t, Config{Problem: "quadratic", Algorithm: "soba", Iterations: 2000, Records: 1000, StepFactor: 50})
	require.True(t, r.Flags["diverged"])
	require.True(t, math.IsNaN(r.Scalars["gap"]))
	require.NotEmpty(t, r.Curve.Rows)
	require.Less(t, len(r.Curve.Rows), 1000)
	require.Contains(t, r.Warnings[0], "the run diverged between iteration")
	require.Positive(t, r.Counts["oracle.hvp"])
}

// A target is reached where the squared hypergradient stays at most that: a run that passes a saddle point has not come
// there, and one that ends above it has never been there.
func TestTarget(t *testing.T) {
	r := experiments.NewRecord()
	r.Curve.Columns = []string{"iteration", "seconds", "calls", "gradient"}
	r.Curve.Rows = [][]float64{{0, 0, 0, 1}, {5, 0.5, 20, 0.01}, {10, 1, 40, 1}, {15, 1.5, 60, 0.1}, {20, 2, 80, 0.02}}
	Config{Target: 0.02}.reach(r)
	require.Equal(t, 1.0, r.Scalars["target.reached"])
	require.Equal(t, 15.0, r.Scalars["target.iterations"])
	require.Equal(t, 60.0, r.Scalars["target.calls"])
	require.Equal(t, 1.5, r.Scalars["target.seconds"])
	Config{Target: 0.0002}.reach(r)
	require.Zero(t, r.Scalars["target.reached"])
	require.True(t, math.IsNaN(r.Scalars["target.calls"]), "known to be none")
}

// Each point of each run is a row of CSV; the measures are squared where benchmark_bilevel squares them.
func TestBenchmarkCSV(t *testing.T) {
	c := Config{Problem: "scalar", Algorithm: "soba", Iterations: 40, Records: 4, StepFactor: 1, OuterFactor: 0.5}
	r := run(t, c)
	var b bytes.Buffer
	require.NoError(t, WriteBenchmark(&b, []Run{{c, r}, {c, r}}))
	rows, err := csv.NewReader(&b).ReadAll()
	require.NoError(t, err)
	require.Len(t, rows, 1+2*len(r.Curve.Rows))
	at := map[string]int{}
	for j, name := range rows[0] {
		at[name] = j
	}
	for i, row := range r.Curve.Rows {
		line := rows[1+i]
		number := func(name string) float64 {
			v, err := strconv.ParseFloat(line[at[name]], 64)
			require.NoError(t, err, name)
			return v
		}
		require.Equal(t, "soba[outer_factor=0.5,random_state=3,step_factor=1]", line[at["solver_name"]])
		require.Equal(t, "scalar", line[at["data_name"]])
		require.Equal(t, "0", line[at["idx_rep"]], "a seed is a setting of the solver")
		require.Equal(t, float64(i), number("stop_val"), "the number of the evaluation")
		require.Equal(t, row[0], number("iterations"))
		require.Equal(t, row[1], number("time"))
		require.Equal(t, row[6]*row[6], number("objective_value"), r.Curve.Columns)
		require.Equal(t, row[4], number("objective_value_func"))
		require.Equal(t, row[7]*row[7], number("objective_inner_distance"))
		require.Empty(t, line[at["objective_test_accuracy"]])
	}
}

// What a problem refuses is told in a sentence, for each algorithm, without any of them running.
func TestTheFirstBadSettingIsNamed(t *testing.T) {
	c := Config{Problem: "scalar", Algorithm: "soba", Calls: 100, Records: 1,
		StepFactor: -1, Reg: -1, Batch: -1, Val: -1}
	for range 20 {
		require.ErrorContains(t, Experiment{}.Check(c), "step_factor is -1")
	}
}

func TestRefusals(t *testing.T) {
	ex := tensor.NewExecutor(null.New())
	defer ex.Close()
	c := Config{Problem: "waves", Algorithm: "soba", Calls: 100, Records: 1}
	refused, err := Refusals(t.Context(), ex, c, nil, []string{"soba", "bda", "sbfw"})
	require.NoError(t, err)
	require.Contains(t, refused["soba"], "soba: the problem waves keeps y in a set, which this algorithm cannot use")
	c.Problem, c.Calls = "scalar", 3
	refused, err = Refusals(t.Context(), ex, c, nil, []string{"soba", "alternation", "sbfw"})
	require.NoError(t, err)
	require.Equal(t, "one iteration takes 4 oracle calls and the budget is 3: allow more calls", refused["soba"])
	require.Contains(t, refused["sbfw"], "has no set of x")
	require.NotContains(t, refused, "alternation")
}

func TestSettingsRefused(t *testing.T) {
	good := Config{Problem: "scalar", Algorithm: "soba", Calls: 10, Records: 1}
	require.NoError(t, Experiment{}.Check(good))
	for want, change := range map[string]func(*Config){
		`did you mean "scalar"?`:                func(c *Config) { c.Problem = "scalr" },
		`did you mean "soba"?`:                  func(c *Config) { c.Algorithm = "sobaa" },
		"calls 0, iters 0 and records 1":        func(c *Config) { c.Calls = 0 },
		"calls 10, iters 0 and records 0":       func(c *Config) { c.Records = 0 },
		"step_factor is -1: wants a positive":   func(c *Config) { c.StepFactor = -1 },
		"outer_factor is NaN: wants a positive": func(c *Config) { c.OuterFactor = math.NaN() },
		"corrupt is 2: wants a probability":     func(c *Config) { c.Corrupt = 2 },
		"batch is -3: wants a positive":         func(c *Config) { c.Batch = -3 },
		`soba has no setting "stepp"`:           func(c *Config) { c.Set = Assignments{"stepp=1"} },
	} {
		c := good
		change(&c)
		require.ErrorContains(t, Experiment{}.Check(c), want)
	}
	_, err := runOn(t, "ref", Config{Problem: "finite-sum", Algorithm: "soba", Calls: 10, Records: 1, Batch: 50}, nil,
		nil, -1)
	require.ErrorContains(t, err, "batch is 50 and the lower level has 12 rows")
}

// someRows are rows of two classes with a few features, the same for every test.
func someRows(n, test, dim int) *data.Dataset {
	make := func(n int, step uint32) *data.Set {
		s := &data.Set{Features: make([]float32, n*dim), Labels: make([]int32, n), Dim: dim}
		philox.Normals(s.Features, 7, step, philox.StreamInit, 0)
		for i := range s.Labels {
			if s.Features[i*dim]+0.5*s.Features[i*dim+1] > 0.3*float32(i%5-2) {
				s.Labels[i] = 1
			}
		}
		return s
	}
	return &data.Dataset{Name: "rows", Train: make(n, 0), Test: make(test, 1), Classes: 2, Shape: []int{dim}}
}

// The measures of a regularization problem: differences of h along each coordinate have the norm that is measured for
// its gradient. In float64 Newton's method solves to about 1e-15, an error that h has, too, so that round-off in
// differences over 2e-3 is near 1e-12; what they leave out is a third derivative, at most 1 here, over 6 times 1e-6.
func TestMeasuresOfRegularization(t *testing.T) {
	dev, err := open.Open("ref", open.Options{})
	require.NoError(t, err)
	defer dev.Close()
	ex := tensor.NewExecutor(dev)
	defer ex.Close()
	c := Config{Problem: "ijcnn1", Algorithm: "soba", Calls: 10, Records: 1, Batch: 4, Val: 20, Reg: 0.3}
	task, err := openRegularization(ex, c, someRows(40, 30, 3), 1)
	require.NoError(t, err)
	require.Equal(t, []string{"value", "gradient", "inner_distance", "test_error"}, task.columns)
	x := []float64{-1, 0.2, -2}
	at := func(x []float64) []float64 {
		v, err := task.measure(t.Context(), x, make([]float64, 3))
		require.NoError(t, err)
		return v
	}
	here, square := at(x), 0.0
	for i := range x {
		const step = 1e-3
		moved := func(by float64) float64 {
			z := append([]float64{}, x...)
			z[i] += by
			return at(z)[0]
		}
		slope := (moved(step) - moved(-step)) / (2 * step)
		square += slope * slope
	}
	require.InDelta(t, math.Sqrt(square), here[1], 1e-6)
	c.Reg = 0
	plain, err := openRegularization(ex, c, someRows(40, 30, 3), 1)
	require.NoError(t, err)
	loss, err := plain.measure(t.Context(), x, make([]float64, 3))
	require.NoError(t, err)
	require.InDelta(t, 0.15*(1+0.04+4), here[0]-loss[0], 1e-12)
	require.Greater(t, here[2], 0.1, "0 is not y*(x)")
	require.True(t, here[3] >= 0 && here[3] <= 1)
	require.Equal(t, 40, task.problem.Lower.Rows.Count())
	require.Equal(t, 20, task.problem.Upper.Rows.Count())
}

// On data, algorithms with tables of fixed minibatches see the same rows as all others, and errors name the setting.
func TestRowsOfData(t *testing.T) {
	set := someRows(43, 30, 3)
	ex := tensor.NewExecutor(null.New())
	defer ex.Close()
	for _, name := range []string{"soba", "saba"} {
		c := Config{Problem: "ijcnn1", Algorithm: name, Calls: 10, Records: 1, Batch: 8}
		task, err := openRegularization(ex, c, set, 1)
		require.NoError(t, err)
		require.Equal(t, 40, task.problem.Lower.Rows.Count())
		require.Equal(t, 24, task.problem.Upper.Rows.Count())
		_, slotted := task.problem.Lower.Sampler.(problem.Slotted)
		require.Equal(t, name == "saba", slotted)
	}
	for want, c := range map[string]Config{
		"train is 50, val is 30":   {Train: 50},
		"train is 43, val is 31":   {Val: 31},
		"batch 64: wants at least": {},
	} {
		c.Problem, c.Algorithm = "ijcnn1", "soba"
		c.Batch = max(c.Batch, map[bool]int{true: 8, false: 64}[c.Train+c.Val > 0])
		_, err := openRegularization(ex, c, set, 1)
		require.ErrorContains(t, err, want)
	}
	set.Classes = 3
	_, err := openRegularization(ex, Config{Algorithm: "soba"}, set, 1)
	require.ErrorContains(t, err, "has 3 classes: logistic regression wants 2")
}

// Hyper-cleaning on the embedded digits: the measures fall, and are errors between 0 and 1.
func TestCleaningOfDigits(t *testing.T) {
	set, err := data.Open("digits", nil)
	require.NoError(t, err)
	c := Config{Problem: "digits-clean", Algorithm: "soba", Iterations: 300, Records: 3}
	r, err := runOn(t, "cpu", c, set, nil, 0)
	require.NoError(t, err)
	first, last := r.Curve.Rows[0], r.Curve.Rows[len(r.Curve.Rows)-1]
	require.Equal(t, []string{"value", "val_error", "test_error"}, r.Curve.Columns[4:])
	require.InDelta(t, math.Log(10), first[4], 1e-6, "a model of zeros gives each class the same probability")
	require.Less(t, last[4], first[4])
	require.Less(t, last[6], 0.5)
	require.Equal(t, 300.0*128, last[3])
}

// Every problem that is listed opens and every algorithm is asked about it.
func TestEveryProblem(t *testing.T) {
	var algorithms []string
	for _, e := range solvers.Algorithms() {
		algorithms = append(algorithms, e.Name())
	}
	for _, p := range Problems() {
		if p.Data != "" {
			continue
		}
		ex := tensor.NewExecutor(null.New())
		c := Config{Problem: p.Name, Algorithm: "soba", Calls: 2000, Records: 1}
		refused, err := Refusals(t.Context(), ex, c, nil, algorithms)
		require.NoError(t, err, p.Name)
		for name, why := range refused {
			require.NotEmpty(t, why, fmt.Sprint(p.Name, name))
		}
		require.NoError(t, ex.Close())
	}
}

// With Tune "bisls" the steps are those that were measured times what line searches find, the same again, and an
// algorithm that runs with them comes to the solution. A problem that BiSLS cannot use says so at once.
func TestTuneByBiSLS(t *testing.T) {
	c := Config{Problem: "quadratic", Algorithm: "soba", Iterations: 2000, Records: 1}
	one := run(t, c).Scalars
	c.Tune = "bisls"
	other := run(t, c).Scalars
	t.Logf("steps %.4g and %.4g, found %.4g and %.4g; gap %.3g, then %.3g", one["settings.step"],
		one["settings.outer_step"], other["settings.step"], other["settings.outer_step"], one["gap"], other["gap"])
	require.NotEqual(t, one["settings.step"], other["settings.step"])
	require.Equal(t, other["settings.step"], run(t, c).Scalars["settings.step"])
	require.Less(t, other["gap"], 1e-2)

	ex := tensor.NewExecutor(null.New())
	defer ex.Close()
	c.Problem = "waves"
	_, err := Refusals(t.Context(), ex, c, nil, []string{"v-pbgd"})
	require.ErrorContains(t, err, "tune is bisls, which the problem refuses: bisls: the problem waves keeps y in a set")
	c.Tune = "line"
	require.ErrorContains(t, Experiment{}.Check(c), `tune is "line": wants scale`)
}

// The worst of several objectives, and blocks that are drawn: both algorithms come near the solution, which is measured
// in float64 with the best of the further variable, and all others refuse the problems.
func TestProblemsWithAFurtherVariable(t *testing.T) {
	worst := run(t, Config{Problem: "worst", Algorithm: "morbit", Iterations: 500, Records: 1})
	require.Less(t, worst.Scalars["distance"], 0.05)
	require.Less(t, worst.Scalars["gap"], 0.05)
	duals := run(t, Config{Problem: "duals", Algorithm: "mmb", Iterations: 4000, Records: 1})
	require.Less(t, duals.Scalars["distance"], 0.05)
	t.Logf("worst: %.4f from the solution; duals: %.4f", worst.Scalars["distance"], duals.Scalars["distance"])
	ex := tensor.NewExecutor(null.New())
	defer ex.Close()
	var all []string
	for _, e := range solvers.Algorithms() {
		all = append(all, e.Name())
	}
	c := Config{Problem: "duals", Algorithm: "mmb", Calls: 1000, Records: 1}
	refused, err := Refusals(t.Context(), ex, c, nil, all)
	require.NoError(t, err)
	require.Len(t, refused, len(all)-2)
	require.Contains(t, refused["soba"], "maximizes its upper objective over a further variable")
}
