package kernels_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/kind"
	"bilevel/internal/ptx"
	"bilevel/kernels"
)

// small gives one operation for each kernel other than products, just large enough that several warps or blocks meet;
// the result is operand out, of size words.
func small() []func(r *rig) (plan kernels.Plan, out, size int) {
	dense := func(number, cols int) kernels.Strided {
		return kernels.Strided{Number: number, Strides: [3]int{cols, 1}}
	}
	one := func(number int) kernels.Strided { return kernels.Strided{Number: number, Strides: [3]int{1}} }
	var list []func(r *rig) (kernels.Plan, int, int)
	for what := kind.Probabilities; what <= kind.CrossEntropy; what++ {
		for _, s := range [][2]int{{37, 19}, {3, 300}} {
			list = append(list, func(r *rig) (kernels.Plan, int, int) {
				rows, cols := s[0], s[1]
				p := kernels.Softmax{Kind: what, Rows: rows, Cols: cols, In: dense(r.dense("z", rows*cols), cols)}
				size := rows * cols
				if what == kind.CrossEntropy {
					p.Labels, size = one(put(r, "labels", make([]int32, rows))), rows
				}
				p.Out = kernels.Strided{Number: r.blank("out", size), Strides: [3]int{size / rows, 1}}
				return p.Plan(), p.Out.Number, size
			})
		}
	}
	for _, s := range [][2]int{{37, 19}, {3, 1100}} {
		list = append(list, func(r *rig) (kernels.Plan, int, int) {
			p := kernels.ArgMax{
				Rows: s[0], Cols: s[1], In: dense(r.dense("z", s[0]*s[1]), s[1]), Out: one(r.blank("out", s[0])),
			}
			return p.Plan(), p.Out.Number, s[0]
		})
	}
	for _, cols := range []int{17, 16} {
		list = append(list, func(r *rig) (kernels.Plan, int, int) {
			const rows, n = 23, 90
			_, idx := r.indices(n, rows)
			fault, _ := r.fault()
			p := kernels.Gather{
				Rows: rows, Cols: cols, Count: n, Fault: fault, Table: dense(r.dense("table", rows*cols), cols),
				Index: one(put(r, "index", idx)), Out: dense(r.blank("out", n*cols), cols),
			}
			return p.Plan(), p.Out.Number, n * cols
		})
	}
	for _, cols := range []int{17, 16} {
		list = append(list, func(r *rig) (kernels.Plan, int, int) {
			const rows, n = 23, 90
			_, idx := r.indices(n, rows)
			fault, _ := r.fault()
			p := kernels.Gather{
				Rows: rows, Cols: cols, Count: n, Fault: fault, Bytes: true,
				Table: dense(put(r, "table", make([]byte, rows*cols)), cols), Index: one(put(r, "index", idx)),
				Out: dense(r.blank("out", n*cols), cols),
			}
			return p.Plan(), p.Out.Number, n * cols
		})
	}
	list = append(list,
		func(r *rig) (kernels.Plan, int, int) {
			const rows, cols, n = 23, 17, 600
			_, idx := r.indices(n, rows)
			fault, _ := r.fault()
			base := dense(r.dense("out", rows*cols), cols)
			p := kernels.ScatterAdd{
				Rows: rows, Cols: cols, Count: n, Fault: fault, Base: base, Out: base, Index: one(put(r, "index", idx)),
				Source: dense(r.dense("source", n*cols), cols),
			}
			return p.Plan(), base.Number, rows * cols
		},
		func(r *rig) (kernels.Plan, int, int) {
			s, _ := r.selection(func(r *rig, _ int) float32 { return float32(r.random.IntN(9)) }, 5000, 77)
			s.K, s.Out = one(put(r, "k", []int32{1234})), one(r.blank("out", 1))
			s.Fault, _ = r.fault()
			return s.Plan(), s.Out.Number, 1
		},
		func(r *rig) (kernels.Plan, int, int) {
			out := r.blank("out", 700)
			return kernels.Fill{
				Shape: []int{700}, To: kernels.View{Operand: kernels.Operand{Number: out}, Strides: []int{1}}, Word: 7,
			}.Plan(), out, 700
		})
	for what := kind.Bits; what <= kind.Normal; what++ {
		list = append(list, func(r *rig) (kernels.Plan, int, int) {
			word := one(put(r, "seed", []int32{1, 2}))
			p := kernels.Random{Kind: what, N: 1031, Seed: word, Step: word, Below: 10, Out: one(r.blank("out", 1031))}
			return p.Plan(), p.Out.Number, 1031
		})
	}
	for cast := kernels.Same; cast <= kernels.ToInt; cast++ {
		for _, from := range [][]int{{35, 1}, {1, 33}, {70, 2}} {
			list = append(list, func(r *rig) (kernels.Plan, int, int) {
				const rows, cols = 33, 35
				out := r.blank("to", rows*cols)
				return kernels.Copy{
					Shape: []int{rows, cols}, Cast: cast,
					From: kernels.View{Operand: kernels.Operand{Number: r.dense("from", 2*rows*cols)}, Strides: from},
					To:   kernels.View{Operand: kernels.Operand{Number: out}, Strides: []int{cols, 1}},
				}.Plan(), out, rows * cols
			})
		}
	}
	return list
}

// Under 8 orders of blocks and warps and three readings of floating point (all 24 ways with BILEVEL_LONG, else 8 of
// them) no kernel gives the sanitizer anything to report, and the order never changes a bit, but where the pessimistic
// reading draws errors of approximations by the seed. Products have this in TestGemm.
func TestAllWays(t *testing.T) {
	ways := uint64(8)
	if os.Getenv("BILEVEL_LONG") != "" {
		ways = 24
	}
	var launched sync.Map
	t.Cleanup(func() {
		for _, b := range builds(t) {
			name := strings.TrimSuffix(filepath.Base(b.Output), ".ptx")
			if strings.HasPrefix(name, "gemm") {
				continue
			}
			for _, k := range module(t, name).Kernels() {
				_, found := launched.Load(k.Name)
				require.True(t, found, "no operation launches %s", k.Name)
			}
		}
	})
	for i, operation := range small() {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			first := map[ptx.FloatMode][]int32{}
			for way := range ways {
				seed, mode := 1+way%8, ptx.FloatMode(way%3) // 8 and 3 have no factor in common
				r := newRig(t, ptx.Options{Sanitize: true, Seed: seed, Float: mode})
				plan, out, size := operation(r)
				r.run(plan)
				for _, l := range r.launched {
					launched.Store(l.Entry, true)
				}
				got := get[int32](r, out, size)
				if first[mode] == nil || mode == ptx.Pessimistic {
					first[mode] = got
				}
				require.Equal(t, first[mode], got, "%s: seed %d, mode %d", plan.Launches[0].Entry, seed, mode)
			}
		})
	}
}
