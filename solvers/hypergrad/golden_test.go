package hypergrad_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"bilevel/solvers/hypergrad"
	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
)

// The golden hypergradients are those of public implementations, and of dense float64 computations, on problems P1
// (quadratic) and P2 (logistic regression with a weight for each coefficient). BILEVEL_GOLDEN names a directory with
// files of the same format for other problems and points.

// goldenFile is a file of hypergradients; a point has more fields, whose names hold the settings.
type goldenFile struct {
	Problem string
	Points  []map[string]json.RawMessage
}

func goldenDirectory() string {
	return cmp.Or(os.Getenv("BILEVEL_GOLDEN"), filepath.Join("..", "solvertest", "testdata", "golden"))
}

func readGolden(t *testing.T, file string, into any) {
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, into), file)
}

// goldenProblem puts the problem of a name on an executor.
func goldenProblem(t *testing.T, ex *tensor.Executor, name string) *problem.Problem {
	text, err := os.ReadFile(filepath.Join(goldenDirectory(), "problems.json"))
	require.NoError(t, err)
	all, err := solvertest.ReadGolden(text)
	require.NoError(t, err)
	require.Contains(t, all, name)
	return load(t, ex, all[name])
}

// on computes a hypergradient at a point.
func on(t *testing.T, ex *tensor.Executor, p *problem.Problem, m hypergrad.Method, x, y []float64,
) *hypergrad.Hypergradient {
	h, err := hypergrad.OnExecutor(context.Background(), ex, p, m, problem.Vector(x...), problem.Vector(y...))
	require.NoError(t, err)
	return h
}

// goldenTolerance is the deviation that is asked for, relative to the largest element.
const goldenTolerance = 1e-9

func closeTo(t *testing.T, want, got []float64, tolerance float64, what string) {
	require.Len(t, got, len(want), what)
	size := 0.0
	for _, w := range want {
		size = max(size, w, -w)
	}
	for i := range want {
		require.InDelta(t, want[i], got[i], tolerance*size, "%s, element %d of %v", what, i, got)
	}
}

// number is the number in a field's name, as in one_step_0.1.
func number(t *testing.T, text string) float64 {
	v, err := strconv.ParseFloat(text, 64)
	require.NoError(t, err)
	return v
}

// recorded recognizes fields of a point by their names, and gives the method whose result they hold.
type recorded struct {
	name *regexp.Regexp
	// start says where the method is given its y: at y = 0, at the y of the object that the field is in, or at y*.
	start string
	of    func(settings []float64) hypergrad.Method
}

func at(name, start string, of func([]float64) hypergrad.Method) recorded {
	return recorded{regexp.MustCompile("^(?:" + name + ")$"), start, of}
}

// solvedBy is the implicit hypergradient by a solver for H v = ∇yF.
func solvedBy(of func(s []float64) linear.Solver) func([]float64) hypergrad.Method {
	return func(s []float64) hypergrad.Method { return hypergrad.Implicit{Solver: of(s)} }
}

// The public implementations count the terms of Neumann's series, and name what they compute, each in its own way:
// fixed_point_5 is v after five steps v -= 0.1 (H v - b) from 0, the sum of five terms, and so is what others call four
// iterations; darts and sama replace H by I, in differences of gradients.
var goldenMethods = func() []recorded {
	steps := hypergrad.GradientSteps{Step: 0.1} // of every recorded path
	truncated := func(t, k float64) hypergrad.Method {
		return hypergrad.Truncated{Inner: steps, Steps: int(t), Last: int(k)}
	}
	dense := solvedBy(func([]float64) linear.Solver { return linear.CG{RTol: 1e-15, MaxSteps: 100, FromZero: true} })
	fiveTerms := solvedBy(func([]float64) linear.Solver { return linear.Neumann{Step: 0.1, Terms: 4} })
	identity := solvedBy(func([]float64) linear.Solver { return linear.ScaledIdentity{} })
	return []recorded{
		at("hypergradient", "y*", dense),
		at("dense|cg_converged_tol_0|custom_root_inv", "y", dense),
		at("neumann_5_step_0.1|fixed_point_5|neumann_4|neumann_iterations_4_alpha_0.1|neumann_k_4|"+
			"custom_root_ns_maxiter_4_alpha_0.1|stoch_aid_(?:map|loss)_(?:5_from_zero|4_default_start)",
			"y", fiveTerms),
		at("(?:custom_root_)?cg_(?:k_)?([0-9]+)(?:_alpha_1)?", "y", solvedBy(func(s []float64) linear.Solver {
			return linear.CG{MaxSteps: int(s[0]), FromZero: true}
		})),
		at("(?:cg_normaleq|custom_root_normal_cg)_([0-9]+)", "y", solvedBy(func(s []float64) linear.Solver {
			return normalCG{int(s[0])}
		})),
		at("(?:darts|sama_sgd)_alpha_0.01", "y", identity),
		at("one_step_([0-9.]+)", "y", func(s []float64) hypergrad.Method {
			return hypergrad.OneStep{Inner: hypergrad.GradientSteps{Step: s[0]}}
		}),
		at("(?:unrolled|reverse|reverse_unroll)_([0-9]+)", "0", func(s []float64) hypergrad.Method {
			return hypergrad.Unrolled{Inner: steps, Steps: int(s[0])}
		}),
		at("unrolled_([0-9]+)_last_([0-9]+)", "0", func(s []float64) hypergrad.Method {
			return truncated(s[0], s[1])
		}),
		at("reverse_last_([0-9]+)", "0", func(s []float64) hypergrad.Method { return truncated(5, s[0]) }),
		at("gradient of penalty_([0-9.]+)", "0", func(s []float64) hypergrad.Method {
			return hypergrad.ValueFunction{Lambda: s[0]}
		}),
	}
}()

// noHypergradients are fields that hold something else: points, values, partial gradients, solutions v.
var noHypergradients = regexp.MustCompile(`^(x|y|y_star|h|G_star|[FG] of .*|grad_[xy]_[FG] of .*|y of .*|.*_v of .*|` +
	`y_lambda of .*|value of .*)$`)

// normalCG is conjugate gradients for H²v = Hb.
type normalCG struct{ steps int }

type normalSystem struct {
	linear.System // with H²
	b             *tensor.Variable
	multiply      *tensor.Function // the right-hand side H b
}

func (m normalCG) Class() linear.Class { return linear.Symmetric }
func (m normalCG) String() string {
	return fmt.Sprintf("%d steps of CG on the normal equations", m.steps)
}

func (m normalCG) Prepare(ex *tensor.Executor, a linear.Matrix) (linear.System, error) {
	s := &normalSystem{b: ex.Variable("b", tensor.Real, a.N)}
	twice := linear.Matrix{N: a.N, Apply: func(v *tensor.Node) *tensor.Node { return a.Apply(a.Apply(v)) }}
	var err error
	if s.System, err = (linear.CG{MaxSteps: m.steps, FromZero: true}).Prepare(ex, twice); err != nil {
		return nil, err
	}
	s.multiply, err = ex.Compile("H b", func() []tensor.Update {
		return []tensor.Update{{Var: s.System.RHS(), Value: a.Apply(s.b.Node())}}
	})
	return s, err
}

func (s *normalSystem) RHS() *tensor.Variable { return s.b }

func (s *normalSystem) Solve(ctx context.Context) (linear.Stats, error) {
	if err := s.multiply.Run(1); err != nil {
		return linear.Stats{}, err
	}
	return s.System.Solve(ctx)
}

// goldenField is a field of a point, under "name of object" where it is in one.
type goldenField struct {
	name, object string
	value        json.RawMessage
}

// fields are those of a point and of the objects in it.
func fields(point map[string]json.RawMessage, object string) (all []goldenField) {
	for _, name := range slices.Sorted(maps.Keys(point)) {
		var inner map[string]json.RawMessage
		if json.Unmarshal(point[name], &inner) == nil {
			all = append(all, fields(inner, name)...)
		} else {
			all = append(all, goldenField{name, object, point[name]})
		}
	}
	return all
}

func floatsOf(t *testing.T, raw json.RawMessage) (out []float64) {
	require.NoError(t, json.Unmarshal(raw, &out))
	return out
}

// compiled is a problem on an executor, with the methods that were asked for so far.
type compiled struct {
	ex      *tensor.Executor
	p       *problem.Problem
	methods map[string]*point
}

func (c *compiled) method(t *testing.T, m hypergrad.Method) *point {
	key := fmt.Sprintf("%T %+v", m, m)
	if c.methods[key] == nil {
		e := &point{t: t, x: c.ex.Variable("x", tensor.Real, c.p.Upper.Start.Size()),
			y: c.ex.Variable("y", tensor.Real, c.p.Lower.Start.Size())}
		var err error
		e.Estimator, err = m.Prepare(bind(t, c.ex, c.p), e.x, e.y)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, e.Close()) })
		c.methods[key] = e
	}
	return c.methods[key]
}

// Every recorded hypergradient is found again to 1e-9.
func TestGoldenHypergradients(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(goldenDirectory(), "hypergradients-*.json"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	slices.Sort(files) // the files of public results, which name the same points, come after those that have the points
	ys, problems := map[string][]float64{}, map[string]*compiled{}
	compared, seen := 0, map[*regexp.Regexp]bool{}
	for _, file := range files {
		var golden goldenFile
		readGolden(t, file, &golden)
		c := problems[golden.Problem]
		if c == nil {
			ex := executor(t)
			c = &compiled{ex: ex, p: goldenProblem(t, ex, golden.Problem), methods: map[string]*point{}}
			problems[golden.Problem] = c
		}
		for _, point := range golden.Points {
			x := floatsOf(t, point["x"])
			place := func(object string) string { return fmt.Sprint(golden.Problem, x, object) }
			all := fields(point, "")
			for _, f := range all {
				switch f.name {
				case "y_star":
					ys[place("at_y_star")] = floatsOf(t, f.value)
				case "y":
					ys[place(f.object)] = floatsOf(t, f.value)
				}
			}
			for _, f := range all {
				row, settings := recognize(t, f)
				if row == nil {
					continue
				}
				y := make([]float64, c.p.Lower.Start.Size())
				switch row.start {
				case "y":
					y = ys[place(f.object)]
				case "y*":
					y = ys[place("at_y_star")]
				}
				require.NotEmpty(t, y, "%s: the y of %s is not recorded", file, f.object)
				h := c.method(t, row.of(settings)).at(x, y)
				closeTo(t, floatsOf(t, f.value), h.Gradient, goldenTolerance, fmt.Sprint(file, f.name, f.object))
				seen[row.name] = true
				compared++
			}
		}
	}
	require.Positive(t, compared)
	t.Logf("%d hypergradients of %d files", compared, len(files))
	if os.Getenv("BILEVEL_GOLDEN") == "" { // another directory need not have all of them
		require.Len(t, seen, len(goldenMethods))
		require.GreaterOrEqual(t, compared, 300)
	}
}

// recognize finds the row of a field and the numbers in its name; no row where it holds no hypergradient. A field that
// nobody knows fails the test.
func recognize(t *testing.T, f goldenField) (*recorded, []float64) {
	full := f.name
	if f.object != "" {
		full += " of " + f.object
	}
	for i, row := range goldenMethods {
		for _, name := range []string{f.name, full} {
			texts := row.name.FindStringSubmatch(name)
			if texts == nil {
				continue
			}
			var settings []float64
			for _, text := range texts[1:] {
				settings = append(settings, number(t, text))
			}
			return &goldenMethods[i], settings
		}
	}
	require.Regexp(t, noHypergradients, full, "an unknown field")
	return nil, nil
}
