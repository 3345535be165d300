package problem

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"bilevel/models/params"
	"bilevel/tensor"
)

// Sets holds named variables in a set each; variables without one are free.
//
//	Set: problem.Sets{"decay": problem.Box{Lo: -10, Hi: 2}, "weights": problem.Simplex{Total: 1}}
type Sets map[string]Set

func (s Sets) names() []string { return slices.Sorted(maps.Keys(s)) }

func (s Sets) Project(*tensor.Node, Batch) *tensor.Node { notBound(s); return nil }
func (s Sets) Free(*tensor.Node, Batch) *tensor.Node    { notBound(s); return nil }

func (s Sets) Contains(v Values) bool {
	for _, name := range s.names() {
		if a := v.Of(name); a == nil || !s[name].Contains(Values{Flat: a}) {
			return false
		}
	}
	return true
}

func (s Sets) Check(l params.Layout, _ int) error {
	if len(l) == 0 {
		return errors.New("a product of sets wants a vector whose parts have names, which this one has not: give it " +
			"names, or one set for all of it")
	}
	for _, name := range s.names() {
		a, err := l.Find(name)
		if err != nil {
			return err
		}
		if s[name] == nil {
			return fmt.Errorf("%q has no set: leave it out of Sets where it is free", name)
		}
		if err := s[name].Check(nil, a.Size()); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
	}
	return nil
}

func (s Sets) String() string {
	var parts []string
	for _, name := range s.names() {
		parts = append(parts, fmt.Sprintf("%s in a %s", name, s[name]))
	}
	return "product of sets (" + strings.Join(parts, ", ") + ")"
}

func (s Sets) bind(sc *tensor.Scope, l params.Layout) (Set, error) {
	b := productSet{Sets: s, layout: l, bound: make([]Set, len(l))}
	for i, a := range l {
		if one := s[a.Name]; one != nil {
			var err error
			if b.bound[i], err = bindSet(sc, one, nil); err != nil {
				return nil, err
			}
		}
	}
	for _, one := range b.bound {
		if _, ok := one.(LinearMinimizer); !ok {
			return b, nil
		}
	}
	return productMinimizer{b}, nil
}

// productMinimizer is a product of sets that all have a linear minimization oracle.
type productMinimizer struct{ productSet }

func (s productMinimizer) Least(g *tensor.Node, b Batch) *tensor.Node {
	return s.each(g, func(set Set, part *tensor.Node) *tensor.Node { return set.(LinearMinimizer).Least(part, b) })
}

// productSet is Sets that knows where its variables lie.
type productSet struct {
	Sets
	layout params.Layout
	bound  []Set // by array; nil: free
}

func (s productSet) Project(z *tensor.Node, b Batch) *tensor.Node {
	return s.each(z, func(set Set, part *tensor.Node) *tensor.Node {
		if set == nil {
			return part
		}
		return set.Project(part, b)
	})
}

func (s productSet) Free(z *tensor.Node, b Batch) *tensor.Node {
	return s.each(z, func(set Set, part *tensor.Node) *tensor.Node {
		if set == nil {
			return tensor.Full(1, part.Size())
		}
		return set.Free(part, b)
	})
}

func (s productSet) each(z *tensor.Node, of func(Set, *tensor.Node) *tensor.Node) *tensor.Node {
	parts := make([]*tensor.Node, len(s.layout))
	for i, a := range s.layout {
		parts[i] = of(s.bound[i], a.Of(z).Flatten())
	}
	return tensor.Concat(0, parts...)
}
