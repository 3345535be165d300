package ptx

import "context"

// A Launch is one start of a kernel.
type Launch struct {
	Kernel      *Kernel
	Grid        [3]int   // blocks in x, y, z
	Block       [3]int   // threads in x, y, z
	Shared      int      // dynamic shared memory, bytes
	SharedLimit int      // the opt-in attribute: most dynamic shared memory; 0: static and dynamic within 48 KiB
	Args        [][]byte // one for each parameter, in its exact size, little endian
	Cooperative bool     // all blocks resident at once, for grid-wide synchronisation
	Track       bool     // note the words of global memory that the launch reads and writes; with Options.Sanitize
}

// A Result is what a launch left besides memory.
type Result struct {
	Reports  []Report  `json:"reports"`
	Counters Counters  `json:"counters"`
	Touched  []Touched `json:"-"` // with Launch.Track
}

// Run executes a launch to its end. With Options.Sanitize, faults are Result.Reports and the kernel goes on; what
// cannot go on (a trap, the watchdog, and without the sanitizer every fault that hardware refuses) is a *Fault,
// returned together with the result so far. Other errors: the kernel's own (Kernel.Err), a launch outside the card's
// limits, and ctx's.
func (m *Machine) Run(ctx context.Context, l Launch) (*Result, error) {
	return m.run(ctx, l)
}

// Check says why Run would refuse the launch before it begins: the kernel's own error, or the card's limits.
func (m *Machine) Check(l Launch) error {
	_, err := m.prepare(l)
	return err
}
