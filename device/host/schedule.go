package host

import (
	"slices"

	"bilevel/cpu"
	"bilevel/device"
)

// Small operations run on one thread each, for sharing one would cost more than it gives. Where a program holds chains of them that
// do not wait for each other, such as the two minibatches of an iteration, two threads take a chain each.

// stage is what the threads do between two points where they meet: one instruction, which may share its work, or two chains.
type stage struct {
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

// Estimates in nanoseconds.
const (
	perMultiply = 0.014 // of a small product
	perElement  = 0.2   // that an operation reads or writes
	perInstr    = 100
	perLine     = 4 // of 64 bytes that another core has
	// smallInstr is the most work of an instruction that runs on one thread.
	smallInstr = 20_000
	// leastChain is the least work of the shorter chain: meeting costs about 1 µs, and what one thread wrote the other reads slowly.
	leastChain = 5_000
	// nearBytes is the least memory that a thread had better read itself, having it in its cache.
	nearBytes = 16 << 10
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
	case device.Gather: // the table is not read whole
		elements = in.Out[0].Size() / 2
	case device.ScatterAdd:
		elements = 2 * in.In[2].Size()
	}
	return perInstr + perElement*float64(elements)
}

// scheduler finds the chains of a program.
type scheduler struct {
	program *device.Program
	single  bool  // there is one thread
	buffer  []int // by number in the program, the first number of the same buffer
	tables  map[int]bool
	stages  []stage
	chain   []int // of each instruction so far; -1: it is in none

	open [2][]int // the chains since the threads last met
	load [2]float64
	pull [2]float64 // pull[c]: cost of moving the operands cached on thread c to the other thread
}

// schedule cuts a program into stages.
func (d *Device) schedule(p *device.Program) []stage {
	s := &scheduler{program: p, tables: map[int]bool{}, single: d.pool.Threads() == 1}
	for i, b := range p.Buffers {
		s.buffer = append(s.buffer, slices.Index(p.Buffers[:i+1], b))
	}
	for i := range p.Code {
		if in := &p.Code[i]; in.Op == device.Gather {
			s.tables[s.buffer[in.In[0].Buf]] = true
		}
	}
	for i := range p.Code {
		s.chain = append(s.chain, s.place(i))
	}
	s.meet()
	return s.stages
}

// place puts instruction i into a chain, or after the point where both meet.
func (s *scheduler) place(i int) int {
	in := &s.program.Code[i]
	// A product may read the rows of a Gather from the table: who writes to tables waits for all, as do large instructions.
	alone := s.single || work(in) > smallInstr || slices.ContainsFunc(in.Out, func(v device.View) bool { return s.tables[s.buffer[v.Buf]] })
	waits := [2]bool{s.waitsFor(i, 0), s.waitsFor(i, 1)}
	if alone || waits[0] && waits[1] {
		s.meet()
		s.stages = append(s.stages, stage{instr: i})
		return -1
	}
	near, bytes := s.near(i)
	if near >= 0 && waits[1-near] { // it waits for the thread that has not what it reads
		s.meet()
		waits = [2]bool{}
	}
	c := 0
	switch {
	case waits[0] || waits[1]:
		if waits[1] {
			c = 1
		}
	case near >= 0:
		c = near
		s.pull[c] += perLine * float64(bytes) / 64
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
		return s.meets(in.In, before.Out) || s.meets(in.Out, before.Out) || s.meets(in.Out, before.In)
	})
}

// meets says whether a view of one list may show an element of one of the other.
func (s *scheduler) meets(a, b []device.View) bool {
	return slices.ContainsFunc(a, func(v device.View) bool {
		v.Buf = s.buffer[v.Buf]
		return slices.ContainsFunc(b, func(w device.View) bool {
			w.Buf = s.buffer[w.Buf]
			return v.Overlaps(w)
		})
	})
}

// near is the chain that has a large operand of instruction i in its cache, or of the one that reads its result first, and how large
// that is, or -1.
func (s *scheduler) near(i int) (chain, bytes int) {
	if chain, bytes = s.cached(i, i); chain >= 0 {
		return chain, bytes
	}
	for reader := i + 1; reader < len(s.program.Code); reader++ {
		if s.meets(s.program.Code[reader].In, s.program.Code[i].Out) {
			return s.cached(reader, i)
		}
	}
	return -1, 0
}

// cached is the chain that wrote a large operand of an instruction before instruction i, and how large that is, or -1.
func (s *scheduler) cached(reader, i int) (chain, bytes int) {
	for _, v := range s.program.Code[reader].In {
		if 4*v.Size() < nearBytes {
			continue
		}
		for j := i - 1; j >= 0; j-- {
			if s.meets([]device.View{v}, s.program.Code[j].Out) {
				if s.chain[j] >= 0 {
					return s.chain[j], 4 * v.Size()
				}
				break
			}
		}
	}
	return -1, 0
}

// meet ends the open chains: as a fork where that pays, else one after the other.
func (s *scheduler) meet() {
	if min(s.load[0], s.load[1]) >= leastChain || s.pull[1] >= leastChain {
		if s.load[0] < s.load[1] && s.pull == [2]float64{} { // the thread that goes on alone afterwards takes the longer one
			s.open[0], s.open[1] = s.open[1], s.open[0]
			for c, chain := range s.open {
				for _, i := range chain {
					s.chain[i] = c
				}
			}
		}
		s.stages = append(s.stages, stage{fork: &fork{chains: s.open}})
	} else {
		all := slices.Concat(s.open[0], s.open[1])
		slices.Sort(all)
		for _, i := range all {
			s.stages, s.chain[i] = append(s.stages, stage{instr: i}), -1
		}
	}
	s.open, s.load, s.pull = [2][]int{}, [2]float64{}, [2]float64{}
}
