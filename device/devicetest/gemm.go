package devicetest

import (
	"fmt"
	"math"
	"slices"

	"bilevel/device"
)

// gemmRow is one product: sizes and, in words, everything else.
type gemmRow struct {
	batch, m, k, n int
	with           []string
}

// gemmRows: sizes at, below and above the register and cache tiles a device may have; every option alone at one size
// with awkward remainders, then together. The words:
//
//	transA transB transOut   the operand lies transposed in memory
//	slicedA slicedB slicedOut stridedA stridedB stridedOut   with gaps between rows, and between elements
//	sharedA sharedB          one matrix for the whole batch (stride zero)
//	rowA colB                one row, one column, repeated
//	maskA maskB              a mask of zeros and ones; sharedMask: one for the whole batch
//	bias relu residual place factors   epilogues, see epilogue
var gemmRows = []gemmRow{
	{1, 1, 1, 1, nil},
	{1, 0, 5, 3, nil},
	{1, 5, 0, 3, nil},
	{1, 5, 3, 0, nil},
	{0, 5, 3, 2, nil},
	{1, 2, 3, 4, nil},
	{1, 1, 1000, 1, nil},
	{1, 1000, 1, 3, nil},
	{1, 1, 257, 130, nil},
	{1, 257, 130, 1, nil},
	{1, 7, 5, 15, nil},
	{1, 8, 8, 8, nil},
	{1, 9, 17, 33, nil},
	{1, 6, 16, 16, nil},
	{1, 13, 64, 31, nil},
	{1, 64, 64, 64, nil},
	{1, 130, 257, 67, nil},
	{1, 67, 1031, 17, nil},
	{1, 33, 300, 129, nil},
	{1, 4, 520, 300, nil},
	{7, 13, 11, 5, nil},
	{64, 3, 2, 4, nil},
	{1, 5, 0, 3, []string{"bias", "relu"}}, // an empty sum, then the epilogue

	{1, 130, 257, 67, []string{"transA"}},
	{1, 130, 257, 67, []string{"transB"}},
	{1, 130, 257, 67, []string{"transA", "transB"}},
	{1, 61, 67, 35, []string{"transOut"}},
	{3, 61, 67, 35, []string{"slicedA", "slicedB", "slicedOut"}},
	{3, 31, 67, 35, []string{"stridedA", "stridedB", "stridedOut"}},
	{5, 31, 33, 35, []string{"sharedA"}},
	{5, 31, 33, 35, []string{"sharedB"}},
	{5, 31, 33, 35, []string{"sharedB", "transA", "transB"}},
	{2, 31, 33, 35, []string{"rowA"}},
	{2, 31, 33, 35, []string{"colB"}},
	{2, 61, 67, 35, []string{"maskA"}},
	{2, 61, 67, 35, []string{"maskB"}},
	{2, 61, 67, 35, []string{"maskA", "maskB"}},
	{4, 31, 67, 35, []string{"sharedB", "maskB", "sharedMask"}},
	{1, 130, 257, 67, []string{"transA", "maskA"}},
	{1, 61, 67, 35, []string{"bias"}},
	{1, 61, 67, 35, []string{"bias", "relu"}},
	{2, 61, 67, 35, []string{"residual"}},
	{2, 61, 67, 35, []string{"place"}},
	{2, 61, 67, 35, []string{"factors"}},
	{1, 130, 600, 67, []string{"bias", "relu"}},
	{1, 67, 600, 130, []string{"residual", "transOut"}},
	{3, 61, 300, 35, []string{"transA", "transB", "slicedOut", "maskA", "maskB", "bias", "relu"}},
	{3, 61, 67, 35, []string{"sharedB", "maskB", "sharedMask", "residual"}},
}

func gemmCases() []Case {
	var cases []Case
	rows := slices.Clone(gemmRows)
	for _, g := range gemmRows { // tiny products may take a way of their own: every set of options there too
		if len(g.with) > 0 {
			rows = append(rows, gemmRow{2, 3, 4, 5, g.with})
		}
	}
	seen := map[string]bool{}
	for _, g := range rows {
		name := fmt.Sprintf("Gemm/%dx%dx%d", g.m, g.k, g.n)
		if g.batch != 1 {
			name = fmt.Sprintf("Gemm/%dx%dx%dx%d", g.batch, g.m, g.k, g.n)
		}
		for _, w := range g.with {
			name += "/" + w
		}
		if !seen[name] {
			seen[name] = true
			cases = append(cases, single(name, func(t *trial) { t.gemm(g) }))
		}
	}
	return append(cases,
		single("Gemm/zero-times-nan", func(t *trial) { // nothing may be skipped because a factor is zero
			t.gemm(gemmRow{1, 19, 21, 23, nil})
			for i := range t.mem[0].real {
				t.mem[0].real[i] = 0
			}
			b := t.code[0].In[1]
			t.mem[b.Buf].real[place(b, 0, 4, 3)] = math.NaN()
			t.mem[b.Buf].real[place(b, 0, 5, 7)] = math.Inf(1)
		}))
}

func (t *trial) gemm(g gemmRow) {
	has := map[string]bool{}
	for _, w := range g.with {
		has[w] = true
	}
	operand := func(name string) layout {
		l := offset
		switch {
		case has["sliced"+name]:
			l = sliced
		case has["strided"+name]:
			l = strided
		}
		if has["shared"+name] {
			l.repeat |= 1 << 0
		}
		if has["row"+name] {
			l.repeat |= 1 << 1
		}
		if has["col"+name] {
			l.repeat |= 1 << 2
		}
		return l
	}
	// matrix makes a batch of matrices; transposed means that columns are contiguous.
	matrix := func(l layout, trans bool, fill func() float64, batch, rows, cols int) device.View {
		if !trans {
			return t.input(l, fill, batch, rows, cols)
		}
		return swapLast(t.input(l, fill, batch, cols, rows))
	}
	bits := func() float64 { return float64(t.rng.IntN(2)) }
	mask := offset
	if has["sharedMask"] {
		mask.repeat = 1
	}

	a := matrix(operand("A"), has["transA"], t.normal, g.batch, g.m, g.k)
	b := matrix(operand("B"), has["transB"], t.normal, g.batch, g.k, g.n)
	out := matrix(operand("Out"), has["transOut"], t.normal, g.batch, g.m, g.n)
	ins := []device.View{a, b}
	if has["maskA"] {
		ins = append(ins, matrix(mask, has["transA"], bits, g.batch, g.m, g.k))
	}
	if has["maskB"] {
		ins = append(ins, matrix(mask, has["transB"], bits, g.batch, g.k, g.n))
	}
	e, extras := t.epilogue(has, out)
	t.add(
		device.Gemm, device.GemmAttr{MaskA: has["maskA"], MaskB: has["maskB"], Epilogue: e}, append(ins, extras...),
		out,
	)
}

// swapLast is the view with its last two axes exchanged.
func swapLast(v device.View) device.View {
	v.Shape = []int{v.Shape[0], v.Shape[2], v.Shape[1]}
	v.Strides = []int{v.Strides[0], v.Strides[2], v.Strides[1]}
	return v
}
