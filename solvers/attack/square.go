package attack

import (
	"fmt"
	"math"

	"bilevel/tensor"
)

// Square is a random search that needs no gradients (Andriushchenko, Croce, Flammarion, Hein, ECCV 2020, algorithms 1
// and 2). In l_inf it begins with vertical stripes of a random sign, x₀ ± ε, and at each query sets a square window of
// side s at a random place to x₀ ± ε, one random sign for each channel, which it keeps where the margin
// z_y - max_{i≠y} z_i becomes smaller or the image misclassified. The window's part p of the image is P at first and is
// halved at the queries 10, 50, 200, 500, 1000, 2000, 4000, 6000 and 8000; s = √(p·height·width) in whole pixels.
// Each image has windows of its own. For l_2 see squarel2.go.
//
// The paper draws the window's first row from 0 to height - s, its first column likewise. The authors' program, which
// published figures of AutoAttack come from, leaves out the last of these places, and so does this one: where pixels at
// the border count, the paper's attack is a little stronger.
type Square struct {
	Queries int     // 0: 5000
	P       float64 // 0: 0.8
	// Scaled stretches the schedule, which is made for 10,000 queries, to the number of queries. AutoAttack does not.
	Scaled bool
}

func (Square) Name() string { return "square" }

func (p Square) plan(m Model, n Norm) (*plan, []string, error) {
	if p.Queries == 0 {
		p.Queries = 5000
	}
	if p.P == 0 {
		p.P = 0.8
	}
	switch {
	case p.Queries < 1:
		return nil, nil, fmt.Errorf("queries %d: wants at least 1", p.Queries)
	case !(p.P > 0 && p.P <= 1):
		return nil, nil, fmt.Errorf("p %g: wants a part of the image, above 0 and up to 1", p.P)
	}
	im, err := m.Image.in(m.Inputs)
	if err != nil {
		return nil, nil, err
	}
	pl := &plan{programs: fmt.Sprint("square ", im), runs: 1, blind: true}
	begin, step, sideAt := squareBegin, squareStep, p.side
	if n == L2 {
		if min(im.Height, im.Width) < 2 {
			return nil, nil, fmt.Errorf("in l2 it wants images of at least 2 x 2 pixels, not %d x %d", im.Height,
				im.Width)
		}
		begin, step, sideAt = squareBeginL2, squareStepL2, p.oddSide
		pl.table = tiled(im)
	}
	pl.begin = func(b *build) { begin(b, im) }
	const look = 100 // queries between two looks of the host
	for done := 0; done < p.Queries; {
		side, until := sideAt(done, im), done+1
		for until < p.Queries && until-done < look && sideAt(until, im) == side {
			until++
		}
		ph := phase{name: "step", step: func(b *build) { step(b, im) }, times: until - done, number: float64(side)}
		if last := len(pl.phases) - 1; n == L2 && last >= 0 && pl.phases[last].number == float64(side) {
			ph.table = pl.phases[last].table
		} else if n == L2 {
			ph.table = patch(side, im)
		}
		pl.phases = append(pl.phases, ph)
		done = until
	}
	return pl, nil, nil
}

// side is that of the windows at a query, counted from 0.
func (p Square) side(query int, im Image) int {
	if p.Scaled {
		query = query * 10000 / p.Queries
	}
	part := p.P
	for _, at := range []int{10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000} {
		if query > at {
			part /= 2
		}
	}
	s := int(math.Round(math.Sqrt(part * float64(im.Height*im.Width))))
	return max(1, min(s, im.Height, im.Width))
}

// shape is that of a batch of images, and which of its axes are those of rows, columns and channels.
func (i Image) shape(rows int) (shape []int, row, col, channel int) {
	if i.ChannelsLast {
		return []int{rows, i.Height, i.Width, i.Channels}, 1, 2, 3
	}
	return []int{rows, i.Channels, i.Height, i.Width}, 2, 3, 1
}

// signs makes ±1 of numbers in [0, 1).
func signs(u *tensor.Node) *tensor.Node {
	return tensor.Where(u.Lt(tensor.Const(0.5)), tensor.Const(-1), tensor.Const(1))
}

func squareBegin(b *build, im Image) {
	x0, y := b.load()
	shape, _, _, _ := im.shape(b.rows)
	sign := signs(b.uniform(im.Channels*im.Width)).Reshape(b.rows, im.Channels, 1, im.Width)
	if im.ChannelsLast {
		sign = sign.Permute(0, 2, 3, 1)
	}
	x := b.project(x0.Add(sign.Expand(shape...).Reshape(x0.Shape()...).Mul(b.eps())), x0)
	z := b.a.logits(x)
	b.set("adv", x)
	b.set("best", margin(z, y))
	b.set("found", wrong(z, y))
}

func squareStep(b *build, im Image) {
	x0, y := b.get("x0"), b.get("y")
	shape, row, col, channel := im.shape(b.rows)
	side := b.number()
	u := b.uniform(2 + im.Channels)
	// inside is 1 at the places of one axis that the window covers.
	inside := func(axis, length, which int) *tensor.Node {
		first := u.Slice(1, which, which+1).Mul(tensor.Const(float64(length)).Sub(side)).Floor()
		place := tensor.Iota(0, length).ToReal().Reshape(1, length)
		within := first.Le(place).Mul(place.Lt(first.Add(side)))
		along := []int{b.rows, 1, 1, 1}
		along[axis] = length
		return within.Reshape(along...)
	}
	window := inside(row, im.Height, 0).Mul(inside(col, im.Width, 1))
	colours := []int{b.rows, 1, 1, 1}
	colours[channel] = im.Channels
	change := window.Mul(signs(u.Slice(1, 2, 2+im.Channels)).Reshape(colours...)).Expand(shape...)
	old := b.get("adv")
	image := x0.Reshape(shape...) // in this shape all of it is one pass over the pixels
	changed := b.project(image.Add(change.Mul(b.eps())), image)
	x := tensor.Where(change, changed, old.Reshape(shape...)).Reshape(x0.Shape()...)
	b.keepBetter(x, y)
}

// keepBetter goes on from x where its margin is better or it is misclassified; what is found stays.
func (b *build) keepBetter(x, y *tensor.Node) {
	z := b.a.logits(x)
	value, now, found := margin(z, y), wrong(z, y), b.get("found")
	take := tensor.Const(1).Sub(found).Mul(now.Max(b.get("best").Lt(value)))
	b.set("adv", tensor.Where(column(take), x, b.get("adv")))
	b.set("best", tensor.Where(take, value, b.get("best")))
	b.set("found", found.Max(now))
}
