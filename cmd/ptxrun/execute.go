package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"bilevel/internal/nearest"
	"bilevel/internal/npy"
	"bilevel/internal/ptx"
	"bilevel/internal/ptx/syntax"
)

// execute runs the kernels and prints what the options ask for. It tells whether there were reports or unexpected
// results.
func execute(ctx context.Context, opt *options, stdout, stderr io.Writer) (faulty bool, err error) {
	text, err := os.ReadFile(opt.ptx)
	if err != nil {
		return false, err
	}
	module, err := ptx.Load(opt.ptx, string(text))
	if err != nil {
		return false, err
	}
	kernels, resources, err := lookup(module, opt)
	if err != nil {
		return false, err
	}
	buffers, err := newPool(opt)
	if err != nil {
		return false, err
	}
	subjects, err := buffers.subjects(opt.expected)
	if err != nil {
		return false, err
	}
	printed := stdout // what kernels print; beside an object of JSON it goes elsewhere
	if opt.json {
		printed = stderr
	}
	m := ptx.NewMachine(opt.checks.options(ptx.Options{Sanitize: opt.sanitize, Float: opt.float, Seed: opt.seed,
		Card: opt.card, Watchdog: opt.limit.instructions, Output: printed}))
	if err := buffers.load(m); err != nil {
		return false, err
	}
	for _, c := range opt.constants {
		if err := c.set(m, module, string(text)); err != nil {
			return false, fmt.Errorf("-const %s=%s: %w", c.name, c.path, err)
		}
	}
	var found findings
	finished := true
	for i := 0; i < len(opt.launches) && finished; i++ {
		var one finding
		if one, finished, err = opt.run(ctx, m, kernels[i], &opt.launches[i], buffers); err != nil {
			return false, err
		}
		if opt.counters && opt.card != nil {
			e := ptx.NewEstimate(*opt.card, one.Counters, resources[i], opt.launches[i].shared)
			one.Estimate = &e
		}
		faulty = faulty || opt.checks.faults(one.Reports) > 0
		found.launches = append(found.launches, one)
	}
	if finished {
		if err := buffers.read(m); err != nil {
			return false, err
		}
		for i, e := range opt.expected {
			different, err := compare(subjects[i], e.path, opt.rtol, opt.atol)
			if err != nil {
				return false, err
			}
			if different != nil {
				faulty = true
				found.mismatches = append(found.mismatches, *different)
			}
		}
		if err := ctx.Err(); err != nil {
			return false, context.Cause(ctx)
		}
		if err := buffers.store(); err != nil {
			return false, err
		}
	}
	return faulty, output(stdout, opt, found)
}

// lookup finds the kernels of the launches, and their resources where an estimate needs them, and checks the arguments.
func lookup(module *ptx.Module, opt *options) (kernels []*ptx.Kernel, resources []ptx.Resources, err error) {
	for i := range opt.launches {
		l := &opt.launches[i]
		k, err := find(module, l.entry)
		if err != nil {
			return nil, nil, err
		}
		if err := k.Err(); err != nil {
			return nil, nil, err
		}
		var r ptx.Resources
		if opt.resources != "" {
			if r, err = readResources(opt.resources, k.Name); err != nil {
				return nil, nil, err
			}
		}
		if err := match(k, l.args); err != nil {
			return nil, nil, err
		}
		kernels, resources = append(kernels, k), append(resources, r)
	}
	return kernels, resources, nil
}

// subjects finds the buffers of expectations.
func (p *pool) subjects(list []expectation) (subjects []*buffer, err error) {
	for _, e := range list {
		if _, err := os.Stat(e.path); err != nil {
			return nil, err
		}
		b, err := p.subject(e)
		if err != nil {
			return nil, err
		}
		subjects = append(subjects, b)
	}
	return subjects, nil
}

// run executes one launch as often as it says. finished is false for a kernel that could not go on.
func (opt *options) run(ctx context.Context, m *ptx.Machine, k *ptx.Kernel, l *launch, buffers *pool) (
	one finding, finished bool, err error) {
	values, err := buffers.values(k, l.args)
	if err != nil {
		return one, false, err
	}
	if opt.limit.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, opt.limit.duration, errOutOfTime)
		defer cancel()
	}
	one.Kernel, one.Result = k.Name, &ptx.Result{}
	for range l.repeat {
		result, err := m.Run(ctx, ptx.Launch{Kernel: k, Grid: l.grid, Block: l.block, Shared: l.shared,
			SharedLimit: l.shared, Args: values, Cooperative: l.cooperative || k.Cooperative})
		var fault *ptx.Fault
		switch {
		case errors.Is(err, errOutOfTime):
			fault = &ptx.Fault{Report: ptx.Report{Kind: ptx.Timeout, Kernel: k.Name, Count: 1,
				Message: fmt.Sprintf("the launch has not ended within %v", opt.limit.duration)}}
		case err != nil && !errors.As(err, &fault):
			return one, false, err
		}
		if result != nil {
			one.Reports, one.Counters = append(one.Reports, result.Reports...), result.Counters
		}
		if fault != nil && (result == nil || !opt.sanitize || fault.Report.Kind == ptx.Timeout &&
			opt.limit.duration > 0) {
			one.Reports = append(one.Reports, fault.Report)
		}
		if finished = fault == nil; !finished {
			break
		}
	}
	for i := range one.Reports {
		buffers.explain(&one.Reports[i])
	}
	return one, finished, nil
}

var errOutOfTime = errors.New("the time that --limit allows is over")

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
	return nil, fmt.Errorf("%s has no kernel %q%s (there are %s)", m.Name, name, nearest.Hint(name, names),
		strings.Join(names, ", "))
}

// set copies the constant's file into the module's variable.
func (c constant) set(m *ptx.Machine, module *ptx.Module, text string) error {
	a, err := npy.ReadRawFile(c.path)
	if err != nil {
		return err
	}
	addr, n, err := m.Symbol(module, c.name)
	if err != nil {
		return fmt.Errorf("%w%s", err, variables(module.Name, text, c.name))
	}
	if int64(len(a.Data)) != n {
		return fmt.Errorf("the file holds %d bytes of %s, but the variable has %d bytes", len(a.Data),
			typeName(a.Type), n)
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
