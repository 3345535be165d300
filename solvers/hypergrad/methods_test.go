package hypergrad_test

import (
	"context"
	"errors"
	"testing"

	"bilevel/device/cpudevice"
	"bilevel/solvers/hypergrad"
	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/tensor"
	"bilevel/tensor/tensortest"

	"github.com/stretchr/testify/require"
)

// interrupted is a ctx that ends once it was looked at a number of times.
type interrupted struct {
	context.Context
	looks *int
}

func (c interrupted) Err() error {
	if *c.looks--; *c.looks < 0 {
		return context.Canceled
	}
	return nil
}

// forMethod is a problem that a method of the table can use: bent, with F = G where the method wants that.
func forMethod(t *testing.T, ex *tensor.Executor, e hypergrad.Entry) *problem.Problem {
	p := newBent().problem(t, ex)
	switch {
	case e.MinMin:
		p.Upper.Value, p.MinMin = p.Lower.Value, true
	case e.Name == "kkt":
		p.Lower.Set = problem.Box{Lo: -0.1, Hi: 0.3}
	case e.Name == "prox":
		p.Lower.Prox = threshold(0.1)
	case e.Name == "root":
		value := p.Lower.Value
		p.Lower.Residual = func(x, y problem.Vars, b problem.Batch) *tensor.Node {
			return tensor.Grad(value(x, y, b), y.Flat())[0]
		}
		p.Lower.Value = nil
	}
	return p
}

func small(e hypergrad.Entry) hypergrad.Method { return e.New(hypergrad.Settings{Steps: 40, Last: 7}) }

func TestMethodsAreNamedOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, e := range hypergrad.Methods() {
		require.False(t, seen[e.Name], e.Name)
		seen[e.Name] = true
		require.Equal(t, e.Name, e.New(hypergrad.Settings{}).Name())
		for _, text := range []string{e.Source, e.About, e.Cost} {
			require.NotEmpty(t, text, e.Name)
		}
		ex := executor(t)
		h := on(t, ex, forMethod(t, ex, e), small(e), bentX, bentY)
		require.Equal(t, e.Name, h.Method)
		for _, s := range []hypergrad.Settings{{}, {Steps: 3}} { // the defaults are settings that work
			on(t, ex, forMethod(t, ex, e), e.New(s), bentX, bentY)
		}
	}
}

// Every method of the table leaves x and y alone, ends with its ctx wherever it is looked at, works again afterwards to
// the same bits, and gives all memory back.
func TestMethodsEndWithTheirContextAndLeakNothing(t *testing.T) {
	for _, row := range hypergrad.Methods() {
		t.Run(row.Name, func(t *testing.T) {
			ex := executor(t)
			p := forMethod(t, ex, row)
			x, y := ex.Variable("x", tensor.Real, len(bentX)), ex.Variable("y", tensor.Real, len(bentY))
			require.NoError(t, errors.Join(x.Write(bentX), y.Write(bentY)))
			b := bind(t, ex, p)
			before := ex.MemoryInUse()
			e, err := small(row).Prepare(b, x, y)
			require.NoError(t, err)
			compute := func(looks int) (*hypergrad.Hypergradient, error) {
				return e.Compute(interrupted{context.Background(), &looks})
			}
			const many = 1 << 20
			want, err := compute(many)
			require.NoError(t, err)
			require.NoError(t, e.Close())
			require.NoError(t, e.Close(), "closing again does nothing")
			require.Equal(t, before, ex.MemoryInUse())

			e, err = small(row).Prepare(b, x, y)
			require.NoError(t, err)
			stops := 0
			for looks := 0; ; looks = 2*looks + 1 {
				h, err := compute(looks)
				if err == nil {
					break
				}
				require.ErrorIs(t, err, context.Canceled)
				require.Nil(t, h)
				stops++
			}
			require.Positive(t, stops)
			require.NoError(t, e.Close())
			e, err = small(row).Prepare(b, x, y)
			require.NoError(t, err)
			_, err = compute(0)
			require.ErrorIs(t, err, context.Canceled)
			got, err := compute(many)
			require.NoError(t, err)
			if row.Name != "zeroth-order" { // draws other directions at its second call
				require.Equal(t, want.Gradient, got.Gradient)
			}
			require.NoError(t, e.Close())
			require.Equal(t, before, ex.MemoryInUse())
			for v, value := range map[*tensor.Variable][]float64{x: bentX, y: bentY} {
				now, err := v.Read()
				require.NoError(t, err)
				require.Equal(t, value, now, "%s is as it was", v.Name())
			}
		})
	}
}

// In float32 the methods give what they give in float64, up to what rounding does to a path of 40 steps on a problem
// whose numbers are near 1; differences divide it by μ, the value function multiplies it by λ, and running backwards
// enlarges it by β⁻ᵀ.
func TestMethodsInFloat32(t *testing.T) {
	for _, row := range hypergrad.Methods() {
		tolerance := map[string]float64{"zeroth-order": 1e-3, "value-function": 1e-3, "reversible": 1e-3}[row.Name]
		if tolerance == 0 {
			tolerance = 2e-5
		}
		ex, single := executor(t), tensortest.Executor(t, cpudevice.New(1))
		m := small(row)
		if i, ok := m.(hypergrad.Implicit); ok {
			i.Solver = linear.CG{RTol: 1e-6}
			m = i
		}
		want := on(t, ex, forMethod(t, ex, row), m, bentX, bentY)
		got := on(t, single, forMethod(t, single, row), m, bentX, bentY)
		closeTo(t, want.Gradient, got.Gradient, tolerance, row.Name)
		require.Equal(t, linear.Converged, got.Status, row.Name)
	}
}

// saddle is an upper objective that is maximized over a further variable.
var saddle = &problem.Saddle{
	Start: problem.Vector(1),
	Value: func(_, _, alpha problem.Vars, _ problem.Batch) *tensor.Node { return alpha.Flat() },
}

// Where the problem has what a method cannot use, the refusal names it.
func TestMethodsRefuse(t *testing.T) {
	for _, row := range hypergrad.Methods() {
		ex := executor(t)
		p := forMethod(t, ex, row)
		p.Upper.Value, p.Upper.Saddle = nil, saddle
		_, err := hypergrad.OnExecutor(context.Background(), ex, p, small(row), p.Upper.Start, p.Lower.Start)
		require.ErrorContains(t, err, "maximizes its upper objective over a further variable, which this algorithm "+
			"cannot use")
		require.ErrorContains(t, err, row.Name)
	}
}
