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
	var read map[string]json.RawMessage // a map, because names differ in case alone: C and c
	require.NoError(t, json.Unmarshal(all[name], &read), name)
	rows := func(field string) (out [][]float64) {
		require.NoError(t, json.Unmarshal(read[field], &out), "%s of %s", field, name)
		return out
	}
	numbers := func(field string) (out []float64) {
		require.NoError(t, json.Unmarshal(read[field], &out), "%s of %s", field, name)
		return out
	}
	matrix := func(field string) *tensor.Node {
		m := rows(field)
		v := ex.Variable(field, tensor.Real, len(m), len(m[0]))
		var flat []float64
		for _, r := range m {
			flat = append(flat, r...)
		}
		require.NoError(t, v.Write(flat))
		return v.Node()
	}
	vector := func(field string) *tensor.Node {
		values := numbers(field)
		v := ex.Variable(field, tensor.Real, len(values))
		require.NoError(t, v.Write(values))
		return v.Node()
	}
	times := func(m, z *tensor.Node) *tensor.Node { return m.MatMul(z.Reshape(z.Size(), 1)).Flatten() }
	p := &problem.Problem{Name: name}
	p.Upper.Start, p.Lower.Start = problem.Vector(numbers("x0")...), problem.Vector(numbers("y0")...)
	if _, quadratic := read["A"]; quadratic {
		A, B, C, D, E := matrix("A"), matrix("B"), matrix("C"), matrix("D"), matrix("E")
		b, c := vector("b"), vector("c")
		p.Upper.Value = problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
			e := y.Sub(b)
			return tensor.Dot(e, times(C, e)).Scale(0.5).Add(tensor.Dot(x, times(D, x)).Scale(0.5)).
				Add(tensor.Dot(x, times(E, y)))
		})
		p.Lower.Value = problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
			return tensor.Dot(y, times(A, y)).Scale(0.5).Sub(tensor.Dot(y, times(B, x).Add(c)))
		})
		return p
	}
	loss := func(part string) func(y *tensor.Node) *tensor.Node {
		a, s := matrix(part+"_rows"), vector(part+"_labels")
		return func(y *tensor.Node) *tensor.Node { return times(a, y).Mul(s).Neg().Softplus().Mean() }
	}
	train, valid := loss("train"), loss("valid")
	p.Upper.Value = problem.Flat(func(_, y *tensor.Node, _ problem.Batch) *tensor.Node { return valid(y) })
	p.Lower.Value = problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
		return train(y).Add(tensor.Dot(x.Exp(), y.Square()).Scale(0.5))
	})
	return p
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

func fromZero(_, zero []float64) []float64 { return zero }

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
	{regexp.MustCompile(`^(?:unrolled|reverse|reverse_unroll)_([0-9]+)$`), fromZero,
		func(t *testing.T, s []string) hypergrad.Method {
			return hypergrad.Unrolled{Inner: hypergrad.GradientSteps{Step: 0.1}, Steps: int(number(t, s[0]))}
		}},
	{regexp.MustCompile(`^unrolled_([0-9]+)_last_([0-9]+)$`), fromZero,
		func(t *testing.T, s []string) hypergrad.Method {
			return hypergrad.Truncated{Inner: hypergrad.GradientSteps{Step: 0.1}, Steps: int(number(t, s[0])),
				Last: int(number(t, s[1]))}
		}},
	{regexp.MustCompile(`^penalty_([0-9.]+) gradient$`), fromZero,
		func(t *testing.T, s []string) hypergrad.Method {
			return hypergrad.ValueFunction{Lambda: number(t, s[0])}
		}},
	{regexp.MustCompile(`^reverse_last_([0-9]+)$`), fromZero,
		func(t *testing.T, s []string) hypergrad.Method {
			return hypergrad.Truncated{Inner: hypergrad.GradientSteps{Step: 0.1}, Steps: 5, Last: int(number(t, s[0]))}
		}},
}

// fields are those of a point and of the objects in it, each with the y that the object has.
func fields(t *testing.T, point map[string]json.RawMessage, y []float64,
	visit func(name string, y []float64, raw json.RawMessage)) {
	if raw, ok := point["y"]; ok {
		require.NoError(t, json.Unmarshal(raw, &y))
	}
	for name, raw := range point {
		var inner map[string]json.RawMessage
		if json.Unmarshal(raw, &inner) != nil {
			visit(name, y, raw)
			continue
		}
		fields(t, inner, y, func(field string, y []float64, raw json.RawMessage) {
			visit(field, y, raw)
			visit(name+" "+field, y, raw)
		})
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
