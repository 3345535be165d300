package syntax

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
)

// print writes a module as PTX text, without line information. Nested scopes come out flat, under the names of the
// tree.
func print(m *Module) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".version %s\n.target %s\n.address_size %d\n", m.Version, strings.Join(m.Target, ", "),
		m.AddressSize)
	for _, f := range m.Funcs { // before the variables whose values they are
		if f.Declared {
			printFunc(&b, f)
		}
	}
	for _, v := range m.Vars {
		b.WriteString(linkageOf(v.Extern, v.Visible, v.Weak) + declaration(v) + ";\n")
	}
	for _, f := range m.Funcs {
		if !f.Declared {
			printFunc(&b, f)
		}
	}
	return b.String()
}

func linkageOf(extern, visible, weak bool) string {
	s := ""
	for _, l := range []struct {
		is   bool
		text string
	}{{extern, ".extern "}, {visible, ".visible "}, {weak, ".weak "}} {
		if l.is {
			s += l.text
		}
	}
	return s
}

func declaration(v *Var) string {
	s := "." + string(v.Space)
	if v.Align > 0 {
		s += fmt.Sprintf(" .align %d", v.Align)
	}
	if v.Vector > 1 {
		s += fmt.Sprintf(" .v%d", v.Vector)
	}
	s += " ." + v.Type + " " + v.Name
	if v.Count > 0 {
		s += fmt.Sprintf("<%d>", v.Count)
	}
	for _, d := range v.Dims {
		if d < 0 {
			s += "[]"
		} else {
			s += fmt.Sprintf("[%d]", d)
		}
	}
	if v.Init != nil {
		shape := v.Dims
		if v.Vector > 1 {
			shape = append(append([]int{}, shape...), v.Vector)
		}
		rest := v.Init
		s += " = " + values(v, shape, &rest)
	}
	return s
}

func values(v *Var, shape []int, rest *[]Init) string {
	if len(shape) == 0 {
		i := (*rest)[0]
		*rest = (*rest)[1:]
		switch {
		case i.Generic:
			return plus("generic("+i.Symbol+")", i.Offset)
		case i.Symbol != "":
			return plus(i.Symbol, i.Offset)
		case v.Type == "f32":
			return fmt.Sprintf("0f%08X", i.Bits)
		case v.Type == "f64":
			return fmt.Sprintf("0d%016X", i.Bits)
		}
		return fmt.Sprint(int64(i.Bits))
	}
	var row []string
	for n := 0; n < shape[0] && len(*rest) > 0; n++ {
		row = append(row, values(v, shape[1:], rest))
	}
	return "{" + strings.Join(row, ", ") + "}"
}

func printFunc(b *strings.Builder, f *Func) {
	b.WriteString(linkageOf(f.Extern, f.Visible, f.Weak))
	if f.Entry {
		b.WriteString(".entry ")
	} else {
		b.WriteString(".func ")
	}
	b.WriteString(signature(f, f.Name))
	for _, d := range []struct {
		name string
		n    [3]int
	}{{".maxntid", f.MaxThreads}, {".reqntid", f.ReqThreads}} {
		if d.n != [3]int{} {
			fmt.Fprintf(b, "\n%s %d, %d, %d", d.name, d.n[0], d.n[1], d.n[2])
		}
	}
	if f.MinBlocks > 0 {
		fmt.Fprintf(b, "\n.minnctapersm %d", f.MinBlocks)
	}
	if f.MaxRegs > 0 {
		fmt.Fprintf(b, "\n.maxnreg %d", f.MaxRegs)
	}
	if f.NoReturn {
		b.WriteString("\n.noreturn")
	}
	if f.Declared {
		b.WriteString(";\n")
		return
	}
	b.WriteString("\n{\n")
	for _, v := range f.Vars {
		b.WriteString("\t" + declaration(v) + ";\n")
	}
	for _, name := range slices.Sorted(maps.Keys(f.Targets)) {
		fmt.Fprintf(b, "%s: .branchtargets %s;\n", name, strings.Join(f.Targets[name], ", "))
	}
	for _, name := range slices.Sorted(maps.Keys(f.Prototypes)) {
		fmt.Fprintf(b, "%s: .callprototype %s;\n", name, signature(f.Prototypes[name], "_"))
	}
	at := map[int][]string{}
	for label, i := range f.Labels {
		at[i] = append(at[i], label)
	}
	for i := 0; i <= len(f.Body); i++ {
		sort.Strings(at[i])
		for _, label := range at[i] {
			b.WriteString(label + ":\n")
		}
		if i < len(f.Body) {
			b.WriteString("\t" + f.Body[i].String() + ";\n")
		}
	}
	b.WriteString("}\n")
}

func signature(f *Func, name string) string {
	list := func(vars []*Var) string {
		s := make([]string, len(vars))
		for i, v := range vars {
			s[i] = declaration(v)
		}
		return "(" + strings.Join(s, ", ") + ")"
	}
	s := ""
	if f.Results != nil {
		s = list(f.Results) + " "
	}
	return s + name + " " + list(f.Params)
}
