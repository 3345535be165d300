package npy

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

const (
	magic = "\x93NUMPY"

	align   = 64 // the data begins at a multiple of this
	maxRank = 64 // NumPy's own limit
	// bytes; NumPy writes about 128, and more for records of many columns, which are refused by name
	maxHeader = 1 << 20
)

// header is what the dictionary of a file says.
type header struct {
	descr   string // of one word; "" for a record
	record  *Type
	fortran bool
	shape   []int
}

// format writes the whole beginning of a version 1.0 file, up to the data, as numpy.lib.format does: the dictionary,
// room for the first dimension to grow to 21 digits, and spaces and a newline up to the next multiple of 64 bytes.
func (h header) format() []byte {
	order := "False"
	if h.fortran {
		order = "True"
	}
	descr := "'" + h.descr + "'"
	if h.record != nil {
		descr = h.record.quoted()
	}
	d := fmt.Sprintf("{'descr': %s, 'fortran_order': %s, 'shape': %s, }", descr, order, tuple(h.shape))
	if len(h.shape) > 0 {
		d += strings.Repeat(" ", max(0, 21-len(strconv.Itoa(h.shape[0]))))
	}
	const before = len(magic) + 4
	d += strings.Repeat(" ", align-(before+len(d)+1)%align) + "\n"
	return append([]byte(magic+"\x01\x00"), append([]byte{byte(len(d)), byte(len(d) >> 8)}, d...)...)
}

// parseHeader reads the dictionary. It takes the literals that NumPy writes (strings, True, False, tuples of whole
// numbers, which end in L where Python 2 wrote long ones) with any spacing and the three keys in any order, and
// evaluates nothing.
func parseHeader(text string) (header, error) {
	p := parser{rest: text}
	h, err := p.dict()
	if err != nil {
		return header{}, fmt.Errorf("the header is not understood at byte %d: %w", len(text)-len(p.rest), err)
	}
	return h, nil
}

// parser eats a header from the front.
type parser struct{ rest string }

func (p *parser) space() { p.rest = strings.TrimLeft(p.rest, " \t\n\r") }

// accept eats token where it comes next.
func (p *parser) accept(token string) bool {
	p.space()
	rest, ok := strings.CutPrefix(p.rest, token)
	p.rest = rest
	return ok
}

func (p *parser) dict() (h header, err error) {
	if !p.accept("{") {
		return h, errors.New("it should begin with {")
	}
	var seen [3]bool
	for !p.accept("}") {
		key, err := p.str()
		if err != nil {
			return h, err
		}
		if !p.accept(":") {
			return h, errors.New("a colon is missing")
		}
		field := 0
		switch key {
		case "descr":
			h.descr, h.record, err = p.descr()
		case "fortran_order":
			field = 1
			h.fortran, err = p.boolean()
		case "shape":
			field = 2
			h.shape, err = p.tuple()
		default:
			err = fmt.Errorf("unknown key %q", key)
		}
		if err != nil {
			return h, err
		}
		if seen[field] {
			return h, fmt.Errorf("the key %q comes twice", key)
		}
		seen[field] = true
		if !p.accept(",") {
			if !p.accept("}") {
				return h, errors.New("a comma or } is missing")
			}
			break
		}
	}
	if p.space(); p.rest != "" {
		return h, errors.New("there is text behind the dictionary")
	}
	for i, key := range [...]string{"descr", "fortran_order", "shape"} {
		if !seen[i] {
			return h, fmt.Errorf("the key %q is missing", key)
		}
	}
	return h, nil
}

// str reads a string in single or double quotes, without escapes; Python 2 marks some with u or b.
func (p *parser) str() (string, error) {
	p.space()
	if len(p.rest) > 1 && (p.rest[0] == 'u' || p.rest[0] == 'b') {
		p.rest = p.rest[1:]
	}
	if p.rest == "" || p.rest[0] != '\'' && p.rest[0] != '"' {
		return "", errors.New("a quoted word should come here")
	}
	end := strings.IndexByte(p.rest[1:], p.rest[0])
	if end < 0 {
		return "", errors.New("a quote is not closed")
	}
	word := p.rest[1 : 1+end]
	if strings.ContainsAny(word, "\\\n") {
		return "", fmt.Errorf("the word %q has a backslash or newline in it", word)
	}
	p.rest = p.rest[end+2:]
	return word, nil
}

// descr reads a word, or a list of fields.
func (p *parser) descr() (string, *Type, error) {
	if p.space(); strings.HasPrefix(p.rest, "[") {
		t, err := p.dtype(0)
		return "", &t, err
	}
	word, err := p.str()
	return word, nil, err
}

var errRecords = errors.New("the array has records of named fields; save one field as a['NAME'], or all of them, " +
	"where they are numbers, as numpy.lib.recfunctions.structured_to_unstructured(a)")

func (p *parser) boolean() (bool, error) {
	if p.accept("True") {
		return true, nil
	}
	if p.accept("False") {
		return false, nil
	}
	return false, errors.New("wants True or False here")
}

// tuple reads (), (3,), (3, 4) or (3, 4,).
func (p *parser) tuple() ([]int, error) {
	if !p.accept("(") {
		return nil, errors.New("a tuple should come here")
	}
	shape := []int{}
	for !p.accept(")") {
		if len(shape) == maxRank {
			return nil, fmt.Errorf("more than %d dimensions", maxRank)
		}
		n, err := p.number()
		if err != nil {
			return nil, err
		}
		shape = append(shape, n)
		if p.accept(",") {
			continue
		}
		if !p.accept(")") {
			return nil, errors.New("a comma or ) is missing")
		}
		if len(shape) == 1 {
			return nil, errors.New("a tuple of one number needs a comma")
		}
		break
	}
	return shape, nil
}

// number reads digits.
func (p *parser) number() (int, error) {
	p.space()
	digits := p.rest[:len(p.rest)-len(strings.TrimLeft(p.rest, "0123456789"))]
	if digits == "" {
		return 0, errors.New("a dimension, a whole number of at least 0, should come here")
	}
	n, err := strconv.Atoi(digits)
	if err != nil {
		return 0, fmt.Errorf("the dimension %s is too large", digits)
	}
	p.rest = strings.TrimPrefix(p.rest[len(digits):], "L")
	return n, nil
}
