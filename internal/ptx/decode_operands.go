package ptx

import (
	"math"
	"slices"

	"bilevel/internal/ptx/syntax"
)

// has says whether the instruction carries the suffix.
func (d *decoder) has(word string) bool { return slices.Contains(d.mods, word) }

// which returns the first of words among the suffixes, "" if none is there.
func (d *decoder) which(words ...string) string {
	for _, w := range words {
		if d.has(w) {
			return w
		}
	}
	return ""
}

// typ is the last suffix.
func (d *decoder) typ() string { return d.mods[len(d.mods)-1] }

// arg returns operand i.
func (d *decoder) arg(i int) syntax.Operand {
	if i >= len(d.src.Args) {
		d.fail("operand %d is missing", i+1)
	}
	return d.src.Args[i]
}

// args checks the number of operands.
func (d *decoder) args(least, most int) {
	if n := len(d.src.Args); n < least || n > most {
		d.fail("%d operands, expected %d", n, least)
	}
}

// use and def record registers for the sanitizer.
func (d *decoder) use(off int32, name string) int32 {
	d.meta.uses = append(d.meta.uses, operand{off, name})
	return off
}

func (d *decoder) def(off int32, name string) int32 {
	d.meta.defs = append(d.meta.defs, operand{off, name})
	return off
}

// lookup finds a declared register; ok is false for special registers and names that are no registers.
func (d *decoder) lookup(name string) (register, bool) {
	r, ok := d.f.regs[name]
	return r, ok
}

// dst is the register that operand op names, of width w; the sink "_" gets a register of its own.
func (d *decoder) dst(op syntax.Operand, w width) int32 {
	if op.Kind == syntax.Register && op.Name == "_" {
		return d.alloc(w)
	}
	r, ok := d.lookup(op.Name)
	if op.Kind != syntax.Register || !ok {
		d.fail("the destination %s is not a register", op.Name)
	}
	if r.width != w {
		d.fail("register %s has the wrong size", op.Name)
	}
	return d.def(r.off, op.Name)
}

// pred is a predicate operand; its negation is for the caller to see in op.Not.
func (d *decoder) pred(op syntax.Operand) int32 {
	if op.Kind == syntax.Integer {
		if op.Bits == 0 {
			d.fail("a constant predicate is not supported")
		}
		return alwaysTrue
	}
	if op.Name == "%pt" || op.Name == "PT" {
		return alwaysTrue
	}
	r, ok := d.lookup(op.Name)
	if op.Kind != syntax.Register || !ok || r.width != widthPred {
		d.fail("%s is not a predicate", op.Name)
	}
	return d.use(r.off, op.Name)
}

// src32 and src64 are source operands: registers, immediates, special registers, addresses of variables.
func (d *decoder) src32(op syntax.Operand) int32 { return d.operand(op, width32) }
func (d *decoder) src64(op syntax.Operand) int32 { return d.operand(op, width64) }

func (d *decoder) operand(op syntax.Operand, w width) int32 {
	if op.Minus || op.Not {
		d.fail("a negated operand is not supported")
	}
	switch op.Kind {
	case syntax.Integer:
		return d.immediate(op.Bits, w)
	case syntax.Float32:
		if w == width64 {
			return d.immediate(math.Float64bits(float64(math.Float32frombits(uint32(op.Bits)))), w)
		}
		return d.immediate(op.Bits, w)
	case syntax.Float64:
		if w == width32 {
			return d.immediate(uint64(math.Float32bits(float32(math.Float64frombits(op.Bits)))), w)
		}
		return d.immediate(op.Bits, w)
	case syntax.Register:
		if r, ok := d.lookup(op.Name); ok {
			if r.width != w {
				d.fail("register %s has the wrong size", op.Name)
			}
			return d.use(r.off, op.Name)
		}
		return d.specialRegister(op.Name, w)
	case syntax.Symbol:
		return d.symbol(op.Name, op.Offset, w)
	}
	d.fail("unexpected operand %s", op.Name)
	return 0
}

func (d *decoder) immediate(v uint64, w width) int32 {
	if w == width64 {
		off, ok := d.imm64[v]
		if !ok {
			off = d.alloc(width64)
			d.imm64[v] = off
			d.p.consts64 = append(d.p.consts64, preload64{off, v})
		}
		return off
	}
	off, ok := d.imm32[uint32(v)]
	if !ok {
		off = d.alloc(width32)
		d.imm32[uint32(v)] = off
		d.p.consts32 = append(d.p.consts32, preload32{off, uint32(v)})
	}
	return off
}

// symbol is a register with the address of a variable in its own space.
func (d *decoder) symbol(name string, add int64, w width) int32 {
	if v, ok := d.f.vars[name]; ok {
		if d.f.stacked && v.space == syntax.Local {
			x := derived{location{reg: d.alloc(w), wide: w == width64}, v.off + add}
			d.f.derived, d.f.saved = append(d.f.derived, x), append(d.f.saved, x.location)
			return x.reg
		}
		return d.immediate(uint64(v.off+add), w)
	}
	if addr := d.k.Module.addressOf(name); addr != 0 {
		if w != width64 {
			d.fail("the address of %s needs a 64-bit register", name)
		}
		return d.immediate(addr, w)
	}
	g := d.variable(name)
	if w != width64 {
		d.fail("the address of %s needs a 64-bit register", name)
	}
	key := symbolKey{g.index, add}
	off, ok := d.symReg[key]
	if !ok {
		off = d.alloc(width64)
		d.symReg[key] = off
		d.p.symbols = append(d.p.symbols, preloadSymbol{off, g.index, add})
	}
	return off
}

func (d *decoder) specialRegister(name string, w width) int32 {
	s, ok := specials[name]
	if !ok {
		d.fail("%s is not a register that is supported", name)
	}
	if s.dynamic {
		d.fail("%s can only be read by mov", name)
	}
	wide := w == width64
	key := name
	if wide {
		key += ":64"
	}
	off, ok := d.sysReg[key]
	if !ok {
		off = d.alloc(w)
		d.sysReg[key] = off
		d.p.specials = append(d.p.specials, preloadSpecial{off, s.reg, wide})
	}
	return off
}
