package ptx_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/ptx"
)

// assembler finds ptxas, or skips the test.
func assembler(t *testing.T) string {
	path := os.Getenv("BILEVEL_PTXAS")
	if path == "" {
		t.Skip("BILEVEL_PTXAS names no ptxas (the wheel nvidia-cuda-nvcc has one): the texts are not assembled")
	}
	return path
}

// refusedBy assembles kernels and returns the message for each that ptxas refuses.
func refusedBy(t *testing.T, ptxas string, kernels []string) map[int]string {
	return refusedFor(t, ptxas, vectorHeader, kernels)
}

// splitRefused assembles vectors, each for its target.
func splitRefused(t *testing.T, ptxas string, list []*vector) map[int]string {
	bad := map[int]string{}
	for _, header := range []string{vectorHeader, recentHeader} {
		var kernels []string
		var at []int
		for i, v := range list {
			if v.recent == (header == recentHeader) {
				kernels, at = append(kernels, v.text(fmt.Sprintf("k%d", i))), append(at, i)
			}
		}
		if kernels != nil {
			for i, message := range refusedFor(t, ptxas, header, kernels) {
				bad[at[i]] = message
			}
		}
	}
	return bad
}

func refusedFor(t *testing.T, ptxas, header string, kernels []string) map[int]string {
	target := regexp.MustCompile(`sm_\w+`).FindString(header)
	var text strings.Builder
	text.WriteString(header)
	firstLine := make([]int, len(kernels))
	at := strings.Count(header, "\n") + 1
	for i, k := range kernels {
		firstLine[i] = at
		text.WriteString(k)
		at += strings.Count(k, "\n")
	}
	file := filepath.Join(t.TempDir(), "vectors.ptx")
	require.NoError(t, os.WriteFile(file, []byte(text.String()), 0o600))
	out, err := exec.Command(ptxas, "-arch="+target, "-O0", file, "-o", os.DevNull).CombinedOutput()
	if err == nil {
		return nil
	}
	bad := map[int]string{}
	for _, m := range regexp.MustCompile(`line (\d+); error\s*: (.*)`).FindAllStringSubmatch(string(out), -1) {
		n, err := strconv.Atoi(m[1])
		require.NoError(t, err)
		i, found := slices.BinarySearch(firstLine, n)
		if !found {
			i--
		}
		if bad[i] == "" {
			bad[i] = m[2]
		}
	}
	require.NotEmpty(t, bad, "%s", out)
	return bad
}

// Whatever the simulator decodes, ptxas assembles; what only ptxas takes is logged.
func TestPtxasAcceptsTheVectors(t *testing.T) {
	ptxas := assembler(t)
	list, _ := vectors()
	parts := map[string][]*vector{}
	for _, v := range list {
		op, _, _ := strings.Cut(v.op, ".")
		parts[op] = append(parts[op], v)
	}
	more := 0
	for _, part := range parts {
		bad := splitRefused(t, ptxas, part)
		for i, v := range part {
			_, refused := bad[i]
			switch {
			case v.accepted() && refused:
				t.Errorf("ptxas refuses %s: %s", v.op, bad[i])
			case !v.accepted() && !refused:
				more++
				t.Logf("only ptxas accepts %s", v.op)
			}
		}
	}
	t.Logf("%d texts, %d that only ptxas takes", len(list), more)

	own := ownVectors()
	for i, message := range splitRefused(t, ptxas, own) {
		t.Errorf("ptxas refuses %s: %s", own[i].op, message)
	}
}

// The suffixes of loads, stores and atomics combine in millions of ways; a sample of what the rows of the table allow
// goes through ptxas.
func TestPtxasAcceptsTheMemoryRows(t *testing.T) {
	ptxas := assembler(t)
	var list []*vector
	for _, row := range ptx.Opcodes() {
		op, combinations := sample(row, 250)
		for _, mods := range combinations {
			v := memoryText(op, mods)
			// a policy is one more operand; pointers.nvrtc.ptx and others have some
			if v == nil || has(mods, "L2::cache_hint") {
				continue
			}
			v.recent = has(mods, "v4") && sizeOf(last(mods)) == 64 // 32 bytes in one access
			if v.accepted() {
				list = append(list, v)
			}
		}
	}
	require.Greater(t, len(list), 3000)
	for i, message := range splitRefused(t, ptxas, list) {
		t.Errorf("ptxas refuses %s: %s", list[i].op, message)
	}
}

// sample lists at most so many suffix combinations of a row, all or drawn at random.
func sample(row string, most int) (op string, combinations [][]string) {
	r := rand.New(rand.NewPCG(1, 1))
	op, slots := slotsOf(row)
	total := 1
	for _, words := range slots {
		total *= len(words)
	}
	for i := range min(total, most) {
		if total > most {
			i = r.IntN(total)
		}
		var mods []string
		for _, words := range slots {
			mods = append(mods, words[i%len(words)])
			i /= len(words)
		}
		combinations = append(combinations, join(mods...))
	}
	return op, combinations
}

// memoryText is a vector of a memory instruction with any suffixes, or nil. Its result does not matter.
func memoryText(op string, mods []string) *vector {
	place := 0
	for i, p := range places {
		if i > 0 && has(mods, p.space) {
			place = i
		}
	}
	if has(mods, "const") || slices.ContainsFunc(mods, func(m string) bool { return strings.HasPrefix(m, "param") }) {
		return nil // these need a variable; their types have vectors
	}
	switch op {
	case "ld", "ldu":
		return loadVector(op, mods, place)
	case "st":
		return storeVector(mods, place)
	case "atom", "red":
		class := registerClass(last(mods))
		v := &vector{op: strings.Join(append([]string{op}, mods...), "."), dst: class, src: []string{class, class},
			decl: places[place].decl}
		text := "$D, " + places[place].address + ", $a"
		if op == "red" {
			text = places[place].address + ", $a"
		} else if has(mods, "cas") {
			text += ", $b"
		}
		v.body = []string{"mov.u32 %r5, 0;", v.op + " " + text + ";"}
		return v
	}
	return nil
}
