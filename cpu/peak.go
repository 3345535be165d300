package cpu

import "time"

// What the machine can do at most, to hold the speed of an operation against: measure it in the same minute.

// PeakFlops measures the float32 operations per second of fused multiply-adds in registers, with the instructions of
// the pool's level on all of its threads: the best of short runs during about the given time. In plain Go it is the
// rate of separate multiplications and additions.
func PeakFlops(p *Pool, during time.Duration) float64 {
	k := kernelsOf(p.level)
	const steps = 20_000 // about 50 µs
	t := task(func(int) { k.fmaChains(steps) })
	perThread := 2 * float64(k.chains) * steps
	return perThread * float64(p.Threads()) / best(p, during, &t)
}

// PeakBandwidth measures the bytes per second of a triad, dst = a + b/2, over arrays too large for any cache, two reads
// and a write counted, on all threads of the pool.
func PeakBandwidth(p *Pool, during time.Duration) float64 {
	k := kernelsOf(p.level)
	const n = 16 << 20
	dst, a, b := make([]float32, n), make([]float32, n), make([]float32, n)
	share := n / p.Threads() / 64 * 64
	t := task(func(i int) { k.triad(dst[i*share:][:share], a[i*share:], b[i*share:]) })
	return 12 * float64(share*p.Threads()) / best(p, during, &t)
}

// task makes a region of a function of the item.
type task func(item int)

func (t *task) Do(_ *Worker, item int) { (*t)(item) }

// best runs one item for each thread again and again and returns the seconds of the fastest round.
func best(p *Pool, during time.Duration, t Task) float64 {
	p.Lock()
	defer p.Unlock()
	fastest := time.Duration(1<<63 - 1)
	for start := time.Now(); time.Since(start) < during || fastest == 1<<63-1; {
		begin := time.Now()
		p.Run(p.Threads(), t)
		fastest = min(fastest, time.Since(begin))
	}
	return fastest.Seconds()
}

// fmaChainsGeneric does steps times 8 independent multiplications and additions; the sum keeps them from being left
// out.
func fmaChainsGeneric(steps int) float32 {
	var s0, s1, s2, s3, s4, s5, s6, s7 float32
	x, y := float32(0.5), float32(0.25)
	for range steps {
		s0 = float32(s0*x) + y
		s1 = float32(s1*x) + y
		s2 = float32(s2*x) + y
		s3 = float32(s3*x) + y
		s4 = float32(s4*x) + y
		s5 = float32(s5*x) + y
		s6 = float32(s6*x) + y
		s7 = float32(s7*x) + y
	}
	return s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7
}

func triadGeneric(dst, a, b []float32) {
	for i := range dst {
		dst[i] = a[i] + float32(b[i]*0.5)
	}
}
