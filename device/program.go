package device

import (
	"fmt"
	"slices"
	"strings"

	"bilevel/internal/geometry"
)

// View is a strided window into a buffer: element (i0, i1, …) is at Off + Σ i_a·Strides[a]. Strides are in elements;
// zero repeats, negative is not allowed. A shape with a zero has no elements.
type View struct {
	Buf     int // number in Program.Buffers
	Off     int
	Shape   []int
	Strides []int
}

// Size is the number of elements of a shape: 1 for a scalar.
func Size(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// RowMajor gives the strides of a dense array.
func RowMajor(shape []int) []int {
	strides := make([]int, len(shape))
	n := 1
	for i := len(shape) - 1; i >= 0; i-- {
		strides[i] = n
		n *= shape[i]
	}
	return strides
}

// Dense is the view of a whole dense array that starts at element off of buffer buf.
func Dense(buf, off int, shape ...int) View {
	return View{Buf: buf, Off: off, Shape: shape, Strides: RowMajor(shape)}
}

// Size is the number of elements the view shows, repeated ones counted.
func (v View) Size() int { return Size(v.Shape) }

// IsDense says whether the elements lie one after the other in row-major order.
func (v View) IsDense() bool {
	n := 1
	for i := len(v.Shape) - 1; i >= 0; i-- {
		if v.Shape[i] != 1 && v.Strides[i] != n {
			return v.Size() == 0
		}
		n *= v.Shape[i]
	}
	return true
}

// Same says whether both views show the same elements in the same order.
func (v View) Same(w View) bool {
	if v.Buf != w.Buf || v.Off != w.Off || !slices.Equal(v.Shape, w.Shape) {
		return false
	}
	for i, d := range v.Shape {
		if d > 1 && v.Strides[i] != w.Strides[i] {
			return false
		}
	}
	return true
}

// Overlaps says whether both views may show the same element: the spans from their first to their last element meet.
// They are views of one program.
func (v View) Overlaps(w View) bool {
	return v.Buf == w.Buf && v.Size() > 0 && w.Size() > 0 && v.Off <= w.last() && w.Off <= v.last()
}

// last is the place of the last element.
func (v View) last() int {
	at := v.Off
	for a, d := range v.Shape {
		at += (d - 1) * v.Strides[a]
	}
	return at
}

// Instr is one operation on views.
type Instr struct {
	Op   Op
	Attr Attr
	In   []View
	Out  []View
}

// Program is a straight list of instructions over buffers whose lifetimes are already planned.
// It is bound to its buffers; Prepare keeps a reference to it, so it must not change afterwards.
type Program struct {
	Name    string
	Buffers []Buffer
	Code    []Instr
	// Scratch lists buffers that hold nothing but intermediate values: each run writes an element before it reads it,
	// and nobody else reads it. A device may leave out what is only written there.
	Scratch []int
}

// Type is the element type of a view.
func (p *Program) Type(v View) Type { return p.Buffers[v.Buf].Type() }

// Validate checks every instruction against the op table and every view against its buffer.
// Each device calls it in Prepare; its errors are the caller's bugs, never a matter of the device.
func (p *Program) Validate() error {
	for _, b := range p.Scratch {
		if b < 0 || b >= len(p.Buffers) {
			return fmt.Errorf("device: program %q: scratch buffer %d, %d are there", p.Name, b, len(p.Buffers))
		}
	}
	for i := range p.Code {
		in := &p.Code[i]
		if err := p.validate(in); err != nil {
			return fmt.Errorf("device: program %q, instruction %d (%s): %w", p.Name, i, in.Op, err)
		}
	}
	return nil
}

func (p *Program) validate(in *Instr) error {
	if in.Op >= NumOp {
		return fmt.Errorf("unknown operation")
	}
	for _, views := range [2][]View{in.In, in.Out} {
		for _, v := range views {
			if err := p.checkView(v); err != nil {
				return err
			}
		}
	}
	for _, o := range in.Out {
		if o.Size() == 0 {
			continue // no elements, whatever the strides: RowMajor gives zeros before an empty axis
		}
		for a, d := range o.Shape {
			if d > 1 && o.Strides[a] == 0 {
				return fmt.Errorf("an output repeats elements: shape %v, strides %v", o.Shape, o.Strides)
			}
		}
	}
	if err := Ops[in.Op].Check(in, p); err != nil {
		return err
	}
	if Ops[in.Op].Dense {
		return checkDense(in)
	}
	return nil
}

// checkDense checks that an instruction's operands and outputs lie densely.
func checkDense(in *Instr) error {
	operands := in.In
	if a, ok := in.Attr.(EpilogueAttr); ok {
		operands = operands[:a.Extras()]
	}
	for _, views := range [2][]View{operands, in.Out} {
		for _, v := range views {
			if !v.IsDense() {
				return fmt.Errorf("wants dense arrays, not shape %v with strides %v", v.Shape, v.Strides)
			}
		}
	}
	return nil
}

func (p *Program) checkView(v View) error {
	if v.Buf < 0 || v.Buf >= len(p.Buffers) || p.Buffers[v.Buf] == nil {
		return fmt.Errorf("view of buffer %d, which is not there (%d are)", v.Buf, len(p.Buffers))
	}
	if len(v.Shape) != len(v.Strides) {
		return fmt.Errorf("shape %v has %d strides", v.Shape, len(v.Strides))
	}
	if _, err := geometry.Size(v.Shape); err != nil {
		return err
	}
	for _, stride := range v.Strides {
		if stride < 0 {
			return fmt.Errorf("negative strides %v", v.Strides)
		}
	}
	if n := p.Buffers[v.Buf].Len(); !v.inside(n) {
		return fmt.Errorf(
			"view from %d, shape %v, strides %v leaves its buffer of %d elements", v.Off, v.Shape, v.Strides, n,
		)
	}
	return nil
}

// inside says whether the view stays within n elements. It compares by division, so that no product overflows.
func (v View) inside(n int) bool {
	if v.Off < 0 || v.Off > n {
		return false
	}
	if v.Size() == 0 {
		return true
	}
	room := n - 1 - v.Off // how far the last element may lie from the first
	for a, d := range v.Shape {
		if stride := v.Strides[a]; stride > 0 && d > 1 {
			if d-1 > room/stride {
				return false
			}
			room -= (d - 1) * stride
		}
	}
	return room >= 0
}

// CheckPrepare says why a program cannot be prepared; nil if it can. Each device calls it in Prepare; own says why a
// buffer is not the device's own. A buffer may be nil where no instruction has a view of it.
func CheckPrepare(p *Program, own func(Buffer) error) error {
	if err := checkBuffers(p, own); err != nil {
		return err
	}
	return p.Validate()
}

// CheckLacks says which instruction of a valid program is of an operation that a device lacks (Info.Lacks), by an error
// that wraps ErrOperation; nil if none is.
func CheckLacks(p *Program, info Info) error {
	for i := range p.Code {
		if op := p.Code[i].Op; slices.Contains(info.Lacks, op) {
			return fmt.Errorf("device: %w", p.Explain(i, fmt.Errorf("%w: %s has no %s yet, devices cpu and ref have",
				ErrOperation, info.Name, op)))
		}
	}
	return nil
}

// CheckRun says why a prepared program cannot run n times; nil if it can. Each device calls it in Run: the runner may
// be closed, and buffers freed since Prepare.
func CheckRun(p *Program, n int, closed bool, own func(Buffer) error) error {
	switch {
	case closed:
		return fmt.Errorf("device: program %q was closed", p.Name)
	case n < 0:
		return fmt.Errorf("device: program %q cannot run %d times", p.Name, n)
	}
	return checkBuffers(p, own)
}

func checkBuffers(p *Program, own func(Buffer) error) error {
	for i, b := range p.Buffers {
		if b == nil {
			continue
		}
		if err := own(b); err != nil {
			return fmt.Errorf("program %q, buffer %d: %w", p.Name, i, err)
		}
	}
	return nil
}

// Explain says at which instruction of the program an error happened; nil stays nil.
func (p *Program) Explain(i int, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("program %q, %s: %w", p.Name, p.Instruction(i), err)
}

// Instruction names an instruction and the shapes of its views: "instruction 0 (Gather of [40 25], [40], [40 25])".
func (p *Program) Instruction(i int) string {
	in := &p.Code[i]
	var shapes []string
	for _, views := range [2][]View{in.In, in.Out} {
		for _, v := range views {
			shapes = append(shapes, fmt.Sprint(v.Shape))
		}
	}
	return fmt.Sprintf("instruction %d (%s of %s)", i, in.Op, strings.Join(shapes, ", "))
}
