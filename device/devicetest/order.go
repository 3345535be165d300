package devicetest

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"bilevel/device"
	"bilevel/internal/expr"
)

// kthLargest makes the instruction; buffer 0 is k, buffers 1… the arrays, in layouts that take turns.
func (t *trial) kthLargest(k int, fill func() float64, sizes ...int) {
	in := []device.View{t.indices(offset, each([]int32{int32(k)}), 1)}
	for i, n := range sizes {
		in = append(in, t.input([]layout{dense, strided, offset}[i%3], fill, n))
	}
	t.add(device.Order, device.OrderAttr{Kind: device.KthLargest}, in, t.output(device.Int, offset, 1))
}

// kthLargestCases: sizes around those of blocks, several arrays, and for each kind of data the first, the last and a
// few k in between, so that every rule of the order decides somewhere. A k that is out of range is reported.
func kthLargestCases() []Case {
	var cases []Case
	add := func(name string, fill func(*trial) func() float64, k int, sizes ...int) {
		cases = append(
			cases,
			single(fmt.Sprintf("Order/kth/%s/%d", name, k), func(t *trial) { t.kthLargest(k, fill(t), sizes...) }),
		)
	}
	normal := func(t *trial) func() float64 { return t.normal }
	for _, n := range []int{1, 2, 31, 32, 33, 255, 256, 257, 1000, 2049, 10007} {
		for _, k := range slices.Compact([]int{1, (n + 2) / 3, n}) {
			add(fmt.Sprint(n), normal, k, n)
		}
	}
	for _, sizes := range [][]int{{5, 300}, {0, 7, 0}, {1, 1, 1, 1}, {3, 4099, 0, 517},
		{9, 8, 7, 6, 5, 4, 3, 2, 1, 40}} {
		for _, k := range []int{1, 2, 4, 7} {
			if n := sum(sizes); k <= n {
				add(fmt.Sprint(sizes), normal, n-k+1, sizes...)
				add(
					fmt.Sprint("ties", sizes),
					func(t *trial) func() float64 { return func() float64 { return float64(t.rng.IntN(2)) } },
					k,
					sizes...)
			}
		}
	}
	tiny := []float64{
		0, 0x1p-149, -0x1p-149, 0x1p-126, -0x1p-126, 0x1.fffffcp-127, math.Copysign(0, -1), -0x1.fffffcp-127,
	}
	for _, data := range []struct {
		name string
		list []float64
	}{{"edges", edges}, {"tiny", tiny}, {"equal", []float64{-2.5}}, {"zeros", []float64{math.Copysign(0, -1), 0}},
		{"nan", []float64{1, math.NaN(), 2}}} {
		for _, k := range []int{1, 2, 9, 30, 61, 77, 99, 100} {
			add(data.name, func(*trial) func() float64 { return each(data.list) }, k, 60, 40)
		}
	}
	add(
		"neighbours",
		func(t *trial) func() float64 { return func() float64 { return 1 + 0x1p-23*float64(t.rng.IntN(5000)) } }, 1234,
		3000,
	)
	cases = append(cases, single("Order/kth/repeated", func(t *trial) {
		in := []device.View{
			t.indices(dense, each([]int32{7}), 1), t.input(repeated(0), t.normal, 40), t.input(dense, t.normal, 3),
		}
		t.add(device.Order, device.OrderAttr{Kind: device.KthLargest}, in, t.output(device.Int, dense, 1))
	}), Case{"Order/kth/schedule", schedule})
	for _, bad := range []int{0, -1, 46, math.MaxInt32, math.MinInt32} {
		cases = append(
			cases, Case{fmt.Sprintf("Order/kth/k%d", bad), func(d device.Device) error { return badRank(d, bad) }},
		)
	}
	return cases
}

func sum(list []int) (total int) {
	for _, n := range list {
		total += n
	}
	return total
}

// schedule is a program that is prepared once and takes another k each time it runs, as pruning along a schedule does.
func schedule(d device.Device) error {
	t := newTrial("schedule")
	t.kthLargest(1, t.normal, 40, 23)
	k := t.code[0].In[0]
	var b builder
	next := b.out(b.fn(expr.IAdd, b.input(0), b.integer(3)))
	t.add(device.Map, device.MapAttr{Shape: []int{1}, Expr: next}, []device.View{k}, k)
	for _, n := range []int{1, 5, 21} {
		if err := t.checkExactly(d, n); err != nil {
			return fmt.Errorf("after %d runs: %w", n, err)
		}
	}
	if _, err := t.run(d, 22); !errors.Is(err, device.ErrIndex) {
		return fmt.Errorf("past the last element: got error %v, want ErrIndex", err)
	}
	return nil
}

// badRank runs a k that no element has: the run must fail with ErrIndex, write nothing, and leave the device as good as
// before.
func badRank(d device.Device, k int) error {
	name := fmt.Sprint("k", k)
	bad, good := newTrial(name), newTrial(name)
	bad.kthLargest(k, bad.normal, 40, 5)
	good.kthLargest(45, good.normal, 40, 5)
	err := bad.prepared(d, func(r device.Runner, buffers []device.Buffer) error {
		if err := errors.Join(r.Run(1), d.Sync()); !errors.Is(err, device.ErrIndex) {
			return fmt.Errorf("k = %d of 45 elements: got error %v, want ErrIndex", k, err)
		}
		after, err := bad.download(d, buffers)
		if err != nil {
			return err
		}
		return identical(after, bad.mem)
	})
	if err != nil {
		return err
	}
	if err := good.check(d); err != nil {
		return fmt.Errorf("after a bad k: %w", err)
	}
	return nil
}
