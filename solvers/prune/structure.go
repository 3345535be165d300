package prune

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"bilevel/models/params"
	"bilevel/tensor"
)

// Structure says what is pruned: the arrays of scores that are ranked, and which parameters a score decides about.
type Structure struct {
	// Params is the layout of the parameters [q], Scores that of the score vector [s].
	Params, Scores params.Layout
	// Ranked are the arrays of Scores that are ranked, each a layer. Elements of others are always kept.
	Ranked []params.Array

	units []params.Units // nil: a score belongs to the parameter of its own place
}

// Weights prunes single weights: a score for each parameter, of which those of the matching arrays are ranked.
// models.IsWeight matches the weights of linear maps, so that biases and normalizations stay.
func Weights(l params.Layout, match func(params.Array) bool) (Structure, error) {
	s := Structure{Params: l, Scores: l}
	for _, a := range l {
		if match(a) {
			s.Ranked = append(s.Ranked, a)
		}
	}
	if len(s.Ranked) == 0 {
		return s, fmt.Errorf("nothing to prune: none of the arrays %s is a weight", strings.Join(l.Names(), ", "))
	}
	return s, nil
}

// Units prunes whole units: a score for each unit, whose absence masks all parameters that make its output or read it.
func Units(l params.Layout, units []params.Units) (Structure, error) {
	s := Structure{Params: l, units: units}
	if len(units) == 0 {
		return s, fmt.Errorf("nothing to prune: the model has no units that could be left out")
	}
	for _, u := range units {
		s.Scores = s.Scores.With(u.Name, u.Count)
		for _, slot := range u.Slots {
			if err := fits(u, slot, l); err != nil {
				return s, err
			}
		}
	}
	s.Ranked = s.Scores
	return s, s.Scores.Check()
}

// fits refuses a slot that is not in a layout, or does not have a slice for each unit.
func fits(u params.Units, slot params.Slot, l params.Layout) error {
	a, err := l.Find(slot.Array)
	if err != nil {
		return fmt.Errorf("units %s: %w", u.Name, err)
	}
	if slot.Axis < 0 || slot.Axis >= len(a.Shape) || slot.From < 0 || slot.From+u.Count > period(a, slot) ||
		a.Shape[slot.Axis]%period(a, slot) != 0 {
		return fmt.Errorf("units %s: axis %d of %s %v does not have %d elements", u.Name, slot.Axis, a.Name, a.Shape,
			u.Count)
	}
	return nil
}

// period is after how many slices along a slot's axis the units come again.
func period(a params.Array, s params.Slot) int { return cmp.Or(s.Period, a.Shape[s.Axis]) }

// ByUnit tells whether whole units are pruned.
func (s Structure) ByUnit() bool { return s.units != nil }

// isRanked tells whether the scores of an array are ranked.
func (s Structure) isRanked(a params.Array) bool {
	return slices.ContainsFunc(s.Ranked, func(r params.Array) bool { return r.Name == a.Name })
}

// Count is the number of elements that are ranked.
func (s Structure) Count() (n int) {
	for _, a := range s.Ranked {
		n += a.Size()
	}
	return n
}

// String lists the layers, and for units what belongs together.
func (s Structure) String() string {
	var lines []string
	for i, a := range s.Ranked {
		line := fmt.Sprintf("%s: %d weights", a.Name, a.Size())
		if s.ByUnit() {
			line = s.units[i].String()
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// Scope says among which elements the largest scores are chosen.
type Scope string

const (
	Global Scope = "global" // among those of all layers together
	Layer  Scope = "layer"  // in each layer by itself, in the same proportion
)

// Kept are the numbers of elements to be kept: one in all, or one for each ranked array.
type Kept []int

// Keep is the numbers for a part of the elements, round(part · elements) each, and at least 1 of each layer where
// layers have numbers of their own. A part of 0 or above 1, and one that is so small that nothing is left, are refused.
func (s Structure) Keep(part float64, scope Scope) (Kept, error) {
	if !(part > 0 && part <= 1) {
		return nil, fmt.Errorf("keep is %g: wants the part of the elements that is kept, above 0 and at most 1", part)
	}
	of := func(n int) int { return int(math.Round(part * float64(n))) }
	switch scope {
	case Global, "":
		if of(s.Count()) == 0 {
			return nil, fmt.Errorf("keep is %g: nothing would be left of %d elements; wants at least %.3g", part,
				s.Count(), 0.5/float64(s.Count()))
		}
		return Kept{of(s.Count())}, nil
	case Layer:
		var k Kept
		for _, a := range s.Ranked {
			k = append(k, max(1, of(a.Size())))
		}
		return k, nil
	}
	return nil, fmt.Errorf("scope is %q: wants %s or %s", scope, Global, Layer)
}

// Emptied names the layers of which a part, round(part · elements), is nothing.
func (s Structure) Emptied(part float64) (layers []string) {
	for _, a := range s.Ranked {
		if math.Round(part*float64(a.Size())) == 0 {
			layers = append(layers, a.Name)
		}
	}
	return layers
}

// check refuses numbers that the structure cannot give.
func (s Structure) check(k Kept) error {
	sizes := []int{s.Count()}
	if len(k) > 1 {
		sizes = nil
		for _, a := range s.Ranked {
			sizes = append(sizes, a.Size())
		}
	}
	if len(k) != len(sizes) {
		return fmt.Errorf("%d numbers of kept elements for %d layers: wants one in all or one for each", len(k),
			len(s.Ranked))
	}
	for i, n := range k {
		if n < 1 || n > sizes[i] {
			return fmt.Errorf("%d kept elements of %d: wants 1 to all", n, sizes[i])
		}
	}
	return nil
}

// nodes are the numbers as constants.
func (k Kept) nodes() (list []*tensor.Node) {
	for _, n := range k {
		list = append(list, tensor.IntConst(int32(n)))
	}
	return list
}

// TopK marks the elements of scores [s] with the largest absolute values by 1 and the other ranked ones by 0; elements
// that are not ranked are 1. k has one Int number for all ranked arrays together, or one for each of them, and exactly
// so many elements are marked: of equals, those that lie first.
func (s Structure) TopK(scores *tensor.Node, k []*tensor.Node) *tensor.Node {
	parts := make([]*tensor.Node, len(s.Ranked))
	for i, a := range s.Ranked {
		parts[i] = scores.Slice(0, a.Off, a.Off+a.Size()).Abs()
	}
	marks := make(map[string]*tensor.Node)
	if len(k) == 1 {
		value, place := tensor.KthLargest(k[0], parts...)
		first := 0
		for i, a := range s.Ranked {
			marks[a.Name] = marked(parts[i], value, place, first)
			first += a.Size()
		}
	} else {
		for i, a := range s.Ranked {
			value, place := tensor.KthLargest(k[i], parts[i])
			marks[a.Name] = marked(parts[i], value, place, 0)
		}
	}
	return s.Scores.Spread(func(a params.Array) *tensor.Node {
		if m := marks[a.Name]; m != nil {
			return m.Reshape(a.Shape...)
		}
		return tensor.Const(1)
	})
}

// marked is 1 for elements above value, and for those equal to it up to a place; first is the place of the first one.
func marked(x, value, place *tensor.Node, first int) *tensor.Node {
	at := tensor.Iota(0, x.Size()).Add(tensor.IntConst(int32(first)))
	equal := x.Eq(value).Mul(at.Lt(place.Add(tensor.IntConst(1))))
	return value.Lt(x).Add(equal)
}

// Mask is what marks [s] of scores come to for the parameters, a vector [q]. For single weights it is the marks. A
// parameter that belongs to several units is the product of their marks, so that Mask has a derivative.
func (s Structure) Mask(marks *tensor.Node) *tensor.Node {
	if !s.ByUnit() {
		return marks
	}
	return s.Params.Spread(func(a params.Array) *tensor.Node {
		factor := tensor.Const(1)
		for axis := range a.Shape {
			if along := s.along(a, axis, marks); along != nil {
				factor = factor.Mul(along)
			}
		}
		return factor
	})
}

// along are the marks of the units along an axis of an array, 1 between them, in a shape that multiplies the array; nil
// where there are no units.
func (s Structure) along(a params.Array, axis int, marks *tensor.Node) *tensor.Node {
	type run struct {
		from, count int
		marks       *tensor.Node
	}
	var runs []run
	every := 0
	for i, u := range s.units {
		for _, slot := range u.Slots {
			if slot.Array == a.Name && slot.Axis == axis {
				runs = append(runs, run{slot.From, u.Count, s.Scores[i].Of(marks)})
				every = period(a, slot)
			}
		}
	}
	if runs == nil {
		return nil
	}
	slices.SortFunc(runs, func(x, y run) int { return x.from - y.from })
	var parts []*tensor.Node
	at := 0
	for _, r := range append(runs, run{from: every}) {
		if r.from > at {
			parts = append(parts, tensor.Full(1, r.from-at))
		}
		if r.count > 0 {
			parts = append(parts, r.marks)
		}
		at = r.from + r.count
	}
	whole := tensor.Concat(0, parts...)
	if times := a.Shape[axis] / every; times > 1 {
		whole = tensor.Full(1, times, 1).Mul(whole.Reshape(1, every)).Reshape(a.Shape[axis])
	}
	shape := slices.Repeat([]int{1}, len(a.Shape))
	shape[axis] = a.Shape[axis]
	return whole.Reshape(shape...)
}

// Pool turns a derivative in the mask [q] into one in the marks [s]: for units the sum over their parameters, which is
// the transpose of Mask's derivative at the present marks.
func (s Structure) Pool(marks, gradient *tensor.Node) *tensor.Node {
	if !s.ByUnit() {
		return gradient
	}
	return tensor.VJP([]*tensor.Node{s.Mask(marks)}, []*tensor.Node{marks}, []*tensor.Node{gradient})[0]
}

// Pick marks the largest scores [s] on an executor's device, and gives the marks [s] and the mask [q] that they come
// to.
func (s Structure) Pick(ex *tensor.Executor, scores []float64, k Kept) (marks, mask []float64, err error) {
	if len(scores) != s.Scores.Size() {
		return nil, nil, fmt.Errorf("%d scores: wants %d", len(scores), s.Scores.Size())
	}
	if err := s.check(k); err != nil {
		return nil, nil, err
	}
	return s.run(ex, scores, func(v *tensor.Node) *tensor.Node { return s.TopK(v, k.nodes()) })
}

// Of is the mask [q] that marks [s] come to.
func (s Structure) Of(ex *tensor.Executor, marks []float64) (mask []float64, err error) {
	_, mask, err = s.run(ex, marks, func(v *tensor.Node) *tensor.Node { return v })
	return mask, err
}

func (s Structure) run(ex *tensor.Executor, values []float64, of func(*tensor.Node) *tensor.Node) (
	marks, mask []float64, err error) {
	sc := ex.Scope()
	defer func() { err = joined(err, sc.Close()) }()
	in := sc.Variable("scores", tensor.Real, s.Scores.Size())
	to, m := sc.Variable("marks", tensor.Real, in.Size()), sc.Variable("mask", tensor.Real, s.Params.Size())
	f := sc.Compile("top k", func() []tensor.Update {
		n := of(in.Node())
		return []tensor.Update{{Var: to, Value: n}, {Var: m, Value: s.Mask(n)}}
	})
	if err := sc.Err(); err != nil {
		return nil, nil, err
	}
	if err := joined(in.Write(values), f.Run(1)); err != nil {
		return nil, nil, err
	}
	if marks, err = to.Read(); err != nil {
		return nil, nil, err
	}
	mask, err = m.Read()
	return marks, mask, err
}

// Share is the part of a ranked layer's elements that marks keep.
type Share struct {
	Layer       string
	Kept, Count int
}

// Shares counts what marks [s] keep of each layer.
func (s Structure) Shares(marks []float64) (list []Share) {
	for _, a := range s.Ranked {
		h := Share{Layer: a.Name, Count: a.Size()}
		for _, m := range marks[a.Off : a.Off+a.Size()] {
			if m != 0 {
				h.Kept++
			}
		}
		list = append(list, h)
	}
	return list
}

// Fill gives layers that have lost everything their element with the largest score back, in exchange for the element
// with the smallest score of the layers that have more than one, so that as many are kept as before. It changes marks
// [s] and returns the names of the layers.
func (s Structure) Fill(marks, scores []float64) (layers []string) {
	shares := s.Shares(marks)
	for i, a := range s.Ranked {
		if shares[i].Kept > 0 {
			continue
		}
		worst := -1
		for j, b := range s.Ranked {
			for at := b.Off; at < b.Off+b.Size() && shares[j].Kept > 1; at++ {
				if marks[at] != 0 && (worst < 0 || math.Abs(scores[at]) <= math.Abs(scores[worst])) {
					worst = at
				}
			}
		}
		if worst < 0 {
			continue // fewer elements than layers
		}
		best := a.Off
		for at := a.Off; at < a.Off+a.Size(); at++ {
			if math.Abs(scores[at]) > math.Abs(scores[best]) {
				best = at
			}
		}
		marks[worst], marks[best] = 0, 1
		for j, b := range s.Ranked {
			if worst >= b.Off && worst < b.Off+b.Size() {
				shares[j].Kept--
			}
		}
		shares[i].Kept++
		layers = append(layers, a.Name)
	}
	return layers
}
