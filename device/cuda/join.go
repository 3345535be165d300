package cuda

import (
	"cmp"
	"slices"

	"bilevel/device"
	"bilevel/device/cuda/emit"
	"bilevel/kernels"
)

// A graph of many small kernels is bound by their launches. Small ones are therefore joined (emit.Joint):
//
//   - Kernels of a few blocks that follow one another become steps of one block. A stochastic algorithm has many:
//     what it does with the 64 rows of a minibatch takes a card less time than to begin.
//   - Kernels that do not depend on one another and together have no more blocks than the card has multiprocessors
//     become one, their blocks side by side.
//   - Steps that wait for the blocks of one kernel alone are done by the last of these.
//
// Every kernel gets a level, which is above the levels of those it waits for; only a step may stand on the level of
// another step, after it. What is joined has one level, so that no kernel ends up waiting for itself, and no chain of
// kernels is longer than there are levels.

// A piece is a launch of a program that is to become a node of its graph, or a part of one.
type piece struct {
	kernels.Launch
	instr int
	text  string
	after []int // pieces
	small bool  // it may be a step

	level, step int // step -1: its blocks are a kernel's own
}

const (
	fewBlocks = 8 // of a step: two for each group of threads
	tailBlock = 2 // of a step that the last block of a kernel does
	// fewElements is how many an instruction may touch whose kernels are steps: 128 KB, which one multiprocessor reads
	// in about the time that a kernel takes to begin.
	fewElements = 1 << 15
)

// touched counts the elements that an instruction reads and writes, repeated ones once. Of a table, that is what it
// looks up there.
func touched(in *device.Instr) int {
	n := 0
	for _, v := range slices.Concat(in.In, in.Out) {
		if (in.Op == device.Gather || in.Op == device.ScatterAdd && in.In[0].Same(in.Out[0])) && v.Same(in.In[0]) {
			continue
		}
		elements := 1
		for a, d := range v.Shape {
			if d == 0 || v.Strides[a] > 0 {
				elements *= d
			}
		}
		n += elements
	}
	return n
}

// A joint is what becomes a node: pieces, by number.
type joint struct {
	beside []int
	steps  [][]int
	level  int
}

func (j *joint) pieces() []int { return append(slices.Clone(j.beside), slices.Concat(j.steps...)...) }

// joints says what is joined, in an order in which nothing waits for what comes later.
func joints(pieces []piece, processors int) []joint {
	for i := range pieces {
		pieces[i].place(pieces)
	}
	sink(pieces)
	levels := 0
	for i := range pieces {
		levels = max(levels, pieces[i].level+1)
	}
	var list []joint
	for level := range levels {
		list = append(list, besides(pieces, level, processors)...)
		if steps := stepsOf(pieces, level); len(steps) > 0 {
			list = append(list, joint{steps: steps, level: level})
		}
	}
	return tails(pieces, list)
}

// place gives a piece its level, those before it having theirs.
func (p *piece) place(pieces []piece) {
	p.step = -1
	for _, a := range p.after {
		p.level = max(p.level, pieces[a].level)
	}
	for _, a := range p.after {
		if q := &pieces[a]; q.level == p.level && (!p.small || q.step < 0) {
			p.level++
			break
		}
	}
	if p.small {
		p.step = 0
		for _, a := range p.after {
			if q := &pieces[a]; q.level == p.level {
				p.step = max(p.step, q.step+1)
			}
		}
	}
}

// sink moves all steps of a level to a later level that has steps already, where nothing waits for them before.
func sink(pieces []piece) {
	latest := map[int]int{} // by level with steps: the last one where its steps may be
	for i := range pieces {
		if p := &pieces[i]; p.small {
			if _, seen := latest[p.level]; !seen {
				latest[p.level] = len(pieces)
			}
		}
	}
	for i := range pieces {
		for _, a := range pieces[i].after {
			if p, q := &pieces[a], &pieces[i]; p.small && !(q.small && q.level == p.level) {
				last := q.level
				if !q.small {
					last--
				}
				latest[p.level] = min(latest[p.level], last)
			}
		}
	}
	for level := range len(pieces) {
		last, has := latest[level]
		if !has {
			continue
		}
		for to := level + 1; to <= last && to < len(pieces); to++ {
			if _, has := latest[to]; !has {
				continue
			}
			for i := range pieces {
				if p := &pieces[i]; p.small && p.level == level {
					p.level = to
				}
			}
			latest[to] = min(latest[to], max(last, to))
			delete(latest, level)
			break
		}
	}
	for i := range pieces { // steps of a level anew
		if p := &pieces[i]; p.small {
			p.step = 0
			for _, a := range p.after {
				if q := &pieces[a]; q.level == p.level {
					p.step = max(p.step, q.step+1)
				}
			}
		}
	}
}

// besides joins the pieces of a level that are no steps, as long as all blocks find a multiprocessor each.
func besides(pieces []piece, level, processors int) []joint {
	var list []joint
	var blocks, threads []int
	for i := range pieces {
		p := &pieces[i]
		if p.level != level || p.step >= 0 {
			continue
		}
		n := size(p.Grid)
		k := 0
		for k < len(list) && (threads[k] != size(p.Block) || blocks[k]+n > processors || p.Shared > 0) {
			k++
		}
		if k == len(list) {
			list, blocks, threads = append(list, joint{level: level}), append(blocks, 0), append(threads, size(p.Block))
		}
		list[k].beside = append(list[k].beside, i)
		blocks[k] += n
	}
	for k := range list {
		alike(pieces, list[k].beside)
	}
	return list
}

// stepsOf lists the steps of a level.
func stepsOf(pieces []piece, level int) (steps [][]int) {
	for i := range pieces {
		if p := &pieces[i]; p.level == level && p.step >= 0 {
			for len(steps) <= p.step {
				steps = append(steps, nil)
			}
			steps[p.step] = append(steps[p.step], i)
		}
	}
	for _, s := range steps {
		alike(pieces, s)
	}
	return steps
}

// alike brings pieces of one kernel together.
func alike(pieces []piece, list []int) {
	slices.SortStableFunc(list, func(a, b int) int {
		p, q := &pieces[a], &pieces[b]
		return cmp.Or(cmp.Compare(p.Entry, q.Entry), slices.Compare(p.Grid[:], q.Grid[:]))
	})
}

// tails gives the steps of a level to the kernel of the level before that they wait for, where it is one alone and they
// are short.
func tails(pieces []piece, list []joint) []joint {
	at := make([]int, len(pieces)) // the joint of each piece
	for k := range list {
		for _, i := range list[k].pieces() {
			at[i] = k
		}
	}
	for k := range list {
		j := &list[k]
		if len(j.beside) > 0 {
			continue
		}
		to, fits := -1, true
		for _, i := range j.pieces() {
			fits = fits && size(pieces[i].Grid) <= tailBlock
			for _, a := range pieces[i].after {
				if of := at[a]; of != k && list[of].level == j.level-1 {
					fits = fits && (to < 0 || to == of)
					to = of
				}
			}
		}
		if to < 0 || !fits || len(list[to].beside) == 0 || len(list[to].steps) > 0 ||
			size(pieces[list[to].beside[0]].Block) != emit.StepThreads {
			continue
		}
		list[to].steps = j.steps
		for _, i := range j.pieces() {
			at[i] = to
		}
		j.steps = nil
	}
	return slices.DeleteFunc(list, func(j joint) bool { return len(j.beside) == 0 && len(j.steps) == 0 })
}

func size(n [3]int) int { return n[0] * n[1] * n[2] }

// separate lists the pieces of a joint as joints of their own.
func (j *joint) separate() (list []joint) {
	for _, i := range j.pieces() {
		list = append(list, joint{beside: []int{i}})
	}
	return list
}

// kernel makes the joint's kernel; nil where it is a single piece, which has one, or where its pieces cannot be joined.
func (j *joint) kernel(pieces []piece) *emit.Joined {
	if len(j.pieces()) == 1 {
		return nil
	}
	parts := func(list []int) (parts []emit.Part) {
		for _, i := range list {
			parts = append(parts, emit.Part{Launch: pieces[i].Launch, Text: pieces[i].text})
		}
		return parts
	}
	e := emit.Joint{Name: "joined", Beside: parts(j.beside)}
	for _, s := range j.steps {
		e.Steps = append(e.Steps, parts(s))
	}
	k, err := emit.Join(e)
	if err != nil {
		return nil
	}
	return k
}
