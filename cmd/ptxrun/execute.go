package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"bilevel/internal/nearest"
	"bilevel/internal/npy"
	"bilevel/internal/ptx"
	"bilevel/internal/ptx/syntax"
)

// A buffer is an argument in the machine's memory.
type buffer struct {
	argument
	array *npy.Array // what the file holds, or will hold
	addr  uint64
}

// execute runs the kernel and prints what the options ask for. It tells whether there were reports.
func execute(ctx context.Context, opt *options, stdout io.Writer) (faulty bool, err error) {
	text, err := os.ReadFile(opt.ptx)
	if err != nil {
		return false, err
	}
	module, err := ptx.Load(opt.ptx, string(text))
	if err != nil {
		return false, err
	}
	kernel, err := find(module, opt.entry)
	if err != nil {
		return false, err
	}
	if err := kernel.Err(); err != nil {
		return false, err
	}
	var resources ptx.Resources
	if opt.resources != "" {
		if resources, err = readResources(opt.resources, kernel.Name); err != nil {
			return false, err
		}
	}
	if err := match(kernel, opt.args); err != nil {
		return false, err
	}
	if err := writable(opt.args); err != nil {
		return false, err
	}
	m := ptx.NewMachine(opt.checks.options(ptx.Options{Sanitize: opt.sanitize, Float: opt.float, Seed: opt.seed, Card: opt.card}))
	args, buffers, err := bind(m, opt.args)
	if err != nil {
		return false, err
	}
	for _, c := range opt.constants {
		if err := c.set(m, module, string(text)); err != nil {
			return false, fmt.Errorf("-const %s=%s: %w", c.name, c.path, err)
		}
	}
	result, err := m.Run(ctx, ptx.Launch{Kernel: kernel, Grid: opt.grid, Block: opt.block, Shared: opt.shared,
		SharedLimit: opt.shared, Args: args})
	var fault *ptx.Fault
	switch {
	case errors.As(err, &fault):
		if result == nil {
			result = &ptx.Result{}
		}
		result.Reports = append(result.Reports, fault.Report)
	case err != nil:
		return false, err
	default:
		if err := store(m, buffers); err != nil {
			return false, err
		}
	}
	found := findings{Result: result}
	if opt.counters && opt.card != nil {
		e := ptx.NewEstimate(*opt.card, result.Counters, resources, opt.shared)
		found.Estimate = &e
	}
	return opt.checks.faults(result.Reports) > 0, output(stdout, opt, found)
}

// readResources finds what ptxas -v has printed about a kernel in a file.
func readResources(path, kernel string) (ptx.Resources, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return ptx.Resources{}, err
	}
	r, ok := ptx.ParseResources(string(text))[kernel]
	if !ok || r.Registers == 0 {
		return r, fmt.Errorf("%s: no registers of kernel %s (want what ptxas -v prints)", path, kernel)
	}
	return r, nil
}

// find returns the kernel of that name.
func find(m *ptx.Module, name string) (*ptx.Kernel, error) {
	if k := m.Kernel(name); k != nil {
		return k, nil
	}
	var names []string
	for _, k := range m.Kernels() {
		names = append(names, k.Name)
	}
	if names == nil {
		return nil, fmt.Errorf("%s has no kernels", m.Name)
	}
	return nil, fmt.Errorf("%s has no kernel %q%s (there are %s)", m.Name, name, nearest.Hint(name, names), strings.Join(names, ", "))
}

// match holds the arguments against the kernel's parameters.
func match(k *ptx.Kernel, args []argument) error {
	if len(args) != len(k.Params) {
		var list []string
		for _, p := range k.Params {
			list = append(list, parameter(p))
		}
		return fmt.Errorf("%s takes %s (%s); -arg is given %s", k.Name, plural(len(k.Params), "argument"), strings.Join(list, ", "), plural(len(args), "time"))
	}
	for i, a := range args {
		n, what := 8, "a pointer of 8 bytes"
		if a.value != nil {
			n, what = len(a.value), fmt.Sprintf("%d bytes", len(a.value))
		}
		if p := k.Params[i]; n != p.Size {
			return fmt.Errorf("-arg %s passes %s, but parameter %d of %s is %s", a.text, what, i+1, k.Name, parameter(p))
		}
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

// writable refuses files that could not be written in the end, before the kernel runs.
func writable(args []argument) error {
	seen := map[string]bool{}
	for _, a := range args {
		if !a.writes {
			continue
		}
		if seen[a.path] {
			return fmt.Errorf("two arguments write %s", a.path)
		}
		seen[a.path] = true
		dir := filepath.Dir(a.path)
		if info, err := os.Stat(dir); err != nil {
			return err
		} else if !info.IsDir() {
			return fmt.Errorf("%s is no folder", dir)
		}
		if info, err := os.Stat(a.path); err == nil && !info.Mode().IsRegular() {
			return fmt.Errorf("%s is no regular file", a.path)
		}
	}
	return nil
}

// bind puts the arguments into the machine's memory. The first result is what the kernel is given.
func bind(m *ptx.Machine, args []argument) (values [][]byte, buffers []buffer, err error) {
	for _, a := range args {
		if a.value != nil {
			values = append(values, a.value)
			continue
		}
		b := buffer{argument: a}
		if a.reads {
			if b.array, err = npy.ReadFile(a.path); err != nil {
				return nil, nil, err
			}
		} else {
			b.array = &npy.Array{DType: a.dtype, Shape: a.shape, Data: make([]byte, size(a.dtype, a.shape))}
		}
		if b.addr, err = m.Alloc(int64(len(b.array.Data)), a.path); err != nil {
			return nil, nil, fmt.Errorf("-arg %s: %w", a.text, err)
		}
		if err := m.Write(b.addr, b.array.Data); err != nil {
			return nil, nil, fmt.Errorf("-arg %s: %w", a.text, err)
		}
		values = append(values, bytesOf(b.addr, 64))
		buffers = append(buffers, b)
	}
	return values, buffers, nil
}

// size returns the bytes of a shape.
func size(d npy.DType, shape []int) int {
	n := d.Size()
	for _, dim := range shape {
		n *= dim
	}
	return n
}

// set copies the constant's file into the module's variable.
func (c constant) set(m *ptx.Machine, module *ptx.Module, text string) error {
	a, err := npy.ReadFile(c.path)
	if err != nil {
		return err
	}
	addr, n, err := m.Symbol(module, c.name)
	if err != nil {
		return fmt.Errorf("%w%s", err, variables(module.Name, text, c.name))
	}
	if int64(len(a.Data)) != n {
		return fmt.Errorf("the file holds %d bytes of %v, but the variable has %d bytes", len(a.Data), a.DType, n)
	}
	return m.Write(addr, a.Data)
}

// variables is the end of a message about an unknown variable: the nearest, and what there is. Those with C++ names are
// not for the host to set: headers define many.
func variables(name, text, got string) string {
	tree, err := syntax.Parse(name, text)
	if err != nil {
		return ""
	}
	var names []string
	for _, v := range tree.Vars {
		if (v.Space == syntax.Const || v.Space == syntax.Global) && !strings.HasPrefix(v.Name, "_Z") {
			names = append(names, v.Name)
		}
	}
	if names == nil {
		return " (it has none)"
	}
	return fmt.Sprintf("%s (there are %s)", nearest.Hint(got, names), strings.Join(names, ", "))
}

// store reads back the buffers that the kernel may have written, all before the first file changes.
func store(m *ptx.Machine, buffers []buffer) error {
	for _, b := range buffers {
		if b.writes {
			if err := m.Read(b.addr, b.array.Data); err != nil {
				return err
			}
		}
	}
	for _, b := range buffers {
		if b.writes {
			if err := npy.WriteFile(b.path, b.array); err != nil {
				return err
			}
		}
	}
	return nil
}
