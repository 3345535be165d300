package cpu

// gemmGeneric is the tile of plain Go: at most 2 rows, in strips of 4 columns. Go has no vector registers to offer:
// eight running sums are what fits beside the operands in the sixteen registers of amd64 (2×4: 7.9 GFLOP/s; 4×4 spills:
// 4.6, on one core of the machine of the benchmarks).
func gemmGeneric(
	rows, _, cols, k int, a []float32, rs, cs int, b []float32, ldb int, c []float32, ldc int, add bool, _ lookahead,
) {
	for j := 0; j < cols; j += 4 {
		b, c := b[j:], c[j:]
		switch {
		case rows == 2 && cols-j >= 4:
			tile2x4(k, a, rs, cs, b, ldb, c, ldc, add)
		case rows == 2 && cols-j == 2:
			tile2x2(k, a, rs, cs, b, ldb, c, ldc, add)
		default:
			tileAny(rows, min(4, cols-j), k, a, rs, cs, b, ldb, c, ldc, add)
		}
	}
}

func tileAny(rows, cols, k int, a []float32, rs, cs int, b []float32, ldb int, c []float32, ldc int, add bool) {
	for i := range rows {
		for j := range cols {
			var s float32
			for q := range k {
				s += float32(a[i*rs+q*cs] * b[q*ldb+j])
			}
			if add {
				s = c[i*ldc+j] + s
			}
			c[i*ldc+j] = s
		}
	}
}

func tile2x4(k int, a []float32, rs, cs int, b []float32, ldb int, c []float32, ldc int, add bool) {
	var c00, c01, c02, c03, c10, c11, c12, c13 float32
	i, j := 0, 0
	for range k {
		b := (*[4]float32)(b[j:])
		x := a[i]
		c00 += float32(x * b[0])
		c01 += float32(x * b[1])
		c02 += float32(x * b[2])
		c03 += float32(x * b[3])
		x = a[i+rs]
		c10 += float32(x * b[0])
		c11 += float32(x * b[1])
		c12 += float32(x * b[2])
		c13 += float32(x * b[3])
		i, j = i+cs, j+ldb
	}
	put4((*[4]float32)(c), c00, c01, c02, c03, add)
	put4((*[4]float32)(c[ldc:]), c10, c11, c12, c13, add)
}

func put4(c *[4]float32, s0, s1, s2, s3 float32, add bool) {
	if add {
		s0, s1, s2, s3 = c[0]+s0, c[1]+s1, c[2]+s2, c[3]+s3
	}
	*c = [4]float32{s0, s1, s2, s3}
}

func tile2x2(k int, a []float32, rs, cs int, b []float32, ldb int, c []float32, ldc int, add bool) {
	var c00, c01, c10, c11 float32
	i, j := 0, 0
	for range k {
		b := (*[2]float32)(b[j:])
		x := a[i]
		c00 += float32(x * b[0])
		c01 += float32(x * b[1])
		x = a[i+rs]
		c10 += float32(x * b[0])
		c11 += float32(x * b[1])
		i, j = i+cs, j+ldb
	}
	if add {
		c00, c01, c10, c11 = c[0]+c00, c[1]+c01, c[ldc]+c10, c[ldc+1]+c11
	}
	c[0], c[1], c[ldc], c[ldc+1] = c00, c01, c10, c11
}

func copyRowsGeneric(dst []float32, ldd int, src []float32, lds, rows, cols int) {
	for i := range rows {
		copy(dst[i*ldd:][:cols], src[i*lds:])
	}
}

func mulRowsGeneric(dst []float32, ldd int, src []float32, lds int, by []float32, ldb, rows, cols int) {
	for i := range rows {
		x, y := src[i*lds:][:cols], by[i*ldb:][:cols]
		for j := range x {
			dst[i*ldd+j] = x[j] * y[j]
		}
	}
}

func transposeGeneric(dst []float32, ldd int, src []float32, lds, rows, cols int) {
	for i := range rows {
		for j, v := range src[i*lds:][:cols] {
			dst[j*ldd+i] = v
		}
	}
}
