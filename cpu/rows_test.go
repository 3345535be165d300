package cpu

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/kind"
	"bilevel/internal/philox"
)

// Rows of every length in every layout, against float64, with the bound of devicetest: u times the sum of the
// operations.
func TestRowSoftmax(t *testing.T) {
	p := newPool(t, 3)
	r := rng(1)
	for _, c := range []int{1, 2, 3, 7, 8, 9, 10, 31, 64, 67, 1000, 3001} {
		for _, how := range layouts {
			rows := 1 + 50/c
			z := scattered(r, how, rows, c)
			for i := range z.Real {
				z.Real[i] *= 5
			}
			soft, logs, loss := scattered(r, how, rows, c), scattered(r, "dense", rows, c), scattered(r, how, rows)
			labels := rowMajorInt(make([]int32, rows), rows)
			for i := range rows {
				labels.Int[i] = int32(r.IntN(c))
			}
			bad := rowMajorInt([]int32{-1, int32(c)}, 2)
			zs := elements(z)
			require.NoError(t, hold(p, NewRowSoftmax(p, kind.Probabilities, soft, z, Array{})))
			require.NoError(t, hold(p, NewRowSoftmax(p, kind.LogProbabilities, logs, z, Array{})))
			require.NoError(t, hold(p, NewRowSoftmax(p, kind.CrossEntropy, loss, z, labels)))
			softs, logss, losses := elements(soft), elements(logs), elements(loss)
			for i := range rows {
				row := zs[i*c:][:c]
				top := math.Inf(-1)
				for _, v := range row {
					top = max(top, float64(v))
				}
				sum := 0.0
				for _, v := range row {
					sum += math.Exp(float64(v) - top)
				}
				for j, v := range row {
					d := float64(v) - top
					q := math.Exp(d) / sum
					bound := u32 * (60 + float64(c) + math.Abs(d)) // relative error of an exponential over a sum
					require.InDelta(t, q, softs[i*c+j], bound*q+0x1p-140)
					require.InDelta(t, d-math.Log(sum), logss[i*c+j], bound+u32*math.Abs(d-math.Log(sum)))
				}
				d := float64(row[labels.Int[i]]) - top
				require.InDelta(t, math.Log(sum)-d, losses[i], u32*(60+float64(c)+2*math.Abs(d)))
			}
			wrong := rowMajor(make([]float32, 2), 2)
			two := z
			two.Shape, two.Strides = []int{2, c}, []int{0, z.Strides[1]}
			require.NoError(t, hold(p, NewRowSoftmax(p, kind.CrossEntropy, wrong, two, bad)))
			require.True(t, wrong.Real[0] != wrong.Real[0] && wrong.Real[1] != wrong.Real[1])
			for _, k := range []kind.Softmax{kind.Probabilities, kind.LogProbabilities} { // in place
				same := z
				same.Real = append([]float32(nil), z.Real...)
				require.NoError(t, hold(p, NewRowSoftmax(p, k, same, same, Array{})))
				require.Equal(t, map[kind.Softmax][]float32{kind.Probabilities: softs, kind.LogProbabilities: logss}[k],
					elements(same))
			}
		}
	}
}

func TestRowSoftmaxOfExtremes(t *testing.T) {
	p := newPool(t, 1)
	inf := float32(math.Inf(1))
	z := rowMajor([]float32{3e38, -3e38, 0, -inf, 0, -inf, -100, -200, -300}, 3, 3)
	out := rowMajor(make([]float32, 9), 3, 3)
	require.NoError(t, hold(p, NewRowSoftmax(p, kind.Probabilities, out, z, Array{})))
	require.Equal(t, []float32{1, 0, 0, 0, 1, 0}, out.Real[:6])
	require.NoError(t, hold(p, NewRowSoftmax(p, kind.LogProbabilities, out, z, Array{})))
	require.Equal(t, []float32{-inf, 0, -inf, 0, -100, -200}, out.Real[3:])

	none := rowMajor(nil, 2, 0)
	loss := rowMajor(make([]float32, 2), 2)
	require.NoError(t, hold(p, NewRowSoftmax(p, kind.Probabilities, none, none, Array{})))
	require.NoError(t, hold(p, NewRowSoftmax(p, kind.CrossEntropy, loss, none, rowMajorInt(make([]int32, 2), 2))))
	require.True(t, loss.Real[0] != loss.Real[0])
}

func TestGatherAndScatterAdd(t *testing.T) {
	p := newPool(t, 3)
	r := rng(2)
	for _, d := range []int{0, 1, 3, 10, 200, 1000} {
		for _, how := range layouts {
			table := scattered(r, how, 7, d)
			idx := Array{Int: []int32{6, 0, 3, 3, 0, 1, 3}, Shape: []int{7}, Strides: []int{1}}
			out := scattered(r, how, 7, d)
			require.NoError(t, hold(p, NewGather(p, out, table, idx)))
			tables, outs := elements(table), elements(out)
			for j, i := range idx.Int {
				require.Equal(t, tables[int(i)*d:][:d], outs[j*d:][:d])
			}

			src, base := scattered(r, how, 7, d), scattered(r, "padded", 7, d)
			sum := scattered(r, how, 7, d)
			want, srcs := elements(base), elements(src)
			for j, i := range idx.Int {
				for c := range d {
					want[int(i)*d+c] += srcs[j*d+c]
				}
			}
			require.NoError(t, hold(p, NewScatterAdd(p, sum, base, idx, src)))
			require.Equal(t, want, elements(sum))
			require.NoError(t, hold(p, NewScatterAdd(p, base, base, idx, src)))
			require.Equal(t, want, elements(base))
		}
	}
	ints := rowMajorInt([]int32{1, 2, 3, 4}, 2, 2)
	out := rowMajorInt(make([]int32, 2), 1, 2)
	require.NoError(t, hold(p, NewGather(p, out, ints, rowMajorInt([]int32{1}, 1))))
	require.Equal(t, []int32{3, 4}, out.Int)
}

func TestBadIndices(t *testing.T) {
	p := newPool(t, 2)
	for _, bad := range []int32{-1, 3, math.MaxInt32, math.MinInt32} {
		table, out := rowMajor([]float32{1, 2, 3}, 3, 1), rowMajor([]float32{9, 9}, 2, 1)
		idx := rowMajorInt([]int32{0, bad}, 2)
		g := NewGather(p, out, table, idx)
		err := hold(p, g)
		require.ErrorIs(t, err, ErrIndex)
		require.ErrorContains(t, err, "Gather")
		require.ErrorContains(t, err, "table has 3 rows")
		s := NewScatterAdd(p, table, table, idx, out)
		require.ErrorIs(t, hold(p, s), ErrIndex)
		require.Equal(t, []float32{9, 9}, out.Real)
		require.Equal(t, []float32{1, 2, 3}, table.Real)
		idx.Int[1] = 2
		require.NoError(t, hold(p, g)) // and goes on
		require.Equal(t, []float32{1, 3}, out.Real)
	}
}

func TestArgMax(t *testing.T) {
	p := newPool(t, 2)
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, c := range []struct {
		row  []float32
		want int32
	}{
		{[]float32{3}, 0}, {[]float32{1, 3, 2}, 1}, {[]float32{2, 2, 2}, 0}, {[]float32{1, 5, 5}, 1},
		{[]float32{-inf, -inf}, 0},
		{[]float32{inf, nan, nan}, 1}, {[]float32{nan, inf}, 0}, {[]float32{nan}, 0},
		{[]float32{0, float32(math.Copysign(0, -1))}, 0},
	} {
		out := rowMajorInt([]int32{-1, -1}, 2)
		z := Array{Real: c.row, Shape: []int{2, len(c.row)}, Strides: []int{0, 1}}
		require.NoError(t, hold(p, NewArgMax(p, out, z)))
		require.Equal(t, []int32{c.want, c.want}, out.Int, "%v", c.row)
	}
	r := rng(3)
	for _, how := range layouts {
		z := scattered(r, how, 300, 10)
		out := rowMajorInt(make([]int32, 300), 300)
		require.NoError(t, hold(p, NewArgMax(p, out, z)))
		zs := elements(z)
		for i, j := range out.Int {
			for _, v := range zs[i*10:][:10] {
				require.GreaterOrEqual(t, zs[i*10+int(j)], v)
			}
		}
	}
}

func TestRandom(t *testing.T) {
	p := newPool(t, 3)
	seed, step := rowMajorInt([]int32{-5, 77}, 2), rowMajorInt([]int32{9}, 1)
	word := uint64(uint32(0xfffffffb)) | 77<<32
	for _, n := range []int{0, 1, 5, blockLen, 3*blockLen + 7} {
		for _, stride := range []int{1, 2} {
			ints := Array{Int: make([]int32, 2*n+1), Shape: []int{n}, Strides: []int{stride}}
			reals := Array{Real: make([]float32, 2*n+1), Shape: []int{n}, Strides: []int{stride}}
			want, wantReal := make([]int32, n), make([]float32, n)
			check := func() {
				for i := range n {
					require.Equal(t, want[i], ints.Int[i*stride])
					require.Equal(t, wantReal[i], reals.Real[i*stride])
				}
			}
			require.NoError(t, hold(p, NewRandom(p, kind.Bits, 3, 0, ints, seed, step)))
			require.NoError(t, hold(p, NewRandom(p, kind.Uniform, 3, 0, reals, seed, step)))
			philox.Bits(want, word, 9, 3, 0)
			philox.Uniforms(wantReal, word, 9, 3, 0)
			check()
			require.NoError(t, hold(p, NewRandom(p, kind.Integers, 3, 10, ints, seed, step)))
			require.NoError(t, hold(p, NewRandom(p, kind.Normal, 3, 0, reals, seed, step)))
			philox.Integers(want, 10, word, 9, 3, 0)
			philox.Normals(wantReal, word, 9, 3, 0)
			check()
		}
	}
}

// Eight rows at a time, every length, against the generic loop; rows may repeat.
func TestCopyRows8(t *testing.T) {
	r := rng(11)
	forFastLevels(t, func(t *testing.T, l *loops) {
		for n := range 70 {
			ldd, lds := n+r.IntN(3), n+r.IntN(3)
			var rows [8]int32
			for i := range rows {
				rows[i] = int32(r.IntN(12))
			}
			src := normals(r, 11*lds+n)
			got, want := newGuarded(7*ldd+n, n%16), make([]float32, 7*ldd+n)
			clear(got.v)
			l.copyRows8(got.v, ldd, src, lds, &rows, n)
			copyRows8(want, ldd, src, lds, &rows, n)
			require.True(t, got.intact())
			require.Equal(t, want, got.v)
		}
	})
}
