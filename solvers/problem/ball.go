package problem

import (
	"fmt"
	"math"

	"bilevel/models/params"
	"bilevel/solvers/linear"
	"bilevel/tensor"
)

// Ball is {z : |z - Center| <= Radius} in the Euclidean norm. The zero Center is the origin.
type Ball struct {
	Radius float64
	Center []float64 // one number for each coordinate; nil: 0

	c *tensor.Node // Center, once bound
}

func (s Ball) bind(sc *tensor.Scope, _ params.Layout) (_ Set, err error) {
	if s.Center != nil {
		s.c, err = upload(sc, "center", s.Center, len(s.Center))
	}
	return s, err
}

// from is z - Center, to is z + Center.
func (s Ball) from(z *tensor.Node) *tensor.Node {
	switch {
	case s.Center == nil:
		return z
	case s.c == nil:
		notBound(s)
	}
	return z.Sub(s.c)
}

func (s Ball) to(z *tensor.Node) *tensor.Node {
	if s.Center == nil {
		return z
	}
	return z.Add(s.c)
}

// Project scales what lies outside back to the surface.
func (s Ball) Project(z *tensor.Node, _ Batch) *tensor.Node {
	d := s.from(z)
	norm := linear.Norm(d)
	outside := tensor.Const(s.Radius).Lt(norm)
	back := s.to(d.Mul(tensor.Const(s.Radius).Div(norm)))
	return tensor.Where(outside, back, z)
}

// surface is the part of the radius that counts as the surface: a projected point may lie inside by rounding.
const surface = 1e-5

// Free is 1 for every coordinate inside and 0 on the surface, whose normal mixes the coordinates.
func (s Ball) Free(z *tensor.Node, _ Batch) *tensor.Node {
	return linear.Norm(s.from(z)).Lt(tensor.Const(s.Radius * (1 - surface))).Expand(z.Shape()...)
}

// Least is Center - Radius g/|g|, and Center where g is 0.
func (s Ball) Least(g *tensor.Node, _ Batch) *tensor.Node {
	s.from(g) // refuses a ball that is not bound
	norm := linear.Norm(g)
	return s.to(g.Mul(tensor.Where(tensor.Const(0).Lt(norm), tensor.Const(-s.Radius).Div(norm), tensor.Const(0))))
}

func (s Ball) Contains(v Values) bool {
	norm := 0.0
	for i, c := range v.Flat {
		if s.Center != nil {
			c -= s.Center[i]
		}
		norm = math.Hypot(norm, c)
	}
	return norm <= s.Radius*(1+1e-6)
}

func (s Ball) Check(_ params.Layout, n int) error {
	if !(s.Radius > 0) || math.IsInf(s.Radius, 0) {
		return fmt.Errorf("a ball of radius %g: wants a positive, finite one", s.Radius)
	}
	if s.Center != nil && len(s.Center) != n {
		return fmt.Errorf("a ball whose center has %d coordinates for %d coordinates", len(s.Center), n)
	}
	for i, c := range s.Center {
		if math.IsNaN(c) || math.IsInf(c, 0) {
			return fmt.Errorf("a ball whose center has the coordinate %g at %d: wants finite numbers", c, i)
		}
	}
	return nil
}

func (s Ball) String() string {
	if s.Center != nil {
		return fmt.Sprintf("ball of radius %g around a point", s.Radius)
	}
	return fmt.Sprintf("ball of radius %g", s.Radius)
}
