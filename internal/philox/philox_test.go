package philox

import (
	"math"
	"testing"
)

// Known answers of Philox4x32-10 from Random123 1.14, tests/kat_vectors.
func TestBlockKnownAnswers(t *testing.T) {
	for _, c := range []struct {
		counter [4]uint32
		key     [2]uint32
		want    [4]uint32
	}{
		{
			[4]uint32{0, 0, 0, 0}, [2]uint32{0, 0},
			[4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
		},
		{
			[4]uint32{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, [2]uint32{0xffffffff, 0xffffffff},
			[4]uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
		},
		{
			[4]uint32{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, [2]uint32{0xa4093822, 0x299f31d0},
			[4]uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1},
		},
	} {
		seed := uint64(c.key[0]) | uint64(c.key[1])<<32
		index := uint64(c.counter[0]) | uint64(c.counter[1])<<32
		if got := Block(seed, c.counter[2], c.counter[3], index); got != c.want {
			t.Errorf("Block of counter %x, key %x is %x, want %x", c.counter, c.key, got, c.want)
		}
	}
}

func TestInteger(t *testing.T) {
	for _, c := range []struct {
		b, n uint32
		want int32
	}{
		{0, 1, 0},
		{math.MaxUint32, 1, 0},
		{math.MaxUint32, 10, 9},
		{1 << 31, 10, 5},
		{1<<31 - 1, 10, 4},
		{math.MaxUint32, 1 << 31, math.MaxInt32},
		{0, 1 << 31, 0},
	} {
		if got := Integer(c.b, c.n); got != c.want {
			t.Errorf("Integer(%#x, %d) = %d, want %d", c.b, c.n, got, c.want)
		}
	}
}

func TestUniform(t *testing.T) {
	for b, want := range map[uint32]float32{0: 0, 255: 0, 256: 0x1p-24, 1 << 31: 0.5, math.MaxUint32: 1 - 0x1p-24} {
		if got := Uniform(b); got != want {
			t.Errorf("Uniform(%#x) = %v, want %v", b, got, want)
		}
	}
}

// element is the definition of element i, one at a time.
func element(seed uint64, step, stream uint32, i uint64) uint32 {
	return Block(seed, step, stream, i/4)[i%4]
}

func TestFillsAgreeWithTheDefinition(t *testing.T) {
	const seed, step, stream, n = 0x0123456789abcdef, 7, StreamTest, 37
	const guard = 42
	for _, from := range []uint64{0, 1, 2, 3, 4, 5, 1<<34 - 2, 1<<40 + 3} {
		for size := 0; size <= 13; size++ {
			ints, reals := make([]int32, size+1), make([]float32, size+1)
			check := func(kind string, fill func(), same func(i int, b uint32) bool) {
				t.Helper()
				ints[size], reals[size] = guard, guard
				fill()
				for i := range size {
					if !same(i, element(seed, step, stream, from+uint64(i))) {
						t.Errorf("%s from %d, size %d: element %d is wrong", kind, from, size, i)
					}
				}
				if ints[size] != guard || reals[size] != guard {
					t.Errorf("%s from %d, size %d: wrote past the end", kind, from, size)
				}
			}
			check("Bits", func() { Bits(ints[:size], seed, step, stream, from) },
				func(i int, b uint32) bool { return uint32(ints[i]) == b })
			check("Integers", func() { Integers(ints[:size], n, seed, step, stream, from) },
				func(i int, b uint32) bool { return ints[i] == Integer(b, n) })
			check("Uniforms", func() { Uniforms(reals[:size], seed, step, stream, from) },
				func(i int, b uint32) bool { return reals[i] == Uniform(b) })
			check("Normals", func() { Normals(reals[:size], seed, step, stream, from) },
				func(i int, b uint32) bool { return reals[i] == Normal(b) })
		}
	}
}

func TestFillsInPartsAreTheSame(t *testing.T) {
	const seed, step, stream, size = 3, 1, StreamTest, 3*chunk + 5
	whole, parts := make([]float32, size), make([]float32, size)
	for _, fill := range []func([]float32, uint64, uint32, uint32, uint64){Uniforms, Normals} {
		fill(whole, seed, step, stream, 9)
		for _, cut := range []int{0, 1, 2, 3, chunk - 1, chunk, chunk + 1, size} {
			fill(parts[:cut], seed, step, stream, 9)
			fill(parts[cut:], seed, step, stream, 9+uint64(cut))
			for i := range whole {
				if whole[i] != parts[i] {
					t.Fatalf("cut at %d: element %d is %v, want %v", cut, i, parts[i], whole[i])
				}
			}
		}
	}
}

func TestAddressesDiffer(t *testing.T) {
	seen := map[[4]uint32]string{}
	add := func(name string, b [4]uint32) {
		if old, ok := seen[b]; ok {
			t.Errorf("blocks %s and %s are the same", old, name)
		}
		seen[b] = name
	}
	add("base", Block(1, 0, 0, 0))
	add("seed low", Block(2, 0, 0, 0))
	add("seed high", Block(1<<32|1, 0, 0, 0))
	add("step", Block(1, 1, 0, 0))
	add("stream", Block(1, 0, 1, 0))
	add("index low", Block(1, 0, 0, 1))
	add("index high", Block(1, 0, 0, 1<<32))
}

func TestIntegersPanicsOnABadBound(t *testing.T) {
	for _, n := range []uint32{0, 1<<31 + 1} {
		func() {
			defer func() {
				if recover() != panicBound {
					t.Errorf("Integers with n = %d did not panic", n)
				}
			}()
			Integers(nil, n, 0, 0, StreamTest, 0)
		}()
	}
}

func TestFillsDoNotAllocate(t *testing.T) {
	ints, reals := make([]int32, 1001), make([]float32, 1001)
	if n := testing.AllocsPerRun(10, func() {
		Bits(ints, 1, 2, StreamTest, 3)
		Integers(ints, 10, 1, 2, StreamTest, 3)
		Uniforms(reals, 1, 2, StreamTest, 3)
		Normals(reals, 1, 2, StreamTest, 3)
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func BenchmarkBits(b *testing.B) {
	dst := make([]int32, 4096)
	b.SetBytes(int64(4 * len(dst)))
	for b.Loop() {
		Bits(dst, 1, 2, StreamTest, 0)
	}
}

func BenchmarkNormals(b *testing.B) {
	dst := make([]float32, 4096)
	b.SetBytes(int64(4 * len(dst)))
	for b.Loop() {
		Normals(dst, 1, 2, StreamTest, 0)
	}
}
