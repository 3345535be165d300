package cuda

import (
	"encoding/binary"
	"slices"

	"bilevel/device/cuda/driver"
	"bilevel/device/cuda/emit"
	"bilevel/kernels"
)

// graphing makes the nodes of a program's graph.
type graphing struct {
	*runner
	steps   []step
	scratch []int64 // where that of each step begins
	first   []int   // counter of each step
	pieces  []piece
	parts   []part
	node    []int // of each piece
	nodes   []driver.Node
	instrs  []int    // the instruction that each node begins with
	before  [][]bool // before[n][m]: node m is over when node n begins
}

// A part is what becomes a node of the graph: a piece, or several that are joined.
type part struct {
	joint
	joined *emit.Joined // nil for a piece
	first  int          // counter
}

// nodes are the kernels of all steps, joined; instrs says which instruction each of them begins with.
func (r *runner) nodes(steps []step, scratch []int64) (nodes []driver.Node, instrs []int, err error) {
	g := &graphing{runner: r, steps: steps, scratch: scratch}
	if g.pieces, err = r.pieces(steps); err != nil {
		return nil, nil, r.device.failed(err)
	}
	if err := r.takeCounters(g.join()); err != nil {
		return nil, nil, err
	}
	g.node = make([]int, len(g.pieces))
	r.entries = make([][]string, len(steps))
	for i := range g.parts {
		if err := g.add(&g.parts[i]); err != nil {
			return nil, nil, r.device.failed(err)
		}
	}
	return g.nodes, g.instrs, nil
}

// join makes the parts, and counts the counters of all.
func (g *graphing) join() (counters int) {
	for _, s := range g.steps {
		g.first = append(g.first, counters)
		counters += s.Counters
	}
	for _, j := range joints(g.pieces, g.device.card.Processors) {
		if k := j.kernel(g.pieces); k != nil {
			g.parts = append(g.parts, part{j, k, counters})
			counters += k.Counters
			continue
		}
		for _, alone := range j.separate() {
			g.parts = append(g.parts, part{joint: alone})
		}
	}
	return counters
}

// add makes the next node.
func (g *graphing) add(p *part) error {
	list := p.joint.pieces()
	begin := &g.pieces[list[0]]
	var args [][][]byte
	for _, i := range list {
		of := &g.pieces[i]
		a, err := g.arguments(&g.steps[of.instr], &of.Launch, g.scratch[of.instr], g.first[of.instr])
		if err != nil {
			return err
		}
		args = append(args, a)
	}
	l, text := begin.Launch, begin.text
	node := driver.Node{Launch: driver.Launch{Grid: l.Grid, Block: l.Block, Shared: l.Shared, Args: args[0]}}
	if k := p.joined; k != nil {
		l, text = kernels.Launch{Module: k.Entry, Entry: k.Entry}, k.Text
		node.Launch = driver.Launch{
			Grid: [3]int{k.Blocks, 1, 1}, Block: [3]int{k.Threads, 1, 1}, Args: k.Arguments(args),
		}
		if k.Counters > 0 {
			node.Args = append(node.Args, binary.LittleEndian.AppendUint64(nil, uint64(g.counter(p.first))))
		}
	}
	err := g.device.card.Check(node.Launch)
	if err == nil {
		node.Function, err = g.device.function(g.runner, &l, text)
	}
	if err != nil {
		return g.explain(begin.instr, l.Entry, node.Launch, err)
	}
	g.wait(&node, list)
	g.nodes, g.instrs, g.kernels = append(g.nodes, node), append(g.instrs, begin.instr), append(g.kernels, l.Entry)
	for _, i := range list {
		e := &g.entries[g.pieces[i].instr]
		if !slices.Contains(*e, l.Entry) {
			*e = append(*e, l.Entry)
		}
	}
	return nil
}

// wait gives the next node, made of these pieces, its edges.
func (g *graphing) wait(node *driver.Node, pieces []int) {
	n := len(g.nodes)
	for _, i := range pieces {
		g.node[i] = n
	}
	waits := make([]bool, n)
	for _, i := range pieces {
		for _, a := range g.pieces[i].after {
			if m := g.node[a]; m != n {
				waits[m] = true
			}
		}
	}
	before, depth := make([]bool, n), 0
	for m := n - 1; m >= 0; m-- {
		if !waits[m] || before[m] {
			continue
		}
		node.After = append(node.After, m)
		before[m] = true
		for k, b := range g.before[m] {
			before[k] = before[k] || b
		}
		depth = max(depth, g.depths[m])
	}
	g.before = append(g.before, before)
	g.depths = append(g.depths, depth+1)
}

// pieces are the launches of all steps, those of one step in a chain.
func (r *runner) pieces(steps []step) (pieces []piece, err error) {
	last := make([]int, len(steps)) // pieces
	for i, s := range steps {
		last[i] = -1
		for _, l := range s.Launches {
			p := piece{Launch: l, instr: i, text: s.Text[l.Module]}
			if p.text == "" {
				if p.text, err = kernels.PTX(l.Module); err != nil {
					return nil, err
				}
			}
			if last[i] >= 0 {
				p.after = []int{last[i]}
			} else {
				for _, j := range r.order.after[i] {
					if last[j] >= 0 {
						p.after = append(p.after, last[j])
					}
				}
			}
			p.small = size(l.Block) == emit.StepThreads && size(l.Grid) <= fewBlocks && l.Shared == 0 &&
				touched(&r.program.Code[i]) <= fewElements
			last[i] = len(pieces)
			pieces = append(pieces, p)
		}
	}
	return pieces, nil
}
