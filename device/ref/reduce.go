package ref

import (
	"math"
	"slices"

	"bilevel/device"
)

// reduce is Reduce: for every point of the kept axes it collects the terms over the reduced axes, in row-major order,
// and combines them; results beyond the reduced ones are stored whole on the way.
func reduce(m memory, in *device.Instr) error {
	a := in.Attr.(device.ReduceAttr)

	// The space is the product of two: kept has extent 1 on the reduced axes, over has extent 1 on all others.
	kept, over := slices.Clone(a.Shape), slices.Clone(a.Shape)
	for axis := range a.Shape {
		if slices.Contains(a.Axes, axis) {
			kept[axis] = 1
		} else {
			over[axis] = 1
		}
	}

	vals := make([]value, len(a.Expr.Steps))
	idx := make([]int, len(a.Shape))
	terms := make([][]float64, len(a.Kinds))
	for k := range terms {
		terms[k] = make([]float64, 0, device.Size(over))
	}
	outs := len(in.In) // where the positions of the outputs begin
	inner, places := make([]int, len(a.Shape)), make([]int, len(in.In)+len(in.Out))

	walk(kept, in.In, in.Out, func(cell, base []int) {
		for k := range terms {
			terms[k] = terms[k][:0]
		}
		walkWith(inner, places, over, in.In, in.Out, func(point, at []int) {
			for axis := range idx {
				idx[axis] = cell[axis] + point[axis] // one of the two is zero
			}
			evaluate(a.Expr, vals, idx, func(k int) value { return m.load(in.In[k], in.In[k].Off+base[k]+at[k]) })
			for i, o := range in.Out {
				if x := vals[a.Expr.Outs[i]]; i < len(a.Kinds) {
					terms[i] = append(terms[i], x.real)
				} else {
					m.store(o, o.Off+base[outs+i]+at[outs+i], x)
				}
			}
		})
		for i, kind := range a.Kinds {
			m.store(in.Out[i], in.Out[i].Off+base[outs+i], value{real: combine(kind, terms[i])})
		}
	})
	return nil
}

// combine gives the sum or the maximum of the terms. No terms sum to 0, their maximum is -Inf; a NaN wins.
func combine(kind device.ReduceKind, terms []float64) float64 {
	if kind == device.Sum {
		return sum(terms)
	}
	most := math.Inf(-1)
	for _, x := range terms {
		most = max(most, x)
	}
	return most
}
