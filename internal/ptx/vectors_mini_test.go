package ptx_test

import (
	"math"

	"bilevel/internal/ptx/arith/exact"
)

// miniValues are the numbers of a format of 8 bits by their bits, from its definition (OCP 8-bit floating point, OFP8).
func miniValues(name string) (values [128]float64) {
	frac, bias := 3, 7
	if name == "e5m2x2" {
		frac, bias = 2, 15
	}
	for u := range values {
		e, m := u>>frac, float64(u&(1<<frac-1))
		switch {
		case name == "e5m2x2" && u == 0x7c:
			values[u] = math.Inf(1)
		case name == "e5m2x2" && u > 0x7c, name == "e4m3x2" && u == 0x7f:
			values[u] = math.NaN()
		case e == 0:
			values[u] = m * math.Pow(2, float64(1-bias-frac))
		default:
			values[u] = (1 + m/math.Pow(2, float64(frac))) * math.Pow(2, float64(e-bias))
		}
	}
	return values
}

// nearestMini looks through all numbers of the format for the nearest; of two, the one with an even fraction.
func nearestMini(name string, v float64, relu bool) uint64 {
	if v != v {
		return 0x7f
	}
	best, distance := uint64(0), math.Inf(1)
	for u, x := range miniValues(name) {
		if d := math.Abs(min(math.Abs(v), 1e6) - x); !math.IsInf(x, 0) &&
			(d < distance || d == distance && u%2 == 0) && x == x {
			best, distance = uint64(u), d
		}
	}
	if math.Signbit(v) {
		if relu {
			return 0
		}
		best |= 0x80
	}
	return best
}

// mini is cvt from and to the two formats of 8 bits.
func mini(_ string, mods []string) (*vector, bool) {
	dst, src := mods[len(mods)-2], last(mods)
	isMini := func(s string) bool { return s == "e4m3x2" || s == "e5m2x2" }
	relu := has(mods, "relu")
	switch {
	case isMini(dst) && src == "f32":
		list := append(floatInputs(exact.F32(), false, 1), miniEdges(dst)...)
		v := &vector{dst: "b16", src: []string{"b32", "b32"}, in: [][]uint64{list, list}}
		v.want = func(x []uint64) (uint64, bool) {
			one := func(u uint64) uint64 { return nearestMini(dst, float64(math.Float32frombits(uint32(u))), relu) }
			return one(x[0])<<8 | one(x[1]), true
		}
		return v, true
	case isMini(dst) && src == "f16x2":
		v := &vector{dst: "b16", src: []string{"b32"}, in: [][]uint64{floatInputs(exact.F16(), true, 1)}}
		v.want = func(x []uint64) (uint64, bool) {
			one := func(u uint64) uint64 { return nearestMini(dst, halfValue(u&0xffff), relu) }
			return one(x[0]>>16)<<8 | one(x[0]), true
		}
		return v, true
	case isMini(src):
		v := &vector{dst: "b32", src: []string{"b16"}, most: 65536}
		var list []uint64
		for u := range uint64(256) {
			list = append(list, u<<8|(u*37+11)&0xff)
		}
		v.in = [][]uint64{list}
		values := miniValues(src)
		v.want = func(x []uint64) (z uint64, ok bool) {
			for _, at := range []uint{8, 0} {
				b := x[0] >> at & 0xff
				a := values[b&0x7f]
				var u uint64
				switch {
				case a != a:
					u = 0x7fff
				case math.IsInf(a, 0):
					u = exact.F16().Inf()
				default:
					u = exact.F16().Encode(exact.Float(a), "rn")
				}
				if b&0x80 != 0 && a == a {
					if u |= 0x8000; relu {
						u = 0
					}
				}
				z = z<<16 | u
			}
			return z, true
		}
		return v, true
	}
	return nil, false
}

// miniEdges are the numbers of the format as f32, what lies halfway between them, and what lies beside that.
func miniEdges(name string) (list []uint64) {
	values := miniValues(name)
	for i, x := range values[:126] {
		y := values[i+1]
		if y != y || math.IsInf(y, 0) {
			break
		}
		middle := math.Float32bits(float32((x + y) / 2))
		for _, u := range []uint32{math.Float32bits(float32(x)), middle - 1, middle, middle + 1} {
			list = append(list, uint64(u), uint64(u|1<<31))
		}
	}
	return list
}

func halfValue(u uint64) float64 {
	v := exact.F16().Decode(u, false)
	switch {
	case v.NaN:
		return math.NaN()
	case v.Inf() && v.Neg():
		return math.Inf(-1)
	case v.Inf():
		return math.Inf(1)
	}
	x, _ := v.X.Float64()
	return x
}
