package arith_test

import (
	"math/big"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/ptx/arith"
	"bilevel/internal/ptx/arith/exact"
)

func signed(u uint64, size uint) *big.Int   { return kind{size: size, signed: true}.integer(u) }
func unsigned(u uint64, size uint) *big.Int { return kind{size: size}.integer(u) }

func op(f func(z, x, y *big.Int) *big.Int, x, y *big.Int) *big.Int { return f(new(big.Int), x, y) }

func clampTo(n *big.Int, size uint) uint64 {
	low, high := kind{size: size, signed: true}.limits()
	if n.Cmp(low) < 0 {
		n = low
	}
	if n.Cmp(high) > 0 {
		n = high
	}
	return word(n)
}

func TestProductsAndSums(t *testing.T) {
	list := exact.IntegerEdges()
	for i, x := range list {
		for j, y := range list {
			a, b := uint32(x), uint32(y)
			c := uint32(list[(i+j)%len(list)])
			s, r := signed(x, 32), signed(y, 32)
			require.Equal(t, uint32(clampTo(op((*big.Int).Add, s, r), 32)), uint32(arith.AddSat(int32(a), int32(b))))
			require.Equal(t, uint32(clampTo(op((*big.Int).Sub, s, r), 32)), uint32(arith.SubSat(int32(a), int32(b))))
			high := new(big.Int).Rsh(op((*big.Int).Mul, s, r), 32)
			require.Equal(t, uint32(word(high)), uint32(arith.MulHiS32(int32(a), int32(b))))
			require.Equal(t, uint32(clampTo(op((*big.Int).Add, high, signed(uint64(c), 32)), 32)),
				uint32(arith.MadHiSat(int32(a), int32(b), int32(c))))
			u, v := unsigned(x, 32), unsigned(y, 32)
			require.Equal(t, uint32(word(new(big.Int).Rsh(op((*big.Int).Mul, u, v), 32))), arith.MulHiU32(a, b))
			require.Equal(t, word(new(big.Int).Rsh(op((*big.Int).Mul, unsigned(x, 64), unsigned(y, 64)), 64)),
				arith.MulHiU64(x, y))
			require.Equal(t, word(new(big.Int).Rsh(op((*big.Int).Mul, signed(x, 64), signed(y, 64)), 64)),
				uint64(arith.MulHiS64(int64(x), int64(y))))
			require.Equal(t, word(op((*big.Int).Mul, unsigned(x, 24), unsigned(y, 24))), arith.Mul24U(a, b))
			require.Equal(t, word(op((*big.Int).Mul, signed(x, 24), signed(y, 24))),
				uint64(arith.Mul24S(int32(a), int32(b))))

			distance := op((*big.Int).Sub, s, r)
			require.Equal(t, uint32(word(op((*big.Int).Add, distance.Abs(distance), signed(uint64(c), 32)))),
				uint32(arith.Sad(int32(a), int32(b), int32(c))))
			distance = op((*big.Int).Sub, unsigned(x, 16), unsigned(y, 16))
			require.Equal(t, uint16(word(op((*big.Int).Add, distance.Abs(distance), unsigned(uint64(c), 16)))),
				arith.Sad(uint16(a), uint16(b), uint16(c)))
		}
	}
}

func TestDivision(t *testing.T) {
	list := exact.IntegerEdges()
	for _, x := range list {
		for _, y := range list {
			divide(t, int16(x), int16(y), signed(x, 16), signed(y, 16),
				func(n *big.Int) int16 { return int16(word(n)) })
			divide(t, uint16(x), uint16(y), unsigned(x, 16), unsigned(y, 16),
				func(n *big.Int) uint16 { return uint16(word(n)) })
			divide(t, int32(x), int32(y), signed(x, 32), signed(y, 32),
				func(n *big.Int) int32 { return int32(word(n)) })
			divide(t, uint32(x), uint32(y), unsigned(x, 32), unsigned(y, 32),
				func(n *big.Int) uint32 { return uint32(word(n)) })
			divide(t, int64(x), int64(y), signed(x, 64), signed(y, 64),
				func(n *big.Int) int64 { return int64(word(n)) })
			divide(t, x, y, unsigned(x, 64), unsigned(y, 64), word)
		}
	}
}

func divide[T arith.Integer](t *testing.T, a, b T, x, y *big.Int, narrow func(*big.Int) T) {
	q, zero := arith.Div(a, b)
	r, zeroRem := arith.Rem(a, b)
	require.Equal(t, y.Sign() == 0, zero)
	require.Equal(t, y.Sign() == 0, zeroRem)
	if zero {
		require.Equal(t, ^T(0), q)
		require.Equal(t, ^T(0), r)
		return
	}
	require.Equal(t, narrow(op((*big.Int).Quo, x, y)), q, "%v / %v", a, b)
	require.Equal(t, narrow(op((*big.Int).Rem, x, y)), r, "%v %% %v", a, b)
}

var amounts = []uint32{0, 1, 2, 7, 8, 15, 16, 17, 24, 30, 31, 32, 33, 62, 63, 64, 65, 127, 128, 254, 255, 256, 257,
	1 << 31, 1<<32 - 1}

// bit is bit i of u, 0 outside of size bits.
func bit(u uint64, i, size uint32) uint64 {
	if i >= size {
		return 0
	}
	return u >> i & 1
}

func TestShifts(t *testing.T) {
	for _, x := range exact.IntegerEdges() {
		for _, n := range amounts {
			for _, size := range []uint32{16, 32, 64} {
				var left, right uint64
				sign := bit(x, size-1, size)
				fill := sign
				arithmetic := uint64(0)
				for i := range size {
					if uint64(i) >= uint64(n) {
						left |= bit(x, i-n, size) << i
					}
					if uint64(i)+uint64(n) < uint64(size) {
						fill = bit(x, i+n, size)
						right |= fill << i
					} else {
						fill = sign
					}
					arithmetic |= fill << i
				}
				switch size {
				case 16:
					require.Equal(t, uint16(left), arith.Shl(uint16(x), n))
					require.Equal(t, uint16(right), arith.Shr(uint16(x), n))
					require.Equal(t, int16(arithmetic), arith.Shr(int16(x), n))
				case 32:
					require.Equal(t, uint32(left), arith.Shl(uint32(x), n))
					require.Equal(t, uint32(right), arith.Shr(uint32(x), n))
					require.Equal(t, int32(arithmetic), arith.Shr(int32(x), n))
				case 64:
					require.Equal(t, left, arith.Shl(x, n))
					require.Equal(t, right, arith.Shr(x, n))
					require.Equal(t, int64(arithmetic), arith.Shr(int64(x), n))
				}
			}
			for _, wrap := range []bool{false, true} {
				k := min(n, 32)
				if wrap {
					k = n % 32
				}
				both := unsigned(x, 64)
				lo, hi := uint32(x), uint32(x>>32)
				require.Equal(t, uint32(word(new(big.Int).Rsh(new(big.Int).Lsh(both, uint(k)), 32))),
					arith.ShfL(lo, hi, n, wrap))
				require.Equal(t, uint32(word(new(big.Int).Rsh(both, uint(k)))), arith.ShfR(lo, hi, n, wrap))
			}
		}
	}
}

func TestBitFields(t *testing.T) {
	for _, x := range exact.IntegerEdges() {
		for _, pos := range amounts {
			for _, length := range amounts {
				p, l := pos&255, length&255
				for _, size := range []uint32{32, 64} {
					var plain, extended, inserted uint64
					y := x*0x9e3779b97f4a7c15 + 77
					sign := uint64(0)
					if l > 0 {
						sign = bit(x, min(p+l-1, size-1), size)
					}
					inserted = y
					for i := range size {
						if i < l && p+i < size {
							plain |= bit(x, p+i, size) << i
							extended |= bit(x, p+i, size) << i
							inserted = inserted&^(1<<(p+i)) | bit(x, i, size)<<(p+i)
						} else {
							extended |= sign << i
						}
					}
					if size == 32 {
						require.Equal(t, uint32(plain), arith.Bfe(uint32(x), pos, length))
						require.Equal(t, int32(extended), arith.Bfe(int32(x), pos, length), "%x %d %d", x, pos, length)
						require.Equal(t, uint32(inserted), arith.Bfi(uint32(x), uint32(y), pos, length))
					} else {
						require.Equal(t, plain, arith.Bfe(x, pos, length))
						require.Equal(t, int64(extended), arith.Bfe(int64(x), pos, length))
						require.Equal(t, inserted, arith.Bfi(x, y, pos, length))
					}
				}
			}
			// bmsk and szext take their second operand in the loop's role
			for _, n := range amounts {
				mask := uint32(0)
				for i := range uint32(32) {
					if i >= min(pos, 32) && uint64(i) < uint64(min(pos, 32))+uint64(min(n, 32)) {
						mask |= 1 << i
					}
				}
				require.Equal(t, mask, arith.Bmsk(pos, n, false))
				mask = 0
				for i := range n % 32 {
					if pos%32+i < 32 {
						mask |= 1 << (pos%32 + i)
					}
				}
				require.Equal(t, mask, arith.Bmsk(pos, n, true))
			}
		}
		for _, n := range amounts {
			for _, wrap := range []bool{false, true} {
				k := min(n, 32)
				if wrap {
					k = n % 32
				}
				want, extended := uint32(0), uint32(0)
				if k > 0 {
					want = uint32(word(unsigned(x, uint(k))))
					extended = uint32(word(signed(x, uint(k))))
				}
				require.Equal(t, want, arith.Szext(uint32(x), n, false, wrap))
				require.Equal(t, extended, arith.Szext(uint32(x), n, true, wrap))
			}
		}
	}
}

func TestBitSearches(t *testing.T) {
	for _, x := range exact.IntegerEdges() {
		for _, size := range []uint32{32, 64} {
			for _, isSigned := range []bool{false, true} {
				top := bit(x, size-1, size)
				want := int64(-1)
				for i := range size {
					if bit(x, i, size) == 1 && (!isSigned || top == 0) || isSigned && top == 1 && bit(x, i, size) == 0 {
						want = int64(i)
					}
				}
				amount := uint32(want)
				if want >= 0 {
					amount = size - 1 - uint32(want)
				}
				for _, shift := range []bool{false, true} {
					w := uint32(want)
					if shift {
						w = amount
					}
					switch {
					case size == 32 && isSigned:
						require.Equal(t, w, arith.Bfind(int32(x), shift))
					case size == 32:
						require.Equal(t, w, arith.Bfind(uint32(x), shift))
					case isSigned:
						require.Equal(t, w, arith.Bfind(int64(x), shift))
					default:
						require.Equal(t, w, arith.Bfind(x, shift))
					}
				}
			}
		}
		for base := range uint32(32) {
			for _, n := range []int32{0, 1, 2, 3, 31, 32, 33, -1, -2, -32, -1 << 31} {
				var up, down []uint32 // set bits from base on
				for i := base; i < 32; i++ {
					if bit(x, i, 32) == 1 {
						up = append(up, i)
					}
				}
				for i := int(base); i >= 0; i-- {
					if bit(x, uint32(i), 32) == 1 {
						down = append(down, uint32(i))
					}
				}
				want := uint32(1<<32 - 1)
				switch {
				case n == 0 && bit(x, base, 32) == 1:
					want = base
				case n > 0 && int(n) <= len(up):
					want = up[n-1]
				case n < 0 && -int(n) <= len(down):
					want = down[-int(n)-1]
				}
				require.Equal(t, want, arith.Fns(uint32(x), base, n), "%x %d %d", x, base, n)
			}
		}
	}
}

func TestLop3(t *testing.T) {
	r := random()
	for lut := range 256 {
		a, b, c := r.Uint32(), r.Uint32(), r.Uint32()
		var want uint32
		for i := range 32 {
			row := a>>i&1<<2 | b>>i&1<<1 | c>>i&1
			want |= uint32(lut) >> row & 1 << i
		}
		require.Equal(t, want, arith.Lop3(a, b, c, uint8(lut)), "%#x", lut)
	}
	// PTX's 0xf0, 0xcc, 0xaa
	require.Equal(t, uint32(0b1010&0b1100|^uint32(0b1010)&0b0110), arith.Lop3(0b1010, 0b1100, 0b0110, 0xca))
}

func TestPrmt(t *testing.T) {
	const a, b = 0x33221100, 0xf7e6d5c4 // byte i of b:a is recognisable; those of b are negative
	bytes := [8]uint32{0x00, 0x11, 0x22, 0x33, 0xc4, 0xd5, 0xe6, 0xf7}
	pick := func(at ...int) uint32 {
		return bytes[at[3]]<<24 | bytes[at[2]]<<16 | bytes[at[1]]<<8 | bytes[at[0]]
	}
	// The table of PTX ISA 9.7.9.7, lowest byte first here.
	modes := map[string][4]uint32{
		"f4e":  {pick(0, 1, 2, 3), pick(1, 2, 3, 4), pick(2, 3, 4, 5), pick(3, 4, 5, 6)},
		"b4e":  {pick(0, 7, 6, 5), pick(1, 0, 7, 6), pick(2, 1, 0, 7), pick(3, 2, 1, 0)},
		"rc8":  {pick(0, 0, 0, 0), pick(1, 1, 1, 1), pick(2, 2, 2, 2), pick(3, 3, 3, 3)},
		"ecl":  {pick(0, 1, 2, 3), pick(1, 1, 2, 3), pick(2, 2, 2, 3), pick(3, 3, 3, 3)},
		"ecr":  {pick(0, 0, 0, 0), pick(0, 1, 1, 1), pick(0, 1, 2, 2), pick(0, 1, 2, 3)},
		"rc16": {pick(0, 1, 0, 1), pick(2, 3, 2, 3), pick(0, 1, 0, 1), pick(2, 3, 2, 3)},
	}
	for word, want := range modes {
		m, ok := arith.ParsePrmt(word)
		require.True(t, ok)
		for i := range 8 {
			require.Equal(t, want[i%4], m.Permute(a, b, uint32(i)), "%s %d", word, i)
		}
	}
	r := random()
	for range 5000 {
		c := r.Uint32()
		var want uint32
		for i := range 4 {
			v := bytes[c>>(4*i)&7]
			if c>>(4*i)&8 != 0 {
				v = v >> 7 * 255
			}
			want |= v << (8 * i)
		}
		require.Equal(t, want, arith.PrmtDefault.Permute(a, b, c), "%x", c)
	}
}

func TestIntegerDotProducts(t *testing.T) {
	list := exact.IntegerEdges()
	for i, x := range list {
		for j, y := range list {
			c := uint32(list[(3*i+5*j)%len(list)])
			for k := range 8 {
				sa, sb, hi := k&1 != 0, k&2 != 0, k&4 != 0
				four, two := unsigned(uint64(c), 32), unsigned(uint64(c), 32)
				for n := range 4 {
					p := kind{size: 8, signed: sa}.integer(x >> (8 * n))
					four.Add(four, op((*big.Int).Mul, p, kind{size: 8, signed: sb}.integer(y>>(8*n))))
				}
				for n := range 2 {
					at := n
					if hi {
						at += 2
					}
					p := kind{size: 16, signed: sa}.integer(x >> (16 * n))
					two.Add(two, op((*big.Int).Mul, p, kind{size: 8, signed: sb}.integer(y>>(8*at))))
				}
				require.Equal(t, uint32(word(four)), arith.Dp4a(uint32(x), uint32(y), c, sa, sb))
				require.Equal(t, uint32(word(two)), arith.Dp2a(uint32(x), uint32(y), c, sa, sb, hi))
			}
		}
	}
}

func TestWords(t *testing.T) {
	for _, w := range []string{"rn", "rz", "rm", "rp", "rna", "rni", "rzi", "rmi", "rpi"} {
		r, ok := arith.ParseRound(w)
		require.True(t, ok)
		require.Equal(t, w, r.String())
	}
	for _, w := range []string{"", "r", "rnn"} {
		_, ok := arith.ParseRound(w)
		require.False(t, ok)
	}
	_, ok := arith.ParsePrmt("f4f")
	require.False(t, ok)
	_, ok = arith.ParseClass("zero")
	require.False(t, ok)
	require.True(t, arith.Int(arith.LT, int32(-1), 0))
	require.False(t, arith.Int(arith.LT, uint32(1<<31), 0))
	require.True(t, arith.Int(arith.GE, uint64(5), 5))
}
