// Package ptx runs NVIDIA PTX on the processor: a functional simulator with a sanitizer and counters, so that CUDA
// kernels run and are checked on machines without a card.
//
//	mod, err := ptx.Load("axpy.ptx", text)           // parse and decode; Kernel.Err names unsupported opcodes
//	m := ptx.NewMachine(ptx.Options{Sanitize: true}) // one card: memory and module globals
//	x, err := m.Alloc(4*n, "x")
//	err = m.Write(x, bytes)
//	res, err := m.Run(ctx, ptx.Launch{Kernel: mod.Kernel("axpy"), Grid: …, Block: …, Args: …})
//
// # Model
//
// A kernel is decoded once into instructions that are Go functions over a warp; registers are raw bits, 32 lanes to a
// register. The lanes of a warp form groups of one program counter each; the group with the lowest counter runs until
// it meets another (so any control flow reconverges without an analysis of it), and waits at .sync instructions for the
// lanes they name. Warps of a block run in turn from barrier to barrier; blocks run on worker goroutines. Groups, warps
// and blocks that only branch take turns, so spin locks and flags make progress; where no order of them could, the
// launch ends with a report of its own. Functions that may call themselves keep their registers and local variables on
// a stack.
//
// # Sanitizer
//
// With Options.Sanitize every access is checked, and races are judged by what synchronisation orders in PTX's memory
// model: barriers, bar.warp.sync between lanes, releases and acquires by fences, strong accesses and atomics within
// their scopes. Lanes of one warp without a bar.warp.sync between them are unordered, as on hardware since compute_70;
// several threads that store the same value are no race. Undefined bits are followed through registers, local and
// shared memory, and reported where they matter (address, value stored to global memory, branch, operand of
// synchronisation); loads of uninitialised global memory at the load. A launch in which threads take locks by atomics
// is run a second time in the opposite order, on its memory as it was: a lock orders two accesses in whichever order
// they took it. Float atomics are noted when adding the recorded values up in another permitted order gives other bits.
// Threads that exited before a barrier are reported, though hardware since compute_70 goes on without them. A faulty
// access does nothing (a load gives zero) and the kernel goes on.
//
// # Trust
//
// PTX is not the machine program: ptxas may contract mul and add, approximate instructions are tables in hardware,
// tensor cores do not round like IEEE arithmetic. Options.Float runs a kernel under three readings of that freedom.
// Counters are of PTX instructions; times from them are estimates.
package ptx
