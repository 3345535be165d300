package tensor

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"bilevel/device"
)

// Executor runs graphs on one device. It owns its variables and functions; the device belongs to the caller.
// It is not for use by several goroutines at once.
type Executor struct {
	dev   Device
	info  device.Info
	limit int64 // bytes, 0: what the device has
	spare int64 // bytes that are handed out without asking the device for what is free
	vars  []*Variable
	funcs []*Function
}

// NewExecutor makes an executor for a device.
func NewExecutor(dev Device) *Executor { return &Executor{dev: dev, info: dev.Info()} }

// Info describes the device.
func (ex *Executor) Info() device.Info { return ex.info }

// Sync waits for all runs and returns their error.
func (ex *Executor) Sync() error { return ex.dev.Sync() }

// Close frees every function and variable of the executor, not the device.
func (ex *Executor) Close() error {
	var errs []error
	for len(ex.funcs) > 0 {
		errs = append(errs, ex.funcs[0].Close())
	}
	for len(ex.vars) > 0 {
		ex.vars[0].Free()
	}
	return errors.Join(errs...)
}

// Update gives a variable the value of a node when a run ends.
type Update struct {
	Var   *Variable
	Value *Node
}

// Function is a compiled set of updates. All of them read the values from before the run and commit together.
type Function struct {
	ex     *Executor
	name   string
	prog   *device.Program
	runner device.Runner
	arenas []device.Buffer
	memory Memory
}

// Compile turns updates into a program for the device. build makes the graph; where it panics with a BuildError,
// Compile returns that error.
func (ex *Executor) Compile(name string, build func() []Update) (*Function, error) {
	var updates []Update
	var f *Function
	var err error
	caught := Catch(func() {
		updates = built(build)
		f, err = ex.compile(name, updates)
	})
	if err = errors.Join(caught, err); err != nil {
		return nil, fmt.Errorf("tensor: compile %s: %w", name, err)
	}
	return f, nil
}

// built is what build gives. Updates that are not whole, and nil nodes that build hands to operations, are wrong calls
// like others.
func built(build func() []Update) []Update {
	if build == nil {
		fail("build", "there is no function that gives the updates (nil)")
	}
	defer func() {
		if r := recover(); r != nil {
			panic(nilNode(r))
		}
	}()
	updates := build()
	for i, u := range updates {
		if u.Var == nil || u.Value == nil {
			fail("build", "update %d has no variable or no value", i)
		}
	}
	return updates
}

// passes bring a graph into the form that is fused; each is in a file of its own.
var passes = []func([]*Node) []*Node{centring, fold, cse, sparse, fold, cse, sinkViews, layout, cse}

func (ex *Executor) compile(name string, updates []Update) (*Function, error) {
	values, err := ex.checkUpdates(updates)
	if err != nil {
		return nil, err
	}
	steps, roots := lowered(values)
	p := plan(steps, updates, roots)
	if err := ex.fits(p); err != nil {
		return nil, err
	}
	return ex.build(name, p)
}

// lowered brings values into steps before memory is planned; roots own the memory that the steps store them in.
func lowered(values []*Node) (steps []step, roots []*Node) {
	roots = transform(values)
	return lower(fuse(roots), roots), roots
}

// transform runs the passes that rebuild the graph. It gives the nodes that own the memory in which the values are
// stored.
func transform(values []*Node) (roots []*Node) {
	for _, pass := range passes {
		values = pass(values)
	}
	for _, v := range values {
		r := refTo(v)
		if len(r.store.in) == 0 && r.store.op != opElem || !r.whole() { // leaves and windows are copied
			r = refTo(dense(v))
		}
		roots = append(roots, r.store)
	}
	return roots
}

func (ex *Executor) checkUpdates(updates []Update) ([]*Node, error) {
	values := make([]*Node, len(updates))
	seen := make(map[*Variable]bool)
	for i, u := range updates {
		switch {
		case u.Var.ex != ex:
			return nil, fmt.Errorf("variable %s belongs to another executor, or has been freed", u.Var.name)
		case u.Var.typ == Byte:
			return nil, fmt.Errorf("variable %s holds bytes, which the host writes and no function changes", u.Var.name)
		case seen[u.Var]:
			return nil, fmt.Errorf("variable %s is updated twice", u.Var.name)
		case !slices.Equal(u.Var.shape, u.Value.shape) || u.Var.typ != u.Value.typ:
			return nil, fmt.Errorf("variable %s is %s %v, its update %s %v",
				u.Var.name, u.Var.typ, u.Var.shape, u.Value.typ, u.Value.shape)
		}
		seen[u.Var] = true
		values[i] = u.Value
	}
	var err error
	walk(values, func(n *Node) {
		switch {
		case n.op == opVar && n.v.ex != ex:
			err = fmt.Errorf("variable %s belongs to another executor, or has been freed", n.v.name)
		case n.op == opConst && ex.info.RealBits == 32 && math.IsInf(float64(float32(n.num)), 0) &&
			!math.IsInf(n.num, 0):
			err = fmt.Errorf("the constant %v is beyond float32, in which device %s computes: at most %.8g", n.num,
				ex.info.Name, math.MaxFloat32)
		}
	})
	return values, err
}

// build binds the plan to buffers and prepares it on the device.
func (ex *Executor) build(name string, p *planner) (_ *Function, err error) {
	f := &Function{ex: ex, name: name, prog: &device.Program{Name: name}, memory: ex.needs(p)}
	defer func() {
		if err != nil {
			f.free()
		}
	}()
	var arena [2]int
	for t, n := range p.size {
		arena[t] = -1
		if n == 0 {
			continue
		}
		b, err := ex.dev.Alloc(Type(t), n)
		if err != nil {
			return nil, fmt.Errorf("%d elements of intermediate values: %w", n, err)
		}
		f.arenas = append(f.arenas, b)
		arena[t] = f.bind(b)
		f.prog.Scratch = append(f.prog.Scratch, arena[t])
	}
	vars := make(map[*Variable]int)
	variable := func(v *Variable) (int, error) {
		if i, ok := vars[v]; ok {
			return i, nil
		}
		b, err := v.buffer()
		if err != nil {
			return 0, err
		}
		vars[v] = f.bind(b)
		return vars[v], nil
	}
	pool := newConstPool()
	locate := func(r ref) (device.View, error) {
		h, off := p.home(r.store)
		pl := p.places[h]
		switch {
		case h.op == opConst:
			return r.view(-1, pool.index(h.num)), nil
		case h.op == opVar:
			i, err := variable(h.v)
			return r.view(i, off), err
		case pl.v != nil:
			i, err := variable(pl.v)
			return r.view(i, off), err
		case h.Size() == 0 && arena[h.typ] < 0: // nothing to hold, but a view names a buffer
			b, err := ex.dev.Alloc(h.typ, 0)
			if err != nil {
				return device.View{}, err
			}
			f.arenas = append(f.arenas, b)
			arena[h.typ] = f.bind(b)
		}
		return r.view(arena[h.typ], off+pl.off), nil
	}
	for _, s := range p.steps {
		in := device.Instr{Op: s.op, Attr: s.attr}
		for _, refs := range []struct {
			from []ref
			to   *[]device.View
		}{{s.in, &in.In}, {s.out, &in.Out}} {
			for _, r := range refs.from {
				v, err := locate(r)
				if err != nil {
					return nil, err
				}
				*refs.to = append(*refs.to, v)
			}
		}
		f.prog.Code = append(f.prog.Code, in)
	}
	if err := f.bindConstants(pool); err != nil {
		return nil, err
	}
	if f.runner, err = ex.dev.Prepare(f.prog); err != nil {
		return nil, err
	}
	ex.funcs = append(ex.funcs, f)
	return f, nil
}

func (f *Function) bind(b device.Buffer) int {
	f.prog.Buffers = append(f.prog.Buffers, b)
	return len(f.prog.Buffers) - 1
}

// bytes is the memory of a buffer.
func (ex *Executor) bytes(b device.Buffer) int { return ex.bytesOf(b.Type(), b.Len()) }

// bytesOf is the memory of n elements.
func (ex *Executor) bytesOf(t Type, n int) int { return int(ex.info.ElementBytes(t)) * n }

func (f *Function) bindConstants(pool *constPool) error {
	if len(pool.values) == 0 {
		return nil
	}
	b, err := f.ex.dev.Alloc(Real, len(pool.values))
	if err != nil {
		return err
	}
	f.arenas = append(f.arenas, b)
	if err := f.ex.dev.Upload(b, 0, device.Float64s(pool.values)); err != nil {
		return err
	}
	i := f.bind(b)
	for _, in := range f.prog.Code {
		for _, views := range [2][]device.View{in.In, in.Out} {
			for k := range views {
				if views[k].Buf == -1 {
					views[k].Buf = i
				}
			}
		}
	}
	return nil
}

// Run executes the function n times in a row. It may return before the work is done; reading a variable waits.
func (f *Function) Run(n int) error {
	if f.runner == nil {
		return fmt.Errorf("tensor: %s has been closed", f.name)
	}
	if err := f.runner.Run(n); err != nil {
		return fmt.Errorf("tensor: run %s: %w", f.name, err)
	}
	return nil
}

// Name is the name given to Compile.
func (f *Function) Name() string { return f.name }

// Memory is what the function needs.
func (f *Function) Memory() Memory { return f.memory }

// Program is what the device runs, for inspection; it must not be changed.
func (f *Function) Program() *device.Program { return f.prog }

// Close frees what the function took. Variables stay.
func (f *Function) Close() error {
	if i := slices.Index(f.ex.funcs, f); i >= 0 {
		f.ex.funcs = slices.Delete(f.ex.funcs, i, i+1)
	}
	return f.free()
}

func (f *Function) free() error {
	var err error
	if f.runner != nil {
		err = f.runner.Close()
	}
	for _, b := range f.arenas {
		f.ex.dev.Free(b)
	}
	f.runner, f.arenas = nil, nil
	return err
}
