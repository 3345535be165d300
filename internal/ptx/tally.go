package ptx

import "math/bits"

// A tally is one worker's counters.
type tally struct {
	profile   []profileEntry // by instruction
	patterns  []pattern      // by instruction
	touched   []bitmap       // sectors by allocation
	divergent uint64
	barriers  uint64
	loads     Requests
	stores    Requests
	banks     Banks
	atomics   uint64
	async     uint64
}

type profileEntry struct{ warps, threads uint64 }

func newTally(p *program, allocations int) *tally {
	return &tally{profile: make([]profileEntry, len(p.code)), patterns: make([]pattern, len(p.code)),
		touched: make([]bitmap, allocations)}
}

// A pattern remembers the addresses of an instruction relative to its first lane, with what follows from them: in loops
// the next access mostly looks the same.
type pattern struct {
	mask    uint32
	first   int8
	unit    bool // consecutive over a full warp
	aligned bool
	phase   uint8 // of the first address within its sector
	sectors uint16
	waves   uint16
	extra   uint16 // of them beyond one a phase
	lo, hi  int64  // smallest and largest relative address
	rel64   vec[uint64]
	rel32   vec[uint32]
	list    []int64 // sectors relative to that of the first lane
	shared  []sharer
	wide    bool     // relative addresses are in rel64
	target  *pattern // of what cp.async writes; the rest is of what it reads
}

// A sharer is the lanes that access one address, relative to the first lane's.
type sharer struct {
	rel   uint64 // modulo 2⁶⁴
	lanes uint32
}

// sharers lists the distinct addresses.
func (p *pattern) sharers() []sharer {
	if len(p.shared) > 0 {
		return p.shared
	}
next:
	for m := p.mask; m != 0; m &= m - 1 {
		i := bits.TrailingZeros32(m) & 31
		rel := uint64(int32(p.rel32[i]))
		if p.wide {
			rel = p.rel64[i]
		}
		for k := range p.shared {
			if p.shared[k].rel == rel {
				p.shared[k].lanes |= 1 << i
				continue next
			}
		}
		p.shared = append(p.shared, sharer{rel, 1 << i})
	}
	return p.shared
}

// same64 says whether a matches the pattern; lanes outside the mask do not count.
func (p *pattern) same64(a *vec[uint64], mask uint32) bool {
	if p.mask != mask {
		return false
	}
	if mask == fullMask {
		return sameOffsets64(a, &p.rel64)
	}
	first := a[p.first&31]
	for ; mask != 0; mask &= mask - 1 {
		i := bits.TrailingZeros32(mask) & 31
		if a[i]-first != p.rel64[i] {
			return false
		}
	}
	return true
}

func (p *pattern) same32(a *vec[uint32], mask uint32) bool {
	if p.mask != mask {
		return false
	}
	if mask == fullMask {
		return sameOffsets32(a, &p.rel32)
	}
	first := a[p.first&31]
	for ; mask != 0; mask &= mask - 1 {
		i := bits.TrailingZeros32(mask) & 31
		if a[i]-first != p.rel32[i] {
			return false
		}
	}
	return true
}

// learn64 makes p the pattern of global accesses of n bytes at a+off.
func (p *pattern) learn64(a *vec[uint64], off int64, mask uint32, n int) {
	p.mask, p.first = mask, int8(bits.TrailingZeros32(mask))
	p.wide, p.shared = true, p.shared[:0]
	first := a[p.first&31]
	p.lo, p.hi, p.aligned, p.unit = 0, 0, true, mask == fullMask
	for ; mask != 0; mask &= mask - 1 {
		i := bits.TrailingZeros32(mask) & 31
		r := a[i] - first
		p.rel64[i] = r
		p.lo, p.hi = min(p.lo, int64(r)), max(p.hi, int64(r))
		p.aligned = p.aligned && r&uint64(n-1) == 0
		p.unit = p.unit && r == uint64(i*n)
	}
	p.sector(uint8((first+uint64(off))&31), n)
}

// sector counts the distinct sectors when the first address has this phase.
func (p *pattern) sector(phase uint8, n int) {
	p.phase = phase
	p.list = p.list[:0]
	last := int64(-1 << 62)
	for m := p.mask; m != 0; m &= m - 1 {
		at := int64(p.rel64[bits.TrailingZeros32(m)&31]) + int64(phase)
		for s := at >> 5; s <= (at+int64(n)-1)>>5; s++ {
			if s == last {
				continue
			}
			last = s
			seen := false
			for k := len(p.list) - 1; k >= 0 && !seen; k-- {
				seen = p.list[k] == s
			}
			if !seen {
				p.list = append(p.list, s)
			}
		}
	}
	p.sectors = uint16(len(p.list))
}

// learn32 makes p the pattern of accesses of shared memory of n bytes.
func (p *pattern) learn32(a *vec[uint32], mask uint32, n int) {
	p.mask, p.first = mask, int8(bits.TrailingZeros32(mask))
	p.wide, p.shared = false, p.shared[:0]
	first := a[p.first&31]
	p.lo, p.hi, p.aligned, p.unit = 0, 0, true, mask == fullMask
	for m := mask; m != 0; m &= m - 1 {
		i := bits.TrailingZeros32(m) & 31
		r := a[i] - first
		p.rel32[i] = r
		p.lo, p.hi = min(p.lo, int64(int32(r))), max(p.hi, int64(int32(r)))
		p.aligned = p.aligned && r&uint32(n-1) == 0
		p.unit = p.unit && r == uint32(i*n)
	}
	p.waves, p.extra = bankWaves(&p.rel32, mask, n)
}

// bankWaves counts the wavefronts of an access, and those beyond one for each phase: 32 banks of 4 bytes, half a warp
// at a time for 8 bytes a lane and a quarter for 16; lanes at one word of a bank share it.
func bankWaves(a *vec[uint32], mask uint32, n int) (waves, extra uint16) {
	lanes := warpSize
	if n > 4 {
		lanes = warpSize * 4 / n
	}
	var words [32][32]uint32
	for from := 0; from < warpSize; from += lanes {
		m := mask >> from << from
		if to := from + lanes; to < warpSize {
			m &= 1<<to - 1
		}
		if m == 0 {
			continue
		}
		var used [32]uint8
		most := uint8(0)
		for ; m != 0; m &= m - 1 {
			at := a[bits.TrailingZeros32(m)&31]
			for word := at >> 2; word <= (at+uint32(n)-1)>>2; word++ {
				bank := word & 31
				k := uint8(0)
				for k < used[bank] && words[bank][k] != word {
					k++
				}
				if k == used[bank] && k < 32 {
					words[bank][k] = word
					used[bank]++
					most = max(most, used[bank])
				}
			}
		}
		waves += uint16(most)
		extra += uint16(most) - 1
	}
	return waves, extra
}

// requests returns the counter for loads or stores.
func (t *tally) requests(store bool) *Requests {
	if store {
		return &t.stores
	}
	return &t.loads
}

// global counts a request with the pattern p, its first address at first within al.
func (t *tally) global(p *pattern, al *allocation, first uint64, n int, store bool) {
	r := t.requests(store)
	size := uint64(bits.OnesCount32(p.mask) * n)
	r.Requests++
	r.Bytes += size
	r.Sectors += uint64(p.sectors)
	r.Ideal += (size + 31) / 32
	if al.index >= len(t.touched) {
		return
	}
	b := t.touched[al.index]
	if b == nil {
		b = newBitmap(int(al.size/32) + 1)
		t.touched[al.index] = b
	}
	base := int64((first - al.base) >> 5)
	for _, s := range p.list {
		b.set(uint64(base + s))
	}
}

func (t *tally) shared(p *pattern) {
	t.banks.Requests++
	t.banks.Wavefronts += uint64(p.waves)
	t.banks.Conflicts += uint64(p.extra)
}

// observe counts an access whose addresses are in addr, for the general path.
func (w *warp) observe(in *instr, a *access, addr *vec[uint64], mask uint32) {
	w.observeAs(&w.count.patterns[in.index], a, addr, mask)
}

// observeTarget counts what cp.async writes, as the store that it is, when it is issued.
func (w *warp) observeTarget(in *instr, a *access, addr *vec[uint64], mask uint32) {
	p := &w.count.patterns[in.index]
	if p.target == nil {
		p.target = new(pattern)
	}
	w.observeAs(p.target, a, addr, mask)
}

func (w *warp) observeAs(p *pattern, a *access, addr *vec[uint64], mask uint32) {
	t, n := w.count, a.bytes()
	if a.atomic {
		t.atomics += uint64(bits.OnesCount32(mask))
	}
	first := addr[bits.TrailingZeros32(mask)&31]
	s := a.space
	if s == spaceGeneric {
		s = spaceGlobal
		if first-sharedWindow < windowBytes {
			s = spaceShared
		} else if first < paramWindow+windowBytes {
			return
		}
	}
	switch s {
	case spaceGlobal:
		if !p.same64(addr, mask) || p.phase != uint8(first&31) {
			p.learn64(addr, 0, mask, n)
		}
		al := w.block.run.machine.mem.at(first)
		if al == nil || uint64(p.hi) >= al.size || int64(first-al.base)+p.lo < 0 ||
			int64(first-al.base)+p.hi+int64(n) > int64(al.size) {
			return // out of bounds, or over several allocations
		}
		t.global(p, al, first, n, a.store)
	case spaceShared:
		var low vec[uint32]
		for i, v := range addr {
			low[i] = uint32(v)
		}
		if !p.same32(&low, mask) {
			p.learn32(&low, mask, n)
		}
		t.shared(p)
	}
}
