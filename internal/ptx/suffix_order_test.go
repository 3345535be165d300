package ptx_test

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/testrun"
)

var positional = regexp.MustCompile(`^(pred|row|col|(b|u|s|f|bf|tf|e)\d\w*)$`)

// shuffled is the instruction with its suffixes in another order; types and the layouts of matrices keep theirs.
func shuffled(op string, r *rand.Rand) string {
	words := strings.Split(op, ".")
	mods := words[1:]
	var types []string
	for _, m := range mods {
		if positional.MatchString(m) {
			types = append(types, m)
		}
	}
	r.Shuffle(len(mods), func(i, j int) { mods[i], mods[j] = mods[j], mods[i] })
	for i, m := range mods {
		if positional.MatchString(m) {
			mods[i], types = types[0], types[1:]
		}
	}
	return strings.Join(words, ".")
}

// shuffledVectors are vectors of every opcode, with the suffixes of the instruction at hand in another order.
func shuffledVectors() (list []*vector) {
	r := rand.New(rand.NewPCG(5, 6))
	written, _ := vectors()
	byOp := map[string][]*vector{}
	for _, v := range append(written, ownVectors()...) {
		words := strings.Split(v.op, ".")
		if len(words) > 2 && words[0] != "wmma" && words[0] != "createpolicy" && v.accepted() { // two suffixes at least
			byOp[words[0]] = append(byOp[words[0]], v)
		}
	}
	for _, all := range byOp {
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for _, v := range all[:min(len(all), 25)] {
			op := shuffled(v.op, r)
			if op == v.op {
				continue
			}
			other := *v
			other.loaded = nil
			other.op, other.body = op, slices.Clone(v.body)
			for i, line := range v.body {
				other.body[i] = regexp.MustCompile(`(^|[ \n])`+regexp.QuoteMeta(v.op)+`([ ;])`).ReplaceAllString(line,
					"${1}"+op+"${2}")
			}
			list = append(list, &other)
		}
	}
	return list
}

// Like ptxas, the decoder takes suffixes in any order, and they mean the same; that is tried with every fourth, or with
// all where BILEVEL_LONG is set.
func TestSuffixesInAnyOrder(t *testing.T) {
	list := shuffledVectors()
	require.Greater(t, len(list), 500)
	for i, v := range list {
		if _, err := v.load(); err != nil || !v.accepted() {
			t.Errorf("%s: %v", v.op, err)
			continue
		}
		if i%testrun.Size(4, 1) == 0 {
			v.check(t)
		}
	}
}

// ptxas wants the words that are part of an instruction's name in front (mul.hi, bar.red) and takes all others in any
// order.
func TestPtxasTakesSuffixesInAnyOrder(t *testing.T) {
	ptxas := assembler(t)
	list := shuffledVectors()
	bad := splitRefused(t, ptxas, list)
	require.Less(t, len(bad), len(list)/2)
	t.Logf("ptxas takes %d of %d", len(list)-len(bad), len(list))
}

// The order of two types means something, and a word too many or twice is refused.
func TestSuffixesThatAreNoOrder(t *testing.T) {
	for statement, ok := range map[string]bool{
		"atom.global.gpu.acq_rel.add.u32 %r1, [%d8], %r2;": true,
		"atom.acq_rel.u32.add.gpu.global %r1, [%d8], %r2;": true,
		"cvt.f32.rn.s32 %r1, %r2;":                         true, "cvt.s32.rn.f32 %r1, %r2;": false,
		"cvt.rni.s32.f32 %r1, %r2;": true, "cvt.f32.rni.s32 %r1, %r2;": false,
		"fma.f32.rn %r1, %r2, %r3, %r4;": true, "fma.f32.rn.rn %r1, %r2, %r3, %r4;": false,
		"fma.f32.f32.rn %r1, %r2, %r3, %r4;":        false,
		"ld.volatile.global.global.u32 %r1, [%d8];": false, "ld.u32.global.acquire.gpu %r1, [%d8];": true,
	} {
		err := refusal("order",
			fmt.Sprintf("%s.visible .entry k()\n{\n.reg .b32 %%r<9>;\n.reg .b64 %%d<9>;\nmov.b64 %%d8, 0;\n"+
				"%s\nret;\n}\n", vectorHeader, statement))
		require.Equal(t, ok, err == nil, "%s: %v", statement, err)
	}
}
