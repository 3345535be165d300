package philox

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"testing"
)

// TestNormalEverywhere goes through all 2²³ values of Normal and holds the figures its comment states. The reference is
// math.Erfinv in float64, whose own error is many orders smaller; the digest, which
// testdata/golden.py computes with NumPy, keeps the bits from ever changing.
func TestNormalEverywhere(t *testing.T) {
	const n = 1 << 23
	// Measured: 1.1426e-6 absolute (at |z| = 4.30), 2.922e-7 relative (at |z| = 3.01).
	const maxAbs, maxRel = 1.15e-6, 3e-7
	const digest = "6a61e9b64c70a5d9efc421a7f5987e8e8abdb9b64af7bcb26e63408b1fad0f98"

	var abs, rel, m1, m2, m4 float64
	prev := math.Inf(-1)
	hash := sha256.New()
	var buf [4 << 10]byte
	for m := uint32(0); m < n; m++ {
		z32 := Normal(m << 9)
		if mirror := Normal((n - 1 - m) << 9); mirror != -z32 {
			t.Fatalf("cell %d: %v, and %v at the mirrored cell", m, z32, mirror)
		}
		if Normal(m<<9|511) != z32 {
			t.Fatalf("cell %d: the lower 9 bits count", m)
		}
		z, want := float64(z32), math.Sqrt2*math.Erfinv((float64(m)+0.5)*(2.0/n)-1)
		abs = max(abs, math.Abs(z-want))
		rel = max(rel, math.Abs(z-want)/math.Abs(want))
		m1, m2, m4 = m1+z, m2+z*z, m4+z*z*z*z
		if z < prev {
			t.Fatalf("cell %d: %v, after %v: not monotone", m, z, prev)
		}
		prev = z
		at := m * 4 % uint32(len(buf))
		binary.LittleEndian.PutUint32(buf[at:], math.Float32bits(z32))
		if int(at)+4 == len(buf) {
			hash.Write(buf[:])
		}
	}
	t.Logf("error %.4g absolute, %.4g relative; moments %.3g %.9f %.7f", abs, rel, m1/n, m2/n, m4/n)
	if abs > maxAbs || rel > maxRel {
		t.Errorf("error %g absolute, %g relative; want at most %g, %g", abs, rel, maxAbs, maxRel)
	}
	// Over all cells the moments differ from the normal distribution's only by the midpoint rule and the float32
	// errors.
	if math.Abs(m1/n) > 1e-12 || math.Abs(m2/n-1) > 3e-7 || math.Abs(m4/n-3) > 2e-5 {
		t.Errorf("moments %g, %g, %g; want 0, 1, 3", m1/n, m2/n, m4/n)
	}
	if got := fmt.Sprintf("%x", hash.Sum(nil)); got != digest {
		t.Errorf("the bits of Normal changed: digest %s, want %s", got, digest)
	}
}

func TestNormalTails(t *testing.T) {
	// Φ⁻¹(2⁻²⁴) = -5.29470408485459…; the end cells are the largest numbers there are.
	if z := Normal(0); z != -5.294704 {
		t.Errorf("Normal(0) = %v", z)
	}
	if z := Normal(math.MaxUint32); z != 5.294704 {
		t.Errorf("Normal(2³²-1) = %v", z)
	}
	// The fractions beyond 1, 2, 3, 4 and 5 over all cells, against erfc(k/√2).
	var beyond [6]int
	for m := range uint32(1 << 23) {
		z := Normal(m << 9)
		for k := 1; k <= 5; k++ {
			if z > float32(k) || z < -float32(k) {
				beyond[k]++
			}
		}
	}
	for k := 1; k <= 5; k++ {
		want := math.Erfc(float64(k)/math.Sqrt2) * (1 << 23)
		if d := math.Abs(float64(beyond[k]) - want); d > 4 { // the two end cells, and float32's rounding of them
			t.Errorf("%d cells beyond %d, want %.1f", beyond[k], k, want)
		}
	}
}

// Golden bits: a device that gives these follows the recipe of Normal. From both branches and all of log's exponents.
func TestNormalGolden(t *testing.T) {
	for _, c := range []struct{ b, want uint32 }{
		{0x00000000, 0xc0a96e37},
		{0x00000200, 0xc0a2e32b},
		{0x00010000, 0xc08565d4},
		{0x00400000, 0xc046395d},
		{0x01000000, 0xc02a3e76},
		{0x02000000, 0xc01ab93d},
		{0x08000000, 0xbfee6df7},
		{0x20000000, 0xbf933ea3},
		{0x40000000, 0xbf2cab59},
		{0x60000000, 0xbea324ae},
		{0x7ffffe00, 0xb4206c98},
		{0x80000000, 0x34206c98},
		{0x80000200, 0x34f0a2e3},
		{0x90000000, 0x3e211617},
		{0xa5a5a5a5, 0x3ec13983},
		{0xc0000000, 0x3f2cab60},
		{0xdeadbeef, 0x3f90149a},
		{0xf0000000, 0x3fc45e14},
		{0xfe000000, 0x401ab954},
		{0xff000000, 0x402a3ea1},
		{0xffe00000, 0x405305c6},
		{0xffffffff, 0x40a96e37},
	} {
		if got := math.Float32bits(Normal(c.b)); got != c.want {
			t.Errorf("{%#08x, %#08x},", c.b, got)
		}
	}
	var z [8]float32
	Normals(z[:], 20240229, 3, StreamTest, 5)
	var got [8]uint32
	for i, v := range z {
		got[i] = math.Float32bits(v)
	}
	if want := [8]uint32{0x3eaadb7e, 0xbfbd5828, 0xbe80399f, 0x3f6267b2, 0x3ef6bc50, 0xbe560138, 0xbfc70559,
		0x3f21b19c}; got != want {
		t.Errorf("%#08x", got)
	}
}

func TestLog(t *testing.T) {
	worst := 0.0
	for x := float32(0x1p-24); x <= 1; x = math.Nextafter32(x*1.00001, 2) {
		want := math.Log(float64(x))
		worst = max(worst, math.Abs(float64(log(x))-want)/max(1, -want))
	}
	t.Logf("error at most %.3g · max(1, |log t|)", worst)
	if worst > 1.2e-7 {
		t.Errorf("error %g, want at most 1.2e-7", worst)
	}
	if log(1) != 0 {
		t.Errorf("log(1) = %v", log(1))
	}
}

// TestMoments checks the numbers as they are drawn, over several seeds: mean, variance, and the correlation of
// neighbours.
func TestMoments(t *testing.T) {
	const n = 1 << 18
	z, u, k := make([]float32, n), make([]float32, n), make([]int32, n)
	for seed := range uint64(4) {
		Normals(z, seed, 0, StreamTest, 0)
		Uniforms(u, seed, 1, StreamTest, 0)
		Integers(k, 10, seed, 2, StreamTest, 0)
		var m1, m2, m4, lag, u1, u2 float64
		var count [10]float64
		for i := range n {
			v, w := float64(z[i]), float64(u[i])
			m1, m2, m4, lag = m1+v, m2+v*v, m4+v*v*v*v, lag+v*float64(z[(i+1)%n])
			u1, u2 = u1+w, u2+(w-0.5)*(w-0.5)
			count[k[i]]++
		}
		// Five standard deviations of each mean: √(1, 2, 96, 1, 1/12, 1/180) / √n.
		five := 5 / math.Sqrt(n)
		for _, c := range []struct {
			name            string
			got, want, dev1 float64
		}{
			{"normal mean", m1 / n, 0, 1},
			{"normal variance", m2 / n, 1, math.Sqrt(2)},
			{"normal fourth moment", m4 / n, 3, math.Sqrt(96)},
			{"normal lag one", lag / n, 0, 1},
			{"uniform mean", u1 / n, 0.5, math.Sqrt(1.0 / 12)},
			{"uniform variance", u2 / n, 1.0 / 12, math.Sqrt(1.0 / 180)},
		} {
			if math.Abs(c.got-c.want) > five*c.dev1 {
				t.Errorf("seed %d: %s %g, want %g ± %g", seed, c.name, c.got, c.want, five*c.dev1)
			}
		}
		chi := 0.0
		for _, c := range count {
			chi += (c - n/10.0) * (c - n/10.0) / (n / 10.0)
		}
		if chi > 33.7 { // the 0.9999 quantile of χ² with 9 degrees of freedom
			t.Errorf("seed %d: χ² of the integers is %g", seed, chi)
		}
	}
}
