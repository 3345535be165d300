package problem_test

import (
	"math"
	"testing"

	"bilevel/models/params"
	"bilevel/solvers/problem"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// A description holds exactly the points of its set: projected points satisfy it, and it does not hold for points that
// the set does not contain. Where its functions hold a point their gradients have the length 1.
func TestDescriptions(t *testing.T) {
	equations := mat.NewDense(2, 5, noise(10, 40))
	held, err := problem.NewAffine(equations, []float64{0.5, -1})
	require.NoError(t, err)
	center := []float64{0.5, -2, 1, 0.25}
	for _, s := range append(sets(t),
		plainSet{"ball around a point", problem.Ball{Radius: 0.75, Center: center}, 4, func(z []float64) []float64 {
			away := append([]float64(nil), z...)
			floats.Sub(away, center)
			out := ball(0.75)(away)
			floats.Add(out, center)
			return out
		}}, plainSet{"affine", held, 5, affine(equations, []float64{0.5, -1})}) {
		ex := executor(t)
		set := bound(t, ex, s)
		at := ex.Variable("z", tensor.Real, s.n)
		var unit bool
		violation := compiled(t, ex, func() []*tensor.Node {
			d := set.(problem.Described).Describe(at.Node(), problem.Batch{})
			z, worst, slope := at.Node(), tensor.Const(0), tensor.Const(1)
			if d.Lo != nil {
				require.Equal(t, []int{s.n}, d.Lo.Shape())
				require.Equal(t, []int{s.n}, d.Hi.Shape())
				worst = worst.Max(d.Lo.Sub(z).MaxOver()).Max(z.Sub(d.Hi).MaxOver())
			}
			if d.Inequality != nil {
				worst = worst.Max(d.Inequality.MaxOver())
				unit, slope = true, tensor.Grad(d.Inequality.Sum(), z)[0].Norm()
			}
			if d.Equality != nil {
				worst = worst.Max(d.Equality.Abs().MaxOver())
				if d.Equality.Size() == 1 {
					unit, slope = true, tensor.Grad(d.Equality.Sum(), z)[0].Norm()
				}
			}
			return []*tensor.Node{set.Project(z, problem.Batch{}), worst, slope}
		})
		for trial := range 5 {
			z := noise(s.n, 7*trial)
			floats.Scale(3, z)
			require.NoError(t, at.Write(z))
			got := violation()
			inside := s.set.Contains(problem.Vector(z...))
			require.Equal(t, inside, got[1][0] <= 1e-7, "%s at %v: %g", s.name, z, got[1][0])
			require.InDeltaSlice(t, s.project(z), got[0], 1e-12)
			require.NoError(t, at.Write(got[0]))
			got = violation()
			require.LessOrEqual(t, got[1][0], 1e-12, s.name)
			if unit && !inside {
				require.InDelta(t, 1, got[2][0], 1e-12, s.name)
			}
		}
	}
}

// A product of sets joins what its parts say; variables without a set have no bounds. Constraint functions of the level
// come after those of its set.
func TestConstraintsOfAProduct(t *testing.T) {
	y := params.Values{}.And("box", 0, 0).And("free", 5).And("share", 0.5, 0.5).And("ball", 0.25, 0)
	p := square(y, problem.Vector(3))
	p.Lower.Set = problem.Sets{"box": problem.Box{Lo: -1, Hi: 2}, "share": problem.Simplex{Total: 1},
		"ball": problem.Ball{Radius: 0.5}}
	p.Lower.Inequality = func(x, y problem.Vars, _ problem.Batch) *tensor.Node { return x.Flat().Mul(y["free"]) }
	p.Lower.Equality = func(_, y problem.Vars, _ problem.Batch) *tensor.Node { return y["box"].Sum() }
	ex := executor(t)
	b := bind(t, ex, p)
	got := compute(t, ex, func() []*tensor.Node {
		d := b.Oracle().Constraints(problem.Lower, vector(t, ex, []float64{3}), vector(t, ex, y.Flat),
			b.All(problem.Lower))
		return []*tensor.Node{d.Lo, d.Hi, d.Inequality, d.Equality}
	})
	inf := math.Inf(1)
	require.Equal(t, []float64{-1, -1, -inf, 0, 0, -inf, -inf}, got[0])
	require.Equal(t, []float64{2, 2, inf, inf, inf, inf, inf}, got[1])
	require.InDeltaSlice(t, []float64{(0.0625 - 0.25) / 1, 15}, got[2], 1e-15)
	require.InDeltaSlice(t, []float64{0, 0}, got[3], 1e-15)

	free := square(problem.Vector(1), problem.Vector(2))
	none := bind(t, ex, free).Oracle().Constraints(problem.Lower, tensor.Zeros(1), tensor.Zeros(1), problem.Batch{})
	require.Equal(t, problem.Description{}, none)
}

func TestBallWithCenter(t *testing.T) {
	ex := executor(t)
	p := square(problem.Vector(1, 2), problem.Vector(0))
	p.Lower.Set = problem.Ball{Radius: 0.5, Center: []float64{1, 2}}
	set := bind(t, ex, p).Set(problem.Lower).(problem.LinearMinimizer)
	got := compute(t, ex, func() []*tensor.Node {
		z := vector(t, ex, []float64{4, 6})
		inside := vector(t, ex, []float64{1.1, 2})
		return []*tensor.Node{set.Project(z, problem.Batch{}), set.Project(inside, problem.Batch{}),
			set.Project(vector(t, ex, []float64{1, 2}), problem.Batch{}),
			set.Free(inside, problem.Batch{}), set.Least(vector(t, ex, []float64{0, 2}), problem.Batch{}),
			set.Least(tensor.Zeros(2), problem.Batch{})}
	})
	for i, want := range [][]float64{{1.3, 2.4}, {1.1, 2}, {1, 2}, {1, 1}, {1, 1.5}, {1, 2}} {
		require.InDeltaSlice(t, want, got[i], 1e-15)
	}
	require.Equal(t, []float64{1.1, 2}, got[1], "inside nothing moves, not even by rounding")
	require.Equal(t, "ball of radius 0.5 around a point", set.String())
	for want, b := range map[string]problem.Ball{
		"a ball whose center has 1 coordinates for 2 coordinates": {Radius: 1, Center: []float64{1}},
		"the coordinate NaN at 1":                                 {Radius: 1, Center: []float64{1, math.NaN()}},
		"starts outside its ball of radius 0.1 around a point":    {Radius: 0.1, Center: []float64{1, 2.2}},
	} {
		p.Lower.Set = b
		_, err := p.Bind(ex)
		require.ErrorContains(t, err, want)
	}
	loose := problem.Ball{Radius: 1, Center: []float64{1}}
	err := tensor.Catch(func() { loose.Project(tensor.Zeros(1), problem.Batch{}) })
	require.ErrorContains(t, err, "can be used only in a problem that is bound to a device")
}
