package tensor_test

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"bilevel/device"
	. "bilevel/tensor"

	"github.com/stretchr/testify/require"
)

// kept is 1 at the k largest elements of all parts together, exactly k of them, and 0 elsewhere.
func kept(k *Node, parts ...*Node) []*Node {
	value, place := KthLargest(k, parts...)
	masks := make([]*Node, len(parts))
	first := 0
	for i, p := range parts {
		places := Iota(0, p.Size()).Add(IntConst(int32(first))).Reshape(p.Shape()...)
		among := p.Eq(value).Mul(places.Lt(place.Add(IntConst(1))))
		masks[i] = value.Lt(p).Add(among)
		first += p.Size()
	}
	return masks
}

// A schedule of pruning: one function, compiled once, keeps fewer weights of several arrays each time it runs.
func TestPruningSchedule(t *testing.T) {
	for name, ex := range map[string]*Executor{"ref": newRef(t), "cpu": newHost(t, 2)} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(5, 6))
			var all []float64
			var nodes []*Node
			var masks []*Variable
			for _, s := range [][]int{{6, 4}, {1}, {3, 5, 2}} {
				v := ex.Variable("w", Real, s...)
				values := make([]float64, v.Size())
				for i := range values {
					values[i] = float64(r.IntN(9)) - 4 // many equals
				}
				require.NoError(t, v.Write(values))
				for _, x := range values {
					all = append(all, math.Abs(x))
				}
				nodes, masks = append(nodes, v.Node().Abs()), append(masks, ex.Variable("mask", Real, s...))
			}
			k := ex.Variable("k", Int)
			f, err := ex.Compile("prune", func() (us []Update) {
				for i, m := range kept(k.Node(), nodes...) {
					us = append(us, Update{Var: masks[i], Value: m})
				}
				return append(us, Update{Var: k, Value: k.Node().Sub(IntConst(3))})
			})
			require.NoError(t, err)
			order := make([]int, len(all))
			for i := range order {
				order[i] = i
			}
			slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(all[b], all[a]) })
			require.NoError(t, k.WriteInts([]int32{int32(len(all))}))
			for n := len(all); n > 0; n -= 3 {
				require.NoError(t, f.Run(1))
				want := make([]float64, len(all))
				for _, i := range order[:n] {
					want[i] = 1
				}
				var got []float64
				for _, m := range masks {
					values, err := m.Read()
					require.NoError(t, err)
					got = append(got, values...)
				}
				require.Equal(t, want, got, "%d kept", n)
			}
			require.ErrorIs(t, f.Run(1), device.ErrIndex, "there is no k below 1")
		})
	}
}
