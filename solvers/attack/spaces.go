package attack

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"bilevel/tensor"
)

// spaces are what attacks keep for batches of each size. Which sizes come up depends on how many images withstand, so
// that all of them together are held to the memory that the largest batch takes with the attack that takes most: what
// an evaluation needs is known when the programs for the largest batch have been compiled, whatever the network does.
type spaces struct {
	ex      *tensor.Executor
	memory  int // bytes of programs of one size
	bySize  map[int]*space
	at      string // the name of the programs of the attack at work
	uses    int
	most    int // bytes of all; 0: not known yet
	largest int // rows that take so many
}

// keptBytes are kept in any case: programs of small networks are not compiled again and again.
const keptBytes = 32 << 20

// space is the state of batches of one size by name, which attacks share, and their programs.
type space struct {
	rows     int
	ex       *tensor.Executor
	scope    *tensor.Scope
	vars     map[string]*tensor.Variable
	bytes    int // of the variables
	programs *tensor.Cache
	used     int // the number of its last use
}

func newSpaces(ex *tensor.Executor, memory int) spaces {
	return spaces{ex: ex, memory: memory, bySize: map[int]*space{}}
}

// turn readies for an attack. Where it is another one than before, large programs of that do not stand beside its own.
func (s *spaces) turn(p *plan) error {
	same := p.programs == s.at
	if s.at = p.programs; same || s.bytes() <= keptBytes {
		return nil
	}
	return s.close()
}

// prepare makes the programs of attacks for the largest batch, by one attack after the other, and so finds what all
// sizes together may take.
func (s *spaces) prepare(plans []*plan, rows int, compile func(p *plan, rows int) error) error {
	most := keptBytes
	for _, p := range plans {
		if err := errors.Join(s.turn(p), s.makeRoom(rows)); err != nil {
			return err
		}
		if err := compile(p, rows); err != nil {
			return err
		}
		most = max(most, s.of(rows).size())
	}
	s.most, s.largest = most, rows
	return nil
}

// of is the space of a batch of so many rows, made where it is not there.
func (s *spaces) of(rows int) *space {
	k := s.bySize[rows]
	if k == nil {
		k = &space{rows: rows, ex: s.ex, scope: s.ex.Scope(), vars: map[string]*tensor.Variable{},
			programs: tensor.NewCache(s.ex, s.memory)}
		s.bySize[rows] = k
	}
	s.uses++
	k.used = s.uses
	return k
}

// makeRoom frees what is needed for a batch of so many rows that is not there yet: the spaces that have not been used
// for the longest time, and at last the programs of the one that was. The state of that stays, since its rows may move
// to the new one.
func (s *spaces) makeRoom(rows int) error {
	if s.bySize[rows] != nil || s.most == 0 {
		return nil
	}
	most := s.most - s.most/s.largest*min(rows, s.largest)
	last, err := s.hold(most)
	if last != nil && s.bytes() > most {
		err = errors.Join(err, last.programs.Close())
	}
	return err
}

// hold closes the spaces that have not been used for the longest time until all take no more than so many bytes, or
// only the one that was used last is left.
func (s *spaces) hold(most int) (last *space, err error) {
	order := slices.SortedFunc(maps.Values(s.bySize), func(a, b *space) int { return cmp.Compare(a.used, b.used) })
	for i, k := range order {
		if i == len(order)-1 || s.bytes() <= most {
			return k, err
		}
		err = errors.Join(err, k.close())
		delete(s.bySize, k.rows)
	}
	return nil, err
}

// program is a compiled program of batches of so many rows. Others make room for it where it is one too many.
func (s *spaces) program(name string, rows int, build func() []tensor.Update) (*tensor.Function, error) {
	f, err := s.of(rows).programs.Get(name, rows, build)
	if err == nil && s.most > 0 {
		_, err = s.hold(s.most)
	}
	return f, err
}

func (s *spaces) bytes() (n int) {
	for _, k := range s.bySize {
		n += k.size()
	}
	return n
}

// close frees everything; spaces are made again where they are wanted.
func (s *spaces) close() (err error) {
	for _, k := range s.bySize {
		err = errors.Join(err, k.close())
	}
	clear(s.bySize)
	return err
}

// size is the bytes of the programs and of the state.
func (k *space) size() int { return k.programs.Bytes() + k.bytes }

func (k *space) close() error { return errors.Join(k.programs.Close(), k.scope.Close()) }

// variable is an entry of the state, made where it is not there.
func (k *space) variable(name string, t tensor.Type, shape ...int) *tensor.Variable {
	id := fmt.Sprint(name, t, shape)
	if k.vars[id] == nil {
		k.vars[id] = k.scope.Variable(name, t, shape...)
		k.bytes += k.vars[id].Size() * int(k.ex.Info().ElementBytes(t))
	}
	return k.vars[id]
}
