package cpu

import (
	"fmt"
	"testing"

	"bilevel/internal/expr"
	"bilevel/internal/kind"
)

// call is a function as an operation.
type call func()

func (c call) Run() error { c(); return nil }

// BenchmarkLoops is the least time of each elementwise loop over a block in the first-level cache, per element.
func BenchmarkLoops(b *testing.B) {
	const n = blockLen
	r := rng(1)
	for _, level := range Levels() {
		l := loopsOf(level)
		for f := range numFn {
			for form, loop := range kernelCalls(&l.real[f]) {
				b.Run(fmt.Sprintf("%s/%s%s", level, name(f), form), func(b *testing.B) {
					dst, x, y, z := normals(r, n), normals(r, n), normals(r, n), normals(r, n)
					best := bestOf([]update{{op: call(func() { loop(dst, x, y, z) })}}, 50, 10)
					b.ReportMetric(best[0]/n, "ns/element")
					b.ReportMetric(0, "ns/op")
				})
			}
		}
	}
}

// BenchmarkSmall is the least time of operations as small as those of softmax regression on a minibatch, and of tall
// and wide ones, on one thread.
func BenchmarkSmall(b *testing.B) {
	r := rng(1)
	array := func(shape ...int) Array { return rowMajor(normals(r, size(shape)), shape...) }
	for _, level := range Levels() {
		p := newPoolAt(b, 1, level)
		var list []update
		for _, shape := range [][2]int{{64, 10}, {1024, 10}, {1024, 100}, {1000, 1000}, {10, 50000}} {
			rows, c := shape[0], shape[1]
			x, y := array(rows, c), array(rows, c)
			labels := rowMajorInt(make([]int32, rows), rows)
			add := func(what string, op interface{ Run() error }) {
				list = append(list, update{name: fmt.Sprintf("%s/%dx%d", what, rows, c), bytes: rows * c, op: op})
			}
			reduce := func(what string, axis int, kept ...int) {
				var e build
				add(what, NewReduce(p, e.outs(e.in(0)), shape[:], []int{axis}, []kind.Reduce{kind.Sum}, []Array{x},
					[]Array{array(kept...)}))
			}
			add("softmax", NewRowSoftmax(p, kind.Probabilities, y, x, Array{}))
			add("logSoftmax", NewRowSoftmax(p, kind.LogProbabilities, y, x, Array{}))
			add("crossEntropy", NewRowSoftmax(p, kind.CrossEntropy, array(rows), x, labels))
			reduce("rowSums", 1, rows, 1)
			reduce("columnSums", 0, 1, c)
			var e build
			bias := Array{Real: normals(r, c), Shape: shape[:], Strides: []int{0, 1}}
			add("bias", NewMap(p, e.outs(e.step(expr.Add, e.in(0), e.in(1))), shape[:], []Array{x, bias}, []Array{y}))
			e = build{}
			scale := Array{Real: normals(r, rows), Shape: shape[:], Strides: []int{1, 0}}
			add(
				"rowScale",
				NewMap(p, e.outs(e.step(expr.Mul, e.in(0), e.in(1))), shape[:], []Array{x, scale}, []Array{y}),
			)
			add("argMax", NewArgMax(p, labels, x))
			turned := array(c, rows)
			turned.Shape, turned.Strides = shape[:], []int{1, rows}
			add("transpose", NewCopy(p, turned, x))
			add("transposed", NewCopy(p, y, turned))
		}
		seed, step := rowMajorInt([]int32{1, 2}, 2), rowMajorInt([]int32{3}, 1)
		for _, k := range []kind.Random{kind.Integers, kind.Uniform, kind.Normal} {
			out := array(4096)
			if k == kind.Integers {
				out = rowMajorInt(make([]int32, 4096), 4096)
			}
			list = append(list, update{name: fmt.Sprintf("random%d/4096", k), bytes: 4096,
				op: NewRandom(p, k, 1, 20000, out, seed, step)})
		}
		p.Lock()
		defer p.Unlock()
		for i, t := range bestOf(list, 20, 3) {
			b.Run(fmt.Sprintf("%s/%s", level, list[i].name), func(b *testing.B) {
				b.ReportMetric(t, "ns")
				b.ReportMetric(t/float64(list[i].bytes), "ns/element")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// BenchmarkGather is rows of a table that lies out of the caches: 64 at random places, and 64 that follow each other.
func BenchmarkGather(b *testing.B) {
	const n, rows = 20_000, 64
	for _, d := range []int{784, 785} {
		for _, aligned := range []bool{false, true} {
			b.Run(fmt.Sprintf("d=%d/aligned=%v", d, aligned), func(b *testing.B) {
				forThreads(b, func(b *testing.B, p *Pool) {
					r := rng(1)
					table := rowMajor(alignedTo64(make([]float32, n*d+16))[:n*d], n, d)
					for i := range table.Real {
						table.Real[i] = 1
					}
					idx, out := rowMajorInt(make([]int32, rows), rows), rowMajor(make([]float32, rows*d), rows, d)
					g := NewGather(p, out, table, idx)
					p.Lock()
					defer p.Unlock()
					for b.Loop() {
						first := 64 * r.IntN(n/64)
						for i := range idx.Int {
							if idx.Int[i] = int32(first + i); !aligned {
								idx.Int[i] = int32(r.IntN(n))
							}
						}
						g.Run()
					}
					b.ReportMetric(float64(8*rows*d*b.N)/float64(b.Elapsed().Nanoseconds()), "GB/s")
				})
			})
		}
	}
}
