package tensor

import (
	"math"
	"slices"

	"bilevel/device"
	"bilevel/internal/expr"
	"bilevel/internal/philox"
)

// array is a value in row-major order: real or ints, by its type.
type array struct {
	typ   Type
	shape []int
	real  []float64
	ints  []int32
}

func newArray(t Type, shape []int) array {
	a := array{typ: t, shape: shape}
	if t == Int {
		a.ints = make([]int32, device.Size(shape))
	} else {
		a.real = make([]float64, device.Size(shape))
	}
	return a
}

// put copies one element between arrays of one type.
func (a array) put(i int, from array, k int) {
	if a.typ == Int {
		a.ints[i] = from.ints[k]
	} else {
		a.real[i] = from.real[k]
	}
}

// position is the place of an index in a row-major array; axes of length 1 repeat.
func position(shape, idx []int) int {
	p := 0
	for a, d := range shape {
		p *= d
		if d != 1 {
			p += idx[a]
		}
	}
	return p
}

// each visits the indices of a shape in row-major order.
func each(shape []int, f func(idx []int)) {
	for p := range device.Size(shape) {
		idx := make([]int, len(shape))
		for a := len(shape) - 1; a >= 0; a-- {
			idx[a], p = p%shape[a], p/shape[a]
		}
		f(idx)
	}
}

// interpreter evaluates graphs node by node with plain loops: what the passes, the plan and a device together must
// come to. It knows nothing of them.
type interpreter struct {
	state   map[*Variable]array
	memo    map[*Node]array
	largest float64 // of all Real values met; +Inf where one was not finite
}

func newInterpreter(state map[*Variable]array) *interpreter {
	return &interpreter{state: state, memo: map[*Node]array{}}
}

func (it *interpreter) eval(n *Node) array {
	if v, ok := it.memo[n]; ok {
		return v
	}
	in := make([]array, len(n.in))
	for i, p := range n.in {
		in[i] = it.eval(p)
	}
	out := newArray(n.typ, n.shape)
	switch n.op {
	case opConst:
		out.real[0] = n.num
	case opVar:
		out = it.state[n.v]
	case opReshape, opStop, opDense:
		for i := range n.Size() {
			out.put(i, in[0], i)
		}
	case opPow:
		for i, v := range in[0].real {
			out.real[i] = math.Pow(v, n.num)
		}
	case opGuarded:
		evalElem(n, in, out)
		for i, guards := range n.ints {
			for k, v := range in[i].real {
				if guards != 0 && v == 0 {
					out.real[k] = 0
				}
			}
		}
	case opCentre:
		out = it.eval(composeCentre(n))
	case opElem:
		evalElem(n, in, out)
	case opRandom:
		evalRandom(n, in, out)
	default:
		evalMove(n, in, out)
	}
	for _, v := range out.real {
		if v = math.Abs(v); !(v <= it.largest) {
			it.largest = v
		}
		if math.IsNaN(v) {
			it.largest = math.Inf(1)
		}
	}
	it.memo[n] = out
	return out
}

func evalElem(n *Node, in []array, out array) {
	each(n.shape, func(idx []int) {
		i := position(n.shape, idx)
		var r [3]float64
		var k [3]int32
		for j, a := range in {
			if a.typ == Int {
				k[j] = a.ints[i]
			} else {
				r[j] = a.real[i]
			}
		}
		truth := func(b bool) float64 {
			if b {
				return 1
			}
			return 0
		}
		switch n.fn {
		case expr.IConst:
			out.ints[i] = int32(n.num)
		case expr.Iota:
			out.ints[i] = int32(idx[n.ints[0]])
		case expr.IAdd:
			out.ints[i] = k[0] + k[1]
		case expr.ISub:
			out.ints[i] = k[0] - k[1]
		case expr.IMul:
			out.ints[i] = k[0] * k[1]
		case expr.ILt:
			out.real[i] = truth(k[0] < k[1])
		case expr.IEq:
			out.real[i] = truth(k[0] == k[1])
		case expr.ToReal:
			out.real[i] = float64(k[0])
		case expr.ToInt:
			if v := math.Trunc(r[0]); math.Abs(v) < 1<<31 {
				out.ints[i] = int32(v)
			}
		default:
			out.real[i] = expr.Table[n.fn].Eval(r[0], r[1], r[2])
		}
	})
}

func evalRandom(n *Node, in []array, out array) {
	key := uint64(uint32(in[0].ints[0])) | uint64(uint32(in[0].ints[1]))<<32
	for i := range n.Size() {
		bits := philox.Block(key, uint32(in[1].ints[0]), n.rnd.Stream, uint64(i/4))[i%4]
		switch n.rnd.Kind {
		case device.Integers:
			out.ints[i] = philox.Integer(bits, n.rnd.N)
		case device.Uniform:
			out.real[i] = float64(philox.Uniform(bits))
		case device.Normal:
			out.real[i] = float64(philox.Normal(bits))
		}
	}
}

// evalMove is what is neither elementwise nor a leaf.
func evalMove(n *Node, in []array, out array) {
	x := in[0]
	row := 1 // elements of a row of a Gather's or ScatterAdd's table
	if len(n.shape) > 0 {
		row = device.Size(n.shape[1:])
	}
	if n.op == opReduce && n.kind == device.Maximum {
		for i := range out.real {
			out.real[i] = math.Inf(-1)
		}
	}
	switch n.op {
	case opPermute, opExpand, opSlice:
		each(n.shape, func(idx []int) {
			from := make([]int, len(x.shape))
			for a := range n.shape {
				switch {
				case n.op == opPermute:
					from[n.ints[a]] = idx[a]
				case n.op == opExpand && a >= len(n.shape)-len(x.shape):
					from[a-len(n.shape)+len(x.shape)] = idx[a]
				case n.op == opSlice:
					from[a] = idx[a]
				}
			}
			if n.op == opSlice {
				from[n.ints[0]] += n.ints[1]
			}
			if n.op == opSlice || n.op == opPermute {
				out.put(position(n.shape, idx), x, denseAt(x.shape, from))
			} else {
				out.put(position(n.shape, idx), x, position(x.shape, from))
			}
		})
	case opReduce:
		each(x.shape, func(idx []int) {
			v := x.real[position(x.shape, idx)]
			for _, a := range n.ints {
				idx[a] = 0
			}
			if o := &out.real[position(n.shape, idx)]; n.kind == device.Maximum {
				*o = max(*o, v)
			} else {
				*o += v
			}
		})
	case opMatMul:
		each(n.shape, func(idx []int) {
			r := len(idx)
			left, right := slices.Clone(idx), slices.Clone(idx)
			sum := 0.0
			for k := range x.shape[r-1] {
				left[r-1], right[r-2] = k, k
				sum += x.real[position(x.shape, left)] * in[1].real[position(in[1].shape, right)]
			}
			out.real[position(n.shape, idx)] = sum
		})
	case opSoftmax:
		evalSoftmax(n, in, out)
	case opConv:
		evalConv(n.attr.(device.ConvAttr), in, out)
	case opPool:
		evalPool(n.attr.(device.PoolAttr), in, out)
	case opGather:
		for j, k := range in[1].ints {
			for c := range row {
				out.put(j*row+c, x, int(k)*row+c)
			}
		}
	case opScatter:
		copy(out.real, x.real)
		for j, k := range in[1].ints {
			for c := range row {
				out.real[int(k)*row+c] += in[2].real[j*row+c]
			}
		}
	case opArgMax:
		for r := range out.ints {
			z := x.real[r*x.shape[1] : (r+1)*x.shape[1]]
			out.ints[r] = int32(slices.Index(z, slices.Max(z)))
		}
	case opKth:
		out.ints[0] = evalKth(int(x.ints[0]), in[1:])
	case opConcat, opPad:
		at := 0
		if n.op == opPad {
			at = n.ints[1]
		}
		for _, p := range in {
			each(p.shape, func(idx []int) {
				to := slices.Clone(idx)
				to[n.ints[0]] += at
				out.put(denseAt(n.shape, to), p, position(p.shape, idx))
			})
			at += p.shape[n.ints[0]]
		}
	default:
		panic("interpreter: " + rules[n.op].name)
	}
}

// evalKth counts, for every element, those before it.
func evalKth(k int, parts []array) int32 {
	var all []float64
	for _, p := range parts {
		all = append(all, p.real...)
	}
	for i, v := range all {
		before := 0
		for j, w := range all {
			if w > v || math.IsNaN(w) && !math.IsNaN(v) || j < i && (w == v || math.IsNaN(w) && math.IsNaN(v)) {
				before++
			}
		}
		if before == k-1 {
			return int32(i)
		}
	}
	panic("interpreter: no such k")
}

// denseAt is position without repetition.
func denseAt(shape, idx []int) int {
	p := 0
	for a, d := range shape {
		p = p*d + idx[a]
	}
	return p
}

func evalSoftmax(n *Node, in []array, out array) {
	rows, cols := in[0].shape[0], in[0].shape[1]
	for r := range rows {
		z := in[0].real[r*cols : (r+1)*cols]
		top, s := math.Inf(-1), 0.0
		for _, v := range z {
			top = max(top, v)
		}
		for _, v := range z {
			s += math.Exp(v - top)
		}
		lse := top + math.Log(s)
		if n.soft == device.CrossEntropy {
			out.real[r] = math.NaN()
			if k := int(in[1].ints[r]); k >= 0 && k < cols {
				out.real[r] = lse - z[k]
			}
			continue
		}
		for c, v := range z {
			out.real[r*cols+c] = v - lse
			if n.soft == device.Softmax {
				out.real[r*cols+c] = math.Exp(v-top) / s
			}
		}
	}
}
