package hypergrad_test

import (
	"cmp"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"bilevel/solvers/hypergrad"
	"bilevel/solvers/problem"
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

// goldenProblem builds the problem of a name on an executor.
func goldenProblem(t *testing.T, ex *tensor.Executor, name string) *problem.Problem {
	var all map[string]json.RawMessage
	readGolden(t, filepath.Join(goldenDirectory(), "problems.json"), &all)
	var d struct {
		A, B, C, D, E [][]float64
		LowerC        []float64   `json:"-"`
		TrainRows     [][]float64 `json:"train_rows"`
		ValidRows     [][]float64 `json:"valid_rows"`
		TrainLabels   []float64   `json:"train_labels"`
		ValidLabels   []float64   `json:"valid_labels"`
		X0, Y0        []float64
	}
	// The names c and C, b and B differ in case alone, which encoding/json does not tell apart in a struct.
	var fields map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(all[name], &fields), name)
	get := func(field string, into any) {
		if raw, ok := fields[field]; ok {
			require.NoError(t, json.Unmarshal(raw, into), "%s of %s", field, name)
		}
	}
	var b, c []float64
	get("A", &d.A)
	get("B", &d.B)
	get("C", &d.C)
	get("D", &d.D)
	get("E", &d.E)
	get("b", &b)
	get("c", &c)
	get("train_rows", &d.TrainRows)
	get("valid_rows", &d.ValidRows)
	get("train_labels", &d.TrainLabels)
	get("valid_labels", &d.ValidLabels)
	get("x0", &d.X0)
	get("y0", &d.Y0)
	matrix := func(rows [][]float64) *tensor.Node {
		v := ex.Variable("matrix", tensor.Real, len(rows), len(rows[0]))
		var flat []float64
		for _, r := range rows {
			flat = append(flat, r...)
		}
		require.NoError(t, v.Write(flat))
		return v.Node()
	}
	vector := func(values []float64) *tensor.Node {
		v := ex.Variable("vector", tensor.Real, len(values))
		require.NoError(t, v.Write(values))
		return v.Node()
	}
	times := func(m, z *tensor.Node) *tensor.Node { return m.MatMul(z.Reshape(z.Size(), 1)).Flatten() }
	p := &problem.Problem{Name: name}
	p.Upper.Start, p.Lower.Start = problem.Vector(d.X0...), problem.Vector(d.Y0...)
	if d.A != nil {
		A, B, C, D, E := matrix(d.A), matrix(d.B), matrix(d.C), matrix(d.D), matrix(d.E)
		bn, cn := vector(b), vector(c)
		p.Upper.Value = problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
			e := y.Sub(bn)
			return tensor.Dot(e, times(C, e)).Scale(0.5).Add(tensor.Dot(x, times(D, x)).Scale(0.5)).
				Add(tensor.Dot(x, times(E, y)))
		})
		p.Lower.Value = problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
			return tensor.Dot(y, times(A, y)).Scale(0.5).Sub(tensor.Dot(y, times(B, x).Add(cn)))
		})
		return p
	}
	loss := func(rows [][]float64, labels []float64) func(y *tensor.Node) *tensor.Node {
		a, s := matrix(rows), vector(labels)
		return func(y *tensor.Node) *tensor.Node { return times(a, y).Mul(s).Neg().Softplus().Mean() }
	}
	train, valid := loss(d.TrainRows, d.TrainLabels), loss(d.ValidRows, d.ValidLabels)
	p.Upper.Value = problem.Flat(func(_, y *tensor.Node, _ problem.Batch) *tensor.Node { return valid(y) })
	p.Lower.Value = problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
		return train(y).Add(tensor.Dot(x.Exp(), y.Square()).Scale(0.5))
	})
	return p
}

// on computes a hypergradient at a point.
func on(t *testing.T, ex *tensor.Executor, p *problem.Problem, m hypergrad.Method, x, y []float64) *hypergrad.Hypergradient {
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

// Each row recognizes fields of a point by their names, and gives the method whose result they hold. The unrolled paths
// begin at y = 0 and take steps of 0.1.
var goldenPaths = []struct {
	name  *regexp.Regexp
	at    func(at, zero []float64) []float64
	build func(t *testing.T, settings []string) hypergrad.Method
}{
	{regexp.MustCompile(`^one_step_([0-9.]+)$`), func(at, _ []float64) []float64 { return at },
		func(t *testing.T, s []string) hypergrad.Method {
			return hypergrad.OneStep{Inner: hypergrad.GradientSteps{Step: number(t, s[0])}}
		}},
	{regexp.MustCompile(`^(?:unrolled|reverse|reverse_unroll)_([0-9]+)$`), func(_, zero []float64) []float64 { return zero },
		func(t *testing.T, s []string) hypergrad.Method {
			return hypergrad.Unrolled{Inner: hypergrad.GradientSteps{Step: 0.1}, Steps: int(number(t, s[0]))}
		}},
	{regexp.MustCompile(`^unrolled_([0-9]+)_last_([0-9]+)$`), func(_, zero []float64) []float64 { return zero },
		func(t *testing.T, s []string) hypergrad.Method {
			return hypergrad.Truncated{Inner: hypergrad.GradientSteps{Step: 0.1}, Steps: int(number(t, s[0])),
				Last: int(number(t, s[1]))}
		}},
	{regexp.MustCompile(`^reverse_last_([0-9]+)$`), func(_, zero []float64) []float64 { return zero },
		func(t *testing.T, s []string) hypergrad.Method {
			return hypergrad.Truncated{Inner: hypergrad.GradientSteps{Step: 0.1}, Steps: 5, Last: int(number(t, s[0]))}
		}},
}

// fields are those of a point and of the objects in it, each with the y that the object has.
func fields(t *testing.T, point map[string]json.RawMessage, y []float64, visit func(name string, y []float64, raw json.RawMessage)) {
	if raw, ok := point["y"]; ok {
		require.NoError(t, json.Unmarshal(raw, &y))
	}
	for name, raw := range point {
		var inner map[string]json.RawMessage
		if json.Unmarshal(raw, &inner) == nil {
			fields(t, inner, y, visit)
		}
		visit(name, y, raw)
	}
}

func TestGoldenPaths(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(goldenDirectory(), "hypergradients-*.json"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	seen := map[*regexp.Regexp]int{}
	for _, file := range files {
		var golden goldenFile
		readGolden(t, file, &golden)
		ex := executor(t)
		p := goldenProblem(t, ex, golden.Problem)
		zero := make([]float64, p.Lower.Start.Size())
		for _, point := range golden.Points {
			var x []float64
			require.NoError(t, json.Unmarshal(point["x"], &x))
			fields(t, point, nil, func(name string, at []float64, raw json.RawMessage) {
				for _, row := range goldenPaths {
					settings := row.name.FindStringSubmatch(name)
					if settings == nil {
						continue
					}
					var want []float64
					require.NoError(t, json.Unmarshal(raw, &want))
					h := on(t, ex, p, row.build(t, settings[1:]), x, row.at(at, zero))
					closeTo(t, want, h.Gradient, goldenTolerance, strings.Join([]string{file, name}, " "))
					seen[row.name]++
				}
			})
		}
	}
	for _, row := range goldenPaths {
		require.Positive(t, seen[row.name], "no file has a field %s", row.name)
	}
}
