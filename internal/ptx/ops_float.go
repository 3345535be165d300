package ptx

import (
	"math"

	"bilevel/internal/ptx/arith"
)

const rounds = "rn|rz|rm|rp"

func floatForms() []form {
	c, s := ClassFP32, ClassSpecial
	return []form{
		{op: "add", suffixes: rounds + "? ftz? sat? f32", class: c, build: addFloat},
		{op: "sub", suffixes: rounds + "? ftz? sat? f32", class: c, build: subFloat},
		{op: "mul", suffixes: rounds + "? ftz? sat? f32", class: c, build: mulFloat},
		{op: "fma", suffixes: rounds + " ftz? sat? f32", class: c, build: fmaFloat},
		{op: "mad", suffixes: rounds + " ftz? sat? f32", class: c, build: fmaFloat},
		{op: "div", suffixes: rounds + " ftz? f32", class: c, build: flops(1, mode2(arith.Mode.DivF32))},
		{op: "rcp", suffixes: rounds + " ftz? f32", class: c, build: flops(1, mode1(arith.Mode.RcpF32))},
		{op: "sqrt", suffixes: rounds + " ftz? f32", class: c, build: flops(1, mode1(arith.Mode.SqrtF32))},
		{op: "min", suffixes: "ftz? NaN? xorsign? abs? f32", class: c, build: extremeFloat(arith.Mode.MinF32)},
		{op: "max", suffixes: "ftz? NaN? xorsign? abs? f32", class: c, build: extremeFloat(arith.Mode.MaxF32)},
		{op: "abs", suffixes: "ftz? f32", class: c, build: mode1(arith.Mode.AbsF32)},
		{op: "neg", suffixes: "ftz? f32", class: c, build: mode1(arith.Mode.NegF32)},
		{op: "copysign", suffixes: "f32", class: c, build: lane2(arith.CopysignF32)},

		{op: "ex2", suffixes: "approx ftz? f32", class: s, build: approximate(arith.Ex2)},
		{op: "lg2", suffixes: "approx ftz? f32", class: s, build: approximate(arith.Lg2)},
		{op: "sin", suffixes: "approx ftz? f32", class: s, build: approximate(arith.Sin)},
		{op: "cos", suffixes: "approx ftz? f32", class: s, build: approximate(arith.Cos)},
		{op: "tanh", suffixes: "approx f32", class: s, build: approximate(arith.Tanh)},
		{op: "rcp", suffixes: "approx ftz? f32", class: s, build: approximate(arith.Rcp)},
		{op: "rsqrt", suffixes: "approx ftz? f32", class: s, build: approximate(arith.Rsqrt)},
		{op: "sqrt", suffixes: "approx ftz? f32", class: s, build: approximate(arith.Sqrt)},
		{op: "div", suffixes: "approx ftz? f32", class: s, build: approximate(arith.DivApprox)},
		{op: "div", suffixes: "full ftz? f32", class: s, build: approximate(arith.DivFull)},

		{op: "add", suffixes: rounds + "? f64", class: ClassFP64, build: flops(1, mode2(arith.Mode.AddF64))},
		{op: "sub", suffixes: rounds + "? f64", class: ClassFP64, build: flops(1, mode2(arith.Mode.SubF64))},
		{op: "mul", suffixes: rounds + "? f64", class: ClassFP64, build: flops(1, mode2(arith.Mode.MulF64))},
		{op: "fma", suffixes: rounds + " f64", class: ClassFP64, build: flops(2, mode3(arith.Mode.FmaF64))},
		{op: "mad", suffixes: rounds + " f64", class: ClassFP64, build: flops(2, mode3(arith.Mode.FmaF64))},
		{op: "div", suffixes: rounds + " f64", class: ClassFP64, build: flops(1, mode2(arith.Mode.DivF64))},
		{op: "rcp", suffixes: rounds + " f64", class: ClassFP64, build: flops(1, mode1(arith.Mode.RcpF64))},
		{op: "sqrt", suffixes: rounds + " f64", class: ClassFP64, build: flops(1, mode1(arith.Mode.SqrtF64))},
		{op: "min", suffixes: "f64", class: ClassFP64, build: flops(1, mode2(arith.Mode.MinF64))},
		{op: "max", suffixes: "f64", class: ClassFP64, build: flops(1, mode2(arith.Mode.MaxF64))},
		{op: "abs", suffixes: "f64", class: ClassFP64, build: lane1(arith.AbsF64)},
		{op: "neg", suffixes: "f64", class: ClassFP64, build: lane1(arith.NegF64)},
		{op: "copysign", suffixes: "f64", class: ClassFP64, build: lane2(arith.CopysignF64)},
		{op: "rcp", suffixes: "approx ftz f64", class: s, build: lane1(arith.RcpApproxF64)},
		{op: "rsqrt", suffixes: "approx ftz f64", class: s, build: lane1(arith.RsqrtApproxF64)},
		{op: "rsqrt", suffixes: "approx f64", class: s, build: lane1(rsqrt64)},
	}
}

// mode reads the modifiers of the instruction at hand.
func (d *decoder) mode() arith.Mode {
	m := arith.Mode{FTZ: d.has("ftz"), Sat: d.has("sat"), Relu: d.has("relu"), SatFinite: d.has("satfinite"),
		NaN: d.has("NaN"), XorSign: d.has("xorsign")}
	for _, word := range d.mods {
		if r, ok := arith.ParseRound(word); ok {
			m.Round = r
		}
	}
	if d.has("xorsign") != d.has("abs") {
		d.fail("xorsign goes with abs")
	}
	return m
}

// plain says that m is rounding to nearest with nothing else: what the fast loops do.
func plain(m arith.Mode) bool { return m == arith.Mode{} || m == arith.Mode{Round: arith.RN} }

// flops notes how many floating-point operations a lane does.
func flops(n int, build func(*decoder)) func(*decoder) {
	return func(d *decoder) {
		d.meta.flops = n
		switch d.typ() {
		case "f64":
			d.meta.kind = flop64
		case "f16", "bf16":
			d.meta.kind = flop16
		case "f16x2", "bf16x2":
			d.meta.kind = flop16
			d.meta.flops = 2 * n
		}
		build(d)
	}
}

func mode1[T uint32 | uint64](f func(m arith.Mode, a T) T) func(*decoder) {
	return func(d *decoder) {
		m := d.mode()
		bind1(d, each1(func(a T) T { return f(m, a) }))
	}
}

func mode2[T uint32 | uint64](f func(m arith.Mode, a, b T) T) func(*decoder) {
	return func(d *decoder) {
		m := d.mode()
		bind2(d, each2(func(a, b T) T { return f(m, a, b) }))
	}
}

func mode3[T uint32 | uint64](f func(m arith.Mode, a, b, c T) T) func(*decoder) {
	return func(d *decoder) {
		m := d.mode()
		bind3(d, each3(func(a, b, c T) T { return f(m, a, b, c) }))
	}
}

// The four hot instructions have loops of their own for the plain mode, in assembly where there is one, and for .ftz.
func addFloat(d *decoder) { hot2(d, addLanes(), arith.Mode.AddF32) }
func subFloat(d *decoder) { hot2(d, subLanes(), arith.Mode.SubF32) }
func mulFloat(d *decoder) { hot2(d, mulLanes(), arith.Mode.MulF32) }

func hot2(d *decoder, fast func(d, a, b *vec[uint32]), full func(m arith.Mode, a, b uint32) uint32) {
	d.meta.flops = 1
	switch m := d.mode(); {
	case plain(m):
		bind2(d, fast)
	case m == arith.Mode{FTZ: true} || m == arith.Mode{FTZ: true, Round: arith.RN}:
		bind2(d, func(d, a, b *vec[uint32]) {
			var x, y vec[uint32]
			flushLanes(&x, a)
			flushLanes(&y, b)
			fast(d, &x, &y)
			flushLanes(d, d)
		})
	default:
		bind2(d, each2(func(a, b uint32) uint32 { return full(m, a, b) }))
	}
}

func fmaFloat(d *decoder) {
	d.meta.flops = 2
	fast := fmaLanes()
	switch m := d.mode(); {
	case plain(m):
		bind3(d, fast)
	case m == arith.Mode{FTZ: true, Round: arith.RN}:
		bind3(d, func(d, a, b, c *vec[uint32]) {
			var x, y, z vec[uint32]
			flushLanes(&x, a)
			flushLanes(&y, b)
			flushLanes(&z, c)
			fast(d, &x, &y, &z)
			flushLanes(d, d)
		})
	default:
		bind3(d, each3(m.FmaF32))
	}
}

// flushLanes makes subnormal numbers zeros of their sign.
func flushLanes(d, a *vec[uint32]) {
	for i := range d {
		v := a[i]
		if v&0x7f800000 == 0 {
			v &= 0x80000000
		}
		d[i] = v
	}
}

// approximate is an instruction with an error bound; the float mode decides at run time how it is met.
func approximate(f arith.Approx) func(*decoder) {
	return func(d *decoder) {
		d.meta.flops = 1
		ftz := d.has("ftz")
		if len(d.src.Args) == 2 {
			d.in.d, d.in.a = d.dst(d.arg(0), width32), d.src32(d.arg(1))
			d.in.b = d.in.a
		} else {
			d.args(3, 3)
			d.in.d, d.in.a, d.in.b = d.dst(d.arg(0), width32), d.src32(d.arg(1)), d.src32(d.arg(2))
		}
		d.in.run = approxRunner(func(a, b uint32) uint32 { return f.Eval(a, b, ftz) },
			func(a, b uint32, r uint64) uint32 { return f.Perturb(a, b, ftz, r) })
	}
}

func approxRunner(exact func(a, b uint32) uint32, perturbed func(a, b uint32, r uint64) uint32) runner {
	return func(w *warp, in *instr, mask uint32) {
		d, a, b := reg[uint32](w, in.d), reg[uint32](w, in.a), reg[uint32](w, in.b)
		seed, pessimistic := w.block.run.perturb()
		for i := range d {
			switch {
			case mask>>i&1 == 0:
			case pessimistic:
				// A hash of the operands, so that an instruction stays a function and the result independent of the
				// schedule.
				d[i] = perturbed(a[i], b[i], mix(seed^uint64(a[i])<<32^uint64(b[i])))
			case i > 0 && mask>>(i-1)&1 != 0 && a[i] == a[i-1] && b[i] == b[i-1] && in.d != in.a && in.d != in.b:
				d[i] = d[i-1]
			default:
				d[i] = exact(a[i], b[i])
			}
		}
	}
}

// mix is a hash of 64 bits (the finalizer of SplitMix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func rsqrt64(a uint64) uint64 {
	v := 1 / math.Sqrt(math.Float64frombits(a))
	if v != v {
		return arith.NaN64
	}
	return math.Float64bits(v)
}
