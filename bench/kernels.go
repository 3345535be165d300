package bench

import (
	"fmt"

	"bilevel/tensor"
)

// Kernel is one operation at one size. It is measured as a program of the executor, as users run it.
type Kernel struct {
	Name  string
	Flops float64 // the fewest floating-point operations that the result needs; 0 where counting makes no sense
	Bytes float64 // traffic with memory, in float32, if each array is read or written once
	// Build makes the kernel's variables and returns the function that builds its updates.
	Build func(in *inputs) func() []tensor.Update
}

// sizes are those of elementwise kernels: arrays that fit the first-level cache, the second-level cache, and no cache.
var sizes = []int{1 << 10, 1 << 16, 1 << 24}

// Kernels lists the kernels that are measured.
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
			cgUpdate(n), adam(n))
	}
	for _, c := range []int{10, 1000} {
		all = append(all, softmax(1<<16/c, c))
	}
	for _, l := range convLayers() {
		for kind := range convKinds {
			all = append(all, convolution(l, kind))
		}
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

// filled is a variable of uniform random numbers in (0, 1].
func (in *inputs) filled(shape ...int) *tensor.Variable {
	v := in.ex.Variable("x", tensor.Real, shape...)
	values := array(1, v.Size(), 0.5, 0.5)
	for i := range values {
		values[i] += 1e-6
	}
	in.note(v.Write32(values))
	return v
}

// product is a matrix product of [m, k] and [k, n]; transposed says that the first factor is stored as [k, m].
func product(name string, m, k, n int, transposed bool) Kernel {
	flops, bytes := 2*float64(m)*float64(k)*float64(n), 4*float64(m*k+k*n+m*n)
	return Kernel{name, flops, bytes, func(in *inputs) func() []tensor.Update {
		b, c := in.filled(k, n), in.ex.Variable("c", tensor.Real, m, n)
		a := in.filled(m, k).Node()
		if transposed {
			a = in.filled(k, m).Node().T()
		}
		return func() []tensor.Update { return []tensor.Update{{Var: c, Value: a.MatMul(b.Node())}} }
	}}
}

// elementwise is a function of so many arrays of n elements, with so many operations per element. Its result is an
// array of n elements where outs is 1, and one number, a sum over the elements, where outs is 0.
func elementwise(name string, n, reads int, flops float64, outs int, f func([]*tensor.Node) *tensor.Node) Kernel {
	bytes := 4 * float64(n*(reads+outs))
	return Kernel{fmt.Sprintf("%s %d", name, n), flops * float64(n), bytes, func(in *inputs) func() []tensor.Update {
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

// softmax is softmax over the rows of a matrix.
func softmax(rows, columns int) Kernel {
	name, bytes := fmt.Sprintf("softmax %dx%d", rows, columns), 8*float64(rows*columns)
	return Kernel{name, 0, bytes, func(in *inputs) func() []tensor.Update {
		z, p := in.filled(rows, columns), in.ex.Variable("p", tensor.Real, rows, columns)
		return func() []tensor.Update { return []tensor.Update{{Var: p, Value: z.Node().Softmax()}} }
	}}
}

// cgUpdate is the vector part of a conjugate-gradient step, in place: z += αp, r -= αq, and r'r of the new r.
func cgUpdate(n int) Kernel {
	flops, bytes := 6*float64(n), 4*6*float64(n)
	return Kernel{fmt.Sprintf("cg update %d", n), flops, bytes, func(in *inputs) func() []tensor.Update {
		z, r, p, q := in.filled(n), in.filled(n), in.filled(n), in.filled(n)
		rr := in.ex.Variable("rr", tensor.Real)
		return func() []tensor.Update {
			next := r.Node().Sub(q.Node().Scale(1e-9))
			return []tensor.Update{
				{Var: z, Value: z.Node().Add(p.Node().Scale(1e-9))},
				{Var: r, Value: next}, {Var: rr, Value: tensor.Dot(next, next)},
			}
		}
	}}
}

// adam is one step of Adam on n parameters, in place.
func adam(n int) Kernel {
	flops, bytes := 12*float64(n), 4*7*float64(n)
	return Kernel{fmt.Sprintf("adam %d", n), flops, bytes, func(in *inputs) func() []tensor.Update {
		w, m, s, g := in.filled(n), in.filled(n), in.filled(n), in.filled(n)
		return func() []tensor.Update {
			G := g.Node()
			M := m.Node().Scale(0.9).Add(G.Scale(0.1))
			S := s.Node().Scale(0.99).Add(G.Square().Scale(0.01))
			step := M.Div(S.Sqrt().AddConst(1e-8)).Scale(1e-9)
			return []tensor.Update{{Var: w, Value: w.Node().Sub(step)}, {Var: m, Value: M}, {Var: s, Value: S}}
		}
	}}
}

// gather copies so many rows out of a table [n, d] that does not fit the caches. A counter on the device makes each run
// take other rows.
func gather(n, d, rows int) Kernel {
	name, bytes := fmt.Sprintf("gather %d of %dx%d", rows, n, d), 8*float64(rows*d)
	return Kernel{name, 0, bytes, func(in *inputs) func() []tensor.Update {
		const draws = 256
		table, out := in.filled(n, d), in.ex.Variable("out", tensor.Real, rows, d)
		index, counter := in.ex.Variable("index", tensor.Int, draws, rows), in.ex.Variable("counter", tensor.Int, 1)
		values := make([]int32, draws*rows)
		for i := range values {
			values[i] = int32(splitmix64(uint64(i)) % uint64(n))
		}
		in.note(index.WriteInts(values))
		return func() []tensor.Update {
			draw := counter.Node()
			next := draw.Add(tensor.IntConst(1)).Mul(draw.Lt(tensor.IntConst(draws - 1)).ToInt()) // 0 after the last
			drawn := tensor.Gather(index.Node(), draw).Flatten()
			return []tensor.Update{
				{Var: out, Value: tensor.Gather(table.Node(), drawn)}, {Var: counter, Value: next},
			}
		}
	}}
}
