package devicetest

import (
	"errors"
	"fmt"
	"sync"

	"bilevel/device"
	"bilevel/internal/expr"
)

// programCases: what a program is beside its operations: order, repetition, sharing, and refusal.
func programCases() []Case {
	return []Case{
		{"Program/empty", func(d device.Device) error { return newTrial("empty").checkExactly(d, 3) }},
		{"Program/order", order},
		{"Program/counter", counter},
		{"Program/repeat-in-parts", inParts},
		{"Program/run-0", runNothing},
		{"Program/upload-between-runs", uploadBetween},
		{"Program/two-runners", twoRunners},
		{"Program/concurrent", concurrent},
		{"Program/refused", programsRefused},
	}
}

// order chains instructions through one buffer: each must see what those before it wrote.
func order(d device.Device) error {
	t := newTrial("order")
	a, b := t.indices(dense, t.below(9), 40), t.indices(offset, t.below(9), 40)
	var e builder
	sum := e.out(e.fn(expr.IAdd, e.input(0), e.input(1)))
	for range 6 {
		t.add(device.Map, device.MapAttr{Shape: []int{40}, Expr: sum}, []device.View{a, b}, a)
		t.add(device.Copy, nil, []device.View{a}, b)
		t.add(device.Map, device.MapAttr{Shape: []int{40}, Expr: sum}, []device.View{b, a}, b)
	}
	return t.checkExactly(d, 3)
}

// loop is a training loop in small: repetition i takes row i of an [n, batch] table of indices by a counter on the
// device, gathers these rows of the data, adds them into an accumulator by label, and counts on. Its numbers are
// small integers, so that all devices agree on every bit. Buffer 0 is the counter.
func loop(n int) *trial {
	t := newTrial("loop")
	const batch, rows, cols, classes = 5, 11, 7, 3
	small := func() float64 { return float64(t.rng.IntN(9) - 4) }
	count := t.indices(dense, each([]int32{0}), 1)
	plan := t.indices(dense, t.below(rows), n, batch)
	data := t.input(sliced, small, rows, cols)
	labels := t.indices(dense, t.below(classes), rows, 1)
	sums := t.input(dense, func() float64 { return 0 }, classes, cols)

	chosen := t.output(device.Int, dense, 1, batch)
	t.add(device.Gather, nil, []device.View{plan, count}, chosen)
	idx := device.Dense(chosen.Buf, chosen.Off, batch)
	x, y := t.output(device.Real, turned, batch, cols), t.output(device.Int, dense, batch, 1)
	t.add(device.Gather, nil, []device.View{data, idx}, x)
	t.add(device.Gather, nil, []device.View{labels, idx}, y)
	t.add(device.ScatterAdd, nil, []device.View{sums, device.Dense(y.Buf, y.Off, batch), x}, sums)

	var b builder
	next := b.out(b.fn(expr.IAdd, b.input(0), b.integer(1)))
	t.add(device.Map, device.MapAttr{Shape: []int{1}, Expr: next}, []device.View{count}, count)
	return t
}

func counter(d device.Device) error {
	if err := loop(20).checkExactly(d, 20); err != nil {
		return err
	}
	if _, err := loop(20).run(d, 21); !errors.Is(err, device.ErrIndex) { // one too many
		return fmt.Errorf("past the last row: got error %v, want ErrIndex", err)
	}
	return loop(20).checkExactly(d, 20)
}

// ends downloads all buffers and compares them with the reference after n repetitions.
func (t *trial) ends(d device.Device, buffers []device.Buffer, n int) error {
	want, err := t.reference(n)
	if err != nil {
		return err
	}
	got, err := t.download(d, buffers)
	if err != nil {
		return err
	}
	return identical(got, want)
}

func inParts(d device.Device) error {
	t := loop(20)
	return t.prepared(d, func(r device.Runner, b []device.Buffer) error {
		return errors.Join(r.Run(1), r.Run(7), t.ends(d, b, 8), r.Run(12), t.ends(d, b, 20))
	})
}

func runNothing(d device.Device) error {
	t := loop(3)
	return t.prepared(d, func(r device.Runner, b []device.Buffer) error {
		return errors.Join(r.Run(0), t.ends(d, b, 0))
	})
}

// uploadBetween sets the counter back by hand.
func uploadBetween(d device.Device) error {
	t := loop(5)
	return t.prepared(d, func(r device.Runner, b []device.Buffer) error {
		if err := r.Run(5); err != nil {
			return err
		}
		for i, c := range t.mem {
			if err := d.Upload(b[i], 0, c.host()); err != nil {
				return err
			}
		}
		return errors.Join(r.Run(2), t.ends(d, b, 2))
	})
}

// twoRunners alternates between two programs over the same buffers; closing one leaves the other.
func twoRunners(d device.Device) error {
	t := loop(20)
	return t.prepared(d, func(r device.Runner, b []device.Buffer) error {
		other, err := d.Prepare(&device.Program{Name: "other", Buffers: b, Code: t.code})
		if err != nil {
			return err
		}
		return errors.Join(r.Run(3), other.Run(4), r.Run(5), other.Close(), r.Run(2), t.ends(d, b, 14))
	})
}

// concurrent runs independent programs from several goroutines.
func concurrent(d device.Device) error {
	errs := make([]error, 6)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			for k := range 4 {
				n := 1 + (3*i+k)%9
				errs[i] = errors.Join(errs[i], loop(20).checkExactly(d, n))
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// programsRefused holds one program of each kind of error: Prepare must call Validate.
func programsRefused(d device.Device) error {
	return with(d, device.Real, 12, func(b device.Buffer) error {
		var errs []error
		for _, c := range []struct {
			what string
			in   device.Instr
		}{
			{"unknown operation", device.Instr{Op: device.NumOp}},
			{"no views", device.Instr{Op: device.Copy}},
			{"missing buffer", device.Instr{Op: device.Copy, In: []device.View{device.Dense(0, 0, 3)},
				Out: []device.View{device.Dense(1, 0, 3)}}},
			{"view past the end", device.Instr{Op: device.Copy, In: []device.View{device.Dense(0, 10, 3)},
				Out: []device.View{device.Dense(0, 0, 3)}}},
			{"shapes that differ", device.Instr{Op: device.Copy, In: []device.View{device.Dense(0, 6, 3)},
				Out: []device.View{device.Dense(0, 0, 4)}}},
			{"repeated output", device.Instr{Op: device.Copy, In: []device.View{device.Dense(0, 6, 3)},
				Out: []device.View{{Shape: []int{3}, Strides: []int{0}}}}},
			{"no attribute", device.Instr{Op: device.Map, In: []device.View{device.Dense(0, 0, 3)},
				Out: []device.View{device.Dense(0, 0, 3)}}},
			{"wrong attribute", device.Instr{Op: device.Map, Attr: device.OrderAttr{},
				In: []device.View{device.Dense(0, 0, 3)}, Out: []device.View{device.Dense(0, 0, 3)}}},
			{"wrong type", device.Instr{Op: device.Order, Attr: device.OrderAttr{},
				In: []device.View{device.Dense(0, 0, 2, 3)}, Out: []device.View{device.Dense(0, 6, 2)}}},
		} {
			r, err := d.Prepare(&device.Program{Name: c.what, Buffers: []device.Buffer{b}, Code: []device.Instr{c.in}})
			if err == nil {
				r.Close()
			}
			errs = append(errs, refused(c.what, err))
		}
		return errors.Join(errs...)
	})
}
