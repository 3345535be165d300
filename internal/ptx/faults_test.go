package ptx_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/ptx"
)

// Each kernel of faults.cu is reported as its comment says, at that line, and nothing else is.
func TestFaultsAreReported(t *testing.T) {
	text, err := os.ReadFile("testdata/kernels/faults.cu")
	require.NoError(t, err)
	type place struct {
		kind ptx.Kind
		line int
	}
	want := map[string]place{}
	kernel := ""
	for i, l := range strings.Split(string(text), "\n") {
		if _, after, ok := strings.Cut(l, "__global__ void "); ok {
			kernel, _, _ = strings.Cut(after, "(")
		}
		if _, kind, ok := strings.Cut(l, "// report: "); ok {
			want[kernel] = place{ptx.Kind(kind), i + 1}
		}
	}
	ints := func(n int) []int32 { return make([]int32, n) }
	runs := map[string]func(r *rig){
		"lucky_race":     func(r *rig) { r.launch("lucky_race", line(1), line(64), 0, blank[int32](r, "out", 64)) },
		"block_race":     func(r *rig) { r.launch("block_race", line(2), line(32), 0, blank[int32](r, "out", 1)) },
		"neighbour_race": func(r *rig) { r.launch("neighbour_race", line(2), line(1), 0, upload(r, "x", ints(3))) },
		"uninitialised_shared": func(r *rig) {
			r.launch("uninitialised_shared", line(1), line(32), 0, blank[int32](r, "out", 32))
		},
		"uninitialised_global": func(r *rig) {
			r.launch("uninitialised_global", line(1), line(32), 0, blank[int32](r, "in", 32),
				blank[int32](r, "out", 32))
		},
		"uninitialised_local": func(r *rig) {
			r.launch("uninitialised_local", line(1), line(32), 0, blank[int32](r, "out", 32), 3, 5)
		},
		"past_the_end": func(r *rig) { r.launch("past_the_end", line(1), line(32), 0, blank[int32](r, "out", 32)) },
		"past_shared":  func(r *rig) { r.launch("past_shared", line(1), line(32), 0, blank[int32](r, "out", 32), 1) },
		"crooked":      func(r *rig) { r.launch("crooked", line(1), line(2), 0, blank[float32](r, "out", 64)) },
		"freed": func(r *rig) {
			out := blank[int32](r, "out", 32)
			r.fail(r.machine.Free(out))
			r.launch("freed", line(1), line(32), 0, out)
		},
		"parted_barrier": func(r *rig) { r.launch("parted_barrier", line(1), line(32), 0, blank[int32](r, "out", 32)) },
		"two_masks":      func(r *rig) { r.launch("two_masks", line(1), line(32), 0, blank[int32](r, "out", 32)) },
		"unnamed_lane":   func(r *rig) { r.launch("unnamed_lane", line(1), line(32), 0, blank[int32](r, "out", 32)) },
		"early_read": func(r *rig) {
			r.launch("early_read", line(1), line(32), 0, upload(r, "in", ints(32)), blank[int32](r, "out", 32))
		},
		"unordered_sum": func(r *rig) {
			r.launch("unordered_sum", line(4), line(64), 0, upload(r, "in", r.normals(256)),
				upload(r, "sum", []float32{0}))
		},
		"endless": func(r *rig) { r.launch("endless", line(1), line(32), 0, upload(r, "flag", ints(1))) },
	}
	require.Len(t, want, len(runs))
	for _, output := range outputsOf(t, "faults") {
		debug := strings.Contains(output, ".debug.")
		if debug {
			delete(runs, "crooked") // the store is two, both aligned
		}
		for kernel, run := range runs {
			t.Run(output+"/"+kernel, func(t *testing.T) {
				r := newRig(load(t, output), ptx.Options{Sanitize: true, Watchdog: 1 << 20})
				run(r)
				reports := r.reports
				var fault *ptx.Fault
				if len(reports) == 0 && r.err != nil {
					require.ErrorAs(t, r.err, &fault)
					reports = []ptx.Report{fault.Report}
				}
				require.NotEmpty(t, reports)
				if debug { // intrinsics are functions of headers there, and their faults have followers
					require.Equal(t, want[kernel].kind, reports[0].Kind, reports[0].String())
					return
				}
				for _, report := range reports {
					require.Equal(t, want[kernel].kind, report.Kind, report.String())
					require.Equal(t, kernel, report.Kernel)
					require.Equal(t, want[kernel].line, report.Line, report.String())
					require.True(t, strings.HasSuffix(report.File, "kernels/faults.cu"), report.File)
				}
			})
		}
	}
}

// The result of lucky_race is right in the natural order of warps: only the rules of the memory model tell.
func TestALuckyRaceIsRight(t *testing.T) {
	r := newRig(load(t, outputsOf(t, "faults")[0]), ptx.Options{Sanitize: true})
	out := blank[int32](r, "out", 64)
	r.launch("lucky_race", line(1), line(64), 0, out)
	want := make([]int32, 64)
	for i := range want {
		want[i] = int32(i % 32)
	}
	require.NoError(t, r.err)
	require.NoError(t, equal("out", want, download[int32](r, out, 64)))
	require.NotEmpty(t, r.reports)
}
