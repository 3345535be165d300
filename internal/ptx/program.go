package ptx

import "bilevel/internal/ptx/syntax"

// flow says what the scheduler does with an instruction.
type flow uint8

const (
	flowPlain    flow = iota // call run, go on
	flowBranch               // to target for the lanes of the guard
	flowIndirect             // to the index that register a holds in each lane (returns of functions, brx.idx)
	flowExit
	flowWarp    // a .sync instruction: waits for the lanes of its mask (register a) or, with a < 0, for all
	flowBarrier // a barrier of the block
)

// A runner executes an instruction for the lanes of mask, which is not zero.
type runner func(w *warp, in *instr, mask uint32)

// An instr is one decoded instruction. Operands are byte offsets of registers in the warp's file: immediates and
// special registers are registers loaded before the start, so that there is one kind of operand.
type instr struct {
	run        runner
	d, a, b, c int32
	guard      int32  // predicate register; alwaysTrue when there is none
	flip       uint32 // all ones for @!p
	flow       flow
	imm        int64 // offset of an address, and other constants
	target     int32 // of a branch
	index      int32 // of this instruction in the program
	x          *extra
}

// extra holds what few instructions need.
type extra struct {
	barrier barrierOp
	access  access
}

// A program is a decoded kernel: its own code, then that of the functions it calls.
type program struct {
	kernel   *Kernel
	code     []instr
	meta     []meta
	fileSize int           // bytes of a warp's register file
	widths   map[int32]int // bits of the declared registers, for the sanitizer
	declared []register    // in their order
	consts32 []preload32
	consts64 []preload64
	symbols  []preloadSymbol
	specials []preloadSpecial
	backs    []int32 // registers with return addresses
	spins    bool    // threads may wait for what others do to memory
	simple   bool    // barriers of whole blocks and bar.warp.sync of whole warps are all that orders memory
	shared   int     // bytes of static shared memory
	dynamic  int     // where dynamic shared memory starts
	local    int     // bytes of local memory of a thread, parameters of functions included
}

// meta is what reports and counters need of an instruction, kept away from the hot array.
type meta struct {
	src     *syntax.Instr
	text    string // opcode with suffixes
	class   Class
	flops   int // per lane
	kind    flopKind
	uses    []operand // registers read, for the sanitizer
	defs    []operand // registers written
	back    int32     // return register of the function it belongs to, 0: the kernel itself
	check   checkKind // how the sanitizer treats uses
	address int32     // register of an address, 0: none
	flow    *bitFlow  // how undefined bits pass; nil: all or none
}

type flopKind uint8

const (
	flop32 flopKind = iota
	flop64
	flop16
	flopTF32
	flopTensor
)

// An operand is a register with its width, for the sanitizer.
type operand struct {
	off  int32
	name string
}

type preload32 struct {
	off int32
	val uint32
}

type preload64 struct {
	off int32
	val uint64
}

// preloadSymbol is a register that holds the address of a module's variable.
type preloadSymbol struct {
	off   int32
	index int
	add   int64
}

// preloadSpecial is a special register.
type preloadSpecial struct {
	off  int32
	reg  special
	wide bool
}

// alwaysTrue is the register of instructions without guard: the first of every file.
const alwaysTrue = 0

func widthOf(bits int) width {
	switch {
	case bits == 1:
		return widthPred
	case bits <= 32:
		return width32
	}
	return width64
}
