package ptx

import (
	"fmt"
	"math/bits"
)

func warpForms() []form {
	c := ClassWarp
	return []form{
		{op: "shfl", suffixes: "sync up|down|bfly|idx b32", class: c, build: shuffle},
		{op: "vote", suffixes: "sync all|any|uni pred", class: c, build: vote},
		{op: "vote", suffixes: "sync ballot b32", class: c, build: vote},
		{op: "match", suffixes: "any|all sync b32", class: c, build: match[uint32]},
		{op: "match", suffixes: "any|all sync b64", class: c, build: match[uint64]},
		{op: "redux", suffixes: "sync add|min|max u32|s32", class: c, build: reduce},
		{op: "redux", suffixes: "sync and|or|xor b32", class: c, build: reduce},
		{op: "elect", suffixes: "sync", class: c, build: elect},
		{op: "activemask", suffixes: "b32", class: c, build: func(d *decoder) {
			d.args(1, 1)
			d.in.d = d.dst(d.arg(0), width32)
			d.in.run = func(w *warp, in *instr, mask uint32) { fill(reg[uint32](w, in.d), mask, mask) }
		}},
	}
}

// fill sets the lanes of mask to v.
func fill(d *vec[uint32], v, mask uint32) {
	for ; mask != 0; mask &= mask - 1 {
		d[bits.TrailingZeros32(mask)&31] = v
	}
}

// members binds operand i as the mask of a .sync instruction.
func (d *decoder) members(i int) {
	d.in.flow = flowWarp
	d.in.a = d.src32(d.arg(i))
}

// teams calls f for each set of lanes that execute the instruction with the same mask of members.
func (w *warp) teams(in *instr, mask uint32, f func(team uint32)) {
	masks := reg[uint32](w, in.a)
	for mask != 0 {
		v := masks[bits.TrailingZeros32(mask)&31]
		var team uint32
		for m := mask; m != 0; m &= m - 1 {
			if i := bits.TrailingZeros32(m); masks[i&31] == v {
				team |= 1 << i
			}
		}
		mask &^= team
		f(team)
	}
}

// shuffle is shfl.sync (PTX ISA 9.7.9.6): lane j's value of a, where j follows from b within the segment that c
// describes.
func shuffle(d *decoder) {
	d.args(5, 5)
	mode := d.mods[1]
	first, second, both := pair(d.arg(0))
	dst := d.dst(first, width32)
	p := int32(-1)
	if both {
		p = d.dst(second, widthPred)
	}
	src, b, c := d.src32(d.arg(1)), d.src32(d.arg(2)), d.src32(d.arg(3))
	d.members(4)
	d.meta.check = checkShuffle
	d.in.d, d.in.b = dst, src
	d.in.run = func(w *warp, in *instr, mask uint32) {
		a := *reg[uint32](w, src)
		var known uint32
		var undefined []uint64 // where not all is known: by lane
		if w.san != nil {
			if known = w.known[src>>2]; known != fullMask {
				undefined = make([]uint64, warpSize)
				for i := range undefined {
					undefined[i] = w.undefinedBits(src, i, false)
				}
			}
		}
		out, bs, cs := reg[uint32](w, dst), reg[uint32](w, b), reg[uint32](w, c)
		var hits uint32
		for m := mask; m != 0; m &= m - 1 {
			lane := uint32(bits.TrailingZeros32(m))
			j, inside := shuffleSource(mode, lane, bs[lane&31], cs[lane&31])
			if inside {
				hits |= 1 << lane
			}
			if w.san != nil {
				if mask>>j&1 == 0 || reg[uint32](w, in.a)[lane&31]>>j&1 == 0 {
					w.san.report(w, InactiveLaneShuffle, in, int(lane),
						fmt.Sprintf("lane %d reads lane %d, which does not take part%s", lane, j, w.gone(j)))
				}
				if known != fullMask {
					w.san.shuffled(w, dst, src, int(lane), undefined[j&31])
				}
			}
			out[lane&31] = a[j&31]
		}
		if p >= 0 {
			setPredicate(w, p, hits, mask)
		}
	}
}

func (w *warp) gone(lane uint32) string {
	switch {
	case w.all>>lane&1 == 0:
		return ": the block has no such thread"
	case w.live>>lane&1 == 0:
		return ": its thread has exited"
	}
	return ""
}

// shuffleSource is the lane that a lane reads, and whether it lies inside the segment; if not, the lane reads itself.
func shuffleSource(mode string, lane, b, c uint32) (j uint32, inside bool) {
	b &= 31
	segment := c >> 8 & 31
	low := lane & segment
	high := low | c&31&^segment
	switch mode {
	case "up":
		j = lane - b
		inside = int32(j) >= int32(high)
	case "down":
		j = lane + b
		inside = j <= high
	case "bfly":
		j = lane ^ b
		inside = j <= high
	default:
		j = low | b&^segment
		inside = j <= high
	}
	if !inside {
		j = lane
	}
	return j, inside
}

func vote(d *decoder) {
	d.args(3, 3)
	mode := d.mods[1]
	w := widthPred
	if mode == "ballot" {
		w = width32
	}
	dst := d.dst(d.arg(0), w)
	p, not := d.pred(d.arg(1)), flip(d.arg(1).Not)
	d.members(2)
	d.in.run = func(w *warp, in *instr, mask uint32) {
		held := *w.predicate(p) ^ not
		w.teams(in, mask, func(team uint32) {
			yes := held & team
			switch mode {
			case "ballot":
				fill(reg[uint32](w, dst), yes, team)
			case "all":
				setPredicate(w, dst, flip(yes == team), team)
			case "any":
				setPredicate(w, dst, flip(yes != 0), team)
			default:
				setPredicate(w, dst, flip(yes == team || yes == 0), team)
			}
		})
	}
}

// match is match.sync: any gives the lanes with the same value, all those of the mask if all values agree, else 0.
func match[T uint32 | uint64](d *decoder) {
	d.args(3, 3)
	all := d.has("all")
	first, second, both := pair(d.arg(0))
	dst := d.dst(first, width32)
	p := int32(-1)
	if both {
		if !all {
			d.fail("match.any has no predicate")
		}
		p = d.dst(second, widthPred)
	}
	src := d.operand(d.arg(1), widthFor[T]())
	d.members(2)
	d.in.run = func(w *warp, in *instr, mask uint32) {
		a, out := reg[T](w, src), reg[uint32](w, dst)
		w.teams(in, mask, func(team uint32) {
			var result vec[uint32]
			for m := team; m != 0; m &= m - 1 {
				i := bits.TrailingZeros32(m) & 31
				for k := team; k != 0; k &= k - 1 {
					if j := bits.TrailingZeros32(k) & 31; a[i] == a[j] {
						result[i] |= 1 << j
					}
				}
			}
			agree := result[bits.TrailingZeros32(team)&31] == team
			if all {
				fill(&result, team&flip(agree), team)
			}
			blend(out, &result, team)
			if p >= 0 {
				setPredicate(w, p, flip(agree), team)
			}
		})
	}
}

func reduce(d *decoder) {
	d.args(3, 3)
	signed := d.typ() == "s32"
	f := map[string]func(a, b uint32) uint32{
		"add": func(a, b uint32) uint32 { return a + b },
		"and": func(a, b uint32) uint32 { return a & b },
		"or":  func(a, b uint32) uint32 { return a | b },
		"xor": func(a, b uint32) uint32 { return a ^ b },
		"min": func(a, b uint32) uint32 { return min(a, b) },
		"max": func(a, b uint32) uint32 { return max(a, b) },
	}[d.mods[1]]
	switch {
	case signed && d.mods[1] == "min":
		f = func(a, b uint32) uint32 { return uint32(min(int32(a), int32(b))) }
	case signed && d.mods[1] == "max":
		f = func(a, b uint32) uint32 { return uint32(max(int32(a), int32(b))) }
	}
	dst, src := d.dst(d.arg(0), width32), d.src32(d.arg(1))
	d.members(2)
	d.in.run = func(w *warp, in *instr, mask uint32) {
		a := reg[uint32](w, src)
		w.teams(in, mask, func(team uint32) {
			v := a[bits.TrailingZeros32(team)&31]
			for m := team & (team - 1); m != 0; m &= m - 1 {
				v = f(v, a[bits.TrailingZeros32(m)&31])
			}
			fill(reg[uint32](w, dst), v, team)
		})
	}
}

// elect is elect.sync: one lane of the mask, here the lowest, gets a true predicate.
func elect(d *decoder) {
	d.args(2, 2)
	first, second, both := pair(d.arg(0))
	if !both {
		d.fail("elect.sync d|p is expected")
	}
	dst, p := d.dst(first, width32), d.dst(second, widthPred)
	d.members(1)
	d.in.run = func(w *warp, in *instr, mask uint32) {
		w.teams(in, mask, func(team uint32) {
			leader := uint32(bits.TrailingZeros32(team))
			fill(reg[uint32](w, dst), leader, team)
			setPredicate(w, p, 1<<leader, team)
		})
	}
}
