package bench

import (
	"fmt"
	"math"

	"bilevel/device"
	"bilevel/tensor"
)

// convLayer is a convolution with a square kernel, padded by half the kernel on all sides.
type convLayer struct {
	name string
	device.ConvShape
}

// convLayers are the layers of residual networks that are measured, of images as large as CIFAR's.
func convLayers() (all []convLayer) {
	for _, l := range []struct {
		name                          string
		in, out, kernel, stride, size int
	}{
		{"conv64_s32", 64, 64, 3, 1, 32}, {"conv128_s16", 128, 128, 3, 1, 16}, {"conv256_s8", 256, 256, 3, 1, 8},
		{"conv512_s4", 512, 512, 3, 1, 4}, {"down64_s32", 64, 128, 3, 2, 32}, {"proj64_s32", 64, 128, 1, 2, 32},
		{"first_s32", 3, 64, 3, 1, 32},
	} {
		half := l.kernel / 2
		all = append(all, convLayer{l.name, device.ConvShape{
			N: 64, H: l.size, W: l.size, C: l.in, K: l.out, R: l.kernel, S: l.kernel, StrideH: l.stride,
			StrideW: l.stride, DilationH: 1, DilationW: 1, Top: half, Bottom: half, Left: half, Right: half, Groups: 1,
		}})
	}
	return all
}

// convKinds are the layer itself, its gradient by images and its gradient by weights, from images x, weights w and a
// gradient d of the result.
var convKinds = []struct {
	name  string
	shape func(convLayer) []int
	value func(l convLayer, x, w, d *tensor.Node) *tensor.Node
}{
	{"fwd", func(l convLayer) []int { return l.Result() }, func(l convLayer, x, w, _ *tensor.Node) *tensor.Node {
		return l.apply(x, w)
	}},
	{"dx", func(l convLayer) []int { return l.Images() }, func(l convLayer, x, w, d *tensor.Node) *tensor.Node {
		return tensor.VJP([]*tensor.Node{l.apply(x, w)}, []*tensor.Node{x}, []*tensor.Node{d})[0]
	}},
	{"dw", func(l convLayer) []int { return l.Weights() }, func(l convLayer, x, w, d *tensor.Node) *tensor.Node {
		return tensor.VJP([]*tensor.Node{l.apply(x, w)}, []*tensor.Node{w}, []*tensor.Node{d})[0]
	}},
}

func (l convLayer) apply(x, w *tensor.Node) *tensor.Node {
	return tensor.Conv2D(x, w, tensor.Stride(l.StrideH, l.StrideW), tensor.Padding(l.Top, l.Bottom, l.Left, l.Right))
}

// ConvLoops lists the workloads of convolutions, which peers/convloops.py defines: the layers, then the networks.
func ConvLoops() (all []Workload) {
	for _, l := range convLayers() {
		for i := range convKinds {
			all = append(all, Workload{l.name + "_" + convKinds[i].name, func(ex *tensor.Executor) (*Prepared, error) {
				return l.prepare(ex, i)
			}})
		}
	}
	return append(all, convNets()...)
}

// prepare makes the workload of one kind. The definition's arrays have the channels before rows and columns.
func (l convLayer) prepare(ex *tensor.Executor, kind int) (*Prepared, error) {
	scale := math.Sqrt(3 / float64(l.C*l.R*l.S))
	x, err := channelsLast(ex, "x", array(1, product4(l.Images()), 1, 0), l.Images(), channelsFirst)
	if err != nil {
		return nil, err
	}
	w, err := channelsLast(ex, "w", array(100, product4(l.Weights()), scale, 0), l.Weights(), outputsFirst)
	if err != nil {
		return nil, err
	}
	d, err := channelsLast(ex, "d", array(2, product4(l.Result()), 1, 0), l.Result(), channelsFirst)
	if err != nil {
		return nil, err
	}
	k := convKinds[kind]
	order := channelsFirst
	if k.name == "dw" {
		order = outputsFirst
	}
	r := ex.Variable("r", tensor.Real, k.shape(l)...)
	f, err := ex.Compile(l.name, func() []tensor.Update {
		return []tensor.Update{{Var: r, Value: k.value(l, x.Node(), w.Node(), d.Node())}}
	})
	if err != nil {
		return nil, err
	}
	check := func() (float64, error) { return dotCheck(r, k.shape(l), order) }
	return &Prepared{Call: func() error { return f.Run(1) }, Per: 1, Check: check}, nil
}

// The axes of our arrays in the order of the definition: N, C, H, W of images and O, I, H, W of weights.
var channelsFirst, outputsFirst = [4]int{0, 3, 1, 2}, [4]int{3, 2, 0, 1}

// product4 is the number of elements of a shape.
func product4(shape []int) int { return shape[0] * shape[1] * shape[2] * shape[3] }

// places calls do with the number of each element in our order, and its number in the order of the definition.
func places(shape []int, order [4]int, do func(ours, theirs int)) {
	var step [4]int // of our axes in the definition's order
	for n, i := 1, 3; i >= 0; i-- {
		step[order[i]] = n
		n *= shape[order[i]]
	}
	ours := 0
	for a := range shape[0] {
		for b := range shape[1] {
			for c := range shape[2] {
				for d := range shape[3] {
					do(ours, a*step[0]+b*step[1]+c*step[2]+d*step[3])
					ours++
				}
			}
		}
	}
}

// channelsLast makes a variable of values that are given in the order of the definition.
func channelsLast(
	ex *tensor.Executor, name string, values []float32, shape []int, order [4]int,
) (*tensor.Variable, error) {
	return input(ex, name, turned(values, shape, order), shape...)
}

// turned are values given in the order of the definition, in ours.
func turned(values []float32, shape []int, order [4]int) []float32 {
	out := make([]float32, len(values))
	places(shape, order, func(ours, theirs int) { out[ours] = values[theirs] })
	return out
}

// dotCheck is 2 |r| + ⟨r, array 500⟩, in the order of the definition.
func dotCheck(r *tensor.Variable, shape []int, order [4]int) (float64, error) {
	values, err := r.Read()
	if err != nil {
		return 0, err
	}
	weights, dot, squares := array(500, len(values), 1, 0), 0.0, 0.0
	places(shape, order, func(ours, theirs int) {
		dot += values[ours] * float64(weights[theirs])
		squares += values[ours] * values[ours]
	})
	return 2*math.Sqrt(squares) + dot, nil
}

// convolution is a kernel: one kind of a layer.
func convolution(l convLayer, kind int) Kernel {
	k := convKinds[kind]
	bytes := 4 * float64(product4(l.Images())+product4(l.Weights())+product4(l.Result()))
	name, flops := fmt.Sprintf("%s %s", l.name, k.name), 2*float64(l.MultiplyAdds())
	return Kernel{name, flops, bytes, func(in *inputs) func() []tensor.Update {
		x, w, d := in.filled(l.Images()...), in.filled(l.Weights()...), in.filled(l.Result()...)
		r := in.ex.Variable("r", tensor.Real, k.shape(l)...)
		return func() []tensor.Update {
			return []tensor.Update{{Var: r, Value: k.value(l, x.Node(), w.Node(), d.Node())}}
		}
	}}
}
