// Package syntax reads PTX text, the virtual assembly of NVIDIA's compilers, into a tree.
// It knows the grammar of statements and directives and nothing of what an instruction means:
// an opcode is a list of words, so new suffixes need no change here. Source: PTX ISA 8.2–9.1, chapters 4, 5 and 11.
package syntax

// A Module is one PTX file.
type Module struct {
	Version     string            // "8.2"
	Target      []string          // "sm_80", then options such as "texmode_independent"
	AddressSize int               // 32 or 64
	Files       map[int]string    // .file: index to name, as written
	Vars        []*Var            // variables of module scope, in order
	Aliases     map[string]string // .alias: other names of functions; nil: none
	// Funcs are entries and functions, in order; a declaration without body has Body == nil and Declared.
	Funcs []*Func
}

// A Space is a state space, as PTX writes it after the dot.
type Space string

const (
	Reg    Space = "reg"
	Const  Space = "const"
	Global Space = "global"
	Shared Space = "shared"
	Local  Space = "local"
	Param  Space = "param"
)

// A Var is a variable, a register set or a parameter.
type Var struct {
	Space  Space
	Type   string // "b8", "f32", "pred", …
	Vector int    // 1, 2 or 4 (.v2, .v4)
	Name   string
	// Count is that of registers: %r<Count> declares %r0 … %r(Count-1); 0: one register of that very name. Sets in
	// memory are Vars each.
	Count   int
	Dims    []int // array sizes; -1 for [] without an initialiser
	Align   int   // bytes; 0: natural
	Extern  bool
	Visible bool
	Weak    bool
	Init    []Init // initialisers, row by row, elements of short rows and vectors included; the rest is 0; nil: none
	Line    int    // of the PTX text, from 1
}

// An Init is one initial element: a number, or the address of a variable or function plus an offset.
type Init struct {
	Bits    uint64 // integer, or the bits of a float of the variable's type
	Symbol  string // "" for a number
	Offset  int64
	Generic bool // generic(symbol)
}

// A Func is a kernel (.entry) or a function (.func).
type Func struct {
	Name       string
	Entry      bool
	Extern     bool
	Visible    bool
	Weak       bool
	NoReturn   bool
	Declared   bool   // no body follows
	Results    []*Var // .func (result) name
	Params     []*Var
	MaxThreads [3]int // .maxntid; zeros: not said
	ReqThreads [3]int // .reqntid
	MinBlocks  int    // .minnctapersm
	MaxRegs    int    // .maxnreg
	Cluster    [3]int // .reqnctapercluster: blocks of a cluster; zeros: not said
	Clustered  bool   // .blocksareclusters: the grid of a launch counts clusters
	Vars       []*Var // registers, shared, local and param variables of the body, names made unique over nested scopes
	Body       []Instr
	Labels     map[string]int      // label to index in Body (len(Body) when it stands at the end)
	Targets    map[string][]string // label of .branchtargets or .calltargets to the labels or functions listed
	Prototypes map[string]*Func    // label of .callprototype to the signature of an indirect call
	Line       int
}

// A Loc is a place in the source that the compiler was given (.loc). Inlined says where its function was inlined,
// so walking Inlined to its end gives the line of the kernel's own text.
type Loc struct {
	File     string
	Line     int
	Column   int
	Function string // name of the inlined function, "" for the kernel itself
	Inlined  *Loc
}

// An Instr is one statement: an opcode with its suffixes and operands.
type Instr struct {
	Guard  string   // predicate register of @p or @!p; "" for none
	Negate bool     // @!p
	Op     string   // "ld", "mma", …
	Mods   []string // suffixes in order: "global", "nc", "v4", "f32"; "::" stays inside one ("shared::cta", "L2::128B")
	Args   []Operand
	Line   int  // of the PTX text, from 1
	Loc    *Loc // nil where the text has no line information
}

// A Kind says what an operand is.
type Kind uint8

const (
	Register Kind = iota // a declared or special register, possibly one component: %r1, %tid.x, %v.y; also "_" (sink)
	Symbol               // a variable, function or label, plus Offset
	Integer              // Bits
	Float32              // 0f3F800000; Bits
	Float64              // 0d3FF0000000000000, or a decimal literal; Bits
	Address              // [Name+Offset], [Offset] with Name == ""
	Vector               // {a, b, …}: List
	Pair                 // %r|%p: List of two
	List                 // (a, b): parameters and results of call
)

// An Operand is one argument of an instruction.
type Operand struct {
	Kind   Kind
	Name   string // Register, Symbol, Address: the name; names of nested scopes are those of Func.Vars
	Offset int64  // Symbol, Address
	Bits   uint64 // Integer (two's complement), Float32, Float64
	Not    bool   // !%p
	Minus  bool   // -%r (mad and kin in old texts; an integer's sign is in Bits)
	// Vector, Pair, List; Address: what follows the first comma, the coordinates of textures and tensors
	List []Operand
}
