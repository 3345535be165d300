package kernels_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/ptx"
	"bilevel/kernels"
)

var update = flag.Bool("update", false, "write resources.json (with the CUDA tools) and the tables of README.md anew")

// A build is one row of the manifest.
type build struct {
	Source       string
	Output       string
	Compiler     string
	Version      string
	Arch         string
	Options      []string
	SourceSHA256 string `json:"source_sha256"`
	OutputSHA256 string `json:"output_sha256"`
}

func builds(t testing.TB) []build {
	text, err := os.ReadFile("manifest.json")
	require.NoError(t, err)
	var list []build
	require.NoError(t, json.Unmarshal(text, &list))
	return list
}

var included = regexp.MustCompile(`(?m)^#include "(.*)"$`)

// digest is the sum of a file, after those that it includes.
func digest(t testing.TB, file string) string {
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var all []byte
	for _, m := range included.FindAllSubmatch(text, -1) {
		more, err := os.ReadFile(filepath.Join(filepath.Dir(file), string(m[1])))
		require.NoError(t, err)
		all = append(all, more...)
	}
	sum := sha256.Sum256(append(all, text...))
	return hex.EncodeToString(sum[:])
}

// What is embedded was compiled from the sources as they are.
func TestFresh(t *testing.T) {
	var sources, outputs []string
	for _, b := range builds(t) {
		require.Equal(
			t, b.SourceSHA256, digest(t, b.Source), "%s is newer than %s: run go generate ./kernels", b.Source,
			b.Output,
		)
		require.Equal(
			t, b.OutputSHA256, digest(t, b.Output), "%s was changed by hand: run go generate ./kernels", b.Output,
		)
		require.Equal(t, []string{"nvrtc", "12.2.140", "compute_80"}, []string{b.Compiler, b.Version, b.Arch})
		require.Contains(t, b.Options, "-lineinfo")
		if !slices.Contains(sources, b.Source) {
			sources = append(sources, b.Source)
		}
		outputs = append(outputs, b.Output)
	}
	for pattern, want := range map[string][]string{"*.cu": sources, "ptx/*.ptx": outputs} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		require.ElementsMatch(t, files, want)
	}
}

// The texts name no folder of the machine that compiled them, and say where in the sources each line comes from.
func TestNoAbsolutePaths(t *testing.T) {
	absolute := regexp.MustCompile(`"(/|[A-Za-z]:\\)|/(work|home|tmp|usr|root|Users|build)/`)
	for _, b := range builds(t) {
		text, err := kernels.PTX(strings.TrimSuffix(filepath.Base(b.Output), ".ptx"))
		require.NoError(t, err)
		require.Empty(t, absolute.FindString(text), b.Output)
		require.Contains(t, text, `"kernels/`+b.Source+`"`)
		require.Contains(t, text, ".version 8.2")
		require.Contains(t, text, ".target sm_80")
	}
	_, err := kernels.PTX("nothing")
	require.EqualError(t, err, `there is no module "nothing" of CUDA kernels`)
}

// A figure is what the assembler makes of a kernel for one architecture.
type figure struct {
	Registers int `json:"registers"`
	Shared    int `json:"shared"` // bytes
	// share of the instructions of the main loop, where it is most of them
	FFMA      float64 `json:"ffma,omitempty"`
	Tensor    int     `json:"tensor,omitempty"`    // HMMA of the main loop, where it has them
	Loop      int     `json:"loop,omitempty"`      // then all of its instructions
	Moves     int     `json:"moves,omitempty"`     // and those that only move registers
	Divisions int     `json:"divisions,omitempty"` // of integers, each more than a dozen instructions
}

var architectures = []string{"sm_80", "sm_86", "sm_89", "sm_90", "sm_100"}

const resourcesFile = "testdata/resources.json"

// resources reads the committed figures: architecture, then kernel.
func resources(t testing.TB) map[string]map[string]figure {
	text, err := os.ReadFile(resourcesFile)
	require.NoError(t, err)
	var list map[string]map[string]figure
	require.NoError(t, json.Unmarshal(text, &list))
	return list
}

// With the compilers at hand the texts come out byte by byte as they are, ptxas takes them for every architecture
// without spills and local memory, and the committed figures are what it says.
func TestCompileAndAssemble(t *testing.T) {
	if os.Getenv("BILEVEL_CUDA_TOOLS") == "" {
		t.Skip("BILEVEL_CUDA_TOOLS does not name the folder of scripts/cuda-tools setup")
	}
	tool := func(args ...string) string {
		var errs bytes.Buffer
		c := exec.Command("../scripts/cuda-tools", args...)
		c.Stderr = &errs
		out, err := c.Output()
		require.NoError(t, err, "%s", &errs)
		return string(out)
	}
	tool("check", "manifest.json")
	var outputs []string
	for _, b := range builds(t) {
		outputs = append(outputs, b.Output)
	}
	found := map[string]map[string]figure{}
	for _, arch := range architectures {
		found[arch] = map[string]figure{}
		text := tool(append([]string{"sass", "--arch", arch}, outputs...)...)
		list, loops := ptx.ParseResources(text), mainLoops(text)
		require.GreaterOrEqual(t, len(list), len(outputs))
		for kernel, r := range list {
			require.Zero(t, r.SpillStores+r.SpillLoads+r.Stack, "%s spills or uses local memory on %s", kernel, arch)
			f := loops[kernel]
			f.Registers, f.Shared = r.Registers, r.Shared
			found[arch][kernel] = f
		}
	}
	if *update {
		text, err := json.MarshalIndent(found, "", " ")
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(resourcesFile, append(text, '\n'), 0o644))
	}
	require.Equal(t, found, resources(t), "run go test ./kernels -run CompileAndAssemble -update")
}

var (
	sassLabel  = regexp.MustCompile(`^\s*(\.L_\S+):`)
	sassInstr  = regexp.MustCompile(`^\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\d+ )?(.*?);`)
	sassBranch = regexp.MustCompile("BRA.*`\\((\\.L_\\S+)\\)")
	sassMove   = regexp.MustCompile(`^(U?MOV|IMAD\.MOV\S*) `)
	sassDivide = regexp.MustCompile(`^I2F\S*\.RP `) // what a division of integers begins with
)

// mainLoops finds, in the machine code of each kernel, the loop with the most FFMA (from the target of a backward
// branch to the branch) and their share of its instructions, to a thousandth; else the one with the most HMMA. It
// counts the text of the loop: of masked operands, both ways in which a slice may be stored are in it.
func mainLoops(sass string) map[string]figure {
	figures := map[string]figure{}
	for _, part := range strings.Split(sass, ".section\t.text.")[1:] {
		name, _, _ := strings.Cut(part, ",")
		labels, f := map[string]int{}, figure{}
		var code []string
		count := func(from int, is func(string) bool) (n int) {
			for _, instr := range code[from:] {
				if is(instr) {
					n++
				}
			}
			return n
		}
		starts := func(with string) func(string) bool {
			return func(instr string) bool { return strings.HasPrefix(instr, with) }
		}
		most := 0
		for line := range strings.Lines(part) {
			if m := sassLabel.FindStringSubmatch(line); m != nil {
				labels[m[1]] = len(code)
			}
			m := sassInstr.FindStringSubmatch(line)
			if m == nil {
				continue
			}
			code = append(code, m[1])
			b := sassBranch.FindStringSubmatch(m[1])
			if b == nil {
				continue
			}
			at, ok := labels[b[1]]
			if !ok || at >= len(code)-1 {
				continue
			}
			if n := count(at, starts("FFMA")); n > max(most, 100) {
				most = n
				f.FFMA = float64(1000*n/(len(code)-at)) / 1000
			}
			if n := count(at, starts("HMMA")); n > f.Tensor {
				f.Tensor, f.Loop, f.Moves = n, len(code)-at, count(at, sassMove.MatchString)
			}
		}
		f.Divisions = count(0, sassDivide.MatchString)
		figures[name] = f
	}
	return figures
}

// The figures that the design promises, as committed: two blocks of the large tile fit on a processor, at least 80 % of
// the loops of both square tiles are FFMA, and tensor cores get their fragments from shared memory without moves.
func TestPromisedFigures(t *testing.T) {
	list := resources(t)
	require.ElementsMatch(t, architectures, slices.Collect(maps.Keys(list)))
	for arch, kernel := range list {
		require.Len(t, kernel, len(list["sm_80"]))
		for _, loads := range []string{"", "_a", "_b", "_any"} {
			require.LessOrEqual(t, kernel["gemm_128"+loads].Registers, 128, arch)
			for _, tile := range []string{"gemm_128", "gemm_64"} {
				require.GreaterOrEqual(t, kernel[tile+loads].FFMA, 0.8, "%s%s on %s", tile, loads, arch)
			}
		}
		for name, f := range kernel {
			require.LessOrEqual(t, f.Shared, ptx.DefaultShared, name)
		}
		if arch == "sm_80" || arch == "sm_90" {
			f := kernel["gemm_128_tf32"]
			require.Equal(t, 64, f.Tensor, "%s: 16 of k by 64 x 64", arch)
			require.LessOrEqual(t, f.Loop, 300, arch)
			require.LessOrEqual(t, f.Moves, 8, arch)
		}
	}
}
