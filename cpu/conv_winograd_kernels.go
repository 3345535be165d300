package cpu

// winogradMap applies a matrix of winograd along one axis of tiles: to[i·toApart + g·toNext + j] = Σ over k of the
// matrix's [i,k] times from[k·fromApart + g·fromNext + j], g < groups and j < n. to may be from where no element of to
// lies on one of from that is read later.
type winogradMap func(to []float32, toApart, toNext int, from []float32, fromApart, fromNext, groups, n int)

// winogradKernels are the matrices of winograd: that of the pixels, Bᵀ, 6 to 6, and those of each size of kernels.
type winogradKernels struct {
	pixels winogradMap
	sizes  [2]winogradSize
}

// winogradSize are the matrices for kernels of taps × taps, whose tiles have side × side results.
type winogradSize struct {
	taps    int
	results winogradMap // Aᵀ, 6 to side
	spread  winogradMap // A, side to 6
	weights winogradMap // G, taps to 6
	gather  winogradMap // Gᵀ, 6 to taps
}

// side is the results along an edge of a tile.
func (z *winogradSize) side() int { return tileEdge + 1 - z.taps }

// The points of winograd besides 0 and infinity are ±pointA and ±pointB.
const (
	pointA, pointB   = 5.0 / 8, 3.0 / 2
	squareA, squareB = pointA * pointA, pointB * pointB
	// Lagrange's polynomials are divided by the product of their point's differences from the other ones.
	scale0 = 1 / (squareA * squareB)
	scaleA = 1 / (2 * squareA * (squareA - squareB))
	scaleB = 1 / (2 * squareB * (squareB - squareA))
)

var genericWinograd = winogradKernels{
	pixels: winogradGeneric(6, 6, func(x *[tileEdge]float32) {
		const product, sum = squareA * squareB, squareA + squareB
		evenA, oddA := x[4]-squareB*x[2], x[3]-squareB*x[1]
		evenB, oddB := x[4]-squareA*x[2], x[3]-squareA*x[1]
		*x = [tileEdge]float32{
			product*x[0] - sum*x[2] + x[4],
			evenA + pointA*oddA, evenA - pointA*oddA,
			evenB + pointB*oddB, evenB - pointB*oddB,
			product*x[1] - sum*x[3] + x[5],
		}
	}),
	sizes: [2]winogradSize{{
		taps: 3,
		results: winogradGeneric(6, 4, func(x *[tileEdge]float32) {
			sumA, differenceA, sumB, differenceB := x[1]+x[2], x[1]-x[2], x[3]+x[4], x[3]-x[4]
			*x = [tileEdge]float32{
				x[0] + sumA + sumB,
				pointA*differenceA + pointB*differenceB,
				squareA*sumA + squareB*sumB,
				x[5] + squareA*pointA*differenceA + squareB*pointB*differenceB,
			}
		}),
		spread: winogradGeneric(4, 6, func(x *[tileEdge]float32) {
			evenA, oddA := x[0]+squareA*x[2], x[1]+squareA*x[3]
			evenB, oddB := x[0]+squareB*x[2], x[1]+squareB*x[3]
			*x = [tileEdge]float32{
				x[0], evenA + pointA*oddA, evenA - pointA*oddA, evenB + pointB*oddB, evenB - pointB*oddB, x[3],
			}
		}),
		weights: winogradGeneric(3, 6, func(x *[tileEdge]float32) {
			evenA, oddA := scaleA*(x[0]+squareA*x[2]), scaleA*pointA*x[1]
			evenB, oddB := scaleB*(x[0]+squareB*x[2]), scaleB*pointB*x[1]
			*x = [tileEdge]float32{scale0 * x[0], evenA + oddA, evenA - oddA, evenB + oddB, evenB - oddB, x[2]}
		}),
		gather: winogradGeneric(6, 3, func(x *[tileEdge]float32) {
			sumA, differenceA, sumB, differenceB := x[1]+x[2], x[1]-x[2], x[3]+x[4], x[3]-x[4]
			*x = [tileEdge]float32{
				scale0*x[0] + scaleA*sumA + scaleB*sumB,
				scaleA*pointA*differenceA + scaleB*pointB*differenceB,
				x[5] + scaleA*squareA*sumA + scaleB*squareB*sumB,
			}
		}),
	}, {
		taps: 5,
		results: winogradGeneric(6, 2, func(x *[tileEdge]float32) {
			*x = [tileEdge]float32{
				x[0] + (x[1] + x[2]) + (x[3] + x[4]), x[5] + pointA*(x[1]-x[2]) + pointB*(x[3]-x[4]),
			}
		}),
		spread: winogradGeneric(2, 6, func(x *[tileEdge]float32) {
			*x = [tileEdge]float32{
				x[0], x[0] + pointA*x[1], x[0] - pointA*x[1], x[0] + pointB*x[1], x[0] - pointB*x[1], x[1],
			}
		}),
		weights: winogradGeneric(5, 6, func(x *[tileEdge]float32) {
			evenA, oddA := scaleA*(x[0]+squareA*(x[2]+squareA*x[4])), scaleA*pointA*(x[1]+squareA*x[3])
			evenB, oddB := scaleB*(x[0]+squareB*(x[2]+squareB*x[4])), scaleB*pointB*(x[1]+squareB*x[3])
			*x = [tileEdge]float32{scale0 * x[0], evenA + oddA, evenA - oddA, evenB + oddB, evenB - oddB, x[4]}
		}),
		gather: winogradGeneric(6, 5, func(x *[tileEdge]float32) {
			sumA, differenceA := scaleA*(x[1]+x[2]), scaleA*pointA*(x[1]-x[2])
			sumB, differenceB := scaleB*(x[3]+x[4]), scaleB*pointB*(x[3]-x[4])
			*x = [tileEdge]float32{
				scale0*x[0] + sumA + sumB,
				differenceA + differenceB,
				squareA*sumA + squareB*sumB,
				squareA*differenceA + squareB*differenceB,
				x[5] + squareA*(squareA*sumA) + squareB*(squareB*sumB),
			}
		}),
	}},
}

// winogradGeneric is the map whose matrix multiplies the first in numbers of x, giving the first out.
func winogradGeneric(in, out int, multiply func(x *[tileEdge]float32)) winogradMap {
	return func(to []float32, toApart, toNext int, from []float32, fromApart, fromNext, groups, n int) {
		for g := range groups {
			for j := range n {
				var x [tileEdge]float32
				for k := range in {
					x[k] = from[k*fromApart+g*fromNext+j]
				}
				multiply(&x)
				for i := range out {
					to[i*toApart+g*toNext+j] = x[i]
				}
			}
		}
	}
}
