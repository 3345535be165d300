package tensor

import (
	"maps"
	"math"
	"slices"

	"bilevel/device"
)

// updates chooses new values for the variables, and fresh variables for some of the nodes.
func (g *generator) updates() []Update {
	var out []Update
	seen := map[*Variable]bool{}
	update := func(v *Variable, n *Node) {
		if !seen[v] && n != nil && slices.Equal(n.shape, v.shape) && n.typ == v.typ {
			seen[v] = true
			out = append(out, Update{v, n})
		}
	}
	for _, v := range g.vars {
		x := v.Node()
		same := g.fitting(x, func(n *Node) bool { return slices.Equal(n.shape, v.shape) })
		switch g.r.IntN(8) {
		case 0: // a node, perhaps another variable's
			update(v, same)
		case 1:
			for _, w := range g.vars { // a swap
				if w != v && w.typ == v.typ && slices.Equal(w.shape, v.shape) {
					update(v, w.Node())
					update(w, x)
				}
			}
		case 2:
			if v.typ == Real {
				y := g.node(Real, false).Sum().Scale(0.1).Sin()
				update(v, x.Sub(Grad(y, x)[0].Scale(0.1)))
			}
		case 3: // windows and constants
			if v.typ == Real {
				update(v, Zeros(v.shape...))
			}
		case 4:
			fit := g.fitting(x, func(n *Node) bool { return n.Size() == v.Size() })
			update(v, fit.Reshape(v.shape...))
		case 5: // rows added to each other
			if len(v.shape) > 0 && v.typ == Real {
				index := Iota(0, v.shape[0]).ToReal().Scale(0.5).ToInt()
				update(v, ScatterAdd(pick(g, []*Node{x, same}), index, pick(g, []*Node{x, same})))
			}
		case 6:
			if v.typ == Int {
				update(v, x.Add(IntConst(1)))
			} else {
				update(v, x.Scale(0.5).Add(same.Scale(0.25)))
			}
		}
	}
	old := len(g.vars)
	for _, n := range g.nodes[old:] {
		if g.r.IntN(3) == 0 {
			update(g.variable(n.typ, n.shape), n)
		}
		if g.r.IntN(12) == 0 {
			update(g.variable(n.typ, n.shape), n)
		}
	}
	if len(out) == 0 {
		n := g.nodes[len(g.nodes)-1]
		update(g.variable(n.typ, n.shape), n)
	}
	return out
}

// repetition is what one repetition does to the state; ok is false where numbers explode.
func repetition(state map[*Variable]array, updates []Update) (next map[*Variable]array, ok bool) {
	it := newInterpreter(state)
	next, ok = maps.Clone(state), true
	for _, u := range updates {
		ok = ok && it.small(u.Value)
		next[u.Var] = it.eval(u.Value)
		for _, k := range next[u.Var].ints {
			ok = ok && k > -1e6 && k < 1e6
		}
	}
	return next, ok
}

// poisoned fills what it hands out with NaN and with integers that are no index, so that a read of memory that
// nobody wrote shows.
type poisoned struct{ device.Device }

func (p poisoned) Alloc(t Type, n int) (device.Buffer, error) {
	b, err := p.Device.Alloc(t, n)
	if err != nil {
		return nil, err
	}
	junk := device.HostSlice{}
	if t == Int {
		junk.I32 = slices.Repeat([]int32{math.MinInt32}, n)
	} else {
		junk.F64 = slices.Repeat([]float64{math.NaN()}, n)
	}
	return b, p.Device.Upload(b, 0, junk)
}
