package cpu

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// product is a shape that the project lives on.
type product struct {
	name    string
	m, k, n int
	ta, tb  bool // the operand lies in memory transposed
}

func workloadProducts() (list []product) {
	for _, n := range []int{256, 512, 1024, 2048} {
		list = append(list, product{fmt.Sprint("gemm_", n), n, n, n, false, false})
	}
	for _, net := range [][]int{{784, 300, 100, 10}, {784, 1024, 1024, 10}} {
		for _, b := range []int{64, 256, 1024} {
			for i, in := range net[:3] {
				out := net[i+1]
				name := fmt.Sprintf("%dx%d_b%d_", in, out, b)
				list = append(
					list, product{name + "forward", b, in, out, false, false},
					product{name + "weights", in, b, out, true, false},
					product{name + "inputs", b, out, in, false, true},
				)
			}
		}
	}
	return append(list,
		product{"softmax_b64", 64, 784, 10, false, false},
		product{"softmax_b64_weights", 784, 64, 10, true, false},
		product{"softmax785_b64", 64, 785, 10, false, false},
		product{"softmax785_b64_weights", 785, 64, 10, true, false},
		product{"softmax_full", 20000, 785, 10, false, false},
		product{"softmax_full_weights", 785, 20000, 10, true, false},
		product{"vector", 20000, 785, 1, false, false},
		product{"vector_transposed", 785, 20000, 1, true, false},
	)
}

func (s product) flops() float64 { return 2 * float64(s.m) * float64(s.n) * float64(s.k) }

func (s product) gemm(p *Pool) *Gemm {
	r := rng(1)
	x, y := rowMajor(normals(r, s.m*s.k), 1, s.m, s.k), rowMajor(normals(r, s.k*s.n), 1, s.k, s.n)
	if s.ta {
		x.Strides = []int{0, 1, s.m}
	}
	if s.tb {
		y.Strides = []int{0, 1, s.k}
	}
	out := rowMajor(make([]float32, s.m*s.n), 1, s.m, s.n)
	return NewGemm(p, out, x, y, nil, nil, nil, nil)
}

// BenchmarkProducts gives, for each shape, the fastest run, and the median of its speed relative to the machine's peak
// just before and after it, so that neighbours on the machine slow down both alike.
func BenchmarkProducts(b *testing.B) {
	for _, level := range Levels()[1:] {
		for _, threads := range []int{1, 2} {
			p := newPoolAt(b, threads, level)
			for _, s := range workloadProducts() {
				b.Run(fmt.Sprintf("%s/threads=%d/%s", level, threads, s.name), func(b *testing.B) {
					g := s.gemm(p)
					run := func() time.Duration {
						p.Lock()
						defer p.Unlock()
						begin := time.Now()
						g.Run()
						return time.Since(begin)
					}
					fastest, around := run(), run()/8
					var shares []float64
					before := PeakFlops(p, around)
					for b.Loop() {
						t := run()
						after := PeakFlops(p, around)
						shares = append(shares, 2*s.flops()/t.Seconds()/(before+after))
						before, fastest = after, min(fastest, t)
					}
					slices.Sort(shares)
					b.ReportMetric(0, "ns/op")
					b.ReportMetric(float64(fastest.Nanoseconds())/1e3, "best-µs")
					b.ReportMetric(s.flops()/fastest.Seconds()/1e9, "GFLOP/s")
					b.ReportMetric(100*shares[len(shares)/2], "%peak")
				})
			}
		}
	}
}
