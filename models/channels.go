package models

import (
	"fmt"
	"slices"

	"bilevel/models/params"
)

// wiring follows the channels of a network from the layers that make them to those that read them. Channels that are
// added to one another are the same one: all layers that add to a residual stream make the channels of the stream.
type wiring struct {
	same  []int // a channel's representative, or one that leads to it
	slots []wired
	fixed []int // channels that cannot be left out: the pixels' and the classes'
	// left is the number that is left of channels; nil: all of them.
	left func(channels []int) int
}

// wired is an axis of an array along which channels lie.
type wired struct {
	params.Slot
	state    bool
	channels []int
}

// channels makes new ones.
func (w *wiring) channels(n int) (list []int) {
	for range n {
		list = append(list, len(w.same))
		w.same = append(w.same, len(w.same))
	}
	return list
}

// of is a channel's representative.
func (w *wiring) of(channel int) int {
	for w.same[channel] != channel {
		channel = w.same[channel]
	}
	return channel
}

// join makes channels that are added the same ones: the representative is the one that was made first.
func (w *wiring) join(a, b []int) {
	for i := range a {
		x, y := w.of(a[i]), w.of(b[i])
		w.same[max(x, y)] = min(x, y)
	}
}

// makes and reads note an axis of an array along which channels lie.
func (w *wiring) makes(array string, axis int, channels []int) {
	w.slots = append(w.slots, wired{params.Slot{Array: array, Axis: axis, Output: true}, false, channels})
}

func (w *wiring) reads(array string, axis int, channels []int) {
	w.slots = append(w.slots, wired{params.Slot{Array: array, Axis: axis}, false, channels})
}

// remains is the number of channels that are left.
func (w *wiring) remains(channels []int) int {
	if w.left == nil {
		return len(channels)
	}
	return w.left(channels)
}

// all goes through layers one after the other.
func (w *wiring) all(layers []layer, in []int) (out []int, smaller []layer) {
	for _, l := range layers {
		in, l = l.wire(w, in)
		smaller = append(smaller, l)
	}
	return in, smaller
}

func (c conv) wire(w *wiring, in []int) ([]int, layer) {
	out := w.channels(c.outputs)
	w.makes(c.name+".weight", 3, out)
	if c.bias {
		w.makes(c.name+".bias", 0, out)
	}
	if c.groupCount() == 1 {
		w.reads(c.name+".weight", 2, in)
	} else { // its groups would have to stay of one size
		w.fixed = append(append(w.fixed, in...), out...)
	}
	c.outputs = w.remains(out)
	return out, c
}

func (n norm) wire(w *wiring, in []int) ([]int, layer) {
	w.makes(n.name+".weight", 0, in)
	w.makes(n.name+".bias", 0, in)
	for _, name := range []string{runningMean, runningVar} {
		w.slots = append(w.slots, wired{params.Slot{Array: n.name + name, Output: true}, true, in})
	}
	return in, n
}

func (r relu) wire(_ *wiring, in []int) ([]int, layer) { return in, r }

func (m maxPool) wire(_ *wiring, in []int) ([]int, layer) { return in, m }

func (m mean) wire(_ *wiring, in []int) ([]int, layer) { return in, m }

// A map of several pixels has its channels again and again along the weights' inputs.
func (l linear) wire(w *wiring, in []int) ([]int, layer) {
	out := w.channels(l.outputs)
	w.makes(l.name+".weight", 0, out)
	w.makes(l.name+".bias", 0, out)
	w.slots = append(w.slots, wired{params.Slot{Array: l.name + ".weight", Axis: 1, Period: len(in)}, false, in})
	l.outputs = w.remains(out)
	return out, l
}

// The channels of zeros become those that are added to them.
func (n narrow) wire(w *wiring, in []int) ([]int, layer) {
	before, after := w.channels(n.before), w.channels(n.after)
	n.before, n.after = w.remains(before), w.remains(after)
	return slices.Concat(before, in, after), n
}

func (r residual) wire(w *wiring, in []int) ([]int, layer) {
	from, first := w.all(r.body[:r.shared], in)
	out, rest := w.all(r.body[r.shared:], from)
	if len(r.shortcut) == 0 {
		from = in
	}
	beside, shortcut := w.all(r.shortcut, from)
	w.join(out, beside)
	return out, residual{append(first, rest...), shortcut, r.shared}
}

// wire goes through the whole network.
func (n Network) wire(w *wiring) (smaller []layer) {
	in := w.channels(n.image.Channels)
	out, smaller := w.all(n.layers, in)
	w.fixed = append(append(w.fixed, in...), out...)
	return smaller
}

// channelGroup is channels that lie side by side in the same order wherever they are, and so make one group of units.
type channelGroup struct {
	params.Units
	members []int // representatives
}

// groups are the channels that can be left out, those together that lie together: along one slot after the other,
// neighbours that are in the same places of all slots.
func (w *wiring) groups() (list []channelGroup) {
	type place struct{ slot, at int }
	places := map[int][]place{} // of a representative
	var order []int
	for i, s := range w.slots {
		for at, c := range s.channels {
			c = w.of(c)
			if places[c] == nil {
				order = append(order, c)
			}
			places[c] = append(places[c], place{i, at})
		}
	}
	fixed := map[int]bool{}
	for _, c := range w.fixed {
		fixed[w.of(c)] = true
	}
	follows := func(a, b []place) bool {
		return slices.EqualFunc(a, b, func(x, y place) bool { return x.slot == y.slot && x.at+1 == y.at })
	}
	for i, c := range order {
		if fixed[c] {
			continue
		}
		if i == 0 || fixed[order[i-1]] || !follows(places[order[i-1]], places[c]) {
			list = append(list, channelGroup{})
		}
		g := &list[len(list)-1]
		g.members = append(g.members, c)
	}
	for i := range list {
		g := &list[i]
		g.Count = len(g.members)
		for _, p := range places[g.members[0]] {
			s := w.slots[p.slot]
			s.From = p.at
			to := &g.Slots
			if s.state {
				to = &g.State
			}
			*to = append(*to, s.Slot)
		}
		first := w.slots[places[g.members[0]][0].slot]
		g.Name = LayerOf(params.Array{Name: first.Array})
		if from := g.Slots[0].From; g.Count < len(first.channels) {
			g.Name = fmt.Sprintf("%s[%d:%d]", g.Name, from, from+g.Count)
		}
	}
	return list
}

// Units are the channels of the network's maps that can be left out, and the neurons of linear maps between others, in
// groups. A channel of a residual stream is made by all convolutions that add to the stream, and goes with the filters,
// the biases and the normalizations of all of them; what reads it is a slice of each convolution or linear map behind.
// Where a shortcut adds channels of zeros, the stream goes on through it. The classes and the channels of the image are
// no units.
func (n Network) Units() (list []params.Units) {
	w, l := &wiring{}, n.Params()
	n.wire(w)
	for _, g := range w.groups() {
		for i, s := range g.Slots {
			if a, err := l.Find(s.Array); err == nil && a.Shape[s.Axis] == s.Period {
				g.Slots[i].Period = 0 // of a map of one pixel
			}
		}
		list = append(list, g.Units)
	}
	return list
}

// WithUnits is the network with so many channels in each group.
func (n Network) WithUnits(counts []int) (Model, error) {
	w := &wiring{}
	n.wire(w)
	groups := w.groups()
	if len(counts) != len(groups) {
		return nil, fmt.Errorf("%d numbers for the %d groups of channels of %s: wants one for each", len(counts),
			len(groups), n.name)
	}
	kept := map[int]bool{} // of the representatives that are in groups
	for i, g := range groups {
		if counts[i] < 1 || counts[i] > g.Count {
			return nil, fmt.Errorf("%d channels in the group %s of %s: wants 1 to %d", counts[i], g.Name, n.name,
				g.Count)
		}
		for j, c := range g.members {
			kept[c] = j < counts[i]
		}
	}
	again := &wiring{left: func(channels []int) (left int) {
		for _, c := range channels { // numbered as the first time
			if keep, ok := kept[w.of(c)]; keep || !ok {
				left++
			}
		}
		return left
	}}
	n.layers, n.counts = n.wire(again), slices.Clone(counts)
	return n, n.Check()
}

// Counts are the channels in each group of a network that WithUnits made, nil of one as its name says.
func (n Network) Counts() []int { return n.counts }

var _ Shrinkable = Network{}
