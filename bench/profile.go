package bench

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"bilevel/cpu"
	"bilevel/device"
	"bilevel/device/null"
	"bilevel/tensor"
)

// Profile says where the time of a workload goes on the processor: by kind of instruction, and by the instructions of
// the same kind and shape. Its Observe is a device.Observer.
type Profile struct {
	info device.Info // of the device that is observed
	rows map[step]*spent
}

// step is what is counted together.
type step struct{ kind, shape string }

// spent is what a step took since the profile began.
type spent struct {
	step
	times int
	took  time.Duration
	work  null.Work
}

// Observe adds what ran between two points where the threads wait for each other.
func (p *Profile) Observe(program *device.Program, ran []*device.Instr, took time.Duration) {
	at := step{kind: "chains side by side"}
	if len(ran) == 1 {
		at = stepOf(ran[0])
	}
	if p.rows == nil {
		p.rows = map[step]*spent{}
	}
	s := p.rows[at]
	if s == nil {
		s = &spent{step: at}
		p.rows[at] = s
	}
	s.times++
	s.took += took
	for _, in := range ran {
		s.work.Add(null.WorkOf(program, in, p.info), 1)
	}
}

// stepOf names an instruction.
func stepOf(in *device.Instr) step {
	s := step{in.Op.String(), fmt.Sprint(in.Out[0].Shape)}
	switch a := in.Attr.(type) {
	case device.ConvAttr:
		s.kind += " " + a.Kind.String()
		s.shape = fmt.Sprintf("%d×%d %s", a.Shape.R, a.Shape.S, s.shape)
	case device.PoolAttr:
		s.kind += " " + a.Kind.String()
	case device.GemmAttr:
		s.shape += fmt.Sprint(" of ", in.In[0].Shape[2], " terms")
	case device.MapAttr:
		s.shape = fmt.Sprintf("%v, %d in, %d out", a.Shape, len(in.In), len(in.Out))
	case device.ReduceAttr:
		s.shape = fmt.Sprintf("%v over %v, %d in, %d out", a.Shape, a.Axes, len(in.In), len(in.Out))
	}
	return s
}

// costliest is how many instructions a profile lists one by one.
const costliest = 8

// table prints where the time of some iterations went. What none of the steps took is that of the program around them,
// which starts them and looks at the clock.
func (p *Profile) table(w io.Writer, key string, iterations int, wall time.Duration, peak float64) error {
	per := 1e-6 / float64(iterations) // milliseconds of an iteration
	total := float64(wall.Nanoseconds()) * per
	fmt.Fprintf(w, "\n%s: %.3f ms an iteration\n", key, total)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "what\ttimes\tms\tof all\tGFLOP/s\tof peak\tGB/s")
	line := func(s *spent) {
		ms, seconds := float64(s.took.Nanoseconds())*per, s.took.Seconds()
		rate, share := "", ""
		if s.work.FLOP > 0 {
			rate = fmt.Sprintf("%.0f", s.work.FLOP/seconds/1e9)
			share = fmt.Sprintf("%.0f %%", 100*s.work.FLOP/seconds/peak)
		}
		fmt.Fprintf(t, "%s\t%.3g\t%.3f\t%.1f %%\t%s\t%s\t%.1f\n", s.kind+" "+s.shape,
			float64(s.times)/float64(iterations), ms, 100*ms/total, rate, share, s.work.Bytes/seconds/1e9)
	}
	kinds, rest := map[string]*spent{}, total
	for at, s := range p.rows {
		k := kinds[at.kind]
		if k == nil {
			k = &spent{step: step{kind: at.kind}}
			kinds[at.kind] = k
		}
		k.times, k.took = k.times+s.times, k.took+s.took
		k.work.Add(s.work, 1)
		rest -= float64(s.took.Nanoseconds()) * per
	}
	longest := func(a, b *spent) int { return cmp.Compare(b.took, a.took) }
	for _, k := range slices.SortedFunc(maps.Values(kinds), longest) {
		line(k)
	}
	fmt.Fprintf(t, "between them\t\t%.3f\t%.1f %%\n", rest, 100*rest/total)
	fmt.Fprintln(t, "the longest\t\t\t\t\t\t")
	for i, s := range slices.SortedFunc(maps.Values(p.rows), longest) {
		if i == costliest {
			break
		}
		line(s)
	}
	return t.Flush()
}

// Write runs workloads, each for at least the given time, and prints where the time of each went. The executors that
// fresh makes belong to a device that tells p what it does.
func (p *Profile) Write(w io.Writer, all []Workload, fresh func() *tensor.Executor, atLeast time.Duration) error {
	p.info = fresh().Info()
	pool := cpu.NewPool(p.info.Threads, cpu.Detected())
	peak := cpu.PeakFlops(pool, 300*time.Millisecond)
	pool.Close()
	fmt.Fprintf(w, "%s (%s): peak %.0f GFLOP/s of multiply-adds in registers\n", p.info.Name, p.info.Detail, peak/1e9)
	for _, one := range all {
		if err := p.of(w, one, fresh(), atLeast, peak); err != nil {
			return fmt.Errorf("bench: %s: %w", one.Key, err)
		}
	}
	return nil
}

// of is Write of one workload.
func (p *Profile) of(w io.Writer, one Workload, ex *tensor.Executor, atLeast time.Duration, peak float64) error {
	defer ex.Close()
	r, err := one.Prepare(ex)
	if err != nil {
		return err
	}
	if err := r.Call(); err != nil {
		return err
	}
	clear(p.rows)
	calls := 0
	begin := time.Now()
	for ; calls < leastCalls || time.Since(begin) < atLeast; calls++ {
		if err := r.Call(); err != nil {
			return err
		}
	}
	return p.table(w, one.Key, calls*r.Per, time.Since(begin), peak)
}
