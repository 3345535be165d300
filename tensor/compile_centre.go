package tensor

import (
	"slices"

	"bilevel/device"
	"bilevel/internal/expr"
)

// centre is n minus its mean over the axes given: the projection P onto what sums to zero over them. It is a node of
// its own until derivatives have been taken, because the compiler knows more of it than of a difference:
//
//	P(a + b) = P(a) + P(b)      P(c ⊙ a) = c ⊙ P(a) where c is the same along the axes
//	P(P(a)) = P(a)              P(c) = 0
//	Σ P(a) = 0                  Σ P(a) ⊙ P(b) = Σ P(a) ⊙ b
//
// P is its own adjoint, so the gradient of a batch normalization y = s ⊙ P(x) + b is P(s ⊙ g + k ⊙ P(x)), with k from
// the variance, which these rules turn into s ⊙ P(g) + k ⊙ P(x): two sums, Σ g and Σ g ⊙ P(x), in one pass over memory.
// Written as x - Σ x/n it would take a second pass to add up s ⊙ g + k ⊙ P(x).
func (n *Node) centre(axes ...int) *Node {
	return inherit(n, newNode(Node{op: opCentre, typ: Real, shape: n.shape, in: []*Node{n}, ints: slices.Clone(axes)}))
}

// composeCentre writes a centred node as a difference; differentiation is over then.
func composeCentre(n *Node) *Node {
	return n.in[0].Sub(n.in[0].meanKeep(n.ints))
}

// centring applies the rules of centre, once equal nodes are one: a projection must be known where it is met again.
func centring(outs []*Node) []*Node {
	found := false
	walk(outs, func(n *Node) { found = found || n.op == opCentre })
	if !found {
		return outs
	}
	return rewrite(cse(outs), func(_, n *Node) *Node {
		switch {
		case n.op == opCentre:
			return projection{n.ints}.of(n.in[0])
		case n.op == opReduce && n.kind == device.Sum && len(n.ints) > 0:
			return projection{n.ints}.sum(n)
		}
		return n
	})
}

// projection is P over some axes.
type projection struct{ axes []int }

// of is P(n).
func (p projection) of(n *Node) *Node {
	if p.holds(n) {
		return n
	}
	if p.constant(n) {
		return Zeros(n.shape...)
	}
	if i, ok := p.factor(n); ok {
		in := slices.Clone(n.in)
		in[i] = p.of(in[i])
		return n.with(in)
	}
	if sums(n) && p.apart(n.in[0], n.in[1]) {
		return n.with([]*Node{p.of(n.in[0]), p.of(n.in[1])})
	}
	return n.centre(p.axes...)
}

// apart says whether the projections of two addends had better be taken one by one: where one of them costs nothing, or
// where both have factors that come out of them, since the sums of what is left are most often known.
func (p projection) apart(a, b *Node) bool {
	free := func(n *Node) bool { return p.holds(n) || p.constant(n) }
	scaled := func(n *Node) bool {
		_, ok := p.factor(n)
		return ok
	}
	return free(a) || free(b) || scaled(a) && scaled(b)
}

// holds says whether P(n) = n by the form of n.
func (p projection) holds(n *Node) bool {
	if n.op == opCentre {
		return slices.Equal(n.ints, p.axes)
	}
	if i, ok := p.factor(n); ok {
		return p.holds(n.in[i])
	}
	return sums(n) && p.holds(n.in[0]) && p.holds(n.in[1])
}

// sum simplifies a sum over the axes of P.
func (p projection) sum(n *Node) *Node {
	a := n.in[0]
	if p.holds(a) {
		return Zeros(n.shape...)
	}
	if sums(a) {
		for i := range a.in {
			if p.holds(a.in[i]) {
				rest := p.sum(a.in[1-i].SumKeep(p.axes...))
				if i == 0 && a.fn == expr.Sub {
					rest = rest.Neg()
				}
				return rest
			}
		}
	}
	if multiplies(a) && a.fn == expr.Mul && p.holds(a.in[0]) && p.holds(a.in[1]) {
		return p.sumOfProduct(n)
	}
	return n
}

// sumOfProduct is Σ P(a) ⊙ P(b) without one of the two projections: that of the deeper factor, whose mean would have to
// be known before. In Σ P(a)² both stay, since the sum of a variance loses digits without them.
func (p projection) sumOfProduct(n *Node) *Node {
	in := slices.Clone(n.in[0].in)
	deeper := 0
	if in[1].depth > in[0].depth {
		deeper = 1
	}
	core, other := p.core(in[deeper]), p.core(in[1-deeper])
	if core == nil || core == other {
		return n
	}
	in[deeper] = p.without(in[deeper])
	return n.with([]*Node{n.in[0].with(in)})
}

// core is the centred node under factors that are the same along the axes, nil where there is none.
func (p projection) core(n *Node) *Node {
	for n.op != opCentre {
		i, ok := p.factor(n)
		if !ok {
			return nil
		}
		n = n.in[i]
	}
	return n
}

// without is n with its core's argument in place of the core.
func (p projection) without(n *Node) *Node {
	if n.op == opCentre {
		return n.in[0]
	}
	i, _ := p.factor(n)
	in := slices.Clone(n.in)
	in[i] = p.without(in[i])
	return n.with(in)
}

// factor says of a product, a quotient or a negative which argument is multiplied by what is the same along the axes.
func (p projection) factor(n *Node) (argument int, ok bool) {
	switch {
	case n.op == opElem && n.fn == expr.Neg:
		return 0, true
	case !multiplies(n):
		return 0, false
	case p.constant(n.in[1]):
		return 0, true
	}
	return 1, n.fn == expr.Mul && p.constant(n.in[0])
}

// constant says whether n is the same along the axes by its form.
func (p projection) constant(n *Node) bool {
	switch n.op {
	case opConst:
		return true
	case opExpand:
		lead := len(n.shape) - len(n.in[0].shape)
		return !slices.ContainsFunc(p.axes, func(a int) bool {
			return a >= lead && n.in[0].shape[a-lead] != 1 && n.shape[a] != 1
		})
	}
	return false
}

// multiplies says whether a node is a product or quotient, with or without guards.
func multiplies(n *Node) bool {
	return (n.op == opElem || n.op == opGuarded) && (n.fn == expr.Mul || n.fn == expr.Div)
}

// sums says whether a node is a sum or difference.
func sums(n *Node) bool { return n.op == opElem && (n.fn == expr.Add || n.fn == expr.Sub) }
