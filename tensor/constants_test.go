package tensor_test

import (
	"fmt"
	"math"
	"testing"

	. "bilevel/tensor"

	"github.com/stretchr/testify/require"
)

// sharp are the integers at the ends of what float32 and int32 hold.
var sharp = []int32{
	0, 1, -1, 1<<24 - 1, 1 << 24, 1<<24 + 1, -1<<24 + 1, -1 << 24, -1<<24 - 1, 1<<30 + 1,
	math.MaxInt32 - 1, math.MaxInt32, math.MinInt32, math.MinInt32 + 1,
}

// ints evaluates Int nodes.
func ints(t *testing.T, ex *Executor, nodes ...*Node) (out [][]int32) {
	t.Helper()
	var updates []Update
	for _, n := range nodes {
		updates = append(updates, Update{Var: ex.Variable("out", Int, n.Shape()...), Value: n})
	}
	f, err := ex.Compile("ints", func() []Update { return updates })
	require.NoError(t, err)
	require.NoError(t, f.Run(1))
	for _, u := range updates {
		v, err := u.Var.ReadInts()
		require.NoError(t, err)
		out = append(out, v)
	}
	require.NoError(t, f.Close())
	return out
}

// An Int keeps its bits wherever it goes: as a constant in every place where one may stand, and in every operation.
func TestIntegersKeepTheirBits(t *testing.T) {
	onDevices(t, func(t *testing.T, ex *Executor) {
		v := ex.Variable("v", Int, len(sharp))
		require.NoError(t, v.WriteInts(sharp))
		one := ex.Variable("one", Int)
		require.NoError(t, one.WriteInts([]int32{1}))
		for _, c := range sharp {
			k := IntConst(c)
			want := func(f func(x int32) int32) (out []int32) {
				for _, x := range sharp {
					out = append(out, f(x))
				}
				return out
			}
			got := ints(t, ex, k, k.Expand(3), Concat(0, k.Expand(1), k.Expand(2)), k.Add(one.Node()),
				k.Sub(k.Sub(one.Node())),
				v.Node().Add(k), v.Node().Sub(k), k.Sub(v.Node()), v.Node().Mul(k),
				Gather(v.Node(), IntConst(3).Expand(2)),
				Gather(Concat(0, k.Expand(2), v.Node()), IntConst(1).Expand(1)))
			require.Equal(t, []int32{c}, got[0])
			require.Equal(t, []int32{c, c, c}, got[1])
			require.Equal(t, []int32{c, c, c}, got[2])
			require.Equal(t, []int32{c + 1}, got[3])
			require.Equal(t, []int32{1}, got[4])
			require.Equal(t, want(func(x int32) int32 { return x + c }), got[5])
			require.Equal(t, want(func(x int32) int32 { return x - c }), got[6])
			require.Equal(t, want(func(x int32) int32 { return c - x }), got[7])
			require.Equal(t, want(func(x int32) int32 { return x * c }), got[8])
			require.Equal(t, []int32{sharp[3], sharp[3]}, got[9])
			require.Equal(t, []int32{c}, got[10])
			truths := run(t, ex, v.Node().Eq(k), k.Lt(v.Node()), v.Node().Lt(k), v.Node().Sub(k).ToReal())
			for i, x := range sharp {
				is := func(b bool, got float64) { require.Equal(t, b, got == 1, "%d and %d", x, c) }
				is(x == c, truths[0][i])
				is(c < x, truths[1][i])
				is(x < c, truths[2][i])
				d := float64(x - c)
				require.True(t, truths[3][i] == d || truths[3][i] == float64(float32(d)), "%d - %d", x, c)
			}
		}
	})
}

// Places beyond 2^24 are found and fetched: of parts laid end to end, and in one row. The parts repeat few numbers in
// memory.
func TestPlacesBeyondFloat32(t *testing.T) {
	const first = 1<<24 + 3
	for _, name := range []string{"cpu", "cpu:generic"} { // the others take minutes
		onDevice(t, name, func(t *testing.T, ex *Executor) {
			low := Iota(0, first).ToReal().Scale(0) // zeros, not a constant
			high := variable(t, ex, []float64{5, 7, 6, 7})
			value, place := KthLargest(IntConst(3), low, high.Node())
			require.Equal(t, []int32{first + 2}, ints(t, ex, place)[0])
			require.Equal(t, []float64{6}, run(t, ex, value)[0])
			row := Concat(0, low, high.Node()).Reshape(1, -1)
			require.Equal(t, []int32{first + 1}, ints(t, ex, row.ArgMax())[0])
			require.Equal(t, []float64{7}, run(t, ex, Gather(row.Flatten(), row.ArgMax()))[0])
			require.Equal(t, []float64{1, 0, 0},
				run(t, ex, OneHot(IntConst(first-3).Expand(1), first).Slice(1, first-3, first))[0])
			require.Equal(t, []int32{first - 2, first - 1}, ints(t, ex, Iota(0, first).Slice(0, first-2, first))[0])
		})
	}
}

// Constants and variables beyond 2^24 are indices and ranks like others: of Gather and its derivative, ScatterAdd, and
// the k-th largest.
func TestIndicesBeyondFloat32(t *testing.T) {
	const n, first = 1<<24 + 5, 1 << 24
	for _, name := range []string{"cpu", "cuda-sim"} { // the others take minutes
		onDevice(t, name, func(t *testing.T, ex *Executor) {
			values := make([]float64, n)
			copy(values[first:], []float64{1, 2, 3, 4, 5})
			table, index := variable(t, ex, values).Node(), ex.Variable("index", Int)
			for i := range int32(5) {
				require.NoError(t, index.WriteInts([]int32{first + i - 1}))
				place := index.Node().Add(IntConst(1))
				got := run(t, ex, Gather(table, IntConst(first+i).Expand(1)), Gather(table, place.Expand(1)))
				require.Equal(t, [][]float64{{float64(i + 1)}, {float64(i + 1)}}, got)
			}
			if name == "cuda-sim" { // what looks at all elements takes minutes
				return
			}
			place := IntConst(first + 3).Expand(1)
			added := ScatterAdd(table, place, Full(10, 1))
			g := Grad(Gather(table, place).Sum(), table)[0]
			got := run(t, ex, added.Slice(0, first, n), g.Slice(0, first, n))
			require.Equal(t, [][]float64{{1, 2, 3, 14, 5}, {0, 0, 0, 1, 0}}, got)
			_, at := KthLargest(IntConst(first+4), table.Neg()) // all zeros are larger
			require.Equal(t, []int32{first + 3}, ints(t, ex, at)[0])
		})
	}
}

// A counter that a function moves keeps its bits over 2^24, and wraps at the end of int32 as integers do; numbers
// beyond int32 become 0 as integers.
func TestCountersKeepTheirBits(t *testing.T) {
	onDevices(t, func(t *testing.T, ex *Executor) {
		c := ex.Variable("c", Int, 3)
		require.NoError(t, c.WriteInts([]int32{1<<24 - 1, math.MaxInt32 - 1, -(1<<24 + 1)}))
		f, err := ex.Compile("count", func() []Update { return []Update{{Var: c, Value: c.Node().Add(IntConst(1))}} })
		require.NoError(t, err)
		require.NoError(t, f.Run(3))
		got, err := c.ReadInts()
		require.NoError(t, err)
		require.Equal(t, []int32{1<<24 + 2, math.MinInt32 + 1, -(1 << 24) + 2}, got)
		inf := math.Inf(1)
		x := variable(t, ex, []float64{1<<24 - 1, 1 << 24, -(1 << 24), 2147483520, 3e9, -3e9, math.NaN(), inf, -inf})
		want := []int32{1<<24 - 1, 1 << 24, -(1 << 24), 2147483520, 0, 0, 0, 0, 0}
		require.Equal(t, want, ints(t, ex, x.Node().ToInt())[0])

		seed, step := ex.Variable("seed", Int, 2), ex.Variable("step", Int)
		require.NoError(t, seed.WriteInts([]int32{1<<24 + 1, math.MaxInt32}))
		require.NoError(t, step.WriteInts([]int32{1 << 24}))
		draw := func(step *Node) *Node { return RandomInts(math.MaxInt32, seed.Node(), step, 1, 4) }
		drawn := ints(t, ex, draw(step.Node().Add(IntConst(1))), draw(IntConst(1<<24+1)), draw(step.Node()))
		require.Equal(t, drawn[0], drawn[1])
		require.NotEqual(t, drawn[0], drawn[2], "the step is not rounded to float32")
	})
}

// Constants fold only to what the device would compute: the same factors one after the other, from variables that
// nothing can fold, give the same on every device, where nothing in between overflows or underflows.
func TestFoldedFactors(t *testing.T) {
	onDevices(t, func(t *testing.T, ex *Executor) {
		for _, c := range []struct {
			x       float64
			factors []float64
		}{
			{1e-35, []float64{1e25, 1e25}}, {1e30, []float64{1e-30, 1e-30}}, {1e-35, []float64{1e25, 1e25, 1e20}},
			{1e-30, []float64{1e38, 10, 1e20}},
			{1e-20, []float64{-1e30, -1e20}}, {1, []float64{1e30, 1e-30}}, {1e10, []float64{1e-40, 1e20}},
			{2, []float64{3, 0.5, 7}},
		} {
			x := variable(t, ex, []float64{c.x})
			folded, plain := x.Node(), x.Node()
			for _, f := range c.factors {
				folded, plain = folded.Scale(f), plain.Mul(variable(t, ex, []float64{f}).Node())
			}
			got := run(t, ex, folded, plain)
			require.InEpsilon(t, got[1][0], got[0][0], 1e-6, "%v", c)
		}
	})
}

// A constant expression is what its operations give in the device's arithmetic.
func TestFoldedConstants(t *testing.T) {
	inf := math.Inf(1)
	sums := Full(1e38, 100).Sum()
	for i, c := range []struct {
		n          *Node
		want, wide float64 // in float32, in float64
	}{
		{Const(1e30).Mul(Const(1e30)), inf, 1e60},
		{Const(1e30).Mul(Const(1e30)).Log(), inf, 60 * math.Ln10},
		{Const(1e-30).Mul(Const(1e-30)).Log(), math.Inf(-1), -60 * math.Ln10},
		{Const(100).Exp(), inf, math.Exp(100)},
		{Const(100).Exp().Log(), inf, 100},
		{sums, inf, 1e40},
		{sums.Log(), inf, 40 * math.Ln10},
		{Const(1).Div(Const(1e-20).Square().Square()), inf, 1e80},
		{Const(1 << 24).Eq(Const(1<<24 + 1)), 1, 0},
		{Const(1).Lt(Const(1 + 1e-12)), 0, 1},
		{Const(1 - 1e-12).Floor(), 1, 0},
		{Const(3).Mul(Const(4)).AddConst(0.5), 12.5, 12.5},
		{Const(2).Pow(-3), 0.125, 0.125},
	} {
		onDevices(t, func(t *testing.T, ex *Executor) {
			want := c.want
			if ex.Info().RealBits == 64 {
				want = c.wide
			}
			got := run(t, ex, c.n)[0][0]
			require.True(t, got == want || math.Abs(got-want) <= 1e-6*math.Abs(want) && !math.IsInf(want, 0),
				"%d: %v, want %v", i, got, want)
		})
	}
}

// A finite constant that the device's numbers do not hold is refused, in one sentence.
func TestConstantsTooLarge(t *testing.T) {
	onDevices(t, func(t *testing.T, ex *Executor) {
		for _, c := range []float64{1e50, -3.5e38, math.MaxFloat64} {
			x := variable(t, ex, []float64{1})
			_, err := ex.Compile("large", func() []Update { return []Update{{Var: x, Value: x.Node().Scale(c)}} })
			if ex.Info().RealBits == 64 {
				require.NoError(t, err)
				continue
			}
			require.ErrorContains(t, err, fmt.Sprintf("the constant %v is beyond float32", c))
		}
		require.Equal(t, []float64{math.Inf(1), math.MaxFloat32},
			run(t, ex, Concat(0, Full(math.Inf(1), 1), Full(math.MaxFloat32, 1)))[0])
	})
}

// A label outside the classes is seen by the value, the gradient, and what is of second order, alike: NaN in its row,
// and numbers in the other.
func TestLabelsOutsideTheClasses(t *testing.T) {
	onDevices(t, func(t *testing.T, ex *Executor) {
		z := variable(t, ex, []float64{1, 2, 3, 4, 5, 6}, 2, 3)
		w := variable(t, ex, []float64{0.5, 2})
		l := ex.Variable("labels", Int, 2)
		each := CrossEntropy(z.Node(), l.Node())
		for _, loss := range []*Node{each.Mean(), each.Mul(w.Node()).Sum(), each.Square().Sum()} {
			g := Grad(loss, z.Node())[0]
			h := HVP(loss, []*Node{z.Node()}, []*Node{Iota(1, 2, 3).ToReal().Square()})[0]
			h2 := Grad(Dot(g, Iota(1, 2, 3).ToReal().Square()), z.Node())[0]
			tangent := JVP([]*Node{each}, []*Node{z.Node()}, []*Node{Iota(1, 2, 3).ToReal()})[0]
			for _, label := range []int32{0, 2, -1, -100, 3, 1<<24 + 1, math.MaxInt32, math.MinInt32} {
				require.NoError(t, l.WriteInts([]int32{0, label}))
				bad := label < 0 || label > 2
				out := run(t, ex, each, tangent, g, h, h2)
				for k, values := range out {
					for i, v := range values {
						secondRow := i >= len(values)/2
						require.Equal(t, bad && secondRow, math.IsNaN(v), "label %d, result %d: %v", label, k, values)
					}
				}
			}
		}
	})
}

// x^p and its derivatives to second order against math.Pow, at 0 and at infinity too.
func TestPow(t *testing.T) {
	inf := math.Inf(1)
	x := []float64{0, 0.3, 1, 2.5, 1e-3, 40, inf}
	onDevices(t, func(t *testing.T, ex *Executor) {
		v := variable(t, ex, x)
		minus := variable(t, ex, []float64{-2, -0.5, 0, math.Copysign(0, -1)})
		for _, p := range []float64{2.4, 2, 1.5, 1, 0, 0.5, 0.4, -1, -2, -2.5, 3, 7, 1.0001, 12, 2.5} {
			y := v.Node().Pow(p)
			g := Grad(y.Sum(), v.Node())[0]
			out := run(t, ex, y, g, Grad(g.Sum(), v.Node())[0],
				JVP([]*Node{g}, []*Node{v.Node()}, []*Node{Full(1, len(x))})[0],
				Grad(v.Node().Clamp(Const(0), Const(50)).Pow(p).Sum(), v.Node())[0], minus.Node().Pow(p))
			for i, at := range x {
				want := []float64{math.Pow(at, p), p * math.Pow(at, p-1), p * (p - 1) * math.Pow(at, p-2),
					p * (p - 1) * math.Pow(at, p-2)}
				if p == 0 || p == 1 { // constants: no 0·∞
					want[2], want[3] = 0, 0
					want[1] = p
				}
				for k, w := range want {
					if got := out[k][i]; got != w && !(math.Abs(got-w) <= 1e-5*math.Abs(w)) {
						t.Errorf("derivative %d of x^%v at %v: %v, want %v", min(k, 2), p, at, got, w)
					}
				}
				behind := want[1]
				if at <= 0 || at >= 50 {
					behind = 0
				}
				if got := out[4][i]; !(math.Abs(got-behind) <= 1e-5*math.Abs(behind)) {
					t.Errorf("derivative of clamp(x)^%v at %v: %v, want %v", p, at, got, behind)
				}
			}
			for i, at := range []float64{-2, -0.5, 0, math.Copysign(0, -1)} {
				w := math.Pow(at, p)
				if got := out[5][i]; got != w && !(math.Abs(got-w) <= 1e-5*math.Abs(w)) &&
					!(math.IsNaN(got) && math.IsNaN(w)) {
					t.Errorf("(%v)^%v = %v, want %v", at, p, got, w)
				}
			}
		}
	})
	for _, p := range []float64{math.NaN(), inf, 1 << 31} {
		require.ErrorContains(t, Catch(func() { Const(2).Pow(p) }), "exponent")
	}
}
