package tensor

import (
	"fmt"
	"math"

	"bilevel/device"

	"github.com/dustin/go-humanize"
)

// Memory is what a function needs, in bytes. It is known before anything is allocated.
type Memory struct {
	Arena     int // intermediate values
	Constants int
	Variables int // all variables that it reads or writes, which it shares with others
}

// MemoryError says that a function was not compiled, or a variable not made, because it does not fit. It wraps
// device.ErrMemory.
type MemoryError struct {
	Need  Memory // what was asked for; of variables, those that have no memory yet
	InUse int64  // by the executor's variables and functions
	Have  int64  // in all: the limit that was set, or what the device has free, with InUse
}

func (e *MemoryError) Error() string {
	return fmt.Sprintf(
		"%v: it needs %s (%s of intermediate values, %s of constants and new variables) beside %s in use, "+
			"of %s in all; work on fewer rows at a time, or give it more memory",
		device.ErrMemory,
		inUnits(int64(e.Need.Arena+e.Need.Constants+e.Need.Variables)),
		inUnits(int64(e.Need.Arena)),
		inUnits(int64(e.Need.Constants+e.Need.Variables)),
		inUnits(e.InUse),
		inUnits(e.Have),
	)
}

func (e *MemoryError) Unwrap() error { return device.ErrMemory }

// inUnits writes a number of bytes for people.
func inUnits(bytes int64) string { return humanize.Bytes(uint64(max(0, bytes))) }

// LimitMemory bounds what the executor's variables and functions take together, in bytes. A function that does not fit
// is not compiled, a variable gets no memory, and the error is a *MemoryError. 0, as at first, means what the device
// has free.
func (ex *Executor) LimitMemory(bytes int64) { ex.limit = bytes }

// MemoryInUse is what the executor's variables and functions take, in bytes.
func (ex *Executor) MemoryInUse() (bytes int64) {
	for _, v := range ex.vars {
		if v.buf != nil {
			bytes += int64(ex.bytes(v.buf))
		}
	}
	for _, f := range ex.funcs {
		bytes += int64(f.memory.Arena + f.memory.Constants)
	}
	return bytes
}

// Estimate is what Compile would need for the same updates. It allocates nothing on the device and prepares nothing.
func (ex *Executor) Estimate(name string, build func() []Update) (m Memory, err error) {
	caught := Catch(func() {
		updates := built(build)
		var values []*Node
		if values, err = ex.checkUpdates(updates); err == nil {
			steps, roots := lowered(values)
			m = ex.needs(plan(steps, updates, roots))
		}
	})
	if caught != nil {
		err = caught
	}
	if err != nil {
		return Memory{}, fmt.Errorf("tensor: estimate %s: %w", name, err)
	}
	return m, nil
}

// needs adds up what a plan takes.
func (ex *Executor) needs(p *planner) (m Memory) {
	for t, n := range p.size {
		m.Arena += ex.bytesOf(Type(t), n)
	}
	vars, constants := p.leaves()
	for _, v := range vars {
		m.Variables += ex.bytesOf(v.typ, v.Size())
	}
	m.Constants = ex.bytesOf(Real, len(constants.values))
	return m
}

// leaves are the variables and the constants in memory that the steps of a plan read or write.
func (p *planner) leaves() (vars []*Variable, constants *constPool) {
	constants = newConstPool()
	seen := make(map[*Variable]bool)
	for _, s := range p.steps {
		for _, refs := range [2][]ref{s.in, s.out} {
			for _, r := range refs {
				h, _ := p.home(r.store)
				if h.op == opConst {
					constants.index(h.num)
				}
				v := p.places[h].v
				if h.op == opVar {
					v = h.v
				}
				if v != nil && !seen[v] {
					seen[v] = true
					vars = append(vars, v)
				}
			}
		}
	}
	return vars, constants
}

// fits says whether a plan has room beside what the executor has already.
func (ex *Executor) fits(p *planner) error {
	need := ex.needs(p)
	vars, _ := p.leaves()
	for _, v := range vars {
		if v.buf != nil {
			need.Variables -= ex.bytesOf(v.typ, v.Size())
		}
	}
	return ex.admit(need)
}

// seldomAsked is the part of a device's free memory that is handed out before it is asked again how much is free.
const seldomAsked = 256

// admit says whether there is room beside what the executor has already. To ask a device takes longer than to make a
// small variable, so that what it said holds for requests that are small beside it.
func (ex *Executor) admit(need Memory) error {
	bytes := int64(need.Arena + need.Constants + need.Variables)
	inUse := ex.MemoryInUse()
	if bytes <= ex.spare && (ex.limit <= 0 || bytes <= ex.limit-inUse) {
		ex.spare -= bytes
		return nil
	}
	free := ex.dev.Info().Free
	have := inUse + free
	if ex.limit > 0 {
		have = min(have, ex.limit)
	}
	if bytes > have-inUse {
		return &MemoryError{Need: need, InUse: inUse, Have: have}
	}
	ex.spare = (free - bytes) / seldomAsked
	return nil
}

// constPool collects the constants that instructions read from memory (most live inside expressions).
type constPool struct {
	values []float64
	number map[uint64]int // by bits: 0 is not -0, and a NaN is itself
}

func newConstPool() *constPool { return &constPool{number: map[uint64]int{}} }

func (p *constPool) index(c float64) int {
	bits := math.Float64bits(c)
	i, ok := p.number[bits]
	if !ok {
		i = len(p.values)
		p.values = append(p.values, c)
		p.number[bits] = i
	}
	return i
}
