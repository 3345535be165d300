package ptx

import (
	"slices"

	"bilevel/internal/ptx/syntax"
)

// guesses finds the loads that begin loops of compare and swap, such as the sum of doubles in the CUDA programming
// guide, and gives each the scope of its cas: what is loaded becomes, through moves, what a cas of the same address
// compares with. If another thread has changed the value meanwhile, the cas fails and brings the present one.
func (d *decoder) guesses() map[int]scope {
	if !d.v.sanitize {
		return nil
	}
	body := d.f.fn.Body
	copies := map[string][]string{} // by register: those that it is copied from
	writes := map[string]int{}
	for i := range body {
		src := &body[i]
		for k, op := range src.Args {
			count(op, func(name string) {
				if k == 0 && writesFirst(src.Op) {
					writes[name]++
				}
			})
		}
		if (src.Op == "mov" || src.Op == "cvta") && len(src.Args) == 2 {
			to, of := src.Args[0], src.Args[1]
			if to.Kind == syntax.Register && of.Kind == syntax.Register {
				copies[to.Name] = append(copies[to.Name], of.Name)
			}
		}
	}
	// origin is an address behind copies that are its register's only value.
	origin := func(op syntax.Operand) syntax.Operand {
		for range copies { // as many steps at most: registers may be copies of each other
			if writes[op.Name] == 1 && len(copies[op.Name]) == 1 {
				op.Name = copies[op.Name][0]
			}
		}
		return op
	}
	found := map[int]scope{}
	for i := range body {
		cas := &body[i]
		if cas.Op != "atom" || !slices.Contains(cas.Mods, "cas") || len(cas.Args) < 4 {
			continue
		}
		from := map[string]bool{}
		reach(copies, cas.Args[2].Name, from)
		at := origin(cas.Args[1])
		for k := range body {
			load := &body[k]
			if load.Op != "ld" || len(load.Args) != 2 || !from[load.Args[0].Name] {
				continue
			}
			if a := origin(load.Args[1]); a.Name == at.Name && a.Offset == at.Offset {
				found[k] = scopeOf(cas.Mods)
			}
		}
	}
	return found
}

// reach adds to a set a register and all that it is copied from.
func reach(copies map[string][]string, name string, set map[string]bool) {
	if set[name] {
		return
	}
	set[name] = true
	for _, from := range copies[name] {
		reach(copies, from, set)
	}
}
