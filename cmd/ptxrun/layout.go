package main

import (
	"fmt"
	"strings"

	"bilevel/internal/ptx"
)

// layout packs an argument as C lays it out: each field at a multiple of its alignment, the size of a structure a
// multiple of the largest one. pointer gives the address of a buffer; where it is nil, pointers are zeros. fields lists
// the plain fields with their offsets, for messages.
func (a *argument) layout(pointer func(*argument) (uint64, error)) (data []byte, fields []string, err error) {
	switch {
	case a.fields != nil:
		for i := range a.fields {
			f := &a.fields[i]
			for len(data)%f.align != 0 {
				data = append(data, 0)
			}
			bytes, _, err := f.layout(pointer)
			if err != nil {
				return nil, nil, err
			}
			fields = append(fields, fmt.Sprintf("%s at %d", f.short(), len(data)))
			data = append(data, bytes...)
		}
		for len(data)%a.align != 0 {
			data = append(data, 0)
		}
		return data, fields, nil
	case a.bytes != nil:
		return a.bytes, nil, nil
	}
	addr := uint64(0)
	if pointer != nil {
		if addr, err = pointer(a); err != nil {
			return nil, nil, err
		}
	}
	return bytesOf(addr, 64), nil, nil
}

// short is an argument's type in a list of fields.
func (a *argument) short() string {
	if a.bytes != nil || a.fields != nil {
		word, _, _ := strings.Cut(a.text, ":")
		return word
	}
	return "pointer"
}

// isPointer says that the argument is the address of a buffer.
func (a *argument) isPointer() bool { return a.bytes == nil && a.fields == nil }

// visit calls f with the argument and all fields in it.
func (a *argument) visit(f func(*argument)) {
	f(a)
	for i := range a.fields {
		a.fields[i].visit(f)
	}
}

// match holds the arguments against the kernel's parameters.
func match(k *ptx.Kernel, args []argument) error {
	if len(args) != len(k.Params) {
		var list []string
		for _, p := range k.Params {
			list = append(list, parameter(p))
		}
		return fmt.Errorf("%s takes %s (%s); -arg is given %s", k.Name, plural(len(k.Params), "argument"),
			strings.Join(list, ", "), plural(len(args), "time"))
	}
	for i := range args {
		a, p := &args[i], k.Params[i]
		data, fields, err := a.layout(nil)
		if err != nil {
			return err
		}
		if a.fields != nil && a.align < p.Align && len(data)%p.Align != 0 &&
			(len(data)+p.Align-1)/p.Align*p.Align == p.Size {
			continue // alignas on the whole structure: only its end differs
		}
		if len(data) == p.Size {
			continue
		}
		what := plural(len(data), "byte")
		switch {
		case a.fields != nil:
			what = fmt.Sprintf("a structure of %s (%s)", plural(len(data), "byte"), strings.Join(fields, ", "))
		case a.isPointer():
			what = "a pointer of 8 bytes"
		}
		return fmt.Errorf("-arg %s passes %s, but parameter %d of %s is %s", a.text, what, i+1, k.Name, parameter(p))
	}
	return nil
}

// parameter describes a kernel's parameter.
func parameter(p ptx.Param) string {
	if p.Type == "b8" {
		return fmt.Sprintf("a structure of %d bytes", p.Size)
	}
	return fmt.Sprintf("%s of %d bytes", p.Type, p.Size)
}
