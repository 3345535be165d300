package problem

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"bilevel/internal/nearest"
	"bilevel/tensor"
)

// Rows are a level's data: arrays with one entry per row, by name. All have the same number of rows.
type Rows map[string]Array

// Array is one array of data: numbers on the host that Bind uploads, or a node that is on the device already.
type Array struct {
	row   []int // shape of a row
	f32   []float32
	f64   []float64
	i32   []int32
	node  *tensor.Node
	count int

	absent bool // On was given no node
}

// Reals are real numbers, row after row; a row has the given shape, one number where none is given. The slice is not
// copied before Bind.
func Reals[T float32 | float64](values []T, row ...int) Array {
	a := Array{row: row}
	switch v := any(values).(type) {
	case []float32:
		a.f32 = v
	case []float64:
		a.f64 = v
	}
	a.count = rowsOf(len(values), row)
	return a
}

// Ints are whole numbers, such as labels or indices, row after row.
func Ints(values []int32, row ...int) Array {
	return Array{row: row, i32: values, count: rowsOf(len(values), row)}
}

// On is data that is on the device already: a node [n, …], usually of a Variable of the executor that the problem is
// bound to.
func On(n *tensor.Node) Array {
	if n == nil {
		return Array{absent: true}
	}
	if len(n.Shape()) == 0 {
		return Array{node: n, count: -1}
	}
	return Array{node: n, row: n.Shape()[1:], count: n.Shape()[0]}
}

// rowsOf is the number of rows in so many elements; -1 where it is not whole.
func rowsOf(elements int, row []int) int {
	size := 1
	for _, d := range row {
		if d < 1 {
			return -1
		}
		size *= d
	}
	if elements%size != 0 {
		return -1
	}
	return elements / size
}

// Row is the shape of one row.
func (a Array) Row() []int { return a.row }

// Count is the number of rows, 0 where there is no data.
func (r Rows) Count() int {
	for _, a := range r {
		return a.count
	}
	return 0
}

// names lists the arrays in a fixed order.
func (r Rows) names() []string { return slices.Sorted(maps.Keys(r)) }

func (r Rows) check() error {
	count := -1
	for _, name := range r.names() {
		a := r[name]
		switch {
		case a.absent:
			return fmt.Errorf("%q is no node (nil)", name)
		case a.node != nil && a.count < 0:
			return fmt.Errorf("%q is one number on the device; wants rows", name)
		case a.count < 0:
			return fmt.Errorf("%q: %d elements are no whole number of rows of shape %v", name,
				len(a.f32)+len(a.f64)+len(a.i32), a.row)
		case a.count == 0:
			return fmt.Errorf("%q has no rows", name)
		case count >= 0 && a.count != count:
			return fmt.Errorf("%q has %d rows, %q has %d", name, a.count, r.names()[0], count)
		}
		count = a.count
	}
	return nil
}

// upload makes a variable of the array, or gives the node that it is.
func (a Array) upload(sc *tensor.Scope, name string) (*tensor.Node, error) {
	if a.node != nil {
		return a.node, nil
	}
	shape := append([]int{a.count}, a.row...)
	if a.i32 != nil {
		v := sc.Variable(name, tensor.Int, shape...)
		return v.Node(), v.WriteInts(a.i32)
	}
	v := sc.Variable(name, tensor.Real, shape...)
	if a.f32 != nil {
		return v.Node(), v.Write32(a.f32)
	}
	return v.Node(), v.Write(a.f64)
}

// Batch is the rows of a level's data that an objective sees: a minibatch, or all rows in order.
type Batch struct {
	Index *tensor.Node // Int [Rows]; nil: all rows
	Rows  int
	Slot  *tensor.Node // Int scalar: the number of a fixed minibatch, see Fixed; nil elsewhere

	tables map[string]*tensor.Node
	random func() *Random // nil: the batch was not drawn in an iteration
}

// Drawn is the batch with random numbers of its own; every call of random must begin them anew.
func (b Batch) Drawn(random func() *Random) Batch {
	b.random = random
	return b
}

// Random draws numbers that belong to the minibatch, for objectives that change its rows at random, such as the
// augmentation of images. It begins anew whenever it is asked for, so that objectives at several points see the same
// rows. It is nil for batches that no iteration draws: all rows, and rows that are evaluated stay as they are.
func (b Batch) Random() *Random {
	if b.random == nil {
		return nil
	}
	return b.random()
}

// Of picks the batch's rows from an array [n, …], as numbers where it is of bytes.
func (b Batch) Of(table *tensor.Node) *tensor.Node {
	if b.Index == nil && table.Type() == tensor.Byte {
		return table.ToReal()
	}
	if b.Index == nil {
		return table
	}
	return tensor.Gather(table, b.Index)
}

// Get is the batch's rows [Rows, …] of the data called name.
func (b Batch) Get(name string) *tensor.Node { return b.Of(b.Table(name)) }

// Table is all of the data called name, [n, …], of which Index picks the batch's rows.
func (b Batch) Table(name string) *tensor.Node {
	table, ok := b.tables[name]
	if !ok {
		names := slices.Sorted(maps.Keys(b.tables))
		if len(names) == 0 {
			tensor.Fail("Batch.Get", "the level has no rows called %q: it has no data at all", name)
		}
		tensor.Fail("Batch.Get", "the level has no rows called %q (there are: %s)%s",
			name, strings.Join(names, ", "), nearest.Hint(name, names))
	}
	return table
}
