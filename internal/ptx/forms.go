package ptx

import (
	"slices"
	"strings"
	"sync"
)

// A form is one row of the instruction table: an opcode with the suffixes it may carry, and what builds it.
// Suffixes are words; a|b|c are alternatives, and a word that ends in ? may be missing: "rn|rz|rm|rp? ftz? sat? f32".
// Like ptxas, a row takes its words in any order; words whose order means something (the two types of cvt, the layouts
// of mma) keep theirs. Whatever fits no row is refused.
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
		recentForms(), policyForms(), videoForms(), barrierObjectForms(), bulkForms(),
		vectorAtomicForms(),
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

// order returns mods in the order of the form's words, which is the one that builders rely on; ok is false when mods
// are not suffixes of the form. Each slot in turn takes the first word left that it knows.
func (f *form) order(mods []string) (ordered []string, ok bool) {
	if len(mods) > len(f.slots) {
		return nil, false
	}
	left := slices.Clone(mods)
	ordered = make([]string, 0, len(mods))
	for _, s := range f.slots {
		i := slices.IndexFunc(left, func(word string) bool { return slices.Contains(s.words, word) })
		switch {
		case i >= 0:
			ordered = append(ordered, left[i])
			left = slices.Delete(left, i, i+1)
		case !s.optional:
			return nil, false
		}
	}
	return ordered, len(left) == 0 && slices.Equal(positional(ordered), positional(mods))
}

// positional lists the suffixes whose order means something: types, and the layouts of matrices.
func positional(mods []string) (words []string) {
	for _, word := range mods {
		if isType(word) || word == "row" || word == "col" {
			words = append(words, word)
		}
	}
	return words
}

// isType says whether a suffix is a type, such as u32, bf16x2, e4m3x2 or pred: letters, then a digit.
func isType(word string) bool {
	if word == "pred" {
		return true
	}
	letters := strings.TrimLeft(word, "abcdefghijklmnopqrstuvwxyz")
	switch word[:len(word)-len(letters)] {
	case "b", "u", "s", "f", "bf", "tf", "e", "ue":
		return letters != ""
	}
	return false
}

// Opcodes lists the instruction table: each opcode with the pattern of its suffixes, alternatives joined by |, optional
// words with ? behind them. Suffixes may come in any order.
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
