package ptx

import (
	"cmp"
	"fmt"
	"slices"
)

// Order-dependent sums: the additions of floats by atomics to one place are recorded with who made them, and at the
// end added up again in other orders that the program's own order allows: a thread's additions stay in sequence, and
// so do those of a block before and after a barrier. Where the bits of two orders differ the sum depends on the
// schedule.

// A placeKey is a word that atomics add to.
type placeKey struct {
	block uint32 // of shared memory
	addr  uint64
}

// A floatSum is the additions to one place.
type floatSum struct {
	op     *atomicOp
	in     *instr
	global bool
	first  uint64 // value before the first addition
	last   uint64
	report Report
	adds   []addition
}

type addition struct {
	value  uint64
	block  uint32
	epoch  uint32
	thread uint32
}

const (
	mostAdds = 1 << 12 // recorded for one place
	mostSums = 1 << 21 // additions recorded in all
)

// floatAdd records an addition that has found old.
func (s *sanitizer) floatAdd(w *warp, in *instr, op *atomicOp, lane int, p place, old, value uint64) {
	k := placeKey{addr: p.off}
	if p.space == spaceShared {
		k.block = w.block.sync.id
	} else {
		k.addr += p.alloc.base
	}
	sum := s.sums[k]
	if sum != nil && sum.last != old { // somebody has stored another value since
		s.judge(sum)
		sum = nil
	}
	if sum == nil {
		if s.sumSize > mostSums {
			return
		}
		sum = &floatSum{op: op, in: in, global: p.space == spaceGlobal, first: old,
			report: w.describe(OrderDependentAtomic, in, lane, "")}
		sum.report.Note = true
		o := int64(p.off)
		sum.report.Offset, sum.report.Allocation = &o, spaceNames[p.space]
		if p.alloc != nil {
			sum.report.Allocation = p.alloc.label
		}
		s.sums[k] = sum
	}
	sum.last = op.apply[toWord(sum.global)](old, value, value)
	if len(sum.adds) < mostAdds {
		sum.adds = append(sum.adds, addition{value, w.block.sync.id, w.block.sync.epoch, uint32(w.id*warpSize + lane)})
		s.sumSize++
	}
}

func (s *sanitizer) finishSums() {
	for _, sum := range s.sums {
		s.judge(sum)
	}
	clear(s.sums)
}

// judge adds up in several orders and reports a difference.
func (s *sanitizer) judge(sum *floatSum) {
	if len(sum.adds) < 2 {
		return
	}
	apply := sum.op.apply[toWord(sum.global)]
	total := func(adds []addition) uint64 {
		v := sum.first
		for _, a := range adds {
			v = apply(v, a.value, a.value)
		}
		return v
	}
	want := total(sum.adds)
	for trial := range 6 {
		adds := slices.Clone(sum.adds)
		rank := func(n uint32) uint64 { // the order of blocks, and of threads in a block, in this trial
			switch trial {
			case 0:
				return uint64(n)
			case 1:
				return -uint64(n)
			}
			return mix(uint64(n) ^ mix(uint64(trial)))
		}
		slices.SortStableFunc(adds, func(a, b addition) int {
			return cmp.Or(cmp.Compare(rank(a.block), rank(b.block)), cmp.Compare(a.epoch, b.epoch),
				cmp.Compare(rank(a.thread), rank(b.thread)))
		})
		if got := total(adds); got != want {
			r := sum.report
			r.Message = fmt.Sprintf("%d additions to one place give %#x or %#x, depending on their order", len(adds),
				want, got)
			s.add(sum.in, r)
			return
		}
	}
}
