package cpu

import (
	"fmt"
	"testing"
	"time"

	"bilevel/internal/expr"
	"bilevel/internal/kind"
)

// The memory-bound updates of the solvers against the triad a = b + s·c, which is one loop over the same memory without
// a program around it. Each is timed in turn with the others and the best of several rounds counts, so that a busy
// machine slows all alike.

// update is one of them: an operation over n elements, and the bytes that an element moves.
type update struct {
	name  string
	bytes int
	op    interface{ Run() error }
}

// triad is the yardstick: the loop alone, cut for the threads.
type triad struct {
	pool    *Pool
	loop    func(dst, a []float32, b float32, c []float32)
	a, b, c []float32
	piece   int
}

func (t *triad) Run() error {
	items := 1
	if t.piece = len(t.a); t.pool.Threads() > 1 {
		t.piece = max(1<<12, (len(t.a)/t.pool.Threads()/16+1)*16)
		items = (len(t.a) + t.piece - 1) / t.piece
	}
	t.pool.Run(items, t)
	return nil
}

func (t *triad) Do(_ *Worker, item int) {
	lo, hi := item*t.piece, min((item+1)*t.piece, len(t.a))
	t.loop(t.a[lo:hi], t.c[lo:hi], 0.5, t.b[lo:hi])
}

// updates makes all of them over arrays of n elements.
func updates(p *Pool, n int) []update {
	vector := func() Array {
		s := make([]float32, n+16)
		for i := range s {
			s[i] = float32(i&15) * 0.125
		}
		return rowMajor(alignedTo64(s)[:n], n)
	}
	number := func(v float32) Array { return Array{Real: []float32{v}, Shape: []int{n}, Strides: []int{0}} }
	x, y, z, w, g := vector(), vector(), vector(), vector(), vector()
	list := []update{
		{"triad", 12, &triad{pool: p, loop: loopsOf(p.level).real[mulAdd].vsv, a: x.Real, b: y.Real, c: z.Real}},
	}
	add := func(name string, bytes int, e *expr.Expr, in, out []Array) {
		list = append(list, update{name, bytes, NewMap(p, e, []int{n}, in, out)})
	}
	var e build
	add("relu", 8, e.outs(e.step(expr.Relu, e.in(0))), []Array{x}, []Array{y})
	e = build{}
	add(
		"axpy", 12, e.outs(e.step(expr.Add, e.in(0), e.step(expr.Mul, e.in(2), e.in(1)))), []Array{z, x, number(0.1)},
		[]Array{z},
	)
	e = build{}
	add(
		"sgd", 12, e.outs(e.step(expr.Sub, e.in(0), e.step(expr.Mul, e.in(2), e.in(1)))), []Array{w, g, number(0.1)},
		[]Array{w},
	)

	e = build{} // clip(clip(d + 0.01·sign(g), -0.1, 0.1) + x, 0, 1) - x
	d := e.step(expr.Add, e.in(0), e.step(expr.Mul, e.c(0.01), e.step(expr.Sign, e.in(1))))
	d = e.step(expr.Add, e.step(expr.Clamp, d, e.c(-0.1), e.c(0.1)), e.in(2))
	add(
		"pgd", 16, e.outs(e.step(expr.Sub, e.step(expr.Clamp, d, e.c(0), e.c(1)), e.in(2))), []Array{w, g, x},
		[]Array{w},
	)

	e = build{} // z += α·p, r -= α·Ap, r·r
	alpha := e.in(4)
	zNew := e.step(expr.Add, e.in(0), e.step(expr.Mul, alpha, e.in(1)))
	rNew := e.step(expr.Sub, e.in(2), e.step(expr.Mul, alpha, e.in(3)))
	rr := e.step(expr.Mul, rNew, rNew)
	list = append(list, update{"cg", 24,
		NewReduce(p, e.outs(rr, zNew, rNew), []int{n}, []int{0}, []kind.Reduce{kind.Sum},
			[]Array{z, x, w, g, number(0.1)}, []Array{rowMajor(make([]float32, 1), 1), z, w})})

	e = build{} // m, v, w of Adam, the corrections in the step size
	gg, m, v := e.in(1), e.in(2), e.in(3)
	m = e.step(expr.Add, e.step(expr.Mul, m, e.c(0.9)), e.step(expr.Mul, gg, e.c(0.1)))
	v = e.step(expr.Add, e.step(expr.Mul, v, e.c(0.999)), e.step(expr.Mul, e.step(expr.Mul, gg, gg), e.c(0.001)))
	u := e.step(expr.Div, m, e.step(expr.Add, e.step(expr.Sqrt, v), e.c(1e-8)))
	add(
		"adam", 28, e.outs(e.step(expr.Sub, e.in(0), e.step(expr.Mul, u, e.c(0.001))), m, v), []Array{w, g, y, x},
		[]Array{w, y, x},
	)

	e = build{}
	list = append(list, update{"dot", 8,
		NewReduce(p, e.outs(e.step(expr.Mul, e.in(0), e.in(1))), []int{n}, []int{0}, []kind.Reduce{kind.Sum},
			[]Array{x, g}, []Array{rowMajor(make([]float32, 1), 1)})})
	return list
}

// BenchmarkUpdates prints GB/s and the share of the triad for sizes in and out of the caches.
func BenchmarkUpdates(b *testing.B) {
	for _, threads := range []int{1, 2} {
		for _, level := range Levels() {
			for _, n := range []int{1_000, 10_000, 100_000, 1_000_000, 10_000_000} {
				b.Run(fmt.Sprintf("threads=%d/%s/%d", threads, level, n), func(b *testing.B) {
					p := newPoolAt(b, threads, level)
					p2 := p
					list := updates(p2, n)
					p.Lock()
					defer p.Unlock()
					best := bestOf(list, 10, max(1, 2_000_000/n))
					for i, u := range list {
						rate := float64(u.bytes*n) / best[i]
						b.ReportMetric(rate, u.name+"-GB/s")
					}
					b.ReportMetric(0, "ns/op")
				})
			}
		}
	}
}

// bestOf runs all updates in turn and returns the least time of each in nanoseconds.
func bestOf(list []update, rounds, repeat int) []float64 {
	best := make([]float64, len(list))
	for range rounds {
		for i, u := range list {
			u.op.Run()
			start := time.Now()
			for range repeat {
				u.op.Run()
			}
			t := float64(time.Since(start).Nanoseconds()) / float64(repeat)
			if best[i] == 0 || t < best[i] {
				best[i] = t
			}
		}
	}
	return best
}
