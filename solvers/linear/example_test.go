package linear_test

import (
	"context"
	"fmt"
	"log"

	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// solve solves A v = (1, 1) for A = diag(1, 2).
func solve(s linear.Solver) (v []float64, stats linear.Stats) {
	device, err := problem.OpenDevice("ref")
	if err != nil {
		log.Fatal(err)
	}
	defer device.Close()
	diagonal := func() *tensor.Node { return tensor.Iota(0, 2).ToReal().AddConst(1) }
	system, err := s.Prepare(device.Executor, linear.Matrix{
		N: 2, Apply: func(v *tensor.Node) *tensor.Node { return diagonal().Mul(v) },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer system.Close()
	if err := system.RHS().Write([]float64{1, 1}); err != nil {
		log.Fatal(err)
	}
	if stats, err = system.Solve(context.Background()); err != nil {
		log.Fatal(err)
	}
	if v, err = system.Solution().Read(); err != nil {
		log.Fatal(err)
	}
	return v, stats
}

// Conjugate gradients need as many steps as A has different eigenvalues, and meet the smallest on their way.
func ExampleCG() {
	v, stats := solve(linear.CG{RTol: 1e-10})
	fmt.Printf("%.3f, %v in %d steps, smallest eigenvalue %.3f\n",
		v, stats.Status, stats.Steps, stats.SmallestEigenvalue)
	// Output: [1.000 0.500], converged in 2 steps, smallest eigenvalue 1.000
}

// The Neumann series of 5 terms leaves an error, which its residual shows.
func ExampleNeumann() {
	v, stats := solve(linear.Neumann{Step: 0.4, Terms: 5, RTol: 1e-3})
	fmt.Printf("%.3f, residual %.3f of %.3f\n", v, stats.Residual, stats.RHSNorm)
	fmt.Println(stats.Status.Advice())
	// Output:
	// [0.953 0.500], residual 0.047 of 1.414
	// allow more steps, loosen the tolerance, or add damping
}

// MINRES takes as many steps, and does not mind negative eigenvalues.
func ExampleMINRES() {
	v, stats := solve(linear.MINRES{RTol: 1e-10})
	fmt.Printf("%.3f, %v in %d steps\n", v, stats.Status, stats.Steps)
	// Output: [1.000 0.500], converged in 2 steps
}

// The list names every solver with what it needs; those that need products alone solve any system of their class.
func ExampleSolvers() {
	for _, e := range linear.Solvers() {
		if e.Needs == "" && e.Class() != linear.Definite {
			fmt.Printf("%s, for matrices that are %s: %s\n", e.Name, e.Class(), e.Error)
		}
	}
	// Output:
	// MINRES, for matrices that are symmetric: the least residual over the Krylov space; 0 after n steps
	// GMRES, for matrices that are square: the least residual over the Krylov space; 0 after n steps without restarts
	// BiCGSTAB, for matrices that are square: no bound; 0 after 2n steps without a breakdown
	// ScaledIdentity, for matrices that are square: |(I - γA⁻¹) b|/γ
	// Nystrom, for matrices that are symmetric: what the rank leaves out, and ρ
	// Dense, for matrices that are symmetric: 0
}
