//go:build !purego

package cpu

var winogradAVX512 = winogradKernels{
	sums: func(to []float32, apart int, p, q []float32, tiles, n int) {
		winogradSumsAVX512(&to[0], apart, &p[0], &q[0], tiles, n)
	},
	differences: func(to []float32, apart int, p, q []float32, tiles, n int) {
		winogradDifferencesAVX512(&to[0], apart, &p[0], &q[0], tiles, n)
	},
	results: func(y0, y1 []float32, ld int, from []float32, apart, tiles, n int) {
		winogradResultsAVX512(&y0[0], &y1[0], ld, &from[0], apart, tiles, n)
	},
	spread: func(to []float32, apart int, y0, y1 []float32, ld, tiles, n int) {
		winogradSpreadAVX512(&to[0], apart, &y0[0], &y1[0], ld, tiles, n)
	},
}

var winogradAVX2 = winogradKernels{
	sums: func(to []float32, apart int, p, q []float32, tiles, n int) {
		winogradSumsAVX2(&to[0], apart, &p[0], &q[0], tiles, n)
	},
	differences: func(to []float32, apart int, p, q []float32, tiles, n int) {
		winogradDifferencesAVX2(&to[0], apart, &p[0], &q[0], tiles, n)
	},
	results: func(y0, y1 []float32, ld int, from []float32, apart, tiles, n int) {
		winogradResultsAVX2(&y0[0], &y1[0], ld, &from[0], apart, tiles, n)
	},
	spread: func(to []float32, apart int, y0, y1 []float32, ld, tiles, n int) {
		winogradSpreadAVX2(&to[0], apart, &y0[0], &y1[0], ld, tiles, n)
	},
}
