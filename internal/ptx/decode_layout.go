package ptx

import (
	"strconv"

	"bilevel/internal/ptx/syntax"
)

// layoutShared places the shared variables of the module and of all its functions that this kernel may reach.
func (d *decoder) layoutShared() {
	m := d.k.Module.tree
	place := func(v *syntax.Var) {
		if v.Space == syntax.Shared && !unsized(v) {
			d.p.shared = alignTo(d.p.shared, max(v.Align, v.Bytes(), 1)) + v.Size()
		}
	}
	// Placed again, in the same order, by sharedVars.
	for _, v := range m.Vars {
		place(v)
	}
	for _, f := range m.Funcs {
		if f == d.k.fn || !f.Entry {
			for _, v := range f.Vars {
				place(v)
			}
		}
	}
	d.p.dynamic = alignTo(d.p.shared, 16)
}

// sharedVars gives the addresses of the shared variables that f sees.
func (d *decoder) sharedVars(f *frame) {
	at := 0
	place := func(v *syntax.Var, seen bool) {
		if v.Space != syntax.Shared {
			return
		}
		if unsized(v) {
			if seen {
				f.vars[v.Name] = variable{syntax.Shared, int64(d.p.dynamic), 0}
			}
			return
		}
		at = alignTo(at, max(v.Align, v.Bytes(), 1))
		if seen {
			f.vars[v.Name] = variable{syntax.Shared, int64(at), v.Size()}
		}
		at += v.Size()
	}
	m := d.k.Module.tree
	for _, v := range m.Vars {
		place(v, true)
	}
	for _, g := range m.Funcs {
		if g == d.k.fn || !g.Entry {
			for _, v := range g.Vars {
				place(v, g == f.fn)
			}
		}
	}
}

func unsized(v *syntax.Var) bool { return len(v.Dims) > 0 && v.Dims[0] < 0 || v.Extern }

func alignTo(n, align int) int { return (n + align - 1) / align * align }

// enter makes the frame of a function and queues it for decoding.
func (d *decoder) enter(fn *syntax.Func) *frame {
	if f := d.frames[fn.Name]; f != nil {
		return f
	}
	f := &frame{fn: fn, regs: map[string]register{}, vars: map[string]variable{}}
	d.frames[fn.Name] = f
	d.queue = append(d.queue, f)
	d.sharedVars(f)
	used := &d.p.local
	if f.stacked = !fn.Entry && d.k.Module.recursive(fn.Name); f.stacked {
		d.stack, used, f.start = true, &f.size, d.alloc(width32)
		f.saved = append(f.saved, location{reg: f.start})
	}
	local := func(v *syntax.Var, space syntax.Space) variable {
		*used = alignTo(*used, max(v.Align, v.Bytes(), 1))
		x := variable{space, int64(*used), v.Size()}
		f.vars[v.Name] = x
		*used += v.Size()
		return x
	}
	if fn.Entry {
		for i, v := range fn.Params {
			f.vars[v.Name] = variable{syntax.Param, int64(d.k.Params[i].off), v.Size()}
		}
	} else {
		f.back = d.alloc(width32)
		f.saved = append(f.saved, location{reg: f.back})
		d.p.backs = append(d.p.backs, f.back)
		for _, v := range fn.Params {
			f.params = append(f.params, d.formal(f, v, local))
		}
		for _, v := range fn.Results {
			f.results = append(f.results, d.formal(f, v, local))
		}
	}
	for _, v := range fn.Vars {
		switch v.Space {
		case syntax.Reg:
			d.declare(f, v)
		case syntax.Local, syntax.Param: // parameters of calls live in local memory
			local(v, syntax.Local)
		}
	}
	return f
}

// formal places a parameter or result of a function: in local memory, or in a register for .reg ones.
func (d *decoder) formal(f *frame, v *syntax.Var, local func(*syntax.Var, syntax.Space) variable) variable {
	if v.Space == syntax.Reg {
		d.declare(f, v)
		return variable{space: syntax.Reg}
	}
	return local(v, syntax.Local)
}

var typeBits = map[string]int{
	"pred": 1, "b8": 8, "u8": 8, "s8": 8, "b16": 16, "u16": 16, "s16": 16, "f16": 16, "bf16": 16,
	"b32": 32, "u32": 32, "s32": 32, "f32": 32, "f16x2": 32, "bf16x2": 32, "tf32": 32,
	"b64": 64, "u64": 64, "s64": 64, "f64": 64,
}

func (d *decoder) declare(f *frame, v *syntax.Var) {
	bits := typeBits[v.Type]
	if v.Vector > 1 || bits == 0 {
		return // b128 and vectors of registers: an error where they are used
	}
	one := func(name string) {
		r := register{d.alloc(widthOf(bits)), widthOf(bits), bits}
		f.regs[name], d.p.widths[r.off] = r, bits
		d.p.declared = append(d.p.declared, r)
		if f.stacked {
			f.saved = append(f.saved, location{reg: r.off, wide: r.width == width64, pred: r.width == widthPred})
		}
	}
	if v.Count == 0 {
		one(v.Name)
	}
	for i := range v.Count {
		one(v.Name + strconv.Itoa(i))
	}
}

// alloc reserves a register in the file. Predicates share chunks, so that vectors stay aligned.
func (d *decoder) alloc(w width) int32 {
	switch w {
	case widthPred:
		if d.free%128 == 0 {
			d.free = d.end
			d.end += 128
		}
		d.free += 4
		return d.free - 4
	case width32:
		d.end += 128
		return d.end - 128
	}
	d.end += 256
	return d.end - 256
}
