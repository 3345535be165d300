package devicetest

import (
	"slices"
	"strings"
	"testing"

	"bilevel/device"
	"bilevel/device/ref"
	"bilevel/internal/expr"
)

// narrow makes a 64-bit device look like one of 32 bits: what comes back is rounded.
type narrow struct{ device.Device }

func (d narrow) Info() device.Info {
	i := d.Device.Info()
	i.RealBits = 32
	return i
}

func (d narrow) Download(dst device.HostSlice, src device.Buffer, off int) error {
	err := d.Device.Download(dst, src, off)
	for i, x := range dst.F64 {
		dst.F64[i] = float64(float32(x))
	}
	return err
}

// broken is a device with one fault, in one of three places: it prepares another program than it was given, does
// something to the memory after each run, or answers a call of its own wrongly.
type broken struct {
	device.Device
	alter  func(*device.Instr)                      // changes instructions, on a copy
	after  func(d device.Device, p *device.Program) // runs after the program
	repeat func(n int) int                          // how often it really runs
	hide   bool                                     // run errors are lost
	upload func(off int) int                        // where uploads really go
	alloc  func(d device.Device, b device.Buffer)   // does something to new buffers
}

func (d *broken) Alloc(t device.Type, n int) (device.Buffer, error) {
	b, err := d.Device.Alloc(t, n)
	if err == nil && d.alloc != nil {
		d.alloc(d.Device, b)
	}
	return b, err
}

func (d *broken) Upload(b device.Buffer, off int, h device.HostSlice) error {
	if d.upload != nil {
		off = d.upload(off)
	}
	return d.Device.Upload(b, off, h)
}

func (d *broken) Prepare(p *device.Program) (device.Runner, error) {
	q := *p
	if d.alter != nil {
		if err := p.Validate(); err != nil {
			return nil, err
		}
		q.Code = slices.Clone(p.Code)
		for i := range q.Code {
			q.Code[i].In, q.Code[i].Out = slices.Clone(p.Code[i].In), slices.Clone(p.Code[i].Out)
			d.alter(&q.Code[i])
		}
	}
	r, err := d.Device.Prepare(&q)
	return brokenRunner{r, d, p}, err
}

type brokenRunner struct {
	device.Runner
	d *broken
	p *device.Program
}

func (r brokenRunner) Run(n int) error {
	if r.d.repeat != nil {
		n = r.d.repeat(n)
	}
	err := r.Runner.Run(n)
	if r.d.hide {
		err = nil
	}
	if r.d.after != nil {
		r.d.after(r.d.Device, r.p)
	}
	return err
}

func (r brokenRunner) Close() error {
	if r.Runner == nil {
		return nil
	}
	return r.Runner.Close()
}

// on limits a fault to one operation.
func on(op device.Op, f func(*device.Instr)) func(*device.Instr) {
	return func(in *device.Instr) {
		if in.Op == op {
			f(in)
		}
	}
}

// poke changes one element of a buffer by a factor, or an Int by one.
func poke(d device.Device, b device.Buffer, at int, factor float64) {
	if at < 0 || at >= b.Len() {
		return
	}
	if b.Type() == device.Int {
		x := make([]int32, 1)
		d.Download(device.Int32s(x), b, at)
		x[0]++
		d.Upload(b, at, device.Int32s(x))
		return
	}
	x := make([]float64, 1)
	d.Download(device.Float64s(x), b, at)
	x[0] = x[0]*factor + 0x1p-100
	d.Upload(b, at, device.Float64s(x))
}

// last is the place of a view's last element, -1 if it has none.
func last(v device.View) int {
	p := v.Off
	for a, d := range v.Shape {
		if d == 0 {
			return -1
		}
		p += (d - 1) * v.Strides[a]
	}
	return p
}

// failures runs the cases with the given prefix and lists the first three that fail. A program that the fault makes
// invalid is not a failure: the suite is to see wrong results, not to be told of them.
func failures(d device.Device, prefix string) []string {
	var names []string
	for _, c := range Cases() {
		if len(names) == 3 {
			break
		}
		if !strings.HasPrefix(c.Name, prefix) {
			continue
		}
		if err := c.Run(d); err != nil && !strings.Contains(err.Error(), "device: program") {
			names = append(names, c.Name)
		}
	}
	return names
}

// TestFaultsAreFound breaks the reference device in many ways; the suite must see each.
func TestFaultsAreFound(t *testing.T) {
	for op := range device.NumOp {
		t.Run(op.String(), func(t *testing.T) { everyOperation(t, op) })
	}
	for _, c := range []struct {
		name   string
		prefix string // of the cases that must see it
		d      *broken
	}{
		{"mask A ignored", "Gemm/", &broken{alter: on(device.Gemm, func(in *device.Instr) {
			if a := in.Attr.(device.GemmAttr); a.MaskA {
				a.MaskA, in.In = false, slices.Delete(in.In, 2, 3)
				in.Attr = a
			}
		})}},
		{"mask B ignored", "Gemm/", &broken{alter: on(device.Gemm, func(in *device.Instr) {
			if a := in.Attr.(device.GemmAttr); a.MaskB && !a.MaskA {
				a.MaskB, in.In = false, slices.Delete(in.In, 2, 3)
				in.Attr = a
			}
		})}},
		{"epilogue ignored", "Gemm/", &broken{alter: on(device.Gemm, func(in *device.Instr) {
			a := in.Attr.(device.GemmAttr)
			if a.Epilogue != nil {
				a.Epilogue = input0()
				in.Attr = a
			}
		})}},
		{"one batch for all", "Gemm/", &broken{alter: on(device.Gemm, func(in *device.Instr) {
			in.In[0].Strides = append([]int{0}, in.In[0].Strides[1:]...)
		})}},
		{"last column of k lost", "Gemm/", &broken{alter: on(device.Gemm, func(in *device.Instr) {
			if k := in.In[0].Shape[2]; k > 512 && len(in.In) == 2 {
				in.In[0].Shape = []int{in.In[0].Shape[0], in.In[0].Shape[1], k - 1}
				in.In[1].Shape = []int{in.In[1].Shape[0], k - 1, in.In[1].Shape[2]}
			}
		})}},
		{"above for below", "Conv/", &broken{alter: on(device.Conv, convShape(func(s *device.ConvShape) {
			s.Top, s.Bottom = s.Bottom, s.Top
		}))}},
		{"left for right", "Conv/", &broken{alter: on(device.Conv, convShape(func(s *device.ConvShape) {
			s.Left, s.Right = s.Right, s.Left
		}))}},
		{"dilation for stride where the result is as large", "Conv/", &broken{alter: on(device.Conv,
			convShape(func(s *device.ConvShape) {
				s.StrideH, s.DilationH = s.DilationH, s.StrideH
				s.StrideW, s.DilationW = s.DilationW, s.StrideW
			}))}},
		{"epilogue ignored", "Conv/", &broken{alter: on(device.Conv, func(in *device.Instr) {
			a := in.Attr.(device.ConvAttr)
			if a.Epilogue != nil {
				a.Epilogue = input0()
				in.Attr = a
			}
		})}},
		{"padding counted or not", "Pool/", &broken{alter: on(device.Pool, func(in *device.Instr) {
			a := in.Attr.(device.PoolAttr)
			a.Shape.CountPadding = !a.Shape.CountPadding
			in.Attr = a
		})}},
		{"the tangent's own maximum", "Pool/", &broken{alter: on(device.Pool, func(in *device.Instr) {
			if in.Attr.(device.PoolAttr).Kind == device.MaxPoolTangent {
				in.In[0] = in.In[1]
			}
		})}},
		{"maximum for sum", "Reduce/", &broken{alter: on(device.Reduce, func(in *device.Instr) {
			a := in.Attr.(device.ReduceAttr)
			a.Kinds = make([]device.ReduceKind, len(a.Kinds))
			in.Attr = a
		})}},
		{"softmax for log-softmax", "RowSoftmax/", &broken{alter: on(device.RowSoftmax, func(in *device.Instr) {
			if in.Attr.(device.SoftmaxAttr).Kind == device.LogSoftmax {
				in.Attr = device.SoftmaxAttr{}
			}
		})}},
		{"k off by one", "Order/kth/", &broken{alter: on(device.Order, func(in *device.Instr) {
			if in.Attr.(device.OrderAttr).Kind == device.KthLargest {
				in.In[0].Off-- // what lies before k
			}
		})}},
		{"arrays in another order", "Order/kth/", &broken{alter: on(device.Order, func(in *device.Instr) {
			if in.Attr.(device.OrderAttr).Kind == device.KthLargest {
				slices.Reverse(in.In[1:])
			}
		})}},
		{"k out of range not told", "Order/kth/k", &broken{hide: true}},
		{"stream ignored", "Random/", &broken{alter: on(device.Random, func(in *device.Instr) {
			a := in.Attr.(device.RandomAttr)
			a.Stream = 0
			in.Attr = a
		})}},
		{"step taken for seed", "Random/", &broken{alter: on(device.Random, func(in *device.Instr) {
			in.In[1] = device.View{Buf: in.In[0].Buf, Off: in.In[0].Off, Shape: []int{1}, Strides: []int{1}}
		})}},
		{"high word of the seed lost", "Random/", &broken{alter: on(device.Random, func(in *device.Instr) {
			in.In[0].Strides = []int{0}
		})}},
		{"runs once", "Program/counter", &broken{repeat: func(n int) int { return min(n, 1) }}},
		{"runs at least once", "Program/run-0", &broken{repeat: func(n int) int { return max(n, 1) }}},
		{"index errors lost", "Gather/index", &broken{hide: true}},
		{"index errors lost", "ScatterAdd/index", &broken{hide: true}},
		{"upload offset ignored", "Memory/transfer/", &broken{upload: func(int) int { return 0 }}},
		{"new memory is dirty", "Memory/alloc/zeroed",
			&broken{alloc: func(d device.Device, b device.Buffer) { poke(d, b, b.Len()/2, 1) }}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.d.Device = ref.New()
			found := failures(c.d, c.prefix)
			if len(found) == 0 {
				t.Errorf("no case %s… sees it", c.prefix)
			}
			t.Logf("seen by %v", found)
		})
	}
}

// unseen are the faults that no case of some operations can see: their operands and outputs lie densely, and a Pool
// has no other inputs.
var unseen = map[string][]device.Op{
	"writes between rows":    {device.Conv, device.Pool},
	"output strides ignored": {device.Conv, device.Pool},
	"input strides ignored":  {device.Pool},
}

// convShape changes the geometry of a convolution.
func convShape(change func(*device.ConvShape)) func(*device.Instr) {
	return func(in *device.Instr) {
		a := in.Attr.(device.ConvAttr)
		change(&a.Shape)
		in.Attr = a
	}
}

// everyOperation is what can go wrong with any of them.
func everyOperation(t *testing.T, op device.Op) {
	// the first output, where the program is one instruction
	out := func(p *device.Program) (device.Buffer, device.View) {
		if len(p.Code) != 1 || p.Code[0].Op != op {
			return nil, device.View{}
		}
		v := p.Code[0].Out[0]
		return p.Buffers[v.Buf], v
	}
	for _, c := range []struct {
		name string
		d    device.Device
	}{
		{"last element off by 2^-14",
			narrow{&broken{Device: ref.New(), after: func(d device.Device, p *device.Program) {
				if b, v := out(p); b != nil && last(v) >= 0 {
					// seen by some case, if not by every one: products of long rows may err more
					poke(d, b, last(v), 1+0x1p-14)
				}
			}}}},
		{"writes before the output", &broken{Device: ref.New(), after: func(d device.Device, p *device.Program) {
			if b, v := out(p); b != nil {
				poke(d, b, v.Off-1, 2)
			}
		}}},
		{"writes behind the output", &broken{Device: ref.New(), after: func(d device.Device, p *device.Program) {
			if b, v := out(p); b != nil && last(v) >= 0 {
				poke(d, b, last(v)+1, 2)
			}
		}}},
		{"writes between rows", &broken{Device: ref.New(), after: func(d device.Device, p *device.Program) {
			b, v := out(p)
			if n := len(v.Shape); b != nil && last(v) >= 0 && !v.IsDense() && v.Strides[n-1] == 1 && v.Shape[n-1] > 1 {
				poke(d, b, v.Off+v.Shape[n-1], 2)
			} else if b != nil && n > 0 && v.Strides[n-1] > 1 && last(v) >= 0 {
				poke(d, b, v.Off+1, 2)
			}
		}}},
		{"writes its input", &broken{Device: ref.New(), after: func(d device.Device, p *device.Program) {
			if b, _ := out(p); b != nil && len(p.Code[0].In) > 0 {
				v := p.Code[0].In[0]
				poke(d, p.Buffers[v.Buf], v.Off, 2)
			}
		}}},
		{"input strides ignored", &broken{Device: ref.New(), alter: on(op, func(in *device.Instr) {
			for i := range in.In {
				in.In[i].Strides = device.RowMajor(in.In[i].Shape)
			}
		})}},
		{"output strides ignored", &broken{Device: ref.New(), alter: on(op, func(in *device.Instr) {
			for i := range in.Out {
				in.Out[i].Strides = device.RowMajor(in.Out[i].Shape)
			}
		})}},
		{"input offset ignored", &broken{Device: ref.New(), alter: on(op, func(in *device.Instr) {
			for i := range in.In {
				in.In[i].Off = 0
			}
		})}},
		{"output offset ignored", &broken{Device: ref.New(), alter: on(op, func(in *device.Instr) {
			for i := range in.Out {
				in.Out[i].Off = 0
			}
		})}},
	} {
		if slices.Contains(unseen[c.name], op) {
			continue
		}
		found := failures(c.d, op.String()+"/")
		if len(found) == 0 {
			t.Errorf("%s: no case sees it", c.name)
		}
		t.Logf("%s: seen by %v", c.name, found)
	}
}

// TestFunctionsAreToldApart replaces every function by every other of the same type: its cases must see it.
func TestFunctionsAreToldApart(t *testing.T) {
	cases := map[string]Case{}
	for _, c := range Cases() {
		cases[c.Name] = c
	}
	pairs := 0
	for f := expr.Iota + 1; f < expr.NumFn; f++ {
		for g := expr.Iota + 1; g < expr.NumFn; g++ {
			a, b := expr.Table[f], expr.Table[g]
			if f == g || a.Arity != b.Arity || a.In != b.In || a.Out != b.Out {
				continue
			}
			pairs++
			d := &broken{Device: ref.New(), alter: on(device.Map, func(in *device.Instr) {
				attr := in.Attr.(device.MapAttr)
				e := expr.Expr{Steps: slices.Clone(attr.Expr.Steps), Outs: attr.Expr.Outs}
				for i := range e.Steps {
					if e.Steps[i].Fn == f {
						e.Steps[i].Fn = g
					}
				}
				attr.Expr = &e
				in.Attr = attr
			})}
			if cases["Fn/"+a.Name].Run(d) == nil {
				t.Errorf("%s in place of %s: not seen", g, f)
			}
		}
	}
	t.Logf("%d pairs", pairs)
}

// TestUlpsAreCounted moves one result of each rounding function by an ulp more than it may err.
func TestUlpsAreCounted(t *testing.T) {
	for _, c := range Cases() {
		name, _ := strings.CutPrefix(c.Name, "Fn/")
		for f, allowed := range ulps {
			if expr.Fn(f).String() != name || allowed == 0 {
				continue
			}
			d := narrow{&broken{Device: ref.New(), after: func(d device.Device, p *device.Program) {
				v := p.Code[0].Out[0]
				poke(d, p.Buffers[v.Buf], last(v), 1+(allowed+1)*0x1p-23)
			}}}
			if err := c.Run(d); err == nil {
				t.Errorf("%s: %g ulps too many are not seen", name, allowed+1)
			}
		}
	}
}
