package cuda

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"bilevel/device"
	"bilevel/device/cuda/driver"
	"bilevel/device/cuda/emit"
	"bilevel/internal/expr"
	"bilevel/kernels"
)

// bound is an instruction of a program that Validate accepted and whose buffers are the device's own.
type bound struct {
	*runner
	number int // in the program
	*device.Instr
}

// step is a plan with the addresses of its operands, scratch memory aside.
type step struct {
	emit.Program
	operands []driver.Ptr
}

// plans says how each operation is done. An operation without a row is one that the device lacks: Prepare refuses it.
var plans = [device.NumOp]func(*bound) step{
	device.Gemm:       planGemm,
	device.Map:        planMap,
	device.Reduce:     planReduce,
	device.RowSoftmax: planRowSoftmax,
	device.Gather:     planGather,
	device.ScatterAdd: planScatterAdd,
	device.Order:      planOrder,
	device.Random:     planRandom,
	device.Copy:       planCopy,
}

// lacks lists the operations without a row in plans.
func lacks() (list []device.Op) {
	for op, plan := range plans {
		if plan == nil {
			list = append(list, device.Op(op))
		}
	}
	return list
}

// fault is the address of the instruction's fault word.
func (b *bound) fault() driver.Ptr {
	return b.faults.at + driver.Ptr(faultBytes*slices.Index(b.faults.codes, b.number))
}

// fits says whether compiled kernels can do the instruction: they count elements in 32 bits, and places from a view's
// first element on. Emitted ones have no such limit.
func (b *bound) fits() error {
	if b.Op == device.Map || b.Op == device.Reduce {
		return nil
	}
	for _, v := range slices.Concat(b.In, b.Out) {
		far, reach := 0, 0
		for a, n := range v.Shape {
			far = max(far, n, v.Strides[a])
			reach += (n - 1) * v.Strides[a]
		}
		if far = max(far, v.Size()); far > math.MaxInt32 {
			return fmt.Errorf(
				"%s: program %q, instruction %d: %s takes fewer than 2^31 elements, not shape %v with strides %v",
				b.device.name, b.program.Name, b.number, b.Op, v.Shape, v.Strides)
		}
		if v.Size() > 0 && reach > math.MaxUint32 {
			return fmt.Errorf(
				"%s: program %q, instruction %d: %s takes views whose elements lie within 2^32 places, not shape %v "+
					"with strides %v, which lies within %d: copy it to a buffer of its own first",
				b.device.name, b.program.Name, b.number, b.Op, v.Shape, v.Strides, reach+1)
		}
	}
	return nil
}

// operands are the addresses of the buffers' first elements.
func (b *bound) operands(views ...[]device.View) []driver.Ptr {
	var list []driver.Ptr
	for _, vs := range views {
		for _, v := range vs {
			list = append(list, b.program.Buffers[v.Buf].(*buffer).at)
		}
	}
	return list
}

// arrays gives views as package emit takes them.
func (b *bound) arrays(views []device.View) []emit.Array {
	list := make([]emit.Array, len(views))
	for i, v := range views {
		list[i] = emit.Array{Type: b.program.Type(v), Off: v.Off, Strides: v.Strides}
	}
	return list
}

func planMap(b *bound) step {
	a := b.Attr.(device.MapAttr)
	return b.mapped(a.Expr, a.Shape, b.In, b.Out)
}

func (b *bound) mapped(e *expr.Expr, shape []int, in, out []device.View) step {
	if device.Size(shape) == 0 {
		return step{}
	}
	return step{emit.Map(e, shape, b.arrays(in), b.arrays(out)), b.operands(in, out)}
}

func planReduce(b *bound) step {
	a := b.Attr.(device.ReduceAttr)
	if device.Size(b.Out[0].Shape) == 0 {
		return step{}
	}
	return step{emit.Reduce(a.Expr, a.Shape, a.Axes, a.Kinds, b.arrays(b.In), b.arrays(b.Out)), b.operands(b.In, b.Out)}
}

// compiled is a plan of package kernels, whose operands are the inputs, the outputs and the fault word.
func (b *bound) compiled(p kernels.Plan) step {
	operands := b.operands(b.In, b.Out)
	if slices.Contains(b.faults.codes, b.number) {
		operands = append(operands, b.fault())
	}
	return step{emit.Program{Plan: p}, operands}
}

// in, out and faulty name operands as package kernels does.
func (b *bound) in(i int) kernels.Strided { return strided(i, b.In[i]) }
func (b *bound) out() kernels.Strided     { return strided(len(b.In), b.Out[0]) }
func (b *bound) faulty() kernels.Operand  { return kernels.Operand{Number: len(b.In) + len(b.Out)} }

// strided is a view of up to three axes, as most kernels take it. The shape rules of their operations say that there
// are no more; a view of more axes goes through view.
func strided(number int, v device.View) kernels.Strided {
	s := kernels.Strided{Number: number, Off: v.Off}
	if len(v.Strides) > len(s.Strides) {
		panic(fmt.Sprintf("cuda: a view of shape %v for a kernel that takes %d axes", v.Shape, len(s.Strides)))
	}
	copy(s.Strides[:], v.Strides)
	return s
}

// view is a view of any number of axes.
func view(number int, v device.View) kernels.View {
	return kernels.View{Operand: kernels.Operand{Number: number, Off: v.Off}, Strides: v.Strides}
}

func planRowSoftmax(b *bound) step {
	z := b.In[0].Shape
	k := kernels.Softmax{Kind: b.Attr.(device.SoftmaxAttr).Kind, Rows: z[0], Cols: z[1], In: b.in(0), Out: b.out()}
	if k.Kind == device.CrossEntropy {
		k.Labels = b.in(1)
	}
	return b.compiled(k.Plan())
}

func planGather(b *bound) step {
	table := b.In[0].Shape
	return b.compiled(kernels.Gather{Rows: table[0], Cols: table[1], Count: b.In[1].Shape[0],
		Table: b.in(0), Index: b.in(1), Out: b.out(), Bytes: b.program.Type(b.In[0]) == device.Byte,
		Fault: b.faulty()}.Plan())
}

func planScatterAdd(b *bound) step {
	base := b.In[0].Shape
	k := kernels.ScatterAdd{Rows: base[0], Cols: base[1], Count: b.In[1].Shape[0],
		Base: b.in(0), Index: b.in(1), Source: b.in(2), Out: b.out(), Fault: b.faulty()}
	if b.In[0].Same(b.Out[0]) {
		k.Base = k.Out
	}
	return b.compiled(k.Plan())
}

func planRandom(b *bound) step {
	a := b.Attr.(device.RandomAttr)
	return b.compiled(kernels.Random{Kind: a.Kind, N: b.Out[0].Shape[0], Seed: b.in(0), Step: b.in(1), Out: b.out(),
		Stream: a.Stream, Below: a.N}.Plan())
}

func planCopy(b *bound) step {
	src, dst := b.In[0], b.Out[0]
	k := kernels.Copy{Shape: src.Shape, From: view(0, src), To: view(1, dst)}
	switch from, to := b.program.Type(src), b.program.Type(dst); {
	case from == to:
	case to == device.Real:
		k.Cast = kernels.ToReal
	default:
		k.Cast = kernels.ToInt
	}
	return b.compiled(k.Plan())
}

// planGemm is a product, with the epilogue in the kernels that store it. An epilogue that is too long for that
// (emit.Fits) is a Map over the product in place; where one of its extra inputs is the output itself, the product goes
// to scratch memory first.
func planGemm(b *bound) step {
	a := b.Attr.(device.GemmAttr)
	A, out, target := b.In[0], b.Out[0], len(b.In)
	if out.Size() == 0 {
		return step{}
	}
	g := kernels.Gemm{
		Batch: out.Shape[0], M: out.Shape[1], N: out.Shape[2], K: A.Shape[2], Processors: b.device.card.Processors,
		TensorCores: b.device.given.TensorCores,
		A:           b.in(0), B: b.in(1), Out: b.out(),
	}
	next := 2
	for _, mask := range []struct {
		on bool
		to **kernels.Strided
	}{{a.MaskA, &g.MaskA}, {a.MaskB, &g.MaskB}} {
		if mask.on {
			s := b.in(next)
			*mask.to = &s
			next++
		}
	}
	if a.Epilogue == nil {
		return b.compiled(g.Plan())
	}
	extras := b.In[next:]
	if emit.Fits(a.Epilogue) {
		list := make([]emit.Extra, len(extras))
		for i, x := range b.arrays(extras) {
			list[i] = emit.Extra{Array: x, Number: next + i}
		}
		return step{emit.Epilogue(a.Epilogue, [3]int(out.Shape), list, g.Plan()), b.operands(b.In, b.Out)}
	}
	inputs := append([]emit.Array{{Off: out.Off, Strides: out.Strides}}, b.arrays(extras)...)
	aside := slices.ContainsFunc(extras, func(x device.View) bool { return x.Same(out) })
	if aside {
		inputs[0] = emit.Array{Strides: device.RowMajor(out.Shape)}
		g.Out = kernels.Strided{Number: target, Strides: [3]int(inputs[0].Strides)}
	}
	plan := g.Plan()
	product := target // where it lies
	if aside {
		product = kernels.Scratch(len(plan.Workspace))
		plan.Workspace = append(plan.Workspace, out.Size()*wordBytes)
		renumber(plan, func(n int) int {
			if n == target {
				return product
			}
			return n
		})
	}
	after := emit.Map(a.Epilogue, out.Shape, inputs, b.arrays(b.Out))
	renumber(after.Plan, func(n int) int {
		switch {
		case n == 0:
			return product
		case n <= len(extras):
			return next + n - 1
		}
		return target
	})
	plan.Launches = append(plan.Launches, after.Launches...)
	return step{emit.Program{Plan: plan, Text: after.Text}, b.operands(b.In, b.Out)}
}

// renumber changes the operands of a plan.
func renumber(p kernels.Plan, to func(n int) int) {
	for _, l := range p.Launches {
		for i, arg := range l.Args {
			if o, ok := arg.(kernels.Operand); ok {
				l.Args[i] = kernels.Operand{Number: to(o.Number), Off: o.Off}
			}
		}
	}
}

// Prepare checks the program, loads its kernels and makes its graph.
func (d *Device) Prepare(p *device.Program) (device.Runner, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.ready(); err != nil {
		return nil, err
	}
	if err := device.CheckPrepare(p, d.ledger.Check); err != nil {
		return nil, err
	}
	if err := device.CheckLacks(p, device.Info{Name: d.name, Lacks: lacks()}); err != nil {
		return nil, err
	}
	r := &runner{device: d, program: p}
	if err := r.build(); err != nil {
		return nil, cmp.Or(err, r.release())
	}
	d.runners[r] = struct{}{}
	return r, nil
}
