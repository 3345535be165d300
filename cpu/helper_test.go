package cpu

import (
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"

	"bilevel/internal/expr"
)

// newPool starts a pool of the best level that ends with the test.
func newPool(t testing.TB, threads int) *Pool { return newPoolAt(t, threads, Detected()) }

// newPoolAt starts a pool of a level that ends with the test.
func newPoolAt(t testing.TB, threads int, level Level) *Pool {
	p := NewPool(threads, level)
	t.Cleanup(p.Close)
	return p
}

func rng(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 7)) }

// normals fills a slice with n normal numbers.
func normals(r *rand.Rand, n int) []float32 {
	s := make([]float32, n)
	for i := range s {
		s[i] = float32(r.NormFloat64())
	}
	return s
}

// rowMajor is a dense array of the shape over the data.
func rowMajor(data []float32, shape ...int) Array {
	return Array{Real: data, Shape: shape, Strides: rowMajorStrides(shape)}
}

func rowMajorInt(data []int32, shape ...int) Array {
	return Array{Int: data, Shape: shape, Strides: rowMajorStrides(shape)}
}

func rowMajorStrides(shape []int) []int {
	strides := make([]int, len(shape))
	n := 1
	for i := len(shape) - 1; i >= 0; i-- {
		strides[i] = n
		n *= shape[i]
	}
	return strides
}

// layouts are ways to lay an array of a shape into memory: dense, transposed, padded, every other element.
var layouts = []string{"dense", "reversed", "padded", "spaced"}

// scattered makes an array of the shape in one of the layouts, over fresh random memory.
func scattered(r *rand.Rand, how string, shape ...int) Array {
	a := Array{Shape: shape, Strides: make([]int, len(shape))}
	n := 1
	for j := range shape {
		i := len(shape) - 1 - j
		if how == "reversed" {
			i = j
		}
		a.Strides[i] = n
		n *= max(shape[i], 1)
		switch how {
		case "padded":
			n += 3
		case "spaced":
			if j == 0 {
				a.Strides[i], n = 2, 2*n
			}
		}
	}
	a.Off = 5
	a.Real = normals(r, n+11)
	return a
}

// repeated makes an array of the shape that shows one element along the given axes.
func repeated(r *rand.Rand, shape []int, axes ...int) Array {
	inner := append([]int(nil), shape...)
	for _, a := range axes {
		inner[a] = 1
	}
	a := scattered(r, "dense", inner...)
	for _, i := range axes {
		a.Strides[i] = 0
	}
	a.Shape = shape
	return a
}

// elements lists an array's elements in row-major order.
func elements(a Array) []float32 {
	l := iterOf(&a)
	out := make([]float32, size(a.Shape))
	for i := range out {
		load(&l, out[i:i+1], a.Real, i)
	}
	return out
}

// offsetOf is the definition that iteration orders are tested against: the offset of point number i.
func offsetOf(a *Array, i int) int {
	off := a.Off
	for d := len(a.Shape) - 1; d >= 0; d-- {
		off += i % a.Shape[d] * a.Strides[d]
		i /= a.Shape[d]
	}
	return off
}

// hold runs an operation as a program would.
func hold(p *Pool, op interface{ Run() error }) error {
	p.Lock()
	defer p.Unlock()
	return op.Run()
}

// build writes expressions: f(args…) steps in order, the last one being the result unless outs says otherwise.
type build struct{ expr.Expr }

func (b *build) step(f expr.Fn, args ...int) int {
	s := expr.Step{Fn: f}
	copy(s.Args[:], args)
	b.Steps = append(b.Steps, s)
	return len(b.Steps) - 1
}

func (b *build) in(i int) int {
	b.Steps = append(b.Steps, expr.Step{Fn: expr.Input, Arg: i})
	return len(b.Steps) - 1
}

func (b *build) c(v float64) int {
	b.Steps = append(b.Steps, expr.Step{Fn: expr.Const, Const: v})
	return len(b.Steps) - 1
}

func (b *build) iota(axis int) int {
	b.Steps = append(b.Steps, expr.Step{Fn: expr.Iota, Arg: axis})
	return len(b.Steps) - 1
}

func (b *build) outs(values ...int) *expr.Expr {
	b.Outs = values
	return &b.Expr
}

// ulp is the distance of float32 numbers at x, 2^-149 where they are subnormal.
func ulp(x float64) float64 {
	x = math.Abs(x)
	if x < 0x1p-126 {
		return 0x1p-149
	}
	return math.Ldexp(1, math.Ilogb(x)-23)
}

// alignedTo64 cuts up to 15 elements off the front of s, so that it begins on a cache line.
func alignedTo64(s []float32) []float32 {
	for uintptr(unsafe.Pointer(unsafe.SliceData(s)))%64 != 0 {
		s = s[1:]
	}
	return s
}

// product is a product of matrices [m,k]·[k,n]; an operand with ta or tb lies in memory transposed.
type product struct {
	m, k, n int
	ta, tb  bool
}

func (s product) gemm(p *Pool) *Gemm {
	r := rng(1)
	x, y := rowMajor(normals(r, s.m*s.k), 1, s.m, s.k), rowMajor(normals(r, s.k*s.n), 1, s.k, s.n)
	if s.ta {
		x.Strides = []int{0, 1, s.m}
	}
	if s.tb {
		y.Strides = []int{0, 1, s.k}
	}
	out := rowMajor(make([]float32, s.m*s.n), 1, s.m, s.n)
	return NewGemm(p, out, x, y, nil, nil, nil, nil)
}
