package cpu

import (
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/expr"
)

// minibatch is a Gather of rows from a table and products with its result.
type minibatch struct {
	x         *Gather
	idx       []int32
	forward   *Gemm // x·w + bias
	gradients *Gemm // rᵀ·x
	scaled    *Gemm // rᵀ·x ⊙ s
}

func newMinibatch(p *Pool, rows, k, n int) minibatch { return newMinibatchOf(p, 100, rows, k, n) }

// newMinibatchOf has a table of so many rows.
func newMinibatchOf(p *Pool, all, rows, k, n int) minibatch {
	r := rng(uint64(rows*k + n))
	table := rowMajor(normals(r, all*(k+3)), all, k)
	table.Strides[0], table.Off = k+3, 2
	table.Real = append(table.Real, 0, 0)
	x, idx := rowMajor(make([]float32, rows*k), rows, k), rowMajorInt(make([]int32, rows), rows)
	for i := range idx.Int {
		idx.Int[i] = int32(r.IntN(all))
	}
	as := Array{Real: x.Real, Shape: []int{1, rows, k}, Strides: []int{0, k, 1}}
	w, bias := rowMajor(normals(r, n*k), 1, k, n), rowMajor(normals(r, n), 1, rows, n)
	w.Strides, bias.Strides = []int{0, 1, k}, []int{0, 0, 1}
	residual := rowMajor(normals(r, rows*n), 1, n, rows)
	residual.Strides = []int{0, 1, n}
	var e build
	plus := e.outs(e.step(expr.Add, e.in(0), e.in(1)))
	scale, out := rowMajor(normals(r, k), 1, n, k), rowMajor(make([]float32, n*k), 1, n, k)
	scale.Strides = []int{0, 0, 1}
	var f build
	times := f.outs(f.step(expr.Mul, f.in(0), f.in(1)))
	return minibatch{
		x: NewGather(p, x, table, idx), idx: idx.Int,
		forward:   NewGemm(p, rowMajor(make([]float32, rows*n), 1, rows, n), as, w, nil, nil, plus, []Array{bias}),
		gradients: NewGemm(p, rowMajor(make([]float32, n*k), 1, n, k), residual, as, nil, nil, nil, nil),
		scaled:    NewGemm(p, out, residual, as, nil, nil, times, []Array{scale}),
	}
}

// Products that read the rows of a Gather from the table give what they give after it, bit by bit; the rows are not
// copied.
func TestTakeRows(t *testing.T) {
	took := 0
	for _, level := range Levels() {
		p := newPoolAt(t, 2, level)
		for _, rows := range []int{1, 2, 7, 8, 9, 33, 64, 300} {
			for _, n := range []int{1, 3, 4, 6, 7, 8, 10, 12, 13, 40} {
				for _, k := range []int{5, 31, 304, 305, 785} {
					if testing.Short() && (rows+n+k)%3 > 0 {
						continue
					}
					want := newMinibatch(p, rows, k, n)
					require.NoError(t, hold(p, want.x))
					require.NoError(t, hold(p, want.forward))
					require.NoError(t, hold(p, want.gradients))
					require.NoError(t, hold(p, want.scaled))
					got := newMinibatch(p, rows, k, n)
					r := got.x.Rows()
					if r == nil {
						continue
					}
					require.NoError(t, hold(p, r))
					for _, g := range [][2]*Gemm{{got.forward, want.forward}, {got.gradients, want.gradients},
						{got.scaled, want.scaled}} {
						if !g[0].CanTakeRows(r) {
							continue
						}
						took++
						g[0].TakeRows(r, true)
						require.NoError(t, hold(p, g[0]))
						require.Equal(
							t, g[1].args[0].Real, g[0].args[0].Real, "%v, %d rows of %d, %d columns", level, rows, k, n,
						)
					}
					require.Equal(t, make([]float32, rows*k), got.x.out.Real)
				}
			}
		}
		if kernelsOf(level).dotRows != nil { // the shape that this is for
			m := newMinibatch(p, 64, 784, 10)
			require.True(t, m.forward.CanTakeRows(m.x.Rows()) && m.gradients.CanTakeRows(m.x.Rows()), "%v", level)
		}
	}
	require.True(t, took > 100 || kernelsOf(Detected()).dotRows == nil, "%d", took)
}

// The first product that reads rows of a table that no cache holds is shared by the threads; it and one that finds them
// in a cache give the same bits as on one thread after the rows were copied.
func TestTakeRowsFromMemory(t *testing.T) {
	const all, rows, k, n = 1000, 64, 784, 10
	for _, level := range Levels() {
		one, p := newPoolAt(t, 1, level), newPoolAt(t, 3, level)
		if kernelsOf(level).dotRows == nil {
			continue
		}
		require.Greater(t, 4*all*k, cachedTable)
		want := newMinibatchOf(one, all, rows, k, n)
		require.NoError(t, hold(one, want.x))
		require.NoError(t, hold(one, want.forward))
		require.NoError(t, hold(one, want.gradients))
		for _, first := range []bool{true, false} {
			got := newMinibatchOf(p, all, rows, k, n)
			r := got.x.Rows()
			require.NoError(t, hold(p, r))
			for _, g := range [][2]*Gemm{{got.forward, want.forward}, {got.gradients, want.gradients}} {
				require.True(t, g[0].CanTakeRows(r))
				g[0].TakeRows(r, first)
				require.NoError(t, hold(p, g[0]))
				require.Equal(t, g[1].args[0].Real, g[0].args[0].Real, "%v, first %t", level, first)
			}
			require.Equal(t, first, got.forward.fetch > 0)
			if first {
				d, dots := got.forward.strategy.(*dotStrategy)
				require.True(t, got.forward.tiles() > 1 || dots && d.parts > 1, "%v", level)
				require.Greater(t, got.forward.nanos+got.forward.fetch, float64(minParallel))
			}
		}
	}
}

// Rows say of a bad index what the Gather says; a product refuses rows that are not one of its operands and nothing
// else.
func TestTakeRowsRefuses(t *testing.T) {
	const rows, k, n = 64, 784, 10
	p := newPool(t, 2)
	if kernelsOf(p.level).dotRows == nil {
		t.Skip("this machine has none of the kernels")
	}
	m := newMinibatch(p, rows, k, n)
	x := rowMajor(m.x.out.Real, 1, rows, k)
	xt := Array{Real: x.Real, Shape: []int{1, k, rows}, Strides: []int{0, 1, k}}
	r := m.x.Rows()
	require.False(
		t, NewGemm(p, rowMajor(make([]float32, rows*rows), 1, rows, rows), x, xt, nil, nil, nil, nil).CanTakeRows(r),
		"both operands",
	)
	require.False(t, newMinibatch(p, rows, k, n).forward.CanTakeRows(r), "another operand")
	w := rowMajor(normals(rng(1), k*n), 1, k, n)
	require.False(
		t, NewGemm(p, rowMajor(make([]float32, rows*n), 1, rows, n), x, w, &x, nil, nil, nil).CanTakeRows(r),
		"its own mask",
	)

	m.idx[9] = 100
	require.ErrorIs(t, hold(p, r), ErrIndex)
	m.idx[9] = -1
	require.ErrorIs(t, hold(p, r), ErrIndex)
}
