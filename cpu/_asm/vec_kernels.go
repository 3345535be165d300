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
	forms []string
	light bool // so few steps that the loop is worth unrolling
	body  body
}

// body computes one vector of results from one vector of each operand.
type body = func(s isa, a []vec) vec

var kernels = []kernel{
	{"neg", f("V"), true, func(s isa, a []vec) vec { return s.do(xor, a[0], signBit) }},
	{"abs", f("V"), true, func(s isa, a []vec) vec { return s.do(and, a[0], noSign) }},
	{"sign", f("V"), true, isa.sign},
	{"sqrt", f("V"), false, func(s isa, a []vec) vec { return s.sqrt(a[0]) }},
	{"exp", f("V"), false, func(s isa, a []vec) vec { return s.exp(a[0]) }},
	{"log", f("V"), false, isa.log},
	{"tanh", f("V"), false, isa.tanh},
	{"sigmoid", f("V"), false, isa.sigmoid},
	{"softplus", f("V"), false, isa.softplus},
	{"relu", f("V"), true, isa.relu},
	{"floor", f("V"), true, isa.floor},

	{"add", f("VV", "VS"), true, func(s isa, a []vec) vec { return s.do(add, a[0], a[1]) }},
	{"sub", f("VV", "VS", "SV"), true, func(s isa, a []vec) vec { return s.do(sub, a[0], a[1]) }},
	{"mul", f("VV", "VS"), true, func(s isa, a []vec) vec { return s.do(mul, a[0], a[1]) }},
	{"div", f("VV", "VS", "SV"), false, func(s isa, a []vec) vec { return s.do(div, a[0], a[1]) }},
	{"max", f("VV", "VS"), true, func(s isa, a []vec) vec { return s.maximum(a[0], a[1]) }},
	{"min", f("VV", "VS"), true, func(s isa, a []vec) vec { return s.minimum(a[0], a[1]) }},
	{"lt", f("VV", "VS", "SV"), true, comparison(lessThan)},
	{"le", f("VV", "VS", "SV"), true, comparison(lessEqual)},
	{"eq", f("VV", "VS"), true, comparison(equal)},

	{"where", f("VVV", "VVS", "VSV"), true, func(s isa, a []vec) vec {
		return s.choose(s.compare(notEqual, a[0], s.zero()), a[1], a[2])
	}},
	{"clamp", f("VVV", "VSS"), true, func(s isa, a []vec) vec {
		return s.minimum(s.maximum(a[0], a[1]), a[2])
	}},
	{"mulAdd", f("VVV", "VSV"), true, func(s isa, a []vec) vec {
		return s.do(add, s.do(mul, a[0], a[1]), a[2])
	}},
	{"subMul", f("VVV", "VSV"), true, func(s isa, a []vec) vec {
		return s.do(sub, a[2], s.do(mul, a[0], a[1]))
	}},
}

// intKernel is a loop on Int values.
type intKernel struct {
	name      string
	signature string
	operands  int
	body      body
}

var intKernels = []intKernel{
	{"iaddVV", "func(dst, a, b []int32)", 2, func(s isa, a []vec) vec { return s.do(iadd, a[0], a[1]) }},
	{"isubVV", "func(dst, a, b []int32)", 2, func(s isa, a []vec) vec { return s.do(isub, a[0], a[1]) }},
	{"imulVV", "func(dst, a, b []int32)", 2, func(s isa, a []vec) vec { return s.do(imul, a[0], a[1]) }},
	{"iltVV", "func(dst []float32, a, b []int32)", 2, func(s isa, a []vec) vec {
		return s.keep(s.icompare((*build.Context).VPCMPGTD, a[1], a[0]), f32(1))
	}},
	{"ieqVV", "func(dst []float32, a, b []int32)", 2, func(s isa, a []vec) vec {
		return s.keep(s.icompare((*build.Context).VPCMPEQD, a[0], a[1]), f32(1))
	}},
	{"toReal", "func(dst []float32, a []int32)", 1, func(s isa, a []vec) vec { return s.toReal(a[0]) }},
	{"toInt", "func(dst []int32, a []float32)", 1, func(s isa, a []vec) vec {
		d := s.reg()
		s.VCVTTPS2DQ(a[0], d) // -2³¹ for all that does not fit
		inside := s.keep(s.compare(lessThan, a[0], f32(0x1p31)), d)
		return s.keep(s.compare(lessEqual, s.load(f32(-0x1p31)), a[0]), inside)
	}},
}

func f(forms ...string) []string { return forms }

// prepared are better bodies for some forms: they compute something of the scalars before the loop.
var prepared = map[string]func(s isa, scalar []vec) body{
	"maxVS": func(s isa, scalar []vec) body {
		atLeast := s.atLeast(scalar[1])
		return func(_ isa, a []vec) vec { return atLeast(a[0]) }
	},
	"minVS": func(s isa, scalar []vec) body {
		atMost := s.atMost(scalar[1])
		return func(_ isa, a []vec) vec { return atMost(a[0]) }
	},
	"clampVSS": func(s isa, scalar []vec) body {
		atLeast, atMost := s.atLeast(scalar[1]), s.atMost(scalar[2])
		return func(_ isa, a []vec) vec { return atMost(atLeast(a[0])) }
	},
}

// elementwise writes all loops of the tables for one instruction set.
func (s isa) elementwise() {
	for _, k := range kernels {
		for _, form := range k.forms {
			s.begin(k.name+form, signatureOf(form), "")
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

// signatureOf is the type of the loops of a form: vectors a, b, … or scalars, after dst.
func signatureOf(form string) string {
	signature := "func(dst []float32"
	for i, c := range form {
		signature += ", " + string(rune('a'+i)) + map[rune]string{'V': " []float32", 'S': " float32"}[c]
	}
	return signature + ")"
}

// loop writes the body of a function over dst and the operands a, b, …, which form calls vectors or scalars. If prepare
// is not nil, it is called before the loop with the scalars, each at its place, and gives the body.
func (s isa) loop(form string, unroll int, body body, prepare func(s isa, scalar []vec) body) {
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
	steps := []int{unroll, 1}
	if unroll == 1 {
		steps = steps[1:]
	}
	for _, u := range steps {
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
	}
	s.TESTQ(n, n)
	s.JE(LabelRef("done"))
	part := s.tail(n)
	block(0, &part)
	s.Label("done")
	s.end()
}
