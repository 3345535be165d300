package report

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"bilevel/device"
	"bilevel/device/cuda"
	"bilevel/device/cuda/sim"
)

const (
	warmUp        = 3
	samples       = 9
	sampleSeconds = 2e-3
	mostReplays   = 100
)

// bench fills a report, scene by scene.
type bench struct {
	report    *Report
	given     *cuda.Device
	simulated bool
	sizes     []Size
	model     *Model
	like      *sim.Driver     // with a card of the model; nil without one
	cards     [2]*cuda.Device // the second has products on tensor cores; nil until first used
	noise     []float32
	progress  func()
}

// device is the one for a scene.
func (b *bench) device(tensor bool) (d *cuda.Device, err error) {
	at := &b.cards[0]
	if tensor {
		at = &b.cards[1]
	}
	if *at == nil {
		*at, err = b.given.Again(
			cuda.Options{Exact: true, TensorCores: tensor, Loaded: func(name string, bytes int, seconds float64) {
				// of two devices the first
				if !slices.ContainsFunc(b.report.Modules, func(m Module) bool { return m.Name == name }) {
					b.report.Modules = append(b.report.Modules, Module{name, bytes, seconds})
				}
			}},
		)
	}
	return *at, err
}

func (b *bench) close() (err error) {
	for _, d := range b.cards {
		if d != nil {
			err = cmp.Or(err, d.Close())
		}
	}
	return err
}

// scene measures a scene at all sizes. The error is one after which nothing works.
func (b *bench) scene(ctx context.Context, s Scene) error {
	d, err := b.device(s.Tensor)
	if err != nil {
		return err
	}
	for _, size := range b.sizes {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		w := s.work(size)
		row := Row{Name: s.Name, Size: size.Name, Shape: w.shape, Bytes: w.bytes, FLOP: w.flop}
		if err := b.measure(d, w, s.Tensor, &row); err != nil {
			row.Error = err.Error()
		}
		b.report.Kernels = append(b.report.Kernels, row)
		b.progress()
		if err := d.Sync(); err != nil { // the card is lost
			return err
		}
	}
	return nil
}

// measure fills in what is measured and what the model says.
func (b *bench) measure(d *cuda.Device, w *work, tensor bool, row *Row) error {
	t, err := b.run(d, w, !b.simulated)
	row.Kernels, row.Prepare = t.kernels, t.prepare
	if err != nil {
		return err
	}
	row.Seconds = &t.seconds
	if b.model == nil {
		return nil
	}
	least, bound := b.model.least(w, tensor)
	row.Bound, row.OfPeak = bound, ratio(least, t.seconds)
	model, err := cuda.New(b.like, cuda.Options{Name: "model", Exact: true, TensorCores: tensor})
	if err != nil {
		return err
	}
	e, err := b.run(model, w, false)
	if err = cmp.Or(err, model.Close()); err != nil {
		return err
	}
	row.Estimate, row.Ratio = &e.seconds, ratio(t.seconds, e.seconds)
	return nil
}

func ratio(a, b float64) *float64 {
	if b == 0 {
		return nil
	}
	r := a / b
	return &r
}

type timing struct {
	kernels          []string
	prepare, seconds float64
}

// run does the work on a device; its time is read once, or many times where it differs from time to time.
func (b *bench) run(d *cuda.Device, w *work, many bool) (t timing, err error) {
	p := &device.Program{Name: w.shape, Code: []device.Instr{w.instr}}
	defer func() {
		for _, buf := range p.Buffers {
			d.Free(buf)
		}
	}()
	for _, o := range w.operands {
		buf, err := d.Alloc(o.typ, o.n)
		if err != nil {
			return t, err
		}
		p.Buffers = append(p.Buffers, buf)
		if err := b.fill(d, buf, o, many); err != nil {
			return t, err
		}
	}
	if err := d.Sync(); err != nil {
		return t, err
	}
	begin := time.Now()
	r, err := d.Prepare(p)
	if err != nil {
		return t, err
	}
	t.prepare = time.Since(begin).Seconds()
	t.kernels = cuda.Kernels(r)
	defer func() { err = cmp.Or(err, r.Close()) }()
	once := func(n int) (float64, error) {
		s, err := d.Time(func() error { return r.Run(n) })
		return s / float64(n), err
	}
	if !many {
		t.seconds, err = once(1)
		return t, err
	}
	if t.seconds, err = once(warmUp); err != nil {
		return t, err
	}
	replays := mostReplays
	if t.seconds > 0 {
		replays = max(1, min(mostReplays, int(sampleSeconds/t.seconds)))
	}
	var list []float64
	for range samples {
		s, err := once(replays)
		if err != nil {
			return t, err
		}
		list = append(list, s)
	}
	slices.Sort(list)
	t.seconds = list[len(list)/2]
	return t, nil
}

// fill writes an operand: indices as the scene says; on a card, where power and clock depend on the data, Reals are
// random.
func (b *bench) fill(d *cuda.Device, buf device.Buffer, o operand, noisy bool) error {
	switch {
	case o.ints != nil:
		return d.Upload(buf, 0, device.Int32s(o.ints))
	case o.typ != device.Real || !noisy:
		return nil
	}
	if b.noise == nil {
		rng := rand.New(rand.NewPCG(1, 2))
		b.noise = make([]float32, 1<<18)
		for i := range b.noise {
			b.noise[i] = float32(rng.NormFloat64())
		}
	}
	done := min(o.n, len(b.noise))
	if err := d.Upload(buf, 0, device.Float32s(b.noise[:done])); err != nil {
		return err
	}
	for done < o.n {
		n := min(done, o.n-done)
		if err := d.Copy(buf, done, buf, 0, n); err != nil {
			return err
		}
		done += n
	}
	return nil
}
