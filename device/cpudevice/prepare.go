package cpudevice

import (
	"bilevel/cpu"
	"bilevel/device"
)

// bound is an instruction of a program that Validate accepted and whose buffers are the device's own.
type bound struct {
	program *device.Program
	*device.Instr
}

// prepare says how each operation is made ready.
var prepare = [device.NumOp]func(*cpu.Pool, *bound) operation{
	device.Gemm:       prepareGemm,
	device.Map:        prepareMap,
	device.Reduce:     prepareReduce,
	device.RowSoftmax: prepareRowSoftmax,
	device.Conv:       prepareConv,
	device.Pool:       preparePool,
	device.Gather:     prepareGather,
	device.ScatterAdd: prepareScatterAdd,
	device.Order:      prepareOrder,
	device.Random:     prepareRandom,
	device.Copy:       prepareCopy,
}

// array is a view as package cpu takes it.
func (b *bound) array(v device.View) cpu.Array {
	buf := b.program.Buffers[v.Buf].(*buffer)
	return cpu.Array{Real: buf.real, Int: buf.ints, Byte: buf.bytes, Off: v.Off, Shape: v.Shape, Strides: v.Strides}
}

func (b *bound) arrays(views []device.View) []cpu.Array {
	list := make([]cpu.Array, len(views))
	for i, v := range views {
		list[i] = b.array(v)
	}
	return list
}

func (b *bound) in(i int) cpu.Array { return b.array(b.In[i]) }
func (b *bound) out() cpu.Array     { return b.array(b.Out[0]) } // of operations that have one

func prepareGemm(pool *cpu.Pool, b *bound) operation {
	a := b.Attr.(device.GemmAttr)
	extras := b.arrays(b.In[2:])
	var maskA, maskB *cpu.Array
	if a.MaskA {
		maskA, extras = &extras[0], extras[1:]
	}
	if a.MaskB {
		maskB, extras = &extras[0], extras[1:]
	}
	return cpu.NewGemm(pool, b.out(), b.in(0), b.in(1), maskA, maskB, a.Epilogue, extras)
}

func prepareMap(pool *cpu.Pool, b *bound) operation {
	a := b.Attr.(device.MapAttr)
	return cpu.NewMap(pool, a.Expr, a.Shape, b.arrays(b.In), b.arrays(b.Out))
}

func prepareReduce(pool *cpu.Pool, b *bound) operation {
	a := b.Attr.(device.ReduceAttr)
	return cpu.NewReduce(pool, a.Expr, a.Shape, a.Axes, a.Kinds, b.arrays(b.In), b.arrays(b.Out))
}

func prepareRowSoftmax(pool *cpu.Pool, b *bound) operation {
	kind := b.Attr.(device.SoftmaxAttr).Kind
	var labels cpu.Array
	if kind == device.CrossEntropy {
		labels = b.in(1)
	}
	return cpu.NewRowSoftmax(pool, kind, b.out(), b.in(0), labels)
}

func prepareConv(pool *cpu.Pool, b *bound) operation {
	a := b.Attr.(device.ConvAttr)
	return cpu.NewConv(
		pool, a.Kind, a.Shape, b.out(), b.in(0), b.in(1), a.Epilogue, b.arrays(b.In[a.Extras():]),
	)
}

func preparePool(pool *cpu.Pool, b *bound) operation {
	a := b.Attr.(device.PoolAttr)
	return cpu.NewPool2D(pool, a.Kind, a.Shape, b.out(), b.arrays(b.In))
}

func prepareGather(pool *cpu.Pool, b *bound) operation {
	return cpu.NewGather(pool, b.out(), b.in(0), b.in(1))
}

func prepareScatterAdd(pool *cpu.Pool, b *bound) operation {
	return cpu.NewScatterAdd(pool, b.out(), b.in(0), b.in(1), b.in(2))
}

func prepareOrder(pool *cpu.Pool, b *bound) operation {
	if b.Attr.(device.OrderAttr).Kind == device.KthLargest {
		return cpu.NewKthLargest(pool, b.out(), b.in(0), b.arrays(b.In[1:]))
	}
	return cpu.NewArgMax(pool, b.out(), b.in(0))
}

func prepareRandom(pool *cpu.Pool, b *bound) operation {
	a := b.Attr.(device.RandomAttr)
	return cpu.NewRandom(pool, a.Kind, a.Stream, a.N, b.out(), b.in(0), b.in(1))
}

func prepareCopy(pool *cpu.Pool, b *bound) operation {
	return cpu.NewCopy(pool, b.out(), b.in(0))
}
