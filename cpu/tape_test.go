package cpu

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/expr"
	"bilevel/internal/kind"
)

// tapeLevels are the levels that have tapes.
func tapeLevels() (list []Level) {
	for _, l := range Levels() {
		if tapeMachineOf(l) != nil {
			list = append(list, l)
		}
	}
	return list
}

// The tables of codes have a place for every step.
func TestTapesAreComplete(t *testing.T) {
	for _, level := range tapeLevels() {
		require.Len(t, tapeMachineOf(level).code, tapeEnd.at(0)+1, level.String())
	}
}

// awkward are normal numbers, with zeros of both signs, infinities and NaN among them.
func awkward(r *rand.Rand, n int) []float32 {
	a := normals(r, n)
	var special []float32
	for _, x := range []float64{0, math.Copysign(0, -1), math.Inf(1), math.Inf(-1), math.NaN()} {
		special = append(special, float32(x))
	}
	for i := range a {
		if r.IntN(5) == 0 {
			a[i] = special[r.IntN(len(special))]
		}
	}
	return a
}

var tapeFns = []expr.Fn{
	expr.Add, expr.Sub, expr.Mul, expr.Div, expr.Max, expr.Min, expr.Lt, expr.Le, expr.Eq, expr.Where, expr.Clamp,
	expr.Neg, expr.Abs, expr.Sign, expr.Sqrt, expr.Relu, expr.Floor,
}

// tapeCase is a random expression over dense arrays, rows and numbers.
type tapeCase struct {
	expr  *expr.Expr
	shape []int
	in    []Array
}

func randomTape(r *rand.Rand, columns, outs int) tapeCase {
	c := tapeCase{shape: []int{1 + r.IntN(150), columns}}
	n := size(c.shape)
	var e build
	var values []int
	for i := range 2 + r.IntN(6) {
		var a Array
		switch r.IntN(4) {
		case 0, 1:
			a = rowMajor(awkward(r, n), c.shape...)
		case 2:
			a = Array{Real: awkward(r, columns), Shape: c.shape, Strides: []int{0, 1}}
		default:
			a = Array{Real: awkward(r, 1), Shape: c.shape, Strides: []int{0, 0}}
		}
		c.in = append(c.in, a)
		values = append(values, e.in(i))
	}
	values = append(values, e.c(0), e.c(r.NormFloat64()))
	for range 2 + r.IntN(18) {
		f := tapeFns[r.IntN(len(tapeFns))]
		var args []int
		for range expr.Table[f].Arity {
			i := len(values) - 1 - min(r.IntN(len(values)), r.IntN(len(values)))
			args = append(args, values[i])
		}
		values = append(values, e.step(f, args...))
	}
	var results []int
	for range outs {
		results = append(results, values[len(values)-1-r.IntN(min(5, len(values)))])
	}
	c.expr = e.outs(results...)
	return c
}

// run computes the case on a level: sums results are added up over the rows, the others stored, one of them over an
// input if inPlace is set.
func (c tapeCase) run(t *testing.T, level Level, threads, sums int, inPlace bool) (results [][]float32, made bool) {
	p := newPoolAt(t, threads, level)
	in := slices.Clone(c.in)
	var out []Array
	for range sums {
		shape := []int{1, c.shape[1]}
		out = append(out, rowMajor(make([]float32, c.shape[1]), shape...))
	}
	for range len(c.expr.Outs) - sums {
		out = append(out, rowMajor(make([]float32, size(c.shape)), c.shape...))
	}
	if i := slices.IndexFunc(in, func(a Array) bool { return a.Strides[0] > 0 }); inPlace && i >= 0 && len(out) > sums {
		in[i].Real = slices.Clone(in[i].Real)
		out[sums] = in[i]
	}
	if sums == 0 {
		m := NewMap(p, c.expr, c.shape, in, out)
		require.NoError(t, hold(p, m))
		made = m.tape != nil
	} else {
		m := NewReduce(p, c.expr, c.shape, []int{0}, make([]kind.Reduce, sums), in, out)
		require.NoError(t, hold(p, m))
		made = m.tape != nil
	}
	for _, a := range out {
		results = append(results, a.Real)
	}
	return results, made
}

// Tapes give the bits of the generic loops: over random expressions of all functions that have steps, with zeros,
// infinities and NaN, repeated rows of all lengths, results over an input, and sums.
func TestTapes(t *testing.T) {
	for _, level := range tapeLevels() {
		t.Run(level.String(), func(t *testing.T) {
			made, tried := 0, 0
			for i := range 1500 {
				r := rng(uint64(i))
				columns := []int{1, 8, 10, 16, 32, 64, 96, 128, 192}[r.IntN(9)]
				sums := r.IntN(3)
				c := randomTape(r, columns, sums+r.IntN(3)+1-min(sums, 1))
				inPlace := r.IntN(2) == 0
				want, _ := c.run(t, Generic, 1, sums, inPlace)
				got, tape := c.run(t, level, 1+r.IntN(3), sums, inPlace)
				for j := range want {
					for k, v := range got[j] {
						if !sameBits(v, want[j][k]) {
							t.Fatalf("case %d: result %d of %v, element %d: %v, want %v\n%v", i, j, c.shape, k, v,
								want[j][k], c.expr)
						}
					}
				}
				tried++
				if tape {
					made++
				}
			}
			require.Greater(t, made, tried/3, "expressions that have a tape")
		})
	}
}

// Every function finds its step in each place of an operand: an array, a short row, a long row, a number, and the value
// that was computed just before.
func TestTapesOfOneFunction(t *testing.T) {
	const places = 5
	for _, level := range tapeLevels() {
		for _, f := range tapeFns {
			arity := expr.Table[f].Arity
			choices := 1
			for range arity {
				choices *= places
			}
			for _, columns := range []int{32, 128} {
				for chosen := range choices {
					r := rng(uint64(chosen))
					c := tapeCase{shape: []int{40, columns}}
					var e build
					c.in = append(c.in, rowMajor(awkward(r, 40*columns), c.shape...))
					x := e.in(0)
					before := e.step(expr.Neg, x)
					var args []int
					for rest := chosen; len(args) < arity; rest /= places {
						a := Array{Shape: c.shape}
						switch rest % places {
						case 0:
							a = rowMajor(awkward(r, 40*columns), c.shape...)
						case 1:
							a.Real, a.Strides = awkward(r, columns), []int{0, 1}
						case 2:
							a.Real, a.Strides = awkward(r, 1), []int{0, 0}
						case 3:
							args = append(args, x)
							continue
						default:
							args = append(args, before)
							continue
						}
						args = append(args, e.in(len(c.in)))
						c.in = append(c.in, a)
					}
					c.expr = e.outs(e.step(f, args...), before)
					want, _ := c.run(t, Generic, 1, 0, false)
					got, made := c.run(t, level, 1, 0, false)
					require.True(t, made, "%v %v %d", level, f, chosen)
					for k, v := range got[0] {
						if !sameBits(v, want[0][k]) {
							t.Fatalf("%v %v %d, element %d: %v, want %v", level, f, chosen, k, v, want[0][k])
						}
					}
				}
			}
		}
	}
}
