package cpudevice

import (
	"slices"

	"bilevel/cpu"
	"bilevel/device"
)

// The thread scheduler. A large operation is shared by all threads. A small one gains little by being shared, and one
// of a few microseconds nothing; then the other threads have nothing to do. But an iteration of a bilevel algorithm
// often holds two chains of small operations that do not wait for each other, one for each level's minibatch:
//
//	0  x  = rows of the table     (16 µs)      3  x' = rows of the table     (16 µs)
//	1  z  = x·W                   (9 µs)       4  z' = x'·W                  (9 µs)
//	2  g  = xᵀ·softmax'(z)        (9 µs)       5  g' = x'ᵀ·softmax'(z')      (9 µs)
//	6  W  = W − ρ·(g + g')
//
// One after the other they take 68 µs and more; two threads that take a chain each need half of that. So a program is
// cut into segments: a segment is one instruction, or two chains that run at the same time (a fork). At its end the
// threads wait for each other, which costs about a microsecond.
//
// The scheduler goes through the instructions once, in program order, and keeps two open chains, empty at first.
// Instruction i waits for a chain if it reads or writes what an instruction of the chain writes, or writes what one
// reads. There are four cases.
//
//   - It is large, or waits for both chains, as 6 does: the chains end here (close), and it makes a segment of its
//     own.
//   - It waits for one chain: it joins that chain, as 1 and 2 do.
//   - It waits for none, but one of its larger operands is in the cache of the core that computed it (near): it joins
//     that core's chain, or closes both chains first if it has to wait for the other one.
//   - Otherwise it joins the chain with less work, as 3 does.
//
// When two chains are closed they become a fork if the shorter one takes long enough; else their instructions become
// segments again, one by one, and all threads share even small products of them. Times are estimates from the numbers
// of multiplications and elements; that they may be wrong costs time and never changes a result.

// segment is what the threads do between two points where they wait for each other: one instruction, which may share
// its work, or two chains.
type segment struct {
	instr int
	fork  *fork // nil: instr
}

// fork is two chains of instructions, in program order, that neither read nor write what the other writes.
type fork struct {
	runner *runner
	chains [2][]int
	err    [2]error // of each chain
	failed [2]int   // and its instruction
}

// Do runs one chain.
func (f *fork) Do(_ *cpu.Worker, chain int) {
	f.err[chain] = nil
	for _, i := range f.chains[chain] {
		if err := f.runner.ops[i].Run(); err != nil {
			f.failed[chain], f.err[chain] = i, err
			return
		}
	}
}

// run runs both; the first failure in program order counts.
func (f *fork) run(pool *cpu.Pool) (i int, err error) {
	pool.Run(2, f)
	for c := range f.err {
		if f.err[c] != nil && (err == nil || f.failed[c] < i) {
			i, err = f.failed[c], f.err[c]
		}
	}
	return i, err
}

// Estimates in nanoseconds, measured on a server core of 2023; they decide about speed only.
const (
	perMultiply = 0.014 // multiplication of a small product
	perElement  = 0.2   // element that an operation reads or writes
	perInstr    = 100
	// smallInstr is the most work of an instruction of a chain, which runs on one thread.
	smallInstr = 20_000
	// leastChain is the least work of the shorter chain of a fork. Waiting for each other costs about 1 µs, and what
	// one thread wrote the other reads slowly.
	leastChain = 5_000
)

const (
	// nearBytes is the least size of an operand that makes it worth while to run where it was computed.
	nearBytes = 16 << 10
	// horizon is the number of instructions after which chains are closed, and beyond which nobody looks for what is
	// in a cache. So the time to schedule grows in proportion to the program.
	horizon = 128
)

// work estimates the time of an instruction on one thread.
func work(in *device.Instr) float64 {
	elements := 0
	for _, views := range [2][]device.View{in.In, in.Out} {
		for _, v := range views {
			elements += v.Size()
		}
	}
	switch in.Op {
	case device.Gemm:
		return perInstr + perMultiply*float64(in.Out[0].Size()*in.In[0].Shape[2])
	case device.Conv:
		return perInstr + perMultiply*float64(in.Attr.(device.ConvAttr).Shape.MultiplyAdds())
	case device.Gather: // the table is not read whole
		elements = in.Out[0].Size() / 2
	case device.ScatterAdd:
		elements = 2 * in.In[2].Size()
	}
	return perInstr + perElement*float64(elements)
}

// scheduler finds the chains of a program.
type scheduler struct {
	program  *device.Program
	single   bool         // there is one thread
	buffer   []int        // by number in the program, the first number of the same buffer
	tables   map[int]bool // buffers whose rows a Gather reads
	segments []segment
	chain    []int // of each instruction so far; -1: it is in none

	open [2][]int   // the open chains
	load [2]float64 // their work
	held bool       // one of them runs where an operand is near
}

// schedule cuts a program into segments.
func (d *Device) schedule(p *device.Program) []segment {
	s := &scheduler{program: p, tables: map[int]bool{}, single: d.pool.Threads() == 1}
	first := make(map[device.Buffer]int)
	for i, b := range p.Buffers {
		if _, known := first[b]; !known {
			first[b] = i
		}
		s.buffer = append(s.buffer, first[b])
	}
	for i := range p.Code {
		if in := &p.Code[i]; in.Op == device.Gather {
			s.tables[s.buffer[in.In[0].Buf]] = true
		}
	}
	for i := range p.Code {
		if len(s.open[0])+len(s.open[1]) >= horizon {
			s.close()
		}
		s.chain = append(s.chain, s.place(i))
	}
	s.close()
	return s.segments
}

// place puts instruction i into a chain and says which, or makes a segment of it alone and gives -1.
func (s *scheduler) place(i int) int {
	in := &s.program.Code[i]
	// A product may read the rows of a Gather in the table itself: who writes to a table runs alone, as do large
	// instructions.
	writesTable := slices.ContainsFunc(in.Out, func(v device.View) bool { return s.tables[s.buffer[v.Buf]] })
	waits := [2]bool{s.waitsFor(i, 0), s.waitsFor(i, 1)}
	if s.single || writesTable || work(in) > smallInstr || waits[0] && waits[1] {
		s.close()
		s.segments = append(s.segments, segment{instr: i})
		return -1
	}
	near := s.near(i)
	if near >= 0 && waits[1-near] { // it waits for the thread that does not hold what it reads
		s.close()
		waits = [2]bool{}
	}
	c := 0
	switch {
	case waits[0] || waits[1]:
		if waits[1] {
			c = 1
		}
	case near >= 0:
		c, s.held = near, true
	case s.load[1] < s.load[0]:
		c = 1
	}
	s.open[c] = append(s.open[c], i)
	s.load[c] += work(in)
	return c
}

// waitsFor says whether instruction i must come after one of an open chain.
func (s *scheduler) waitsFor(i, chain int) bool {
	in := &s.program.Code[i]
	return slices.ContainsFunc(s.open[chain], func(j int) bool {
		before := &s.program.Code[j]
		return s.overlap(in.In, before.Out) || s.overlap(in.Out, before.Out) || s.overlap(in.Out, before.In)
	})
}

// overlap says whether a view of one list may show an element of one of the other.
func (s *scheduler) overlap(a, b []device.View) bool {
	return slices.ContainsFunc(a, func(v device.View) bool {
		v.Buf = s.buffer[v.Buf]
		return slices.ContainsFunc(b, func(w device.View) bool {
			w.Buf = s.buffer[w.Buf]
			return v.Overlaps(w)
		})
	})
}

// near is the chain whose thread has a large operand of instruction i in its cache. Where there is none, it is the
// chain whose thread has an operand of the first instruction that reads what i computes. -1: neither.
func (s *scheduler) near(i int) (chain int) {
	if chain = s.cached(i, i); chain >= 0 {
		return chain
	}
	for reader := i + 1; reader < min(i+horizon, len(s.program.Code)); reader++ {
		if s.overlap(s.program.Code[reader].In, s.program.Code[i].Out) {
			return s.cached(reader, i)
		}
	}
	return -1
}

// cached is the chain that wrote a large operand of an instruction, before instruction i; or -1.
func (s *scheduler) cached(reader, i int) (chain int) {
	for _, v := range s.program.Code[reader].In {
		if 4*v.Size() < nearBytes {
			continue
		}
		for j := i - 1; j >= max(0, i-horizon); j-- {
			if s.overlap([]device.View{v}, s.program.Code[j].Out) {
				if s.chain[j] >= 0 {
					return s.chain[j]
				}
				break
			}
		}
	}
	return -1
}

// close ends the open chains: they become a fork where that pays, else segments one after the other.
func (s *scheduler) close() {
	if min(s.load[0], s.load[1]) >= leastChain {
		// The thread that goes on alone afterwards takes the longer chain.
		if s.load[0] < s.load[1] && !s.held {
			s.open[0], s.open[1] = s.open[1], s.open[0]
			for c, chain := range s.open {
				for _, i := range chain {
					s.chain[i] = c
				}
			}
		}
		s.segments = append(s.segments, segment{fork: &fork{chains: s.open}})
	} else {
		all := slices.Concat(s.open[0], s.open[1])
		slices.Sort(all)
		for _, i := range all {
			s.segments, s.chain[i] = append(s.segments, segment{instr: i}), -1
		}
	}
	s.open, s.load, s.held = [2][]int{}, [2]float64{}, false
}
