package kernels_test

import (
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/ptx"
	"bilevel/internal/ptx/arith/exact"
	"bilevel/kernels"
)

// A layout places (batch, row, column) in memory.
type layout struct {
	lead        int
	turned      bool // columns contiguous
	step        int  // distance of neighbours, less 1
	pad         int  // after each line
	sharedBatch bool
	repeat      int // 1: rows repeat, 2: columns repeat
}

func (l layout) place(batch, rows, cols int) (s kernels.Strided, size int) {
	s.Off = l.lead
	fast, slow, nFast, nSlow := 2, 1, cols, rows
	if l.turned {
		fast, slow, nFast, nSlow = 1, 2, rows, cols
	}
	s.Strides[fast] = 1 + l.step
	s.Strides[slow] = nFast*(1+l.step) + l.pad
	s.Strides[0] = nSlow*s.Strides[slow] + l.pad
	if l.sharedBatch {
		s.Strides[0] = 0
	}
	if l.repeat > 0 {
		s.Strides[l.repeat] = 0
	}
	return s, l.lead + batch*(nSlow*(nFast*(1+l.step)+l.pad)+l.pad) + 5
}

type gemmCase struct {
	batch, m, n, k int
	a, b, out      layout
	maskA, maskB   bool
	processors     int
	tensor         bool
	sharedMask     bool
}

func (c gemmCase) String() string {
	return fmt.Sprintf(
		"%dx%dx%dx%d %+v %+v %+v %v %v %d", c.batch, c.m, c.n, c.k, c.a, c.b, c.out, c.maskA, c.maskB, c.processors,
	)
}

var (
	plain   = layout{}
	trans   = layout{turned: true}
	odd     = layout{lead: 1, pad: 3}
	strided = layout{lead: 2, step: 1, pad: 1}
)

var gemmCases = []gemmCase{
	{batch: 1, m: 1, n: 1, k: 1}, {batch: 1, m: 5, n: 3, k: 0}, {batch: 0, m: 5, n: 3, k: 2},
	{batch: 1, m: 0, n: 3, k: 2}, {batch: 1, m: 128, n: 128, k: 16, processors: 1}, {batch: 1, m: 64, n: 64, k: 8},
	{batch: 1, m: 129, n: 132, k: 20, processors: 1}, {batch: 1, m: 127, n: 131, k: 17, processors: 1},
	{batch: 1, m: 65, n: 63, k: 9}, {batch: 1, m: 63, n: 68, k: 12},
	{batch: 1, m: 136, n: 68, k: 12, a: trans, processors: 1},
	{batch: 1, m: 68, n: 136, k: 12, b: trans, processors: 1},
	{batch: 1, m: 136, n: 140, k: 20, a: trans, b: trans, processors: 1},
	{batch: 2, m: 67, n: 37, k: 33, a: odd, b: odd, out: odd},
	{batch: 2, m: 67, n: 37, k: 33, a: strided, b: strided, out: strided}, {batch: 1, m: 61, n: 40, k: 12, out: trans},
	{batch: 3, m: 31, n: 35, k: 19, a: layout{sharedBatch: true}},
	{batch: 3, m: 31, n: 35, k: 19, b: layout{sharedBatch: true, turned: true}},
	{batch: 2, m: 31, n: 35, k: 33, a: layout{repeat: 1}}, {batch: 2, m: 32, n: 36, k: 32, b: layout{repeat: 2}},
	{batch: 1, m: 1000, n: 10, k: 64}, {batch: 1, m: 10, n: 300, k: 33}, {batch: 1, m: 257, n: 1, k: 130},
	{batch: 1, m: 1, n: 257, k: 131}, {batch: 1, m: 128, n: 16, k: 40, b: trans},
	{batch: 1, m: 16, n: 132, k: 40, a: trans}, {batch: 1, m: 17, n: 16, k: 8}, {batch: 1, m: 1, n: 1, k: 1000},
	{batch: 1, m: 40, n: 44, k: 1024, processors: 4}, {batch: 2, m: 33, n: 35, k: 1031, processors: 8},
	{batch: 1, m: 40, n: 44, k: 520, processors: 4, out: trans},
	{batch: 1, m: 20, n: 10, k: 600, processors: 8, maskA: true}, {batch: 2, m: 64, n: 68, k: 24, maskA: true},
	{batch: 2, m: 61, n: 35, k: 67, maskB: true}, {batch: 2, m: 61, n: 35, k: 19, maskA: true, maskB: true},
	{batch: 1, m: 136, n: 132, k: 24, a: trans, maskA: true, maskB: true, processors: 1},
	{batch: 1, m: 133, n: 129, k: 9, maskB: true, processors: 1},
	{batch: 4, m: 31, n: 35, k: 19, b: layout{sharedBatch: true}, maskB: true, sharedMask: true},
	{batch: 1, m: 10, n: 200, k: 40, maskB: true, maskA: true}, {batch: 65537, m: 1, n: 1, k: 2},
	{batch: 1, m: 124, n: 128, k: 20, processors: 1}, {batch: 1, m: 124, n: 128, k: 20, a: trans, processors: 1},
	{batch: 1, m: 124, n: 128, k: 20, b: trans, processors: 1},
	{batch: 1, m: 124, n: 128, k: 20, a: trans, b: trans, processors: 1},
	{batch: 1, m: 127, n: 125, k: 19, maskA: true, processors: 1},
	{batch: 1, m: 124, n: 128, k: 20, maskB: true, processors: 1},
	{batch: 1, m: 256, n: 252, k: 36, a: trans, processors: 1},
	{batch: 1, m: 255, n: 251, k: 35, b: odd, processors: 1},
}

// gemm runs a case and returns the product, row-major, beside its inputs.
func gemm(r *rig, c gemmCase) (got []float32, want []float64, bound []float64, chain []float32) {
	operand := func(label string, l layout, rows, cols int, mask bool) (kernels.Strided, []float32) {
		s, size := l.place(c.batch, rows, cols)
		data := r.normals(size)
		if mask {
			for i := range data {
				data[i] = float32(r.random.IntN(3)) / 2
			}
		}
		s.Number = put(r, label, data)
		return s, data
	}
	g := kernels.Gemm{Batch: c.batch, M: c.m, N: c.n, K: c.k, Processors: c.processors, TensorCores: c.tensor}
	var a, b, ma, mb []float32
	g.A, a = operand("A", c.a, c.m, c.k, false)
	g.B, b = operand("B", c.b, c.k, c.n, false)
	if c.maskA {
		l := c.a
		l.sharedBatch = c.sharedMask
		s, data := operand("mask of A", l, c.m, c.k, true)
		g.MaskA, ma = &s, data
	}
	if c.maskB {
		l := c.b
		l.sharedBatch = c.sharedMask
		s, data := operand("mask of B", l, c.k, c.n, true)
		g.MaskB, mb = &s, data
	}
	var size int
	g.Out, size = c.out.place(c.batch, c.m, c.n)
	const guard = 12345.5
	before := make([]float32, size)
	for i := range before {
		before[i] = guard
	}
	g.Out.Number = put(r, "out", before)
	plan := g.Plan()
	r.run(plan)
	after := get[float32](r, g.Out.Number, size)

	depth := c.k
	for _, l := range plan.Launches {
		if l.Grid[1] > 1 {
			depth = (c.k + l.Grid[1] - 1) / l.Grid[1]
			depth = (depth + 15) / 16 * 16
		}
	}
	at := func(s kernels.Strided, i, j, k int) int {
		return s.Off + i*s.Strides[0] + j*s.Strides[1] + k*s.Strides[2]
	}
	written := map[int]bool{}
	for i := range c.batch {
		for j := range c.m {
			for l := range c.n {
				var sum, size float64
				var part, total float32
				for k := range c.k {
					x, y := a[at(g.A, i, j, k)], b[at(g.B, i, k, l)]
					if ma != nil {
						x *= ma[at(*g.MaskA, i, j, k)]
					}
					if mb != nil {
						y *= mb[at(*g.MaskB, i, k, l)]
					}
					if k > 0 && k%depth == 0 {
						if k == depth {
							total = part
						} else {
							total += part
						}
						part = 0
					}
					part = exact.FMA32(x, y, part)
					sum += float64(x) * float64(y)
					size += math.Abs(float64(x) * float64(y))
				}
				if depth < c.k {
					part = total + part
				}
				o := at(g.Out, i, j, l)
				written[o] = true
				got, want, chain = append(got, after[o]), append(want, sum), append(chain, part)
				if relative := float64(c.k+2) * 0x1p-24; !c.tensor {
					bound = append(bound, relative*size)
				} else {
					bound = append(bound, (0x1p-10+0x1p-22+float64(c.k+2)*0x1p-22)*size)
				}
			}
		}
	}
	for i, v := range after {
		if !written[i] && v != guard {
			r.t.Fatalf("element %d lies outside the result and became %v", i, v)
		}
	}
	return got, want, bound, chain
}

// Every case against float64 within the bound, and against the documented order of the sum bit by bit, for any order of
// blocks and warps and any reading of floating point.
func TestGemm(t *testing.T) {
	var launched sync.Map
	t.Cleanup(func() { covered(t, &launched, false) })
	run := func(c gemmCase, opt ptx.Options) {
		t.Run(fmt.Sprint(c, opt.Seed, opt.Float), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, opt)
			got, want, bound, chain := gemm(r, c)
			for _, l := range r.launched {
				launched.Store(l.Entry, true)
			}
			for i := range got {
				if d := math.Abs(float64(got[i]) - want[i]); !(d <= bound[i]) || got[i] != chain[i] {
					t.Fatalf(
						"element %d is %v, want %v within %g, and %v exactly", i, got[i], want[i], bound[i], chain[i],
					)
				}
			}
		})
	}
	for _, c := range gemmCases {
		run(c, ptx.Options{Sanitize: true})
	}
	if testing.Short() {
		return
	}
	for seed := range uint64(8) {
		for _, c := range gemmCases[len(gemmCases)-12:] {
			run(c, ptx.Options{Sanitize: seed < 4, Seed: seed + 1, Float: ptx.FloatMode(seed % 3)})
		}
	}
}

// On tensor cores results are within the documented bound, whether the sums of eight are exact or truncated; and not
// all are those of float32.
func TestGemmTensorCores(t *testing.T) {
	var launched sync.Map
	t.Cleanup(func() { covered(t, &launched, true) })
	for n, c := range gemmCases {
		if c.batch > 1000 {
			continue
		}
		c.tensor = true
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, ptx.Options{Sanitize: true, Float: ptx.FloatMode(n % 3), Seed: uint64(n)})
			got, want, bound, chain := gemm(r, c)
			differ := 0
			for _, l := range r.launched {
				launched.Store(l.Entry, true)
			}
			for i := range got {
				if d := math.Abs(float64(got[i]) - want[i]); !(d <= bound[i]) {
					t.Fatalf("element %d is %v, want %v within %g", i, got[i], want[i], bound[i])
				}
				if got[i] != chain[i] {
					differ++
				}
			}
			if len(r.launched) > 0 && strings.Contains(r.launched[0].Entry, "tf32") && c.k > 0 {
				require.NotZero(t, differ)
			}
		})
	}
}

// covered asks that the cases launched every kernel of gemm_tile.cu, of those with or without tensor cores.
func covered(t *testing.T, launched *sync.Map, tensor bool) {
	var missing []string
	for _, b := range builds(t) {
		name := strings.TrimSuffix(filepath.Base(b.Output), ".ptx")
		if _, found := launched.Load(name); !found && strings.HasPrefix(name, "gemm_") &&
			strings.Contains(name, "tf32") == tensor {
			missing = append(missing, name)
		}
	}
	require.Empty(t, missing, "no case launches them")
}

// Nothing is skipped because a factor is zero, and what lies outside the operands is not read.
func TestGemmSpecials(t *testing.T) {
	for i, n := range []int{23, 24, 23, 24} {
		r := newRig(t, ptx.Options{Sanitize: true})
		b := make([]float32, 20*n)
		b[4*n+3], b[5*n+7] = float32(math.NaN()), float32(math.Inf(1))
		g := kernels.Gemm{
			Batch: 1, M: 19, N: n, K: 20, TensorCores: i >= 2,
			A:   kernels.Strided{Number: put(r, "A", make([]float32, 19*20)), Strides: [3]int{0, 20, 1}},
			B:   kernels.Strided{Number: put(r, "B", b), Strides: [3]int{0, n, 1}},
			Out: kernels.Strided{Number: r.blank("out", 19*n), Strides: [3]int{0, n, 1}},
		}
		r.run(g.Plan())
		for i, v := range get[float32](r, g.Out.Number, 19*n) {
			if (v != v) != (i%n == 3 || i%n == 7) || v == v && v != 0 {
				t.Fatalf("element %d is %v", i, v)
			}
		}
	}
}

// What the plan chooses, by shape and card.
func TestGemmPlans(t *testing.T) {
	dense := func(rows, cols int) kernels.Strided { return kernels.Strided{Strides: [3]int{rows * cols, cols, 1}} }
	for _, c := range []struct {
		batch, m, n, k, processors int
		entry                      string
		grid                       [3]int
		launches, area             int
	}{
		{1, 4096, 4096, 4096, 132, "gemm_128_a", [3]int{1024, 1, 1}, 1, 0},
		{1, 512, 512, 512, 132, "gemm_64_a", [3]int{64, 4, 1}, 1, 64 * 64},
		{1, 64, 64, 64, 132, "gemm_64_a", [3]int{1, 1, 1}, 1, 0},
		{1, 128, 10, 784, 132, "gemm_skinny_any", [3]int{1, 6, 1}, 1, 128 * 16},
		{1, 10, 128, 784, 132, "gemm_skinny_b", [3]int{1, 6, 1}, 1, 128 * 16},
		{70000, 20, 20, 20, 132, "gemm_64_a", [3]int{1, 1, 65535}, 2, 0},
		{70000, 8, 8, 8, 132, "gemm_tiny", [3]int{8 * 132, 1, 1}, 1, 0},
		{1, 10_000_000, 128, 4, 132, "gemm_128_a", [3]int{78125, 1, 1}, 1, 0},
	} {
		g := kernels.Gemm{
			Batch: c.batch, M: c.m, N: c.n, K: c.k, Processors: c.processors, A: dense(c.m, c.k), B: dense(c.k, c.n),
			Out: dense(c.m, c.n),
		}
		g.B.Number, g.Out.Number = 1, 2
		plan := g.Plan()
		l := plan.Launches
		require.Len(t, l, c.launches, "%+v", c)
		require.Equal(t, c.entry, l[0].Entry, "%+v", c)
		require.Equal(t, c.grid, l[0].Grid, "%+v", c)
		if c.grid[1] > 1 {
			require.Equal(t, []int{4 * c.grid[1] * c.grid[0] * c.area}, plan.Workspace)
			require.Equal(t, c.grid[0], plan.Counters)
		} else if len(l) > 1 { // the rest of the batch
			require.Equal(t, 70000-65535, l[1].Grid[2])
			require.Equal(t, kernels.Operand{Number: 0, Off: 65535 * 20 * 20}, l[1].Args[0])
			require.Equal(t, kernels.Operand{Number: 2, Off: 65535 * 20 * 20}, l[1].Args[4])
		}
	}
}
