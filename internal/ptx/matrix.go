package ptx

import (
	"math"

	"bilevel/internal/ptx/arith"
)

// An element is a number format of matrix instructions.
type element struct {
	name string
	bits int
	per  int // elements of a register
	wide bool
	read func(v uint64) float64
}

func (f element) width() width {
	if f.wide {
		return width64
	}
	return width32
}

// elements are the formats. The lower 13 bits of a tf32 operand do not count, whatever they are.
var elements = map[string]element{
	"f64": {"f64", 64, 1, true, math.Float64frombits},
	"f32": {"f32", 32, 1, false, func(v uint64) float64 { return float64(math.Float32frombits(uint32(v))) }},
	"tf32": {"tf32", 32, 1, false,
		func(v uint64) float64 { return float64(math.Float32frombits(uint32(v) &^ 0x1fff)) }},
	"bf16": {"bf16", 16, 2, false, func(v uint64) float64 { return float64(math.Float32frombits(uint32(v) << 16)) }},
	"f16":  {"f16", 16, 2, false, func(v uint64) float64 { return readHalf(uint16(v)) }},
	"s8":   {"s8", 8, 4, false, func(v uint64) float64 { return float64(int8(v)) }},
	"u8":   {"u8", 8, 4, false, func(v uint64) float64 { return float64(uint8(v)) }},
	"s32":  {"s32", 32, 1, false, func(v uint64) float64 { return float64(int32(v)) }},
}

func readHalf(v uint16) float64 {
	e, f := int(v>>10&31), float64(v&0x3ff)
	var x float64
	switch e {
	case 0:
		x = f * 0x1p-24
	case 31:
		if x = math.Inf(1); f != 0 {
			x = math.NaN()
		}
	default:
		x = math.Ldexp(1024+f, e-25)
	}
	if v>>15 != 0 {
		return -x
	}
	return x
}

// product computes D = A·B + C as bits. Hardware's sums are not IEEE ones and differ between generations: the default
// is the exact sum rounded once, pessimistic the published model of compute capability 8.0, the coarsest since then
// (arith.Dot). Products of f64 are added in order with one rounding each; sums of integers wrap or saturate.
func (f element) product(s shape, a, b, c *[512]float64, d *[512]uint64, in element, pessimistic, saturate bool) {
	var dot arith.Dot
	if pessimistic {
		dot = arith.Ampere(in.name == "tf32")
	}
	for i := range s.m {
		row := a[i*s.k : (i+1)*s.k]
		for j := range s.n {
			at := i*s.n + j
			switch f.name {
			case "f32":
				d[at] = uint64(dot.F32(c[at], row, b[j:], s.n))
			case "f16":
				d[at] = uint64(dot.F16(c[at], row, b[j:], s.n))
			case "f64":
				sum := c[at]
				for k, x := range row {
					sum = math.FMA(x, b[k*s.n+j], sum)
				}
				if d[at] = math.Float64bits(sum); sum != sum {
					d[at] = arith.NaN64
				}
			default: // s32: exact in float64
				sum := c[at]
				for k, x := range row {
					sum += float64(x * b[k*s.n+j])
				}
				if saturate {
					sum = max(math.MinInt32, min(math.MaxInt32, sum))
				}
				d[at] = uint64(uint32(int64(sum)))
			}
		}
	}
}
