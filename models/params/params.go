// Package params gives names to the arrays inside a flat vector.
//
// Solvers work on flat vectors, so that a step or a dot product is one operation whatever the problem. People and
// models work with named arrays. A Layout connects the two: it says which array begins where in the vector. Vars are
// the arrays as graph nodes (views of the vector, which cost nothing), and Values are their numbers.
package params

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"bilevel/internal/nearest"
	"bilevel/tensor"
)

// Array is one named array inside a flat vector, in row-major order.
type Array struct {
	Name  string
	Shape []int
	Off   int   // position of its first element in the vector
	Peer  *Peer // how PyTorch stores it; nil: in the same way
}

// Size is the number of elements.
func (a Array) Size() int {
	n := 1
	for _, d := range a.Shape {
		n *= d
	}
	return n
}

// Of is the array as a node of its shape, a view of the flat vector.
func (a Array) Of(vector *tensor.Node) *tensor.Node {
	return vector.Slice(0, a.Off, a.Off+a.Size()).Reshape(a.Shape...)
}

// Layout lists the arrays of a flat vector in order. Arrays follow each other without gaps.
type Layout []Array

// With is the layout with one more array at its end; the receiver stays as it is.
func (l Layout) With(name string, shape ...int) Layout {
	return l.Append(Array{Name: name, Shape: shape})
}

// Append is With for an array of any description but its place.
func (l Layout) Append(a Array) Layout {
	a.Off = l.Size()
	return append(l[:len(l):len(l)], a)
}

// Size is the length of the vector.
func (l Layout) Size() int {
	if len(l) == 0 {
		return 0
	}
	last := l[len(l)-1]
	return last.Off + last.Size()
}

// Names lists the arrays' names in order.
func (l Layout) Names() []string {
	names := make([]string, len(l))
	for i, a := range l {
		names[i] = a.Name
	}
	return names
}

// Find gives the array of a name. Where there is none, the error lists the names and suggests the nearest one.
func (l Layout) Find(name string) (Array, error) {
	for _, a := range l {
		if a.Name == name {
			return a, nil
		}
	}
	if len(l) == 0 {
		return Array{}, fmt.Errorf("there is no array %q: the vector has no named arrays", name)
	}
	return Array{}, fmt.Errorf("there is no array %q (there are %s)%s",
		name, strings.Join(l.Names(), ", "), nearest.Hint(name, l.Names()))
}

// Check refuses layouts whose names are empty or come twice, or whose arrays have no elements or leave gaps.
func (l Layout) Check() error {
	seen := make(map[string]bool)
	off := 0
	for _, a := range l {
		switch {
		case a.Name == "":
			return fmt.Errorf("an array of shape %v has no name", a.Shape)
		case seen[a.Name]:
			return fmt.Errorf("two arrays are called %q", a.Name)
		case a.Size() < 1:
			return fmt.Errorf("the array %q of shape %v has no elements", a.Name, a.Shape)
		case a.Off != off:
			return fmt.Errorf("the array %q begins at element %d, not at %d where the one before it ends",
				a.Name, a.Off, off)
		}
		seen[a.Name] = true
		off += a.Size()
	}
	return nil
}

// Vars gives the arrays of a vector as nodes, by name. The empty name stands for the whole vector.
func (l Layout) Vars(vector *tensor.Node) Vars {
	v := Vars{"": vector}
	for _, a := range l {
		v[a.Name] = a.Of(vector)
	}
	return v
}

// Spread is a vector of the layout's length in which each array has the value that of gives for it: one number for all
// elements, or an array of the same shape. Masks, penalty weights by group and rates by layer are such vectors.
func (l Layout) Spread(of func(Array) *tensor.Node) *tensor.Node {
	parts := make([]*tensor.Node, len(l))
	for i, a := range l {
		parts[i] = of(a).Expand(a.Shape...).Flatten()
	}
	return tensor.Concat(0, parts...)
}

// Mask is a vector of the layout's length that is 1 on the arrays that match, weights but not biases, say, and 0 on the
// others.
func (l Layout) Mask(match func(Array) bool) *tensor.Node {
	return l.Spread(func(a Array) *tensor.Node {
		if match(a) {
			return tensor.Const(1)
		}
		return tensor.Const(0)
	})
}

// Groups lists the different keys of the arrays in order of first appearance. An array whose key is empty belongs to no
// group.
func (l Layout) Groups(key func(Array) string) (groups []string) {
	for _, a := range l {
		if k := key(a); k != "" && !slices.Contains(groups, k) {
			groups = append(groups, k)
		}
	}
	return groups
}

// ByGroup is a vector of the layout's length that holds, on the arrays of group g, element g of values [G], where G is
// the number of Groups; arrays that belong to no group get 0. One weight decay per layer is
//
//	tensor.Dot(layout.ByGroup(decay, models.LayerOf), weights.Square())
func (l Layout) ByGroup(values *tensor.Node, key func(Array) string) *tensor.Node {
	groups := l.Groups(key)
	if len(values.Shape()) != 1 || values.Size() != len(groups) {
		tensor.Fail("ByGroup", "%s for the %d groups %s", values, len(groups), strings.Join(groups, ", "))
	}
	return l.Spread(func(a Array) *tensor.Node {
		g := slices.Index(groups, key(a))
		if g < 0 {
			return tensor.Const(0)
		}
		return values.Slice(0, g, g+1).Reshape()
	})
}

// Vars are named arrays as graph nodes: x["decay"]. A name that does not exist gives nil, and an operation on nil
// panics. In an objective of package problem such a panic becomes an error with the line and all names; x.Get("decay")
// also names the nearest one.
type Vars map[string]*tensor.Node

// Get is the array of a name. A name that does not exist fails with the nearest one, as a wrong call to package tensor
// does: with a panic that Compile gives back as an error.
func (v Vars) Get(name string) *tensor.Node {
	n, ok := v[name]
	if !ok {
		names := slices.DeleteFunc(slices.Sorted(maps.Keys(v)), func(s string) bool { return s == "" })
		tensor.Fail("Vars", "there is no array %q (there are: %s)%s", name, strings.Join(names, ", "),
			nearest.Hint(name, names))
	}
	return n
}

// Flat is the whole vector.
func (v Vars) Flat() *tensor.Node { return v[""] }

// Values are the numbers of a vector with the names of its arrays.
type Values struct {
	Layout Layout // may be empty: a vector without named arrays
	Flat   []float64
}

// Vector makes values without names.
func Vector(values ...float64) Values { return Values{Flat: values} }

// Repeat makes n equal values without names.
func Repeat(value float64, n int) Values {
	flat := make([]float64, n)
	for i := range flat {
		flat[i] = value
	}
	return Values{Flat: flat}
}

// And gives the values with one more named vector at the end; the receiver stays as it is.
//
//	start := params.Values{}.And("decay", -4, -4).And("temperature", 1)
func (v Values) And(name string, values ...float64) Values {
	return v.AndShaped(name, []int{len(values)}, values)
}

// AndShaped is And for an array of any shape. Check finds out whether the numbers of elements agree.
func (v Values) AndShaped(name string, shape []int, values []float64) Values {
	return Values{v.Layout.With(name, shape...), append(v.Flat[:len(v.Flat):len(v.Flat)], values...)}
}

// Join gives the values with the arrays of more values at the end; the receiver stays as it is.
func (v Values) Join(more Values) Values {
	l := v.Layout
	for _, a := range more.Layout {
		l = l.Append(a)
	}
	return Values{l, append(v.Flat[:len(v.Flat):len(v.Flat)], more.Flat...)}
}

// Of is the array of a name, as a part of Flat and not a copy. It is nil where there is no such array.
func (v Values) Of(name string) []float64 {
	a, err := v.Layout.Find(name)
	if err != nil || a.Off+a.Size() > len(v.Flat) {
		return nil
	}
	return v.Flat[a.Off : a.Off+a.Size() : a.Off+a.Size()]
}

// Size is the length of the vector.
func (v Values) Size() int { return len(v.Flat) }

// Like makes values of other numbers with the same names.
func (v Values) Like(flat []float64) Values { return Values{v.Layout, flat} }

// Check refuses values whose layout is not in order or has another number of elements.
func (v Values) Check() error {
	if err := v.Layout.Check(); err != nil {
		return err
	}
	if len(v.Layout) > 0 && v.Layout.Size() != len(v.Flat) {
		return fmt.Errorf("%d numbers for the arrays %s, which have %d elements",
			len(v.Flat), strings.Join(v.Layout.Names(), ", "), v.Layout.Size())
	}
	return nil
}
