package cpu

// winogradKernels are the steps of winograd that meet every pixel. Each takes a row of tiles, j < tiles, of n channels,
// c < n, and has its sixteen points, which are apart from each other, at [j·n + c].
type winogradKernels struct {
	// sums and differences compute four points, those of a row of Bᵀ d B, from two rows of pixels, l = p + q or p - q:
	// l[2j] - l[2j+2], l[2j+1] + l[2j+2], l[2j+2] - l[2j+1], l[2j+3] - l[2j+1]. Pixels are n apart.
	sums, differences func(to []float32, apart int, p, q []float32, tiles, n int)
	// results computes Aᵀ m A: two rows of results, whose pixels are ld apart.
	results func(y0, y1 []float32, ld int, from []float32, apart, tiles, n int)
	// spread computes A y Aᵀ of two rows of results, whose pixels are ld apart.
	spread func(to []float32, apart int, y0, y1 []float32, ld, tiles, n int)
}

var genericWinograd = winogradKernels{
	sums: func(to []float32, apart int, p, q []float32, tiles, n int) {
		winogradRow(to, apart, func(i int) float32 { return p[i] + q[i] }, tiles, n)
	},
	differences: func(to []float32, apart int, p, q []float32, tiles, n int) {
		winogradRow(to, apart, func(i int) float32 { return p[i] - q[i] }, tiles, n)
	},
	results: winogradResults,
	spread:  winogradSpread,
}

func winogradRow(to []float32, apart int, l func(i int) float32, tiles, n int) {
	for i := range tiles * n {
		at := i/n*2*n + i%n
		to[i] = l(at) - l(at+2*n)
		to[apart+i] = l(at+n) + l(at+2*n)
		to[2*apart+i] = l(at+2*n) - l(at+n)
		to[3*apart+i] = l(at+3*n) - l(at+n)
	}
}

func winogradResults(y0, y1 []float32, ld int, from []float32, apart, tiles, n int) {
	for i := range tiles * n {
		var l [2][tileEdge]float32
		for b := range tileEdge {
			m := func(a int) float32 { return from[(tileEdge*a+b)*apart+i] }
			l[0][b] = m(0) + (m(1) + m(2))
			l[1][b] = m(1) - m(2) + m(3)
		}
		at := i/n*2*ld + i%n
		for row, y := range [][]float32{y0, y1} {
			y[at] = l[row][0] + (l[row][1] + l[row][2])
			y[at+ld] = l[row][1] - l[row][2] + l[row][3]
		}
	}
}

func winogradSpread(to []float32, apart int, y0, y1 []float32, ld, tiles, n int) {
	for i := range tiles * n {
		at := i/n*2*ld + i%n
		left, right := [2]float32{y0[at], y1[at]}, [2]float32{y0[at+ld], y1[at+ld]}
		for a, l := range [tileEdge][2]float32{
			{left[0], right[0]}, {left[0] + left[1], right[0] + right[1]},
			{left[0] - left[1], right[0] - right[1]}, {left[1], right[1]},
		} {
			row := to[tileEdge*a*apart+i:]
			row[0], row[apart], row[2*apart], row[3*apart] = l[0], l[0]+l[1], l[0]-l[1], l[1]
		}
	}
}
