package ptx

import (
	"errors"
	"fmt"
	"sync"

	"bilevel/internal/ptx/syntax"
)

// A Module is one PTX file, decoded. It does not change and may be used by any number of machines at once.
type Module struct {
	Name    string
	Target  string // "sm_80"
	tree    *syntax.Module
	kernels []*Kernel
	globals []*global
	symbols map[string]*global

	functions []string         // by number: names of all functions that are no kernels
	number    map[string]int   // of a function, from 1
	calls     map[string]calls // by function
}

// Load reads PTX text and decodes all its kernels. Its error is of malformed text and of what concerns the whole
// module; a kernel with instructions that are not supported has an error of its own, see Kernel.Err.
func Load(name, text string) (*Module, error) {
	tree, err := syntax.Parse(name, text)
	if err != nil {
		return nil, err
	}
	m := &Module{Name: name, tree: tree, symbols: map[string]*global{}}
	if len(tree.Target) > 0 {
		m.Target = tree.Target[0]
	}
	var errs []error
	m.layoutGlobals()
	m.numberFunctions()
	if tree.AddressSize == 32 {
		errs = append(errs, errors.New(".address_size 32 is not supported"))
	}
	for _, f := range tree.Funcs {
		if !f.Entry || f.Declared {
			continue
		}
		m.kernels = append(m.kernels, newKernel(m, f))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return m, nil
}

// Kernels lists the kernels (.entry) in the order of the text.
func (m *Module) Kernels() []*Kernel { return m.kernels }

// Kernel finds a kernel by name, nil if there is none.
func (m *Module) Kernel(name string) *Kernel {
	for _, k := range m.kernels {
		if k.Name == name {
			return k
		}
	}
	return nil
}

// A Param is one kernel parameter.
type Param struct {
	Name  string
	Type  string // as declared: "u64", "f32", "b8" for structures
	Size  int    // bytes
	Align int
	off   int // in the packed block
}

// A Kernel is one .entry of a module.
type Kernel struct {
	Name        string
	Params      []Param
	SharedBytes int  // static shared memory
	LocalBytes  int  // local memory of a thread
	MaxThreads  int  // of a block, by .maxntid or .reqntid; 0: not said
	Registers   int  // PTX registers in all; ptxas assigns others
	Cooperative bool // it reads the workspace of a cooperative launch, as a barrier of the whole grid does
	Module      *Module

	fn         *syntax.Func
	err        error
	paramBytes int
	mu         sync.Mutex
	programs   map[variant]*program
}

// Err says why the kernel cannot run, nil if it can. It joins one error for each unsupported instruction, naming
// kernel, opcode and line, so that one pass shows everything that is missing.
func (k *Kernel) Err() error { return k.err }

// A variant selects how a kernel is decoded.
type variant struct {
	contract bool // fuse mul and add
	sanitize bool
}

// program decodes the kernel for a variant, once.
func (k *Kernel) program(v variant) (*program, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p := k.programs[v]; p != nil {
		return p, nil
	}
	p, err := decodeKernel(k, v)
	if err != nil {
		return nil, err
	}
	k.programs[v] = p
	return p, nil
}
