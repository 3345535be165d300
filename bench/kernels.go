package bench

import (
	"fmt"

	"bilevel/tensor"
)

// Kernel is one operation at one size, run as a program through the executor, as users run it.
type Kernel struct {
	Name  string
	Flops float64 // the fewest operations the result needs; 0 where counting makes no sense
	Bytes float64 // float32 traffic with memory if every array passes once
	Build func(in *inputs) func() []tensor.Update
}

// vector sizes of elementwise kernels: in the first cache, in the second, beyond all.
var sizes = []int{1 << 10, 1 << 16, 1 << 24}

// Kernels lists what is measured.
func Kernels() (all []Kernel) {
	for _, n := range []int{64, 256, 1024, 2048} {
		all = append(all, product(fmt.Sprintf("gemm %d", n), n, n, n, false))
	}
	all = append(all,
		product("gemm 64x784x300", 64, 784, 300, false), product("gemm 64x785x10", 64, 785, 10, false),
		product("gemm 785x64x10 transposed", 785, 64, 10, true), product("gemm 20000x785x10", 20000, 785, 10, false))
	for _, n := range sizes {
		all = append(all,
			elementwise("axpy", n, 2, 2, 1, func(x []*tensor.Node) *tensor.Node { return x[0].Add(x[1].Scale(0.1)) }),
			elementwise("exp", n, 1, 1, 1, func(x []*tensor.Node) *tensor.Node { return x[0].Exp() }),
			elementwise("log", n, 1, 1, 1, func(x []*tensor.Node) *tensor.Node { return x[0].Log() }),
			elementwise("sigmoid", n, 1, 1, 1, func(x []*tensor.Node) *tensor.Node { return x[0].Sigmoid() }),
			elementwise("tanh", n, 1, 1, 1, func(x []*tensor.Node) *tensor.Node { return x[0].Tanh() }),
			elementwise("pgd step", n, 3, 7, 1, func(x []*tensor.Node) *tensor.Node {
				ball := x[0].Add(x[1].Sign().Scale(0.01)).Clamp(tensor.Const(-0.1), tensor.Const(0.1))
				return ball.Add(x[2]).Clamp(tensor.Const(0), tensor.Const(1)).Sub(x[2])
			}),
			elementwise("dot", n, 2, 2, 0, func(x []*tensor.Node) *tensor.Node { return tensor.Dot(x[0], x[1]) }),
			conjugate(n), adam(n))
	}
	for _, c := range []int{10, 1000} {
		rows := 1 << 16 / c
		all = append(all, Kernel{fmt.Sprintf("softmax %dx%d", rows, c), 0, 8 * float64(rows*c), func(in *inputs) func() []tensor.Update {
			z, p := in.filled(rows, c), in.ex.Variable("p", tensor.Real, rows, c)
			return func() []tensor.Update { return []tensor.Update{{Var: p, Value: z.Node().Softmax()}} }
		}})
	}
	return append(all, gather(20000, 785, 64))
}

// inputs makes a kernel's variables and remembers the first error.
type inputs struct {
	ex  *tensor.Executor
	err error
}

func (in *inputs) note(err error) {
	if in.err == nil {
		in.err = err
	}
}

// filled is a variable of uniform numbers in (0, 1].
func (in *inputs) filled(shape ...int) *tensor.Variable {
	v := in.ex.Variable("x", tensor.Real, shape...)
	values := array(1, v.Size(), 0.5, 0.5)
	for i := range values {
		values[i] += 1e-6
	}
	in.note(v.Write32(values))
	return v
}

func product(name string, m, k, n int, transposed bool) Kernel {
	return Kernel{name, 2 * float64(m) * float64(k) * float64(n), 4 * float64(m*k+k*n+m*n), func(in *inputs) func() []tensor.Update {
		b, c := in.filled(k, n), in.ex.Variable("c", tensor.Real, m, n)
		a := in.filled(m, k).Node()
		if transposed {
			a = in.filled(k, m).Node().T()
		}
		return func() []tensor.Update { return []tensor.Update{{Var: c, Value: a.MatMul(b.Node())}} }
	}}
}

// elementwise reads some arrays of n elements and writes outs of them (0: a number).
func elementwise(name string, n, reads int, flops float64, outs int, f func([]*tensor.Node) *tensor.Node) Kernel {
	return Kernel{fmt.Sprintf("%s %d", name, n), flops * float64(n), 4 * float64(n*(reads+outs)), func(in *inputs) func() []tensor.Update {
		x := make([]*tensor.Node, reads)
		for i := range x {
			x[i] = in.filled(n).Node()
		}
		out := in.ex.Variable("out", tensor.Real, n)
		if outs == 0 {
			out = in.ex.Variable("out", tensor.Real)
		}
		return func() []tensor.Update { return []tensor.Update{{Var: out, Value: f(x)}} }
	}}
}

// conjugate is z += αp, r -= αq, and r'r, each array passing once, in place.
func conjugate(n int) Kernel {
	return Kernel{fmt.Sprintf("cg update %d", n), 6 * float64(n), 4 * 6 * float64(n), func(in *inputs) func() []tensor.Update {
		z, r, p, q, rr := in.filled(n), in.filled(n), in.filled(n), in.filled(n), in.ex.Variable("rr", tensor.Real)
		return func() []tensor.Update {
			next := r.Node().Sub(q.Node().Scale(1e-9))
			return []tensor.Update{{Var: z, Value: z.Node().Add(p.Node().Scale(1e-9))}, {Var: r, Value: next}, {Var: rr, Value: tensor.Dot(next, next)}}
		}
	}}
}

// adam is one step of Adam on n parameters, in place.
func adam(n int) Kernel {
	return Kernel{fmt.Sprintf("adam %d", n), 12 * float64(n), 4 * 7 * float64(n), func(in *inputs) func() []tensor.Update {
		w, m, s, g := in.filled(n), in.filled(n), in.filled(n), in.filled(n)
		return func() []tensor.Update {
			G := g.Node()
			M := m.Node().Scale(0.9).Add(G.Scale(0.1))
			S := s.Node().Scale(0.99).Add(G.Square().Scale(0.01))
			return []tensor.Update{{Var: w, Value: w.Node().Sub(M.Div(S.Sqrt().AddConst(1e-8)).Scale(1e-9))}, {Var: m, Value: M}, {Var: s, Value: S}}
		}
	}}
}

// gather copies rows of a table that does not fit the caches; each run takes other rows.
func gather(n, d, rows int) Kernel {
	return Kernel{fmt.Sprintf("gather %d of %dx%d", rows, n, d), 0, 8 * float64(rows*d), func(in *inputs) func() []tensor.Update {
		const draws = 256
		table, out := in.filled(n, d), in.ex.Variable("out", tensor.Real, rows, d)
		index, turn := in.ex.Variable("index", tensor.Int, draws, rows), in.ex.Variable("turn", tensor.Int, 1)
		values := make([]int32, draws*rows)
		for i := range values {
			values[i] = int32(splitmix64(uint64(i)) % uint64(n))
		}
		in.note(index.WriteInts(values))
		return func() []tensor.Update {
			now := turn.Node()
			wrapped := now.Add(tensor.IntConst(1)).Mul(now.Lt(tensor.IntConst(draws - 1)).ToInt())
			rowsNow := tensor.Gather(index.Node(), now).Flatten()
			return []tensor.Update{{Var: out, Value: tensor.Gather(table.Node(), rowsNow)}, {Var: turn, Value: wrapped}}
		}
	}}
}
