package problem

import (
	"fmt"
	"math"
	"sync"

	"bilevel/internal/philox"
)

// Sampler gives the minibatches of a level. Draw number d is a function of (seed, stream, d) alone, so that a run can
// be resumed anywhere and repeated on any device.
type Sampler interface {
	// Size is the number of rows of a minibatch.
	Size() int
	// Check refuses a number of rows that the sampler cannot draw from.
	Check(rows int) error
	// Fill computes the draws first, first+1, … into dst, as many as dst [k, Size] has rows.
	Fill(dst []int32, from Source, first uint64) error
}

// Slotted is a Sampler of fixed minibatches: draw d is minibatch number Slot(from, d), one of Slots(rows). Algorithms
// that keep a table of gradients (SAGA and kin) need it.
//
// Minibatch writes the rows of minibatch number slot into dst [Size]. All are equally likely, of one size, and no row
// is in two of them.
type Slotted interface {
	Sampler
	Slots(rows int) int
	Slot(from Source, draw uint64) (int32, error)
	Minibatch(dst []int32, from Source, slot int32) error
}

// Source is what a draw depends on besides its number.
type Source struct {
	Seed   uint64
	Stream uint32
	Rows   int // to draw from
}

// number is a draw's number as the step of Philox.
func number(draw uint64) (uint32, error) {
	if draw > math.MaxUint32 {
		return 0, fmt.Errorf("minibatches end at draw %d", uint32(math.MaxUint32))
	}
	return uint32(draw), nil
}

func checkPlaces(places, size int) error {
	if places%size != 0 {
		return fmt.Errorf("%d places are no whole number of minibatches of %d", places, size)
	}
	return nil
}

// WithReplacement draws each row of a minibatch independently and uniformly. Element j of draw d is
// philox.Integers with n = rows, step d, index j, so that a device can draw it by itself.
func WithReplacement(size int) Sampler { return withReplacement(size) }

type withReplacement int

func (s withReplacement) Size() int { return int(s) }

func (s withReplacement) Check(rows int) error { return nil }

func (s withReplacement) Fill(dst []int32, from Source, first uint64) error {
	if err := checkPlaces(len(dst), int(s)); err != nil {
		return err
	}
	for ; len(dst) > 0; dst = dst[s:] {
		step, err := number(first)
		if err != nil {
			return err
		}
		philox.Integers(dst[:s], uint32(from.Rows), from.Seed, step, from.Stream, 0)
		first++
	}
	return nil
}

// Epochs goes through all rows in a random order, and then in another one. Rows that do not fill a last minibatch are
// left out of that epoch.
func Epochs(size int) Sampler { return &epochs{size: size} }

type epochs struct {
	size int

	mu    sync.Mutex // the order of one epoch is kept, whoever asks
	from  Source
	epoch uint64
	order []int32
}

func (s *epochs) Size() int { return s.size }

func (s *epochs) Check(rows int) error {
	if s.size > rows {
		return fmt.Errorf("epochs of minibatches of %d from %d rows: wants at most as many as there are rows", s.size,
			rows)
	}
	return nil
}

func (s *epochs) Fill(dst []int32, from Source, first uint64) error {
	if err := checkPlaces(len(dst), s.size); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	each := uint64(from.Rows / s.size)
	for ; len(dst) > 0; dst = dst[s.size:] {
		epoch, place := first/each, int(first%each)
		if s.order == nil || s.from != from || s.epoch != epoch {
			step, err := number(epoch)
			if err != nil {
				return err
			}
			s.order, s.from, s.epoch = philox.New(from.Seed, step, from.Stream).Perm(from.Rows), from, epoch
		}
		copy(dst[:s.size], s.order[place*s.size:])
		first++
	}
	return nil
}

// Fixed cuts the rows, shuffled once, into minibatches that stay as they are, and draws one of them uniformly. The size
// must divide the number of rows: else the mean over minibatches is not the mean over rows.
func Fixed(size int) Slotted { return &fixed{epochs{size: size}} }

type fixed struct{ epochs }

// slotStream is set in the stream that chooses slots, so that the choice does not depend on the shuffle.
const slotStream = 1 << 31

func (s *fixed) Check(rows int) error {
	if s.size > rows || rows%s.size != 0 {
		near := min(s.size, rows)
		for rows%near != 0 {
			near--
		}
		return fmt.Errorf("fixed minibatches of %d do not divide %d rows: %d do", s.size, rows, near)
	}
	return nil
}

func (s *fixed) Slots(rows int) int { return rows / s.size }

func (s *fixed) Slot(from Source, draw uint64) (int32, error) {
	step, err := number(draw)
	if err != nil {
		return 0, err
	}
	var slot [1]int32
	philox.Integers(slot[:], uint32(s.Slots(from.Rows)), from.Seed, step, from.Stream|slotStream, 0)
	return slot[0], nil
}

// Minibatch is number slot of epoch 0.
func (s *fixed) Minibatch(dst []int32, from Source, slot int32) error {
	return s.epochs.Fill(dst, from, uint64(slot))
}

func (s *fixed) Fill(dst []int32, from Source, first uint64) error {
	if err := checkPlaces(len(dst), s.size); err != nil {
		return err
	}
	for ; len(dst) > 0; dst = dst[s.size:] {
		slot, err := s.Slot(from, first)
		if err != nil {
			return err
		}
		if err := s.Minibatch(dst[:s.size], from, slot); err != nil {
			return err
		}
		first++
	}
	return nil
}
