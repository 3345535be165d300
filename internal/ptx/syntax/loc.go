package syntax

import "strings"

// A locTable gathers .loc, .file and .debug_str. Names come at the end of a text, so they are filled in last.
type locTable struct {
	all     []pendingLoc
	recent  map[place]*Loc // of the current function: the last .loc of each place
	current *Loc
	debug   []byte         // contents of .debug_str
	labels  map[string]int // into debug
}

// A place is a position as .loc writes it.
type place struct{ file, line, column int }

// A pendingLoc is a Loc whose names are still to be found.
type pendingLoc struct {
	loc    *Loc
	file   int
	label  string
	offset int
}

// reset forgets the places of the function before.
func (l *locTable) reset() {
	l.recent, l.current = map[place]*Loc{}, nil
}

// add makes the Loc of a place.
func (l *locTable) add(at place, label string, offset int) *Loc {
	loc := &Loc{Line: at.line, Column: at.column}
	l.all = append(l.all, pendingLoc{loc, at.file, label, offset})
	return loc
}

// place reads file, line and column.
func (p *parser) place() place {
	return place{p.plain("the number of a file"), p.plain("a line"), p.plain("a column")}
}

// loc reads what follows .loc (PTX ISA 11.5.4). The place after inlined_at is that of an earlier .loc, whose own
// Inlined goes on from there; the last one of that place counts.
func (p *parser) loc() {
	at := p.place()
	label, offset := "", 0
	var inlined *Loc
	for p.is(',') {
		p.next()
		switch t := p.expect(word, "function_name or inlined_at"); t.text {
		case "function_name":
			label = p.expect(word, "the label of a name").text
			if p.accept('+') {
				offset = p.plain("an offset")
			}
		case "inlined_at":
			from := p.place()
			if inlined = p.locs.recent[from]; inlined == nil {
				inlined = p.locs.add(from, "", 0)
			}
		default:
			p.fail(t, "expected function_name or inlined_at, found %s", t.describe())
		}
	}
	loc := p.locs.add(at, label, offset)
	loc.Inlined = inlined
	p.locs.recent[at], p.locs.current = loc, loc
}

// file reads what follows .file: number, name, and a time and size that no one needs.
func (p *parser) file() {
	n := p.plain("the number of a file")
	p.m.Files[n] = p.expect(quoted, "the name of a file in quotes").text
	for p.accept(',') {
		p.expect(number, "a number")
	}
}

// section reads what follows .section: the strings of .debug_str, and other sections to forget.
func (p *parser) section() {
	name := p.expect(dotted, "the name of a section").text
	open := p.expect('{', "{ with the contents of the section")
	for depth := 1; depth > 0; {
		t := p.tok
		switch {
		case t.kind == eof:
			p.fail(open, "this { is not closed")
		case t.kind == '{':
			depth++
		case t.kind == '}':
			depth--
		case name == ".debug_str" && t.kind == word:
			if p.locs.labels == nil {
				p.locs.labels = map[string]int{}
			}
			p.locs.labels[t.text] = len(p.locs.debug)
		case name == ".debug_str" && t.kind == number:
			p.locs.debug = append(p.locs.debug, byte(p.plain("a byte")))
			continue
		}
		p.next()
	}
}

// resolveLocs fills in the names of files and functions.
func (p *parser) resolveLocs() {
	debug := string(p.locs.debug)
	for _, l := range p.locs.all {
		l.loc.File = p.m.Files[l.file]
		if at, ok := p.locs.labels[l.label]; ok && l.offset < len(debug)-at {
			l.loc.Function, _, _ = strings.Cut(debug[at+l.offset:], "\x00")
		}
	}
}
