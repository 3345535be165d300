package tensor

import (
	"fmt"
	"hash/fnv"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device"
	"bilevel/device/null"
)

// The plan checker executes programs on provenance instead of numbers: an element holds a hash of the instruction
// that computed it and of everything this instruction read; Copy moves hashes. The steps before planning, where
// every value has memory of its own, and the planned program, where memory is shared and reused, must leave the same
// hashes in the variables. So a read of an element that was overwritten, or never written, shows, even where the
// number does not matter.

type trace uint64

func hash(parts ...any) trace {
	h := fnv.New64a()
	fmt.Fprint(h, parts...)
	return trace(h.Sum64())
}

// memory holds traces by place (a buffer, or the node that owns the memory) and element.
type memory map[any]map[int]trace

// at gives what is not there yet a trace that is unique to its place.
func (m memory) at(place any, i int) trace {
	if t, ok := m[place][i]; ok {
		return t
	}
	return hash("untouched", fmt.Sprintf("%p", place), i)
}

func (m memory) set(place any, i int, t trace) {
	if m[place] == nil {
		m[place] = map[int]trace{}
	}
	m[place][i] = t
}

// all are the traces of the first n elements of a place.
func (m memory) all(place any, n int) (out []trace) {
	for i := range n {
		out = append(out, m.at(place, i))
	}
	return out
}

// offsets are the places of a view's elements, in order.
func offsets(v device.View) (at []int) {
	each(v.Shape, func(idx []int) {
		p := v.Off
		for a, i := range idx {
			p += i * v.Strides[a]
		}
		at = append(at, p)
	})
	return at
}

// execute runs one instruction on traces; places says what View.Buf means.
func (m memory) execute(in device.Instr, places []any) {
	var read []trace
	for _, v := range in.In {
		for _, i := range offsets(v) {
			read = append(read, m.at(places[v.Buf], i))
		}
	}
	// An expression prints its address, which planning does not change.
	all := hash(in.Op, fmt.Sprintf("%v", in.Attr), read)
	for j, v := range in.Out {
		for k, i := range offsets(v) {
			t := hash(all, j, k)
			if in.Op == device.Copy {
				t = read[k]
			}
			m.set(places[v.Buf], i, t)
		}
	}
}

// unplanned executes steps with memory of its own for each value, and gives the traces of the roots.
func unplanned(steps []step, roots []*Node) (out [][]trace) {
	m := memory{}
	var places []any
	views := func(refs []ref) (v []device.View) {
		for _, r := range refs {
			v = append(v, r.view(len(places), 0))
			switch r.store.op {
			case opVar:
				places = append(places, r.store.v.buf)
			default:
				places = append(places, r.store)
			}
			if r.store.op == opConst {
				m.set(r.store, 0, hash("const", r.store.num))
			}
		}
		return v
	}
	for _, s := range steps {
		m.execute(device.Instr{Op: s.op, Attr: s.attr, In: views(s.in), Out: views(s.out)}, places)
	}
	for _, r := range roots {
		out = append(out, m.all(r, r.Size()))
	}
	return out
}

// runPlanned executes a function's program on its buffers, and gives the traces of the variables that it updates.
func runPlanned(t testing.TB, f *Function, updates []Update) (out [][]trace) {
	m := memory{}
	if f.memory.Constants > 0 { // the last buffer that it took
		b := f.arenas[len(f.arenas)-1]
		values := make([]float64, b.Len())
		require.NoError(t, f.ex.dev.Download(device.Float64s(values), b, 0))
		for i, c := range values {
			m.set(b, i, hash("const", c))
		}
	}
	var places []any
	for _, b := range f.prog.Buffers {
		places = append(places, b)
	}
	for _, in := range f.prog.Code {
		m.execute(in, places)
	}
	for _, u := range updates {
		out = append(out, m.all(u.Var.buf, u.Var.Size()))
	}
	return out
}

// mayAlias says whether an instruction may write output o exactly over input k, by the words of package device.
func mayAlias(in *device.Instr, k, o int) bool {
	switch a := in.Attr.(type) {
	case device.MapAttr:
		return true
	case device.ReduceAttr:
		return o >= len(a.Kinds)
	case device.EpilogueAttr:
		return k >= a.Extras()
	case device.SoftmaxAttr:
		return k == 0 && a.Kind != device.CrossEntropy
	}
	return in.Op == device.ScatterAdd && k == 0
}

// checkAliases looks at each instruction's memory element by element.
func checkAliases(t testing.TB, p *device.Program) {
	overlap := func(v, w device.View) bool {
		if v.Buf != w.Buf {
			return false
		}
		at := offsets(v)
		return slices.ContainsFunc(offsets(w), func(i int) bool { return slices.Contains(at, i) })
	}
	for i := range p.Code {
		in := &p.Code[i]
		for o, out := range in.Out {
			for k, v := range in.In {
				if overlap(out, v) {
					require.True(t, out.Same(v) && mayAlias(in, k, o),
						"instruction %d (%s): output %d %v overlaps input %d %v", i, in.Op, o, out, k, v)
				}
			}
			for _, other := range in.Out[o+1:] {
				require.False(t, overlap(out, other), "instruction %d (%s): two outputs overlap", i, in.Op)
			}
		}
	}
}

// checkPlan plans updates anew and checks the program. Variables have their buffers already.
func checkPlan(t testing.TB, ex *Executor, updates []Update) {
	values, err := ex.checkUpdates(updates)
	require.NoError(t, err)
	roots := transform(values)
	steps := lower(fuse(roots), roots)
	products := 0
	walk(roots, func(n *Node) {
		if n.op == opMatMul {
			products++
		}
	})
	for _, s := range steps {
		if s.op == device.Gemm {
			products--
		}
	}
	require.GreaterOrEqual(t, products, 0, "a product is computed twice")
	want := unplanned(steps, roots)
	for _, p := range []*planner{
		plan(steps, updates, roots),
		planned(steps, updates, roots, planOptions{}),            // memory is used again though there is little of it
		planned(steps, updates, roots, planOptions{large: true}), // as in large programs
	} {
		f, err := ex.build("planned", p)
		require.NoError(t, err)
		require.NoError(t, f.prog.Validate())
		checkAliases(t, f.prog)
		for i, got := range runPlanned(t, f, updates) {
			require.Equal(t, want[i], got,
				"update %d of variable %v: a value was overwritten before its last read, or never written",
				i, updates[i].Var.shape)
		}
		require.NoError(t, f.Close())
	}
}

// The null device counts: what compiling takes, closing gives back.
func TestNoLeaks(t *testing.T) {
	for seed := range uint64(50) {
		dev := null.New()
		ex := NewExecutor(dev)
		g := newGenerator(t, ex, nil, seed)
		g.grow(20)
		updates := g.updates()
		for range 2 {
			f, err := ex.Compile("f", func() []Update { return updates })
			require.NoError(t, err)
			require.NoError(t, f.Run(2))
			before := dev.Stats()
			again, err := ex.Compile("again", func() []Update { return updates })
			require.NoError(t, err)
			require.Equal(t, before.LiveBytes+again.memory.Arena+again.memory.Constants, dev.Stats().LiveBytes,
				"Memory says what is taken")
			require.NoError(t, again.Close())
			require.NoError(t, again.Close(), "twice is harmless")
			require.Equal(t, before.LiveBuffers, dev.Stats().LiveBuffers)
			require.Equal(t, before.LiveRunners, dev.Stats().LiveRunners)
		}
		require.NoError(t, ex.Close())
		require.NoError(t, ex.Close())
		require.Zero(t, dev.Stats().LiveBuffers)
		require.Zero(t, dev.Stats().LiveRunners)
	}
}

// sgd is one step of gradient descent on a softmax regression.
func sgd(t *testing.T, ex *Executor) (x, w *Variable, updates []Update) {
	x, w = filled(t, ex, 6, 4), filled(t, ex, 4, 3)
	loss := CrossEntropy(x.Node().MatMul(w.Node()), Iota(0, 6).ToReal().Scale(0.4).ToInt()).Mean()
	return x, w, []Update{{w, w.Node().Sub(Grad(loss, w.Node())[0].Scale(0.1))}}
}

func TestUpdateInPlace(t *testing.T) {
	ex := newRef(t)
	_, w, updates := sgd(t, ex)
	f := compiled(t, ex, updates...)
	code := f.Program().Code
	require.Equal(t, w.buf, f.Program().Buffers[code[len(code)-1].Out[0].Buf],
		"the last instruction writes the variable")
	require.NotContains(t, ops(f), "Copy")

	a, b := filled(t, ex, 4), filled(t, ex, 4)
	f = compiled(t, ex, Update{a, b.Node()}, Update{b, a.Node()})
	require.Equal(t, "Copy Copy Copy", ops(f), "a swap needs one place more")
	f = compiled(t, ex, Update{a, a.Node().Exp()}, Update{b, a.Node().Sum().Mul(b.Node())})
	require.NotContains(t, ops(f), "Copy", "the sum reads a before it changes")
	m, p := filled(t, ex, 3, 3), filled(t, ex, 3, 3)
	f = compiled(t, ex, Update{m, m.Node().Add(m.Node().T())})
	require.Equal(t, "Map Copy", ops(f), "the other window is read where it was written")
	f = compiled(t, ex, Update{m, m.Node().Exp()}, Update{p, m.Node().Softmax().Exp()})
	require.Equal(t, "RowSoftmax Map Map", ops(f), "what only stores comes last")
	f = compiled(t, ex, Update{m, m.Node().Exp()}, Update{p, p.Node().MatMul(m.Node())})
	checkAliases(t, f.Program())
	f = compiled(t, ex, Update{m, p.Node().MatMul(p.Node()).Add(m.Node())})
	require.Equal(t, "Gemm", ops(f), "an epilogue adds to the variable itself")
	require.Zero(t, f.Memory().Arena)
	f = compiled(t, ex, Update{m, p.Node().MatMul(m.Node()).Add(m.Node())})
	require.Equal(t, "Gemm Copy", ops(f), "a factor must stay")
}

// The gradients of the pieces of a flat parameter vector are computed right where they belong in its gradient.
func TestPartsInPlace(t *testing.T) {
	ex := newRef(t)
	x, p := filled(t, ex, 5, 4), filled(t, ex, 4*3+3)
	w, b := p.Node().Slice(0, 0, 12).Reshape(4, 3), p.Node().Slice(0, 12, 15)
	loss := x.Node().MatMul(w).Add(b).Tanh().Square().Sum()
	g := ex.Variable("g", Real, 15)
	f := compiled(t, ex, Update{g, Grad(loss, p.Node())[0]})
	require.NotContains(t, ops(f), "Copy")

	c := filled(t, ex, 5, 3)
	f = compiled(t, ex, Update{ex.Variable("y", Real, 5, 7), Concat(1, x.Node().Exp(), c.Node().Exp())})
	require.Equal(t, "Map Map Copy Copy", ops(f), "columns are not dense: they are copied")
}

// Values whose lifetimes do not overlap share memory, except in small arenas; a Map writes over what it is the last
// to read anyway.
func TestArenaIsReused(t *testing.T) {
	ex := newRef(t)
	arena := func(n int) (deep, inPlace int) {
		x := ex.Variable("x", Real, n, n)
		y := x.Node()
		for range 10 {
			y = y.MatMul(x.Node()).Tanh().Softmax()
		}
		f := compiled(t, ex, Update{ex.Variable("y", Real, n, n), y})
		require.Equal(t, 2*n*n*8, f.Memory().Variables)
		f2 := compiled(t, ex, Update{x, x.Node().Softmax().Exp().Softmax()})
		return f.Memory().Arena / (n * n * 8), f2.Memory().Arena / (n * n * 8)
	}
	deep, inPlace := arena(512)
	require.Greater(t, 512*512, smallArena)
	require.Equal(t, 2, deep, "two values at a time")
	require.Equal(t, 1, inPlace)
	deep, inPlace = arena(16)
	require.Equal(t, 19, deep, "each product and each softmax but the last, which is stored in y")
	require.Equal(t, 1, inPlace)
}

func TestFreeList(t *testing.T) {
	f := &freeList{}
	a, b, c := f.take(10), f.take(20), f.take(16)
	require.Equal(t, []int{0, 16, 48, 64}, []int{a, b, c, f.end}, "blocks are multiples of a cache line")
	f.give(a, 10)
	f.give(c, 16)
	require.Equal(t, 0, f.take(1), "the lowest of the smallest that fit")
	require.Equal(t, 48, f.take(40), "the last block grows")
	require.Equal(t, 96, f.end)
	f.give(48, 40)
	f.give(b, 20)
	f.give(0, 1)
	require.Equal(t, []block{{0, 96}}, f.blocks, "neighbours become one")
	require.Equal(t, 0, f.take(96))
	require.Empty(t, f.blocks)
	require.Equal(t, 0, f.take(0))
	f.give(0, 0)
	require.Empty(t, f.blocks, "nothing takes nothing")
}
