//go:build !purego

package cpu

// tileNEON is a tile of at most mostNEON rows and two vectors.
type tileNEON = func(k int, a *float32, rs, cs int, b *float32, ldb int, c *float32, ldc int, add bool)

// mostNEON is the most rows of a tile: sixteen running sums hide the latency of a multiply-add on four pipes.
const mostNEON = 8

// tilesNEON are the tiles by rows and vectors, from one.
var tilesNEON = [mostNEON][2]tileNEON{
	{gemm1x1NEON, gemm1x2NEON}, {gemm2x1NEON, gemm2x2NEON}, {gemm3x1NEON, gemm3x2NEON}, {gemm4x1NEON, gemm4x2NEON},
	{gemm5x1NEON, gemm5x2NEON}, {gemm6x1NEON, gemm6x2NEON}, {gemm7x1NEON, gemm7x2NEON}, {gemm8x1NEON, gemm8x2NEON},
}

// kernelsNEON have vectors for the products; the rest is plain Go, and elementwise expressions have their tapes.
var kernelsNEON = kernels{
	lanes: 4, kc: 512, most: [5]int{1: mostNEON, 2: mostNEON}, wide: 2, rate: 12,
	tile: gemmNEON, copyRows: copyRowsGeneric, mulRows: mulRowsGeneric, transpose: transposeGeneric,
	winogradKernels: genericWinograd,
	chains:          genericKernels.chains, fmaChains: genericKernels.fmaChains, triad: triadGeneric,
}

// gemmNEON is the tile of NEON, in strips of vecs vectors; what is left beyond whole vectors is summed by plain Go.
func gemmNEON(
	rows, vecs, cols, k int, a []float32, rs, cs int, b []float32, ldb int, c []float32, ldc int, add bool,
	ahead lookahead,
) {
	const lanes = 4
	j := 0
	for cols-j >= lanes {
		v := min(vecs, (cols-j)/lanes, 2)
		tilesNEON[rows-1][v-1](k, &a[0], rs, cs, &b[j], ldb, &c[j], ldc, add)
		j += v * lanes
	}
	for i := 0; j < cols && i < rows; i += 2 {
		gemmGeneric(min(2, rows-i), 1, cols-j, k, a[i*rs:], rs, cs, b[j:], ldb, c[i*ldc+j:], ldc, add, ahead)
	}
}

// kernelsOf are the kernels of a level.
func kernelsOf(l Level) *kernels {
	if l == NEON {
		return &kernelsNEON
	}
	return &genericKernels
}

// loopsOf is the table of a level's loops.
func loopsOf(Level) *loops { return &genericLoops }

// tapeMachineOf gives the steps of a level; nil where there are none.
func tapeMachineOf(l Level) *tapeMachine {
	if l == NEON {
		return &tapeMachine{tapeCodeNEON()[:], tapeRunNEON, 16}
	}
	return nil
}

// Levels lists what this processor and this build offer, the best one last.
func Levels() []Level { return []Level{Generic, NEON} }
