package data

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
)

// part is one of the three parts of a data set.
type part int

const (
	trainPart part = iota
	valPart
	testPart
	parts
)

func (p part) String() string { return [...]string{"training", "validation", "test"}[p] }

// partWords and kindWords are what people call parts and their arrays in the names of files.
var (
	partWords = map[string]part{
		"train": trainPart, "training": trainPart, "tr": trainPart, "trn": trainPart,
		"val": valPart, "valid": valPart, "validation": valPart, "dev": valPart,
		"test": testPart, "testing": testPart, "tst": testPart, "te": testPart, "t10k": testPart, "eval": testPart,
	}
	featureWords = map[string]bool{
		"x": true, "data": true, "images": true, "image": true, "imgs": true, "img": true, "features": true,
		"feature": true,
		"inputs":  true, "input": true, "samples": true,
	}
	labelWords = map[string]bool{
		"y": true, "labels": true, "label": true, "lbls": true, "targets": true, "target": true, "classes": true,
		"class": true, "outputs": true, "output": true,
	}
)

// wordsOf splits a name into lower-case words: at everything but letters and digits, and before capitals inside a word.
func wordsOf(name string) []string {
	var words []string
	word := []rune{}
	flush := func() {
		if len(word) > 0 {
			words = append(words, strings.ToLower(string(word)))
			word = word[:0]
		}
	}
	before := ' '
	for _, r := range name {
		letter := unicode.IsLetter(r) || unicode.IsDigit(r)
		if !letter || unicode.IsUpper(r) && unicode.IsLower(before) {
			flush()
		}
		if letter {
			word = append(word, r)
		}
		before = r
	}
	flush()
	var split []string
	for _, w := range words { // xtrain and trainy are two words each
		for _, end := range []string{"x", "y"} {
			if rest, ok := strings.CutPrefix(w, end); ok && isPart(rest) {
				split, w = append(split, end), rest
			} else if rest, ok := strings.CutSuffix(w, end); ok && isPart(rest) {
				split, w = append(split, rest), end
			}
		}
		split = append(split, w)
	}
	return split
}

func isPart(word string) bool { _, ok := partWords[word]; return ok }

// role is what an array or file is for, as far as its name tells.
type role struct {
	part          part
	partSaid      bool // by a word of the name; otherwise it may be the training part
	labels, image bool // it has a word for labels, for features
}

func roleOf(words []string) (r role) {
	for _, w := range words {
		if p, ok := partWords[w]; ok && !r.partSaid {
			r.part, r.partSaid = p, true
		}
		r.labels = r.labels || labelWords[w]
		r.image = r.image || featureWords[w]
	}
	return r
}

// candidate is a file or array that may play a role; rank 0 is the best.
type candidate struct {
	name string
	rank int
}

// only picks the one candidate of the best rank; "" is none. Two of them are an error, which says what is ambiguous.
func only(what string, candidates []candidate) (string, error) {
	if len(candidates) == 0 {
		return "", nil
	}
	sorted := slices.Clone(candidates)
	slices.SortStableFunc(sorted, func(a, b candidate) int { return cmp.Compare(a.rank, b.rank) })
	if len(sorted) > 1 && sorted[1].rank == sorted[0].rank {
		return "", fmt.Errorf("%s and %s may both hold %s; move one of them elsewhere", sorted[0].name,
			sorted[1].name, what)
	}
	return sorted[0].name, nil
}

// pairing is the names of the features and labels of one part; "" where there are none.
type pairing struct{ features, labels string }

// pairUp finds features and labels of each part among names. The words are what tells the role; canonical is rank 0.
func pairUp(
	names []string, words func(name string) []string, canonical func(name string) bool,
) (found [parts]pairing, err error) {
	var candidates [parts][2][]candidate
	said := false
	for _, name := range names {
		r := roleOf(words(name))
		said = said || r.partSaid && r.part == trainPart
	}
	for _, name := range names {
		r := roleOf(words(name))
		if !r.labels && !r.image || said && !r.partSaid {
			continue
		}
		c, k := candidate{name, 1}, 0
		if r.labels {
			k = 1
		}
		if canonical(filepath.Base(name)) {
			c.rank = 0
		}
		candidates[r.part][k] = append(candidates[r.part][k], c)
	}
	for p := range found {
		if found[p].features, err = only(fmt.Sprintf("the %v features", part(p)), candidates[p][0]); err != nil {
			return found, err
		}
		if found[p].labels, err = only(fmt.Sprintf("the %v labels", part(p)), candidates[p][1]); err != nil {
			return found, err
		}
	}
	return found, nil
}
