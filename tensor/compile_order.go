package tensor

import (
	"container/heap"
	"slices"
)

// The order of the steps decides how much memory a program needs. A value takes memory from the step that computes it
// to the last one that reads it. In the gradient of a network of three layers,
//
//	h1 = relu(x·W1)   h2 = relu(h1·W2)   h3 = relu(h2·W3)   g3 = loss'(h3)
//	dW3 = h2ᵀ·g3      g2 = (g3·W3ᵀ)∘(h2>0)
//	dW2 = h1ᵀ·g2      g1 = (g2·W2ᵀ)∘(h1>0)
//	dW1 = xᵀ·g1
//
// the order g3, g2, g1, dW3, dW2, dW1 holds every h and every g at the end: two activations a layer. Line by line, as
// written here, each dW is the last to read its g, and the g after it the last to read its h: where g appears, an h
// and a g go, and one activation a layer is enough.
//
// To find an order of least memory is NP-hard. List scheduling is the usual approximation: of the steps whose inputs
// are ready, take the one after which the least memory is in use, that is, the one with the smallest
//
//	growth = elements that it takes − elements that it is the last to use.
//
// At g3 above, dW3 (growth 0) comes before g2 (growth +1), and then g2 has growth −1: it is the last to read g3 and
// h2. Three rules complete it.
//
//   - What stays to the end, and what several steps write parts of (a flat gradient), is there anyway: it counts as
//     0.
//   - A step that reads nothing computed here begins something new: another minibatch, for example. It waits until
//     nothing else can go on, so that the network on one batch is done with before the network on the next takes
//     memory. Such a step that takes nothing is free.
//   - Of equals, the step first in the order of the graph.
//
// A step's growth changes only when it becomes the last user of a value; it then enters the queue of choices a second
// time. So ordering takes n log n for n steps and what they read.

// scheduler lists steps in an order that needs little memory.
type scheduler struct {
	after   [][]int         // the steps that read what a step writes
	missing []int           // the number of steps that a step waits for
	starts  []bool          // a step reads nothing that another one writes
	uses    [][]*Node       // the values in the arena that a step reads or writes, by the node that owns the memory
	pending map[*Node]users // of a value, those that have not been listed
	size    map[*Node]int   // elements that come free after the last use; 0 for what stays to the end
	maker   map[*Node]int   // the only step that writes a value, which thereby takes its memory
	listed  []bool
	queue   choiceHeap
	visited int // entries to the queue, the measure of the work
}

// users counts steps and adds up their numbers, so that the last one left is known without a list.
type users struct{ count, sum int }

// choice is a step that may come next.
type choice struct {
	step   int
	growth int
	starts bool // it begins something new and takes memory
}

// choiceHeap is a heap, the best choice on top.
type choiceHeap []choice

func (c choiceHeap) Len() int { return len(c) }

func (c choiceHeap) Less(i, j int) bool {
	a, b := c[i], c[j]
	switch {
	case a.starts != b.starts:
		return b.starts
	case a.growth != b.growth:
		return a.growth < b.growth
	}
	return a.step < b.step
}

func (c choiceHeap) Swap(i, j int) { c[i], c[j] = c[j], c[i] }
func (c *choiceHeap) Push(x any)   { *c = append(*c, x.(choice)) }

func (c *choiceHeap) Pop() any {
	last := (*c)[len(*c)-1]
	*c = (*c)[:len(*c)-1]
	return last
}

// order lists the planner's steps anew, so that less memory is in use at a time.
func (p *planner) order() []step {
	n := len(p.steps)
	s := &scheduler{
		after: make([][]int, n), missing: make([]int, n), starts: make([]bool, n), uses: make([][]*Node, n),
		pending: map[*Node]users{}, size: map[*Node]int{}, maker: map[*Node]int{}, listed: make([]bool, n),
	}
	s.connect(p)
	for r := range p.roots { // they stay to the end
		h, _ := p.home(r)
		s.size[h] = 0
	}
	for i, missing := range s.missing {
		if s.starts[i] = missing == 0; s.starts[i] {
			s.offer(i)
		}
	}
	out := make([]step, 0, n)
	for s.queue.Len() > 0 {
		if c := heap.Pop(&s.queue).(choice); !s.listed[c.step] {
			out = append(out, p.steps[c.step])
			s.list(c.step)
		}
	}
	p.visited = s.visited
	return out
}

// connect finds out who waits for whom and who uses what.
func (s *scheduler) connect(p *planner) {
	writers := make(map[*Node][]int) // of a value or of any part of it
	for i, st := range p.steps {
		for _, o := range st.out {
			for n := o.store; n != nil; n = p.places[n].in {
				writers[n] = append(writers[n], i)
			}
		}
	}
	for i, st := range p.steps {
		var waits []int
		for _, in := range st.in {
			waits = append(waits, writers[in.store]...)
		}
		slices.Sort(waits)
		waits = slices.Compact(waits)
		s.missing[i] = len(waits)
		for _, w := range waits {
			s.after[w] = append(s.after[w], i)
		}
		for _, h := range p.touched(st) {
			if len(writers[h]) > 0 {
				s.uses[i] = append(s.uses[i], h)
				s.pending[h] = users{s.pending[h].count + 1, s.pending[h].sum + i}
			}
		}
	}
	for h, w := range writers {
		s.size[h] = h.Size()
		if len(w) == 1 {
			s.maker[h] = w[0]
		}
	}
}

// offer puts a step among the choices.
func (s *scheduler) offer(i int) {
	growth := 0
	for _, h := range s.uses[i] {
		if maker, ok := s.maker[h]; ok && maker == i {
			growth += s.size[h]
		}
		if s.pending[h].count == 1 {
			growth -= s.size[h]
		}
	}
	s.visited++
	heap.Push(&s.queue, choice{i, growth, s.starts[i] && growth > 0})
}

// list notes that a step has its place.
func (s *scheduler) list(i int) {
	s.listed[i] = true
	for _, h := range s.uses[i] {
		left := users{s.pending[h].count - 1, s.pending[h].sum - i}
		s.pending[h] = left
		if left.count == 1 && s.missing[left.sum] == 0 {
			s.offer(left.sum) // it frees more than it did
		}
	}
	for _, j := range s.after[i] {
		if s.missing[j]--; s.missing[j] == 0 {
			s.offer(j)
		}
	}
}
