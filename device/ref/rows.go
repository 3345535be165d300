package ref

import (
	"fmt"
	"math"
	"slices"

	"bilevel/device"
)

// gather is Gather: Out[j,:] = In0[idx[j],:].
func gather(m memory, in *device.Instr) error {
	table, idx, out := in.In[0], in.In[1], in.Out[0]
	for j := range idx.Shape[0] {
		r, err := m.row(table, idx, j)
		if err != nil {
			return err
		}
		for c := range table.Shape[1] {
			m.store(out, at(out, j, c), m.load(table, at(table, r, c)))
		}
	}
	return nil
}

// scatterAdd is ScatterAdd: Out = In0, then in the order of j: Out[idx[j],:] += In2[j,:].
func scatterAdd(m memory, in *device.Instr) error {
	base, idx, src, out := in.In[0], in.In[1], in.In[2], in.Out[0]
	walk(base.Shape, in.In[:1], in.Out, func(_, at []int) {
		m.store(out, out.Off+at[1], m.load(base, base.Off+at[0]))
	})
	for j := range idx.Shape[0] {
		r, err := m.row(base, idx, j)
		if err != nil {
			return err
		}
		for c := range base.Shape[1] {
			m[out.Buf].real[at(out, r, c)] += m[src.Buf].real[at(src, j, c)]
		}
	}
	return nil
}

// row is idx[j], if the table has such a row.
func (m memory) row(table, idx device.View, j int) (int, error) {
	r := int(m[idx.Buf].ints[at(idx, j)])
	if r < 0 || r >= table.Shape[0] {
		return 0, fmt.Errorf("index %d at place %d of a table of %d rows: %w", r, j, table.Shape[0], device.ErrIndex)
	}
	return r, nil
}

// orderStatistics is Order.
func orderStatistics(m memory, in *device.Instr) error {
	if in.Attr.(device.OrderAttr).Kind == device.KthLargest {
		return kthLargest(m, in)
	}
	return argMax(m, in)
}

// kthLargest is the other Order: all elements in one list, sorted. Equals stay in the order of their places.
func kthLargest(m memory, in *device.Instr) error {
	type element struct {
		value float64
		place int
	}
	var list []element
	for _, v := range in.In[1:] {
		for i := range v.Shape[0] {
			list = append(list, element{m[v.Buf].real[at(v, i)], len(list)})
		}
	}
	k := int(m[in.In[0].Buf].ints[at(in.In[0], 0)])
	if k < 1 || k > len(list) {
		return fmt.Errorf("k is %d, for %d elements: %w", k, len(list), device.ErrIndex)
	}
	slices.SortStableFunc(list, func(a, b element) int {
		switch {
		case a.value > b.value, math.IsNaN(a.value) && !math.IsNaN(b.value):
			return -1
		case a.value < b.value, math.IsNaN(b.value) && !math.IsNaN(a.value):
			return 1
		}
		return 0
	})
	m.store(in.Out[0], at(in.Out[0], 0), value{int: int32(list[k-1].place)})
	return nil
}

// argMax is one Order: the column of the first largest element of each row; the first NaN, where there is one.
func argMax(m memory, in *device.Instr) error {
	src, out := in.In[0], in.Out[0]
	for r := range src.Shape[0] {
		best, first := m[src.Buf].real[at(src, r, 0)], 0
		for c := 1; c < src.Shape[1] && !math.IsNaN(best); c++ {
			if x := m[src.Buf].real[at(src, r, c)]; x > best || math.IsNaN(x) {
				best, first = x, c
			}
		}
		m.store(out, at(out, r), value{int: int32(first)})
	}
	return nil
}
