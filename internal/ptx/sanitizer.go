package ptx

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"
)

// checkKind says how the registers that an instruction reads are checked.
type checkKind uint8

const (
	checkAll     checkKind = iota
	checkShuffle           // values come from other lanes; the shuffle passes on what is known of them
)

// A sanitizer watches one launch. Blocks run on one goroutine then, so it needs no locks; what it reports follows from
// what synchronisation orders, not from the order in which the simulator happened to run threads.
type sanitizer struct {
	run      *execution
	found    map[reportKey]*Report
	latest   reportKey // of the report that was repeated last
	repeated *Report   // and the report itself
	image    []uint32  // initialised lanes of registers at the start of a block
	serial   uint32    // of the access at hand: one number for all its lanes
	objects  map[objectKey]*object
	sums     map[placeKey]*floatSum
	sumSize  int
	stores   map[int32]*storeDigest // by instruction
	shape    clockShape
	past     [warpSize]uint32 // of the warp that accesses memory at present, see blockSync.past
	origins  map[int32]int32  // by register: the load that brought undefined bits, plus one

	handedOn bool   // an atomic has read what another thread released
	gaps     bool   // the matrix that is being loaded has undefined bits
	old      uint64 // bits of the value that an exch brings which nobody has written

	strictVolatile bool
}

type reportKey struct {
	kind  Kind
	index int32
}

// blockSync is what the sanitizer keeps of a block: which accesses its synchronisation has ordered. Time is logical and
// goes on at every event; an access is stamped with the time it happens at.
type blockSync struct {
	id    uint32 // of the block in this launch, from 1
	now   uint32
	start uint32     // time at which the block began
	epoch uint32     // barriers opened
	know  [][]uint32 // know[i][j]: accesses of warp j up to this time are before what warp i does now
	// accesses of the warp's own lanes up to this time are before what any of them does now
	lanes   []uint32
	pairs   [][]uint32            // the same for pairs of lanes, after a .sync of part of a warp; nil before
	bases   []*clock              // know, lanes and pairs of a warp as a clock; nil: to be made
	threads []*[warpSize]laneSync // by warp; nil before its first fence or acquire
	bars    [16]barrierState
	cells   []cell // of shared memory
	shared  shade
	pending bitmap // bytes that a cp.async has yet to write
}

func newSanitizer(e *execution) *sanitizer {
	s := &sanitizer{run: e, found: map[reportKey]*Report{}, objects: map[objectKey]*object{},
		sums:   map[placeKey]*floatSum{},
		stores: map[int32]*storeDigest{}, origins: map[int32]int32{}, shape: newClockShape(e.blocks + 1),
		strictVolatile: e.machine.opt.StrictVolatile}
	s.image = make([]uint32, e.prog.fileSize/4+1)
	s.image[alwaysTrue>>2] = fullMask
	for _, c := range e.prog.consts32 {
		s.image[c.off>>2] = fullMask
	}
	for _, c := range e.prog.consts64 {
		s.image[c.off>>2] = fullMask
	}
	for _, c := range e.prog.symbols {
		s.image[c.off>>2] = fullMask
	}
	for _, c := range e.prog.specials {
		s.image[c.off>>2] = fullMask
	}
	for _, off := range e.prog.backs {
		s.image[off>>2] = fullMask
	}
	for _, a := range e.machine.mem.all {
		a.shadow, a.saved = nil, nil
	}
	return s
}

// attach gives a new block what the sanitizer keeps of it.
func (s *sanitizer) attach(b *block) {
	n := len(b.warps)
	y := &blockSync{lanes: make([]uint32, n), pairs: make([][]uint32, n), bases: make([]*clock, n),
		threads: make([]*[warpSize]laneSync, n), cells: make([]cell, (len(b.shared)+3)/4),
		shared: *newShade(len(b.shared)), pending: newBitmap(len(b.shared))}
	for range n {
		y.know = append(y.know, make([]uint32, n))
	}
	b.sync = y
	for _, w := range b.warps {
		w.known = make([]uint32, len(s.image))
		w.localShade = newShade(len(w.local))
	}
}

// beginBlock forgets the block that ran before in this place: everything of it is before everything of the new one.
func (s *sanitizer) beginBlock(b *block) {
	y := b.sync
	y.now++
	y.start, y.id, y.epoch = y.now, uint32(b.number)+1, 0
	y.now++
	for i := range y.know {
		for j := range y.know[i] {
			y.know[i][j] = y.start
		}
		y.lanes[i], y.pairs[i], y.bases[i], y.threads[i] = y.start, nil, nil, nil
	}
	for i := range y.bars {
		clear(y.bars[i].before)
		y.bars[i].extra, y.bars[i].fenced = nil, [2]*clock{}
	}
	y.shared.clear()
	clear(y.pending)
	for _, w := range b.warps {
		copy(w.known, s.image)
		clear(w.partly)
		w.localShade.clear()
	}
}

// report notes a fault of one lane.
func (s *sanitizer) report(w *warp, kind Kind, in *instr, lane int, message string) {
	if r := s.found[reportKey{kind, in.index}]; r != nil {
		r.Count++
		return
	}
	s.add(in, w.describe(kind, in, lane, message))
}

// seenBefore counts a repeated report, so that callers need not make its text. Mostly it is the one that was repeated
// last, by the next lane.
func (s *sanitizer) seenBefore(kind Kind, in *instr) bool {
	k := reportKey{kind, in.index}
	if s.repeated == nil || s.latest != k {
		s.latest, s.repeated = k, s.found[k]
	}
	if s.repeated == nil {
		return false
	}
	s.repeated.Count++
	return true
}

func (s *sanitizer) add(in *instr, r Report) {
	k := reportKey{r.Kind, in.index}
	if old := s.found[k]; old != nil {
		old.Count++
		return
	}
	s.found[k] = &r
}

// adopt takes over the reports of another run of the launch that this one has not.
func (s *sanitizer) adopt(other *sanitizer) {
	other.finishSums()
	for k, r := range other.found {
		if s.found[k] == nil {
			s.found[k] = r
		}
	}
}

// finish ends the launch and lists the reports in the order of the text.
func (s *sanitizer) finish() []Report {
	s.finishSums()
	list := []Report{}
	for _, r := range s.found {
		list = append(list, *r)
	}
	slices.SortFunc(list, func(a, b Report) int {
		if a.PTXLine != b.PTXLine {
			return a.PTXLine - b.PTXLine
		}
		return strings.Compare(string(a.Kind), string(b.Kind))
	})
	return list
}

// memory returns the access of a memory instruction, nil for others.
func (in *instr) memory() *access {
	if in.x == nil || len(in.x.access.regs) == 0 {
		return nil
	}
	return &in.x.access
}

// members checks the masks of a .sync instruction: each lane is in its own, and lanes that it names have the same.
func (s *sanitizer) members(w *warp, in *instr, m uint32) {
	masks := reg[uint32](w, in.a)
	for k := m; k != 0; k &= k - 1 {
		i := bits.TrailingZeros32(k) & 31
		v := masks[i]
		if v>>i&1 == 0 {
			s.report(w, MismatchedMask, in, i,
				fmt.Sprintf("lane %d executes it with the mask %#08x, which does not name it", i, v))
			continue
		}
		for o := v & m; o != 0; o &= o - 1 {
			if j := bits.TrailingZeros32(o) & 31; masks[j] != v {
				s.report(w, MismatchedMask, in, i,
					fmt.Sprintf("lane %d has the mask %#08x, lane %d, which it names, has %#08x", i, v, j, masks[j]))
				break
			}
		}
	}
}
