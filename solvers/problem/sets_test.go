package problem_test

import (
	"math"
	"slices"
	"testing"

	"bilevel/models/params"
	"bilevel/solvers/problem"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// plainSet is a set with its projection in plain Go, and points of it.
type plainSet struct {
	name    string
	set     problem.Set
	n       int
	project func(z []float64) []float64
}

func clip(lo, hi func(i int) float64) func([]float64) []float64 {
	return func(z []float64) []float64 {
		out := make([]float64, len(z))
		for i, v := range z {
			out[i] = math.Min(hi(i), math.Max(lo(i), v))
		}
		return out
	}
}

func always(v float64) func(int) float64 { return func(int) float64 { return v } }

// simplex is the projection by sorting (Duchi, Shalev-Shwartz, Singer, Chandra, ICML 2008).
func simplex(total float64) func([]float64) []float64 {
	return func(z []float64) []float64 {
		sorted := slices.Clone(z)
		slices.Sort(sorted)
		slices.Reverse(sorted)
		sum, tau := 0.0, 0.0
		for i, v := range sorted {
			sum += v
			if t := (sum - total) / float64(i+1); v > t {
				tau = t
			}
		}
		return clip(always(0), always(math.Inf(1)))(shifted(z, -tau))
	}
}

func shifted(z []float64, by float64) []float64 {
	out := slices.Clone(z)
	floats.AddConst(by, out)
	return out
}

func ball(radius float64) func([]float64) []float64 {
	return func(z []float64) []float64 {
		out := slices.Clone(z)
		if norm := floats.Norm(z, 2); norm > radius {
			floats.Scale(radius/norm, out)
		}
		return out
	}
}

// affine is the projection by the optimality system [I Eᵀ; E 0][u; λ] = [z; c].
func affine(e *mat.Dense, c []float64) func([]float64) []float64 {
	return func(z []float64) []float64 {
		m, n := e.Dims()
		kkt := mat.NewDense(n+m, n+m, nil)
		for i := range n {
			kkt.Set(i, i, 1)
			for j := range m {
				kkt.Set(i, n+j, e.At(j, i))
				kkt.Set(n+j, i, e.At(j, i))
			}
		}
		var u mat.VecDense
		if err := u.SolveVec(kkt, mat.NewVecDense(n+m, slices.Concat(z, c))); err != nil {
			panic(err)
		}
		return u.RawVector().Data[:n]
	}
}

func sets(t *testing.T) []plainSet {
	equations := mat.NewDense(2, 5, noise(10, 40))
	held, err := problem.NewAffine(equations, []float64{0.5, -1})
	require.NoError(t, err)
	lo, hi := []float64{-1, 0, 0.1, math.Inf(-1), 0.3}, []float64{1, 0.2, math.Inf(1), 0, 0.3}
	at := func(v []float64) func(int) float64 { return func(i int) float64 { return v[i] } }
	return []plainSet{
		{"box", problem.Box{Lo: -0.25, Hi: 0.5}, 5, clip(always(-0.25), always(0.5))},
		{"half line", problem.Box{Lo: 0, Hi: math.Inf(1)}, 5, clip(always(0), always(math.Inf(1)))},
		{"bounds", problem.Bounds{Lo: lo, Hi: hi}, 5, clip(at(lo), at(hi))},
		{"simplex", problem.Simplex{Total: 1}, 6, simplex(1)},
		{"simplex of many", problem.Simplex{Total: 1}, 45, simplex(1)},
		{"one number", problem.Simplex{Total: 2}, 1, simplex(2)},
		{"ball", problem.Ball{Radius: 0.75}, 4, ball(0.75)},
		{"affine", held, 5, affine(equations, []float64{0.5, -1})},
	}
}

// bound readies a set of n coordinates.
func bound(t *testing.T, ex *tensor.Executor, s plainSet) problem.Set {
	p := square(problem.Vector(s.project(make([]float64, s.n))...), problem.Vector(0))
	p.Lower.Set = s.set
	return bind(t, ex, p).Set(problem.Lower)
}

// Projections against plain ones, near and far, in both precisions; a projected point is in the set and stays.
func TestProject(t *testing.T) {
	for _, s := range sets(t) {
		for _, ex := range []*tensor.Executor{executor(t), narrow(t)} {
			u := ex.Info().UnitRoundoff()
			set := bound(t, ex, s)
			z := ex.Variable("z", tensor.Real, s.n)
			project := compiled(t, ex, func() []*tensor.Node {
				once := set.Project(z.Node(), problem.Batch{})
				return []*tensor.Node{once, set.Project(once, problem.Batch{})}
			})
			for trial := range 40 {
				at := noise(s.n, trial)
				floats.Scale(math.Pow(10, float64(trial%5-2)), at)
				if trial == 0 {
					at = make([]float64, s.n)
				}
				require.NoError(t, z.Write(at))
				at, err := z.Read() // as the device rounds it
				require.NoError(t, err)
				got := project()
				room := 50 * u * (1 + floats.Norm(at, 2))
				require.InDeltaSlice(t, s.project(at), got[0], room, "%s at %v", s.name, at)
				require.InDeltaSlice(t, got[0], got[1], room, "%s: projecting again", s.name)
				if ex.Info().RealBits == 64 && floats.Norm(at, 2) < 10 {
					require.True(t, s.set.Contains(problem.Vector(got[0]...)), "%s at %v", s.name, at)
				}
			}
		}
	}
}

// P(z) is the nearest point: z - P(z) makes no acute angle with any direction into the set. Least is the lowest point
// in every direction.
func TestOptimality(t *testing.T) {
	for _, s := range sets(t) {
		ex := executor(t)
		set := bound(t, ex, s)
		minimizer, hasLeast := set.(problem.LinearMinimizer)
		z := ex.Variable("z", tensor.Real, s.n)
		both := compiled(t, ex, func() []*tensor.Node {
			out := []*tensor.Node{set.Project(z.Node(), problem.Batch{})}
			if hasLeast {
				out = append(out, minimizer.Least(z.Node(), problem.Batch{}))
			}
			return out
		})
		for trial := range 20 {
			at := noise(s.n, 7*trial)
			floats.Scale(3, at)
			require.NoError(t, z.Write(at))
			got := both()
			for other := range 20 {
				w := s.project(noise(s.n, 1000+other))
				inner := 0.0
				for i := range w {
					inner += (at[i] - got[0][i]) * (w[i] - got[0][i])
				}
				require.LessOrEqual(t, inner, 1e-10, "%s", s.name)
				if hasLeast {
					require.LessOrEqual(t, floats.Dot(at, got[1]), floats.Dot(at, w)+1e-12, "%s: least", s.name)
				}
			}
			if hasLeast && !floats.HasNaN(got[1]) && !math.IsInf(floats.Norm(got[1], math.Inf(1)), 0) {
				require.True(t, s.set.Contains(problem.Vector(got[1]...)), "%s: least %v", s.name, got[1])
			}
		}
		require.Equal(t, s.name != "affine", hasLeast, s.name)
	}
}

// Free against differences of the projection: for sets whose projection has a diagonal derivative it is that diagonal,
// for the simplex the derivative is diag(s) - ssᵀ/Σs with this mask s.
func TestFree(t *testing.T) {
	const h = 1e-5
	for _, s := range sets(t) {
		if s.name == "affine" || s.name == "ball" {
			continue
		}
		ex := executor(t)
		set := bound(t, ex, s)
		held := 0
		z := ex.Variable("z", tensor.Real, s.n)
		free := compiled(t, ex, func() []*tensor.Node {
			return []*tensor.Node{set.Free(set.Project(z.Node(), problem.Batch{}), problem.Batch{})}
		})
		for trial := range 10 {
			at := noise(s.n, 11*trial+3)
			require.NoError(t, z.Write(at))
			mask := free()[0]
			for j := range at {
				held += 1 - int(mask[j])
				up, down := slices.Clone(at), slices.Clone(at)
				up[j] += h
				down[j] -= h
				up, down = s.project(up), s.project(down)
				for i := range at {
					want := 0.0
					if i == j {
						want = mask[i]
					}
					if _, ok := s.set.(problem.Simplex); ok {
						want -= mask[i] * mask[j] / floats.Sum(mask)
					}
					require.InDelta(t, want, (up[i]-down[i])/(2*h), 1e-6, "%s: ∂P_%d/∂z_%d at %v", s.name, i, j, at)
				}
			}
		}
		require.True(t, held > 0 || s.n == 1, "%s: some coordinates were held", s.name)
	}
}

// A point that Ball projects lies on the surface, in both precisions, although rounding may put it a little inside.
func TestFreeOnTheSurface(t *testing.T) {
	for _, ex := range []*tensor.Executor{executor(t), narrow(t)} {
		for trial := range 30 {
			at := noise(7, trial)
			floats.Scale(10/floats.Norm(at, 2), at)
			s := problem.Ball{Radius: 0.3}
			got := compute(t, ex, func() []*tensor.Node {
				z := vector(t, ex, at)
				return []*tensor.Node{s.Free(s.Project(z, problem.Batch{}), problem.Batch{}),
					s.Free(z.Scale(0.02), problem.Batch{})}
			})
			require.Equal(t, make([]float64, 7), got[0], "%v", at)
			require.Equal(t, []float64{1, 1, 1, 1, 1, 1, 1}, got[1])
		}
	}
}

// Far from the simplex, in float32: numbers whose spacing is larger than the total.
func TestSimplexFarAway(t *testing.T) {
	ex := narrow(t)
	for _, at := range [][]float64{{1e8, 0, 0}, {1e9, 1e9, -1e9}, {-3e8, -3e8, -3e8}} {
		got := compute(t, ex, func() []*tensor.Node {
			return []*tensor.Node{problem.Simplex{Total: 1}.Project(vector(t, ex, at), problem.Batch{})}
		})[0]
		require.InDeltaSlice(t, simplex(1)(at), got, 1e-6, "%v", at)
	}
}

// A box that depends on the batch: bounds of each row, for a batch of some rows.
func TestBatchBox(t *testing.T) {
	ex := executor(t)
	z := []float64{0.1, 0.9, 0.5, 0.05, 0.6, 1}
	box := problem.BatchBox{Of: func(b problem.Batch) (lo, hi *tensor.Node) {
		return b.Get("z").Neg().Max(tensor.Const(-0.2)), tensor.Const(1).Sub(b.Get("z")).Min(tensor.Const(0.2))
	}}
	p := square(problem.Vector(0), problem.Vector(0))
	p.Lower.Rows, p.Lower.Set = problem.Rows{"z": problem.Reals(z, 2)}, box
	b := bind(t, ex, p)
	index := ex.Variable("index", tensor.Int, 2)
	require.NoError(t, index.WriteInts([]int32{2, 0}))
	delta := []float64{0.3, 0.3, -0.3, 0.05}
	rows := []float64{0.6, 1, 0.1, 0.9}
	batch := b.Batch(problem.Lower, index.Node())
	set := b.Set(problem.Lower).(problem.LinearMinimizer)
	got := compute(t, ex, func() []*tensor.Node {
		d := vector(t, ex, delta)
		at := set.Project(d, batch)
		return []*tensor.Node{at, set.Free(at, batch), set.Least(d, batch)}
	})
	lo := func(i int) float64 { return math.Max(-0.2, -rows[i]) }
	hi := func(i int) float64 { return math.Min(0.2, 1-rows[i]) }
	require.InDeltaSlice(t, clip(lo, hi)(delta), got[0], 1e-15)
	require.Equal(t, []float64{0, 0, 0, 1}, got[1])
	require.InDeltaSlice(t, []float64{lo(0), lo(1), hi(2), lo(3)}, got[2], 1e-15)
	require.True(t, set.Contains(problem.Vector(9)), "what is inside depends on the batch")
}

// Named variables in a set each; those without one are free.
func TestProductOfSets(t *testing.T) {
	ex := executor(t)
	x := params.Values{}.And("decay", 0.5, 0.5).And("loose", 7).AndShaped("weights", []int{2, 2}, []float64{1, 0, 0, 0})
	p := square(problem.Vector(0), x)
	p.Upper.Set = problem.Sets{"decay": problem.Bounds{Lo: []float64{0, 0}, Hi: []float64{1, 2}},
		"weights": problem.Simplex{Total: 1}}
	set := bind(t, ex, p).Set(problem.Upper)
	at := []float64{-1, 1.5, 30, 0.7, -0.2, 0.6, 0.1}
	got := compute(t, ex, func() []*tensor.Node {
		z := set.Project(vector(t, ex, at), problem.Batch{})
		return []*tensor.Node{z, set.Free(z, problem.Batch{})}
	})
	want := slices.Concat([]float64{0, 1.5, 30}, simplex(1)(at[3:]))
	require.InDeltaSlice(t, want, got[0], 1e-14)
	free := []float64{0, 1, 1}
	for _, v := range want[3:] {
		free = append(free, math.Ceil(v))
	}
	require.Equal(t, free, got[1])
	require.True(t, p.Upper.Set.Contains(x.Like(got[0])))
	require.False(t, p.Upper.Set.Contains(x.Like(at)))
	_, hasLeast := set.(problem.LinearMinimizer)
	require.False(t, hasLeast, "a free variable has no lowest point")
	require.Equal(t, "product of sets (decay in a box with bounds for each of 2 coordinates, weights in a simplex "+
		"of total 1)", set.String())

	p.Upper.Set = problem.Sets{"decay": problem.Box{Lo: 0, Hi: 1}, "loose": problem.Ball{Radius: 8},
		"weights": problem.Simplex{Total: 1}}
	all := bind(t, ex, p).Set(problem.Upper).(problem.LinearMinimizer)
	got = compute(t, ex, func() []*tensor.Node { return []*tensor.Node{all.Least(vector(t, ex, at), problem.Batch{})} })
	require.InDeltaSlice(t, []float64{1, 0, -8, 0, 1, 0, 0}, got[0], 1e-14)
}

func TestContains(t *testing.T) {
	outside := map[string][]float64{
		"box": {0, 0, 0, 0, 0.51}, "half line": {1, 1, 1, 1, -1e-9}, "bounds": {0, 0, 0.1, -5, 0.31},
		"simplex":    {0.5, 0.5, 0.1, 0, 0, 0},
		"one number": {1}, "ball": {0.5, 0.5, 0.5, 0.5}, "affine": {0, 0, 0, 0, 0},
	}
	for _, s := range sets(t) {
		require.True(t, s.set.Contains(problem.Vector(s.project(noise(s.n, 3))...)), s.name)
		require.False(t, s.set.Contains(problem.Vector(outside[s.name]...)), s.name)
		bad := s.project(noise(s.n, 3))
		bad[s.n-1] = math.NaN()
		require.False(t, s.set.Contains(problem.Vector(bad...)), "%s with NaN", s.name)
	}
}

// A set that makes no sense is refused where the problem is bound.
func TestSetsRefuse(t *testing.T) {
	y := params.Values{}.And("w", 0.5, 0.5).And("b", 0)
	equations := func(n int) problem.Set {
		s, err := problem.NewAffine(mat.NewDense(1, n, twos(n)), []float64{1})
		require.NoError(t, err)
		return s
	}
	for want, set := range map[string]problem.Set{
		"the lower level's set: box [1, 0] is empty":    problem.Box{Lo: 1, Hi: 0},
		"the lower level's set: box [NaN, 0] is empty":  problem.Box{Lo: math.NaN(), Hi: 0},
		"the lower level starts outside its box [1, 2]": problem.Box{Lo: 1, Hi: 2},
		"2 lower and 3 upper bounds for 3 coordinates": problem.Bounds{Lo: []float64{0, 0},
			Hi: []float64{1, 1, 1}},
		"coordinate 1 lies between 2 and 1, which is empty": problem.Bounds{Lo: []float64{0, 2, 0},
			Hi: []float64{1, 1, 1}},
		"a box by batch without a function that gives its bounds":    problem.BatchBox{},
		"a simplex of total -1: wants a positive, finite one":        problem.Simplex{Total: -1},
		"starts outside its simplex of total 2":                      problem.Simplex{Total: 2},
		"a ball of radius NaN: wants a positive, finite one":         problem.Ball{Radius: math.NaN()},
		"starts outside its ball of radius 0.1":                      problem.Ball{Radius: 0.1},
		"an affine set that NewAffine did not make":                  problem.Affine{},
		"equations in 4 unknowns for 3 coordinates":                  equations(4),
		"starts outside its affine set of 1 equations in 3 unknowns": equations(3),
		`there is no array "bb" (there are w, b); did you mean "b"?`: problem.Sets{"bb": problem.Box{}},
		`"w": a ball of radius 0`:                                    problem.Sets{"w": problem.Ball{}},
		`"w" has no set: leave it out of Sets where it is free`:      problem.Sets{"w": nil},
	} {
		p := square(y, problem.Vector(0))
		p.Lower.Set = set
		_, err := p.Bind(executor(t))
		require.ErrorContains(t, err, want)
	}
	_, err := problem.NewAffine(mat.NewDense(2, 3, []float64{1, 2, 3, 2, 4, 6}), []float64{1, 2})
	require.ErrorContains(t, err, "depend on each other: leave out those that follow from others")
	_, err = problem.NewAffine(mat.NewDense(1, 3, twos(3)), []float64{1, 2})
	require.ErrorContains(t, err, "1 equations with 2 right-hand sides")
	_, err = problem.NewAffine(nil, nil)
	require.ErrorContains(t, err, "an affine set without equations")
	p := square(problem.Vector(1, 2), problem.Vector(0))
	for _, set := range []problem.Sets{{}, {"w": problem.Box{}}} {
		p.Lower.Set = set
		require.ErrorContains(t, p.Check(), "the lower level's set: a product of sets wants a vector whose parts have "+
			"names")
	}
	for _, set := range []problem.Set{problem.Bounds{Lo: []float64{0}, Hi: []float64{1}}, equations(1),
		problem.Sets{"w": problem.Box{}}} {
		err := tensor.Catch(func() { set.Project(tensor.Zeros(1), problem.Batch{}) })
		require.ErrorContains(t, err, "can be used only in a problem that is bound to a device")
	}
}

// twos is a row of twos.
func twos(n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = 2
	}
	return out
}

// Points whose squares float32 does not hold, large and small: a ball of its own radius, a set of equations whose rows
// have very different sizes.
func TestSetsOfAnySize(t *testing.T) {
	ex := narrow(t)
	var b problem.Batch
	for _, c := range []struct{ radius, at float64 }{{1, 1e19}, {1e-25, 1e-25}, {1e25, 1e25}} {
		s, at := problem.Ball{Radius: c.radius}, []float64{3 * c.at, 4 * c.at}
		got := compute(t, ex, func() []*tensor.Node {
			z := vector(t, ex, at)
			near := z.Scale(0.1 * c.radius / c.at)
			slope := tensor.Grad(s.Describe(near, b).Inequality.Sum(), near)[0]
			return []*tensor.Node{s.Project(z, b), s.Least(z, b), s.Free(z, b), s.Free(near, b), slope}
		})
		for i, want := range [][]float64{{0.6, 0.8}, {-0.6, -0.8}} {
			floats.Scale(1/c.radius, got[i])
			require.InDeltaSlice(t, want, got[i], 1e-6, "radius %g at %g", c.radius, c.at)
		}
		require.Equal(t, [][]float64{{0, 0}, {1, 1}}, got[2:4])
		require.InDeltaSlice(t, []float64{0.3, 0.4}, got[4], 1e-6, "radius %g", c.radius)
	}
	require.False(t, problem.Ball{Radius: 1e-200}.Contains(problem.Vector(1e-190, 0)))
	require.True(t, problem.Ball{Radius: 1e200}.Contains(problem.Vector(9e199, 1e199)))
	s, err := problem.NewAffine(mat.NewDense(2, 2, []float64{1, 1, 1e-8, -1e-8}), []float64{2, 0})
	require.NoError(t, err, "the equations do not depend on each other")
	p := square(problem.Vector(1, 1), problem.Vector(0))
	p.Lower.Set = s
	bound, err := p.Bind(ex)
	require.NoError(t, err)
	got := compute(t, ex, func() []*tensor.Node {
		return []*tensor.Node{bound.Set(problem.Lower).Project(vector(t, ex, []float64{5, -7}), b)}
	})
	require.InDeltaSlice(t, []float64{1, 1}, got[0], 1e-5)
	require.NoError(t, bound.Close())
}
