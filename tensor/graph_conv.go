package tensor

import (
	"slices"

	"bilevel/device"
)

// Images are [n,h,w,c]: n images of h rows, w columns and c channels, the channels of a pixel side by side.

// A WindowOption says where the windows of a convolution or a pool lie in images.
type WindowOption func(*windows)

// windows are where the options leave what they say, by rows and by columns.
type windows struct {
	strideH, strideW         int
	dilationH, dilationW     int
	top, bottom, left, right int
	groups                   int
	pixels                   bool
}

// Stride puts windows so many rows and columns apart. Without it those of a convolution lie at every pixel, and those
// of a pool side by side.
func Stride(rows, columns int) WindowOption {
	return func(w *windows) { w.strideH, w.strideW = rows, columns }
}

// Padding puts so many rows and columns around the images: zeros for a convolution and an average, nothing for a
// maximum.
func Padding(top, bottom, left, right int) WindowOption {
	return func(w *windows) { w.top, w.bottom, w.left, w.right = top, bottom, left, right }
}

// Dilation puts the taps of a kernel so many rows and columns apart.
func Dilation(rows, columns int) WindowOption {
	return func(w *windows) { w.dilationH, w.dilationW = rows, columns }
}

// Groups divides the channels into so many groups, input and output channels in a row; each output channel reads the
// input channels of its group alone. With as many groups as channels, each channel is a convolution of its own.
func Groups(n int) WindowOption { return func(w *windows) { w.groups = n } }

// PixelsOnly makes an average divide by the number of pixels in its window, not by the size of the window with its
// padding. PyTorch calls it count_include_pad=False.
func PixelsOnly() WindowOption { return func(w *windows) { w.pixels = true } }

func optioned(w windows, options []WindowOption) windows {
	for _, o := range options {
		o(&w)
	}
	return w
}

// Conv2D convolves images x [n,h,w,c] with kernels w [r,s,c/groups,k] to [n,p,q,k]:
//
//	y[n,p,q,k] = Σ over r,s,c of x[n, p·strideH + r·dilationH - top, q·strideW + s·dilationW - left, c] w[r,s,c,k]
//
// (device.ConvShape has the rest). It has derivatives of any order, which are convolutions and their gradients again. A
// bias, an activation and a residual sum that follow are computed with it.
func Conv2D(x, w *Node, options ...WindowOption) *Node {
	const name = "Conv2D"
	for _, n := range []*Node{x, w} {
		n.want(name, Real)
		n.wantRank(name, 4)
	}
	o := optioned(windows{strideH: 1, strideW: 1, dilationH: 1, dilationW: 1, groups: 1}, options)
	s := device.ConvShape{
		N: x.shape[0], H: x.shape[1], W: x.shape[2], C: x.shape[3], K: w.shape[3], R: w.shape[0], S: w.shape[1],
		StrideH: o.strideH, StrideW: o.strideW, DilationH: o.dilationH, DilationW: o.dilationW,
		Top: o.top, Bottom: o.bottom, Left: o.left, Right: o.right, Groups: o.groups,
	}
	if err := s.Check(); err != nil {
		fail(name, "images %v by kernels %v: %v", x.shape, w.shape, err)
	}
	if w.shape[2] != s.C/s.Groups {
		fail(name, "images %v by kernels %v: wants kernels for %d channels, those of one of %d groups", x.shape,
			w.shape, s.C/s.Groups, s.Groups)
	}
	return conv(device.ConvForward, s, x, w)
}

// conv is one kind of a convolution.
func conv(kind device.ConvKind, s device.ConvShape, a, b *Node) *Node {
	shapes := [3][]int{s.Images(), s.Weights(), s.Result()}
	return newNode(Node{
		op: opConv, attr: device.ConvAttr{Kind: kind, Shape: s}, shape: shapes[device.ConvSlots[kind][2]],
		in: []*Node{a, b},
	})
}

// convTangent replaces one operand after the other by its tangent.
func convTangent(n *Node, t []*Node) *Node {
	a := n.attr.(device.ConvAttr)
	var sum *Node
	if t[0] != nil {
		sum = conv(a.Kind, a.Shape, t[0], n.in[1])
	}
	if t[1] != nil {
		sum = plus(sum, conv(a.Kind, a.Shape, n.in[0], t[1]))
	}
	return sum
}

// convCotangents puts the cotangent in the place of the array that n computes; the cotangent of an operand is the form
// Σ y·x·w with that operand left out.
func convCotangents(n, g *Node, need []bool) []*Node {
	a := n.attr.(device.ConvAttr)
	slots := device.ConvSlots[a.Kind]
	var arrays [3]*Node
	arrays[slots[0]], arrays[slots[1]], arrays[slots[2]] = n.in[0], n.in[1], g
	out := make([]*Node, 2)
	for i := range out {
		for kind, s := range device.ConvSlots {
			if need[i] && s[2] == slots[i] {
				out[i] = conv(device.ConvKind(kind), a.Shape, arrays[s[0]], arrays[s[1]])
			}
		}
	}
	return out
}

// MaxPool2D is the maximum of each window of r rows and s columns of images, channel by channel; NaN wins. Its
// derivative goes to the first of equals, by rows.
func MaxPool2D(x *Node, r, s int, options ...WindowOption) *Node {
	return pool("MaxPool2D", device.MaxPool, x, r, s, options)
}

// AvgPool2D is the average of each window of r rows and s columns of images, channel by channel. Zeros around the
// images count, unless PixelsOnly is given.
func AvgPool2D(x *Node, r, s int, options ...WindowOption) *Node {
	return pool("AvgPool2D", device.AveragePool, x, r, s, options)
}

// GlobalAvgPool is the average over all pixels of images [n,h,w,c]: [n,c].
func GlobalAvgPool(x *Node) *Node {
	x.wantRank("GlobalAvgPool", 4)
	return x.Mean(1, 2)
}

// PadImages puts rows and columns of zeros around images [n,h,w,c]. A convolution needs none: it takes Padding.
func PadImages(x *Node, top, bottom, left, right int) *Node {
	x.wantRank("PadImages", 4)
	return x.Pad(1, top, bottom).Pad(2, left, right)
}

func pool(name string, kind device.PoolKind, x *Node, r, s int, options []WindowOption) *Node {
	x.want(name, Real)
	x.wantRank(name, 4)
	o := optioned(windows{strideH: r, strideW: s}, options)
	if o.dilationH != 0 || o.dilationW != 0 || o.groups != 0 {
		fail(name, "Dilation and Groups are options of Conv2D: windows of a pool have neither")
	}
	shape := device.PoolShape{
		N: x.shape[0], H: x.shape[1], W: x.shape[2], C: x.shape[3], R: r, S: s, StrideH: o.strideH, StrideW: o.strideW,
		Top: o.top, Bottom: o.bottom, Left: o.left, Right: o.right, CountPadding: !o.pixels,
	}
	if err := shape.Check(); err != nil {
		fail(name, "images %v: %v", x.shape, err)
	}
	return pooled(kind, shape, x)
}

// pooled is one kind of a pool; the last of in is what it is linear in, unless it is a maximum.
func pooled(kind device.PoolKind, s device.PoolShape, in ...*Node) *Node {
	shape := s.Result()
	if kind == device.AveragePoolAdjoint || kind == device.MaxPoolAdjoint {
		shape = s.Images()
	}
	return newNode(Node{op: opPool, attr: device.PoolAttr{Kind: kind, Shape: s}, shape: shape, in: slices.Clone(in)})
}

// poolRules gives, for each kind of a pool, the kinds that multiply a tangent by its derivative, and a cotangent by its
// transpose. Those of a maximum also read x, by whose maxima they choose; where these are does not change with x.
var poolRules = [...]struct{ tangent, cotangent device.PoolKind }{
	device.AveragePool:        {device.AveragePool, device.AveragePoolAdjoint},
	device.AveragePoolAdjoint: {device.AveragePoolAdjoint, device.AveragePool},
	device.MaxPool:            {device.MaxPoolTangent, device.MaxPoolAdjoint},
	device.MaxPoolTangent:     {device.MaxPoolTangent, device.MaxPoolAdjoint},
	device.MaxPoolAdjoint:     {device.MaxPoolAdjoint, device.MaxPoolTangent},
}

// poolLinear applies such a kind to a direction.
func poolLinear(n *Node, kind device.PoolKind, direction *Node) *Node {
	a := n.attr.(device.PoolAttr)
	if kind == device.AveragePool || kind == device.AveragePoolAdjoint {
		return pooled(kind, a.Shape, direction)
	}
	d := pooled(kind, a.Shape, n.in[0], direction)
	if kind == device.MaxPoolAdjoint {
		return marked(d) // the pixels that are no maximum hold zeros by selection
	}
	return d
}

func poolTangent(n *Node, t []*Node) *Node {
	direction := t[len(t)-1]
	if direction == nil { // x alone changes, by whose maxima others are chosen
		return nil
	}
	return poolLinear(n, poolRules[n.attr.(device.PoolAttr).Kind].tangent, direction)
}

func poolCotangents(n, g *Node, need []bool) []*Node {
	out := make([]*Node, len(n.in))
	if last := len(out) - 1; need[last] {
		out[last] = poolLinear(n, poolRules[n.attr.(device.PoolAttr).Kind].cotangent, g)
	}
	return out
}
