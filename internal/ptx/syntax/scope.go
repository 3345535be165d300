package syntax

import (
	"strconv"
	"strings"
)

// A function is a Func while its text is read, with the scopes that are open.
type function struct {
	*Func
	p      *parser
	scopes []*scope
	opened int             // scopes so far, the body itself included
	final  map[string]bool // the names in the tree
}

// A scope is what stands between { and }.
type scope struct {
	open   token
	suffix string             // of the names declared in it
	names  map[string]binding // by the name in the text
	sets   map[string]binding // register sets, by the name before the number
	labels map[string]string  // label in the text: name in the tree
	wanted int                // where its names begin in pending
}

// A binding is what a name stands for.
type binding struct {
	name  string // in the tree
	kind  Kind   // Register or Symbol
	count int    // of a set
}

// push opens a scope. Names of the body itself stay as they are; those of the n-th nested scope get the suffix $n.
func (f *function) push(open token) {
	s := &scope{open: open, wanted: len(f.p.pending)}
	if f.opened++; f.opened > 1 {
		s.suffix = "$" + strconv.Itoa(f.opened-1)
	}
	if f.scopes = append(f.scopes, s); len(f.scopes) > maxDepth {
		f.p.fail(open, "scopes nested more than %d deep", maxDepth)
	}
}

// pop closes a scope: names in it that are its labels are settled, the others wait for the scope around it.
func (f *function) pop() {
	last := len(f.scopes) - 1
	s := f.scopes[last]
	f.scopes = f.scopes[:last]
	pending := f.p.pending
	if len(s.labels) > 0 {
		rest := pending[:s.wanted]
		for _, name := range pending[s.wanted:] {
			if label, ok := s.labels[*name]; ok {
				*name = label
			} else {
				rest = append(rest, name)
			}
		}
		pending = rest
	}
	if last == 0 {
		pending = pending[:0] // what is left names functions and variables of the module
	}
	f.p.pending = pending
}

func (f *function) top() *scope { return f.scopes[len(f.scopes)-1] }

// unique makes a name of the tree from one of the text.
func (f *function) unique(name, suffix string) string {
	name += suffix
	for f.final[name] {
		name += "$"
	}
	f.final[name] = true
	return name
}

// declare adds a variable of the current scope to the function, under a name of its own.
func (f *function) declare(t token, v *Var) {
	s := f.top()
	b := binding{kind: Symbol, count: v.Count}
	if v.Space == Reg {
		b.kind = Register
	}
	if v.Count == 0 {
		f.once(t)
		b.name = f.unique(v.Name, s.suffix)
		if s.names == nil {
			s.names = map[string]binding{}
		}
		s.names[v.Name] = b
	} else {
		if _, twice := s.sets[v.Name]; twice {
			f.p.fail(t, "%s is declared twice", t.text)
		}
		if b.name = v.Name; s.suffix != "" { // the _ keeps the set r$1_<9> apart from the set r$10_<9>
			b.name = f.unique(v.Name, s.suffix+"_")
		}
		if s.sets == nil {
			s.sets = map[string]binding{}
		}
		s.sets[v.Name] = b
	}
	v.Name = b.name
}

// once refuses a name that the current scope has already.
func (f *function) once(t token) {
	s := f.top()
	_, variable := s.names[t.text]
	_, label := s.labels[t.text]
	if _, member := s.member(t.text); variable || label || member {
		f.p.fail(t, "%s is declared twice", t.text)
	}
}

// label adds a label to the current scope and returns its name in the tree.
func (f *function) label(t token) string {
	f.once(t)
	s := f.top()
	if s.labels == nil {
		s.labels = map[string]string{}
	}
	s.labels[t.text] = f.unique(t.text, s.suffix)
	return s.labels[t.text]
}

// member finds the register of a set that name is, such as %r13 of %r<14>.
func (s *scope) member(name string) (string, bool) {
	if len(s.sets) == 0 {
		return "", false
	}
	const digits = 7 // of maxRegisters
	for i, n := len(name)-1, 0; i > 0 && isDigit(name[i]) && n < digits; i, n = i-1, n+1 {
		if name[i] == '0' && i < len(name)-1 {
			continue // %r01 is no member
		}
		if b, ok := s.sets[name[:i]]; ok {
			if index, _ := strconv.Atoi(name[i:]); index < b.count {
				if b.name == name[:i] {
					return name, true
				}
				return b.name + name[i:], true
			}
		}
	}
	return "", false
}

// resolve makes the operand of a name, by the scopes from the innermost. A name that no scope has declared is a
// special register if it begins with % (or the sink _), and else a label, or a function or variable of the module.
func (f *function) resolve(name string) Operand {
	base, dot := name, ""
	if i := strings.IndexByte(name, '.'); i >= 0 {
		base, dot = name[:i], name[i:]
	}
	for i := len(f.scopes) - 1; i >= 0; i-- {
		s := f.scopes[i]
		if b, ok := s.names[base]; ok {
			return Operand{Kind: b.kind, Name: component(b.name, dot, name)}
		}
		if member, ok := s.member(base); ok {
			return Operand{Kind: Register, Name: component(member, dot, name)}
		}
	}
	if name == "_" || name[0] == '%' {
		return Operand{Kind: Register, Name: name}
	}
	return Operand{Kind: unknownSymbol, Name: name}
}

// component gives base+dot, without a new string where that is the name in the text.
func component(base, dot, name string) string {
	if base+dot == name { // the compiler needs no memory for the sum here
		return name
	}
	return base + dot
}

// settle gives the operands that wait for labels their kinds, and notes where their names are.
func (f *function) settle(args []Operand) {
	for i := range args {
		o := &args[i]
		switch o.Kind {
		case unknownSymbol:
			o.Kind = Symbol
			f.p.pending = append(f.p.pending, &o.Name)
		case unknownAddress:
			o.Kind = Address
			f.p.pending = append(f.p.pending, &o.Name)
		}
		f.settle(o.List)
	}
}
