package syntax

import (
	"fmt"
	"strings"
)

// Limits, so that a broken text costs neither memory nor stack. Compilers stay far below all of them.
const (
	maxDepth     = 200     // nested scopes, or nested operands
	maxRegisters = 1 << 20 // of one .reg %r<N>
	maxSet       = 1 << 16 // variables of one .param p<N>
	maxSets      = 1 << 18 // of all of these in a module
	maxBytes     = 1 << 32 // of one variable
	maxPadding   = 1 << 16 // zeros put behind short rows of initialisers, in one module
)

// Parse reads the text of a PTX module; name stands for it in errors, which are of type *Error.
// The tree shares its strings with text.
func Parse(name, text string) (m *Module, err error) {
	text = strings.TrimRight(text, "\x00") // NVRTC's count of bytes includes the terminator
	p := &parser{
		lexer: lexer{name: name, text: text, line: 1},
		m:     &Module{AddressSize: 32, Files: map[int]string{}},
		known: map[string]bool{},
	}
	defer func() {
		if e := recover(); e != nil {
			m = nil
			if failure, ours := e.(*Error); ours {
				err = failure
			} else {
				err = fmt.Errorf("%s: fault of the parser at line %d: %v", name, p.tok.line, e)
			}
		}
	}()
	p.next()
	p.module()
	p.resolveLocs()
	return p.m, nil
}

// A parser is a recursive descent over the tokens. It leaves by a panic with an *Error, which Parse recovers.
type parser struct {
	lexer
	m        *Module
	known    map[string]bool // names defined at module scope
	depth    int
	padding  int
	sets     int
	operands slab[Operand]
	words    slab[string]
	args     []Operand // operands being read, a stack
	mods     []string  // suffixes being read
	pending  []*string // names in the tree that may be labels of scopes still open
	locs     locTable
}

// A slab hands out small slices of large blocks. They never move, and appending to one does not touch the next.
type slab[T any] struct{ free []T }

// keep returns a copy of s, nil for none.
func (a *slab[T]) keep(s []T) []T {
	if len(s) == 0 {
		return nil
	}
	if len(s) > len(a.free) {
		a.free = make([]T, max(512, len(s)))
	}
	dst := a.free[:len(s):len(s)]
	a.free = a.free[len(s):]
	copy(dst, s)
	return dst
}

// enter counts a level of nesting, leave gives it back.
func (p *parser) enter(t token) {
	if p.depth++; p.depth > maxDepth {
		p.fail(t, "nested more than %d deep", maxDepth)
	}
}

func (p *parser) leave() { p.depth-- }

// define notes a name of module scope.
func (p *parser) define(t token) {
	if p.known[t.text] {
		p.fail(t, "%s is defined twice", t.text)
	}
	p.known[t.text] = true
}

// refused lists directives of module or function scope that have no place in the tree.
var refused = map[string]string{
	".tex":   "textures are not supported",
	".reg":   "registers belong into functions",
	".local": "local variables belong into functions",
	".param": "parameters belong into functions",
}

// module reads a whole text (PTX ISA 11.1, 11.2, 11.5).
func (p *parser) module() {
	if p.tok.kind != dotted || p.tok.text != ".version" {
		p.fail(p.tok, "PTX begins with .version, not with %s", p.tok.describe())
	}
	p.next()
	p.m.Version = p.expect(number, "a version such as 8.2").text
	if p.tok.kind != dotted || p.tok.text != ".target" {
		p.fail(p.tok, "expected .target after .version, found %s", p.tok.describe())
	}
	for !p.is(eof) {
		t := p.tok
		if t.kind != dotted {
			p.fail(t, "expected a directive such as .entry or .global, found %s", t.describe())
		}
		switch t.text {
		case ".target":
			p.next()
			p.m.Target = append(p.m.Target, p.expect(word, "a target such as sm_80").text)
			for p.accept(',') {
				p.m.Target = append(p.m.Target, p.expect(word, "a target option").text)
			}
		case ".address_size":
			p.next()
			at := p.tok
			if p.m.AddressSize = p.plain("32 or 64"); p.m.AddressSize != 32 && p.m.AddressSize != 64 {
				p.fail(at, ".address_size should be 32 or 64")
			}
		case ".file":
			p.next()
			p.file()
		case ".section":
			p.next()
			p.section()
		case ".pragma":
			p.next()
			p.pragma()
		case ".alias":
			p.next()
			p.alias()
		case ".version":
			p.fail(t, "a second .version: this is more than one module")
		default:
			p.definition()
		}
	}
}

// alias reads name, function; (PTX ISA 11.7.6).
func (p *parser) alias() {
	name := p.expect(word, "the name of an alias").text
	p.expect(',', ", after the name of an alias")
	if p.m.Aliases == nil {
		p.m.Aliases = map[string]string{}
	}
	p.m.Aliases[name] = p.expect(word, "the name of a function").text
	p.expect(';', "; after an alias")
}

// A linkage is what may stand before a definition.
type linkage struct{ extern, visible, weak bool }

// definition reads a function or variables of module scope.
func (p *parser) definition() {
	var link linkage
	for {
		t := p.tok
		switch {
		case p.acceptDotted(".extern"):
			link.extern = true
		case p.acceptDotted(".visible"):
			link.visible = true
		case p.acceptDotted(".weak"), p.acceptDotted(".common"):
			link.weak = true
		case p.acceptDotted(".entry"):
			p.function(link, true)
			return
		case p.acceptDotted(".func"):
			p.function(link, false)
			return
		case p.acceptDotted(".global"), p.acceptDotted(".const"), p.acceptDotted(".shared"):
			p.variables(Space(t.text[1:]), link, func(at token, v *Var) {
				if !v.Extern {
					p.define(at)
				}
				p.m.Vars = append(p.m.Vars, v)
			})
			return
		case refused[t.text] != "":
			p.fail(t, "%s: %s", t.text, refused[t.text])
		default:
			p.fail(t, "expected a directive such as .entry or .global, found %s", t.describe())
		}
	}
}

// pragma reads the strings of a .pragma, which are advice to ptxas, and forgets them.
func (p *parser) pragma() {
	for {
		p.expect(quoted, "a string after .pragma")
		if !p.accept(',') {
			break
		}
	}
	p.expect(';', "; after .pragma")
}
