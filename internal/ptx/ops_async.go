package ptx

import (
	"math/bits"
	"unsafe"
)

func asyncForms() []form {
	const hints = "L2::cache_hint? L2::64B|L2::128B|L2::256B? "
	c := ClassAsync
	return []form{
		{op: "cp", suffixes: "async ca|cg shared|shared::cta global " + hints, class: c, build: asyncCopyForm},
		{op: "cp", suffixes: "async commit_group", class: c, build: func(d *decoder) {
			d.in.run = func(w *warp, _ *instr, mask uint32) { w.async.commit(mask) }
		}},
		{op: "cp", suffixes: "async wait_group", class: c, build: func(d *decoder) {
			d.args(1, 1)
			d.in.imm = d.constant(0)
			d.in.run = func(w *warp, in *instr, mask uint32) { w.completeGroups(uint32(in.imm), mask) }
		}},
		{op: "cp", suffixes: "async wait_all", class: c, build: func(d *decoder) {
			d.in.run = func(w *warp, in *instr, mask uint32) {
				w.complete(mask, func(int, uint32) bool { return true })
			}
		}},
	}
}

// An asyncCopy is a cp.async of some lanes that has not taken place: it does at the wait that asks for it, so that a
// missing wait shows as stale data.
type asyncCopy struct {
	in    *instr
	mask  uint32
	size  int
	group vec[uint32]
	from  vec[uint64]
	to    [32]unsafe.Pointer
	off   vec[uint32] // of the destination in shared memory
	count vec[uint32] // bytes that come from global memory; zeros follow
}

// An asyncQueue holds the copies of a warp that have not taken place, and how many groups each lane has committed.
type asyncQueue struct {
	pending []*asyncCopy
	spare   []*asyncCopy
	groups  vec[uint32]
}

func (q *asyncQueue) reset() {
	q.spare = append(q.spare, q.pending...)
	q.pending = q.pending[:0]
	q.groups = vec[uint32]{}
}

func (q *asyncQueue) commit(mask uint32) {
	for ; mask != 0; mask &= mask - 1 {
		q.groups[bits.TrailingZeros32(mask)&31]++
	}
}

// asyncCopyForm is cp.async.{ca,cg}.shared.global [dst], [src], size{, srcSize}.
func asyncCopyForm(d *decoder) {
	hints := d.hints()
	d.args(3+hints, 4+hints)
	size := int(d.constant(2))
	if size != 16 && (d.has("cg") || size != 4 && size != 8) {
		d.fail("cannot copy %d bytes", size)
	}
	to := access{space: spaceShared, store: true, size: 1, regs: make([]int32, size), base: -1}
	d.address(&to, d.arg(0))
	from := access{space: spaceGlobal, size: 1, regs: make([]int32, size), base: -1}
	d.address(&from, d.arg(1))
	count := int32(-1)
	if len(d.src.Args)-hints == 4 {
		count = d.src32(d.arg(3))
	}
	d.in.x = &extra{access: from}
	d.in.run = func(w *warp, in *instr, mask uint32) { w.asyncIssue(in, &to, &from, count, mask) }
}

func (w *warp) asyncIssue(in *instr, to, from *access, count int32, mask uint32) {
	q := &w.async
	var c *asyncCopy
	if n := len(q.spare); n > 0 {
		c, q.spare = q.spare[n-1], q.spare[:n-1]
	} else {
		c = new(asyncCopy)
	}
	size := len(to.regs)
	c.in, c.mask, c.size, c.group = in, 0, size, q.groups
	var src, dst vec[uint64]
	w.addresses(from, &src)
	w.addresses(to, &dst)
	w.observe(in, from, &src, mask)
	w.observeTarget(in, to, &dst, mask)
	if w.san != nil {
		w.san.begin(w, from)
	}
	w.count.async += uint64(size * bits.OnesCount32(mask))
	for m := mask; m != 0; m &= m - 1 {
		i := bits.TrailingZeros32(m) & 31
		n := size
		if count >= 0 {
			n = min(size, int(reg[uint32](w, count)[i]))
		}
		p := w.locate(in, to, i, dst[i], size)
		if p.ptr == nil {
			continue
		}
		if n > 0 && !w.asyncSource(in, from, i, src[i], n, size) {
			continue
		}
		c.mask |= 1 << i
		c.from[i], c.to[i], c.off[i], c.count[i] = src[i], p.ptr, uint32(p.off), uint32(n)
	}
	if w.san != nil {
		w.san.asyncIssued(w, c)
	}
	q.pending = append(q.pending, c)
}

// asyncSource checks the source of a copy: aligned to the whole size, and n bytes of it readable.
func (w *warp) asyncSource(in *instr, from *access, i int, addr uint64, n, size int) bool {
	if addr&uint64(size-1) != 0 {
		return w.locate(in, from, i, addr, size).ptr != nil // reports it
	}
	p := w.locateBytes(in, from, i, addr, n)
	if p.ptr == nil {
		return false
	}
	if w.san != nil {
		w.san.accessBytes(w, in, from, i, p, n)
	}
	return true
}

// locateBytes is locate for any number of bytes of global memory, without alignment.
func (w *warp) locateBytes(in *instr, a *access, i int, addr uint64, n int) place {
	al := w.block.run.machine.mem.find(addr, uint64(n))
	if al == nil {
		w.refuseGlobal(in, a, i, addr, n)
		return place{}
	}
	return place{unsafe.Pointer(&al.mem[addr-al.base]), spaceGlobal, al, addr - al.base}
}

// completeGroups performs the copies of all but the last n groups of each lane of mask.
func (w *warp) completeGroups(n uint32, mask uint32) {
	w.complete(mask, func(i int, group uint32) bool { return group+n < w.async.groups[i&31] })
}

// complete performs the pending copies of the lanes of mask that due asks for, in the order they were issued.
func (w *warp) complete(mask uint32, due func(lane int, group uint32) bool) {
	q := &w.async
	keep := q.pending[:0]
	for _, c := range q.pending {
		for m := c.mask & mask; m != 0; m &= m - 1 {
			i := bits.TrailingZeros32(m) & 31
			if !due(i, c.group[i]) {
				continue
			}
			c.mask &^= 1 << i
			w.copyAsync(c, i)
		}
		if c.mask != 0 {
			keep = append(keep, c)
		} else {
			q.spare = append(q.spare, c)
		}
	}
	q.pending = keep
}

func (w *warp) copyAsync(c *asyncCopy, i int) {
	dst := unsafe.Slice((*byte)(c.to[i]), c.size)
	n := int(c.count[i])
	if n > 0 {
		al := w.block.run.machine.mem.find(c.from[i], uint64(n))
		off := c.from[i] - al.base
		copy(dst, al.mem[off:off+uint64(n)])
	}
	clear(dst[n:])
	if w.san != nil {
		w.san.asyncDone(w, c, i)
	}
}
