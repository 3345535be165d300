package ptx

// A clock says, for every thread of a launch, up to which time of its block its accesses are ordered before something.
// It is a tree that never changes once made, so clocks share what they have in common: a warp's node has the times of
// its lanes, a block's node one child for each warp, and nodes above choose a block by five bits of its number at a
// time. A missing node knows nothing.
type clock struct {
	all   uint32            // at least this for every thread below
	lanes *[warpSize]uint32 // of a warp's node; nil: none beyond all
	kids  *[32]*clock       // of all other nodes; nil: none
}

// A clockShape is how many levels of nodes choose a block.
type clockShape int

func newClockShape(blocks uint64) clockShape {
	levels := 1
	for blocks >>= 5; blocks > 0; blocks >>= 5 {
		levels++
	}
	return clockShape(levels)
}

// warp is the time that holds for all threads of a warp, and its node's times by lane or nil.
func (h clockShape) warp(c *clock, block uint32, warp uint8) (all uint32, lanes *[warpSize]uint32) {
	for level := int(h) - 1; level >= 0; level-- {
		if c == nil || c.kids == nil {
			return 0, nil
		}
		c = c.kids[block>>(5*level)&31]
	}
	if c == nil {
		return 0, nil
	}
	all = c.all
	if c.kids == nil || c.kids[warp&31] == nil {
		return all, nil
	}
	c = c.kids[warp&31]
	return max(all, c.all), c.lanes
}

// root is the clock that knows a block's node alone.
func (h clockShape) root(block uint32, node *clock) *clock {
	for level := range int(h) {
		kids := new([32]*clock)
		kids[block>>(5*level)&31] = node
		node = &clock{kids: kids}
	}
	return node
}

// join is the clock that knows what a or b knows.
func join(a, b *clock) *clock {
	switch {
	case a == b || b == nil:
		return a
	case a == nil:
		return b
	case b.lanes == nil && b.kids == nil && b.all <= a.all:
		return a
	case a.lanes == nil && a.kids == nil && a.all <= b.all:
		return b
	}
	c := clock{all: max(a.all, b.all), lanes: a.lanes, kids: a.kids}
	if b.lanes != nil {
		c.lanes = joinLanes(a.lanes, b.lanes)
	}
	if b.kids != nil {
		c.kids = joinKids(a.kids, b.kids)
	}
	return kept(&c, a, b)
}

// kept is c, or the one of a and b that equals it: equal clocks are mostly one.
func kept[T comparable](c, a, b *T) *T {
	switch *c {
	case *a:
		return a
	case *b:
		return b
	}
	return c
}

// joinLanes is a where b adds nothing, b where a adds nothing.
func joinLanes(a, b *[warpSize]uint32) *[warpSize]uint32 {
	if a == nil {
		return b
	}
	c := *a
	for i, t := range b {
		c[i] = max(c[i], t)
	}
	return kept(&c, a, b)
}

func joinKids(a, b *[32]*clock) *[32]*clock {
	if a == nil || a == b {
		return b
	}
	c := *a
	for i, k := range b {
		c[i] = join(c[i], k)
	}
	return kept(&c, a, b)
}
