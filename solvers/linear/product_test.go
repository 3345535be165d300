package linear_test

import (
	"context"
	"math"
	"testing"

	"bilevel/device"
	"bilevel/solvers/linear"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
)

// A product that a program of its own computes gives the same solves, to the bit, as the same product inside the loop:
// for one right-hand side after another, and for another matrix in the same programs.
func TestProductOutsideTheLoop(t *testing.T) {
	devices(t, func(t *testing.T, dev device.Device) {
		solvers := map[string]linear.Solver{
			"CG from zero":  linear.CG{RTol: 1e-5, FromZero: true},
			"CG trusting":   linear.CG{RTol: 1e-5, FromZero: true, Trust: true},
			"damped CG":     linear.CG{RTol: 1e-5, Damping: 0.3},
			"Jacobi CG":     linear.CG{RTol: 1e-4, Preconditioner: linear.ExactDiagonal{}},
			"raising CG":    linear.CG{RTol: 1e-4, MaxRaises: 3},
			"short GMRES":   linear.GMRES{RTol: 1e-4, Restart: 5},
			"damped MINRES": linear.MINRES{RTol: 1e-4, Damping: 0.1, FromZero: true},
			"full SGD":      linear.SGD{Step: 0.5, Steps: 7},
		}
		for _, e := range linear.Solvers() {
			solvers[e.Name] = e.Example
		}
		for name, solver := range solvers {
			const n = 12
			a := withSpectrum(5, spread(n, 8)...)
			known := knowAll(t, normals(112, 2*n), 2, n)
			inside := prepareKnown(t, dev, solver, a, known)
			sc := inside.ex.Scope()
			in, out := sc.Variable("in", tensor.Real, n), sc.Variable("out", tensor.Real, n)
			program := sc.Compile("product", func() []tensor.Update {
				return []tensor.Update{{Var: out, Value: inside.a.Node().MatMul(in.Node().Reshape(n, 1)).Reshape(n)}}
			})
			require.NoError(t, sc.Err())
			calls := 0
			product := linear.Product{In: in, Out: out, Run: func(context.Context) error {
				calls++
				return program.Run(1)
			}}
			m := linear.Matrix{N: n, Apply: func(v *tensor.Node) *tensor.Node {
				return inside.a.Node().MatMul(v.Reshape(n, 1)).Reshape(n)
			}}
			known(inside, &m)
			m.Apply, m.Product = nil, &product
			own, err := solver.Prepare(inside.ex, m)
			require.NoError(t, err)
			outside := &system{System: own, t: t}
			for seed := range uint64(4) {
				if seed == 2 {
					inside.setMatrix(withSpectrum(6, spread(n, 3)...))
				}
				b, from := normals(10+seed, n), normals(20+seed, n)
				want, wantStats := inside.solve(b, from)
				calls = 0
				got, stats := outside.solve(b, from)
				require.Equal(t, want, got, name)
				require.Equal(t, math.IsNaN(wantStats.SmallestEigenvalue), math.IsNaN(stats.SmallestEigenvalue), name)
				if math.IsNaN(stats.SmallestEigenvalue) {
					stats.SmallestEigenvalue, wantStats.SmallestEigenvalue = 0, 0
				}
				require.Equal(t, wantStats, stats, name)
				if stats.Samples == 0 || stats.Gradients > 0 { // products with minibatches are no calls
					require.Equal(t, stats.Products, calls, "%s: every product is counted", name)
				}
			}
			require.NoError(t, own.Close())
			require.NoError(t, sc.Close())
		}
	})
}

// A solve whose context has ended asks for no product.
func TestNoProductsAfterTheEnd(t *testing.T) {
	const n = 12
	ended, end := context.WithCancel(context.Background())
	end()
	for _, e := range linear.Solvers() {
		a, known := withSpectrum(5, spread(n, 8)...), knowAll(t, normals(112, 2*n), 2, n)
		s := prepareKnown(t, float64s(t), e.Example, a, func(s *system, m *linear.Matrix) {
			known(s, m)
			m.Apply = nil
			in, out := s.ex.Variable("in", tensor.Real, n), s.ex.Variable("out", tensor.Real, n)
			m.Product = &linear.Product{In: in, Out: out, Run: func(ctx context.Context) error {
				require.Fail(t, "a product", e.Name)
				return ctx.Err()
			}}
		})
		_, err := s.Solve(ended)
		require.ErrorIs(t, err, context.Canceled, e.Name)
	}
}
