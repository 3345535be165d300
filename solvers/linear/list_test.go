package linear_test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"bilevel/solvers/linear"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
)

// knowAll tells a matrix all that a solver may want.
func knowAll(t *testing.T, values []float64, samples, n int) func(*system, *linear.Matrix) {
	return func(s *system, m *linear.Matrix) {
		sampled(t, samples, values)(s, m)
		given(s, m)
		conjugate(t, withSpectrum(7, spread(n, 10)...), 3, 3)(s, m)
		apply := m.Apply
		m.Sampled = &linear.Sampled{Rows: 1, Apply: func(v, rows *tensor.Node) *tensor.Node {
			return apply(v).Add(rows.ToReal().Sum())
		}}
	}
}

// What the list says in words about the number of products is what a solve counts.
func TestListedProductsAreCounted(t *testing.T) {
	const n, samples = 8, 3
	a, b := withSpectrum(7, spread(n, 10)...), normals(110, n)
	counts := map[string]func(steps int) int{
		"1": func(int) int { return 1 }, "1 a step, 2 more": func(k int) int { return k + 2 },
		"1 a step, 1 more": func(k int) int { return k + 1 }, "2 a step, 1 more": func(k int) int { return 2*k + 1 },
		"1 a step, 2 more, 1 a probe or n for the diagonal":  func(k int) int { return k + 2 + 10 },
		"1 a step, 1 a cycle, 1 more":                        func(k int) int { return k + 1 + 1 },
		"1 a step, 1 more, 20 where the largest is measured": func(k int) int { return k + 1 + 20 },
		"rank, 1 more": func(int) int { return 4 + 1 }, "n, 1 more": func(int) int { return n + 1 },
	}
	seen := map[string]bool{}
	for _, e := range linear.Solvers() {
		require.False(t, seen[e.Name], "%s is listed once", e.Name)
		seen[e.Name] = true
		require.Contains(t, counts, e.Products, e.Name)
		s := prepareKnown(t, float64s(t), e.Example, a, knowAll(t, normals(111, samples*n), samples, n))
		v, st := s.solve(b, nil)
		require.Equal(t, counts[e.Products](st.Steps), st.Products, e.Name)
		require.InDelta(t, residual(a, b, v), st.Residual, rounding(float64s(t), a, b, v), e.Name)
		require.NotEqual(t, linear.NotFinite, st.Status, e.Name)
		for _, text := range []string{e.Source, e.Vectors, e.Error} {
			require.NotEmpty(t, text, e.Name)
		}
		// What it needs beside products is missed where it is not there.
		_, err := e.Example.Prepare(s.ex, linear.Matrix{N: n, Apply: func(v *tensor.Node) *tensor.Node { return v }})
		if _, field, ok := strings.Cut(e.Needs, "Matrix."); ok && !strings.Contains(e.Needs, "Mu") &&
			!strings.Contains(e.Name, "normal") {
			field, _, _ = strings.Cut(field, ",")
			require.ErrorContains(t, err, "Matrix."+field, e.Name)
		} else {
			require.NoError(t, err, e.Name)
		}
	}
}

// Every type of the package with a method Prepare is in the list.
func TestEverySolverIsListed(t *testing.T) {
	listed := map[string]bool{}
	for _, e := range linear.Solvers() {
		listed[reflect.TypeOf(e.Example).Name()] = true
	}
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	found := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		require.NoError(t, err)
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Recv == nil || f.Name.Name != "Prepare" {
				continue
			}
			name := fmt.Sprint(f.Recv.List[0].Type)
			require.True(t, listed[name], "%s is not in Solvers", name)
			found++
		}
	}
	require.Equal(t, len(listed), found)
}

var update = flag.Bool("update", false, "write the table of solvers in the documentation")

// The table in the documentation is the list.
func TestDocumentedTable(t *testing.T) {
	const page = "../../docs/linear-solvers.md"
	have, err := os.ReadFile(page)
	require.NoError(t, err)
	text, _, _ := strings.Cut(string(have), "| solver |")
	var table strings.Builder
	table.WriteString("| solver | for a matrix that is | wants besides products | products | vectors kept " +
		"| error left | source |\n")
	table.WriteString("|---|---|---|---|---|---|---|\n")
	for _, e := range linear.Solvers() {
		needs := e.Needs
		if needs == "" {
			needs = "nothing"
		}
		escaped := strings.NewReplacer("|", `\|`)
		fmt.Fprintf(&table, "| %s | %s | %s | %s | %s | %s | %s |\n", e.Name, e.Class(), needs, e.Products, e.Vectors,
			escaped.Replace(e.Error), e.Source)
	}
	want := text + table.String()
	if *update {
		require.NoError(t, os.WriteFile(page, []byte(want), 0o644))
		return
	}
	require.Equal(t, want, string(have), "run go test ./solvers/linear -run Documented -update")
}
