package tensor_test

import (
	"fmt"
	"math"
	"testing"

	"bilevel/device/open"
	. "bilevel/tensor"

	"github.com/stretchr/testify/require"
)

// onDevices runs a test on the reference device, the processor and a simulated card.
func onDevices(t *testing.T, test func(t *testing.T, ex *Executor)) {
	for _, name := range []string{"ref", "cpu", "cpu:generic", "cuda-sim"} {
		onDevice(t, name, test)
	}
}

func onDevice(t *testing.T, name string, test func(t *testing.T, ex *Executor)) {
	t.Run(name, func(t *testing.T) {
		dev, err := open.Open(name, open.Options{Threads: 1})
		require.NoError(t, err)
		ex := NewExecutor(dev)
		test(t, ex)
		require.NoError(t, ex.Close())
		require.NoError(t, dev.Close())
	})
}

var infinities = []float64{0, 1, math.Inf(1), math.Inf(-1), math.NaN()}

// A piecewise function, and arguments around which it does not depend on its argument: its derivative there is 0.
type piecewise struct {
	name  string
	f     func(x *Node) *Node
	flat  []float64
	value float64 // of f at every argument in flat
}

var half = Const(0.5)

var piecewiseFunctions = []piecewise{
	{"relu", (*Node).Relu, []float64{-1, 0, math.Inf(-1)}, 0},
	{"abs", (*Node).Abs, []float64{0, math.Copysign(0, -1)}, 0},
	{"sqrt", (*Node).Sqrt, []float64{0}, 0},
	{"clamp from below", func(x *Node) *Node { return x.Clamp(half, Const(2)) },
		[]float64{-1, 0, 0.5, math.Inf(-1)}, 0.5},
	{"clamp from above", func(x *Node) *Node { return x.Clamp(Const(-2), half) }, []float64{0.5, 3, math.Inf(1)}, 0.5},
	{"lower bound", func(x *Node) *Node { return half.Clamp(x, Const(2)) }, []float64{0, -1, math.Inf(-1)}, 0.5},
	{"upper bound", func(x *Node) *Node { return half.Clamp(Const(-2), x) }, []float64{1, 3, math.Inf(1)}, 0.5},
	{"max", func(x *Node) *Node { return x.Max(half) }, []float64{0, -2, math.Inf(-1)}, 0.5},
	{"max of second", func(x *Node) *Node { return half.Max(x) }, []float64{0, 0.5, math.Inf(-1)}, 0.5},
	{"min", func(x *Node) *Node { return x.Min(half) }, []float64{1, 2, math.Inf(1)}, 0.5},
	{"min of second", func(x *Node) *Node { return half.Min(x) }, []float64{1, 0.5, math.Inf(1)}, 0.5},
	{"where", func(x *Node) *Node { return Where(x.Lt(half), half, x) }, []float64{0, -3, math.Inf(-1)}, 0.5},
	{"where otherwise", func(x *Node) *Node { return Where(half.Lt(x), x, half) },
		[]float64{0, -3, math.Inf(-1), math.NaN()}, 0.5},
	{"maximum over a row", func(x *Node) *Node { // of x and ½; it is x's derivative that counts
		return Concat(1, x.Reshape(-1, 1), half.Expand(x.Size(), 1)).MaxOver(1)
	}, []float64{0, -3, math.Inf(-1)}, 0.5},
	{"exp at -∞", (*Node).Exp, []float64{math.Inf(-1)}, 0},
	{"exp of log at 0", func(x *Node) *Node { return x.Log().Scale(2.4).Exp() }, []float64{0}, 0},
	{"exp of log of relu", func(x *Node) *Node { return x.Relu().Log().Scale(2.4).Exp() },
		[]float64{-1, 0, math.Inf(-1)}, 0},
	{"relu of relu", func(x *Node) *Node { return x.Relu().Reshape(-1, 1).Relu().Flatten() },
		[]float64{-1, 0, math.Inf(-1)}, 0},
}

// A singular function has an infinite slope, or none, at 0.
var singularFunctions = []struct {
	name string
	f    func(y *Node) *Node
}{
	{"log", (*Node).Log},
	{"sqrt", (*Node).Sqrt},
	{"1/y", func(y *Node) *Node { return Const(1).Div(y) }},
	{"y/y", func(y *Node) *Node { return y.Div(y) }},
	{"log |y|", func(y *Node) *Node { return y.Abs().Log() }},
	{"exp(1/y)", func(y *Node) *Node { return Const(1).Div(y).Exp() }},
	{"y^0.4", func(y *Node) *Node { return y.Pow(0.4) }},
	{"y^-2", func(y *Node) *Node { return y.Pow(-2) }},
	{"log of a sum", func(y *Node) *Node { return y.Reshape(-1, 1).Expand(y.Size(), 3).Sum(1).Log() }},
}

// derivatives are the derivatives of a vector y in a vector x in both modes to second order, along directions all of c.
func derivatives(y, x *Node, c float64) map[string]*Node {
	direction := func(n *Node) *Node { return Full(c, n.Shape()...) }
	first := VJP([]*Node{y}, []*Node{x}, []*Node{direction(y)})[0]
	tangent := JVP([]*Node{y}, []*Node{x}, []*Node{direction(x)})[0]
	return map[string]*Node{
		"VJP":        first,
		"JVP":        tangent,
		"JVP of VJP": JVP([]*Node{first}, []*Node{x}, []*Node{direction(x)})[0],
		"VJP of VJP": VJP([]*Node{first}, []*Node{x}, []*Node{direction(x)})[0],
		"VJP of JVP": VJP([]*Node{tangent}, []*Node{x}, []*Node{direction(y)})[0],
		"JVP of JVP": JVP([]*Node{tangent}, []*Node{x}, []*Node{direction(x)})[0],
	}
}

// zeros evaluates nodes and wants them all zero.
func zeros(t *testing.T, ex *Executor, nodes map[string]*Node) {
	t.Helper()
	var names []string
	var list []*Node
	for name, n := range nodes {
		names, list = append(names, name), append(list, n)
	}
	for i, got := range run(t, ex, list...) {
		for k, v := range got {
			if v != 0 {
				t.Errorf("%s: element %d is %v, want 0", names[i], k, v)
			}
		}
	}
}

// Where a piecewise function is flat its derivatives are 0, whatever they are multiplied with: directions that are
// infinite or NaN.
func TestMasksSelectDirections(t *testing.T) {
	onDevices(t, func(t *testing.T, ex *Executor) {
		for _, p := range piecewiseFunctions {
			x := variable(t, ex, p.flat)
			nodes := map[string]*Node{}
			for _, c := range infinities {
				for way, n := range derivatives(p.f(x.Node()), x.Node(), c) {
					nodes[fmt.Sprintf("%s of %s along %v", way, p.name, c)] = n
				}
			}
			zeros(t, ex, nodes)
		}
	})
}

// Where a piecewise function is flat, what is computed of it does not depend on its argument either, though it may have
// an infinite slope there: log(relu(x)).
func TestMasksSelectBeforeSingularFunctions(t *testing.T) {
	onDevices(t, func(t *testing.T, ex *Executor) {
		for _, p := range piecewiseFunctions {
			x := variable(t, ex, p.flat)
			nodes := map[string]*Node{}
			for _, s := range singularFunctions {
				y := s.f(p.f(x.Node()).AddConst(-p.value))
				for way, n := range derivatives(y, x.Node(), 1) {
					nodes[fmt.Sprintf("%s of %s of %s", way, s.name, p.name)] = n
				}
			}
			zeros(t, ex, nodes)
		}
	})
}

// What overflows on its way to a piecewise function, or is no number, has derivative 0 where that function does not
// choose it: min(exp(x), ½).
func TestMasksSelectAfterSingularFunctions(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	onDevices(t, func(t *testing.T, ex *Executor) {
		x, v := variable(t, ex, []float64{1000, 800}), variable(t, ex, []float64{inf, inf})
		hidden := variable(t, ex, []float64{inf, -inf, nan, 0})
		nodes := map[string]*Node{}
		add := func(name string, y *Node, wrt ...*Node) {
			for _, w := range wrt {
				for way, n := range derivatives(y, w, 1) {
					nodes[way+" of "+name] = n
				}
			}
		}
		e, prod := x.Node().Exp(), x.Node().Mul(v.Node())
		add("min(exp(x), ½)", e.Min(half), x.Node())
		add("min(½, exp(x))", half.Min(e), x.Node())
		add("clamp(exp(x))", e.Clamp(Const(0), half), x.Node())
		add("relu(-exp(x))", e.Neg().Relu(), x.Node())
		add("min(Σ exp(x), ½)", e.Sum().Min(half), x.Node())
		add("min(x·v, ½) in x", prod.Min(half), x.Node())
		add("min(x·v, ½) in v", prod.Min(half), v.Node())
		add("relu(-x·v)", prod.Neg().Relu(), x.Node(), v.Node())
		add("max(-x·v, ½) over rows", Concat(0, prod.Neg().Reshape(1, 2), half.Expand(1, 2)).MaxOver(0), x.Node())
		h := hidden.Node()
		for name, f := range map[string]func(*Node) *Node{
			"h": func(n *Node) *Node { return n }, "h·h": (*Node).Square,
			"1/h":   func(n *Node) *Node { return Const(1).Div(n) },
			"log h": (*Node).Log, "exp h": (*Node).Exp, "sqrt h": (*Node).Sqrt, "sin h": (*Node).Sin,
			"tanh h": (*Node).Tanh,
			"|h|":    (*Node).Abs, "sigmoid h": (*Node).Sigmoid, "softplus h": (*Node).Softplus,
			"h^-1.5":    func(n *Node) *Node { return n.Pow(-1.5) },
			"softmax h": (*Node).Softmax, "log softmax h": (*Node).LogSoftmax,
			"h/Σh": func(n *Node) *Node { return n.Div(n.Sum()) },
		} {
			add("where(0, "+name+", 1)", Where(Zeros(4), f(h), Const(1)), h)
			add("where(1, 1, "+name+")", Where(Full(1, 4), Const(1), f(h)), h)
		}
		labels := ex.Variable("labels", Int, 2)
		require.NoError(t, labels.WriteInts([]int32{-100, 1}))
		rows := h.Reshape(2, 2)
		add("cross-entropy of rows that do not count", Where(Zeros(2), CrossEntropy(rows, labels.Node()), Const(0)), h)
		zeros(t, ex, nodes)
	})
}

// Where a piecewise function does depend on its argument, directions pass as they are.
func TestMasksPass(t *testing.T) {
	onDevices(t, func(t *testing.T, ex *Executor) {
		x := variable(t, ex, []float64{0.25, 1})
		for _, c := range infinities {
			for name, f := range map[string]func(*Node) *Node{
				"relu": (*Node).Relu, "abs": (*Node).Abs,
				"clamp": func(x *Node) *Node { return x.Clamp(Const(0), Const(2)) },
				"max":   func(x *Node) *Node { return x.Max(Const(0)) },
				"min":   func(x *Node) *Node { return Const(3).Min(x) },
				"where": func(x *Node) *Node { return Where(Const(1), x, Const(0)) },
			} {
				for way, n := range derivatives(f(x.Node()), x.Node(), c) {
					for _, got := range run(t, ex, n)[0] {
						want := c
						if len(way) > 3 {
							want = 0 // of second order
						}
						same := got == want || math.IsNaN(got) && math.IsNaN(want)
						require.True(t, same, "%s of %s along %v: %v", way, name, c, got)
					}
				}
			}
		}
	})
}

// A direction that has been through a selection may be 0 by chance where the function depends on its argument: along x
// = 0 that of 1 + x²/2 is x·v = 0. What it is multiplied with afterwards must not be cut off with it: with f the
// composition of a piecewise and a singular function, and s the derivative of f at 1, the second derivative of 3·f(1 +
// x²/2) at x = 0 is 3·s in every mode. The same where two directions cancel in a sum: at x = (1, 1) along (1, -1).
func TestDirectionsThatVanishByChance(t *testing.T) {
	inner := []struct {
		name  string
		f     func(*Node) *Node
		slope float64 // at 1, where the value is 1
		bend  float64 // the second derivative there
	}{
		{"relu", (*Node).Relu, 1, 0}, {"abs", (*Node).Abs, 1, 0}, {"sqrt", (*Node).Sqrt, 0.5, -0.25},
		{"clamp", func(x *Node) *Node { return x.Clamp(Const(0), Const(2)) }, 1, 0},
		{"max", func(x *Node) *Node { return x.Max(half) }, 1, 0},
		{"min", func(x *Node) *Node { return Const(3).Min(x) }, 1, 0},
		{"where", func(x *Node) *Node { return Where(Const(1), x, Const(0)) }, 1, 0},
		{"exp", func(x *Node) *Node { return x.AddConst(-1).Exp() }, 1, 1},
		{"maximum over a row", func(x *Node) *Node {
			return Concat(1, x.Reshape(-1, 1), half.Expand(x.Size(), 1)).MaxOver(1)
		}, 1, 0},
	}
	outer := []struct {
		name  string
		f     func(*Node) *Node
		slope float64 // at 1
	}{
		{"y", func(y *Node) *Node { return y }, 1}, {"log", (*Node).Log, 1}, {"sqrt", (*Node).Sqrt, 0.5},
		{"1/y", func(y *Node) *Node { return Const(1).Div(y) }, -1},
		{"y/2", func(y *Node) *Node { return y.Div(Const(2)) }, 0.5},
		{"y/(1+y)", func(y *Node) *Node { return y.Div(y.AddConst(1)) }, 0.25}, {"y²", (*Node).Square, 2},
		{"exp(1/y)", func(y *Node) *Node { return Const(1).Div(y).Exp() }, -math.E},
		{"y^0.4", func(y *Node) *Node { return y.Pow(0.4) }, 0.4},
		{"tanh", (*Node).Tanh, 1 - math.Pow(math.Tanh(1), 2)},
		{"softmax", func(y *Node) *Node { // of y and 0: the sigmoid of y
			return Concat(1, y.Reshape(-1, 1), Zeros(y.Size(), 1)).Softmax().Slice(1, 0, 1).Flatten()
		}, 1 / (2 + math.E + 1/math.E)},
	}
	onDevices(t, func(t *testing.T, ex *Executor) {
		x, ones := variable(t, ex, []float64{0, 0}), variable(t, ex, []float64{1, 1})
		d := variable(t, ex, []float64{3}).Node()
		signs := variable(t, ex, []float64{1, -1})
		for _, p := range inner {
			var nodes []*Node
			var check []func(got []float64)
			want := func(n *Node, name string, values ...float64) {
				nodes = append(nodes, n)
				check = append(check, func(got []float64) {
					for i, v := range got {
						require.InDelta(t, values[i], v, 2e-5*(1+math.Abs(values[i])), name)
					}
				})
			}
			for _, s := range outer {
				y := s.f(p.f(x.Node().Square().Scale(0.5).AddConst(1))).Mul(d)
				second := 3 * p.slope * s.slope
				for way, n := range derivatives(y, x.Node(), 1) {
					name := fmt.Sprintf("%s of %s of %s", way, s.name, p.name)
					if len(way) == 3 { // of first order
						want(n, name, 0, 0)
					} else {
						want(n, name, second, second)
					}
				}
				// The mean of p(x_i²/2 + ½) is 1 at x = (1, 1), and its direction along (1, -1) is 0.
				mean := p.f(ones.Node().Square().Scale(0.5).Add(half)).Mean()
				f, along := s.f(mean.Reshape(1)).Mul(d).Sum(), []*Node{signs.Node()}
				slope := JVP([]*Node{f}, []*Node{ones.Node()}, along)[0]
				name := fmt.Sprintf("%s of the mean of %s", s.name, p.name)
				want(slope.Reshape(1), "JVP of "+name, 0)
				// H·(1, -1) is (c, -c) with c = 3 s'(1)·(p(x²/2 + ½))''/2, at x = 1: (p'' + p')/2
				c := second / 2 * (1 + p.bend/p.slope)
				want(HVP(f, []*Node{ones.Node()}, along)[0], "HVP of "+name, c, -c)
				want(Grad(slope, ones.Node())[0], "gradient of the JVP of "+name, c, -c)
			}
			for i, got := range run(t, ex, nodes...) {
				check[i](got)
			}
		}
	})
}

// What a max pool does not choose has derivative 0, though the function below it has an infinite slope there. A
// convolution mixes its pixels, as a product of matrices does: a direction that cancels in it is 0 by chance.
func TestMasksOfImages(t *testing.T) {
	everywhere(t, func(t *testing.T, ex *Executor) {
		x := variable(t, ex, []float64{0, 4, 2, 0}, 1, 2, 2, 1)
		pooled := MaxPool2D(x.Node().Log(), 2, 2)
		first := Grad(pooled.Sum(), x.Node())[0]
		second := HVP(pooled.Sum(), []*Node{x.Node()}, []*Node{Full(1, 1, 2, 2, 1)})[0]
		forward := JVP([]*Node{pooled}, []*Node{x.Node()}, []*Node{Full(1, 1, 2, 2, 1)})[0]
		out := run(t, ex, first, second, forward)
		require.InDeltaSlice(t, []float64{0, 0.25, 0, 0}, out[0], 1e-7)
		require.InDeltaSlice(t, []float64{0, -0.0625, 0, 0}, out[1], 1e-7)
		require.InDelta(t, 0.25, out[2][0], 1e-7)

		row := variable(t, ex, []float64{3, 3}, 1, 1, 2, 1).Node()
		kernel := variable(t, ex, []float64{1, -1}, 1, 2, 1, 1).Node()
		difference := Conv2D(row.Relu(), kernel).Log() // slope 0/0 along (1, 1)
		along := JVP([]*Node{difference}, []*Node{row}, []*Node{Full(1, 1, 1, 2, 1)})[0]
		require.True(t, math.IsNaN(run(t, ex, along)[0][0]))
	})
}
