package check

import (
	"context"
	"errors"
	"fmt"
	"math"

	"bilevel/tensor"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// root finds a zero of r(u) by Newton's method with the whole Jacobian, for systems of a few hundred unknowns. Each
// step is halved until |r| falls. Where the Jacobian is singular the step is the shortest one (by singular values).
type root struct {
	u, r, e, je   *tensor.Variable // u, r(u), a unit vector and the column of the Jacobian that it picks
	value, column *tensor.Function
	n             int
	jacobian      *mat.Dense
}

// maxUnknowns bounds the systems that are solved with a whole matrix.
const maxUnknowns = 1500

func newRoot(sc *tensor.Scope, name string, n int, r func(u *tensor.Node) *tensor.Node) (*root, error) {
	if n > maxUnknowns {
		return nil, fmt.Errorf("the lower level has %d unknowns with its multipliers, and only up to %d can be solved "+
			"to the last digit here: check a smaller problem of the same kind", n, maxUnknowns)
	}
	vector := func(what string) *tensor.Variable { return sc.Variable(name+" "+what, tensor.Real, n) }
	f := &root{u: vector("u"), r: vector("r"), e: vector("unit"), je: vector("column"), n: n,
		jacobian: mat.NewDense(n, n, nil)}
	f.value = sc.Compile(name+" residual", func() []tensor.Update {
		return []tensor.Update{{Var: f.r, Value: r(f.u.Node())}}
	})
	f.column = sc.Compile(name+" column", func() []tensor.Update {
		u := f.u.Node()
		je := tensor.JVP([]*tensor.Node{r(u)}, []*tensor.Node{u}, []*tensor.Node{f.e.Node()})[0]
		return []tensor.Update{{Var: f.je, Value: je}}
	})
	return f, sc.Err()
}

// at is r(u).
func (f *root) at(u []float64) ([]float64, error) {
	if err := f.u.Write(u); err != nil {
		return nil, err
	}
	if err := f.value.Run(1); err != nil {
		return nil, err
	}
	return f.r.Read()
}

// derivative computes the Jacobian where u stands.
func (f *root) derivative(ctx context.Context) error {
	unit := make([]float64, f.n)
	for i := range unit {
		unit[i] = 1
		if err := errors.Join(ctx.Err(), f.e.Write(unit)); err != nil {
			return err
		}
		if err := f.column.Run(1); err != nil {
			return err
		}
		unit[i] = 0
		c, err := f.je.Read()
		if err != nil {
			return err
		}
		f.jacobian.SetCol(i, c)
	}
	return nil
}

// solve improves u until |r| is at most tol or no step makes it smaller, and gives |r|.
func (f *root) solve(ctx context.Context, u []float64, tol float64, steps int) (float64, error) {
	r, err := f.at(u)
	if err != nil {
		return 0, err
	}
	size := floats.Norm(r, 2)
	for range steps {
		if size <= tol || math.IsNaN(size) {
			break
		}
		if err := errors.Join(f.u.Write(u), f.derivative(ctx)); err != nil {
			return 0, err
		}
		step, ok := shortestSolution(f.jacobian, r)
		if !ok {
			break
		}
		better := false
		for t := 1.0; t > 1e-8 && !better; t /= 2 {
			trial := make([]float64, f.n)
			floats.AddScaledTo(trial, u, -t, step)
			rt, err := f.at(trial)
			if err != nil {
				return 0, err
			}
			if s := floats.Norm(rt, 2); s < size {
				copy(u, trial)
				r, size, better = rt, s, true
			}
		}
		if !better {
			break
		}
	}
	return size, nil
}

// shortestSolution solves J s = r; where J is singular to rounding it gives the shortest least-squares solution.
func shortestSolution(j *mat.Dense, r []float64) ([]float64, bool) {
	n := len(r)
	for _, v := range j.RawMatrix().Data {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, false
		}
	}
	var lu mat.LU
	lu.Factorize(j)
	var s mat.VecDense
	if lu.Cond() < 1e13 && lu.SolveVecTo(&s, false, mat.NewVecDense(n, r)) == nil {
		return s.RawVector().Data, true
	}
	var svd mat.SVD
	if !svd.Factorize(j, mat.SVDThin) {
		return nil, false
	}
	rank := svd.Rank(1e-12)
	if rank == 0 {
		return nil, false
	}
	svd.SolveVecTo(&s, mat.NewVecDense(n, r), rank)
	return s.RawVector().Data, true
}
