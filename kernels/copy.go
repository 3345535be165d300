package kernels

import "slices"

// MaxRank is the number of axes that Copy and Fill take, those of extent 1 and those that join with a neighbour aside.
const MaxRank = 6

// View places element (i0, i1, …) of an operand at Off + Σ i·Strides.
type View struct {
	Operand
	Strides []int
}

// Cast says how a copy changes numbers.
type Cast uint8

const (
	Same   Cast = iota // bits as they are
	ToReal             // int32 to float32, to nearest even
	ToInt              // float32 to int32, toward zero; NaN and values outside int32 give 0
)

// Copy computes To = From, casting, for all elements of Shape. From and To are apart, or exactly the same.
type Copy struct {
	Shape    []int
	From, To View
	Cast     Cast
}

// copied is struct Copy of copy.cu.
type copied struct {
	Size, Rank int32
	Shape      [MaxRank]divisor
	From, To   [MaxRank]int32
	Right      divisor
}

// Plan says how it is done: copy.cu. Dense data moves in groups of 4 elements; where the two sides are contiguous along
// different axes, 32 x 32 tiles go through shared memory; anything else is one thread an element. It is exact but for
// ToReal, within half an ulp. More than MaxRank axes become several launches.
func (c Copy) Plan() Plan {
	if slices.Contains(c.Shape, 0) {
		return Plan{}
	}
	prefix := [...]string{"copy", "to_real", "to_int"}[c.Cast]
	axes := joined(c.Shape, c.From.Strides, c.To.Strides)
	var plan Plan
	peel(axes, [2]int{c.From.Off, c.To.Off}, func(axes []axis, off [2]int) {
		from, to := Operand{c.From.Number, off[0]}, Operand{c.To.Number, off[1]}
		l := Launch{Block: [3]int{block, 1, 1}}
		p := params(axes)
		size := int(p.Size)
		plane := turnedPlane(axes)
		switch {
		case len(axes) <= 1 && p.From[MaxRank-1] == 1 && p.To[MaxRank-1] == 1 && multiples(4, off[0], off[1]):
			l.Entry, l.Grid = prefix+"_dense", [3]int{min(ceil(ceil(size, 4), block), gridMost), 1, 1}
		case plane != nil && from.Number != to.Number:
			p = params(plane)
			a, b := plane[len(plane)-2].size, plane[len(plane)-1].size
			l.Entry, l.Block = prefix+"_turned", [3]int{32, 8, 1}
			p.Right = divide(ceil(b, 32))
			l.Grid = [3]int{ceil(a, 32) * ceil(b, 32), size / (a * b), 1}
		default:
			l.Entry, l.Grid = prefix+"_strided", [3]int{min(ceil(size, block), gridMost), 1, 1}
		}
		l.Module, l.Args = l.Entry, []any{from, to, p}
		plan.Launches = append(plan.Launches, l)
	})
	return plan
}

// Fill makes every element of To the 32-bit Word.
type Fill struct {
	Shape []int
	To    View
	Word  uint32
}

// Plan says how it is done: copy.cu, one thread an element.
func (f Fill) Plan() Plan {
	if slices.Contains(f.Shape, 0) {
		return Plan{}
	}
	var plan Plan
	peel(joined(f.Shape, f.To.Strides, f.To.Strides), [2]int{0, f.To.Off}, func(axes []axis, off [2]int) {
		p := params(axes)
		plan.Launches = append(plan.Launches, Launch{
			Module: "fill", Entry: "fill", Grid: [3]int{min(ceil(int(p.Size), block), gridMost), 1, 1},
			Block: [3]int{block, 1, 1}, Args: []any{Operand{f.To.Number, off[1]}, f.Word, p},
		})
	})
	return plan
}

// An axis is an extent and its strides in From and To.
type axis struct{ size, from, to int }

// joined drops axes of extent 1 and joins neighbours that are one run on both sides; the fastest of To comes last.
func joined(shape, from, to []int) []axis {
	var axes []axis
	for i, n := range shape {
		if n != 1 {
			axes = append(axes, axis{n, from[i], to[i]})
		}
	}
	slices.SortStableFunc(axes, func(a, b axis) int { return b.to - a.to })
	var out []axis
	for _, a := range axes {
		if n := len(out); n > 0 && out[n-1].from == a.size*a.from && out[n-1].to == a.size*a.to {
			out[n-1] = axis{out[n-1].size * a.size, a.from, a.to}
			continue
		}
		out = append(out, a)
	}
	return out
}

// peel calls do for the innermost MaxRank axes at every point of the others.
func peel(axes []axis, off [2]int, do func(axes []axis, off [2]int)) {
	if len(axes) <= MaxRank {
		do(axes, off)
		return
	}
	for i := range axes[0].size {
		peel(axes[1:], [2]int{off[0] + i*axes[0].from, off[1] + i*axes[0].to}, do)
	}
}

func params(axes []axis) copied {
	p := copied{Size: 1, Rank: int32(len(axes)), Right: divide(1)}
	for i, a := range axes {
		at := MaxRank - len(axes) + i
		p.Shape[at], p.From[at], p.To[at] = divide(a.size), int32(a.from), int32(a.to)
		p.Size *= int32(a.size)
	}
	return p
}

// turnedPlane reorders axes so that the last two are the plane that turned copies: To contiguous along the last, From
// along the one before. It is nil where there is no such plane, or it is too narrow to be worth a tile.
func turnedPlane(axes []axis) []axis {
	const narrow = 8
	last := len(axes) - 1
	if last < 1 || axes[last].to != 1 || axes[last].from == 1 || axes[last].size < narrow {
		return nil
	}
	across := slices.IndexFunc(axes, func(a axis) bool { return a.from == 1 })
	if across < 0 || axes[across].size < narrow {
		return nil
	}
	planes := 1
	for i, a := range axes {
		if i != across && i != last {
			planes *= a.size
		}
	}
	if planes > maxGridYZ {
		return nil
	}
	moved := slices.Delete(slices.Clone(axes), across, across+1)
	return slices.Insert(moved, len(moved)-1, axes[across])
}
