package problem

import (
	"errors"
	"fmt"

	"bilevel/tensor"
)

// Saddle is an upper objective F(x, y, α) that is minimized over x and maximized over a further variable α beside:
//
//	min over x of max over α in a set of F(x, y*(x), α)
//
// F should be concave in α. With α in the simplex and F = Σ_i α_i F_i it is the worst of several objectives F_i.
type Saddle struct {
	Start Values // of α, with its names
	Set   Set    // that holds α, convex; nil: all of space
	Value func(x, y, alpha Vars, b Batch) *tensor.Node
}

// check refuses a Saddle that lacks something, or whose start values lie outside its set.
func (s *Saddle) check() error {
	switch {
	case s == nil:
		return nil
	case s.Value == nil:
		return errors.New("the upper level's Saddle lacks its Value")
	case s.Start.Size() == 0:
		return errors.New("the upper level's Saddle has no start values")
	}
	if err := checkValues("start values of the Saddle", s.Start); err != nil {
		return err
	}
	if s.Set == nil {
		return nil
	}
	if err := s.Set.Check(s.Start.Layout, s.Start.Size()); err != nil {
		return fmt.Errorf("the Saddle's set: %w", err)
	}
	if !s.Set.Contains(s.Start) {
		return fmt.Errorf("the Saddle starts outside its %s", s.Set)
	}
	return nil
}

// checkBlocks refuses blocks that the variables or the rows do not have.
func (p *Problem) checkBlocks() error {
	if !p.BlockPerRow {
		return nil
	}
	m := p.Lower.Rows.Count()
	if m < 1 || p.Upper.Rows.Count() != m {
		return fmt.Errorf("BlockPerRow with %d rows of the lower and %d of the upper level: wants a row of both for "+
			"each block", m, p.Upper.Rows.Count())
	}
	type variable struct {
		name string
		Values
	}
	variables := []variable{{"y", p.Lower.Start}}
	if p.Upper.Saddle != nil {
		variables = append(variables, variable{"the Saddle's variable", p.Upper.Saddle.Start})
	}
	for _, v := range variables {
		if len(v.Layout) == 0 && v.Size()%m != 0 {
			return fmt.Errorf("BlockPerRow with %d rows, but %s has %d elements: wants a multiple", m, v.name, v.Size())
		}
		for _, a := range v.Layout {
			if len(a.Shape) == 0 || a.Shape[0] != m {
				return fmt.Errorf("BlockPerRow with %d rows, but the array %q of %s has the shape %v: wants the "+
					"blocks as its first dimension", m, a.Name, v.name, a.Shape)
			}
		}
	}
	return nil
}

// Saddle is the upper objective of a problem that has a Saddle, at (x, y, α). Its gradients are counted as those of the
// upper objective; GradAlpha comes with them.
func (o *Oracle) Saddle(x, y, alpha *tensor.Node, b Batch) *Point {
	p := &Point{o: o, side: Upper, x: x, y: y, alpha: alpha, seconds: map[*tensor.Node]*products{},
		transposed: map[*tensor.Node]*products{}}
	s := o.b.Upper.Saddle
	if s == nil {
		fail("the upper objective of %s is no Saddle", o.b.Name)
	}
	o.guard(Upper, func() {
		p.value = s.Value(o.b.Upper.Start.Layout.Vars(x), o.b.Lower.Start.Layout.Vars(y), s.Start.Layout.Vars(alpha), b)
	})
	p.checkValue()
	return p
}

// GradAlpha is the gradient of a Saddle in α.
func (p *Point) GradAlpha() *tensor.Node {
	if p.alpha == nil {
		fail("the %s objective of %s is no Saddle, and has no further variable", p.side, p.o.b.Name)
	}
	p.Grad()
	return p.grads[2]
}

// ProjectAlpha takes the further variable of a Saddle back into its set.
func (b *Bound) ProjectAlpha(alpha *tensor.Node, rows Batch) *tensor.Node {
	if b.alphaSet == nil {
		return alpha
	}
	return b.alphaSet.Project(alpha, rows)
}
