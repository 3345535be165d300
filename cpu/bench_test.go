package cpu

import (
	"fmt"
	"testing"

	"bilevel/internal/expr"
	"bilevel/internal/kind"
)

// Benchmarks of one thread and of two. Numbers in comments of this package are from one core of an Intel Xeon server
// (model 167, go1.26, GOAMD64=v1).

func forThreads(b *testing.B, f func(b *testing.B, p *Pool)) {
	for _, n := range []int{1, 2} {
		b.Run(fmt.Sprintf("threads=%d", n), func(b *testing.B) { f(b, newPool(b, n)) })
	}
}

func benchRun(b *testing.B, p *Pool, op interface{ Run() error }) {
	p.Lock()
	defer p.Unlock()
	for b.Loop() {
		if err := op.Run(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGemm(b *testing.B) {
	for _, s := range []product{
		{256, 256, 256, false, false},
		{1024, 1024, 1024, false, false},
		{1024, 1024, 1024, true, false},
		{256, 256, 256, false, true},
		{64, 784, 10, false, false},
		{20000, 784, 10, false, false},
		{784, 64, 10, true, false},
		{64, 10, 784, false, true},
		{64, 784, 128, false, false},
		{256, 784, 1, false, false},
		{1, 784, 256, false, false},
		{4, 4, 4, false, false},
		{16, 16, 16, false, false},
	} {
		name := fmt.Sprintf("%dx%dx%d", s.m, s.k, s.n)
		if s.ta {
			name += "/At"
		}
		if s.tb {
			name += "/Bt"
		}
		b.Run(name, func(b *testing.B) {
			forThreads(b, func(b *testing.B, p *Pool) {
				benchRun(b, p, s.gemm(p))
				flops := 2 * float64(s.m) * float64(s.n) * float64(s.k)
				b.ReportMetric(flops*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GFLOP/s")
			})
		})
	}
}

func BenchmarkMap(b *testing.B) {
	axpy := func() *expr.Expr {
		var e build
		s, x, y := e.in(0), e.in(1), e.in(2)
		return e.outs(e.step(expr.Add, y, e.step(expr.Mul, s, x)))
	}
	for _, n := range []int{1, 1000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("axpy/%d", n), func(b *testing.B) {
			forThreads(b, func(b *testing.B, p *Pool) {
				r := rng(1)
				x, y := rowMajor(normals(r, n), n), rowMajor(normals(r, n), n)
				s := Array{Real: normals(r, 1), Shape: []int{n}, Strides: []int{0}}
				benchRun(b, p, NewMap(p, axpy(), []int{n}, []Array{s, x, y}, []Array{y}))
				b.SetBytes(int64(12 * n))
			})
		})
	}
	for _, f := range []expr.Fn{expr.Exp, expr.Sigmoid, expr.Tanh, expr.Softplus, expr.Log, expr.Relu, expr.Sign} {
		b.Run(f.String(), func(b *testing.B) {
			p := newPool(b, 1)
			const n = 1 << 16
			x, y := rowMajor(normals(rng(1), n), n), rowMajor(make([]float32, n), n)
			var e build
			benchRun(b, p, NewMap(p, e.outs(e.step(f, e.in(0))), []int{n}, []Array{x}, []Array{y}))
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/element")
		})
	}
	b.Run("where", func(b *testing.B) { // the derivative of relu, times something: masks as random as the data
		p := newPool(b, 1)
		const n = 1 << 16
		x, y := rowMajor(normals(rng(1), n), n), rowMajor(make([]float32, n), n)
		var e build
		v := e.in(0)
		zero := e.c(0)
		benchRun(
			b, p,
			NewMap(p, e.outs(e.step(expr.Where, e.step(expr.Lt, zero, v), v, zero)), []int{n}, []Array{x}, []Array{y}),
		)
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/element")
	})
	b.Run("transpose/1000x1000", func(b *testing.B) {
		p := newPool(b, 1)
		x, y := rowMajor(normals(rng(1), 1_000_000), 1000, 1000), rowMajor(make([]float32, 1_000_000), 1000, 1000)
		x.Strides = []int{1, 1000}
		benchRun(b, p, NewCopy(p, y, x))
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1e6, "ns/element")
	})
	b.Run("bias/64x10", func(b *testing.B) {
		p := newPool(b, 1)
		x := rowMajor(normals(rng(1), 640), 64, 10)
		bias := Array{Real: normals(rng(2), 10), Shape: []int{64, 10}, Strides: []int{0, 1}}
		var e build
		benchRun(
			b, p, NewMap(p, e.outs(e.step(expr.Add, e.in(0), e.in(1))), []int{64, 10}, []Array{x, bias}, []Array{x}),
		)
	})
}

func BenchmarkReduce(b *testing.B) {
	dot := func() *expr.Expr {
		var e build
		return e.outs(e.step(expr.Mul, e.in(0), e.in(1)))
	}
	for _, n := range []int{1, 1000, 1_000_000} {
		b.Run(fmt.Sprintf("dot/%d", n), func(b *testing.B) {
			forThreads(b, func(b *testing.B, p *Pool) {
				r := rng(1)
				x, y, s := rowMajor(normals(r, n), n), rowMajor(normals(r, n), n), rowMajor(make([]float32, 1), 1)
				benchRun(b, p, NewReduce(p, dot(), []int{n}, []int{0}, []kind.Reduce{kind.Sum}, []Array{x, y},
					[]Array{s}))
				b.SetBytes(int64(8 * n))
			})
		})
	}
	for _, axis := range []int{0, 1} {
		for _, shape := range [][]int{{64, 10}, {1000, 1000}} {
			b.Run(fmt.Sprintf("sum/axis=%d/%v", axis, shape), func(b *testing.B) {
				p := newPool(b, 1)
				n := size(shape)
				x := rowMajor(normals(rng(1), n), shape...)
				kept := []int{shape[0], shape[1]}
				kept[axis] = 1
				out := rowMajor(make([]float32, size(kept)), kept...)
				var e build
				benchRun(b, p, NewReduce(p, e.outs(e.in(0)), shape, []int{axis}, []kind.Reduce{kind.Sum}, []Array{x},
					[]Array{out}))
				b.SetBytes(int64(4 * n))
			})
		}
	}
}

func BenchmarkRowSoftmax(b *testing.B) {
	for _, shape := range [][]int{{64, 10}, {1000, 1000}} {
		b.Run(fmt.Sprint(shape), func(b *testing.B) {
			forThreads(b, func(b *testing.B, p *Pool) {
				n := size(shape)
				x, y := rowMajor(normals(rng(1), n), shape...), rowMajor(make([]float32, n), shape...)
				benchRun(b, p, NewRowSoftmax(p, kind.Probabilities, y, x, Array{}))
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/element")
			})
		})
	}
}

type nothing struct{}

func (nothing) Do(*Worker, int) {}

// BenchmarkRegion is the cost of an empty parallel region while the helpers spin.
func BenchmarkRegion(b *testing.B) {
	p := newPool(b, 2)
	var t Task = nothing{}
	for b.Loop() {
		p.Run(4, t)
	}
}
