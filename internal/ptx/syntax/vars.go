package syntax

import (
	"math"
	"math/bits"
	"strconv"
)

// typeBytes lists the types of variables (PTX ISA 5.2). A predicate has no size in memory.
var typeBytes = map[string]int{
	"pred": 0,
	"b8":   1, "u8": 1, "s8": 1,
	"b16": 2, "u16": 2, "s16": 2, "f16": 2, "bf16": 2,
	"b32": 4, "u32": 4, "s32": 4, "f32": 4, "f16x2": 4, "bf16x2": 4,
	"b64": 8, "u64": 8, "s64": 8, "f64": 8,
	"b128":   16,
	"texref": 8, "samplerref": 8, "surfref": 8, // opaque; only texture instructions use them
}

// Bytes returns the size of one element of v: its type times its vector length. It is 0 for predicates.
func (v *Var) Bytes() int { return typeBytes[v.Type] * v.Vector }

// Size returns the bytes of the whole variable, 0 for an array of unknown length.
func (v *Var) Size() int {
	n := v.Bytes()
	for _, d := range v.Dims {
		n *= max(d, 0)
	}
	return n
}

// vectors are the suffixes of short vectors.
var vectors = map[string]int{".v2": 2, ".v4": 4}

// attributes reads what stands between the state space and the name: alignment, type, vector, .ptr of parameters.
func (p *parser) attributes(space Space, line int) Var {
	v := Var{Space: space, Vector: 1, Line: line}
	pointer := false // what follows .ptr describes the memory pointed to, a hint
	for p.is(dotted) {
		t := p.tok
		p.next()
		switch name := t.text[1:]; {
		case name == "align":
			n := p.alignment()
			if !pointer {
				v.Align = n
			}
		case name == "attribute":
			p.skipParens()
		case name == "ptr":
			pointer = true
		case pointer && (name == "global" || name == "shared" || name == "const" || name == "local"):
		case vectors[t.text] > 0:
			v.Vector = vectors[t.text]
		case v.Type != "":
			p.fail(t, "expected a name after .%s, found %s", v.Type, t.describe())
		default:
			if _, ok := typeBytes[name]; !ok {
				p.fail(t, "%s is no type", t.describe())
			}
			v.Type = name
		}
	}
	if v.Type == "" {
		p.fail(p.tok, "expected a type such as .b32, found %s", p.tok.describe())
	}
	return v
}

// alignment reads the number of .align.
func (p *parser) alignment() int {
	t := p.tok
	n := p.plain("an alignment")
	if bits.OnesCount(uint(n)) != 1 || n > 1<<16 {
		p.fail(t, "an alignment should be a power of two up to 65536")
	}
	return n
}

// skipParens skips ( … ).
func (p *parser) skipParens() {
	open := p.expect('(', "(")
	for n := 1; n > 0; p.next() {
		switch p.tok.kind {
		case '(':
			n++
		case ')':
			n--
		case eof:
			p.fail(open, "this ( is not closed")
		}
	}
}

// dims reads array sizes, […] each, and holds the size of the whole against the limit.
func (p *parser) dims(v *Var) {
	bytes := int64(max(1, v.Bytes()))
	for p.is('[') {
		t := p.tok
		p.next()
		n := -1
		if p.is(']') && len(v.Dims) > 0 {
			p.fail(t, "only the first dimension may be empty")
		}
		if !p.is(']') {
			n = p.whole("a length", 0, maxBytes)
		}
		p.expect(']', "] after the length")
		if bytes *= int64(max(1, n)); bytes > maxBytes {
			p.fail(t, "the variable is larger than %d bytes", maxBytes)
		}
		if v.Dims = append(v.Dims, n); len(v.Dims) > 16 {
			p.fail(t, "more than 16 dimensions")
		}
	}
}

// variables reads declarations of one type up to the semicolon, and gives each to add.
func (p *parser) variables(space Space, link linkage, add func(token, *Var)) {
	base := p.attributes(space, p.tok.line)
	base.Extern, base.Visible, base.Weak = link.extern, link.visible, link.weak
	for {
		v := base
		t := p.expect(word, "a name")
		v.Name, v.Line = t.text, t.line
		if p.accept('<') {
			what, most := "the number of variables", int64(maxSet)
			if space == Reg {
				what, most = "the number of registers", maxRegisters
			}
			v.Count = p.whole(what, 1, most)
			p.expect('>', "> after "+what)
		}
		p.dims(&v)
		switch {
		case space == Reg && v.Dims != nil:
			p.fail(t, "registers form no arrays: write %s<%d>", v.Name, v.Dims[0])
		case space != Reg && v.Type == "pred":
			p.fail(t, "predicates are registers")
		}
		if p.is('=') {
			p.initialiser(&v)
		}
		if n := v.Count; n > 0 && space != Reg { // p<2> is p0 and p1
			if p.sets += n; p.sets > maxSets {
				p.fail(t, "more than %d variables in sets such as p<2>", maxSets)
			}
			for i := range n {
				one, at := v, t
				one.Count, one.Name = 0, v.Name+strconv.Itoa(i)
				at.text = one.Name
				add(at, &one)
			}
		} else {
			add(t, &v)
		}
		if !p.accept(',') {
			break
		}
	}
	p.expect(';', "; after the declaration")
}

// initialiser reads = and the values (PTX ISA 5.4.4).
func (p *parser) initialiser(v *Var) {
	t := p.tok
	p.next()
	switch {
	case v.Space != Global && v.Space != Const:
		p.fail(t, "only .global and .const variables have initial values")
	case v.Type == "f16" || v.Type == "bf16" || v.Type == "f16x2" || v.Type == "bf16x2":
		p.fail(t, "variables of type .%s have no initial value", v.Type)
	}
	shape := append([]int(nil), v.Dims...)
	if v.Vector > 1 {
		shape = append(shape, v.Vector)
	}
	v.Init = []Init{}
	rows := p.row(v, shape)
	if len(v.Dims) > 0 && v.Dims[0] < 0 {
		v.Dims[0] = rows
	}
}

// row reads { … } with the values of an array of the given shape, or a single value, and returns how many there were.
func (p *parser) row(v *Var, shape []int) int {
	if len(shape) == 0 {
		v.Init = append(v.Init, p.initial(v))
		return 1
	}
	inner := 1
	for _, d := range shape[1:] {
		inner *= d // within maxBytes, as dims saw to it
	}
	start := len(v.Init)
	open := p.expect('{', "{ with the values of an array")
	n := 0
	for !p.is('}') {
		if n > 0 {
			p.expect(',', ", or } after a value")
		}
		if n == shape[0] {
			p.fail(p.tok, "more than %d values", n)
		}
		zeros := start + n*inner - len(v.Init) // left over by the row before
		if p.padding += zeros; p.padding > maxPadding {
			p.fail(open, "rows left short by more than %d values in all are not supported", maxPadding)
		}
		v.Init = append(v.Init, make([]Init, zeros)...)
		p.row(v, shape[1:])
		n++
	}
	p.next()
	return n
}

// initial reads one value: a number, symbol, symbol+n, generic(symbol), generic(symbol)+n.
func (p *parser) initial(v *Var) Init {
	t := p.tok
	if t.kind == word && t.text != "WARP_SZ" {
		p.next()
		init := Init{Symbol: t.text}
		if t.text == "generic" && p.accept('(') {
			init.Generic, init.Symbol = true, p.expect(word, "a name").text
			p.expect(')', ") after the name")
		}
		if p.is('+') || p.is('-') {
			init.Offset = p.offset()
		}
		return init
	}
	x := p.constant(1)
	if p.is('(') {
		p.fail(t, "single bytes of addresses, mask(symbol), are not supported")
	}
	real := v.Type[0] == 'f'
	if x.Kind == Integer {
		if real {
			p.fail(t, "expected a float such as 0f3F800000 or 1.0 for a variable of type .%s, found %s", v.Type,
				t.describe())
		}
		return Init{Bits: x.Bits}
	}
	value := math.Float64frombits(x.Bits)
	if x.Kind == Float32 {
		value = float64(math.Float32frombits(uint32(x.Bits)))
	}
	switch width := v.Type; {
	case width == "f64" || width == "b64":
		if x.Kind == Float64 {
			return Init{Bits: x.Bits}
		}
		return Init{Bits: math.Float64bits(value)}
	case width == "f32" || width == "b32":
		if x.Kind == Float32 { // keeps the payload of a NaN
			return Init{Bits: x.Bits}
		}
		return Init{Bits: uint64(math.Float32bits(float32(value)))}
	}
	p.fail(t, "expected a whole number for a variable of type .%s, found %s", v.Type, t.describe())
	return Init{}
}

// offset reads the rest of a sum, + or - and a product each.
func (p *parser) offset() int64 {
	sum := int64(0)
	for p.is('+') || p.is('-') {
		t := p.tok
		p.next()
		v := p.constant(precedence["+"] + 1)
		switch {
		case v.Kind != Integer:
			p.fail(t, "an offset should be a whole number")
		case t.kind == '-':
			sum -= int64(v.Bits)
		default:
			sum += int64(v.Bits)
		}
	}
	return sum
}
