// Package solvertest holds bi-level problems whose answers are known, for the tests of every solver and estimator:
//
//	Scalar     Q1: one upper, one lower variable
//	Quadratic  Q2: two quadratics, with a spectrum of H of the caller's choice
//	Ridge      Q3: the logarithm of a ridge weight against held-out rows
//	FiniteSum  Q11: means of random quadratics over rows, for minibatches
//	Cleaning   softmax hyper-cleaning, solved by a dense Newton method in plain Go
//
// Data are float64 and depend on a seed alone.
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
	// Problem builds the problem on its tables, given as nodes in the same order. It declares no structure.
	Problem(tables []*tensor.Node) *problem.Problem
	// Exact gives y*(x) and ∇h(x), to a few units of round-off of float64.
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

// Replace writes the data of another problem of the same type and size: what was compiled for the old one then
// computes the new one. Start values stay.
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

// product is m·z for a matrix [r, c] and a vector [c].
func product(m, z *tensor.Node) *tensor.Node {
	return m.MatMul(z.Reshape(z.Size(), 1)).Reshape(m.Shape()[0])
}

// bilinear is uᵀ m z.
func bilinear(u, m, z *tensor.Node) *tensor.Node { return tensor.Dot(u, product(m, z)) }

func zeros(n int) []float64 { return make([]float64, n) }
