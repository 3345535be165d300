package ptx

import "math/bits"

// counters adds up what the workers counted.
func (e *execution) counters(tallies []*tally) Counters {
	threads := uint64(e.launch.Block[0] * e.launch.Block[1] * e.launch.Block[2])
	c := Counters{Blocks: e.blocks, Warps: e.blocks * ((threads + warpSize - 1) / warpSize),
		Threads: e.blocks * threads, LoadsAhead: loadsAhead(e.prog), ByClass: map[string]uint64{},
		UniqueBytes: map[string]uint64{}}
	for i, m := range e.prog.meta {
		var warps, lanes uint64
		for _, t := range tallies {
			warps += t.profile[i].warps
			lanes += t.profile[i].threads
		}
		warps, lanes = e.scaled(warps), e.scaled(lanes)
		if warps == 0 {
			continue
		}
		c.WarpInstructions += warps
		c.ThreadInstructions += lanes
		c.ByClass[m.class.String()] += warps
		if f := e.prog.code[i].flow; f == flowBranch {
			c.Branches += warps
		}
		flops := lanes * uint64(m.flops)
		switch m.kind {
		case flop32:
			c.FLOP32 += flops
		case flop64:
			c.FLOP64 += flops
		case flop16:
			c.FLOP16 += flops
		case flopTF32:
			c.FLOPTF32 += flops
			c.FLOPTensor += flops
		case flopTensor:
			c.FLOPTensor += flops
		}
	}
	if c.WarpInstructions > 0 {
		c.SIMTEfficiency = float64(c.ThreadInstructions) / float64(warpSize*c.WarpInstructions)
	}
	touched := make([]bitmap, len(e.machine.mem.all))
	for _, t := range tallies {
		c.DivergentBranches += t.divergent
		c.Barriers += t.barriers
		c.Atomics += t.atomics
		c.Async += t.async
		c.GlobalLoads.add(t.loads)
		c.GlobalStores.add(t.stores)
		c.Shared.add(t.banks)
		for i, b := range t.touched {
			if touched[i] == nil {
				touched[i] = b
				continue
			}
			for k, v := range b {
				touched[i][k] |= v
			}
		}
	}
	for _, n := range []*uint64{&c.DivergentBranches, &c.Barriers, &c.Atomics, &c.Async,
		&c.GlobalLoads.Requests, &c.GlobalLoads.Bytes, &c.GlobalLoads.Sectors, &c.GlobalLoads.Ideal,
		&c.GlobalStores.Requests, &c.GlobalStores.Bytes, &c.GlobalStores.Sectors, &c.GlobalStores.Ideal,
		&c.Shared.Requests, &c.Shared.Wavefronts, &c.Shared.Conflicts} {
		*n = e.scaled(*n)
	}
	for i, b := range touched {
		n := 0
		for _, v := range b {
			n += bits.OnesCount64(v)
		}
		if n > 0 {
			a := e.machine.mem.all[i]
			c.UniqueBytes[a.label] += min(e.scaled(uint64(n)*32), (a.size+31)&^31)
		}
	}
	return c
}

// scaled is what a count of the blocks that were run is for all.
func (e *execution) scaled(n uint64) uint64 {
	if e.runs == e.blocks {
		return n
	}
	return uint64(float64(n) * float64(e.blocks) / float64(e.runs))
}
