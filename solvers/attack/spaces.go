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
// that all of them together are held to the memory that the largest batch takes: what an evaluation needs is known when
// its programs for the largest batch have been compiled, whatever the network does.
type spaces struct {
	ex      *tensor.Executor
	memory  int // bytes of programs of one size
	bySize  map[int]*space
	uses    int
	most    int // bytes of all; 0: not known yet
	largest int // rows that take so many
}

// keptBytes are kept in any case: programs of small networks are not compiled again and again.
const keptBytes = 32 << 20

// space is the state of batches of one size by name, which attacks share, and their programs.
type space struct {
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

// begin readies for attacks of another evaluation: large programs of the last one do not stand beside those to come.
func (s *spaces) begin() error {
	s.most, s.largest = 0, 0
	if s.bytes() <= keptBytes {
		return nil
	}
	return s.close()
}

// bound says that all sizes together may take what the largest, whose programs are there, takes.
func (s *spaces) bound(rows int) { s.most, s.largest = max(keptBytes, s.of(rows).size()), rows }

// of is the space of a batch of so many rows, made where it is not there.
func (s *spaces) of(rows int) *space {
	k := s.bySize[rows]
	if k == nil {
		k = &space{ex: s.ex, scope: s.ex.Scope(), vars: map[string]*tensor.Variable{},
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
func (s *spaces) makeRoom(rows int) (err error) {
	if s.bySize[rows] != nil || s.most == 0 {
		return nil
	}
	sizes := slices.SortedFunc(maps.Keys(s.bySize), func(a, b int) int {
		return cmp.Compare(s.bySize[a].used, s.bySize[b].used)
	})
	for i, size := range sizes {
		if s.bytes() <= s.most-s.most/s.largest*min(rows, s.largest) {
			break
		}
		if i == len(sizes)-1 {
			err = errors.Join(err, s.bySize[size].programs.Close())
			break
		}
		err = errors.Join(err, s.bySize[size].close())
		delete(s.bySize, size)
	}
	return err
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
