package syntax

import "math"

// function reads what follows .entry or .func (PTX ISA 11.2).
func (p *parser) function(link linkage, entry bool) {
	f := &function{p: p, Func: &Func{
		Entry: entry, Extern: link.extern, Visible: link.visible, Weak: link.weak,
		Labels: map[string]int{}, Line: p.tok.line,
	}, final: map[string]bool{}}
	p.locs.reset()
	for p.acceptDotted(".attribute") {
		p.skipParens()
	}
	f.push(p.tok)
	if !entry && p.is('(') {
		f.Results = p.params(f)
	}
	name := p.expect(word, "the name of a function")
	f.Name = name.text
	if p.is('(') {
		f.Params = p.params(f)
	}
	p.limits(f.Func)
	if f.Declared = p.accept(';'); !f.Declared {
		if f.Extern {
			p.fail(p.tok, "expected ; after an external function, found %s", p.tok.describe())
		}
		p.define(name)
		p.body(f)
	}
	p.m.Funcs = append(p.m.Funcs, f.Func)
}

// params reads ( … ) with parameters or results.
func (p *parser) params(f *function) []*Var {
	var list []*Var
	p.expect('(', "(")
	for !p.accept(')') {
		if len(list) > 0 {
			p.expect(',', ", or ) after a parameter")
		}
		t := p.tok
		if !p.acceptDotted(".param") && !p.acceptDotted(".reg") {
			p.fail(t, "expected .param, found %s", t.describe())
		}
		v := p.attributes(Space(t.text[1:]), t.line)
		at := p.expect(word, "the name of a parameter")
		v.Name = at.text
		p.dims(&v)
		if at.text != "_" { // of a prototype
			f.declare(at, &v)
		}
		list = append(list, &v)
	}
	return list
}

// limits reads the directives between the parameters and the body (PTX ISA 11.4).
func (p *parser) limits(f *Func) {
	for p.is(dotted) {
		t := p.tok
		p.next()
		switch t.text {
		case ".maxntid":
			f.MaxThreads = p.triple()
		case ".reqntid":
			f.ReqThreads = p.triple()
		case ".minnctapersm":
			f.MinBlocks = p.whole("a number of blocks", 0, math.MaxInt32)
		case ".maxnctapersm":
			p.whole("a number of blocks", 0, math.MaxInt32)
		case ".maxnreg":
			f.MaxRegs = p.whole("a number of registers", 0, math.MaxInt32)
		case ".reqnctapercluster":
			f.Cluster = p.triple()
		case ".maxclusterrank":
			p.whole("a number of blocks", 0, math.MaxInt32)
		case ".explicitcluster": // the launch says it, or .reqnctapercluster
		case ".blocksareclusters":
			f.Clustered = true
		case ".noreturn":
			f.NoReturn = true
		case ".pragma":
			p.pragma()
		default:
			if why := refused[t.text]; why != "" {
				p.fail(t, "%s: %s", t.text, why)
			}
			p.fail(t, "expected { with the body of %s, found %s", f.Name, t.describe())
		}
	}
}

// triple reads one to three sizes; those left out are 1.
func (p *parser) triple() [3]int {
	n := [3]int{1, 1, 1}
	for i := range n {
		if n[i] = p.whole("a number of threads", 1, math.MaxInt32); !p.accept(',') {
			break
		}
	}
	return n
}

// body reads { … }. The scope of the parameters is open already and is that of the body.
func (p *parser) body(f *function) {
	f.top().open = p.expect('{', "{ with the body of "+f.Name)
	f.Body = []Instr{}
	for len(f.scopes) > 0 {
		switch t := p.tok; t.kind {
		case '{':
			p.next()
			f.push(t)
		case '}':
			p.next()
			f.pop()
		case dotted:
			p.bodyDirective(f)
		case eof:
			p.fail(f.top().open, "this { is not closed")
		case word, '@':
			p.statement(f)
		default:
			p.fail(t, "expected a statement, found %s", t.describe())
		}
	}
}

// bodyDirective reads a directive inside a function.
func (p *parser) bodyDirective(f *function) {
	t := p.tok
	p.next()
	switch t.text {
	case ".loc":
		p.loc()
	case ".pragma":
		p.pragma()
	case ".reg", ".param", ".shared", ".local", ".global", ".const":
		p.variables(Space(t.text[1:]), linkage{}, func(at token, v *Var) {
			f.declare(at, v)
			f.Vars = append(f.Vars, v)
		})
	default:
		p.fail(t, "expected a statement or a declaration such as .reg, found %s", t.describe())
	}
}

// statement reads a label, or an instruction with its guard and semicolon.
func (p *parser) statement(f *function) {
	t := p.tok
	in := Instr{Line: t.line, Loc: p.locs.current}
	if p.accept('@') {
		in.Negate = p.accept('!')
		at := p.tok
		guard := f.resolve(p.word())
		if guard.Kind != Register {
			p.fail(at, "the guard %s is no register declared before", guard.Name)
		}
		in.Guard = guard.Name
	}
	op := p.expect(word, "an instruction")
	if in.Guard == "" && p.accept(':') {
		p.labelled(f, op)
		return
	}
	in.Op = op.text
	for p.is(dotted) {
		p.mods = append(p.mods, p.tok.text[1:])
		p.next()
	}
	in.Mods = p.words.keep(p.mods)
	p.mods = p.mods[:0]
	for !p.accept(';') {
		if len(p.args) > 0 {
			p.expect(',', ", or ; after an operand of "+in.Op)
		}
		o := p.operand(f)
		if o.Kind == List && len(o.List) == 1 && in.Op != "call" { // (1<<4) is a constant
			o = o.List[0]
		}
		p.args = append(p.args, o)
	}
	in.Args = p.operands.keep(p.args)
	p.args = p.args[:0]
	f.settle(in.Args)
	f.Body = append(f.Body, in)
}

// labelled reads what a label stands for: the next instruction, a list of targets, or a prototype of indirect calls.
func (p *parser) labelled(f *function, at token) {
	name := f.label(at)
	switch {
	case p.acceptDotted(".branchtargets"), p.acceptDotted(".calltargets"):
		for {
			p.mods = append(p.mods, p.expect(word, "a label").text)
			if !p.accept(',') {
				break
			}
		}
		p.expect(';', "; after the targets")
		list := p.words.keep(p.mods)
		p.mods = p.mods[:0]
		for i := range list {
			p.pending = append(p.pending, &list[i])
		}
		if f.Targets == nil {
			f.Targets = map[string][]string{}
		}
		f.Targets[name] = list
	case p.acceptDotted(".callprototype"):
		p.prototype(f, name)
	default:
		f.Labels[name] = len(f.Body)
	}
}

// prototype reads (results) _ (parameters) after .callprototype.
func (p *parser) prototype(f *function, name string) {
	signature := &function{p: p, Func: &Func{Name: name, Declared: true, Line: p.tok.line}, final: map[string]bool{}}
	signature.push(p.tok)
	if p.is('(') {
		signature.Results = p.params(signature)
	}
	if t := p.expect(word, "_ for the function"); t.text != "_" {
		p.fail(t, "expected _ for the function, found %s", t.describe())
	}
	if p.is('(') {
		signature.Params = p.params(signature)
	}
	p.limits(signature.Func)
	p.expect(';', "; after the prototype")
	if f.Prototypes == nil {
		f.Prototypes = map[string]*Func{}
	}
	f.Prototypes[name] = signature.Func
}
