//go:build !purego

package cpu

var winogradAVX512 = winogradKernels{
	pixels:  winogradAssembly(winogradPixelsAVX512),
	results: winogradAssembly(winogradResultsAVX512),
	spread:  winogradAssembly(winogradSpreadAVX512),
	weights: winogradAssembly(winogradWeightsAVX512),
	taps:    winogradAssembly(winogradTapsAVX512),
}

var winogradAVX2 = winogradKernels{
	pixels:  winogradAssembly(winogradPixelsAVX2),
	results: winogradAssembly(winogradResultsAVX2),
	spread:  winogradAssembly(winogradSpreadAVX2),
	weights: winogradAssembly(winogradWeightsAVX2),
	taps:    winogradAssembly(winogradTapsAVX2),
}

func winogradAssembly(
	f func(to *float32, toApart, toNext int, from *float32, fromApart, fromNext, groups, n int),
) winogradMap {
	return func(to []float32, toApart, toNext int, from []float32, fromApart, fromNext, groups, n int) {
		f(&to[0], toApart, toNext, &from[0], fromApart, fromNext, groups, n)
	}
}
