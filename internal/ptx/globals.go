package ptx

import (
	"encoding/binary"

	"bilevel/internal/ptx/syntax"
)

// A global is a .global or .const variable of a module.
type global struct {
	v     *syntax.Var
	index int
	size  int
}

// An instance is a module's variables on one machine.
type instance struct {
	addr []uint64 // by global.index
}

// layoutGlobals collects the variables that need memory of their own.
func (m *Module) layoutGlobals() {
	for _, v := range m.tree.Vars {
		if v.Space != syntax.Global && v.Space != syntax.Const {
			continue
		}
		if v.Extern {
			continue // an error of the kernels that name it
		}
		g := &global{v: v, index: len(m.globals), size: v.Size()}
		m.globals = append(m.globals, g)
		m.symbols[v.Name] = g
	}
}

// variable finds a variable of the module that the instruction at hand names.
func (d *decoder) variable(name string) *global {
	if g := d.k.Module.symbols[name]; g != nil {
		return g
	}
	for _, v := range d.k.Module.tree.Vars {
		if v.Name == name && v.Extern {
			d.fail("the extern variable %s (PTX line %d) is defined in no module here: link it before", name, v.Line)
		}
	}
	d.fail("%s is not a variable, function or register", name)
	return nil
}

// instance returns the module's variables on this machine, made at the first call.
func (m *Machine) instance(mod *Module) (*instance, error) {
	if inst := m.instances[mod]; inst != nil {
		return inst, nil
	}
	inst := &instance{}
	for _, g := range mod.globals {
		a, err := m.mem.alloc(int64(g.size), g.v.Name)
		if err != nil {
			return nil, err
		}
		a.readonly = g.v.Space == syntax.Const
		inst.addr = append(inst.addr, a.base)
		a.learn(a.base, g.size) // variables without initialiser start as zeros (PTX ISA 5.4.4)
	}
	for _, g := range mod.globals {
		m.initialise(mod, inst, g)
	}
	m.instances[mod] = inst
	return inst, nil
}

// initialise writes a variable's initial values.
func (m *Machine) initialise(mod *Module, inst *instance, g *global) {
	if len(g.v.Init) == 0 {
		return
	}
	a := m.mem.find(inst.addr[g.index], uint64(g.size))
	n := g.v.Bytes() / max(g.v.Vector, 1)
	for i, x := range g.v.Init {
		bits := x.Bits
		if x.Symbol != "" {
			// What no module here defines has the address 0: an error only for who uses it.
			bits = mod.addressOf(x.Symbol)
			if target := mod.symbols[x.Symbol]; target != nil {
				bits = inst.addr[target.index] + uint64(x.Offset)
			}
		}
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], bits)
		copy(a.mem[i*n:], word[:n])
	}
}
