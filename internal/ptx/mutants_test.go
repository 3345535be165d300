package ptx_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"bilevel/internal/ptx"
	"bilevel/internal/ptx/syntax"
	"bilevel/internal/testrun"
)

func init() { testrun.CollectLess() }

// A mutant is a kernel's text with one line changed.
type mutant struct {
	kernel string
	what   string
	line   int          // of the .cu: the place changed
	ptx    int          // of the text
	lines  map[int]bool // of the .cu: where a report may stand
	text   string
}

func (m mutant) String() string {
	return fmt.Sprintf("%s: %s, line %d (PTX line %d)", m.kernel, m.what, m.line, m.ptx)
}

// own is the line of the kernel's own source, through inlining.
func own(in *syntax.Instr) int {
	loc := in.Loc
	if loc == nil {
		return 0
	}
	for loc.Inlined != nil {
		loc = loc.Inlined
	}
	return loc.Line
}

// cuLine is a line of the source, "" for code that the compiler gives no line.
func cuLine(source []string, line int) string {
	if line == 0 {
		return ""
	}
	return strings.TrimSpace(source[line-1])
}

func isOp(in *syntax.Instr, op string, mods ...string) bool {
	if in.Op != op {
		return false
	}
	for _, m := range mods {
		if !slices.Contains(in.Mods, m) {
			return false
		}
	}
	return true
}

var (
	memoryOps = []string{"ld", "st", "atom", "red", "cp"}
	warpOps   = []string{"shfl", "vote", "match", "redux"}
	guard     = regexp.MustCompile(`@!?[%\w$]+\s+`)
	bound     = regexp.MustCompile(`(<|>=) *(\(?n\b|m\b|M\b|N\b|K\b|limit\b)`) // a comparison with a size, in the .cu
	lastWord  = regexp.MustCompile(`[^,\s]+;`)
)

// mutants lists the ways to break a kernel of a text: without one barrier, without one guard of an access or one
// branch around accesses that compares with a size, without one commit or wait of cp.async, with a pointer one element
// further, with a lane missing from the mask of a warp operation.
func mutants(t *testing.T, file, kernel string, source []string) []mutant {
	text, err := os.ReadFile(filepath.Join("testdata", file))
	require.NoError(t, err)
	tree, err := syntax.Parse(file, string(text))
	require.NoError(t, err)
	lines := strings.Split(string(text), "\n")
	var list []mutant
	for _, f := range tree.Funcs {
		if !f.Entry || f.Name != kernel {
			continue
		}
		where := func(body []syntax.Instr, accept func(in *syntax.Instr) bool) map[int]bool {
			set := map[int]bool{}
			for i := range body {
				if accept(&body[i]) {
					set[own(&body[i])] = true
				}
			}
			return set
		}
		isMemory := func(in *syntax.Instr) bool {
			return slices.Contains(memoryOps, in.Op) || in.Op == "ldmatrix" || in.Op == "mbarrier"
		}
		memory := where(f.Body, isMemory)
		moved := map[int]bool{}
		times := map[string]int{} // of the same change on one line of the .cu
		add := func(what string, in *syntax.Instr, places map[int]bool, edit func(line string) string) {
			key := fmt.Sprint(what, own(in))
			if times[key]++; times[key] > 1 {
				what = fmt.Sprintf("%s #%d", what, times[key])
			}
			changed := slices.Clone(lines)
			changed[in.Line-1] = edit(changed[in.Line-1])
			require.NotEqual(t, lines[in.Line-1], changed[in.Line-1], "%s: %s", what, in)
			list = append(list, mutant{f.Name, what, own(in), in.Line, places, strings.Join(changed, "\n")})
		}
		remove := func(string) string { return "" }
		for i := range f.Body {
			in := &f.Body[i]
			switch {
			case isOp(in, "bar", "sync") || isOp(in, "barrier", "sync"):
				add("no barrier", in, memory, remove)
			case isOp(in, "cp", "commit_group") || isOp(in, "cp", "wait_group"):
				add("no "+in.Mods[1], in, memory, remove)
			case in.Guard != "" && slices.Contains(memoryOps, in.Op):
				add("no guard", in, map[int]bool{own(in): true},
					func(line string) string { return guard.ReplaceAllString(line, "") })
			case in.Guard != "" && in.Op == "bra" && f.Labels[in.Args[0].Name] > i &&
				bound.MatchString(cuLine(source, own(in))):
				guarded := f.Body[i+1 : f.Labels[in.Args[0].Name]]
				if places := where(guarded, isMemory); len(places) > 0 {
					add("no bounds check", in, places, remove)
					if c := comparison(f.Body[:i], in.Guard); c != nil && !in.Negate && !moved[c.Line] {
						moved[c.Line] = true // one comparison may guard several branches
						add("bound one further", c, memory, func(line string) string {
							return strings.Replace(line, "setp."+c.Mods[0], "setp."+further[c.Mods[0]], 1)
						})
					}
				}
			case slices.Contains(warpOps, in.Op):
				add("a lane missing from the mask", in, map[int]bool{own(in): true}, func(line string) string {
					return lastWord.ReplaceAllString(line, "2147483647;")
				})
			case isOp(in, "ld", "param", "u64") || isOp(in, "ld", "param", "b64"):
				size := elementSize(f.Body, in.Args[0].Name)
				if size == 0 {
					continue // no pointer
				}
				add("pointer "+in.Args[1].Name[len(f.Name)+1:]+" one further", in, memory, func(line string) string {
					return fmt.Sprintf("%s add.s64 %s, %s, %d;", line, in.Args[0].Name, in.Args[0].Name, size)
				})
			}
		}
	}
	return list
}

// further maps the comparison that skips an access to one that skips it an element later.
var further = map[string]string{"ge": "gt", "le": "lt"}

// comparison finds the integer comparison that sets a guard, nil if it is made otherwise.
func comparison(body []syntax.Instr, guard string) *syntax.Instr {
	for i := len(body) - 1; i >= 0; i-- {
		if c := &body[i]; len(c.Args) > 0 && c.Args[0].Name == guard {
			if c.Op == "setp" && further[c.Mods[0]] != "" {
				return c
			}
			break
		}
	}
	return nil
}

// elementSize is the size of the elements that a pointer's accesses have, following copies and additions; 0: no access.
func elementSize(body []syntax.Instr, pointer string) int {
	derived := map[string]bool{pointer: true}
	for pass := 0; pass < 2; pass++ { // twice, for loops
		for i := range body {
			in := &body[i]
			if slices.Contains(memoryOps, in.Op) && !slices.Contains(in.Mods, "param") {
				for _, arg := range in.Args {
					if arg.Kind == syntax.Address && derived[arg.Name] {
						if size := typeSize(in); size > 0 {
							return size
						}
					}
				}
			}
			if !slices.Contains([]string{"cvta", "add", "mad", "mov", "selp", "sub"}, in.Op) {
				continue
			}
			for _, arg := range in.Args[1:] {
				if derived[arg.Name] {
					derived[in.Args[0].Name] = true
				}
			}
		}
	}
	return 0
}

func typeSize(in *syntax.Instr) int {
	if in.Op == "cp" {
		return 4
	}
	for _, m := range in.Mods {
		var letter rune
		var bits int
		if n, _ := fmt.Sscanf(m, "%c%d", &letter, &bits); n == 2 && strings.ContainsRune("bsuf", letter) && bits >= 8 {
			return bits / 8
		}
	}
	return 0
}

// equivalent lists the mutants that do what the kernel does, and why. A key is kernel, change and source line.
var equivalent = map[string]string{
	"layernorm: no barrier: const float mean = block_sum128(sum, s) / m;": "it keeps what was read from s in the " +
		"call before, and this is the first",
}

// Every mutant of every kernel is reported, at a line that has to do with the change: of what one compiler made of it,
// and with BILEVEL_LONG of what another one did.
func TestMutantsAreReported(t *testing.T) {
	var found, total atomic.Int64
	var kinds sync.Map
	t.Run("kernel", func(t *testing.T) {
		for _, s := range scenarios() {
			t.Run(s.kernel, func(t *testing.T) {
				t.Parallel()
				outputs := outputsOf(t, s.source)[:testrun.Size(1, 2)]
				text, err := os.ReadFile(filepath.Join("testdata", "kernels", s.source+".cu"))
				require.NoError(t, err)
				source := strings.Split(string(text), "\n")
				for _, output := range outputs {
					for _, m := range mutants(t, output, s.kernel, source) {
						total.Add(1)
						kinds.Store(strings.Join(strings.Fields(m.what)[:2], " "), true)
						found.Add(checkMutant(t, s, output, m, cuLine(source, m.line)))
					}
				}
			})
		}
	})
	for _, kind := range []string{"no barrier", "no guard", "no bounds", "no commit_group", "no wait_group",
		"pointer param_0", "a lane"} {
		_, ok := kinds.Load(kind)
		assert.True(t, ok, "no mutant of the kind %q", kind)
	}
	t.Logf("%d of %d mutants reported, the others proved equivalent", found.Load(), total.Load())
}

// checkMutant returns 1 if the mutant is reported, 0 if it is known to be equivalent.
func checkMutant(t *testing.T, s scenario, output string, m mutant, sourceLine string) int64 {
	name := fmt.Sprintf("%s: %s: %s", filepath.Base(output), m, sourceLine)
	reason := equivalent[fmt.Sprintf("%s: %s: %s", m.kernel, m.what, sourceLine)]
	module, err := ptx.Load(filepath.Base(output), m.text)
	require.NoError(t, err, name)
	reports, refused := reportsOf(s, module)
	if len(reports) == 0 && refused == nil {
		assert.NotEmpty(t, reason, "nothing was reported: %s", name)
		return 0
	}
	assert.Empty(t, reason, "not equivalent, it is reported: %s", name)
	if refused == nil {
		assert.True(t, slices.ContainsFunc(reports, func(r ptx.Report) bool {
			return m.lines[r.Line] && strings.HasSuffix(r.File, s.source+".cu")
		}), "%s: no report at %v: %v", name, m.lines, reports)
	}
	return 1
}

// reportsOf runs the scenario on its shapes until there is a report, or the launch is refused.
func reportsOf(s scenario, module *ptx.Module) ([]ptx.Report, error) {
	for _, shape := range s.shapes {
		r := newRig(module, ptx.Options{Sanitize: true, Watchdog: 1 << 16})
		_ = s.run(r, shape)
		if len(r.reports) > 0 || r.err != nil {
			return r.reports, r.err
		}
	}
	return nil, nil
}
