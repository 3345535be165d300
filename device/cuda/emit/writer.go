// Package emit writes PTX text for fused elementwise work: the kernel of a Map, the kernels of a Reduce, and epilogues
// in compiled kernels, from their expressions. Shapes and strides are part of the text, addresses are its parameters.
// It also joins kernels, emitted and compiled, in one (Joint).
//
// # Arithmetic
//
// Every float instruction names its rounding (.rn), so that ptxas contracts nothing, and none is approximate: the
// functions of math.go are polynomials. A text therefore gives the same bits on every card, and on the simulator in
// every mode.
package emit

import (
	"crypto/sha256"
	"fmt"
	"strings"

	"bilevel/internal/expr"
	"bilevel/kernels"
)

// Program is a plan with the texts of those of its modules that were made for it. The operands of a Map and a Reduce
// are the inputs and then the outputs.
type Program struct {
	kernels.Plan
	Text map[string]string // by kernels.Launch.Module
}

// Array says how an operand lies in memory: element (i0, i1, …) is at Off + Σ i·Strides, in elements of four bytes from
// an address that is a multiple of 16.
type Array struct {
	Type    expr.Type
	Off     int
	Strides []int
}

// block is the number of threads of a block in all emitted kernels.
const block = 256

// A writer collects the body of a kernel, or of a scope in one. Registers are used once: f is .f32, r .b32, d .b64, p
// .pred.
type writer struct {
	body   strings.Builder
	prefix string   // of registers
	params []string // names
	count  map[byte]int
	table  bool // the digits of 2/π are used
}

func newWriter() *writer { return &writer{count: map[byte]int{}} }

// reg names a new register of a class.
func (w *writer) reg(class byte) string {
	w.count[class]++
	return fmt.Sprintf("%%%s%c%d", w.prefix, class, w.count[class])
}

// into writes an instruction.
func (w *writer) into(op string, args ...string) {
	fmt.Fprintf(&w.body, "\t%s %s;\n", op, strings.Join(args, ", "))
}

// op writes an instruction whose result goes to a new register of a class.
func (w *writer) op(class byte, op string, args ...string) string {
	d := w.reg(class)
	w.into(op, append([]string{d}, args...)...)
	return d
}

func (w *writer) f(op string, args ...string) string { return w.op('f', op, args...) }
func (w *writer) r(op string, args ...string) string { return w.op('r', op, args...) }
func (w *writer) p(op string, args ...string) string { return w.op('p', op, args...) }

// when writes an instruction guarded by a predicate, or by "!" and one.
func (w *writer) when(p, op string, args ...string) { w.into("@"+p+" "+op, args...) }

func (w *writer) label(name string) { fmt.Fprintf(&w.body, "%s:\n", name) }

// note writes a comment line.
func (w *writer) note(format string, args ...any) { fmt.Fprintf(&w.body, "\t// "+format+"\n", args...) }

// pointer adds a parameter and loads it.
func (w *writer) pointer(name string) string {
	w.params = append(w.params, name)
	d := w.op('d', "ld.param.u64", "["+name+"]")
	return w.op('d', "cvta.to.global.u64", d)
}

// registers declares those that are used.
func (w *writer) registers() string {
	var b strings.Builder
	for _, class := range []struct {
		letter byte
		typ    string
	}{{'p', "pred"}, {'f', "f32"}, {'r', "b32"}, {'d', "b64"}} {
		if n := w.count[class.letter]; n > 0 {
			fmt.Fprintf(&b, "\t.reg .%s %%%s%c<%d>;\n", class.typ, w.prefix, class.letter, n+1)
		}
	}
	return b.String()
}

// target: PTX ISA 8.2 is that of CUDA 12.2, compute_80 the oldest architecture that the kernels support.
const header = ".version 8.2\n.target sm_80\n.address_size 64\n\n"

// finish gives the module's text and the name of its kernel: what it does and a hash of the text, by which profilers
// tell kernels apart. shared is static shared memory in floats.
func (w *writer) finish(what string, shared int) (entry, text string) {
	var b strings.Builder
	for i, p := range w.params {
		if i > 0 {
			b.WriteString(",\n")
		}
		b.WriteString("\t.param .u64 " + p)
	}
	fmt.Fprintf(&b, "\n)\n.maxntid %d, 1, 1\n{\n", block)
	b.WriteString(w.registers())
	if shared > 0 {
		fmt.Fprintf(&b, "\t.shared .align 16 .b8 parts[%d];\n", 4*shared)
	}
	b.WriteString("\n" + w.body.String() + "\tret;\n}\n")
	entry = fmt.Sprintf("%s_%.4x", what, sha256.Sum256([]byte(b.String())))
	head := header
	if w.table {
		head += digits
	}
	return entry, head + ".visible .entry " + entry + "(\n" + b.String()
}
