package ptx

import (
	"context"
	"errors"
	"unsafe"
)

// Some verdicts of the sanitizer take more than one run of a launch, from the same memory.

const (
	pageBytes = 1 << 12
	refills   = 2
)

// errBudget ends a further run that takes far longer than the first: blocks may wait for others that this order starts
// too late.
var errBudget = errors.New("the run is given up")

// A savedPage is what a page of an allocation held, and which of it was initialised.
type savedPage struct {
	a     *allocation
	off   uint64
	mem   []byte
	known []uint64
}

// page copies the page number i of an allocation.
func (a *allocation) page(i uint64) *savedPage {
	off := i * pageBytes
	p := &savedPage{a: a, off: off}
	p.mem = append(p.mem, a.mem[off:min(off+pageBytes, a.size)]...)
	p.known = append(p.known, a.known[off/64:min((off+pageBytes)/64, uint64(len(a.known)))]...)
	return p
}

// save keeps what is about to be overwritten.
func (a *allocation) save(off, n uint64) {
	if a.saved == nil {
		a.saved = make([]*savedPage, a.size/pageBytes+1)
	}
	for i := off / pageBytes; i <= (off+n-1)/pageBytes; i++ {
		if a.saved[i] == nil {
			a.saved[i] = a.page(i)
		}
	}
}

// put writes a page back.
func (p *savedPage) put() {
	copy(p.a.mem[p.off:], p.mem)
	copy(p.a.known[p.off/64:], p.known)
}

// rewind brings memory back to what it was before the launch, and returns the pages that the launch has changed.
func (m *memory) rewind() (changed []*savedPage) {
	for _, a := range m.all {
		for i, p := range a.saved {
			if p != nil {
				changed = append(changed, a.page(uint64(i)))
				p.put()
			}
		}
		a.saved = nil
	}
	return changed
}

// verify runs the launch again where one run does not tell. Memory, counters and output stay those of the first.
//
// Where atomics have handed on what other threads released, such as locks, it is run in the opposite order: whether a
// lock orders two accesses may depend on who came first. Where values with undefined bits were stored, it is run with
// other values in all that nobody has written: if what is stored is the same each time, the undefined bits do not
// matter there, as in x + y - x.
func (e *execution) verify(ctx context.Context) {
	doubts := e.san.inDoubt()
	if !e.san.handedOn && doubts == nil {
		return
	}
	mem := &e.machine.mem
	changed := mem.rewind()
	if e.san.handedOn {
		other := e.again(ctx, func(x *execution) { x.reversed = true })
		e.san.adopt(other.san)
		var f *Fault
		switch {
		case errors.As(other.err, &f) && (f.Report.Kind == Timeout || f.Report.Kind == NoProgress):
			// as with the budget
		case f != nil:
			e.san.found[reportKey{f.Report.Kind, -1}] = &f.Report
		case other.err != errBudget:
			e.err = other.err
		}
	}
	same := true
	for seed := range uint64(refills) {
		if len(doubts) == 0 || !same || e.err != nil {
			break
		}
		other := e.again(ctx, func(x *execution) { x.refill = seed + 1 })
		if same = other.err == nil; same {
			e.san.settle(doubts, other.san)
		}
	}
	if same && e.err == nil {
		for _, k := range doubts {
			if !e.san.stores[k.index].matters {
				delete(e.san.found, k)
			}
		}
	}
	for _, p := range changed {
		p.put()
	}
}

// again runs the launch once more and brings memory back to what it was.
func (e *execution) again(ctx context.Context, change func(*execution)) *execution {
	opt := &e.machine.opt
	output := opt.Output
	opt.Output = nil
	x := &execution{machine: e.machine, prog: e.prog, inst: e.inst, launch: e.launch, params: e.params,
		shared:    e.shared,
		workspace: e.workspace, holds: e.holds, blocks: e.blocks, runs: e.runs, budget: 4*e.steps.Load() + 1<<20}
	change(x)
	unwatch := context.AfterFunc(ctx, func() { x.fail(context.Cause(ctx)) })
	x.number()
	x.execute()
	unwatch()
	opt.Output = output
	e.machine.mem.rewind()
	return x
}

// A storeDigest sums up the values with undefined bits that an instruction has stored to global memory, by who stored
// them.
type storeDigest struct {
	sum     uint64
	matters bool // the values are known to depend on undefined bits, or there are too few such bits to tell
}

const fewBits = 8

// digest adds a value of which u is undefined.
func (s *sanitizer) digest(w *warp, in *instr, lane int, value uint64, undefined int) {
	d := s.storesOf(in)
	thread := w.block.number<<10 | uint64(w.id*warpSize+lane)
	d.sum += mix(value ^ mix(thread))
	d.matters = d.matters || undefined < fewBits
}

func (s *sanitizer) storesOf(in *instr) *storeDigest {
	d := s.stores[in.index]
	if d == nil {
		d = &storeDigest{}
		s.stores[in.index] = d
	}
	return d
}

// inDoubt lists the reports of stores that further runs may settle.
func (s *sanitizer) inDoubt() (list []reportKey) {
	for k := range s.found {
		if d := s.stores[k.index]; k.kind == UninitializedRead && d != nil && !d.matters {
			list = append(list, k)
		}
	}
	return list
}

// settle compares what was stored with another run.
func (s *sanitizer) settle(doubts []reportKey, other *sanitizer) {
	for _, k := range doubts {
		d, o := s.stores[k.index], other.stores[k.index]
		d.matters = d.matters || o == nil || o.matters || o.sum != d.sum
	}
}

// fillUndefined gives all registers, shared and local memory of a block other values.
func (b *block) fillUndefined() {
	seed := mix(b.run.refill) ^ mix(b.number)
	value := func(n int) uint64 {
		seed = mix(seed + uint64(n))
		return seed
	}
	if n := len(b.shared) / 4; n > 0 {
		words := unsafe.Slice((*uint32)(unsafe.Pointer(&b.shared[0])), n)
		for i := range words {
			words[i] = uint32(value(i))
		}
	}
	for _, w := range b.warps {
		for i := range w.local {
			w.local[i] = byte(value(i))
		}
		for _, r := range w.prog.declared {
			for lane := range warpSize {
				if r.bits > 1 {
					w.setLane(r.off, lane, r.bits == 64, value(lane)>>(64-r.bits))
				}
			}
		}
	}
}
