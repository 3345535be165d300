// Package plainyaml reads the YAML that people write as settings: names and values, of a size that a person writes.
package plainyaml

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/token"
)

const (
	mostBytes = 1 << 18
	mostDepth = 50   // of brackets and indentation, far above what settings need
	mostNames = 1000 // of one mapping: the parser's memory grows with the square of their number
)

// Parse reads a text of names and values, in the text's order. Values are nil, bool, int64 or uint64, float64, string,
// []any and yaml.MapSlice. Anchors and aliases are refused, since a few lines of them stand for gigabytes, and names
// with control characters. Its error is one line.
func Parse(text []byte) (yaml.MapSlice, error) {
	if len(text) > mostBytes {
		return nil, fmt.Errorf("the file has %d bytes: settings have at most %d", len(text), mostBytes)
	}
	text = bytes.TrimPrefix(text, []byte("\ufeff")) // which some editors on Windows begin files with
	if err := check(text); err != nil {
		return nil, err
	}
	var values yaml.MapSlice
	if err := yaml.UnmarshalWithOptions(text, &values, yaml.UseOrderedMap()); err != nil {
		line, _, _ := strings.Cut(yaml.FormatError(err, false, false), "\n")
		return nil, errors.New(line)
	}
	return values, nil
}

// counts are the names of the mappings that are open, by the column where their names begin, or, in brackets, by
// inBrackets and the number of brackets that are open.
type counts map[int]int

const inBrackets = 1 << 20 // beyond any column

// forget ends the mappings inside of what lies at a column.
func (c counts) forget(at int) {
	for k := range c {
		if k > at {
			delete(c, k)
		}
	}
}

// check refuses what the parser would take without bound.
func check(text []byte) error {
	open := 0
	names := counts{}
	line, entries := 0, 0 // entries: the dashes of one line, each of which opens a list
	var last *token.Token
	for _, t := range lexer.Tokenize(string(text)) {
		switch t.Type {
		case token.DocumentHeaderType:
			if last != nil && last.Type != token.CommentType && last.Type != token.DirectiveType {
				return fmt.Errorf("line %d: a second document begins, and settings are one", t.Position.Line)
			}
		case token.AnchorType, token.AliasType:
			return fmt.Errorf("line %d: %s is an anchor or alias, which settings do not have", t.Position.Line, t.Value)
		case token.MappingStartType, token.SequenceStartType:
			open++
			names.forget(inBrackets + open - 1)
		case token.MappingEndType, token.SequenceEndType:
			open--
		case token.MappingValueType:
			if last != nil && strings.ContainsFunc(last.Value+strings.TrimSpace(last.Origin), unicode.IsControl) {
				// The parser leaves such characters out, and so the name is another one when it is written again.
				return fmt.Errorf("line %d: the name %.40q has a tab or another control character", t.Position.Line,
					strings.TrimSpace(last.Origin))
			}
			at := inBrackets + open
			if open == 0 && last != nil {
				at = min(last.Position.Column, inBrackets-1)
			}
			names.forget(at)
			if names[at]++; names[at] > mostNames {
				return fmt.Errorf("line %d: more than %d names", t.Position.Line, mostNames)
			}
		case token.SequenceEntryType, token.MappingKeyType:
			if t.Position.Line != line {
				line, entries = t.Position.Line, 0
			}
			entries++
			if open == 0 {
				names.forget(min(t.Position.Column, inBrackets-1))
			}
		}
		last = t
		if open+entries > mostDepth || t.Position.IndentNum > 8*mostDepth {
			return fmt.Errorf("line %d: more than %d levels", t.Position.Line, mostDepth)
		}
	}
	return nil
}
