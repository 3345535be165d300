package tensor

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/expr"
)

// flat are the operations without a derivative: leaves, gradient stops, and what gives integers or draws.
var flat = []op{opConst, opVar, opStop, opArgMax, opKth, opRandom}

func TestRulesAreComplete(t *testing.T) {
	names := map[string]op{}
	for o := range numOps {
		r := rules[o]
		require.NotEmpty(t, r.name, "op %d", o)
		other, twice := names[r.name]
		require.False(t, twice, "%s names ops %d and %d", r.name, other, o)
		names[r.name] = o
		has := !slices.Contains(flat, o)
		require.Equal(t, has, r.jvp != nil, "%s: forward mode", r.name)
		require.Equal(t, has, r.vjp != nil, "%s: reverse mode", r.name)

		leaf := o <= opVar
		view := isView(&Node{op: o})
		// The last three are written as the first two.
		grouped := slices.Contains([]op{opElem, opReduce, opPow, opGuarded, opCentre}, o)
		require.Equal(t, !leaf && !view && !grouped, emitters[o] != nil, "%s: emitter", r.name)
	}
}

func TestFnRulesAreComplete(t *testing.T) {
	for fn := range expr.NumFn {
		info := expr.Table[fn]
		require.NotNil(t, fnRules[fn], "%s", info.Name)
		require.Len(t, fnRules[fn], info.Arity, "%s", info.Name)
		if info.In == Int || info.Out == Int {
			for _, rule := range fnRules[fn] {
				require.Nil(t, rule, "%s: integers are not differentiable", info.Name)
			}
		}
	}
	for _, r := range softmaxRules {
		require.True(t, r.jvp != nil && r.vjp != nil)
	}
}

// Derivatives stop at nodes that are not deeper than their variables, so every node with inputs is made by newNode,
// which counts.
func TestNodesAreMadeByNewNode(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	literals := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		require.NoError(t, err)
		ast.Inspect(parsed, func(n ast.Node) bool {
			address, ok := n.(*ast.UnaryExpr)
			if !ok || address.Op != token.AND {
				return true
			}
			literal, ok := address.X.(*ast.CompositeLit)
			if !ok {
				return true
			}
			if name, ok := literal.Type.(*ast.Ident); !ok || name.Name != "Node" {
				return true
			}
			literals++
			for _, e := range literal.Elts {
				if field, ok := e.(*ast.KeyValueExpr); ok {
					require.NotEqual(t, "in", field.Key.(*ast.Ident).Name, "%s: a node with inputs: use newNode", file)
				}
			}
			return true
		})
	}
	require.Positive(t, literals, "leaves are made so; does the test look at the right place?")
}
