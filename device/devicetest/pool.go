package devicetest

import (
	"fmt"
	"math"

	"bilevel/device"
)

// poolRow is images, rows, columns and channels, and rows and columns of the windows; the words are those of convRow
// that are no epilogue, and
//
//	pixels   an average divides by the number of pixels, not by the size of the window
type poolRow struct {
	n, h, w, c, r, s int
	with             []string
}

var poolRows = []poolRow{
	{1, 1, 1, 1, 1, 1, nil},
	{2, 8, 6, 3, 2, 2, []string{"stride22"}},
	{1, 9, 7, 17, 2, 2, []string{"stride22"}}, // the last row and column are in no window
	{2, 9, 7, 5, 3, 3, []string{"stride22", "pad1111"}},
	{2, 9, 7, 5, 3, 3, []string{"stride22", "pad1111", "pixels"}},
	{1, 7, 8, 33, 3, 3, nil}, // windows that overlap
	{1, 11, 10, 4, 3, 2, []string{"stride33", "pad2010", "pixels"}},
	{1, 7, 9, 3, 2, 2, []string{"stride33"}}, // windows that do not touch
	{2, 4, 4, 70, 4, 4, nil},                 // one window
	{1, 7, 7, 16, 7, 7, []string{"pad3333"}},
	{1, 6, 5, 4, 5, 5, []string{"pad4440", "pixels"}},
	{1, 3, 40, 2, 1, 3, []string{"stride12"}},
	{2, 5, 6, 3, 1, 1, []string{"stride22"}}, // every second pixel
	{1, 1, 1, 5, 3, 3, []string{"pad1111"}},
	{1, 1, 1, 5, 3, 3, []string{"pad2222", "pixels"}},
	{0, 5, 4, 3, 2, 2, nil},
	{3, 5, 5, 1, 2, 3, []string{"pad1102"}},
}

// poolKinds are the names of kinds in cases.
var poolKinds = map[device.PoolKind]string{
	device.AveragePool: "average", device.AveragePoolAdjoint: "average-adjoint", device.MaxPool: "max",
	device.MaxPoolTangent: "max-tangent", device.MaxPoolAdjoint: "max-adjoint",
}

func poolCases() []Case {
	var cases []Case
	for kind := device.AveragePool; kind <= device.MaxPoolAdjoint; kind++ {
		prefix := "Pool/" + poolKinds[kind] + "/"
		add := func(name string, fill func(*trial) func() float64, row poolRow) {
			cases = append(cases, single(prefix+name, func(t *trial) { t.pool(kind, row.shape(), fill(t)) }))
		}
		normal := func(t *trial) func() float64 { return t.normal }
		for _, row := range poolRows {
			name := fmt.Sprintf("%dx%dx%dx%d/%dx%d", row.n, row.h, row.w, row.c, row.r, row.s)
			for _, w := range row.with {
				name += "/" + w
			}
			add(name, normal, row)
		}
		for i := range 8 {
			cases = append(cases, single(prefix+fmt.Sprintf("random%d", i), func(t *trial) {
				t.pool(kind, randomPool(t.rng.IntN), t.normal)
			}))
		}
		wide := poolRow{2, 7, 6, 19, 3, 3, []string{"stride22", "pad1111"}}
		add("ties", func(t *trial) func() float64 { return func() float64 { return float64(t.rng.IntN(3)) } }, wide)
		add("zeros", func(t *trial) func() float64 { return func() float64 { return 0 } }, wide)
		nan, inf := math.NaN(), math.Inf(1)
		add("nan", func(*trial) func() float64 { return each([]float64{1, nan, 3, inf, 2, nan, 5, -inf, 4}) }, wide)
		add("infinite", func(*trial) func() float64 { return each([]float64{-inf, 7, -inf, -inf, inf, inf, 2}) }, wide)
		add("lowest", func(*trial) func() float64 { return func() float64 { return -inf } }, wide)
	}
	return cases
}

// PoolCase is a Pool of any geometry, small and valid, that the numbers choose: for fuzz targets.
func PoolCase(numbers []byte) Case {
	choose := chooser(numbers)
	kind := device.PoolKind(choose(len(poolKinds)))
	levels := 1 + choose(4) // few numbers: ties
	shape := randomPool(choose)
	return single(fmt.Sprintf("Pool/%s/%+v", poolKinds[kind], shape), func(t *trial) {
		t.pool(kind, shape, func() float64 { return float64(t.rng.IntN(levels)) })
	})
}

// randomPool is a valid geometry; choose gives numbers below another.
func randomPool(choose func(n int) int) device.PoolShape {
	s := device.PoolShape{
		N: 1 + choose(3), C: 1 + choose(20), R: 1 + choose(4), S: 1 + choose(4), StrideH: 1 + choose(3),
		StrideW: 1 + choose(3), CountPadding: choose(2) == 0,
	}
	s.Top, s.Bottom, s.Left, s.Right = choose(s.R), choose(s.R), choose(s.S), choose(s.S)
	s.H, s.W = max(1, s.R-s.Top-s.Bottom)+choose(8), max(1, s.S-s.Left-s.Right)+choose(8)
	return s
}

func (row poolRow) shape() device.PoolShape {
	s := device.PoolShape{
		N: row.n, H: row.h, W: row.w, C: row.c, R: row.r, S: row.s, StrideH: 1, StrideW: 1, CountPadding: true,
	}
	for _, w := range row.with {
		digits(w, "stride", &s.StrideH, &s.StrideW)
		digits(w, "pad", &s.Top, &s.Bottom, &s.Left, &s.Right)
		if w == "pixels" {
			s.CountPadding = false
		}
	}
	return s
}

// pool makes the instruction; fill draws its first input, whose maxima are looked for where it is images.
func (t *trial) pool(kind device.PoolKind, s device.PoolShape, fill func() float64) {
	in, out := s.Images(), s.Result()
	var more [][]int
	switch kind {
	case device.AveragePoolAdjoint:
		in, out = s.Result(), s.Images()
	case device.MaxPoolTangent:
		more = [][]int{s.Images()}
	case device.MaxPoolAdjoint:
		more, out = [][]int{s.Result()}, s.Images()
	}
	ins := []device.View{t.input(offset, fill, in...)}
	for _, shape := range more {
		ins = append(ins, t.input(offset, t.normal, shape...))
	}
	t.add(device.Pool, device.PoolAttr{Kind: kind, Shape: s}, ins, t.output(device.Real, offset, out...))
}
