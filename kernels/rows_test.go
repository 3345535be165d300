package kernels_test

import (
	"fmt"
	"math"
	"testing"

	"bilevel/internal/kind"
	"bilevel/internal/ptx"
	"bilevel/kernels"
)

// matrix places (row, column) in memory: layout.place with one batch.
func matrix(l layout, rows, cols int) (kernels.Strided, int) {
	s, size := l.place(1, rows, cols)
	return kernels.Strided{Off: s.Off, Strides: [3]int{s.Strides[1], s.Strides[2], 0}}, size
}

// vector places n elements.
func vector(l layout, n int) (kernels.Strided, int) {
	return kernels.Strided{Off: l.lead, Strides: [3]int{1 + l.step, 0, 0}}, l.lead + n*(1+l.step) + 5
}

func at(s kernels.Strided, i, j int) int { return s.Off + i*s.Strides[0] + j*s.Strides[1] }

const guard = 12345.5

// guarded makes an operand full of the guard value.
func (r *rig) guarded(label string, size int) int {
	data := make([]float32, size)
	for i := range data {
		data[i] = guard
	}
	return put(r, label, data)
}

// untouched checks that elements outside a view of the operand still are the guard.
func (r *rig) untouched(data []float32, s kernels.Strided, rows, cols int) {
	inside := map[int]bool{}
	for i := range rows {
		for j := range cols {
			inside[at(s, i, j)] = true
		}
	}
	for i, v := range data {
		if !inside[i] && v != guard {
			r.t.Fatalf("element %d lies outside the output and became %v", i, v)
		}
	}
}

var (
	rowShapes = [][2]int{
		{1, 1}, {0, 5}, {3, 2}, {130, 10}, {33, 16}, {7, 255}, {5, 256}, {7, 257}, {2, 1031}, {19, 37}, {9, 32},
		{70000, 1},
	}
	rowLayouts = []layout{plain, odd, strided, trans}
)

func TestSoftmax(t *testing.T) {
	inf := math.Inf(1)
	fills := map[string]func(r *rig, i int) float64{
		"normal": func(r *rig, _ int) float64 { return r.random.NormFloat64() },
		"wide":   func(r *rig, _ int) float64 { return 40 * r.random.NormFloat64() },
		"large":  func(r *rig, _ int) float64 { return 1e30 * (1 + r.random.NormFloat64()/16) },
		"masked": func(_ *rig, i int) float64 { return [5]float64{1, -inf, 0.5, -inf, -inf}[i%5] },
		"lost":   func(_ *rig, i int) float64 { return -inf },
		"odd":    func(_ *rig, i int) float64 { return [7]float64{1, inf, 2, math.NaN(), 3, 4, 5}[i%7] },
	}
	run := func(name string, shape [2]int, l layout, inPlace bool, opt ptx.Options) {
		for what := kind.Probabilities; what <= kind.CrossEntropy; what++ {
			t.Run(fmt.Sprint(name, shape, l, inPlace, what, opt.Seed, opt.Float), func(t *testing.T) {
				t.Parallel()
				softmax(newRig(t, opt), what, fills[name], shape[0], shape[1], l, inPlace && what != kind.CrossEntropy)
			})
		}
	}
	check := ptx.Options{Sanitize: true}
	for _, s := range rowShapes {
		run("normal", s, plain, false, check)
	}
	for _, l := range rowLayouts {
		run("normal", [2]int{21, 43}, l, true, check)
		run("normal", [2]int{3, 300}, l, false, check)
	}
	for name := range fills {
		run(name, [2]int{6, 35}, plain, false, check)
		run(name, [2]int{6, 350}, plain, true, check)
	}
	for seed := range uint64(3) {
		for _, float := range []ptx.FloatMode{ptx.Pessimistic, ptx.Contract} {
			run("normal", [2]int{9, 300}, plain, true, ptx.Options{Sanitize: true, Seed: seed + 1, Float: float})
		}
	}
	run("normal", [2]int{5, 0}, plain, false, check)
}

// softmax runs one kind and compares with float64, bounds as device/devicetest derives them.
func softmax(r *rig, what kind.Softmax, fill func(r *rig, i int) float64, rows, cols int, l layout, inPlace bool) {
	s := kernels.Softmax{Kind: what, Rows: rows, Cols: cols}
	var size int
	s.In, size = matrix(l, rows, cols)
	z := make([]float32, size)
	for i := range z {
		z[i] = guard
	}
	n := 0
	for i := range rows {
		for j := range cols {
			z[at(s.In, i, j)] = float32(fill(r, n))
			n++
		}
	}
	s.In.Number = put(r, "z", z)
	var labels []int32
	outCols := cols
	if what == kind.CrossEntropy {
		outCols = 1
		s.Labels, size = vector(strided, rows)
		labels = make([]int32, size)
		for i := range rows {
			labels[at(s.Labels, i, 0)] = [4]int32{int32(r.random.IntN(cols + 1)), int32(cols - 1), -1,
				math.MaxInt32}[min(i%11, 3)]
		}
		s.Labels.Number = put(r, "labels", labels)
	}
	if inPlace {
		s.Out, size = s.In, len(z)
	} else {
		s.Out, size = matrix(l, rows, outCols)
		s.Out.Number = r.guarded("out", size)
	}
	r.run(s.Plan())
	out := get[float32](r, s.Out.Number, size)
	r.untouched(out, s.Out, rows, outCols)
	const u = 0x1p-24
	for i := range rows {
		top, sum, weighted := math.Inf(-1), 0., 0.
		for j := range cols {
			top = math.Max(top, float64(z[at(s.In, i, j)])) // NaN wins
		}
		for j := range cols {
			d := float64(z[at(s.In, i, j)]) - top
			sum += math.Exp(d)
			if !math.IsInf(d, 0) {
				weighted += math.Abs(d) * math.Exp(d)
			}
		}
		rho, L := u*(weighted/sum+8+float64(cols)), math.Log(sum)
		for j := range outCols {
			column, want := j, 0.
			if what == kind.CrossEntropy {
				column = int(labels[at(s.Labels, i, 0)])
			}
			bound := math.NaN()
			if column < 0 || column >= cols {
				want = math.NaN()
			} else {
				d := float64(z[at(s.In, i, column)]) - top
				switch what {
				case kind.Probabilities:
					want = math.Exp(d) / sum
					bound = want*(u*math.Abs(d)+10*u+rho) + 0x1p-147
				case kind.LogProbabilities:
					want = d - L
				case kind.CrossEntropy:
					want = L - d
				}
				if what != kind.Probabilities {
					bound = rho + 8*u*L + u*(L+math.Abs(d)+math.Abs(want)) + 0x1p-147
				}
			}
			got := float64(out[at(s.Out, i, j)])
			if !(math.Abs(got-want) <= 1.001*bound || got == want || math.IsNaN(got) && math.IsNaN(want)) {
				r.t.Fatalf("row %d, column %d: %v, want %v within %g", i, j, got, want, bound)
			}
		}
	}
}

func TestArgMax(t *testing.T) {
	inf := float32(math.Inf(1))
	nan := float32(math.NaN())
	fills := map[string]func(r *rig, i int) float32{
		"normal": func(r *rig, _ int) float32 { return float32(r.random.NormFloat64()) },
		"ties":   func(r *rig, _ int) float32 { return float32(r.random.IntN(3)) },
		"zeros":  func(r *rig, i int) float32 { return [3]float32{float32(math.Copysign(0, -1)), 0, -1}[i%3] },
		"nan":    func(_ *rig, i int) float32 { return [9]float32{1, inf, nan, 2, nan, 3, -inf, 4, 5}[i%9] },
		"lowest": func(*rig, int) float32 { return -inf },
	}
	for name, fill := range fills {
		for _, s := range append(rowShapes, [2]int{4, 1024}, [2]int{3, 2500}) {
			for _, l := range rowLayouts {
				if l != plain && s[0]*s[1] > 1000 {
					continue
				}
				t.Run(fmt.Sprint(name, s, l), func(t *testing.T) {
					t.Parallel()
					r := newRig(t, ptx.Options{Sanitize: true, Seed: uint64(s[1])})
					a := kernels.ArgMax{Rows: s[0], Cols: s[1]}
					var size int
					a.In, size = matrix(l, s[0], s[1])
					z := make([]float32, size)
					for i := range z {
						z[i] = fill(r, i)
					}
					a.In.Number = put(r, "z", z)
					a.Out, size = vector(strided, s[0])
					a.Out.Number = r.guarded("out", size)
					r.run(a.Plan())
					r.untouched(get[float32](r, a.Out.Number, size), a.Out, s[0], 1)
					out := get[int32](r, a.Out.Number, size)
					for i := range s[0] {
						best := 0
						for j := range s[1] {
							x, y := z[at(a.In, i, j)], z[at(a.In, i, best)]
							if x > y || x != x && y == y {
								best = j
							}
						}
						if got := out[at(a.Out, i, 0)]; got != int32(best) {
							t.Fatalf("row %d: %d, want %d", i, got, best)
						}
					}
				})
			}
		}
	}
}
