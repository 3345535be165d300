package host

import (
	"slices"

	"bilevel/cpu"
	"bilevel/device"
)

// viewMinibatches lets products read the rows of a Gather in its table, where nobody else needs them copied together.
func (r *runner) viewMinibatches() {
	for i, op := range r.ops {
		gather, ok := op.(*cpu.Gather)
		if !ok || !slices.Contains(r.program.Scratch, r.program.Code[i].Out[0].Buf) {
			continue
		}
		if rows := gather.Rows(); rows != nil {
			if readers, ok := r.readers(i, rows); ok {
				r.ops[i] = rows
				for _, g := range readers {
					g.TakeRows(rows)
				}
			}
		}
	}
}

// readers are the products that read the result of Gather number i, or not ok where something else reads it or the
// table changes meanwhile.
func (r *runner) readers(i int, rows *cpu.Rows) (list []*cpu.Gemm, ok bool) {
	code := r.program.Code
	x, table := code[i].Out[0], r.program.Buffers[code[i].In[0].Buf]
	meets := func(v device.View) bool { return v.Overlaps(x) }
	for j := i + 1; j < len(code); j++ {
		if slices.ContainsFunc(code[j].In, meets) {
			g, ok := r.ops[j].(*cpu.Gemm)
			if !ok || !g.CanTakeRows(rows) {
				return nil, false
			}
			list = append(list, g)
		}
		if slices.ContainsFunc(code[j].Out, meets) {
			break // another value from here on
		}
		if slices.ContainsFunc(code[j].Out, func(v device.View) bool { return r.program.Buffers[v.Buf] == table }) {
			return nil, false
		}
	}
	return list, len(list) > 0
}
