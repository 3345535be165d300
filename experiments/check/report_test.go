package check

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"

	"bilevel/device/cpudevice"
	"bilevel/device/ref"
	"bilevel/internal/testrun"
	"bilevel/solvers/hypergrad"
	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"
	"bilevel/tensor"
	"bilevel/tensor/tensortest"
)

func checked(t *testing.T, p Problem, opt Options) *Result {
	r, err := p.Report(context.Background(), tensortest.Executor(t, ref.New()), opt)
	require.NoError(t, err, p.Name)
	return r
}

// The differences of the value function agree with the closed form of every problem as well as they say, and no
// estimator is off by more than its own figure.
func TestProblems(t *testing.T) {
	for _, p := range Problems() {
		t.Run(p.Name, func(t *testing.T) {
			for seed := range testrun.Size[uint64](1, 2) {
				r := checked(t, p, Options{Seed: seed})
				c := p.New(seed)
				l, err := solvertest.Load(tensortest.Executor(t, ref.New()), c)
				require.NoError(t, err)
				_, want := c.Exact(l.Problem.Upper.Start.Flat)
				allowed := 10*r.Uncertainty + 1e-12*floats.Norm(want, 2)
				if p.Name == "flat" { // differences follow one of its lower minimizers, and not the optimistic one
					want = []float64{2*l.Problem.Upper.Start.Flat[0] - 1}
				}
				require.Less(t, floats.Distance(r.Gradient, want, 2), allowed, "seed %d", seed)
				require.Less(t, r.Uncertainty, 1e-6*(1+r.Size))
				require.Empty(t, r.Broken())
				require.NotEmpty(t, r.Rows)
				require.NotEmpty(t, r.Recommended, "some estimator applies to each of these problems")
			}
		})
	}
}

// On random problems the recommended estimator needs the fewest calls among those within twice the best error. The
// errors are measured here against closed forms, and not against the differences that the recommendation rests on. The
// first six problems have every kind, the first twelve every condition with it, and BILEVEL_LONG takes twenty.
func TestRecommendation(t *testing.T) {
	for seed := range testrun.Size[uint64](6, 20) {
		var c solvertest.Closed
		switch seed % 3 {
		case 0:
			c = solvertest.NewQuadratic(seed, 3, solvertest.Spectrum(8, math.Pow(10, 1+float64(seed%4))))
		case 1:
			c = solvertest.NewRidge(seed, 20, 10, 6)
		default:
			c = solvertest.NewCleaning(seed, 12, 10, 4, 3, 0.1)
		}
		one := Problem{"random", "", func(uint64) solvertest.Closed { return c }}
		r := checked(t, one, Options{Seed: seed})
		ex := tensortest.Executor(t, ref.New())
		l, err := solvertest.Load(ex, c)
		require.NoError(t, err)
		x := l.Problem.Upper.Start
		y, want := c.Exact(x.Flat)
		type cost struct {
			err   float64
			calls int64
		}
		costs := map[string]cost{}
		best := math.Inf(1)
		size := floats.Norm(want, 2)
		floor := r.Uncertainty * math.Sqrt(float64(len(want))) / size
		for _, e := range Estimators(l.Problem, Spectrum{float64(r.Smallest), float64(r.Largest)}, 0x1p-53) {
			if e.FromStart {
				continue
			}
			h, err := hypergrad.OnExecutor(context.Background(), ex, l.Problem, e.Method, x, problem.Vector(y...))
			if err != nil {
				continue // refused
			}
			off := max(floor, floats.Distance(h.Gradient, want, 2)/size)
			if math.IsNaN(off) {
				continue
			}
			costs[e.Label] = cost{off, h.Counts.Plus(h.ForError, -1).Calls()}
			best = min(best, off)
		}
		require.Greater(t, len(costs), 3)
		got, ok := costs[r.Recommended]
		require.True(t, ok, r.Recommended)
		// An error that lies at twice the best one falls on either side by rounding.
		require.LessOrEqual(t, got.err, 2*best*(1+1e-6), "seed %d: %s", seed, r.Recommended)
		for label, other := range costs {
			if other.err <= 2*best*(1-1e-6) {
				require.LessOrEqual(t, got.calls, other.calls, "seed %d: %s against %s", seed, r.Recommended, label)
			}
		}
	}
}

// With a tolerance the cheapest estimator within it is recommended.
func TestTolerance(t *testing.T) {
	rows := []Row{
		{Label: "exact", Error: 1e-12, Counts: problem.Counts{HVP: 20}},
		{Label: "near", Error: 1e-3, Counts: problem.Counts{HVP: 5}},
		{Label: "far", Error: 1, Counts: problem.Counts{HVP: 1}},
		{Label: "from the start", Error: 0, FromStart: true},
		{Label: "refused", Refused: "no"},
		{Label: "not a number", Error: Number(math.NaN())},
	}
	require.Equal(t, 0, recommended(rows, 1e-13))
	require.Equal(t, 1, recommended(rows, 1e-3))
	require.Equal(t, 2, recommended(rows, 1))
	require.Equal(t, -1, recommended(rows[3:], 1e-3))
}

// own is a problem without data whose parts are given: G(x, y) and F(x, y) of vectors.
func own(name string, x, y []float64, lower, upper func(x, y *tensor.Node) *tensor.Node) *problem.Problem {
	flat := func(f func(x, y *tensor.Node) *tensor.Node) problem.Function {
		return problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node { return f(x, y) })
	}
	return &problem.Problem{
		Name:  name,
		Lower: problem.Level{Start: problem.Vector(y...), Value: flat(lower)},
		Upper: problem.Level{Start: problem.Vector(x...), Value: flat(upper)},
	}
}

func half(n *tensor.Node) *tensor.Node { return n.Square().Sum().Scale(0.5) }

// What cannot be seen in a table is said in words.
func TestWords(t *testing.T) {
	follow := func(x, y *tensor.Node) *tensor.Node { return half(y.Sub(x)) }
	alone := func(x, y *tensor.Node) *tensor.Node { return half(y.AddConst(-1)) }
	boxed := own("boxed", []float64{1}, []float64{0}, follow, func(x, y *tensor.Node) *tensor.Node { return half(y) })
	boxed.Lower.Set = problem.Box{Lo: -1, Hi: 1}
	for _, c := range []struct {
		p    *problem.Problem
		want string
	}{
		{own("unmoved", []float64{0.5}, []float64{0}, alone, func(x, y *tensor.Node) *tensor.Node { return half(y) }),
			"truly zero: F does not depend on x, and y\\* does not move with x"},
		{own("stationary", []float64{1}, []float64{0}, follow, alone), "truly zero: F is stationary in x and in y"},
		{own("direct", []float64{0.5}, []float64{0}, alone, func(x, y *tensor.Node) *tensor.Node {
			return half(x.Sub(y))
		}),
			"y\\* does not move with x here"},
		{own("flat", []float64{0.5}, []float64{0, 0}, func(x, y *tensor.Node) *tensor.Node {
			return half(y.Slice(0, 0, 1).Sub(x))
		}, func(x, y *tensor.Node) *tensor.Node { return half(y.AddConst(-1)) }), "H is singular at y\\*"},
		{boxed, "h has a kink here"},
	} {
		r, err := Report(context.Background(), c.p, Options{})
		require.NoError(t, err, c.p.Name)
		var b bytes.Buffer
		require.NoError(t, r.Write(&b))
		require.Regexp(t, c.want, b.String(), c.p.Name)
	}
}

// Problems that cannot be solved, or not checked, are refused with the reason.
func TestRefusals(t *testing.T) {
	ctx := context.Background()
	line := own("line", []float64{1}, []float64{0}, func(x, y *tensor.Node) *tensor.Node { return y.Sum() },
		func(x, y *tensor.Node) *tensor.Node { return half(y) })
	_, err := Report(ctx, line, Options{})
	require.ErrorContains(t, err, "the lower level cannot be solved near its start values")
	_, err = Report(ctx, own("scalar", []float64{1}, []float64{0}, func(x, y *tensor.Node) *tensor.Node {
		return half(y.Sub(x))
	}, func(x, y *tensor.Node) *tensor.Node { return half(y) }), Options{X: []float64{1, 2}})
	require.ErrorContains(t, err, "the point has 2 upper variables, the problem scalar has 1")
	_, err = ByName("quadratik")
	require.ErrorContains(t, err, `did you mean "quadratic"?`)
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	p, err := ByName("cleaning")
	require.NoError(t, err)
	_, err = p.Report(ctx, tensortest.Executor(t, ref.New()), Options{})
	require.ErrorIs(t, err, context.Canceled)
}

// In float32 the estimators are as good as that arithmetic allows, and their figures say so.
func TestSinglePrecision(t *testing.T) {
	for _, name := range []string{"quadratic", "ridge", "cleaning"} {
		p, err := ByName(name)
		require.NoError(t, err)
		r, err := p.Report(context.Background(), tensortest.Executor(t, cpudevice.New(2)), Options{Seed: 1})
		require.NoError(t, err)
		require.Empty(t, r.Broken())
		at := slices.IndexFunc(r.Rows, func(row Row) bool { return row.Label == "implicit, CG to 1e-06" })
		require.GreaterOrEqual(t, at, 0)
		require.Less(t, float64(r.Rows[at].Error), 1e-4)
		require.Greater(t, float64(r.Rows[at].Figure), 1e-9, "a figure near float64's rounding would be a lie")
	}
}

// Many upper variables are checked along random directions.
func TestManyVariables(t *testing.T) {
	p := Problem{"wide", "", func(seed uint64) solvertest.Closed {
		return solvertest.NewQuadratic(seed, 50, solvertest.Spectrum(5, 3))
	}}
	r := checked(t, p, Options{Seed: 2, Directions: 6, Estimators: []Candidate{
		{Label: "CG", Method: hypergrad.Implicit{Solver: linear.CG{RTol: 1e-12}}},
	}})
	require.Equal(t, 6, r.Directions)
	require.Nil(t, r.Gradient)
	require.Less(t, float64(r.Rows[0].Error), 1e-9)
	require.InDelta(t, 1, float64(r.Rows[0].Cosine), 1e-12)
}

func TestJSON(t *testing.T) {
	p, err := ByName("flat")
	require.NoError(t, err)
	text, err := json.Marshal(checked(t, p, Options{}))
	require.NoError(t, err)
	require.Contains(t, string(text), `"figure":null`, "an infinite figure is null")
}

// The folder of a check has the result, the table and the plot; CG reaches rounding there, and the other two fall.
func TestSave(t *testing.T) {
	dir := t.TempDir()
	p, err := ByName("quadratic")
	require.NoError(t, err)
	r := checked(t, p, Options{Seed: 1, Families: true})
	require.NoError(t, r.Save(dir))
	require.Len(t, r.Families, 3)
	for _, f := range r.Families {
		last := len(f.Points) - 1
		require.Less(t, float64(f.Points[last].Error), 1e-3*float64(f.Points[0].Error), f.Name)
	}
	for name, want := range map[string]string{
		"result.json": `"recommended"`, "estimators.csv": "implicit, CG to 1e-10", "families.svg": "<svg",
		"families.png": "PNG",
	} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Contains(t, string(text), want)
	}
	require.Error(t, r.Save(filepath.Join(dir, "result.json")), "a file is no folder")
}

func TestWriteFails(t *testing.T) {
	p, err := ByName("scalar")
	require.NoError(t, err)
	require.Error(t, checked(t, p, Options{}).Write(full{}))
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("full") }
