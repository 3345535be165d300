package kernels_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/ptx"
	"bilevel/kernels"
)

// gatherShapes are rows of the table, number of indices, columns.
var gatherShapes = [][3]int{
	{1, 1, 1}, {5, 0, 3}, {5, 3, 0}, {130, 257, 67}, {3, 100, 8}, {1000, 7, 1}, {17, 64, 33}, {0, 0, 4}, {4, 9, 256},
	{3, 5, 1100}, {9, 70000, 1}, {3000, 600, 2},
}

// fault makes the error words and returns what they say after a run.
func (r *rig) fault() (kernels.Operand, func() (index, position int32)) {
	n := put(r, "fault", []int32{-1, -1})
	return kernels.Operand{Number: n}, func() (int32, int32) {
		w := get[int32](r, n, 2)
		return w[0], w[1]
	}
}

func (r *rig) indices(n, below int) (s kernels.Strided, idx []int32) {
	s, size := vector(strided, n)
	idx = make([]int32, size)
	for i := range n {
		idx[at(s, i, 0)] = int32(r.random.IntN(max(below, 1)))
	}
	return s, idx
}

var badIndices = []int32{-1, 130, math.MaxInt32, math.MinInt32}

func TestGather(t *testing.T) {
	run := func(s [3]int, l layout, bad int32, blocks int, opt ptx.Options) { // at most so many blocks
		t.Run(fmt.Sprint(s, l, bad, blocks, opt.Seed), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, opt)
			g := kernels.Gather{Rows: s[0], Count: s[1], Cols: s[2]}
			var size int
			g.Table, size = matrix(l, s[0], s[2])
			table := r.normals(size)
			g.Table.Number = put(r, "table", table)
			index, idx := r.indices(s[1], s[0])
			if bad != 0 {
				idx[at(index, 23, 0)], idx[at(index, 41, 0)] = bad, -7
			}
			g.Index, g.Index.Number = index, 0
			g.Index.Number = put(r, "index", idx)
			g.Out, size = matrix(l, s[1], s[2])
			g.Out.Number = r.guarded("out", size)
			fault, read := r.fault()
			g.Fault = fault
			plan := g.Plan()
			for i := range plan.Launches {
				plan.Launches[i].Grid[0] = min(plan.Launches[i].Grid[0], blocks)
			}
			r.run(plan)
			out := get[float32](r, g.Out.Number, size)
			r.untouched(out, g.Out, s[1], s[2])
			for i := range s[1] {
				for j := range s[2] {
					want := float32(guard)
					if k := int(idx[at(index, i, 0)]); k >= 0 && k < s[0] {
						want = table[at(g.Table, k, j)]
					}
					if got := out[at(g.Out, i, j)]; got != want {
						t.Fatalf("row %d, column %d: %v, want %v", i, j, got, want)
					}
				}
			}
			checkFault(t, read, bad)
		})
	}
	const all = math.MaxInt
	for _, s := range gatherShapes {
		run(s, plain, 0, all, ptx.Options{Sanitize: true})
		if s[1] < 70000 {
			run(s, plain, 0, 3, ptx.Options{Sanitize: true}) // threads take several elements
		}
	}
	for _, l := range rowLayouts {
		run([3]int{19, 40, 21}, l, 0, all, ptx.Options{Sanitize: true})
		run([3]int{19, 40, 24}, l, 0, all, ptx.Options{Sanitize: true})
	}
	for i, bad := range badIndices {
		run([3]int{130, 257, 67}, plain, bad, []int{all, 5}[i%2], ptx.Options{Sanitize: true, Seed: uint64(i)})
		run([3]int{130, 257, 68}, plain, bad, []int{all, 5}[i%2], ptx.Options{Sanitize: true, Seed: uint64(i)})
	}
}

func checkFault(t *testing.T, read func() (int32, int32), bad int32) {
	index, position := read()
	if bad == 0 {
		require.Equal(t, []int32{-1, -1}, []int32{index, position})
	} else {
		require.Equal(t, []int32{bad, 23}, []int32{index, position})
	}
}

func TestScatterAdd(t *testing.T) {
	run := func(s [3]int, l layout, inPlace bool, bad int32, opt ptx.Options) {
		t.Run(fmt.Sprint(s, l, inPlace, bad, opt.Seed), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, opt)
			g := kernels.ScatterAdd{Rows: s[0], Count: s[1], Cols: s[2]}
			var size int
			g.Base, size = matrix(l, s[0], s[2])
			base := r.normals(size)
			g.Base.Number = put(r, "base", base)
			index, idx := r.indices(s[1], s[0])
			if bad != 0 {
				idx[at(index, 23, 0)], idx[at(index, 41, 0)] = bad, -7
			}
			g.Index = index
			g.Index.Number = put(r, "index", idx)
			var source []float32
			g.Source, size = matrix(l, s[1], s[2])
			source = r.normals(size)
			g.Source.Number = put(r, "source", source)
			g.Out = g.Base
			if !inPlace {
				g.Out.Number = r.guarded("out", len(base))
			}
			fault, read := r.fault()
			g.Fault = fault
			r.run(g.Plan())
			out := get[float32](r, g.Out.Number, len(base))
			if !inPlace {
				r.untouched(out, g.Out, s[0], s[2])
			}
			want := append([]float32(nil), base...)
			for i := range s[1] {
				if k := int(idx[at(index, i, 0)]); k >= 0 && k < s[0] {
					for j := range s[2] {
						want[at(g.Base, k, j)] += source[at(g.Source, i, j)]
					}
				}
			}
			for i := range s[0] {
				for j := range s[2] {
					if got := out[at(g.Out, i, j)]; got != want[at(g.Base, i, j)] {
						t.Fatalf("row %d, column %d: %v, want %v", i, j, got, want[at(g.Base, i, j)])
					}
				}
			}
			checkFault(t, read, bad)
		})
	}
	check := ptx.Options{Sanitize: true}
	for _, s := range gatherShapes {
		if s[1] < 70000 {
			run(s, plain, false, 0, check)
		}
	}
	for _, l := range rowLayouts {
		run([3]int{19, 40, 21}, l, true, 0, check)
		run([3]int{19, 300, 21}, l, false, 0, check)
	}
	run([3]int{1, 300, 5}, plain, true, 0, check)
	run([3]int{3000, 40, 1}, plain, true, 0, check) // far fewer indices than rows
	run([3]int{1500, 50, 300}, plain, true, 0, check)
	for i, bad := range badIndices {
		run([3]int{130, 257, 67}, plain, i%2 == 0, bad, ptx.Options{Sanitize: true, Seed: uint64(i)})
	}
}

// Rows of bytes become numbers, wherever in the buffer they begin; bad indices are told as for words.
// Where few rows change, few blocks do it.
func TestScatterAddPlans(t *testing.T) {
	for _, c := range []struct {
		rows, cols, count int
		apart             bool
		grid              [3]int
	}{
		{20000, 1, 64, false, [3]int{1, 1, 1}}, {20000, 1, 64, true, [3]int{79, 1, 1}},
		{20000, 1, 600, false, [3]int{3, 1, 1}}, {20000, 300, 64, false, [3]int{64, 2, 1}},
		{20000, 300, 64, true, [3]int{1000, 2, 1}}, {100, 1, 0, false, [3]int{}},
	} {
		s := kernels.ScatterAdd{Rows: c.rows, Cols: c.cols, Count: c.count}
		if c.apart {
			s.Out.Number = 1
		}
		var grid [3]int
		for _, l := range s.Plan().Launches {
			grid = l.Grid
		}
		require.Equal(t, c.grid, grid, "%+v", c)
	}
}

func TestGatherBytes(t *testing.T) {
	for _, s := range [][3]int{{1, 1, 1}, {5, 3, 0}, {130, 257, 67}, {17, 64, 32}, {130, 70, 108}} {
		for _, off := range []int{0, 1, 4, 16} {
			for _, l := range []layout{plain, strided} {
				for _, bad := range []int32{0, 130} {
					if bad != 0 && (s[0] != 130 || off != 4) {
						continue
					}
					t.Run(fmt.Sprint(s, off, l, bad), func(t *testing.T) {
						t.Parallel()
						r := newRig(t, ptx.Options{Sanitize: true, Seed: uint64(off)})
						g := kernels.Gather{Rows: s[0], Count: s[1], Cols: s[2], Bytes: true}
						var size int
						g.Table, size = matrix(l, s[0], s[2])
						g.Table.Off += off
						table := make([]byte, size+off)
						for i := range table {
							table[i] = byte(r.random.Uint32())
						}
						g.Table.Number = put(r, "table", table)
						index, idx := r.indices(s[1], s[0])
						if bad != 0 {
							idx[at(index, 23, 0)], idx[at(index, 41, 0)] = bad, -7
						}
						g.Index = index
						g.Index.Number = put(r, "index", idx)
						g.Out, size = matrix(l, s[1], s[2])
						g.Out.Number = r.guarded("out", size)
						fault, read := r.fault()
						g.Fault = fault
						r.run(g.Plan())
						out := get[float32](r, g.Out.Number, size)
						r.untouched(out, g.Out, s[1], s[2])
						for i := range s[1] {
							for j := range s[2] {
								want := float32(guard)
								if k := int(idx[at(index, i, 0)]); k >= 0 && k < s[0] {
									want = float32(table[at(g.Table, k, j)])
								}
								require.Equal(t, want, out[at(g.Out, i, j)], "row %d, column %d", i, j)
							}
						}
						checkFault(t, read, bad)
					})
				}
			}
		}
	}
}
