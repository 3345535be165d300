package syntax

import (
	"fmt"
	"strings"
)

// An Error is a place in a PTX text and what is wrong there.
type Error struct {
	Name         string // of the text, as given to Parse
	Line, Column int    // from 1; columns count bytes
	Message      string
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.Name, e.Line, e.Column, e.Message)
}

// A kind is what a token is. Punctuation is its own character.
type kind byte

const (
	eof    kind = iota
	word        // identifier: ld, %r1, $L__BB0_1, _
	dotted      // a dot and what belongs to it: .global, .shared::cta, .2d
	number      // 12, -, 0x1F, 0f3F800000, 1.5e-3; signs are punctuation
	quoted      // "…", without the quotes in text
)

// A token is a piece of the text with its place.
type token struct {
	kind      kind
	text      string
	pos, line int
	lineStart int // where the line begins
}

// describe names a token in a message.
func (t token) describe() string {
	switch {
	case t.kind == eof:
		return "the end of the text"
	case len(t.text) > 40:
		return fmt.Sprintf("%q…", t.text[:40])
	}
	return fmt.Sprintf("%q", t.text)
}

// A lexer cuts a text into tokens, one ahead.
type lexer struct {
	name, text      string
	tok             token // the current one
	end             int   // where it ends
	pos             int   // where the search for the next begins
	line, lineStart int
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// isInner tells whether c goes on in a word.
func isInner(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || c == '_' || c == '$'
}

// isLetter tells whether c begins a word.
func isLetter(c byte) bool { return c == '%' || isInner(c) && !isDigit(c) }

// fail ends the parse with an error at t.
func (l *lexer) fail(t token, format string, args ...any) {
	panic(&Error{l.name, t.line, t.pos - t.lineStart + 1, fmt.Sprintf(format, args...)})
}

// space skips white space and comments.
func (l *lexer) space() {
	for l.pos < len(l.text) {
		switch c := l.text[l.pos]; {
		case c == '\n':
			l.pos++
			l.line, l.lineStart = l.line+1, l.pos
		case c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v':
			l.pos++
		case c == '/' && strings.HasPrefix(l.text[l.pos:], "//"):
			if n := strings.IndexByte(l.text[l.pos:], '\n'); n >= 0 {
				l.pos += n
			} else {
				l.pos = len(l.text)
			}
		case c == '/' && strings.HasPrefix(l.text[l.pos:], "/*"):
			n := strings.Index(l.text[l.pos+2:], "*/")
			if n < 0 {
				l.fail(token{pos: l.pos, line: l.line, lineStart: l.lineStart}, "this comment is not closed by */")
			}
			comment := l.text[l.pos : l.pos+n+4]
			if lines := strings.Count(comment, "\n"); lines > 0 {
				l.line, l.lineStart = l.line+lines, l.pos+strings.LastIndexByte(comment, '\n')+1
			}
			l.pos += len(comment)
		default:
			return
		}
	}
}

// run returns the end of the word characters from i on.
func (l *lexer) run(i int) int {
	for i < len(l.text) && isInner(l.text[i]) {
		i++
	}
	return i
}

// next goes on to the next token.
func (l *lexer) next() {
	l.space()
	t := token{pos: l.pos, line: l.line, lineStart: l.lineStart}
	i := l.pos
	if i == len(l.text) {
		l.tok, l.end = t, i
		return
	}
	switch c := l.text[i]; {
	case isLetter(c) && !(c == '%' && l.run(i+1) == i+1):
		t.kind, i = word, l.run(i+1)
	case isDigit(c):
		t.kind, i = number, l.numberEnd(i)
	case c == '.':
		t.kind, i = dotted, l.run(i+1)
		if i == l.pos+1 {
			l.fail(t, "expected a word right after the dot")
		}
		for strings.HasPrefix(l.text[i:], "::") && l.run(i+2) > i+2 {
			i = l.run(i + 2)
		}
	case c == '"':
		n := strings.IndexAny(l.text[i+1:], "\"\n")
		if n < 0 || l.text[i+1+n] != '"' {
			l.fail(t, "this string is not closed on its line")
		}
		l.tok, l.end, l.pos = token{quoted, l.text[i+1 : i+1+n], t.pos, t.line, t.lineStart}, i+n+2, i+n+2
		return
	case c < ' ' || c >= 127:
		l.fail(t, "byte %#02x does not belong into PTX", c)
	default:
		t.kind, i = kind(c), i+1
	}
	t.text = l.text[l.pos:i]
	l.tok, l.end, l.pos = t, i, i
}

// numberEnd returns the end of the number that begins at i.
func (l *lexer) numberEnd(i int) int {
	end := l.run(i)
	prefixed := l.text[i] == '0' && end > i+1 && isInner(l.text[i+1]) && !isDigit(l.text[i+1]) // 0x, 0f, 0d, 0b
	if prefixed {
		return end
	}
	if end < len(l.text) && l.text[end] == '.' {
		end = l.run(end + 1)
	}
	if last := l.text[end-1] | 0x20; last == 'e' && end+1 < len(l.text) && (l.text[end] == '+' || l.text[end] == '-') &&
		isDigit(l.text[end+1]) {
		end = l.run(end + 1)
	}
	return end
}

// is tells whether the current token is the punctuation or kind k.
func (l *lexer) is(k kind) bool { return l.tok.kind == k }

// accept eats the current token if it is a k.
func (l *lexer) accept(k kind) bool {
	if l.tok.kind != k {
		return false
	}
	l.next()
	return true
}

// expect eats a token of kind k, or fails with what was expected.
func (l *lexer) expect(k kind, what string) token {
	t := l.tok
	if t.kind != k {
		l.fail(t, "expected %s, found %s", what, t.describe())
	}
	l.next()
	return t
}

// acceptDotted eats the directive text, dot included, if it comes next.
func (l *lexer) acceptDotted(text string) bool {
	if l.tok.kind != dotted || l.tok.text != text {
		return false
	}
	l.next()
	return true
}
