package syntax

import (
	"math"
	"strconv"
	"strings"
)

// literal reads the current token, a number without sign (PTX ISA 4.5).
func (p *parser) literal() Operand {
	t := p.expect(number, "a number")
	s := t.text
	if len(s) > 1 && s[0] == '0' {
		switch s[1] | 0x20 {
		case 'f', 'd':
			width, k := 8, Float32
			if s[1]|0x20 == 'd' {
				width, k = 16, Float64
			}
			bits, err := strconv.ParseUint(s[2:], 16, 64)
			if err != nil || len(s) != 2+width {
				p.fail(t, "%s should have %d hexadecimal digits after %s", t.describe(), width, s[:2])
			}
			return Operand{Kind: k, Bits: bits}
		}
	}
	if s[0] != '0' || len(s) == 1 || isDigit(s[1]) || s[1] == '.' {
		if strings.ContainsAny(s, ".eE") {
			v, err := strconv.ParseFloat(s, 64)
			if err != nil || strings.ContainsRune(s, '_') {
				p.fail(t, "%s is no number of double precision", t.describe())
			}
			return Operand{Kind: Float64, Bits: math.Float64bits(v)}
		}
	}
	digits := strings.TrimSuffix(strings.TrimSuffix(s, "U"), "u")
	bits, err := strconv.ParseUint(digits, 0, 64) // 0x, 0b and a leading 0 for octal, as PTX has them
	if err != nil || strings.ContainsAny(digits, "_oO") {
		p.fail(t, "%s is no whole number of 64 bits", t.describe())
	}
	return Operand{Kind: Integer, Bits: bits}
}

// precedence lists the binary operators of constant expressions; the higher binds closer (PTX ISA 4.6).
var precedence = map[string]int{"|": 1, "^": 2, "&": 3, "<<": 4, ">>": 4, "+": 5, "-": 5, "*": 6, "/": 6, "%": 6}

// operator returns the binary operator that comes next, "" for none.
func (p *parser) operator() string {
	switch p.tok.kind {
	case '<', '>':
		if p.end < len(p.text) && p.text[p.end] == p.text[p.end-1] {
			return p.text[p.end-1 : p.end+1]
		}
		return ""
	}
	if precedence[p.tok.text] > 0 && p.tok.kind > quoted {
		return p.tok.text
	}
	return ""
}

// constant reads an expression of numbers whose operators bind at least as closely as least. A sign may stand before a
// float.
func (p *parser) constant(least int) Operand {
	v := p.primary()
	for {
		op := p.operator()
		if precedence[op] < least || op == "" {
			return v
		}
		t := p.tok
		p.next()
		if len(op) == 2 {
			p.next()
		}
		w := p.constant(precedence[op] + 1)
		if v.Kind != Integer || w.Kind != Integer {
			p.fail(t, "%s joins whole numbers only", op)
		}
		v.Bits = p.apply(t, op, v.Bits, w.Bits)
	}
}

// primary reads a number, a sign with what it belongs to, or an expression in parentheses.
func (p *parser) primary() Operand {
	t := p.tok
	p.enter(t)
	defer p.leave()
	switch {
	case p.accept('('):
		v := p.constant(1)
		p.expect(')', ") after the expression")
		return v
	case p.accept('-'), p.accept('+'), p.accept('~'), p.accept('!'):
		v := p.primary()
		switch {
		case t.kind == '-' && v.Kind == Float32:
			v.Bits ^= 1 << 31
		case t.kind == '-' && v.Kind == Float64:
			v.Bits ^= 1 << 63
		case t.kind == '-':
			v.Bits = -v.Bits
		case t.kind == '+':
		case v.Kind != Integer:
			p.fail(t, "%s wants a whole number", t.text)
		case t.kind == '~':
			v.Bits = ^v.Bits
		case v.Bits == 0:
			v.Bits = 1
		default:
			v.Bits = 0
		}
		return v
	case p.is(word) && t.text == "WARP_SZ":
		p.next()
		return Operand{Kind: Integer, Bits: 32}
	}
	return p.literal()
}

// apply computes a op b on 64 bits, signed where it matters.
func (p *parser) apply(t token, op string, a, b uint64) uint64 {
	switch op {
	case "|":
		return a | b
	case "^":
		return a ^ b
	case "&":
		return a & b
	case "<<":
		return a << b
	case ">>":
		return uint64(int64(a) >> b)
	case "+":
		return a + b
	case "-":
		return a - b
	case "*":
		return a * b
	}
	if b == 0 {
		p.fail(t, "division by zero")
	}
	if op == "/" {
		return uint64(int64(a) / int64(b))
	}
	return uint64(int64(a) % int64(b))
}

// whole reads a constant expression that must be a whole number from least to most.
func (p *parser) whole(what string, least, most int64) int {
	t := p.tok
	if t.kind == word && t.text != "WARP_SZ" {
		p.fail(t, "expected %s, found %s", what, t.describe())
	}
	v := p.constant(1)
	if n := int64(v.Bits); v.Kind == Integer && least <= n && n <= most {
		return int(n)
	}
	p.fail(t, "%s should be a whole number from %d to %d", what, least, most)
	return 0
}

// plain reads a number without operators behind it, such as one of .loc, where the next one follows after a space.
func (p *parser) plain(what string) int {
	t := p.tok
	if t.kind != number {
		p.fail(t, "expected %s, found %s", what, t.describe())
	}
	v := p.literal()
	if v.Kind != Integer || v.Bits > 1<<31-1 {
		p.fail(t, "%s should be a whole number below 2^31", what)
	}
	return int(v.Bits)
}
