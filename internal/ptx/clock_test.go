package ptx

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// A clock is held against a plain table of times.
func TestClocksAgainstTables(t *testing.T) {
	type thread struct {
		block uint32
		warp  uint8
		lane  int
	}
	r := rand.New(rand.NewPCG(3, 4))
	for _, blocks := range []uint64{1, 31, 32, 40, 1 << 12} {
		h := newClockShape(blocks)
		clocks := []*clock{nil}
		tables := []map[thread]uint32{{}}
		for range 400 {
			c, table := (*clock)(nil), map[thread]uint32{}
			if r.IntN(3) == 0 { // a new clock of one block
				x := thread{1 + uint32(r.Uint64N(blocks)), uint8(r.IntN(32)), r.IntN(32)}
				now, all := 1+r.Uint32N(9), r.Uint32N(5)
				kids := new([32]*clock)
				kids[x.warp] = &clock{all: all, lanes: new([warpSize]uint32)}
				kids[x.warp].lanes[x.lane] = now
				c = h.root(x.block, &clock{kids: kids})
				for lane := range warpSize {
					table[thread{x.block, x.warp, lane}] = all
				}
				table[x] = max(now, all)
			} else {
				i, j := r.IntN(len(clocks)), r.IntN(len(clocks))
				c = join(clocks[i], clocks[j])
				for _, from := range []map[thread]uint32{tables[i], tables[j]} {
					for x, n := range from {
						table[x] = max(table[x], n)
					}
				}
			}
			clocks, tables = append(clocks, c), append(tables, table)
			for range 20 {
				x := thread{1 + uint32(r.Uint64N(blocks)), uint8(r.IntN(32)), r.IntN(32)}
				for y := range table { // some thread that it knows
					if r.IntN(2) == 0 {
						x = y
					}
					break
				}
				got, lanes := h.warp(c, x.block, x.warp)
				if lanes != nil {
					got = max(got, lanes[x.lane])
				}
				require.Equal(t, table[x], got)
			}
		}
		require.Same(t, join(clocks[9], clocks[9]), clocks[9])
	}
}

// Locks pass on clocks that grow by one thread each time: what they have in common is not copied.
func TestJoinsShareWhatIsKnown(t *testing.T) {
	h := newClockShape(1000)
	at := func(block uint32) *clock { return h.root(block, &clock{all: 7}) }
	var known *clock
	for block := range uint32(1000) {
		known = join(known, at(block+1))
	}
	more := join(known, at(500))
	require.Same(t, known, more)
	next := join(known, h.root(500, &clock{all: 8}))
	require.NotSame(t, known, next)
	require.Same(t, known.kids[3], next.kids[3], "blocks 96 to 127 lie elsewhere")
}
