package philox

import (
	"math"
	"slices"
	"testing"
)

func TestStreamDrawsTheElementsInOrder(t *testing.T) {
	s := New(11, 5, StreamTest)
	for i := range uint64(19) {
		if got, want := s.Uint32(), element(11, 5, StreamTest, i); got != want {
			t.Fatalf("draw %d is %#x, want %#x", i, got, want)
		}
	}
	c := *s // a copy goes on independently
	if a, b := s.Uint32(), c.Uint32(); a != b {
		t.Errorf("a copy of the stream draws %#x, the stream %#x", b, a)
	}
	if got, want := New(11, 5, StreamTest).Normal(), Normal(element(11, 5, StreamTest, 0)); got != want {
		t.Errorf("Normal draws %v, want %v", got, want)
	}
}

func TestIntnIsUniform(t *testing.T) {
	s := New(1, 0, StreamTest)
	var count [7]float64
	const n = 70000
	for range n {
		count[s.Intn(7)]++
	}
	chi := 0.0
	for _, c := range count {
		chi += (c - n/7) * (c - n/7) / (n / 7)
	}
	if chi > 27.9 { // the 0.9999 quantile of χ² with 6 degrees of freedom
		t.Errorf("χ² = %g, counts %v", chi, count)
	}
	for range 100 {
		if s.Intn(1) != 0 {
			t.Fatal("Intn(1) is not 0")
		}
	}
	// Above 2³⁰ about every fourth draw is rejected for this bound; the mean tells a wrong rejection.
	const m, draws = 3 << 29, 100000
	sum := 0.0
	for range draws {
		sum += float64(s.Intn(m)) / m
	}
	if math.Abs(sum/draws-0.5) > 5*math.Sqrt(1.0/12/draws) {
		t.Errorf("mean of Intn(3·2²⁹) is %g of it", sum/draws)
	}
}

func TestIntnPanicsOnABadBound(t *testing.T) {
	for _, n := range []int{0, -1, math.MinInt32} {
		func() {
			defer func() {
				if recover() != panicBound {
					t.Errorf("Intn(%d) did not panic", n)
				}
			}()
			New(0, 0, StreamTest).Intn(n)
		}()
	}
}

func TestFloat64(t *testing.T) {
	s := New(1, 0, StreamTest)
	sum := 0.0
	const n = 100000
	for range n {
		v := s.Float64()
		if v < 0 || v >= 1 {
			t.Fatalf("Float64 drew %v", v)
		}
		sum += v
	}
	if math.Abs(sum/n-0.5) > 5*math.Sqrt(1.0/12/n) {
		t.Errorf("mean %v", sum/n)
	}
}

func TestPerm(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 100} {
		p := New(9, 0, StreamTest).Perm(n)
		slices.Sort(p)
		for i, v := range p {
			if len(p) != n || int(v) != i {
				t.Fatalf("Perm(%d) is no permutation", n)
			}
		}
	}
	// All 24 orders of four, equally often.
	const rounds = 24000
	count := map[[4]int32]float64{}
	s := New(10, 0, StreamTest)
	for range rounds {
		count[[4]int32(s.Perm(4))]++
	}
	chi := 0.0
	for _, c := range count {
		chi += (c - rounds/24) * (c - rounds/24) / (rounds / 24)
	}
	if len(count) != 24 || chi > 56 { // the 0.9999 quantile of χ² with 23 degrees of freedom is 55.6
		t.Errorf("%d orders, χ² = %g", len(count), chi)
	}
	if got, want := New(1, 0, StreamTest).Perm(8), []int32{6, 3, 7, 2, 5, 1, 4, 0}; !slices.Equal(got, want) {
		t.Errorf("the permutation of seed 1 changed: %v, want %v", got, want)
	}
}
