// Package solvertest holds bi-level problems whose answers are known, for the tests of every solver and estimator.
// Tests and documentation refer to some of them by number:
//
//	Q1   Scalar     one upper and one lower variable
//	Q2   Quadratic  two quadratic objectives; the caller chooses the spectrum of the lower Hessian H
//	Q3   Ridge      the weight of a ridge regression, chosen by the error on held-out rows
//	Q4   MinMin     both levels have the same objective
//	Q5   Clipped    a box
//	Q6   Shares     a simplex
//	Q7   Equality   Q2 with equations that move with x
//	Q8   FlatLower  a line of lower minimizers for each x
//	Q9   Waves      a lower level that is not convex
//	Q10  Toy        a lower level with one minimizer that is not convex everywhere
//	Q11  FiniteSum  means of random quadratics over rows, for minibatches
//	Q12  Pricing    two linear programs, one inside the other
//	     FixedPoint a network applied until its output does not change, as a residual
//	     Lasso      the weight of the lasso, with a proximal map
//	     Stackelberg, Tolls, MultiTask, Indifferent, Disconnected, KMeans  examples of the lectures
//	     Worst, Duals  lower levels beside each other, with a further variable to be maximized over
//	     Golden     problems on which iterates and hypergradients of public implementations are recorded
//	     Cleaning   hyper-cleaning with softmax regression, solved by a dense Newton method in plain Go
//
// The data are float64 and depend on a seed alone.
package solvertest

import (
	"fmt"

	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// Closed is a problem whose answers are known.
type Closed interface {
	// Tables are the problem's data. Two problems of one type and size have tables of the same shapes.
	Tables() []Table
	// Problem builds the problem on its tables, which come as nodes in the same order. The problem does not declare its
	// modulus of convexity or its constants.
	Problem(tables []*tensor.Node) *problem.Problem
	// Exact gives y*(x) and ∇h(x), to a few units of float64's round-off.
	Exact(x []float64) (y, gradient []float64)
}

// Table is one array of data: Real values or Ints.
type Table struct {
	Name  string
	Shape []int
	Real  []float64
	Ints  []int32
}

// Loaded is a problem with its data on an executor.
type Loaded struct {
	*problem.Problem
	tables []*tensor.Variable
}

// Load puts a problem on an executor.
func Load(ex *tensor.Executor, c Closed) (*Loaded, error) {
	l := &Loaded{}
	var nodes []*tensor.Node
	for _, t := range c.Tables() {
		typ := tensor.Real
		if t.Ints != nil {
			typ = tensor.Int
		}
		v := ex.Variable(t.Name, typ, t.Shape...)
		l.tables = append(l.tables, v)
		nodes = append(nodes, v.Node())
	}
	l.Problem = c.Problem(nodes)
	return l, l.Replace(c)
}

// Replace writes the data of another problem of the same type and size over the old ones. Programs compiled for the old
// problem then compute the new one. The start values stay those of the old problem.
func (l *Loaded) Replace(c Closed) error {
	for i, t := range c.Tables() {
		var err error
		if t.Ints != nil {
			err = l.tables[i].WriteInts(t.Ints)
		} else {
			err = l.tables[i].Write(t.Real)
		}
		if err != nil {
			return fmt.Errorf("solvertest: %s: %w", t.Name, err)
		}
	}
	return nil
}

// half is ½ zᵀz.
func half(z *tensor.Node) *tensor.Node { return tensor.Dot(z, z).Scale(0.5) }

// product is m·z for a matrix m [r, c] and a vector z [c].
func product(m, z *tensor.Node) *tensor.Node {
	return m.MatMul(z.Reshape(z.Size(), 1)).Reshape(m.Shape()[0])
}

// bilinear is uᵀ m z.
func bilinear(u, m, z *tensor.Node) *tensor.Node { return tensor.Dot(u, product(m, z)) }

func zeros(n int) []float64 { return make([]float64, n) }
