package device_test

import (
	"errors"
	"testing"

	"bilevel/device"
	"bilevel/device/null"
	"bilevel/device/ref"
	"bilevel/internal/expr"
)

// FuzzValidate builds programs from bytes: nearly right ones with some fields spoilt. Validate must not panic, devices
// must agree with it, and what it accepts must run on the reference device without a panic; the only error that a valid
// program can end with is an index outside its table.
func FuzzValidate(f *testing.F) {
	f.Add([]byte{})
	for op := range byte(device.NumOp) {
		for fill := range byte(5) {
			seed := make([]byte, 200)
			for i := range seed {
				seed[i] = byte(i)*fill + fill
			}
			seed[0] = op
			f.Add(seed)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := source{data: data}
		code := []device.Instr{s.instr(), s.instr()}

		d, other := ref.New(), null.New()
		p, q := s.program(t, d, code), s.program(t, other, code)
		err := p.Validate()
		runner, refused := d.Prepare(p)
		_, refusedToo := other.Prepare(q)
		if (err == nil) != (refused == nil) || (err == nil) != (refusedToo == nil) {
			t.Fatalf("Validate: %v; ref: %v; null: %v", err, refused, refusedToo)
		}
		if err != nil || work(code) > 1e5 {
			return
		}
		if err := runner.Run(2); err != nil && !errors.Is(err, device.ErrIndex) {
			t.Fatal(err)
		}
	})
}

// source turns bytes into choices; when they are used up, every choice is the first.
type source struct{ data []byte }

func (s *source) below(n int) int {
	if len(s.data) == 0 {
		return 0
	}
	b := s.data[0]
	s.data = s.data[1:]
	return int(b) % n
}

// spoilt says, rarely, that the next field is to be wrong.
func (s *source) spoilt() bool { return s.below(32) == 31 }

// number is a small number, or one that looks for trouble.
func (s *source) number() int {
	return []int{0, 1, 2, 3, 4, 5, 7, -1, 1 << 20, 1 << 40, 1 << 62, -1 << 63}[s.below(12)]
}

// elements is the size of each buffer; numbers 0 and 1 are Real, 2 and 3 Int, 4 and 5 Byte.
const elements = 64

func (s *source) shape(rank int) []int {
	shape := make([]int, rank)
	for a := range shape {
		shape[a] = []int{2, 1, 3, 0, 4}[s.below(5)]
	}
	return shape
}

// view is a dense view of the right type and shape, or a transposed or repeated one, or something else.
func (s *source) view(typ device.Type, shape ...int) device.View {
	v := device.Dense(s.below(2)+2*int(typ), s.below(20), shape...)
	if n := len(shape); n > 1 && s.below(4) == 3 {
		v.Strides = append([]int{}, v.Strides...)
		v.Strides[0], v.Strides[n-1] = 1, shape[0]
	}
	if len(shape) > 0 && s.below(4) == 3 {
		v.Strides[s.below(len(shape))] = s.below(3)
	}
	if s.spoilt() {
		v.Buf = s.number()
	}
	if s.spoilt() {
		v.Off = s.number()
	}
	if len(shape) > 0 && s.spoilt() {
		v.Shape = append([]int{}, shape...)
		v.Shape[s.below(len(shape))] = s.number()
	}
	if len(shape) > 0 && s.spoilt() {
		v.Strides[s.below(len(shape))] = s.number()
	}
	if s.spoilt() {
		v.Shape = v.Shape[:len(v.Shape)/2]
	}
	return v
}

// expr makes an expression over inputs of the given types, mostly a valid one, with the given number of results.
func (s *source) expr(types []device.Type, rank, outs int) *expr.Expr {
	e := &expr.Expr{}
	for k := range types {
		e.Steps = append(e.Steps, expr.Step{Fn: expr.Input, Arg: k})
	}
	e.Steps = append(e.Steps, expr.Step{Fn: expr.Const, Const: float64(s.below(9)) - 4})
	if rank > 0 {
		e.Steps = append(e.Steps, expr.Step{Fn: expr.Iota, Arg: s.below(rank)})
	}
	for range s.below(6) {
		step := expr.Step{Fn: expr.Fn(s.below(int(expr.NumFn)))}
		for a := range step.Args {
			step.Args[a] = s.below(len(e.Steps))
		}
		if s.spoilt() {
			step.Fn, step.Arg, step.Args[s.below(3)] = expr.Fn(s.below(256)), s.number(), s.number()
		}
		trial := &expr.Expr{Steps: append(e.Steps[:len(e.Steps):len(e.Steps)], step), Outs: []int{0}}
		if _, err := trial.Types(types, rank); err == nil || s.spoilt() {
			e = trial
		}
	}
	e.Outs = nil
	for range outs {
		e.Outs = append(e.Outs, s.below(len(e.Steps)))
	}
	return e
}

func (s *source) instr() device.Instr {
	in := device.Instr{Op: device.Op(s.below(int(device.NumOp)))}
	real, int32s := device.Real, device.Int
	n, m, k := s.below(4), s.below(4), s.below(4)
	switch in.Op {
	case device.Gemm:
		b := 1 + s.below(2)
		a := device.GemmAttr{MaskA: s.below(2) == 1, MaskB: s.below(2) == 1}
		in.In = []device.View{s.view(real, b, n, k), s.view(real, b, k, m)}
		if a.MaskA {
			in.In = append(in.In, s.view(real, b, n, k))
		}
		if a.MaskB {
			in.In = append(in.In, s.view(real, b, k, m))
		}
		if s.below(2) == 1 {
			in.In = append(in.In, s.view(real, b, n, m))
			a.Epilogue = s.expr([]device.Type{real, real}, 3, 1)
		}
		in.Attr, in.Out = a, []device.View{s.view(real, b, n, m)}
	case device.Map, device.Reduce:
		shape := s.shape(s.below(4))
		types := []device.Type{real, int32s, real}[:s.below(4)]
		for _, t := range types {
			in.In = append(in.In, s.view(t, shape...))
		}
		e := s.expr(types, len(shape), 1+s.below(2))
		values, err := e.Types(types, len(shape))
		kept, a := append([]int{}, shape...), device.ReduceAttr{Shape: shape, Expr: e}
		for axis := range shape {
			if s.below(2) == 1 {
				a.Axes, kept[axis] = append(a.Axes, axis), 1
			}
		}
		a.Kinds = []device.ReduceKind{device.ReduceKind(s.below(2))}
		if s.spoilt() {
			a.Shape, a.Axes, a.Kinds[0] = s.shape(2), []int{s.number()}, 9
		}
		for i, o := range e.Outs {
			typ, space := device.Real, shape
			if err == nil {
				typ = values[o]
			}
			if in.Op == device.Reduce && i == 0 {
				space = kept
			}
			in.Out = append(in.Out, s.view(typ, space...))
		}
		in.Attr = a
		if in.Op == device.Map {
			in.Attr = device.MapAttr{Shape: shape, Expr: e}
		}
	case device.RowSoftmax:
		a := device.SoftmaxAttr{Kind: device.SoftmaxKind(s.below(3))}
		in.Attr, in.In, in.Out = a, []device.View{s.view(real, n, m)}, []device.View{s.view(real, n, m)}
		if a.Kind == device.CrossEntropy {
			in.In, in.Out = append(in.In, s.view(int32s, n)), []device.View{s.view(real, n)}
		}
	case device.Conv:
		shape := device.ConvShape{
			N: s.below(3), H: 1 + s.below(3), W: 1 + s.below(3), C: 1 + s.below(2), K: 1 + s.below(2),
			R: 1 + s.below(3), S: 1 + s.below(2), StrideH: 1 + s.below(2), StrideW: 1 + s.below(3),
			DilationH: 1 + s.below(2), DilationW: 1, Top: s.below(3), Bottom: s.below(2), Left: s.below(2),
			Right: s.below(3), Groups: 1 + s.below(2),
		}
		if s.spoilt() {
			shape.H, shape.StrideW, shape.Groups = s.number(), s.number(), s.number()
		}
		a := device.ConvAttr{Kind: device.ConvKind(s.below(3)), Shape: shape}
		var shapes [3][]int
		if shape.Check() == nil {
			shapes = [3][]int{shape.Images(), shape.Weights(), shape.Result()}
		}
		slots := device.ConvSlots[a.Kind]
		in.In = []device.View{s.view(real, shapes[slots[0]]...), s.view(real, shapes[slots[1]]...)}
		if s.below(2) == 1 {
			in.In = append(in.In, s.view(real, shapes[slots[2]]...))
			a.Epilogue = s.expr([]device.Type{real, real}, 4, 1)
		}
		in.Attr, in.Out = a, []device.View{s.view(real, shapes[slots[2]]...)}
	case device.Pool:
		shape := device.PoolShape{
			N: s.below(3), H: 1 + s.below(3), W: 1 + s.below(3), C: 1 + s.below(3), R: 1 + s.below(3),
			S: 1 + s.below(2), StrideH: 1 + s.below(2), StrideW: 1 + s.below(3), Top: s.below(2), Right: s.below(2),
			CountPadding: s.below(2) == 1,
		}
		if s.spoilt() {
			shape.W, shape.R, shape.Top = s.number(), s.number(), s.number()
		}
		a := device.PoolAttr{Kind: device.PoolKind(s.below(5)), Shape: shape}
		var images, result []int
		if shape.Check() == nil {
			images, result = shape.Images(), shape.Result()
		}
		shapes := [][][]int{
			device.AveragePool: {images, result}, device.AveragePoolAdjoint: {result, images},
			device.MaxPool: {images, result}, device.MaxPoolTangent: {images, images, result},
			device.MaxPoolAdjoint: {images, result, images},
		}[a.Kind]
		for _, shape := range shapes[:len(shapes)-1] {
			in.In = append(in.In, s.view(real, shape...))
		}
		in.Attr, in.Out = a, []device.View{s.view(real, shapes[len(shapes)-1]...)}
	case device.Gather:
		typ := device.Type(s.below(3))
		out := typ
		if typ == device.Byte {
			out = real
		}
		in.In, in.Out = []device.View{s.view(typ, n, m), s.view(int32s, k)}, []device.View{s.view(out, k, m)}
	case device.ScatterAdd:
		in.In, in.Out = []device.View{s.view(real, n, m), s.view(int32s, k), s.view(real, k, m)}, []device.View{
			s.view(real, n, m),
		}
	case device.Order:
		in.Attr, in.In, in.Out = device.OrderAttr{}, []device.View{s.view(real, n, m+1)}, []device.View{
			s.view(int32s, n),
		}
		if s.below(2) == 1 {
			in.Attr, in.Out = device.OrderAttr{Kind: device.KthLargest}, []device.View{s.view(int32s, 1)}
			in.In = []device.View{s.view(int32s, 1), s.view(real, n), s.view(real, m), s.view(real, 3*k)}[:2+s.below(3)]
		}
	case device.Random:
		a := device.RandomAttr{Kind: device.RandomKind(s.below(4)), N: uint32(s.below(3))}
		in.Attr, in.In = a, []device.View{s.view(int32s, 2), s.view(int32s, 1)}
		in.Out = []device.View{s.view([]device.Type{int32s, int32s, real, real}[a.Kind], 5*n)}
	case device.Copy:
		shape := s.shape(s.below(4))
		in.In, in.Out = []device.View{s.view(device.Type(s.below(2)), shape...)}, []device.View{
			s.view(device.Type(s.below(2)), shape...),
		}
	}
	if s.spoilt() {
		in.Op = device.Op(s.below(256))
	}
	if s.spoilt() {
		in.Attr = nil
	}
	if s.spoilt() {
		in.In = in.In[:len(in.In)/2]
	}
	if s.spoilt() {
		in.Out = nil
	}
	return in
}

// program binds the code to two buffers of each type of a device, filled with small numbers.
func (s *source) program(t *testing.T, d device.Device, code []device.Instr) *device.Program {
	p := &device.Program{Name: "fuzz", Code: code}
	reals, ints := make([]float32, elements), make([]int32, elements)
	for i := range elements {
		reals[i], ints[i] = float32(i%7)-3, int32(i%3)
	}
	for i := range 6 {
		b, err := d.Alloc(device.Type(i/2), elements)
		if err != nil {
			t.Fatal(err)
		}
		h := device.Float32s(reals)
		switch b.Type() {
		case device.Int:
			h = device.Int32s(ints)
		case device.Byte:
			h = device.Bytes(make([]byte, elements))
		}
		if err := d.Upload(b, 0, h); err != nil {
			t.Fatal(err)
		}
		p.Buffers = append(p.Buffers, b)
	}
	return p
}

// work is about how many points a valid program visits: stride zero makes large shapes valid.
func work(code []device.Instr) int {
	n := 0
	for _, in := range code {
		for _, v := range append(in.In, in.Out...) {
			n = max(n, v.Size())
		}
		switch a := in.Attr.(type) {
		case device.MapAttr:
			n = max(n, device.Size(a.Shape))
		case device.ReduceAttr:
			n = max(n, device.Size(a.Shape))
		case device.GemmAttr:
			n = max(n, in.In[0].Size()*max(1, in.In[1].Shape[2]), in.In[1].Size()*max(1, in.In[0].Shape[1]))
		case device.ConvAttr:
			n = max(n, a.Shape.MultiplyAdds(), in.Out[0].Size()*a.Shape.R*a.Shape.S)
		case device.PoolAttr:
			n = max(n, in.Out[0].Size()*a.Shape.R*a.Shape.S)
		}
	}
	return n
}
