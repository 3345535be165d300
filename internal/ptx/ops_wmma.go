package ptx

import "math/bits"

// wmmaFragment is the layout of a WMMA fragment, which PTX leaves open. The accumulator of 16×16 is laid out as
// hardware does, as two accumulators of mma; the others go row by row.
func wmmaFragment(s shape, part string, f element, regs []int32) fragment {
	rows, cols := s.m, s.n
	switch part {
	case "a":
		cols = s.k
	case "b":
		rows = s.k
	}
	total := rows * cols
	return newFragment(f, regs, func(lane, r, e int) int {
		i := r*f.per + e
		if (part == "c" || part == "d") && s.m == 16 && s.n == 16 {
			return (lane/4+8*(i%4/2))*16 + lane%4*2 + i%2 + 8*(i/4)
		}
		return (lane*len(regs)*f.per + i) % total // f16 holds every element of A and B twice
	})
}

func wmmaRegisters(s shape, part, typ string) int {
	elements := s.m * s.n
	switch part {
	case "a":
		elements = s.m * s.k
	case "b":
		elements = s.k * s.n
	}
	switch {
	case (part == "a" || part == "b") && typ == "f16":
		return 8
	case typ == "f16" || typ == "bf16":
		return elements / 64
	}
	return elements / 32
}

// wmmaMove is wmma.load and wmma.store.
func wmmaMove(d *decoder) {
	d.args(2, 3)
	store := d.has("store")
	part := d.which("a", "b", "c", "d")
	s, typ, column := d.shape(), d.typ(), d.has("col")
	address, data := 1, 0
	if store {
		address, data = 0, 1
	}
	f := elements[typ]
	regs := d.vectorOf(d.arg(data), wmmaRegisters(s, part, typ), width32, !store)
	frag := wmmaFragment(s, part, f, regs)
	a := access{size: f.bits / 8, regs: []int32{0}, base: -1, store: store, indirect: true}
	for _, m := range d.mods {
		if sp, ok := spaces[m]; ok {
			a.space = sp
		}
	}
	d.address(&a, d.arg(address))
	d.meta.class = ClassGlobal
	if a.space == spaceShared {
		d.meta.class = ClassShared
	}
	rows, cols := s.m, s.n
	switch part {
	case "a":
		cols = s.k
	case "b":
		rows = s.k
	}
	stride := cols
	if column {
		stride = rows
	}
	strideReg := int32(-1)
	if len(d.src.Args) == 3 {
		strideReg = d.src32(d.arg(2))
	}
	d.in.x = &extra{access: a}
	d.in.flow, d.in.a = flowWarp, -1
	d.in.run = func(w *warp, in *instr, mask uint32) {
		w.wmmaMove(in, &frag, mask, cols, stride, strideReg, column)
	}
}

func (w *warp) wmmaMove(in *instr, f *fragment, mask uint32, cols, stride int, strideReg int32, column bool) {
	a := &in.x.access
	var base vec[uint64]
	w.addresses(a, &base)
	if w.san != nil {
		w.san.begin(w, a)
	}
	for r, off := range f.regs {
		d := reg[uint32](w, off)
		for e := range f.format.per {
			var addr vec[uint64]
			for lane := range addr {
				n := int(f.at[r*f.format.per+e][lane])
				row, col := n/cols, n%cols
				if column {
					row, col = col, row
				}
				ld := stride
				if strideReg >= 0 {
					ld = int(reg[uint32](w, strideReg)[lane])
				}
				addr[lane] = base[lane] + uint64((row*ld+col)*a.size)
			}
			w.observe(in, a, &addr, mask)
			for m := mask; m != 0; m &= m - 1 {
				i := bits.TrailingZeros32(m) & 31
				p := w.locate(in, a, i, addr[i], a.size)
				if p.ptr == nil {
					continue
				}
				if w.san != nil {
					w.san.access(w, in, a, i, p)
				}
				shift := e * f.format.bits
				keep := uint32(1<<f.format.bits - 1)
				if w.san != nil && p.space == spaceShared {
					w.elementBits(a, off, i, shift, uint64(keep), p.off)
				}
				if a.store {
					storeElement(p.ptr, a.size, false, uint64(d[i]>>shift&keep))
				} else {
					d[i] = d[i]&^(keep<<shift) | uint32(loadElement(p.ptr, a.size, false))<<shift
				}
			}
		}
	}
}

// wmmaMultiply is wmma.mma. The f16 form names the types of D and C alone.
func wmmaMultiply(d *decoder) {
	d.args(4, 4)
	s := d.shape()
	at := 0
	for i, m := range d.mods {
		if _, ok := shapes[m]; ok {
			at = i
		}
	}
	types := d.mods[at+1:]
	if len(types) == 2 {
		types = []string{types[0], "f16", "f16", types[1]}
	}
	bind := func(i int, part, typ string) fragment {
		return wmmaFragment(s, part, elements[typ],
			d.vectorOf(d.arg(i), wmmaRegisters(s, part, typ), width32, part == "d"))
	}
	a, b := bind(1, "a", types[1]), bind(2, "b", types[2])
	c, out := bind(3, "c", types[3]), bind(0, "d", types[0])
	d.multiply(s, &a, &b, &c, &out)
}
