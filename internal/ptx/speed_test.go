package ptx_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/ptx"
)

// benchmarkProduct runs a product of 256 x 256 matrices and reports warp instructions a second for each worker.
func benchmarkProduct(b *testing.B, source, kernel string, tile, threads int, opt ptx.Options) {
	const n = 256
	module := load(b, "ptx/"+source+".nvcc.ptx")
	opt.Workers = 1
	r := newRig(module, opt)
	x, y, c := upload(r, "A", r.normals(n*n)), upload(r, "B", r.normals(n*n)), blank[float32](r, "C", n*n)
	for b.Loop() {
		r.launch(kernel, [3]int{n / tile, n / tile, 1}, line(threads), 0, x, y, c, n, n, n)
	}
	require.NoError(b, r.err)
	require.Empty(b, r.reports)
	b.ReportMetric(float64(r.warps)/b.Elapsed().Seconds()/1e6, "Mwarp-instr/s/core")
}

func BenchmarkSgemm(b *testing.B) {
	benchmarkProduct(b, "sgemm", "sgemm", 64, 256, ptx.Options{})
}

func BenchmarkSgemmSanitized(b *testing.B) {
	benchmarkProduct(b, "sgemm", "sgemm", 64, 256, ptx.Options{Sanitize: true})
}

func BenchmarkSgemmAsync(b *testing.B) {
	benchmarkProduct(b, "sgemm_async", "sgemm_async", 32, 256, ptx.Options{})
}

// BenchmarkSuite runs every kernel of testdata on up to four shapes with the sanitizer: what a project's own suite
// would cost.
func BenchmarkSuite(b *testing.B) {
	runs := 0
	for b.Loop() {
		runs = 0
		for _, s := range scenarios() {
			module := load(b, outputsOf(b, s.source)[0])
			for _, shape := range s.shapes[:min(4, len(s.shapes))] {
				r := newRig(module, ptx.Options{Sanitize: true})
				require.NoError(b, s.run(r, shape))
				require.NoError(b, r.err)
				runs++
			}
		}
	}
	b.ReportMetric(float64(runs), "runs")
}
