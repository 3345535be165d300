package attack

import (
	"math"

	"bilevel/tensor"
)

// In l_2 (algorithm 3 of the paper) the search begins with a grid of tiles of a fixed pattern η, each with a random
// sign for each channel. A query draws two windows of side s. The mass of both is moved into the first, where the
// direction is η with a random sign plus the old direction; what the budget has left goes there too:
//
//	ν = ρη + δ₁/‖δ₁‖,   δ' = 0 in the second window, ν/‖ν‖ · √(max(ε² - ‖δ‖², 0)/channels + ‖δ in both‖²) in the first
//	x = [0, 1]-projection of x₀ + ε δ'/‖δ'‖
//
// δ₁ is δ in the first window; norms with an index, ρ and ν are those of a channel. η is made of two halves of opposite
// signs, each a pyramid: it lies either way, by chance. Sides are odd and at least 3.

// pyramid is the pattern of one half of η, rows by columns: with M = ⌊rows/2⌋ the weight at (i, j)
// is Σ_k 1/(k+1)² over the k from max(|i - M|, |j - ⌊columns/2⌋|) on, below the larger of M+1 and ⌊columns/2⌋+1.
func pyramid(rows, columns int) []float64 {
	p := make([]float64, rows*columns)
	last := max(rows/2, columns/2) + 1
	for i := range rows {
		for j := range columns {
			far := max(i-rows/2, rows/2-i, j-columns/2, columns/2-j)
			for k := far; k < last; k++ {
				p[i*columns+j] += 1 / float64((k+1)*(k+1))
			}
		}
	}
	normalize(p)
	return p
}

func normalize(v []float64) {
	sum := 0.0
	for _, x := range v {
		sum += x * x
	}
	for i := range v {
		v[i] /= math.Sqrt(sum)
	}
}

// eta is η of a side, [side][side] in one slice, of norm 1.
func eta(side int) []float64 {
	upper, lower := pyramid(side/2, side), pyramid(side-side/2, side)
	for _, v := range lower {
		upper = append(upper, -v)
	}
	normalize(upper)
	return upper
}

// patch is η of a side in the corner of an image, in rows of its width.
func patch(side int, im Image) []float64 {
	out, p := make([]float64, im.Height*im.Width*im.Channels), eta(side)
	for i := range side {
		copy(out[i*im.Width:], p[i*side:(i+1)*side])
	}
	return out
}

// grid says where the tiles of the start lie: so many each way, of a side, from a margin on.
func grid(im Image) (side, margin, count int) {
	side = max(1, min(im.Height, im.Width)/5)
	count = min(im.Height, im.Width) / side
	return side, (min(im.Height, im.Width) - side*count) / 2, count
}

// tiled is the start pattern: η in every tile.
func tiled(im Image) []float64 {
	side, margin, count := grid(im)
	out, p := make([]float64, im.Height*im.Width*im.Channels), eta(side)
	for i := range side * count {
		for j := range side * count {
			out[(margin+i)*im.Width+margin+j] = p[i%side*side+j%side]
		}
	}
	return out
}

// oddSide is the side of a query's windows.
func (p Square) oddSide(query int, im Image) int {
	s := max(3, p.side(query, im))
	return min(s+1-s%2, im.Height, im.Width)
}

// pattern is what the host has written into the table, by pixels of one channel.
func (b *build) pattern(im Image) *tensor.Node {
	return b.a.table.Node().Slice(0, 0, im.Height*im.Width)
}

func squareBeginL2(b *build, im Image) {
	x0, y := b.load()
	_, row, col, _ := im.shape(b.rows)
	side, margins, count := grid(im)
	// tile is the number of a place's tile along an axis; places at the margin have that of a neighbour, and pattern 0.
	tile := func(length int) *tensor.Node {
		n := tensor.Iota(0, length).ToReal().AddConst(0.5 - float64(margins)).Scale(1 / float64(side)).Floor()
		return n.Max(tensor.Const(0)).Min(tensor.Const(float64(count - 1))).ToInt()
	}
	number := tile(im.Height).Reshape(im.Height, 1).Mul(tensor.IntConst(int32(count))).Add(
		tile(im.Width).Reshape(1, im.Width)).Flatten()
	sign := signs(b.uniform(im.Channels*count*count)).Reshape(b.rows, im.Channels, count*count).Permute(2, 0, 1)
	place := []int{2, 3, 0, 1} // of [height, width, rows, channels] in [rows, channels, height, width]
	if im.ChannelsLast {
		place = []int{2, 0, 1, 3}
	}
	along := []int{1, 1, 1, 1}
	along[row], along[col] = im.Height, im.Width
	delta := tensor.Gather(sign, number).Reshape(im.Height, im.Width, b.rows, im.Channels).Permute(place...).Mul(
		b.pattern(im).Reshape(along...))
	x := b.full(x0, delta.Reshape(x0.Shape()...))
	z := b.a.logits(x)
	b.set("adv", x)
	b.set("best", margin(z, y))
	b.set("found", wrong(z, y))
}

// full is the point of the ball's boundary in a direction [B, d], brought into [0, 1].
func (b *build) full(x0, direction *tensor.Node) *tensor.Node {
	length := L2.size(direction).AddConst(tiny)
	return b.project(x0.Add(direction.Mul(b.eps().Div(length))), x0)
}

func squareStepL2(b *build, im Image) {
	x0, y := b.get("x0"), b.get("y")
	shape, row, col, channel := im.shape(b.rows)
	side := b.number()
	u := b.uniform(5 + im.Channels)
	draw := func(i int) *tensor.Node { return u.Slice(1, i, i+1) }
	along := func(axis, length int) []int {
		s := []int{b.rows, 1, 1, 1}
		s[axis] = length
		return s
	}
	first := func(i, length int) *tensor.Node { // of the places that a window covers
		return draw(i).Mul(tensor.Const(float64(length)).Sub(side)).Floor()
	}
	inside := func(i, axis, length int) *tensor.Node {
		from, place := first(i, length), tensor.Iota(0, length).ToReal().Reshape(1, length)
		return from.Le(place).Mul(place.Lt(from.Add(side))).Reshape(along(axis, length)...)
	}
	one, two := inside(0, row, im.Height).Mul(inside(1, col, im.Width)), inside(2, row, im.Height).Mul(
		inside(3, col, im.Width))
	// Where a place lies in the first window, or in its transpose, in the table of the pattern.
	local := func(i, axis, length int) *tensor.Node {
		from := first(i, length).ToInt()
		return tensor.Iota(0, length).Reshape(1, length).Sub(from).Reshape(along(axis, length)...)
	}
	li, lj, width := local(0, row, im.Height), local(1, col, im.Width), tensor.IntConst(int32(im.Width))
	plain, turned := li.Mul(width).Add(lj), lj.Mul(width).Add(li)
	turn := draw(4).Lt(tensor.Const(0.5)).ToInt().Reshape(b.rows, 1, 1, 1)
	index := plain.Add(turned.Sub(plain).Mul(turn)).Mul(one.ToInt())
	pattern := tensor.Gather(b.pattern(im), index.Flatten()).Reshape(index.Shape()...)
	sign := signs(u.Slice(1, 5, 5+im.Channels)).Reshape(along(channel, im.Channels)...)

	image := x0.Reshape(shape...)
	delta := b.get("adv").Reshape(shape...).Sub(image)
	mass := func(n *tensor.Node) *tensor.Node { return n.Square().SumKeep(row, col) } // of a channel
	both := mass(delta.Mul(one.Max(two)))
	left := b.eps().Square().Sub(delta.Square().SumKeep(1, 2, 3)).Max(tensor.Const(0)).Scale(1 / float64(im.Channels))
	old := delta.Mul(one)
	fresh := pattern.Mul(sign).Add(old.Div(mass(old).Sqrt().AddConst(tiny))).Mul(one)
	fresh = fresh.Div(mass(fresh).Sqrt().AddConst(tiny)).Mul(left.Add(both).Sqrt())
	change := tensor.Where(one.Expand(shape...), fresh, delta.Mul(tensor.Const(1).Sub(two)))

	x := b.full(x0, change.Reshape(x0.Shape()...))
	b.keepBetter(x, y)
}
