package ptx

import (
	"math/bits"
	"unsafe"
)

// The quick runners are loads and stores of whole words in global and shared memory: when the addresses have the
// pattern of the last time, one check holds for all lanes. Everything else takes accessLanes, and so do stores with the
// sanitizer, which compares each lane's value with what the lanes before it have stored.

// globalAt checks the addresses of a global access and returns where the first lane's goes, nil for the general path.
func (w *warp) globalAt(in *instr, mask uint32, n int, store bool) (unsafe.Pointer, *pattern) {
	a := reg[uint64](w, in.a)
	t := w.count
	p := &t.patterns[in.index]
	if !p.same64(a, mask) {
		p.learn64(a, in.imm, mask, n)
	}
	first := a[p.first&31] + uint64(in.imm)
	if uint8(first&31) != p.phase {
		p.sector(uint8(first&31), n)
	}
	al := w.last
	if al == nil || !al.spans(first, p.lo, p.hi+int64(n)) {
		if al = w.block.run.machine.mem.find(first, 1); al == nil || !al.spans(first, p.lo, p.hi+int64(n)) {
			return nil, nil
		}
		w.last = al
	}
	if !p.aligned || first&uint64(n-1) != 0 || store && al.readonly {
		return nil, nil
	}
	t.global(p, al, first, n, store)
	return unsafe.Pointer(&al.mem[first-al.base]), p
}

// spans says whether the bytes from first+lo to first+hi lie in the allocation.
func (a *allocation) spans(first uint64, lo, hi int64) bool {
	off := first - a.base
	return off < a.size && int64(off)+lo >= 0 && int64(off)+hi <= int64(a.size)
}

func quickGlobal(a access) runner {
	r := [4]int32{}
	copy(r[:], a.regs)
	n, wide := len(a.regs), a.wide
	size := a.bytes()
	return func(w *warp, in *instr, mask uint32) {
		at, p := w.globalAt(in, mask, size, a.store)
		if p == nil {
			accessLanes(w, in, mask)
			return
		}
		if w.san != nil && a.space == spaceGlobal {
			off := uint64(uintptr(at) - uintptr(unsafe.Pointer(&w.last.mem[0])))
			w.san.loads(w, in, &in.x.access, p, place{at, spaceGlobal, w.last, off})
		}
		if p.unit && n == 1 {
			w.moveRow(at, r[0], wide, a.store)
			return
		}
		if a.store {
			w.scatter64(at, p, mask, &r, n, wide)
		} else {
			w.gather64(at, p, mask, &r, n, wide)
		}
	}
}

// moveRow moves 32 consecutive words.
func (w *warp) moveRow(at unsafe.Pointer, r int32, wide, store bool) {
	switch {
	case wide && store:
		*(*vec[uint64])(at) = *reg[uint64](w, r)
	case wide:
		*reg[uint64](w, r) = *(*vec[uint64])(at)
	case store:
		*(*vec[uint32])(at) = *reg[uint32](w, r)
	default:
		*reg[uint32](w, r) = *(*vec[uint32])(at)
	}
}

func (w *warp) gather64(at unsafe.Pointer, p *pattern, mask uint32, r *[4]int32, n int, wide bool) {
	switch {
	case wide:
		for k := range n {
			d := reg[uint64](w, r[k])
			for m := mask; m != 0; m &= m - 1 {
				i := bits.TrailingZeros32(m) & 31
				d[i] = *(*uint64)(unsafe.Add(at, p.rel64[i]+uint64(8*k)))
			}
		}
	case n == 4 && mask == fullMask:
		d0, d1, d2, d3 := reg[uint32](w, r[0]), reg[uint32](w, r[1]), reg[uint32](w, r[2]), reg[uint32](w, r[3])
		for i := range d0 {
			q := (*[4]uint32)(unsafe.Add(at, p.rel64[i]))
			d0[i], d1[i], d2[i], d3[i] = q[0], q[1], q[2], q[3]
		}
	default:
		for k := range n {
			d := reg[uint32](w, r[k])
			for m := mask; m != 0; m &= m - 1 {
				i := bits.TrailingZeros32(m) & 31
				d[i] = *(*uint32)(unsafe.Add(at, p.rel64[i]+uint64(4*k)))
			}
		}
	}
}

func (w *warp) scatter64(at unsafe.Pointer, p *pattern, mask uint32, r *[4]int32, n int, wide bool) {
	for m := mask; m != 0; m &= m - 1 {
		i := bits.TrailingZeros32(m) & 31
		q := unsafe.Add(at, p.rel64[i])
		for k := range n {
			if wide {
				*(*uint64)(unsafe.Add(q, 8*k)) = reg[uint64](w, r[k])[i]
			} else {
				*(*uint32)(unsafe.Add(q, 4*k)) = reg[uint32](w, r[k])[i]
			}
		}
	}
}

// sharedAt is globalAt for shared memory.
func (w *warp) sharedAt(in *instr, mask uint32, n int) (unsafe.Pointer, *pattern) {
	a := reg[uint32](w, in.a)
	p := &w.count.patterns[in.index]
	if !p.same32(a, mask) {
		p.learn32(a, mask, n)
	}
	first := int64(a[p.first&31]) + in.imm
	mem := w.block.shared
	if first+p.lo < 0 || first+p.hi+int64(n) > int64(len(mem)) || !p.aligned || first&int64(n-1) != 0 {
		return nil, nil
	}
	w.count.shared(p)
	return unsafe.Pointer(&mem[first]), p
}

func quickShared(a access) runner {
	r := [4]int32{}
	copy(r[:], a.regs)
	n, wide := len(a.regs), a.wide
	size := a.bytes()
	return func(w *warp, in *instr, mask uint32) {
		at, p := w.sharedAt(in, mask, size)
		if p == nil {
			accessLanes(w, in, mask)
			return
		}
		if w.san != nil {
			off := uint64(uintptr(at) - uintptr(unsafe.Pointer(&w.block.shared[0])))
			w.san.loads(w, in, &in.x.access, p, place{at, spaceShared, nil, off})
		}
		if p.unit && n == 1 {
			w.moveRow(at, r[0], wide, a.store)
			return
		}
		if a.store {
			w.scatter32(at, p, mask, &r, n, wide)
		} else {
			w.gather32(at, p, mask, &r, n, wide)
		}
	}
}

func (w *warp) gather32(at unsafe.Pointer, p *pattern, mask uint32, r *[4]int32, n int, wide bool) {
	switch {
	case wide:
		for k := range n {
			d := reg[uint64](w, r[k])
			for m := mask; m != 0; m &= m - 1 {
				i := bits.TrailingZeros32(m) & 31
				d[i] = *(*uint64)(unsafe.Add(at, int64(int32(p.rel32[i]))+int64(8*k)))
			}
		}
	case n == 4 && mask == fullMask:
		gather4(at, &p.rel32, reg[uint32](w, r[0]), reg[uint32](w, r[1]), reg[uint32](w, r[2]), reg[uint32](w, r[3]))
	case n == 1 && mask == fullMask:
		d := reg[uint32](w, r[0])
		for i := range d {
			d[i] = *(*uint32)(unsafe.Add(at, int64(int32(p.rel32[i]))))
		}
	default:
		for k := range n {
			d := reg[uint32](w, r[k])
			for m := mask; m != 0; m &= m - 1 {
				i := bits.TrailingZeros32(m) & 31
				d[i] = *(*uint32)(unsafe.Add(at, int64(int32(p.rel32[i]))+int64(4*k)))
			}
		}
	}
}

func (w *warp) scatter32(at unsafe.Pointer, p *pattern, mask uint32, r *[4]int32, n int, wide bool) {
	for m := mask; m != 0; m &= m - 1 {
		i := bits.TrailingZeros32(m) & 31
		q := unsafe.Add(at, int64(int32(p.rel32[i])))
		for k := range n {
			if wide {
				*(*uint64)(unsafe.Add(q, 8*k)) = reg[uint64](w, r[k])[i]
			} else {
				*(*uint32)(unsafe.Add(q, 4*k)) = reg[uint32](w, r[k])[i]
			}
		}
	}
}
