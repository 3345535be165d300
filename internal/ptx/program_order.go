package ptx

import (
	"slices"

	"bilevel/internal/ptx/syntax"
)

// ordersSimply says whether barriers of whole blocks, and of whole warps, are all that orders memory in a program.
func (p *program) ordersSimply() bool {
	for i := range p.meta {
		src := p.meta[i].src
		has := func(word string) bool { return slices.Contains(src.Mods, word) }
		switch src.Op {
		case "fence", "membar", "mbarrier":
			return false
		case "bar", "barrier":
			if has("warp") {
				if src.Args[0].Kind != syntax.Integer || uint32(src.Args[0].Bits) != fullMask {
					return false
				}
				continue
			}
			least := 1
			if has("red") {
				least = 3
			}
			if has("arrive") || has("cluster") || len(src.Args) > least {
				return false
			}
		}
		if has("acquire") || has("release") || has("acq_rel") || has("mbarrier") {
			return false
		}
	}
	return true
}

// maySpin says whether threads of a program may wait for others by what they read.
func (p *program) maySpin() bool {
	for i := range p.meta {
		src := p.meta[i].src
		for _, m := range src.Mods {
			if src.Op == "atom" || m == "volatile" || m == "relaxed" || m == "acquire" {
				return true
			}
		}
	}
	return false
}
