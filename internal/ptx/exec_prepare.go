package ptx

import (
	"errors"
	"fmt"
)

// prepare checks a launch against the card's limits.
func (m *Machine) prepare(l Launch) (*execution, error) {
	if l.Kernel == nil {
		return nil, errors.New("launch without a kernel")
	}
	k := l.Kernel
	if k.err != nil {
		return nil, k.err
	}
	bad := func(format string, args ...any) (*execution, error) {
		return nil, fmt.Errorf("launch of %s: %s", k.Name, fmt.Sprintf(format, args...))
	}
	maxGrid := [3]int{1<<31 - 1, 65535, 65535}
	maxBlock := [3]int{1024, 1024, 64}
	threads, blocks := 1, uint64(1)
	for i, axis := range []string{"x", "y", "z"} {
		if l.Grid[i] < 1 || l.Grid[i] > maxGrid[i] {
			return bad("grid.%s is %d, allowed are 1 to %d", axis, l.Grid[i], maxGrid[i])
		}
		if l.Block[i] < 1 || l.Block[i] > maxBlock[i] {
			return bad("block.%s is %d, allowed are 1 to %d", axis, l.Block[i], maxBlock[i])
		}
		threads *= l.Block[i]
		blocks *= uint64(l.Grid[i])
	}
	if threads > MaxThreadsPerBlock {
		return bad("%d threads in a block, at most %d are allowed", threads, MaxThreadsPerBlock)
	}
	if k.MaxThreads > 0 && threads > k.MaxThreads {
		return bad("%d threads in a block, the kernel was compiled for at most %d", threads, k.MaxThreads)
	}
	if r := k.fn.ReqThreads; r != [3]int{} && l.Block != [3]int{max(r[0], 1), max(r[1], 1), max(r[2], 1)} {
		return bad("block %v, the kernel requires %v", l.Block, r)
	}
	prog, err := k.program(variant{contract: m.opt.Float == Contract, sanitize: m.opt.Sanitize})
	if err != nil {
		return nil, err
	}
	inst, err := m.instance(k.Module)
	if err != nil {
		return nil, err
	}
	e := &execution{machine: m, prog: prog, inst: inst, launch: l, blocks: blocks, runs: blocks, shared: prog.shared}
	if s := uint64(m.opt.Sample); s > 0 && !l.Cooperative { // blocks of a cooperative launch wait for each other
		e.runs = min(blocks, s)
	}
	if l.Shared < 0 || l.Shared > m.card.SharedOptIn {
		return bad("%d bytes of dynamic shared memory, a block of %s has at most %d", l.Shared, m.card.Name,
			m.card.SharedOptIn)
	}
	if l.Shared > 0 {
		e.shared = prog.dynamic + l.Shared
	}
	switch {
	case e.shared > m.card.SharedOptIn:
		return bad("%d bytes of shared memory, a block of %s has at most %d", e.shared, m.card.Name, m.card.SharedOptIn)
	case e.shared > DefaultShared && l.Shared > l.SharedLimit:
		return bad("%d bytes of shared memory, more than %d need the attribute for dynamic shared memory "+
			"(its value: %d)", e.shared, DefaultShared, l.SharedLimit)
	}
	if len(l.Args) != len(k.Params) {
		return bad("%d arguments for %d parameters", len(l.Args), len(k.Params))
	}
	e.params = alignedBytes((k.paramBytes + 7) &^ 7)
	for i, p := range k.Params {
		if len(l.Args[i]) != p.Size {
			return bad("argument %d (%s) has %d bytes, the parameter has %d", i, p.Name, len(l.Args[i]), p.Size)
		}
		copy(e.params[p.off:], l.Args[i])
	}
	warps := (threads + warpSize - 1) / warpSize
	perSM := min(m.card.BlocksPerSM, m.card.ThreadsPerSM/(warps*warpSize), m.card.SharedPerSM/(e.shared+reservedShared))
	if e.holds = perSM * m.card.SMs; l.Cooperative && blocks > uint64(e.holds) {
		return bad("a cooperative launch of %d blocks, %s holds %d at once", blocks, m.card.Name, e.holds)
	}
	return e, nil
}

const (
	workspaceBytes = 64
	reservedShared = 1024 // bytes of shared memory that the system keeps for each block, from compute capability 8.0 on
)
