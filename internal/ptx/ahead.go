package ptx

import "strings"

// loadsAhead is how many loads from global memory a warp may have under way: the longest run of loads, copies to shared
// memory included, as the instructions lie, before one of them needs what a load brings, control goes back, or a
// barrier or a wait comes; jumps ahead leave loads under way. It is 1 for a kernel without loads.
func loadsAhead(p *program) int {
	most, run := 1, 0
	pending := map[int32]bool{}
	end := func() {
		run = 0
		clear(pending)
	}
	for i := range p.code {
		m := &p.meta[i]
		for _, u := range m.uses {
			if pending[u.off] {
				end()
				break
			}
		}
		switch {
		case goesBack(p, i) || p.code[i].flow == flowBarrier || strings.HasPrefix(m.text, "cp.async.wait"):
			end()
		case m.class == ClassGlobal && len(m.defs) > 0:
			for _, d := range m.defs {
				pending[d.off] = true
			}
			run++
		case m.class == ClassAsync && len(m.uses) > 0:
			run++
		}
		most = max(most, run)
	}
	return most
}

// goesBack says whether control may go from instruction i to an earlier one, or to one that is not known.
func goesBack(p *program, i int) bool {
	in := &p.code[i]
	return in.flow == flowBranch && int(in.target) <= i || in.flow == flowIndirect
}
