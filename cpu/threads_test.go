package cpu

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/expr"
	"bilevel/internal/kind"
)

// operations is one of each, in sizes that threads share, with the arrays that they write.
func operations(p *Pool, scale int) (ops []interface{ Run() error }, outs []Array) {
	r := rng(9)
	add := func(op interface{ Run() error }, out ...Array) {
		ops, outs = append(ops, op), append(outs, out...)
	}
	n := 1000*scale + 7
	x, y, z := rowMajor(normals(r, n), n), rowMajor(normals(r, n), n), rowMajor(make([]float32, n), n)
	var m build
	add(
		NewMap(
			p, m.outs(m.step(expr.Exp, m.step(expr.Sub, m.in(0), m.step(expr.Mul, m.in(1), m.c(0.1))))), []int{n},
			[]Array{x, y}, []Array{z},
		),
		z,
	)

	total := rowMajor(make([]float32, 1), 1)
	var d build
	add(NewReduce(p, d.outs(d.step(expr.Mul, d.in(0), d.in(1))), []int{n}, []int{0}, []kind.Reduce{kind.Sum},
		[]Array{x, y}, []Array{total}), total)
	for axes := range 4 {
		shape, kept := []int{10 * scale, 100}, []int{10 * scale, 100}
		var list []int
		for a := range 2 {
			if axes>>a&1 == 1 {
				list, kept[a] = append(list, a), 1
			}
		}
		in, s, t := rowMajor(
			normals(r, size(shape)),
			shape...), rowMajor(
			make([]float32, size(kept)),
			kept...), rowMajor(
			make([]float32, size(kept)),
			kept...)
		var b build
		v := b.step(expr.Add, b.in(0), b.c(0.1))
		add(NewReduce(p, b.outs(v, v), shape, list, []kind.Reduce{kind.Sum, kind.Maximum}, []Array{in}, []Array{s, t}),
			s, t)
	}

	for _, s := range [][4]int{{1, 10 * scale, 300, 40}, {3, 50, 70, 10}, {1, 5, 64, 10 * scale}, {1, 64, 784, 10}} {
		a, b := rowMajor(normals(r, s[0]*s[1]*s[2]), s[0], s[1], s[2]), rowMajor(
			normals(r, s[0]*s[2]*s[3]), s[0], s[2], s[3],
		)
		out := rowMajor(make([]float32, s[0]*s[1]*s[3]), s[0], s[1], s[3])
		var e build
		add(NewGemm(p, out, a, b, &a, nil, e.outs(e.step(expr.Relu, e.step(expr.Add, e.in(0), e.c(1)))), nil), out)
	}

	rows := rowMajor(normals(r, 100*scale), 10*scale, 10)
	soft, loss := rowMajor(make([]float32, 100*scale), 10*scale, 10), rowMajor(make([]float32, 10*scale), 10*scale)
	label := rowMajorInt(make([]int32, 10*scale), 10*scale)
	for i := range label.Int {
		label.Int[i] = int32(r.IntN(10))
	}
	add(NewRowSoftmax(p, kind.Probabilities, soft, rows, Array{}), soft)
	add(NewRowSoftmax(p, kind.LogProbabilities, soft, soft, Array{}), soft)
	add(NewRowSoftmax(p, kind.CrossEntropy, loss, rows, label), loss)

	table, gathered := rowMajor(normals(r, 1000), 10, 100), rowMajor(make([]float32, 1000*scale), 10*scale, 100)
	add(NewGather(p, gathered, table, label), gathered)
	sums := rowMajor(make([]float32, 1000), 10, 100)
	add(NewScatterAdd(p, sums, table, label, gathered), sums)

	best := rowMajorInt(make([]int32, 10*scale), 10*scale)
	add(NewArgMax(p, best, rows), best)
	place, rank := rowMajorInt(make([]int32, 1), 1), rowMajorInt([]int32{int32(20 * scale)}, 1)
	add(NewKthLargest(p, place, rank, []Array{rows, gathered}), place)
	noise := rowMajor(make([]float32, 100*scale), 100*scale)
	seed, step := rowMajorInt([]int32{1, 2}, 2), rowMajorInt([]int32{3}, 1)
	add(NewRandom(p, kind.Normal, 1, 0, noise, seed, step), noise)
	flipped := Array{Real: make([]float32, 1000*scale), Shape: []int{10 * scale, 100}, Strides: []int{1, 10 * scale}}
	add(NewCopy(p, flipped, gathered), flipped)
	return ops, outs
}

// The same bits for any number of threads.
func TestThreadsDoNotChangeBits(t *testing.T) {
	for _, scale := range []int{1, 100} {
		var want []Array
		for _, threads := range []int{1, 2, 3, 7} {
			p := newPool(t, threads)
			ops, outs := operations(p, scale)
			for range 2 { // and again
				for _, op := range ops {
					require.NoError(t, hold(p, op))
				}
			}
			if want == nil {
				want = outs
			}
			for i := range outs {
				require.Equal(t, want[i].Real, outs[i].Real, "output %d, %d threads", i, threads)
				require.Equal(t, want[i].Int, outs[i].Int)
			}
		}
	}
}

func TestRunAllocatesNothing(t *testing.T) {
	for _, threads := range []int{1, 3} {
		for _, scale := range []int{1, 30} {
			p := newPool(t, threads)
			ops, _ := operations(p, scale)
			for i, op := range ops {
				t.Run(fmt.Sprintf("threads=%d/scale=%d/%d:%T", threads, scale, i, op), func(t *testing.T) {
					p.Lock()
					defer p.Unlock()
					require.Zero(t, testing.AllocsPerRun(5, func() {
						if err := op.Run(); err != nil {
							t.Error(err)
						}
					}))
				})
			}
		}
	}
}
