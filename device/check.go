package device

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"bilevel/internal/expr"
	"bilevel/internal/geometry"
)

// The shape rules of the op table. Views are already known to lie inside their buffers.

// count checks an operation that has one output.
func count(in *Instr, ins int) error {
	if len(in.In) != ins || len(in.Out) != 1 {
		return fmt.Errorf("takes %d inputs and 1 output, got %d and %d", ins, len(in.In), len(in.Out))
	}
	return nil
}

func shape(what string, v View, want ...int) error {
	if !slices.Equal(v.Shape, want) {
		return fmt.Errorf("%s has shape %v, wants %v", what, v.Shape, want)
	}
	return nil
}

func (p *Program) typed(what string, v View, want Type) error {
	if got := p.Type(v); got != want {
		return fmt.Errorf("%s is %s, wants %s", what, got, want)
	}
	return nil
}

func rank(what string, v View, want int) error {
	if len(v.Shape) != want {
		return fmt.Errorf("%s has shape %v, wants rank %d", what, v.Shape, want)
	}
	return nil
}

func attrOf[A Attr](in *Instr) (A, error) {
	a, ok := in.Attr.(A)
	if !ok {
		return a, fmt.Errorf("attribute is %T, wants %T", in.Attr, a)
	}
	return a, nil
}

// checkExpr checks an expression over the points of a shape: every in and every whole out has that shape.
func (p *Program) checkExpr(e *expr.Expr, space []int, ins, outs []View) error {
	if e == nil {
		return fmt.Errorf("no expression")
	}
	if _, err := geometry.Size(space); err != nil {
		return err
	}
	types := make([]Type, len(ins))
	for i, v := range ins {
		if types[i] = p.Type(v); types[i] == Byte {
			return fmt.Errorf("input %d is Byte, which only Gather reads", i)
		}
		if err := shape(fmt.Sprintf("input %d", i), v, space...); err != nil {
			return err
		}
	}
	values, err := e.Types(types, len(space))
	if err != nil {
		return err
	}
	if len(e.Outs) != len(outs) {
		return fmt.Errorf("the expression has %d results for %d outputs", len(e.Outs), len(outs))
	}
	for i, o := range outs {
		if err := p.typed(fmt.Sprintf("output %d", i), o, values[e.Outs[i]]); err != nil {
			return err
		}
	}
	return nil
}

func checkMap(in *Instr, p *Program) error {
	a, err := attrOf[MapAttr](in)
	if err != nil {
		return err
	}
	if err := p.checkExpr(a.Expr, a.Shape, in.In, in.Out); err != nil {
		return err
	}
	for i, o := range in.Out {
		if err := shape(fmt.Sprintf("output %d", i), o, a.Shape...); err != nil {
			return err
		}
	}
	return nil
}

func checkReduce(in *Instr, p *Program) error {
	a, err := attrOf[ReduceAttr](in)
	if err != nil {
		return err
	}
	if err := p.checkExpr(a.Expr, a.Shape, in.In, in.Out); err != nil {
		return err
	}
	if len(a.Kinds) == 0 || len(a.Kinds) > len(in.Out) {
		return fmt.Errorf("%d reductions for %d outputs", len(a.Kinds), len(in.Out))
	}
	for _, k := range a.Kinds {
		if k > Maximum {
			return fmt.Errorf("unknown reduction %d", k)
		}
	}
	reduced := slices.Clone(a.Shape)
	for i, axis := range a.Axes {
		if axis < 0 || axis >= len(a.Shape) || i > 0 && axis <= a.Axes[i-1] {
			return fmt.Errorf("axes %v of a space of rank %d", a.Axes, len(a.Shape))
		}
		reduced[axis] = 1
	}
	for i, o := range in.Out {
		want := a.Shape
		if i < len(a.Kinds) {
			want = reduced
			if err := p.typed("a reduced output", o, Real); err != nil {
				return err
			}
		}
		if err := shape(fmt.Sprintf("output %d", i), o, want...); err != nil {
			return err
		}
	}
	return nil
}

func checkGemm(in *Instr, p *Program) error {
	a, err := attrOf[GemmAttr](in)
	if err != nil {
		return err
	}
	if len(in.In) < 2 || len(in.Out) != 1 {
		return fmt.Errorf("takes at least 2 inputs and 1 output, got %d and %d", len(in.In), len(in.Out))
	}
	A, B, out := in.In[0], in.In[1], in.Out[0]
	if err := cmp.Or(rank("A", A, 3), rank("B", B, 3)); err != nil {
		return err
	}
	if A.Shape[0] != B.Shape[0] || A.Shape[2] != B.Shape[1] {
		return fmt.Errorf("operands %v and %v do not fit", A.Shape, B.Shape)
	}
	if err := shape("output", out, A.Shape[0], A.Shape[1], B.Shape[2]); err != nil {
		return err
	}
	for i, v := range append(slices.Clone(in.In), out) {
		if err := p.typed(fmt.Sprintf("operand %d", i), v, Real); err != nil {
			return err
		}
	}
	extras := in.In[2:]
	for _, m := range []struct {
		on bool
		of View
	}{{a.MaskA, A}, {a.MaskB, B}} {
		if !m.on {
			continue
		}
		if len(extras) == 0 {
			return fmt.Errorf("a mask is missing")
		}
		if err := shape("mask", extras[0], m.of.Shape...); err != nil {
			return err
		}
		extras = extras[1:]
	}
	return p.checkEpilogue(a.Epilogue, out, extras)
}

// checkEpilogue checks an epilogue over the points of an output: every extra input has its shape.
func (p *Program) checkEpilogue(e *expr.Expr, out View, extras []View) error {
	if e == nil {
		if len(extras) != 0 {
			return fmt.Errorf("%d extra inputs without an epilogue", len(extras))
		}
		return nil
	}
	return p.checkExpr(e, out.Shape, append([]View{out}, extras...), []View{out})
}

func checkRowSoftmax(in *Instr, p *Program) error {
	a, err := attrOf[SoftmaxAttr](in)
	if err != nil {
		return err
	}
	if a.Kind > CrossEntropy {
		return fmt.Errorf("unknown kind %d", a.Kind)
	}
	ins := 1
	if a.Kind == CrossEntropy {
		ins = 2
	}
	if err := count(in, ins); err != nil {
		return err
	}
	z, out := in.In[0], in.Out[0]
	if err := cmp.Or(rank("input", z, 2), p.typed("input", z, Real), p.typed("output", out, Real)); err != nil {
		return err
	}
	if a.Kind == CrossEntropy {
		return cmp.Or(
			shape("labels", in.In[1], z.Shape[0]), p.typed("labels", in.In[1], Int), shape("output", out, z.Shape[0]),
		)
	}
	return shape("output", out, z.Shape...)
}

func checkGather(in *Instr, p *Program) error {
	if err := count(in, 1+1); err != nil {
		return err
	}
	table, idx, out := in.In[0], in.In[1], in.Out[0]
	if err := cmp.Or(rank("table", table, 2), rank("index", idx, 1), p.typed("index", idx, Int)); err != nil {
		return err
	}
	rows := p.Type(table)
	if rows == Byte {
		rows = Real
	}
	return cmp.Or(shape("output", out, idx.Shape[0], table.Shape[1]), p.typed("output", out, rows))
}

func checkScatterAdd(in *Instr, p *Program) error {
	if err := count(in, 3); err != nil {
		return err
	}
	base, idx, src, out := in.In[0], in.In[1], in.In[2], in.Out[0]
	if err := cmp.Or(rank("base", base, 2), rank("index", idx, 1)); err != nil {
		return err
	}
	return cmp.Or(
		p.typed("base", base, Real), p.typed("index", idx, Int), p.typed("source", src, Real),
		p.typed("output", out, Real), shape("output", out, base.Shape...),
		shape("source", src, idx.Shape[0], base.Shape[1]),
	)
}

func checkOrder(in *Instr, p *Program) error {
	a, err := attrOf[OrderAttr](in)
	if err != nil {
		return err
	}
	if a.Kind > KthLargest {
		return fmt.Errorf("unknown kind %d", a.Kind)
	}
	if a.Kind == KthLargest {
		return checkKthLargest(in, p)
	}
	if err := count(in, 1); err != nil {
		return err
	}
	z, out := in.In[0], in.Out[0]
	if err := cmp.Or(rank("input", z, 2), p.typed("input", z, Real), p.typed("output", out, Int)); err != nil {
		return err
	}
	if z.Shape[1] == 0 {
		return fmt.Errorf("arg-max of rows without elements: %v", z.Shape)
	}
	return shape("output", out, z.Shape[0])
}

func checkKthLargest(in *Instr, p *Program) error {
	if len(in.In) < 2 || len(in.Out) != 1 {
		return fmt.Errorf("takes k, at least 1 input and 1 output, got %d and %d views", len(in.In), len(in.Out))
	}
	k, out := in.In[0], in.Out[0]
	if err := cmp.Or(
		shape("k", k, 1), p.typed("k", k, Int), shape("output", out, 1), p.typed("output", out, Int),
	); err != nil {
		return err
	}
	n := 0
	for i, v := range in.In[1:] {
		what := fmt.Sprintf("input %d", i+1)
		if err := cmp.Or(rank(what, v, 1), p.typed(what, v, Real)); err != nil {
			return err
		}
		if v.Shape[0] > math.MaxInt32-n {
			return fmt.Errorf("the inputs have 2^31 elements or more")
		}
		n += v.Shape[0]
	}
	if n == 0 {
		return fmt.Errorf("no elements to choose from")
	}
	return nil
}

func checkRandom(in *Instr, p *Program) error {
	a, err := attrOf[RandomAttr](in)
	if err != nil {
		return err
	}
	if err := count(in, 2); err != nil {
		return err
	}
	want := Int
	switch a.Kind {
	case Bits:
	case Integers:
		if a.N == 0 || a.N > 1<<31 {
			return fmt.Errorf("integers below %d", a.N)
		}
	case Uniform, Normal:
		want = Real
	default:
		return fmt.Errorf("unknown kind %d", a.Kind)
	}
	return cmp.Or(
		shape("seed", in.In[0], 2), p.typed("seed", in.In[0], Int),
		shape("step", in.In[1], 1), p.typed("step", in.In[1], Int),
		rank("output", in.Out[0], 1), p.typed("output", in.Out[0], want),
	)
}

func checkCopy(in *Instr, p *Program) error {
	if err := count(in, 1); err != nil {
		return err
	}
	if p.Type(in.In[0]) == Byte || p.Type(in.Out[0]) == Byte {
		return fmt.Errorf(
			"copies from %s to %s: only Gather reads Byte, and nothing writes it", p.Type(in.In[0]), p.Type(in.Out[0]),
		)
	}
	return shape("output", in.Out[0], in.In[0].Shape...)
}
