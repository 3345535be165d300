package syntax

// Kinds of names that wait for the labels of their scope; they leave no trace in a finished tree.
const (
	unknownSymbol  Kind = 254
	unknownAddress Kind = 255
)

// list reads operands up to the closing bracket, and returns a copy to keep.
func (p *parser) list(f *function, closing kind, what string) []Operand {
	base := len(p.args)
	for !p.accept(closing) {
		if len(p.args) > base {
			p.expect(',', ", or "+what)
		}
		o := p.operand(f)
		p.args = append(p.args, o)
	}
	kept := p.operands.keep(p.args[base:])
	p.args = p.args[:base]
	return kept
}

// operand reads one operand (PTX ISA 6), whatever its instruction is.
func (p *parser) operand(f *function) Operand {
	t := p.tok
	p.enter(t)
	defer p.leave()
	switch t.kind {
	case '{':
		p.next()
		return Operand{Kind: Vector, List: p.list(f, '}', "} in a vector")}
	case '(':
		p.next()
		return Operand{Kind: List, List: p.list(f, ')', ") in a list")}
	case '[':
		p.next()
		return p.address(f)
	case word:
		if t.text != "WARP_SZ" {
			return p.named(f)
		}
	case '!', '-':
		if p.beforeWord() {
			p.next()
			o := p.named(f)
			o.Not, o.Minus = t.kind == '!', t.kind == '-'
			return o
		}
	case '~', '+', number:
	default:
		p.fail(t, "expected an operand, found %s", t.describe())
	}
	return p.constant(1)
}

// beforeWord tells whether a name follows the current token.
func (p *parser) beforeWord() bool {
	p.space()
	return p.pos < len(p.text) && isLetter(p.text[p.pos])
}

// word reads a name with a component such as .x right behind it.
func (p *parser) word() string {
	t := p.expect(word, "a name")
	if p.is(dotted) && p.tok.pos == t.pos+len(t.text) {
		name := p.text[t.pos:p.end]
		p.next()
		return name
	}
	return t.text
}

// named reads a register, symbol, symbol+n or pair.
func (p *parser) named(f *function) Operand {
	o := f.resolve(p.word())
	switch {
	case p.is('[') && o.Kind != Register:
		p.fail(p.tok, "elements without brackets are not supported: write [%s+n], n in bytes", o.Name)
	case p.is('+') && o.Kind != Register, p.is('-') && o.Kind != Register:
		o.Offset = p.offset()
	case p.accept('|'):
		return p.pair(f, o)
	}
	return o
}

// pair reads what follows first|.
func (p *parser) pair(f *function, first Operand) Operand {
	base := len(p.args)
	p.args = append(p.args, first, f.resolve(p.word()))
	kept := p.operands.keep(p.args[base:])
	p.args = p.args[:base]
	return Operand{Kind: Pair, List: kept}
}

// address reads what follows [: name, name+n or n, and for textures and tensors a vector of coordinates.
func (p *parser) address(f *function) Operand {
	o := Operand{Kind: Address}
	if p.is(word) && p.tok.text != "WARP_SZ" {
		named := f.resolve(p.word())
		o.Name = named.Name
		if named.Kind == unknownSymbol {
			o.Kind = unknownAddress
		}
		if p.is('+') || p.is('-') {
			o.Offset = p.offset()
		}
	} else {
		t := p.tok
		v := p.constant(1)
		if v.Kind != Integer {
			p.fail(t, "expected an address, found %s", t.describe())
		}
		o.Offset = int64(v.Bits)
	}
	if p.accept(',') {
		o.List = p.list(f, ']', "] after an address")
	} else {
		p.expect(']', "] after an address")
	}
	return o
}
