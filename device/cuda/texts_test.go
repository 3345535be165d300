package cuda_test

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device/cuda"
	"bilevel/device/cuda/sim"
	"bilevel/device/devicetest"
)

// Every text that the suite makes the device emit is one that NVIDIA's assembler takes, without spills: registers
// stay registers, also for the longest expression of the suite.
func TestAssemble(t *testing.T) {
	ptxas := os.Getenv("BILEVEL_PTXAS")
	if ptxas == "" {
		t.Skip("BILEVEL_PTXAS names no ptxas (the wheel nvidia-cuda-nvcc has one): the texts are not assembled")
	}
	drv, err := sim.New()
	require.NoError(t, err)
	drv.Plain = true
	rec := &recorder{Driver: drv, texts: map[string]bool{}}
	d, err := cuda.New(rec, cuda.Options{Name: "cuda-sim"})
	require.NoError(t, err)
	for _, c := range devicetest.Cases() {
		require.NoError(t, c.Run(d), c.Name)
	}
	require.NoError(t, d.Close())

	// One file of all kernels: what the heads of the texts say goes first, once.
	heads, declared, kernels := map[string]bool{}, map[string]bool{}, []string{}
	for text := range rec.texts {
		head, body, _ := strings.Cut(text, ".visible .entry ")
		if !slices.ContainsFunc([]string{"map_", "reduce_", "joined_"}, func(kind string) bool {
			return strings.HasPrefix(body, kind)
		}) {
			continue // compiled, not emitted
		}
		for line := range strings.Lines(head) {
			if strings.HasPrefix(line, ".const") || strings.HasPrefix(line, ".global") {
				declared[line] = true
			} else if strings.HasPrefix(line, ".") {
				heads[line] = true
			}
		}
		kernels = append(kernels, ".visible .entry "+body)
	}
	require.Len(t, heads, 3, "version, target and size of addresses are those of all")
	head := ".version 8.2\n.target sm_80\n.address_size 64\n" + strings.Join(slices.Collect(maps.Keys(declared)), "")
	file := filepath.Join(t.TempDir(), "emitted.ptx")
	require.NoError(t, os.WriteFile(file, []byte(head+strings.Join(kernels, "\n")), 0o600))
	for _, arch := range []string{"sm_80", "sm_90"} {
		out, err := exec.Command(ptxas, "-arch="+arch, "-O1", "-v", file, "-o", os.DevNull).CombinedOutput()
		require.NoError(t, err, "%s", out)
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, "spill") &&
				!strings.Contains(line, "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads") {
				t.Errorf("%s: %s", arch, line)
			}
		}
		t.Logf("%s: %d texts", arch, len(kernels))
	}
}
