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
