package tensor

import (
	"fmt"
	"slices"

	"bilevel/device"
)

// Variable is an array that lives on a device between runs. Functions read it as a node and change it by updates;
// the host writes and reads it. Its memory is taken at the first use and starts at zero.
type Variable struct {
	ex    *Executor
	name  string
	typ   Type
	shape []int
	node  *Node
	buf   device.Buffer
}

// Variable makes a variable of this executor. Names serve messages and checkpoints; they need not be unique.
func (ex *Executor) Variable(name string, t Type, shape ...int) *Variable {
	checkShape("Variable", shape)
	v := &Variable{ex: ex, name: name, typ: t, shape: slices.Clone(shape)}
	v.node = &Node{op: opVar, typ: t, shape: v.shape, v: v}
	ex.vars = append(ex.vars, v)
	return v
}

// Node is the variable's value in a graph: what it holds when a run starts.
func (v *Variable) Node() *Node { return v.node }

// Name, Type, Shape and Size describe the variable.
func (v *Variable) Name() string { return v.name }
func (v *Variable) Type() Type   { return v.typ }
func (v *Variable) Shape() []int { return v.shape }
func (v *Variable) Size() int    { return device.Size(v.shape) }

// buffer takes the memory if that has not happened.
func (v *Variable) buffer() (device.Buffer, error) {
	if v.ex == nil {
		return nil, fmt.Errorf("tensor: variable %s has been freed", v.name)
	}
	if v.buf == nil {
		err := v.ex.admit(Memory{Variables: v.ex.bytesOf(v.typ, v.Size())})
		var b device.Buffer
		if err == nil {
			b, err = v.ex.dev.Alloc(v.typ, v.Size())
		}
		if err != nil {
			return nil, fmt.Errorf("tensor: variable %s %v: %w", v.name, v.shape, err)
		}
		v.buf = b
	}
	return v.buf, nil
}

// Free gives the memory back. Functions that use the variable must not run any more.
func (v *Variable) Free() {
	if v.ex == nil {
		return
	}
	v.ex.dev.Free(v.buf)
	if i := slices.Index(v.ex.vars, v); i >= 0 {
		v.ex.vars = slices.Delete(v.ex.vars, i, i+1)
	}
	v.ex, v.buf = nil, nil
}

func (v *Variable) transfer(verb string, h device.HostSlice, do func(device.Buffer) error) error {
	if h.Len() != v.Size() || v.Size() > 0 && h.Type() != v.typ {
		return fmt.Errorf("tensor: %s %s: %d %s elements for %s %v", verb, v.name, h.Len(), h.Type(), v.typ, v.shape)
	}
	b, err := v.buffer()
	if err != nil {
		return err
	}
	if err := do(b); err != nil {
		return fmt.Errorf("tensor: %s %s: %w", verb, v.name, err)
	}
	return nil
}

func (v *Variable) upload(h device.HostSlice) error {
	return v.transfer("write", h, func(b device.Buffer) error { return v.ex.dev.Upload(b, 0, h) })
}

func (v *Variable) download(h device.HostSlice) error {
	return v.transfer("read", h, func(b device.Buffer) error { return v.ex.dev.Download(h, b, 0) })
}

// Write copies a host slice of the variable's size to the device, converting between float64 and float32.
func (v *Variable) Write(values []float64) error { return v.upload(device.Float64s(values)) }

// Write32 is Write from float32.
func (v *Variable) Write32(values []float32) error { return v.upload(device.Float32s(values)) }

// WriteInts is Write for Int variables.
func (v *Variable) WriteInts(values []int32) error { return v.upload(device.Int32s(values)) }

// WriteBytes is Write for Byte variables.
func (v *Variable) WriteBytes(values []byte) error { return v.upload(device.Bytes(values)) }

// Read copies the variable to the host, after all earlier runs have finished.
func (v *Variable) Read() ([]float64, error) {
	return read(v, func(out []float64) device.HostSlice { return device.Float64s(out) })
}

// read takes memory of the host only where the device has that of the variable.
func read[T any](v *Variable, into func([]T) device.HostSlice) ([]T, error) {
	if _, err := v.buffer(); err != nil {
		return nil, err
	}
	out := make([]T, v.Size())
	return out, v.download(into(out))
}

// Read32 is Read as float32: what the device holds, where it computes in float32.
func (v *Variable) Read32() ([]float32, error) {
	return read(v, func(out []float32) device.HostSlice { return device.Float32s(out) })
}

// RealBits is 32 or 64, as the device computes; 64 of a variable that has been freed.
func (v *Variable) RealBits() int {
	if v.ex == nil {
		return 64
	}
	return v.ex.info.RealBits
}

// ReadInto is Read into a slice of the variable's size.
func (v *Variable) ReadInto(dst []float64) error { return v.download(device.Float64s(dst)) }

// ReadInts is Read for Int variables.
func (v *Variable) ReadInts() ([]int32, error) {
	return read(v, func(out []int32) device.HostSlice { return device.Int32s(out) })
}

// ReadBytes is Read for Byte variables.
func (v *Variable) ReadBytes() ([]byte, error) {
	return read(v, func(out []byte) device.HostSlice { return device.Bytes(out) })
}

// Number reads a variable of one element.
func (v *Variable) Number() (float64, error) {
	var out [1]float64
	err := v.download(device.Float64s(out[:]))
	return out[0], err
}

// CopyFrom copies another variable of the same type and size, of the same executor, on the device and after all
// earlier runs: no host memory is involved.
func (v *Variable) CopyFrom(src *Variable) error {
	switch {
	case src == nil:
		return fmt.Errorf("tensor: copy to %s: there is no variable to copy from (nil)", v.name)
	case src == v:
		return fmt.Errorf("tensor: copy %s to itself: wants two variables", v.name)
	case v.ex == nil || src.ex != v.ex:
		return fmt.Errorf("tensor: copy %s to %s: they belong to different executors, or one has been freed",
			src.name, v.name)
	case v.typ != src.typ || v.Size() != src.Size():
		return fmt.Errorf("tensor: copy %s, %s %v, to %s, %s %v: wants two variables of one type and size",
			src.name, src.typ, src.shape, v.name, v.typ, v.shape)
	}
	from, err := src.buffer()
	if err != nil {
		return err
	}
	to, err := v.buffer()
	if err != nil {
		return err
	}
	if err := v.ex.dev.Copy(to, 0, from, 0, v.Size()); err != nil {
		return fmt.Errorf("tensor: copy %s to %s: %w", src.name, v.name, err)
	}
	return nil
}

// peek looks at a variable of one Real, as it is now; late says that the look waits for no later work.
func (v *Variable) peek() (look func() (float64, error), late bool, err error) {
	b, err := v.buffer()
	if err != nil {
		return nil, false, err
	}
	p, late := v.ex.dev.(device.Peeker)
	if !late {
		return v.Number, false, nil
	}
	if look, err = p.Peek(b, 0); err != nil {
		err = fmt.Errorf("tensor: read %s: %w", v.name, err)
	}
	return look, true, err
}
