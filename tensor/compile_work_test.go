package tensor

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device"
	"bilevel/device/null"
)

// unrolled is the gradient, with respect to the problem, of what many steps of gradient descent lead to.
func unrolled(ex *Executor, steps int) []Update {
	x, y0, g := ex.Variable("x", Real, 10), ex.Variable("y", Real, 10), ex.Variable("g", Real, 10)
	y := y0.Node()
	for range steps {
		loss := y.Sub(x.Node()).Square().Sum().Scale(0.5).Add(y.Tanh().Square().Sum())
		y = y.Sub(Grad(loss, y)[0].Scale(0.1))
	}
	return []Update{{g, Grad(y.Square().Sum(), x.Node())[0]}}
}

// unrolledNetwork is the same for a network of two layers, so that products and reductions stand between the steps.
func unrolledNetwork(ex *Executor, steps int) []Update {
	weights, w0 := ex.Variable("weights", Real, 20), ex.Variable("w", Real, 4*5+5*3)
	rows, g := ex.Variable("rows", Real, 20, 4), ex.Variable("g", Real, 20)
	loss := func(w *Node) *Node {
		h := rows.Node().MatMul(w.Slice(0, 0, 20).Reshape(4, 5)).Tanh()
		each := CrossEntropy(h.MatMul(w.Slice(0, 20, 35).Reshape(5, 3)), Iota(0, 20).ToReal().Scale(0.1).ToInt())
		return each.Mul(weights.Node().Sigmoid()).Mean()
	}
	w := w0.Node()
	for range steps {
		w = w.Sub(Grad(loss(w), w)[0].Scale(0.1))
	}
	return []Update{{g, Grad(loss(w), weights.Node())[0]}}
}

// manyVariables scales each of many variables by a number that depends on all of them, as the clipping of a gradient by
// its norm does.
func manyVariables(ex *Executor, n int) (updates []Update) {
	square := Const(0)
	vars := make([]*Variable, n)
	for i := range vars {
		vars[i] = ex.Variable("v", Real, 10)
		square = square.Add(vars[i].Node().Square().Sum())
	}
	scale := square.Sqrt().Div(square.AddConst(1))
	for _, v := range vars {
		updates = append(updates, Update{v, v.Node().Sub(v.Node().Mul(scale))})
	}
	return updates
}

// expressionSteps is the length of all expressions of a program.
func expressionSteps(steps []step) (n int) {
	for _, s := range steps {
		switch a := s.attr.(type) {
		case device.MapAttr:
			n += len(a.Expr.Steps)
		case device.ReduceAttr:
			n += len(a.Expr.Steps)
		case device.GemmAttr:
			if a.Epilogue != nil {
				n += len(a.Epilogue.Steps)
			}
		case device.ConvAttr:
			if a.Epilogue != nil {
				n += len(a.Epilogue.Steps)
			}
		}
	}
	return n
}

// The work of the compiler is counted in nodes, edges of the contracted graph and choices of the order that it looks
// at, and steps of expressions that it writes. It grows in proportion to the graph.
func TestCompileWork(t *testing.T) {
	for _, c := range []struct {
		name    string
		build   func(ex *Executor, n int) []Update
		size    int
		perNode float64 // at most
	}{
		{"unrolled descent", unrolled, 100, 6.5},
		{"unrolled descent of a network", unrolledNetwork, 25, 15},
		{"layers", func(ex *Executor, n int) []Update { return deep{layers: n}.soba(ex) }, 10, 3.5},
		{"normalized layers", func(ex *Executor, n int) []Update { return deep{layers: n, normalize: true}.soba(ex) },
			20, 22},
		{"normalized convolutions", func(ex *Executor, n int) []Update {
			return deep{layers: n, normalize: true, convolve: true}.soba(ex)
		}, 20, 15},
		{"many variables", manyVariables, 100, 4.5},
	} {
		var before int
		for _, n := range []int{c.size, 2 * c.size, 4 * c.size} {
			ex := NewExecutor(null.New())
			updates := c.build(ex, n)
			values, err := ex.checkUpdates(updates)
			require.NoError(t, err)
			roots := transform(values)
			f := fuse(roots)
			nodes := len(f.order)
			lowered := lower(f, roots)
			written := expressionSteps(lowered)
			p := planned(lowered, updates, roots, planOptions{large: true})
			work := nodes + f.graph.visited + p.visited + written
			t.Logf("%s, %d: %d nodes, %d edges, %d choices, %d steps written, %.1f a node",
				c.name, n, nodes, f.graph.visited, p.visited, written, float64(work)/float64(nodes))
			require.Less(t, float64(work), c.perNode*float64(nodes), "%s, %d", c.name, n)
			if before > 0 {
				require.Less(t, float64(work), 2.2*float64(before),
					"%s, %d: more than twice the work for twice the graph", c.name, n)
			}
			before = work
		}
	}
}

// The gradient of one step looks at that step, however many came before.
func TestDerivativesLookNoDeeperThanTheirVariables(t *testing.T) {
	y := Full(1, 10).Tanh()
	for range 3 {
		for range 100 {
			y = y.Sub(y.Tanh().Scale(0.1))
		}
		visited := 0
		walkFrom(leastDepth([]*Node{y}), []*Node{y.Square().Sum()}, func(*Node) { visited++ })
		require.Equal(t, 4, visited, "y, its square, their sum over one axis, and the number seen without that axis")
	}
}

// The number that many variables are scaled by is right, where it is stored, where its readers compute it, and where it
// is read by a number that they compute.
func TestNumberOfManyOperations(t *testing.T) {
	for _, n := range []int{3, maxNumber / 2, maxNumber, 3 * maxNumber} {
		ex := newRef(t)
		updates := manyVariables(ex, n)
		squares := 0.0
		for i, u := range updates {
			values := make([]float64, 10)
			for k := range values {
				values[k] = math.Sin(float64(i + k))
				squares += values[k] * values[k]
			}
			require.NoError(t, u.Var.Write(values))
		}
		f := compiled(t, ex, updates...)
		require.NoError(t, f.Run(1))
		for i, u := range updates {
			got, err := u.Var.Read()
			require.NoError(t, err)
			for k, v := range got {
				want := math.Sin(float64(i+k)) * (1 - math.Sqrt(squares)/(1+squares))
				require.InDelta(t, want, v, 1e-12, "%d variables", n)
			}
		}
	}
}
