package device

import (
	"cmp"
	"fmt"

	"bilevel/internal/geometry"
)

// ConvShape is the geometry of a convolution, with its formula.
type ConvShape = geometry.Conv

// PoolShape is the geometry of the windows of a pool.
type PoolShape = geometry.Pool

func checkConv(in *Instr, p *Program) error {
	a, err := attrOf[ConvAttr](in)
	if err != nil {
		return err
	}
	if err := a.Shape.Check(); err != nil {
		return err
	}
	if a.Kind > ConvWeightGradient {
		return fmt.Errorf("unknown kind %d", a.Kind)
	}
	if len(in.In) < 2 || len(in.Out) != 1 {
		return fmt.Errorf("takes at least 2 inputs and 1 output, got %d and %d", len(in.In), len(in.Out))
	}
	shapes := [3][]int{a.Shape.Images(), a.Shape.Weights(), a.Shape.Result()}
	names := [3]string{"x", "w", "y"}
	slots := ConvSlots[a.Kind]
	out := in.Out[0]
	for i, v := range [3]View{in.In[0], in.In[1], out} {
		what := names[slots[i]]
		if err := cmp.Or(shape(what, v, shapes[slots[i]]...), p.typed(what, v, Real)); err != nil {
			return err
		}
	}
	return p.checkEpilogue(a.Epilogue, out, in.In[2:])
}

func checkPool(in *Instr, p *Program) error {
	a, err := attrOf[PoolAttr](in)
	if err != nil {
		return err
	}
	if err := a.Shape.Check(); err != nil {
		return err
	}
	if a.Kind > MaxPoolAdjoint {
		return fmt.Errorf("unknown kind %d", a.Kind)
	}
	images, result := a.Shape.Images(), a.Shape.Result()
	ins, out := [][]int{images}, result
	switch a.Kind {
	case AveragePoolAdjoint:
		ins, out = [][]int{result}, images
	case MaxPoolTangent:
		ins = [][]int{images, images}
	case MaxPoolAdjoint:
		ins, out = [][]int{images, result}, images
	}
	if err := count(in, len(ins)); err != nil {
		return err
	}
	for i, v := range in.In {
		what := fmt.Sprintf("input %d", i)
		if err := cmp.Or(shape(what, v, ins[i]...), p.typed(what, v, Real)); err != nil {
			return err
		}
	}
	return cmp.Or(shape("output", in.Out[0], out...), p.typed("output", in.Out[0], Real))
}
