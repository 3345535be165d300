package ptx

import "bilevel/internal/ptx/arith"

func halfForms() []form {
	c, s := ClassFP16, ClassSpecial
	var rows []form
	for _, op := range []struct {
		name string
		f    func(h arith.Half, m arith.Mode, a, b uint16) uint16
	}{{"add", arith.Half.Add}, {"sub", arith.Half.Sub}, {"mul", arith.Half.Mul}} {
		rows = append(rows,
			form{op: op.name, suffixes: "rn? ftz? sat? f16|f16x2", class: c, build: flops(1, packed2(op.f))},
			form{op: op.name, suffixes: "rn? bf16|bf16x2", class: c, build: flops(1, packed2(op.f))})
	}
	return append(rows, []form{
		{op: "fma", suffixes: "rn ftz? sat|relu? f16|f16x2", class: c, build: flops(2, packed3(arith.Half.Fma))},
		{op: "fma", suffixes: "rn relu? bf16|bf16x2", class: c, build: flops(2, packed3(arith.Half.Fma))},
		{op: "min", suffixes: "ftz? NaN? xorsign? abs? f16|f16x2", class: c, build: flops(1, packed2(arith.Half.Min))},
		{op: "max", suffixes: "ftz? NaN? xorsign? abs? f16|f16x2", class: c, build: flops(1, packed2(arith.Half.Max))},
		{op: "min", suffixes: "NaN? xorsign? abs? bf16|bf16x2", class: c, build: flops(1, packed2(arith.Half.Min))},
		{op: "max", suffixes: "NaN? xorsign? abs? bf16|bf16x2", class: c, build: flops(1, packed2(arith.Half.Max))},
		{op: "abs", suffixes: "ftz? f16|f16x2", class: c, build: packed1(arith.Half.Abs)},
		{op: "neg", suffixes: "ftz? f16|f16x2", class: c, build: packed1(arith.Half.Neg)},
		{op: "abs", suffixes: "bf16|bf16x2", class: c, build: packed1(arith.Half.Abs)},
		{op: "neg", suffixes: "bf16|bf16x2", class: c, build: packed1(arith.Half.Neg)},
		{op: "ex2", suffixes: "approx f16|f16x2", class: s, build: approximateHalf(arith.Ex2F16)},
		{op: "ex2", suffixes: "approx ftz bf16|bf16x2", class: s, build: approximateHalf(arith.Ex2BF16)},
		{op: "tanh", suffixes: "approx f16|f16x2", class: s, build: approximateHalf(arith.TanhF16)},
		{op: "tanh", suffixes: "approx bf16|bf16x2", class: s, build: approximateHalf(arith.TanhBF16)},
	}...)
}

// half is the format of the instruction at hand, and whether two numbers share a register.
func (d *decoder) half() (h arith.Half, two bool) {
	switch d.typ() {
	case "f16":
		return arith.F16(), false
	case "f16x2":
		return arith.F16(), true
	case "bf16":
		return arith.BF16(), false
	}
	return arith.BF16(), true
}

func packed1(f func(h arith.Half, m arith.Mode, a uint16) uint16) func(*decoder) {
	return func(d *decoder) {
		m := d.mode()
		h, two := d.half()
		one := func(a uint16) uint16 { return f(h, m, a) }
		if two {
			bind1(d, each1(func(a uint32) uint32 { return arith.Pack1(one, a) }))
		} else {
			bind1(d, each1(func(a uint32) uint32 { return uint32(one(u16(a))) }))
		}
	}
}

func packed2(f func(h arith.Half, m arith.Mode, a, b uint16) uint16) func(*decoder) {
	return func(d *decoder) {
		m := d.mode()
		h, two := d.half()
		one := func(a, b uint16) uint16 { return f(h, m, a, b) }
		if two {
			bind2(d, each2(func(a, b uint32) uint32 { return arith.Pack2(one, a, b) }))
		} else {
			bind2(d, each2(func(a, b uint32) uint32 { return uint32(one(u16(a), u16(b))) }))
		}
	}
}

func packed3(f func(h arith.Half, m arith.Mode, a, b, c uint16) uint16) func(*decoder) {
	return func(d *decoder) {
		m := d.mode()
		h, two := d.half()
		one := func(a, b, c uint16) uint16 { return f(h, m, a, b, c) }
		if two {
			bind3(d, each3(func(a, b, c uint32) uint32 { return arith.Pack3(one, a, b, c) }))
		} else {
			bind3(d, each3(func(a, b, c uint32) uint32 { return uint32(one(u16(a), u16(b), u16(c))) }))
		}
	}
}

func approximateHalf(f arith.Approx) func(*decoder) {
	return func(d *decoder) {
		d.args(2, 2)
		d.meta.flops, d.meta.kind = 1, flop16
		_, two := d.half()
		d.in.d, d.in.a = d.dst(d.arg(0), width32), d.src32(d.arg(1))
		d.in.b = d.in.a
		exact := func(a uint16) uint16 { return uint16(f.Eval(uint32(a), 0, false)) }
		d.in.run = approxRunner(func(a, _ uint32) uint32 {
			if two {
				return arith.Pack1(exact, a)
			}
			return uint32(exact(u16(a)))
		}, func(a, _ uint32, r uint64) uint32 {
			one := func(a uint16) uint16 { r = mix(r); return uint16(f.Perturb(uint32(a), 0, false, r)) }
			if two {
				return arith.Pack1(one, a)
			}
			return uint32(one(u16(a)))
		})
	}
}
