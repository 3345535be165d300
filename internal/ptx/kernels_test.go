package ptx_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/ptx"
	"bilevel/internal/testrun"
)

// scenarios lists every kernel of testdata/kernels with its oracle.
func scenarios() []scenario {
	return slices.Concat(matrixScenarios(), mapScenarios(), reductionScenarios(), integerScenarios(),
		functionScenarios(), pointerScenarios())
}

// Every kernel, compiled by both compilers and in all variants, is right on awkward shapes in all float modes and under
// permuted schedules, and the sanitizer has nothing to report.
func TestKernels(t *testing.T) {
	type run struct {
		mode ptx.FloatMode
		seed uint64
	}
	all := []run{{ptx.Exact, 0}, {ptx.Pessimistic, 1}, {ptx.Contract, 2}}
	seeds := slices.Clone(all)
	for seed := uint64(3); seed <= testrun.Size[uint64](4, 8); seed++ {
		seeds = append(seeds, run{ptx.Exact, seed})
	}
	for _, s := range scenarios() {
		t.Run(s.kernel, func(t *testing.T) {
			t.Parallel()
			for i, file := range outputsOf(t, s.source) {
				module := load(t, file)
				runs := all
				if i == 0 && !testing.Short() {
					runs = seeds
				}
				for _, shape := range s.shapes {
					for _, run := range runs {
						name := fmt.Sprintf("%s %v mode %d seed %d", filepath.Base(file), shape, run.mode, run.seed)
						r := newRig(module, ptx.Options{Sanitize: true, Float: run.mode, Seed: run.seed})
						wrong := s.run(r, shape)
						require.NoError(t, r.err, name)
						require.Empty(t, r.reports, name)
						require.NoError(t, wrong, name)
						require.NotZero(t, r.warps, name)
					}
				}
			}
		})
	}
}

// The kernels of every source have a scenario.
func TestEveryKernelHasAScenario(t *testing.T) {
	have := map[string]bool{}
	for _, s := range scenarios() {
		have[s.source+" "+s.kernel] = true
	}
	helpers := map[string]bool{"scan scan_totals": true, "scan scan_add": true} // run by the scenario of scan_blocks
	for _, b := range builds(t) {
		source := filepath.Base(b.Source[:len(b.Source)-len(".cu")])
		if source == "faults" {
			continue // TestFaultsAreReported
		}
		for _, k := range load(t, b.Output).Kernels() {
			require.True(t, have[source+" "+k.Name] || helpers[source+" "+k.Name], "%s: %s", b.Output, k.Name)
		}
	}
}
