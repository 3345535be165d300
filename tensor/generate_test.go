package tensor

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// choices feeds a generator: first from given bytes, one a choice, so that a fuzzer can change one choice at a time,
// then from a generator of random numbers.
type choices struct {
	data []byte
	rest *rand.PCG
}

func (c *choices) Uint64() uint64 {
	if len(c.data) == 0 {
		return c.rest.Uint64()
	}
	b := c.data[0]
	c.data = c.data[1:]
	return uint64(b) << 56 // IntN looks at the high bits
}

// generator builds random graphs over a few variables, and updates of these. It evaluates what it builds, and keeps
// only values that are finite and not large, so that errors are small compared to them.
type generator struct {
	t     testing.TB
	ex    *Executor
	r     *rand.Rand // the choices
	noise *rand.Rand // the values
	vars  []*Variable
	it    *interpreter
	nodes []*Node
	grads int
	exact map[*Node]bool // no rounding in it: safe for functions with jumps
}

var (
	realShapes = [][]int{{}, {1}, {0}, {2}, {5}, {7}, {3, 5}, {5, 3}, {1, 5}, {3, 1}, {5, 5}, {2, 3, 5}, {2, 5, 3},
		{3, 0}, {0, 3}, {1, 1}, {15}, {13}}
	intShapes = [][]int{{}, {3}, {5}, {1}, {0}}
)

const (
	kept    = 30  // a node with larger elements is squashed
	maxRows = 200 // elements of a node
)

func newGenerator(t testing.TB, ex *Executor, data []byte, seed uint64) *generator {
	g := &generator{
		t: t, ex: ex, exact: map[*Node]bool{},
		r:     rand.New(&choices{data, rand.NewPCG(seed, 1)}),
		noise: rand.New(rand.NewPCG(seed, 2)),
		it:    newInterpreter(map[*Variable]array{}),
	}
	for range 3 + g.r.IntN(4) {
		g.variable(Real, pick(g, realShapes))
	}
	for range 1 + g.r.IntN(2) {
		g.variable(Int, pick(g, intShapes))
	}
	if g.r.IntN(2) == 0 { // something to swap
		v := pick(g, g.vars)
		g.variable(v.typ, v.shape)
	}
	return g
}

func pick[T any](g *generator, of []T) T { return of[g.r.IntN(len(of))] }

// variable makes a variable with random values and takes its node.
func (g *generator) variable(t Type, shape []int) *Variable {
	v := g.ex.Variable("v", t, shape...)
	a := newArray(t, v.shape)
	for i := range a.real {
		a.real[i] = float64(float32(g.noise.NormFloat64())) // the same number on every device
	}
	for i := range a.ints {
		a.ints[i] = int32(g.noise.IntN(5))
	}
	require.NoError(g.t, write(v, a))
	g.it.state[v] = a
	g.vars = append(g.vars, v)
	g.nodes = append(g.nodes, v.Node())
	g.exact[v.Node()] = true
	return v
}

func write(v *Variable, a array) error {
	if v.typ == Int {
		return v.WriteInts(a.ints)
	}
	return v.Write(a.real)
}

// node picks a node of a type; exact ones only where asked.
func (g *generator) node(t Type, exact bool) *Node {
	var fit []*Node
	for _, n := range g.nodes {
		if n.typ == t && (!exact || g.exact[n]) {
			fit = append(fit, n)
		}
	}
	if g.r.IntN(2) == 0 { // rather a recent one: deep graphs
		fit = fit[len(fit)/2:]
	}
	return pick(g, fit)
}

// fitting picks a node of the type and shape of like that satisfies ok, or gives like itself.
func (g *generator) fitting(like *Node, ok func(*Node) bool) *Node {
	fit := []*Node{like}
	for _, n := range g.nodes {
		if n.typ == like.typ && ok(n) {
			fit = append(fit, n)
		}
	}
	return pick(g, fit)
}

// rows is a node of rank 1 or more.
func (g *generator) rows(t Type) *Node {
	n := g.node(t, false)
	if len(n.shape) == 0 {
		return n.Flatten()
	}
	return n
}

// index gives an Int vector with values below rows.
func (g *generator) index(rows int) *Node {
	i := g.node(Int, true)
	return i.Flatten().ToReal().Abs().Clamp(Const(0), Const(float64(max(0, rows-1)))).ToInt()
}

func (g *generator) axis(n *Node) int { return g.r.IntN(max(1, len(n.shape))) }

// grow adds nodes. A choice that builds nothing valid is skipped: Catch lets no panic through but BuildErrors.
func (g *generator) grow(steps int) {
	for range steps {
		m := pick(g, makers)
		var n *Node
		if Catch(func() { n = m.build(g) }) != nil || n.Size() > maxRows {
			continue
		}
		g.add(n, m.exact)
	}
}

func (g *generator) add(n *Node, exact bool) {
	if g.it.largest = 0; !g.it.small(n) {
		return
	}
	if slices.ContainsFunc(g.it.eval(n).real, func(v float64) bool { return math.Abs(v) > kept }) {
		n, exact = n.Scale(0.01).Sin(), false
	}
	for _, i := range n.in {
		exact = exact && (g.exact[i] || isView(i) || i.op == opConst)
	}
	g.exact[n] = exact
	g.nodes = append(g.nodes, n)
}

// small says whether nothing large was met on the way to a node: large numbers carry large errors, which a sine makes
// large relative ones.
func (it *interpreter) small(n *Node) bool {
	it.eval(n)
	return it.largest < 1e4
}

// maker builds one more node out of those there are.
type maker struct {
	exact bool // its result is exact if its arguments are
	build func(g *generator) *Node
}

var unaries = []func(*Node) *Node{
	(*Node).Sin, (*Node).Cos, (*Node).Tanh, (*Node).Sigmoid, (*Node).Softplus, (*Node).Square,
	func(n *Node) *Node { return n.Clamp(Const(-3), Const(2)).Exp() },
	func(n *Node) *Node { return n.Square().AddConst(0.5).Sqrt() },
	func(n *Node) *Node { return n.Square().AddConst(0.5).Log() },
	func(n *Node) *Node { return n.Scale(2).Scale(0.25) },
	func(n *Node) *Node { return Const(0).Sub(n).Neg().Mul(Const(1)) },
}

var makers = []maker{
	{false, func(g *generator) *Node { return pick(g, unaries)(g.node(Real, false)) }},
	{false, func(g *generator) *Node { return pick(g, unaries)(pick(g, unaries)(g.node(Real, false))) }},
	{true, func(g *generator) *Node {
		return pick(g, []func(*Node) *Node{(*Node).Neg, (*Node).Abs, (*Node).Relu})(g.node(Real, true))
	}},
	{true, func(g *generator) *Node {
		return pick(g, []func(*Node) *Node{(*Node).Sign, (*Node).Floor, (*Node).ToInt})(g.node(Real, true))
	}},
	{false, func(g *generator) *Node { return pick(g, binaries)(g.node(Real, false), g.node(Real, false)) }},
	{false, func(g *generator) *Node { // the same shape: long fusions
		a := g.node(Real, false)
		return pick(g, binaries)(a, g.fitting(a, func(n *Node) bool { return slices.Equal(n.shape, a.shape) }))
	}},
	{false, func(g *generator) *Node { // a vector across a matrix
		a := g.node(Real, false)
		return pick(g, binaries)(a, g.fitting(a, func(n *Node) bool {
			return n.Size() <= 1 ||
				len(n.shape) < len(a.shape)
		}))
	}},
	{true, func(g *generator) *Node {
		f := pick(g, []func(a, b *Node) *Node{(*Node).Lt, (*Node).Le, (*Node).Eq})
		return f(g.node(Real, true), g.node(Real, true))
	}},
	{true, func(g *generator) *Node {
		f := pick(g, []func(a, b *Node) *Node{(*Node).Lt, (*Node).Eq, (*Node).Add, (*Node).Sub, (*Node).Mul})
		return f(g.node(Int, true), pick(g, []*Node{g.node(Int, true), IntConst(2)}))
	}},
	{true, func(g *generator) *Node { return g.node(Int, true).ToReal() }},
	{false, func(g *generator) *Node {
		return Where(g.node(Real, true).Sign(), g.node(Real, false), g.node(Real, false))
	}},
	{false, func(g *generator) *Node { return g.node(Real, false).Clamp(Const(-0.5), g.node(Real, false).Abs()) }},
	{true, func(g *generator) *Node { return g.view(g.node(pick(g, []Type{Real, Real, Int}), true)) }},
	{true, func(g *generator) *Node { return g.view(g.node(Real, false)) }},
	{true, func(g *generator) *Node { return g.view(g.view(g.node(Real, false))) }},
	{true, func(g *generator) *Node { return g.node(Real, false).Pad(g.r.IntN(2), g.r.IntN(3), g.r.IntN(3)) }},
	{true, (*generator).concat},
	{true, (*generator).concat},
	{false, (*generator).reduce},
	{false, (*generator).reduce},
	{false, (*generator).reduce},
	{false, (*generator).matmul},
	{false, (*generator).matmul},
	{false, func(g *generator) *Node { // a product with an epilogue
		y := g.matmul()
		return pick(g, binaries)(pick(g, unaries)(y),
			g.fitting(y, func(n *Node) bool { return len(n.shape) <= len(y.shape) }))
	}},
	{false, func(g *generator) *Node { // Int memory read beside a product
		y := g.matmul()
		return OneHot(g.index(y.shape[1]), y.shape[1]).Mul(y)
	}},
	{false, func(g *generator) *Node { // counters beside a product
		y := g.matmul()
		return Iota(g.axis(y), y.shape...).ToReal().Mul(y)
	}},
	{false, func(g *generator) *Node { // a value and another window of it
		a := g.matmul()
		if g.r.IntN(2) == 0 {
			a = a.T().Tanh()
		}
		return pick(g, binaries)(a, a.T())
	}},
	{false, (*generator).convolution},
	{false, (*generator).convolution},
	{false, func(g *generator) *Node { // a convolution with an epilogue
		y := g.convolution()
		return pick(g, binaries)(pick(g, unaries)(y),
			g.fitting(y, func(n *Node) bool { return len(n.shape) <= len(y.shape) }))
	}},
	{false, func(g *generator) *Node { // the gradient of one in one of its operands
		y := g.convolution()
		for y.op != opConv {
			y = y.in[0]
		}
		i := g.r.IntN(2)
		return VJP([]*Node{y}, y.in[i:i+1], []*Node{y.Tanh()})[0]
	}},
	{true, func(g *generator) *Node { return g.pool(MaxPool2D, g.options()) }},
	{false, func(g *generator) *Node {
		return g.pool(AvgPool2D, pick(g, [][]WindowOption{g.options(), append(g.options(), PixelsOnly())}))
	}},
	{false, func(g *generator) *Node { return g.node(Real, false).Softmax() }},
	{false, func(g *generator) *Node { return g.node(Real, false).LogSoftmax() }},
	{false, func(g *generator) *Node {
		z := g.rows(Real)
		labels := g.index(z.shape[len(z.shape)-1])
		if labels.Size() == 0 {
			labels = IntConst(0).Flatten()
		}
		return CrossEntropy(z, labels.Slice(0, 0, 1).Expand(z.shape[0]))
	}},
	{true, func(g *generator) *Node {
		return g.gather(g.rows(pick(g, []Type{Real, Real, Int})))
	}},
	{false, func(g *generator) *Node {
		base := g.rows(Real)
		src := g.gather(g.fitting(base, func(n *Node) bool { return slices.Equal(n.shape, base.shape) }))
		return ScatterAdd(pick(g, []*Node{base, Zeros(base.shape...), base.Mul(base)}),
			g.index(base.shape[0]).Slice(0, 0, 0), src.Slice(0, 0, 0))
	}},
	{false, (*generator).scatter},
	{false, (*generator).scatter},
	{true, func(g *generator) *Node { return g.node(Real, true).ArgMax() }},
	{true, func(g *generator) *Node { return OneHot(g.node(Real, true).ArgMax(), 5) }},
	{true, (*generator).kthLargest},
	{true, func(g *generator) *Node {
		s := pick(g, realShapes)
		return Iota(g.r.IntN(max(1, len(s))), s...)
	}},
	{true, func(g *generator) *Node { return Full(float64(g.r.IntN(5))/2-1, pick(g, realShapes)...) }},
	{false, func(g *generator) *Node {
		seed := Concat(0, g.index(9).Slice(0, 0, 1), Iota(0, 2).Slice(0, 1, 2))
		draw := pick(g, []func(_, _ *Node, _ uint32, _ ...int) *Node{RandomNormal, RandomUniform})
		return draw(seed, IntConst(int32(g.r.IntN(3))), uint32(g.r.IntN(3)), pick(g, realShapes)...)
	}},
	{false, (*generator).grad},
}

var binaries = []func(a, b *Node) *Node{
	(*Node).Add, (*Node).Sub, (*Node).Mul, (*Node).Max, (*Node).Min,
	func(a, b *Node) *Node { return a.Div(b.Square().AddConst(0.5)) },
	func(a, b *Node) *Node { return a.Add(b.Scale(-0.5)) },
	func(a, b *Node) *Node { return a.Sub(b.Neg()) },
}

func (g *generator) view(n *Node) *Node {
	switch a := g.axis(n); g.r.IntN(6) {
	case 0:
		return n.Permute(g.r.Perm(len(n.shape))...)
	case 1:
		return n.T()
	case 2: // a random factorization
		if d := 1 + g.r.IntN(5); n.Size()%d == 0 {
			return n.Reshape([][]int{{d, n.Size() / d}, {n.Size() / d, d}, {1, d, n.Size() / d}}[g.r.IntN(3)]...)
		}
		return n.Flatten()
	case 3:
		return n.Expand(append([]int{1 + g.r.IntN(3)}, n.shape...)...)
	case 4:
		if len(n.shape) == 0 {
			return n.Flatten()
		}
		from := g.r.IntN(n.shape[a] + 1)
		return n.Slice(a, from, from+g.r.IntN(n.shape[a]-from+1))
	default:
		return n.StopGradient()
	}
}

func (g *generator) concat() *Node {
	a := g.node(Real, false)
	if g.r.IntN(2) == 0 {
		a = a.Flatten()
	}
	axis := g.axis(a)
	parts := []*Node{a}
	for range 1 + g.r.IntN(2) {
		p := g.fitting(a, func(n *Node) bool {
			if len(n.shape) != len(a.shape) {
				return false
			}
			for i, d := range n.shape {
				if i != axis && d != a.shape[i] {
					return false
				}
			}
			return true
		})
		parts = append(parts, pick(g, []*Node{p, p.Scale(3), p.Tanh()}))
	}
	g.r.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
	return Concat(axis, parts...)
}

func (g *generator) reduce() *Node {
	n := g.rows(Real)
	var axes []int
	for a := range n.shape {
		if g.r.IntN(2) == 0 {
			axes = append(axes, a)
		}
	}
	return pick(g, []func(...int) *Node{n.Sum, n.Mean, n.SumKeep, n.MaxOver, n.Square().Sum})(axes...)
}

func (g *generator) matmul() *Node {
	a := g.fitting(g.node(Real, false), func(n *Node) bool { return len(n.shape) >= 2 })
	r := len(a.shape)
	b := g.fitting(a.T(), func(n *Node) bool {
		return len(n.shape) == r && n.shape[r-2] == a.shape[r-1] && (r == 2 || n.shape[0] == a.shape[0])
	})
	return a.MatMul(b)
}

// images sees a node as images: of rank 4, the last axis being channels.
func (g *generator) images(n *Node) *Node {
	channels := 1
	if d := 1 + g.r.IntN(3); n.Size()%d == 0 {
		channels = d
	}
	pixels := n.Size() / channels
	for rows := 1 + g.r.IntN(4); rows > 0; rows-- {
		if pixels%rows == 0 {
			return n.Reshape(1, rows, pixels/rows, channels)
		}
	}
	return n
}

func (g *generator) options() []WindowOption {
	options := []WindowOption{Padding(g.r.IntN(2), g.r.IntN(2), g.r.IntN(3), g.r.IntN(2))}
	if g.r.IntN(2) == 0 {
		options = append(options, Stride(1+g.r.IntN(2), 1+g.r.IntN(3)))
	}
	return options
}

// convolution takes its kernels out of another node, and is divided by the number of terms, so that it stays small.
func (g *generator) convolution() *Node {
	x := g.images(g.node(Real, false))
	r, s, k, c := 1+g.r.IntN(2), 1+g.r.IntN(3), 1+g.r.IntN(4), x.shape[len(x.shape)-1]
	groups := 1
	if g.r.IntN(3) == 0 {
		k, groups = k*c, c
	}
	size := r * s * (c / groups) * k
	w := g.fitting(g.node(Real, false), func(n *Node) bool { return n.Size() >= size })
	if w.Size() < size {
		w = w.Sum().Expand(size)
	}
	options := append(g.options(), Groups(groups), Dilation(1+g.r.IntN(2), 1))
	y := Conv2D(x, w.Flatten().Slice(0, 0, size).Reshape(r, s, c/groups, k), options...)
	return pick(g, []*Node{y, y.Scale(1 / float64(size))})
}

func (g *generator) pool(f func(*Node, int, int, ...WindowOption) *Node, options []WindowOption) *Node {
	return f(g.images(g.node(Real, true)), 1+g.r.IntN(3), 1+g.r.IntN(3), options...)
}

// gather keeps tables of no rows out: nothing can be chosen there.
func (g *generator) gather(table *Node) *Node {
	i := g.index(table.shape[0])
	if table.shape[0] == 0 {
		i = i.Slice(0, 0, 0)
	}
	return Gather(table, i)
}

// kthLargest gives a value or a place of one to three arrays.
func (g *generator) kthLargest() *Node {
	parts, n := []*Node{g.node(Real, true)}, 0
	for range g.r.IntN(3) {
		parts = append(parts, g.node(Real, true))
	}
	for _, p := range parts {
		n += p.Size()
	}
	if n == 0 {
		parts, n = append(parts, Const(1)), 1
	}
	value, place := KthLargest(IntConst(int32(1+g.r.IntN(n))), parts...)
	return pick(g, []*Node{value, place})
}

func (g *generator) scatter() *Node {
	base := g.rows(Real)
	src := g.gather(g.fitting(base, func(n *Node) bool {
		return len(n.shape) == len(base.shape) && len(n.shape) > 0 && slices.Equal(n.shape[1:], base.shape[1:])
	}))
	index := g.index(base.shape[0])
	rows := min(src.shape[0], index.shape[0])
	if base.shape[0] == 0 {
		rows = 0
	}
	s := ScatterAdd(Zeros(base.shape...), index.Slice(0, 0, rows), src.Slice(0, 0, rows))
	return pick(g, []*Node{base.Sub(s.Scale(0.5)), base.Add(s), s.Neg().Add(base), s,
		base.Sub(s.Mul(g.node(Real, false).Sum()))})
}

// grad adds several nodes for each one below it, so there are few of them.
func (g *generator) grad() *Node {
	if g.grads++; g.grads > 2 {
		return g.node(Real, false).Neg()
	}
	wrt := g.fitting(g.node(Real, false), func(n *Node) bool { return n.op == opVar })
	return Grad(g.node(Real, false).Sum(), wrt)[0]
}
