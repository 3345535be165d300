package cpu

// micro is a kernel that computes an mr×nr tile of a product,
//
//	c[i,j] (+)= Σ_k a[i·rs + k·cs] · b[k·nr + j],   i < mr, j < nr, k < kc,
//
// with the rows of c ldc apart. It stores the sums, or adds them where add is set. Each element is one running sum in
// the order of k, so that the kernel may be chosen by shape without changing what a term goes through.
type micro struct {
	mr, nr int
	run    func(c []float32, ldc int, a []float32, rs, cs int, b []float32, kc int, add bool)
}

// The generic kernels. Go has no vector registers to offer: eight running sums are what fits beside the operands in the
// sixteen registers of amd64 (2×4: 7.9 GFLOP/s; 4×4 spills: 4.6, on one core of the machine of the benchmarks).
var (
	micro2x4 = micro{2, 4, run2x4}
	micro4x2 = micro{4, 2, run4x2}
	micro4x1 = micro{4, 1, run4x1}
)

// microFor chooses the kernel for products with n columns: the one that wastes least on a narrow product.
func microFor(n int) micro {
	switch {
	case n == 1:
		return micro4x1
	case n <= 10 && (n%4 == 1 || n%4 == 2):
		return micro4x2
	}
	return micro2x4
}

func run2x4(c []float32, ldc int, a []float32, rs, cs int, b []float32, kc int, add bool) {
	var c00, c01, c02, c03, c10, c11, c12, c13 float32
	for i, b := 0, b[:4*kc]; len(b) >= 4; i, b = i+cs, b[4:] {
		b0, b1, b2, b3 := b[0], b[1], b[2], b[3]
		x := a[i]
		c00 += float32(x * b0)
		c01 += float32(x * b1)
		c02 += float32(x * b2)
		c03 += float32(x * b3)
		x = a[i+rs]
		c10 += float32(x * b0)
		c11 += float32(x * b1)
		c12 += float32(x * b2)
		c13 += float32(x * b3)
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

func run4x2(c []float32, ldc int, a []float32, rs, cs int, b []float32, kc int, add bool) {
	var c00, c01, c10, c11, c20, c21, c30, c31 float32
	for i, b := 0, b[:2*kc]; len(b) >= 2; i, b = i+cs, b[2:] {
		b0, b1 := b[0], b[1]
		x := a[i]
		c00 += float32(x * b0)
		c01 += float32(x * b1)
		x = a[i+rs]
		c10 += float32(x * b0)
		c11 += float32(x * b1)
		x = a[i+2*rs]
		c20 += float32(x * b0)
		c21 += float32(x * b1)
		x = a[i+3*rs]
		c30 += float32(x * b0)
		c31 += float32(x * b1)
	}
	put2((*[2]float32)(c), c00, c01, add)
	put2((*[2]float32)(c[ldc:]), c10, c11, add)
	put2((*[2]float32)(c[2*ldc:]), c20, c21, add)
	put2((*[2]float32)(c[3*ldc:]), c30, c31, add)
}

func put2(c *[2]float32, s0, s1 float32, add bool) {
	if add {
		s0, s1 = c[0]+s0, c[1]+s1
	}
	*c = [2]float32{s0, s1}
}

func run4x1(c []float32, ldc int, a []float32, rs, cs int, b []float32, kc int, add bool) {
	var s0, s1, s2, s3 float32
	i := 0
	for _, y := range b[:kc] {
		s0 += float32(a[i] * y)
		s1 += float32(a[i+rs] * y)
		s2 += float32(a[i+2*rs] * y)
		s3 += float32(a[i+3*rs] * y)
		i += cs
	}
	if add {
		s0, s1, s2, s3 = c[0]+s0, c[ldc]+s1, c[2*ldc]+s2, c[3*ldc]+s3
	}
	c[0], c[ldc], c[2*ldc], c[3*ldc] = s0, s1, s2, s3
}
