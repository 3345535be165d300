package ptx

import (
	"fmt"
	"slices"

	"bilevel/internal/ptx/syntax"
)

// codeWindow is where functions have their addresses, codeStep bytes apart. Nothing can be read there.
const (
	codeWindow = 0x0400_0000_0000
	codeStep   = 16
)

// calls are the functions that a function may call.
type calls struct {
	direct   []string
	indirect bool // also any function whose address is taken
	takes    []string
}

// numberFunctions gives functions addresses and notes who calls whom.
func (m *Module) numberFunctions() {
	m.number, m.calls = map[string]int{}, map[string]calls{}
	for _, f := range m.tree.Funcs {
		if !f.Entry && m.number[f.Name] == 0 {
			m.functions = append(m.functions, f.Name)
			m.number[f.Name] = len(m.functions)
		}
	}
	for _, f := range m.tree.Funcs {
		if !f.Declared {
			m.calls[f.Name] = m.callsOf(f)
		}
	}
}

// callsOf reads the calls of a body, and the functions whose addresses it takes.
func (m *Module) callsOf(f *syntax.Func) (c calls) {
	for i := range f.Body {
		in := &f.Body[i]
		for _, op := range in.Args {
			if in.Op == "call" && op.Kind == syntax.Register {
				c.indirect = true
			}
			if name := m.original(op.Name); op.Kind == syntax.Symbol && m.number[name] != 0 {
				if in.Op == "call" {
					c.direct = append(c.direct, name)
				} else {
					c.takes = append(c.takes, name)
				}
			}
		}
	}
	return c
}

// original is the function that a name stands for: itself, or what an .alias names.
func (m *Module) original(name string) string {
	if to := m.tree.Aliases[name]; to != "" {
		return to
	}
	return name
}

// function finds a function by name; a definition wins over a declaration.
func (m *Module) function(name string) (found *syntax.Func, ok bool) {
	for _, f := range m.tree.Funcs {
		if f.Name == name && !f.Entry && (found == nil || found.Declared) {
			found = f
		}
	}
	return found, found != nil
}

// addressOf is the address of a function, 0 for other names.
func (m *Module) addressOf(name string) uint64 {
	if n := m.number[m.original(name)]; n > 0 {
		return codeWindow + uint64(n)*codeStep
	}
	return 0
}

// describeFunction says what a wrong goal of an indirect call is.
func (m *Module) describeFunction(addr uint64) string {
	n := (addr - codeWindow) / codeStep
	if addr%codeStep != 0 || n < 1 || n > uint64(len(m.functions)) {
		return fmt.Sprintf("%#x, which is not the address of a function", addr)
	}
	name := m.functions[n-1]
	if f, _ := m.function(name); f.Declared {
		return name + ", which has no body in this module"
	}
	return name + ", whose parameters or results differ from the call's"
}

// addressed lists the functions whose addresses variables or code take.
func (m *Module) addressed() (names []string) {
	add := func(name string) {
		if f, ok := m.function(m.original(name)); ok && !f.Declared && !slices.Contains(names, f.Name) {
			names = append(names, f.Name)
		}
	}
	for _, v := range m.tree.Vars {
		for _, x := range v.Init {
			if x.Symbol != "" {
				add(x.Symbol)
			}
		}
	}
	for _, f := range m.tree.Funcs {
		for _, name := range m.calls[f.Name].takes {
			add(name)
		}
	}
	return names
}

// recursive says whether a function may be called while it is active.
func (m *Module) recursive(name string) bool {
	seen := map[string]bool{}
	queue := m.callees(name)
	for len(queue) > 0 {
		next := queue[0]
		queue = queue[1:]
		if next == name {
			return true
		}
		if !seen[next] {
			seen[next] = true
			queue = append(queue, m.callees(next)...)
		}
	}
	return false
}

func (m *Module) callees(name string) []string {
	c := m.calls[name]
	if c.indirect {
		return append(slices.Clone(c.direct), m.addressed()...)
	}
	return slices.Clone(c.direct)
}
