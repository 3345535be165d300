//go:build !purego

package cpu

var winogradAVX512 = winogradKernels{
	pixels: winogradAssembly(winogradPixelsAVX512),
	sizes: [2]winogradSize{{
		taps:    3,
		results: winogradAssembly(winogradResults3AVX512),
		spread:  winogradAssembly(winogradSpread3AVX512),
		weights: winogradAssembly(winogradWeights3AVX512),
		gather:  winogradAssembly(winogradTaps3AVX512),
	}, {
		taps:    5,
		results: winogradAssembly(winogradResults5AVX512),
		spread:  winogradAssembly(winogradSpread5AVX512),
		weights: winogradAssembly(winogradWeights5AVX512),
		gather:  winogradAssembly(winogradTaps5AVX512),
	}},
}

var winogradAVX2 = winogradKernels{
	pixels: winogradAssembly(winogradPixelsAVX2),
	sizes: [2]winogradSize{{
		taps:    3,
		results: winogradAssembly(winogradResults3AVX2),
		spread:  winogradAssembly(winogradSpread3AVX2),
		weights: winogradAssembly(winogradWeights3AVX2),
		gather:  winogradAssembly(winogradTaps3AVX2),
	}, {
		taps:    5,
		results: winogradAssembly(winogradResults5AVX2),
		spread:  winogradAssembly(winogradSpread5AVX2),
		weights: winogradAssembly(winogradWeights5AVX2),
		gather:  winogradAssembly(winogradTaps5AVX2),
	}},
}

func winogradAssembly(
	f func(to *float32, toApart, toNext int, from *float32, fromApart, fromNext, groups, n int),
) winogradMap {
	return func(to []float32, toApart, toNext int, from []float32, fromApart, fromNext, groups, n int) {
		f(&to[0], toApart, toNext, &from[0], fromApart, fromNext, groups, n)
	}
}
