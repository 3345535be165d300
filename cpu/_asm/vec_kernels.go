package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// kernel is one elementwise function: every form of it is a loop of package cpu.
type kernel struct {
	name  string // of the generic loops, without the form
	fn    string // row of the table
	forms []string
	cost  float64 // nanoseconds per element, roughly
	light bool    // so few steps that the loop is worth unrolling
	body  func(s isa, a []vec) vec
}

var kernels = []kernel{
	{"neg", "expr.Neg", f("V"), 0.05, true, func(s isa, a []vec) vec { return s.do(xor, a[0], signBit) }},
	{"abs", "expr.Abs", f("V"), 0.05, true, func(s isa, a []vec) vec { return s.do(and, a[0], noSign) }},
	{"sign", "expr.Sign", f("V"), 0.08, true, isa.sign},
	{"sqrt", "expr.Sqrt", f("V"), 0.5, false, func(s isa, a []vec) vec { d := s.reg(); s.VSQRTPS(a[0], d); return d }},
	{"exp", "expr.Exp", f("V"), 0.3, false, func(s isa, a []vec) vec { return s.exp(a[0]) }},
	{"log", "expr.Log", f("V"), 0.4, false, isa.log},
	{"tanh", "expr.Tanh", f("V"), 0.6, false, isa.tanh},
	{"sigmoid", "expr.Sigmoid", f("V"), 0.5, false, isa.sigmoid},
	{"softplus", "expr.Softplus", f("V"), 0.6, false, isa.softplus},
	{"relu", "expr.Relu", f("V"), 0.05, true, isa.relu},
	{"floor", "expr.Floor", f("V"), 0.05, true, isa.floor},

	{"add", "expr.Add", f("VV", "VS"), 0.06, true, func(s isa, a []vec) vec { return s.do(add, a[0], a[1]) }},
	{"sub", "expr.Sub", f("VV", "VS", "SV"), 0.06, true, func(s isa, a []vec) vec { return s.do(sub, a[0], a[1]) }},
	{"mul", "expr.Mul", f("VV", "VS"), 0.06, true, func(s isa, a []vec) vec { return s.do(mul, a[0], a[1]) }},
	{"div", "expr.Div", f("VV", "VS", "SV"), 0.25, false, func(s isa, a []vec) vec { return s.do(div, a[0], a[1]) }},
	{"max", "expr.Max", f("VV", "VS"), 0.08, true, func(s isa, a []vec) vec { return s.maximum(a[0], a[1]) }},
	{"min", "expr.Min", f("VV", "VS"), 0.08, true, func(s isa, a []vec) vec { return s.minimum(a[0], a[1]) }},
	{"lt", "expr.Lt", f("VV", "VS", "SV"), 0.07, true, comparison(lessThan)},
	{"le", "expr.Le", f("VV", "VS", "SV"), 0.07, true, comparison(lessEqual)},
	{"eq", "expr.Eq", f("VV", "VS"), 0.07, true, comparison(equal)},

	{"where", "expr.Where", f("VVV", "VVS", "VSV"), 0.08, true, func(s isa, a []vec) vec {
		return s.choose(s.compare(notEqual, a[0], s.zero()), a[1], a[2])
	}},
	{"clamp", "expr.Clamp", f("VVV", "VSS"), 0.1, true, func(s isa, a []vec) vec {
		return s.minimum(s.maximum(a[0], a[1]), a[2])
	}},
	{"mulAdd", "mulAdd", f("VVV", "VSV"), 0.08, true, func(s isa, a []vec) vec {
		return s.do(add, s.do(mul, a[0], a[1]), a[2])
	}},
	{"subMul", "subMul", f("VVV", "VSV"), 0.08, true, func(s isa, a []vec) vec {
		return s.do(sub, a[2], s.do(mul, a[0], a[1]))
	}},
}

// intKernel is a loop on Int values.
type intKernel struct {
	name, fn, field string
	signature       string
	operands        int
	body            func(s isa, a []vec) vec
}

var intKernels = []intKernel{
	{"iaddVV", "expr.IAdd", "toInt", "func(dst, a, b []int32)", 2, func(s isa, a []vec) vec { return s.do(iadd, a[0], a[1]) }},
	{"isubVV", "expr.ISub", "toInt", "func(dst, a, b []int32)", 2, func(s isa, a []vec) vec { return s.do(isub, a[0], a[1]) }},
	{"imulVV", "expr.IMul", "toInt", "func(dst, a, b []int32)", 2, func(s isa, a []vec) vec { return s.do(imul, a[0], a[1]) }},
	{"iltVV", "expr.ILt", "toReal", "func(dst []float32, a, b []int32)", 2, func(s isa, a []vec) vec {
		return s.keep(s.icompare((*build.Context).VPCMPGTD, a[1], a[0]), f32(1))
	}},
	{"ieqVV", "expr.IEq", "toReal", "func(dst []float32, a, b []int32)", 2, func(s isa, a []vec) vec {
		return s.keep(s.icompare((*build.Context).VPCMPEQD, a[0], a[1]), f32(1))
	}},
	{"toReal", "expr.ToReal", "cast", "func(dst []float32, a []int32)", 1, func(s isa, a []vec) vec {
		d := s.reg()
		s.VCVTDQ2PS(a[0], d)
		return d
	}},
	{"toInt", "expr.ToInt", "trunc", "func(dst []int32, a []float32)", 1, func(s isa, a []vec) vec {
		d := s.reg()
		s.VCVTTPS2DQ(a[0], d) // -2³¹ for all that does not fit
		inside := s.keep(s.compare(lessThan, a[0], f32(0x1p31)), d)
		return s.keep(s.compare(lessEqual, s.load(f32(-0x1p31)), a[0]), inside)
	}},
}

func f(forms ...string) []string { return forms }

// prepared are better bodies for some forms: they compute something of the scalars before the loop.
var prepared = map[string]func(s isa, scalar []vec) func(s isa, a []vec) vec{
	"maxVS": func(s isa, scalar []vec) func(s isa, a []vec) vec {
		atLeast := s.atLeast(scalar[1])
		return func(_ isa, a []vec) vec { return atLeast(a[0]) }
	},
	"minVS": func(s isa, scalar []vec) func(s isa, a []vec) vec {
		atMost := s.atMost(scalar[1])
		return func(_ isa, a []vec) vec { return atMost(a[0]) }
	},
	"clampVSS": func(s isa, scalar []vec) func(s isa, a []vec) vec {
		atLeast, atMost := s.atLeast(scalar[1]), s.atMost(scalar[2])
		return func(_ isa, a []vec) vec { return atMost(atLeast(a[0])) }
	},
}

// elementwise writes all loops of the tables for one instruction set.
func (s isa) elementwise() {
	for _, k := range kernels {
		for _, form := range k.forms {
			signature := "func(dst"
			for i, c := range form { // dst, a, b []float32, c float32
				if c == 'S' && (i == 0 || form[i-1] == 'V') {
					signature += " []float32"
				}
				if c == 'V' && i > 0 && form[i-1] == 'S' {
					signature += " float32"
				}
				signature += ", " + string(rune('a'+i))
			}
			signature += map[byte]string{'V': " []float32)", 'S': " float32)"}[form[len(form)-1]]
			s.begin(k.name+form, signature, "")
			unroll := 1
			if k.light {
				unroll = 4
			}
			s.loop(form, unroll, k.body, prepared[k.name+form])
		}
	}
	for _, k := range intKernels {
		s.begin(k.name, k.signature, "")
		s.loop("VV"[:k.operands], 2, k.body, nil)
	}
	s.begin("fillS", "func(dst []float32, a float32)", "")
	s.loop("S", 4, func(s isa, a []vec) vec { return a[0] }, nil)
}

// loop writes the body of a function over dst and the operands a, b, …, which form calls vectors or scalars. If prepare
// is not nil, it is called before the loop with the scalars, each at its place, and gives the body.
func (s isa) loop(form string, unroll int, body func(s isa, a []vec) vec, prepare func(s isa, scalar []vec) func(s isa, a []vec) vec) {
	n := s.Load(s.Param("dst").Len(), s.GP64())
	dst := s.Load(s.Param("dst").Base(), s.GP64())
	from := make([]reg.Register, len(form))
	fixed := make([]vec, len(form))
	for i, c := range form {
		name := string(rune('a' + i))
		if c == 'V' {
			from[i] = s.Load(s.Param(name).Base(), s.GP64())
		} else {
			fixed[i] = s.broadcast(s.param(name))
		}
	}
	if prepare != nil {
		body = prepare(s, fixed)
	}
	i := s.GP64()
	s.XORQ(i, i)
	block := func(at int, part *mask) {
		args := make([]vec, len(form))
		for j := range args {
			if args[j] = fixed[j]; from[j] != nil {
				args[j] = s.read(Mem{Base: from[j], Index: i, Scale: 4, Disp: at}, part)
			}
		}
		s.write(body(s, args), Mem{Base: dst, Index: i, Scale: 4, Disp: at}, part)
	}
	for _, u := range []int{unroll, 1} {
		if u == 1 && unroll == 1 && u != unroll {
			continue
		}
		here, next := fmt.Sprintf("by%d", u), fmt.Sprintf("past%d", u)
		s.CMPQ(n, U32(u*s.lanes()))
		s.JL(LabelRef(next))
		s.Label(here)
		for j := range u {
			block(j*s.bytes, nil)
		}
		s.ADDQ(U32(u*s.lanes()), i)
		s.SUBQ(U32(u*s.lanes()), n)
		s.CMPQ(n, U32(u*s.lanes()))
		s.JGE(LabelRef(here))
		s.Label(next)
		if unroll == 1 {
			break
		}
	}
	s.TESTQ(n, n)
	s.JE(LabelRef("done"))
	part := s.tail(n)
	block(0, &part)
	s.Label("done")
	s.end()
}
