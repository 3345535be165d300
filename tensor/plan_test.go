package tensor

import (
	"fmt"
	"hash/fnv"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device"
	"bilevel/device/null"
)

// The plan checker executes programs on provenance instead of numbers: an element holds a hash of the instruction
// that computed it and of everything this instruction read; Copy moves hashes. The steps before planning, where
// every value has memory of its own, and the planned program, where memory is shared and reused, must leave the same
// hashes in the variables. So a read of an element that was overwritten, or never written, shows, even where the
// number does not matter.

type trace uint64

// memory holds traces; what is not there yet is unique to its place.
type memory map[string]trace

func (m memory) at(place string, i int) trace {
	key := fmt.Sprint(place, " ", i)
	if t, ok := m[key]; ok {
		return t
	}
	return hash(key)
}

func (m memory) set(place string, i int, t trace) { m[fmt.Sprint(place, " ", i)] = t }

func hash(parts ...any) trace {
	h := fnv.New64a()
	fmt.Fprint(h, parts...)
	return trace(h.Sum64())
}

// offsets are the places of a view's elements, in order.
func offsets(v device.View) (at []int) {
	each(v.Shape, func(idx []int) {
		p := v.Off
		for a, i := range idx {
			p += i * v.Strides[a]
		}
		at = append(at, p)
	})
	return at
}

// execute runs one instruction on traces. place names the memory that a view is in.
func (m memory) execute(op device.Op, attr device.Attr, in, out []device.View, place func(device.View) string) {
	var read []trace
	for _, v := range in {
		for _, i := range offsets(v) {
			read = append(read, m.at(place(v), i))
		}
	}
	if op == device.Copy {
		for k, i := range offsets(out[0]) {
			m.set(place(out[0]), i, read[k])
		}
		return
	}
	// An expression is known by its address, which planning does not change.
	all := hash(op, fmt.Sprintf("%v", attr), read)
	for j, v := range out {
		for k, i := range offsets(v) {
			m.set(place(v), i, hash(all, j, k))
		}
	}
}

// unplanned executes steps with memory of its own for each value, and gives the traces of the roots.
func unplanned(steps []step, roots []*Node) (out [][]trace) {
	m := memory{}
	var stores []*Node
	views := func(refs []ref) (v []device.View) {
		for _, r := range refs {
			stores = append(stores, r.store)
			v = append(v, r.view(len(stores)-1, 0))
		}
		return v
	}
	place := func(v device.View) string { return nameOf(stores[v.Buf]) }
	for _, s := range steps {
		m.execute(s.op, s.attr, views(s.in), views(s.out), place)
	}
	for _, r := range roots {
		var t []trace
		for i := range r.Size() {
			t = append(t, m.at(nameOf(r), i))
		}
		out = append(out, t)
	}
	return out
}

func nameOf(n *Node) string {
	switch n.op {
	case opVar:
		return fmt.Sprintf("var %p", n.v.buf)
	case opConst:
		return fmt.Sprint("const ", n.num)
	}
	return fmt.Sprintf("node %p", n)
}

// planned executes a program on its buffers, and gives the traces of the variables. Constants are known by value.
func planned(f *Function, updates []Update, constants map[int]float64) (out [][]trace) {
	m := memory{}
	place := func(v device.View) string {
		b := f.prog.Buffers[v.Buf]
		if c, ok := constants[v.Off]; ok && b.Type() == Real && len(f.arenas) > 0 && b == f.arenas[len(f.arenas)-1] {
			return fmt.Sprint("const ", c)
		}
		return fmt.Sprintf("var %p", b)
	}
	for i := range f.prog.Code {
		in := &f.prog.Code[i]
		m.execute(in.Op, in.Attr, in.In, in.Out, place)
	}
	for _, u := range updates {
		var t []trace
		for i := range u.Var.Size() {
			t = append(t, m.at(fmt.Sprintf("var %p", u.Var.buf), i))
		}
		out = append(out, t)
	}
	return out
}
