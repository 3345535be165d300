package devicetest

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"

	"bilevel/device"
	"bilevel/device/ref"
)

// trial is a program with the contents of its buffers, to be run on several devices. Each view that input and output
// make has a buffer of its own.
type trial struct {
	name string
	rng  *rand.Rand
	mem  []contents // before the run; Real elements are float32 numbers, so that every device gets the same
	code []device.Instr
}

// contents is what a buffer holds: one of three slices, by its type.
type contents struct {
	typ   device.Type
	real  []float64
	ints  []int32
	bytes []byte
}

func (c contents) len() int { return len(c.real) + len(c.ints) + len(c.bytes) }

func (c contents) host() device.HostSlice {
	return device.HostSlice{F64: c.real, I32: c.ints, U8: c.bytes}
}

func blank(t device.Type, n int) contents {
	switch t {
	case device.Int:
		return contents{typ: t, ints: make([]int32, n)}
	case device.Byte:
		return contents{typ: t, bytes: make([]byte, n)}
	}
	return contents{typ: t, real: make([]float64, n)}
}

// newTrial starts an empty trial; its random numbers depend on the name alone.
func newTrial(name string) *trial {
	h := fnv.New64a()
	h.Write([]byte(name))
	return &trial{name: name, rng: rand.New(rand.NewPCG(h.Sum64(), 0))}
}

// normal draws a standard normal number of the width all devices have.
func (t *trial) normal() float64 { return float64(float32(t.rng.NormFloat64())) }

// below draws integers from 0 to n-1.
func (t *trial) below(n int) func() int32 { return func() int32 { return int32(t.rng.IntN(n)) } }

// output adds a buffer full of random numbers, so that an operation that leaves or adds to old contents is seen.
func (t *trial) output(typ device.Type, l layout, shape ...int) device.View {
	v, n := l.view(len(t.mem), shape)
	c := blank(typ, n)
	for i := range c.real {
		c.real[i] = t.normal()
	}
	for i := range c.ints {
		c.ints[i] = int32(t.rng.Uint32())
	}
	for i := range c.bytes {
		c.bytes[i] = byte(t.rng.Uint32())
	}
	t.mem = append(t.mem, c)
	return v
}

// input adds a Real buffer; fill draws the elements of the view in row-major order.
func (t *trial) input(l layout, fill func() float64, shape ...int) device.View {
	v := t.output(device.Real, l, shape...)
	points(shape, func(idx []int) { t.mem[v.Buf].real[place(v, idx...)] = float64(float32(fill())) })
	return v
}

// indices adds an Int buffer; fill draws the elements of the view in row-major order.
func (t *trial) indices(l layout, fill func() int32, shape ...int) device.View {
	v := t.output(device.Int, l, shape...)
	points(shape, func(idx []int) { t.mem[v.Buf].ints[place(v, idx...)] = fill() })
	return v
}

// each makes a fill function that goes through a list, over and over.
func each[T any](list []T) func() T {
	i := -1
	return func() T {
		i++
		return list[i%len(list)]
	}
}

// add appends an instruction.
func (t *trial) add(op device.Op, attr device.Attr, in []device.View, out ...device.View) {
	t.code = append(t.code, device.Instr{Op: op, Attr: attr, In: in, Out: out})
}

// real and int read a view's element as it is before the run.
func (t *trial) real(v device.View, idx ...int) float64 { return t.mem[v.Buf].real[place(v, idx...)] }
func (t *trial) int(v device.View, idx ...int) int32    { return t.mem[v.Buf].ints[place(v, idx...)] }

// prepared uploads the buffers and prepares the program for the time of f.
func (t *trial) prepared(d device.Device, f func(device.Runner, []device.Buffer) error) (err error) {
	p := &device.Program{Name: t.name, Code: t.code}
	defer func() {
		for _, b := range p.Buffers {
			d.Free(b)
		}
	}()
	for _, c := range t.mem {
		b, err := d.Alloc(c.typ, c.len())
		if err != nil {
			return err
		}
		p.Buffers = append(p.Buffers, b)
		if err := d.Upload(b, 0, c.host()); err != nil {
			return err
		}
	}
	r, err := d.Prepare(p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return f(r, p.Buffers)
}

// download reads all buffers.
func (t *trial) download(d device.Device, buffers []device.Buffer) ([]contents, error) {
	var all []contents
	for i, b := range buffers {
		c := blank(t.mem[i].typ, b.Len())
		if err := d.Download(c.host(), b, 0); err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

// run runs the program n times and gives the buffers afterwards.
func (t *trial) run(d device.Device, n int) (after []contents, err error) {
	err = t.prepared(d, func(r device.Runner, buffers []device.Buffer) error {
		if err := r.Run(n); err != nil {
			return err
		}
		if err := d.Sync(); err != nil {
			return err
		}
		after, err = t.download(d, buffers)
		return err
	})
	return after, err
}

// check runs the trial's one instruction on d and on the reference device and compares: outputs within their bounds,
// everything else untouched, and the same bits when it is done again.
func (t *trial) check(d device.Device) error {
	in := &t.code[0]
	got, err := t.run(d, 1)
	if slices.Contains(d.Info().Lacks, in.Op) && errors.Is(err, device.ErrOperation) {
		return nil // refused, as it says
	}
	if err != nil {
		return err
	}
	want, err := t.reference(1)
	if err != nil {
		return err
	}
	m := machineOf(d.Info())
	bounds := tolerances[in.Op](t, in, m)
	for i, o := range in.Out {
		if err := compare(m, o, got[o.Buf], want[o.Buf], bounds[i]); err != nil {
			return fmt.Errorf("output %d: %w", i, err)
		}
	}
	if err := t.untouched(got); err != nil {
		return err
	}
	again, err := t.run(d, 1)
	if err != nil {
		return fmt.Errorf("a second run: %w", err)
	}
	if err := identical(again, got); err != nil {
		return fmt.Errorf("two runs differ: %w", err)
	}
	return nil
}

// checkExactly runs a program whose arithmetic is exact (small integers, moved data) n times: all buffers must end
// with the bits that the reference device gives them.
func (t *trial) checkExactly(d device.Device, n int) error {
	got, err := t.run(d, n)
	if err != nil {
		return err
	}
	want, err := t.reference(n)
	if err != nil {
		return err
	}
	return identical(got, want)
}

// reference runs the trial on a reference device of its own.
func (t *trial) reference(n int) ([]contents, error) {
	d := ref.New()
	after, err := t.run(d, n)
	if err = errors.Join(err, d.Close()); err != nil {
		return nil, fmt.Errorf("the reference device fails: %w", err)
	}
	return after, nil
}

// untouched checks that every element outside all outputs still has the bits it was uploaded with.
func (t *trial) untouched(after []contents) error {
	expected := slices.Clone(t.mem)
	for i, c := range expected {
		expected[i].real, expected[i].ints = slices.Clone(c.real), slices.Clone(c.ints)
	}
	for i := range t.code {
		for _, o := range t.code[i].Out {
			points(o.Shape, func(idx []int) {
				p := place(o, idx...)
				if t.mem[o.Buf].typ == device.Int {
					expected[o.Buf].ints[p] = after[o.Buf].ints[p]
				} else {
					expected[o.Buf].real[p] = after[o.Buf].real[p]
				}
			})
		}
	}
	if err := identical(after, expected); err != nil {
		return fmt.Errorf("written outside the output: %w", err)
	}
	return nil
}

// identical compares the bits of all buffers; any NaN equals any other.
func identical(got, want []contents) error {
	for b := range want {
		for i, w := range want[b].real {
			if g := got[b].real[i]; math.Float64bits(g) != math.Float64bits(w) && !(math.IsNaN(g) && math.IsNaN(w)) {
				return fmt.Errorf("buffer %d, element %d: got %v, want %v", b, i, g, w)
			}
		}
		for i, w := range want[b].bytes {
			if g := got[b].bytes[i]; g != w {
				return fmt.Errorf("buffer %d, element %d: got %d, want %d", b, i, g, w)
			}
		}
		for i, w := range want[b].ints {
			if g := got[b].ints[i]; g != w {
				return fmt.Errorf("buffer %d, element %d: got %d, want %d", b, i, g, w)
			}
		}
	}
	return nil
}
