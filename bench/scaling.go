package bench

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"bilevel/device"
	"bilevel/models"
	"bilevel/tensor"
)

// Scaling measures how time grows with the work: over the batch size, the width of a network and the number of threads.
type Scaling struct {
	Open    func(threads int) (device.Device, error) // opens the device; 0: with as many threads as the user allows
	Only    string                                   // measure only the series whose key contains this
	Largest int                                      // the largest batch size and width to measure
	AtLeast time.Duration                            // how long to measure each point
}

// ScalingPoint is one size: the median time of an iteration, and its work.
type ScalingPoint struct {
	At           int     `json:"at"` // batch size, width or number of threads
	Milliseconds float64 `json:"ms"`
	Flop         float64 `json:"flop"` // floating-point operations of the products, the fewest possible
	// Relative is the ratio of this point's time to the time of the point before, divided by the same ratio of the work
	// per thread. It is 1 where time is proportional to work, and below 1 where a fixed overhead is spread over more
	// work. The first point of a series has none.
	Relative *float64 `json:"relative"`
}

// ScalingSeries is the points along one axis, smallest first.
type ScalingSeries struct {
	Key    string         `json:"key"`
	Axis   string         `json:"axis"` // batch, width or threads
	Points []ScalingPoint `json:"points"`

	title    string
	from, to int                              // sizes double from one to the other; threads end at those of the device
	workload func(at int) (Workload, float64) // at one size, with the number of its floating-point operations
}

// ScalingReport is all that was measured.
type ScalingReport struct {
	Device string           `json:"device"`
	Series []*ScalingSeries `json:"series"`
}

const (
	overThreads  = "threads"
	LargestScale = 4096 // the largest batch size or width of any series
)

// scalingSeries lists the series that are measured.
func scalingSeries() []*ScalingSeries {
	return []*ScalingSeries{
		{Key: "grad_batch", title: "Gradient of 784-300-100-10", Axis: "batch", from: 16, to: LargestScale,
			workload: func(b int) (Workload, float64) { return gradient(b, 784, 300, 100, 10) }},
		{Key: "grad_width", title: "Gradient of 784-w-w-10, batch 256", Axis: "width", from: 32, to: 2048,
			workload: func(w int) (Workload, float64) { return gradient(256, 784, w, w, 10) }},
		{Key: "grad_threads", title: "Gradient of 784-300-100-10, batch 1024", Axis: overThreads, from: 1,
			workload: func(int) (Workload, float64) { return gradient(1024, 784, 300, 100, 10) }},
		{Key: "soba_batch", title: "Iteration of SOBA, hyper-cleaning", Axis: "batch", from: 16, to: 1024,
			workload: func(b int) (Workload, float64) {
				// There are six products with rows: two for the gradient of each level, and two for the Hessian.
				return cleanSOBA(b), 6 * 2 * float64(b) * pixels * classes
			}},
		{Key: "conv_batch", title: "Gradient of ResNet-20", Axis: "batch", from: 8, to: 256, workload: convGradient},
		{Key: "conv_threads", title: "Gradient of ResNet-20, batch 64", Axis: overThreads, from: 1,
			workload: func(int) (Workload, float64) { return convGradient(64) }},
	}
}

// ScalingKeys are the keys of the series.
func ScalingKeys() (keys []string) {
	for _, s := range scalingSeries() {
		keys = append(keys, s.Key)
	}
	return keys
}

// gradient is the loss and the gradient of a perceptron, with the number of floating-point operations. A layer has
// three matrix products, but the first layer has two, because it needs no gradient with respect to its inputs.
func gradient(batch int, widths ...int) (Workload, float64) {
	products := -widths[0] * widths[1]
	for i, in := range widths[:len(widths)-1] {
		products += 3 * in * widths[i+1]
	}
	w := onNetwork(fmt.Sprintf("grad%d_b%d", widths, batch), widths, batch, (*network).grad)
	return w, 2 * float64(batch) * float64(products)
}

// convGradient is the same for ResNet-20. The layers of the shortcuts and the mean are no products.
func convGradient(batch int) (Workload, float64) {
	image := models.Image{Height: 32, Width: 32, Channels: 3}
	make := func(image models.Image) (models.Network, error) {
		return models.ByName("resnet20", models.Spec{Image: image, Classes: 10})
	}
	w := onConvNet(fmt.Sprintf("resnet20_b%d", batch), make, image, batch, (*network).grad)
	model, err := make(image)
	if err != nil {
		panic(err) // the arguments are constants
	}
	products, first := 0, 0
	for _, l := range model.Costs() {
		products += 3 * l.MultiplyAdds
		if first == 0 {
			first = l.MultiplyAdds
		}
	}
	return w, 2 * float64(batch) * float64(products-first)
}

// sizes are the sizes at which a series is measured on a device with so many threads.
func (o Scaling) sizes(s *ScalingSeries, threads int) (at []int) {
	to := min(s.to, o.Largest)
	if s.Axis == overThreads {
		to = threads
	}
	for n := s.from; n <= to; n *= 2 {
		at = append(at, n)
	}
	if s.Axis == overThreads && at[len(at)-1] < threads {
		at = append(at, threads)
	}
	return at
}

// Check refuses settings with which there would be nothing to measure.
func (o Scaling) Check() error {
	if o.Largest < 1 {
		return fmt.Errorf("--largest %d: wants 1 or more", o.Largest)
	}
	for _, s := range scalingSeries() {
		if strings.Contains(s.Key, o.Only) && len(o.sizes(s, 1)) > 0 {
			return nil
		}
	}
	return fmt.Errorf("nothing to measure: no series whose name contains %q has a size up to %d", o.Only, o.Largest)
}

// Measure times the series and prints each point as it comes. The series over threads is measured on the cpu device
// only. A cancelled context ends Measure before the next point, with the context's error.
func (o Scaling) Measure(ctx context.Context, w io.Writer) (*ScalingReport, error) {
	dev, err := o.Open(0)
	if err != nil {
		return nil, err
	}
	defer dev.Close()
	info := dev.Info()
	r := &ScalingReport{fmt.Sprintf("%s (%s)", info.Name, info.Detail), []*ScalingSeries{}}
	fmt.Fprintf(w, "%s\n\n%-14s%14s%12s%12s%12s%12s\n", r.Device, "series", "", "ms", "MFLOP", "GFLOP/s", "time/work")
	for _, s := range scalingSeries() {
		if !strings.Contains(s.Key, o.Only) || s.Axis == overThreads && info.Name != "cpu" {
			continue
		}
		for _, at := range o.sizes(s, info.Threads) {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			p, err := o.point(dev, s, at)
			if err != nil {
				return nil, fmt.Errorf("bench: %s at %s %d: %w", s.Key, s.Axis, at, err)
			}
			s.Points = append(s.Points, p)
			relative := "–"
			if p.Relative != nil {
				relative = fmt.Sprintf("%.2f", *p.Relative)
			}
			fmt.Fprintf(w, "%-14s%14s%12.4f%12.2f%12.1f%12s\n", s.Key, fmt.Sprint(s.Axis, " ", at),
				p.Milliseconds, p.Flop/1e6, p.Flop/p.Milliseconds/1e6, relative)
		}
		if len(s.Points) > 0 {
			r.Series = append(r.Series, s)
		}
	}
	if len(r.Series) == 0 {
		return nil, fmt.Errorf("bench: threads are measured on the cpu device alone, not on %s", info.Name)
	}
	return r, nil
}

// point measures one size. Where the size is the number of threads, it opens a device with that many.
func (o Scaling) point(dev device.Device, s *ScalingSeries, at int) (p ScalingPoint, err error) {
	if s.Axis == overThreads {
		if dev, err = o.Open(at); err != nil {
			return p, err
		}
		defer dev.Close()
	}
	w, flop := s.workload(at)
	m, err := w.measure(tensor.NewExecutor(dev), o.AtLeast)
	p = ScalingPoint{At: at, Flop: flop, Milliseconds: m.ms}
	if n := len(s.Points); n > 0 {
		r := p.Milliseconds / s.inProportion(s.Points[n-1], p)
		p.Relative = &r
	}
	return p, err
}

// inProportion is the time in milliseconds that p would take if, from q on, time grew like the work per thread.
func (s *ScalingSeries) inProportion(q, p ScalingPoint) float64 {
	ms := q.Milliseconds * p.Flop / q.Flop
	if s.Axis == overThreads {
		ms *= float64(q.At) / float64(p.At)
	}
	return ms
}
