package problem

import (
	"bilevel/models/params"
	"bilevel/tensor"
)

// FixedPoint is the residual y - Φ(x, y) of a fixed point y = Φ(x, y): of an equilibrium network, of a solver's step.
func FixedPoint(phi Function) Function {
	return func(x, y Vars, b Batch) *tensor.Node {
		to := phi(x, y, b)
		if to == nil {
			fail("the map of a fixed point gives no node")
		}
		return y.Flat().Sub(to.Flatten())
	}
}

// Root is a residual R(x, y) [q] at one place. As with Point it is built once, and each kind of call counts once for a
// vector: R counts like ∇yG, whose part it plays, products with ∂yR and its transpose like products with H, and
// products with the transpose of ∂xR like products with C.
type Root struct {
	o           *Oracle
	x, y, value *tensor.Node
	valued      bool
	transposed  map[*tensor.Node]*products
	along       map[*tensor.Node]*tensor.Node
}

// Root is the residual of the lower level at (x, y) on a batch of its rows.
func (o *Oracle) Root(x, y *tensor.Node, b Batch) *Root {
	l := o.b.Level(Lower)
	var r *tensor.Node
	o.guard(Lower, func() {
		if l.Residual == nil {
			fail("the lower level of %s is no residual, but an objective to be minimized", o.b.Name)
		}
		r = l.Residual(o.b.Upper.Start.Layout.Vars(x), o.b.Lower.Start.Layout.Vars(y), b)
	})
	switch {
	case r == nil:
		fail("the residual of %s gives no node", o.b.Name)
	case r.Type() != tensor.Real || r.Size() != y.Size():
		fail("the residual of %s gives %s %v; wants one Real number for each of the %d lower variables", o.b.Name,
			r.Type(), r.Shape(), y.Size())
	}
	return o.root(x, y, r)
}

func (o *Oracle) root(x, y, r *tensor.Node) *Root {
	return &Root{o: o, x: x, y: y, value: r.Flatten(), transposed: map[*tensor.Node]*products{},
		along: map[*tensor.Node]*tensor.Node{}}
}

// Proximal is the proximal-gradient mapping of a lower level with a proximal map,
//
//	R(x, y) = (y - Prox(y - s ∇yG(x,y), s)) / s,
//
// as a residual: it vanishes where y minimizes G + r, for every step s > 0 (a scalar). Without r it is ∇yG.
func (o *Oracle) Proximal(x, y, step *tensor.Node, b Batch) *Root {
	l := o.b.Level(Lower)
	if l.Prox == nil {
		fail("the lower level of %s has no proximal map", o.b.Name)
	}
	p := o.At(Lower, x, y, b, params.TrainFrozen, nil)
	g := tensor.Grad(p.value, y)[0] // counted when the value of R is asked for
	return o.root(x, y, y.Sub(o.b.Prox(x, y.Sub(g.Mul(step)), step)).Div(step))
}

// Prox is the lower level's proximal map at z [q], as a vector.
func (b *Bound) Prox(x, z, step *tensor.Node) *tensor.Node {
	var to *tensor.Node
	b.Oracle().guard(Lower, func() { to = b.Lower.Prox(b.Upper.Start.Layout.Vars(x), z, step) })
	if to == nil || to.Type() != tensor.Real || to.Size() != z.Size() {
		fail("the proximal map of %s does not give one Real number for each of the %d lower variables", b.Name,
			z.Size())
	}
	return to.Flatten()
}

// Value is R(x, y) [q].
func (r *Root) Value() *tensor.Node {
	ask(&r.valued, &r.o.Counts.LowerGradients)
	return r.value
}

func (r *Root) back(w *tensor.Node) *products {
	d := r.transposed[w]
	if d == nil {
		g := tensor.VJP([]*tensor.Node{r.value}, []*tensor.Node{r.x, r.y}, []*tensor.Node{w.StopGradient()})
		d = &products{x: g[0], y: g[1]}
		r.transposed[w] = d
	}
	return d
}

// TransposedY is (∂yR)ᵀw [q].
func (r *Root) TransposedY(w *tensor.Node) *tensor.Node {
	d := r.back(w)
	ask(&d.askedY, &r.o.Counts.HVP)
	return d.y
}

// TransposedX is (∂xR)ᵀw [p].
func (r *Root) TransposedX(w *tensor.Node) *tensor.Node {
	d := r.back(w)
	ask(&d.askedX, &r.o.Counts.JVP)
	return d.x
}

// Along is ∂yR v [q].
func (r *Root) Along(v *tensor.Node) *tensor.Node {
	d := r.along[v]
	if d == nil {
		d = tensor.JVP([]*tensor.Node{r.value}, []*tensor.Node{r.y}, []*tensor.Node{v})[0]
		r.along[v] = d
		r.o.Counts.HVP++
	}
	return d
}
