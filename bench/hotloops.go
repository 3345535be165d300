package bench

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"bilevel/tensor"
)

// Workload is one hot loop. Its inputs follow a formula (see array), so that another program can compute the same thing
// and print the same check value. No call keeps anything that it computed for the next one.
type Workload struct {
	Key string
	// Prepare compiles the loop and uploads its inputs.
	Prepare func(ex *tensor.Executor) (*Prepared, error)
}

// Prepared is a workload ready to be timed.
type Prepared struct {
	Call  func() error
	Per   int                     // iterations of the loop in one call
	Check func() (float64, error) // the check value, after a call
	Loss  func() (float64, error) // of what the loop has come to; nil where it minimizes nothing
}

// Report is what the command prints for each workload: the median time of an iteration in milliseconds, the check
// value, and the loss where there is one.
type Report struct {
	Milliseconds map[string]float64 `json:"ms"`
	Check        map[string]float64 `json:"check"`
	Loss         map[string]float64 `json:"loss,omitempty"`
}

// HotLoops lists the workloads of perceptrons and products, which peers/hotloops.py, peers/algorithms.py and
// peers/blas.py define.
func HotLoops() []Workload {
	return slices.Concat(squares(), networks(), cleaning(), algorithms(), shapes())
}

// Choose takes the workloads whose key contains one of the strings in only, separated by commas. It is an error if
// there is none.
func Choose(all []Workload, only string) ([]Workload, error) {
	parts := strings.Split(only, ",")
	all = slices.DeleteFunc(all, func(w Workload) bool {
		return !slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(w.Key, part) })
	})
	if len(all) == 0 {
		return nil, fmt.Errorf("bench: no loop has %q in its name", only)
	}
	return all, nil
}

// Time times workloads, each for at least the given time. ex makes a new executor for each; progress is told each
// result as it comes.
func Time(
	all []Workload, ex func() *tensor.Executor, atLeast time.Duration, progress func(key string, ms float64),
) (*Report, error) {
	r := &Report{map[string]float64{}, map[string]float64{}, map[string]float64{}}
	for _, w := range all {
		m, err := w.measure(ex(), atLeast)
		if err != nil {
			return nil, fmt.Errorf("bench: %s: %w", w.Key, err)
		}
		r.Milliseconds[w.Key], r.Check[w.Key] = m.ms, m.check
		if m.lost {
			r.Loss[w.Key] = m.loss
		}
		progress(w.Key, m.ms)
	}
	return r, nil
}

// Before the clock starts come three calls, as in the peer's programs, or as many as begin within a second. Then at
// least so many are timed.
const (
	warmUps, warmUpTime = 3, time.Second
	leastCalls          = 5
)

// measurement is what a workload's row of the report holds.
type measurement struct {
	ms, check, loss float64
	lost            bool // there is a loss
}

func (w Workload) measure(ex *tensor.Executor, atLeast time.Duration) (m measurement, err error) {
	defer ex.Close()
	p, err := w.Prepare(ex)
	if err != nil {
		return m, err
	}
	call := func() error {
		if err := p.Call(); err != nil {
			return err
		}
		return ex.Sync()
	}
	for n, start := 0, time.Now(); n < warmUps && (n == 0 || time.Since(start) < warmUpTime); n++ {
		if err := call(); err != nil {
			return m, err
		}
	}
	var times []float64
	for start := time.Now(); len(times) < leastCalls || time.Since(start) < atLeast; {
		begin := time.Now()
		if err := call(); err != nil {
			return m, err
		}
		times = append(times, time.Since(begin).Seconds())
	}
	slices.Sort(times)
	m.ms = 1e3 * times[len(times)/2] / float64(p.Per)
	if m.check, err = p.Check(); err == nil && p.Loss != nil {
		m.lost = true
		m.loss, err = p.Loss()
	}
	return m, err
}

// splitmix64 is element n of the random numbers that we share with the peer (Steele, Lea, Flood, OOPSLA 2014).
func splitmix64(n uint64) uint64 {
	z := (n + 1) * 0x9E3779B97F4A7C15
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}

// array is input number k, with n elements: uniform numbers on ±scale, plus shift.
func array(k uint64, n int, scale, shift float64) []float32 {
	out := make([]float32, n)
	for j := range out {
		z := splitmix64(uint64(j) + k<<32)
		out[j] = float32(scale*(2*float64(z>>40)/(1<<24)-1)) + float32(shift)
	}
	return out
}

// labels are the labels of the first n rows, out of ten classes.
func labels(n int) []int32 {
	out := make([]int32, n)
	for j := range out {
		out[j] = int32(splitmix64(uint64(j)+77<<32) % 10)
	}
	return out
}

// input makes a variable that holds values.
func input(ex *tensor.Executor, name string, values []float32, shape ...int) (*tensor.Variable, error) {
	v := ex.Variable(name, tensor.Real, shape...)
	return v, v.Write32(values)
}

// norm is the 2-norm of several variables together.
func norm(vars ...*tensor.Variable) (float64, error) {
	sum := 0.0
	for _, v := range vars {
		values, err := v.Read()
		if err != nil {
			return 0, err
		}
		for _, x := range values {
			sum += x * x
		}
	}
	return math.Sqrt(sum), nil
}
