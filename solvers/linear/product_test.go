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
		for name, solver := range map[string]linear.Solver{
			"CG":           linear.CG{RTol: 1e-5},
			"CG from zero": linear.CG{RTol: 1e-5, FromZero: true},
			"CG trusting":  linear.CG{RTol: 1e-5, FromZero: true, Trust: true},
			"damped CG":    linear.CG{RTol: 1e-5, Damping: 0.3},
			"Jacobi CG":    linear.CG{RTol: 1e-4, Preconditioner: linear.ExactDiagonal{}},
			"Hutchinson":   linear.CG{RTol: 1e-4, Preconditioner: linear.Hutchinson{}, FromZero: true},
			"raising CG":   linear.CG{RTol: 1e-4, MaxRaises: 3},
			"Neumann":      linear.Neumann{Step: 0.5, Terms: 30, RTol: 1e-5},
			"identity":     linear.ScaledIdentity{Gamma: 2},
			"random":       linear.RandomNeumann{Step: 0.5, Terms: 9},
			"to bias":      linear.NeumannToBias{Bias: 0.1, Mu: 0.1},
			"dense":        linear.Dense{},
			"Nystrom":      linear.Nystrom{Rank: 5, Rho: 0.1},
			"SGD":          linear.SGD{Step: 0.5, Steps: 7},
			"normal SGD":   linear.SGD{Step: 0.5, Steps: 7, Normal: true, FromZero: true},
			"GMRES":        linear.GMRES{RTol: 1e-4, Restart: 5},
			"BiCGSTAB":     linear.BiCGSTAB{RTol: 1e-4, FromZero: true},
			"MINRES":       linear.MINRES{RTol: 1e-4, Damping: 0.1},
		} {
			const n = 12
			a := withSpectrum(5, spread(n, 8)...)
			inside := prepare(t, dev, solver, a)
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
			own, err := solver.Prepare(inside.ex, linear.Matrix{N: n, Product: &product})
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
				require.Equal(t, stats.Products, calls, "%s: every product is counted", name)
			}
			require.NoError(t, own.Close())
			require.NoError(t, sc.Close())
		}
	})
}
