package ptx

import (
	"slices"
	"strings"
	"sync"
)

// A form is one row of the instruction table: an opcode with the suffixes it may carry, and what builds it.
// Suffixes are words in order; a|b|c are alternatives, and a word that ends in ? may be missing:
// "rn|rz|rm|rp? ftz? sat? f32". Whatever fits no row is refused.
type form struct {
	op       string
	suffixes string
	class    Class
	build    func(d *decoder)
	slots    []slot
}

type slot struct {
	words    []string
	optional bool
}

// table lists all rows by opcode, made once.
var table = sync.OnceValue(func() map[string][]form {
	t := map[string][]form{}
	for _, rows := range [][]form{
		controlForms(), integerForms(), bitForms(), moveForms(), compareForms(), floatForms(), halfForms(),
		convertForms(), memoryForms(), asyncForms(), atomicForms(), warpForms(), matrixForms(), barrierForms(),
	} {
		for _, f := range rows {
			for _, word := range strings.Fields(f.suffixes) {
				word, optional := strings.CutSuffix(word, "?")
				f.slots = append(f.slots, slot{strings.Split(word, "|"), optional})
			}
			t[f.op] = append(t[f.op], f)
		}
	}
	return t
})

func forms(op string) []form { return table()[op] }

// matches says whether mods are suffixes of the form: each slot in turn takes the next word if it may.
func (f *form) matches(mods []string) bool {
	for _, s := range f.slots {
		switch {
		case len(mods) > 0 && slices.Contains(s.words, mods[0]):
			mods = mods[1:]
		case !s.optional:
			return false
		}
	}
	return len(mods) == 0
}

// Opcodes lists the instruction table: each opcode with the pattern of its suffixes, words in order, alternatives
// joined by |, optional words with ? behind them.
func Opcodes() []string {
	var list []string
	for op, rows := range table() {
		for _, f := range rows {
			list = append(list, strings.TrimSpace(op+" "+f.suffixes))
		}
	}
	slices.Sort(list)
	return list
}
