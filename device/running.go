package device

import (
	"fmt"
	"strings"
)

// CheckPrepare says why a program cannot be prepared; nil if it can. Each device calls it in Prepare; own says why a buffer is
// not the device's own. A buffer may be nil where no instruction has a view of it.
func CheckPrepare(p *Program, own func(Buffer) error) error {
	if err := checkBuffers(p, own); err != nil {
		return err
	}
	return p.Validate()
}

// CheckRun says why a prepared program cannot run n times; nil if it can. Each device calls it in Run: the runner may be closed,
// and buffers freed since Prepare.
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
