package tensor

import (
	"fmt"
	"slices"

	"bilevel/device"
)

const (
	// maxNodes and maxOuts bound the groups that neighbours makes: a device holds the values of one element in
	// registers.
	maxNodes, maxOuts = 48, 8
	// maxTries is the number of groups that each group is compared with.
	maxTries = 8
	// shortPass is the elements of a pass over memory that takes no longer than starting one.
	shortPass = 1 << 14
)

// neighbours joins groups of one space that read or write the same memory, so that it is read once, and groups of
// single numbers. Each group is compared with the nearest later ones that share memory with it. There may be many of
// these: all steps of an unrolled algorithm read the same variables. Most of them wait for each other, so a few tries
// are enough.
func (f *fusion) neighbours() {
	type memory struct {
		of    *Node  // nil: single numbers, which are computed together wherever they lie
		space string // of who reads it
	}
	groups := f.groups()
	reads := make([][]memory, len(groups))
	readers := make(map[memory][]int) // groups by number, ascending
	for k, v := range groups {
		for _, m := range f.memoryTouched(v.group) {
			key := memory{m, fmt.Sprint(v.group.space)}
			reads[k] = append(reads[k], key)
			readers[key] = append(readers[key], k)
		}
	}
	next := func(k, after int) (nearest int) { // the first group behind another that shares memory with group k
		nearest = len(groups)
		for _, m := range reads[k] {
			list := readers[m]
			i, _ := slices.BinarySearch(list, after+1)
			for i < len(list) && groups[list[i]] == nil {
				i++
			}
			if i < len(list) {
				nearest = min(nearest, list[i])
			}
		}
		return nearest
	}
	for k := range groups {
		if groups[k] == nil {
			continue
		}
		for j, tries := next(k, k), 0; j < len(groups) && tries < maxTries; j, tries = next(k, j), tries+1 {
			a, b := groups[k].find().group, groups[j].find().group
			if len(a.outs) == 0 || len(b.outs) == 0 || len(a.nodes)+len(b.nodes) > maxNodes ||
				len(a.outs)+len(b.outs) > maxOuts || !f.join(groups[k], groups[j]) {
				continue
			}
			for _, m := range reads[j] {
				if !slices.Contains(reads[k], m) {
					reads[k] = append(reads[k], m)
				}
			}
			groups[j] = nil
		}
	}
}

// memoryTouched lists the nodes whose memory a group reads or writes, and nil where it computes single numbers. What
// is small beside a large space does not count: to join two groups for the sake of a row that both broadcast would
// save nothing, but would make two networks that share their parameters march in step, and double what is in memory
// at a time.
func (f *fusion) memoryTouched(g *group) (list []*Node) {
	if device.Size(g.space) == 1 {
		list = append(list, nil)
	}
	space := device.Size(g.space)
	matters := func(s *Node) bool { return s.Size() > 1 && max(s.Size()*smallPart, shortPass) >= space }
	seen := make(map[*Node]bool)
	var add func(i *Node)
	add = func(i *Node) {
		s := storageOf(i)
		switch {
		case f.recomputed[s]:
			for _, i := range s.in {
				add(i)
			}
		case (f.group(s) != g || f.stored[s]) && s.op != opConst && matters(s) && !seen[s]:
			seen[s] = true
			list = append(list, s)
		}
	}
	for _, n := range g.live {
		for _, i := range n.in {
			add(i)
		}
		if f.stored[n] {
			add(n)
		}
	}
	return list
}
