package problem

import (
	"fmt"
	"runtime"
	"slices"
	"strings"

	"bilevel/models/params"
	"bilevel/tensor"
)

// Counts are oracle calls, the currency in which papers compare algorithms. A gradient call gives both partial
// gradients at a point. Products with H and C at the same point and vector share one pass over the data but count
// apart.
type Counts struct {
	LowerGradients int64 `json:"lower_gradients"`
	UpperGradients int64 `json:"upper_gradients"`
	HVP            int64 `json:"hvp"`     // products with H
	JVP            int64 `json:"jvp"`     // products with C or Cᵀ
	Values         int64 `json:"values"`  // of either objective
	Samples        int64 `json:"samples"` // rows of data drawn, each minibatch once
}

// Plus adds n times o.
func (c Counts) Plus(o Counts, n int64) Counts {
	return Counts{
		c.LowerGradients + n*o.LowerGradients, c.UpperGradients + n*o.UpperGradients, c.HVP + n*o.HVP, c.JVP + n*o.JVP,
		c.Values + n*o.Values, c.Samples + n*o.Samples,
	}
}

// Calls is the number of calls of any kind.
func (c Counts) Calls() int64 { return c.LowerGradients + c.UpperGradients + c.HVP + c.JVP + c.Values }

// String is the cost in words: "2 ∇G, 1 ∇F, 1 Hv, 1 Cv".
func (c Counts) String() string { return c.To(c) }

// To is a cost between two in words, this one and o: "2 ∇G, 1 ∇F, 0 to 9 Hv, 1 Cv".
func (c Counts) To(o Counts) string {
	var parts []string
	for _, p := range []struct {
		from, to int64
		name     string
	}{
		{c.LowerGradients, o.LowerGradients, "∇G"}, {c.UpperGradients, o.UpperGradients, "∇F"}, {c.HVP, o.HVP, "Hv"},
		{c.JVP, o.JVP, "Cv"}, {c.Values, o.Values, "values"},
	} {
		switch {
		case p.from != p.to:
			parts = append(parts, fmt.Sprintf("%d to %d %s", p.from, p.to, p.name))
		case p.to > 0:
			parts = append(parts, fmt.Sprintf("%d %s", p.to, p.name))
		}
	}
	return strings.Join(parts, ", ")
}

// Least and Most are, kind by kind, the smaller and the larger of two costs.
func (c Counts) Least(o Counts) Counts {
	return Counts{
		min(c.LowerGradients, o.LowerGradients), min(c.UpperGradients, o.UpperGradients), min(c.HVP, o.HVP),
		min(c.JVP, o.JVP), min(c.Values, o.Values), min(c.Samples, o.Samples),
	}
}

func (c Counts) Most(o Counts) Counts {
	return Counts{
		max(c.LowerGradients, o.LowerGradients), max(c.UpperGradients, o.UpperGradients), max(c.HVP, o.HVP),
		max(c.JVP, o.JVP), max(c.Values, o.Values), max(c.Samples, o.Samples),
	}
}

// Oracle builds the quantities that algorithms are made of and counts them: what an algorithm asks for while its
// iteration is built is what one run of the iteration costs.
type Oracle struct {
	b      *Bound
	Counts Counts
}

// Point is an objective at one place: values of both variables, a batch, a mode. The objective is built once, and
// everything asked of the point shares that graph. Each kind of call counts once for a point and a vector.
type Point struct {
	o      *Oracle
	side   Side
	x, y   *tensor.Node
	alpha  *tensor.Node // of a Saddle; nil elsewhere
	value  *tensor.Node
	state  *tensor.Node
	parts  *composed      // of a Composite
	grads  []*tensor.Node // ∇x, ∇y and that in α where there is one, once asked for
	valued bool
	seconds,
	transposed map[*tensor.Node]*products
}

// products are H v and C v of one vector v (or ∇²xx u and Cᵀu of one vector u).
type products struct {
	x, y           *tensor.Node
	askedX, askedY bool
}

// At is a level's objective at (x, y) on a batch of the level's rows. state is the flat vector of running statistics
// that it reads, nil where the problem has none.
func (o *Oracle) At(side Side, x, y *tensor.Node, b Batch, m Mode, state *tensor.Node) *Point {
	p := &Point{o: o, side: side, x: x, y: y, seconds: map[*tensor.Node]*products{},
		transposed: map[*tensor.Node]*products{}}
	l := o.b.Level(side)
	xs, ys := o.b.Upper.Start.Layout.Vars(x), o.b.Lower.Start.Layout.Vars(y)
	o.guard(side, func() {
		if l.Loss != nil {
			pass := Pass{Mode: m, State: Vars{}}
			if state != nil {
				pass.State = o.b.State.Layout.Vars(state)
			}
			loss := l.Loss(xs, ys, b, pass)
			p.value, p.state = loss.Value, loss.State
		} else if l.Value != nil {
			p.value = l.Value(xs, ys, b)
		} else if l.Composite != nil {
			p.parts, p.value = l.Composite.at(xs, ys, b)
		} else if l.Saddle != nil {
			fail("the upper objective of %s has a further variable, over which it is maximized", o.b.Name)
		} else {
			fail("the lower level of %s is a residual, which has no value", o.b.Name)
		}
	})
	p.checkValue()
	switch {
	case p.state != nil && state == nil:
		fail("the %s objective of %s moves running statistics, but the problem has no State", side, o.b.Name)
	case p.state != nil && !slices.Equal(p.state.Shape(), state.Shape()):
		fail("the %s objective of %s gives running statistics of shape %v; wants %v",
			side, o.b.Name, p.state.Shape(), state.Shape())
	}
	return p
}

// checkValue refuses objectives that are no number.
func (p *Point) checkValue() {
	switch {
	case p.value == nil:
		fail("the %s objective of %s gives no node", p.side, p.o.b.Name)
	case p.value.Size() != 1 || p.value.Type() != tensor.Real:
		fail("the %s objective of %s gives %s %v; wants one Real number",
			p.side, p.o.b.Name, p.value.Type(), p.value.Shape())
	}
}

// guard turns what goes wrong inside an objective into an error with the line of the objective: mostly the use of a
// variable that is not there, which is a nil node.
func (o *Oracle) guard(side Side, build func()) {
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		err, isRuntime := r.(runtime.Error)
		if !isRuntime {
			panic(r)
		}
		if strings.Contains(err.Error(), "nil pointer") {
			fail("the %s objective of %s uses a variable that is not there: the upper variables are %s, the lower "+
				"ones %s, the running statistics %s", side, o.b.Name,
				named(o.b.Upper.Start.Layout), named(o.b.Lower.Start.Layout), named(o.b.State.Layout))
		}
		fail("the %s objective of %s failed: %v", side, o.b.Name, err)
	}()
	build()
}

// fail panics with a BuildError, which Compile gives back, that blames the nearest line outside the solvers: in the
// objective where that is at work, else where the solver was called.
func fail(format string, args ...any) {
	e := &tensor.BuildError{Package: "problem", Op: "objective", Detail: fmt.Sprintf(format, args...), File: "unknown"}
	var pcs [64]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for more := true; more; {
		var f runtime.Frame
		f, more = frames.Next()
		inside := slices.ContainsFunc([]string{"runtime.", "bilevel/solvers", "bilevel/tensor"},
			func(prefix string) bool { return strings.HasPrefix(f.Function, prefix) })
		if !inside || strings.HasSuffix(f.File, "_test.go") {
			e.File, e.Line = f.File, f.Line
			break
		}
	}
	panic(e)
}

func named(l params.Layout) string {
	if len(l) == 0 {
		return "without names"
	}
	return strings.Join(l.Names(), ", ")
}

// Value is the objective's value.
func (p *Point) Value() *tensor.Node {
	ask(&p.valued, &p.o.Counts.Values)
	return p.value
}

// State is the next running statistics, nil where the objective leaves them.
func (p *Point) State() *tensor.Node { return p.state }

// Grad is both partial gradients, ∇x [p] and ∇y [q]. The call costs one pass even where only one of them is used.
func (p *Point) Grad() (gx, gy *tensor.Node) {
	if p.grads == nil {
		if p.side == Lower {
			p.o.Counts.LowerGradients++
		} else {
			p.o.Counts.UpperGradients++
		}
		in := []*tensor.Node{p.x, p.y}
		if p.alpha != nil {
			in = append(in, p.alpha)
		}
		p.grads = tensor.Grad(p.value, in...)
	}
	return p.grads[0], p.grads[1]
}

// GradX is ∇x [p], GradY is ∇y [q].
func (p *Point) GradX() *tensor.Node { gx, _ := p.Grad(); return gx }
func (p *Point) GradY() *tensor.Node { _, gy := p.Grad(); return gy }

// along is the second derivatives along a vector in one of the variables: the gradient of ⟨∇, v⟩ with v held constant,
// whose reverse pass costs as much as one gradient and gives the products with both blocks of the Hessian.
func (p *Point) along(known map[*tensor.Node]*products, in, v *tensor.Node) *products {
	d := known[v]
	if d == nil {
		directional := tensor.JVP([]*tensor.Node{p.value}, []*tensor.Node{in}, []*tensor.Node{v.StopGradient()})[0]
		g := tensor.Grad(directional, p.x, p.y)
		d = &products{x: g[0], y: g[1]}
		known[v] = d
	}
	return d
}

// ask counts what is asked for, the first time.
func ask(asked *bool, count *int64) {
	if !*asked {
		*asked = true
		*count++
	}
}

// HVP is ∇²yy v [q]: H v for the lower objective.
func (p *Point) HVP(v *tensor.Node) *tensor.Node {
	d := p.along(p.seconds, p.y, v)
	ask(&d.askedY, &p.o.Counts.HVP)
	return d.y
}

// Cross is ∇²xy v [p]: C v for the lower objective.
func (p *Point) Cross(v *tensor.Node) *tensor.Node {
	d := p.along(p.seconds, p.y, v)
	ask(&d.askedX, &p.o.Counts.JVP)
	return d.x
}

// CrossT is ∇²yx u [q]: Cᵀu for the lower objective.
func (p *Point) CrossT(u *tensor.Node) *tensor.Node {
	d := p.along(p.transposed, p.x, u)
	ask(&d.askedY, &p.o.Counts.JVP)
	return d.y
}
