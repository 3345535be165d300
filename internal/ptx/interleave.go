package ptx

// A WarpOrder is how the warps of a block take turns.
type WarpOrder uint8

// The orders.
const (
	WarpsInTurn WarpOrder = iota // each runs until it waits
	WarpsInStep                  // each executes one instruction after the other
	WarpsRandom                  // one chosen by Options.WarpSeed executes a few instructions
)

const (
	stepRounds = 1 << 12
	mostInRow  = 16 // instructions that a warp executes in a row in a random order
)

// interleave runs the warps of a block in small pieces for a while. It says whether any has done something.
func (b *block) interleave(order WarpOrder) (progress bool) {
	round := b.inStep
	if order == WarpsRandom {
		round = b.atRandom
	}
	for range stepRounds {
		if b.run.stop.Load() {
			break
		}
		if !round() {
			return progress
		}
		progress = true
	}
	b.yields = true
	return true
}

func (b *block) inStep() (progress bool) {
	for k := range b.order {
		if b.turn(k).stepOne() {
			progress = true
		}
	}
	return progress
}

func (b *block) atRandom() bool {
	for range len(b.warps) {
		b.random = mix(b.random)
		w := b.turn(int(b.random % uint64(len(b.warps))))
		if !w.stepOne() {
			continue
		}
		for n := (b.random >> 32) % mostInRow; n > 0 && w.stepOne(); n-- {
		}
		return true
	}
	return b.inStep()
}

// stepOne executes one instruction of the warp, unless all its groups wait.
func (w *warp) stepOne() bool {
	for len(w.groups) > 0 {
		if i := w.pick(); i >= 0 {
			w.single = true
			w.runGroup(i, 1)
			w.single, w.yield = false, false
			return true
		}
		if !w.retry() {
			return false
		}
	}
	return false
}
