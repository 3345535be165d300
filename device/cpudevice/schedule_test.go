package cpudevice

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device"
)

// elementsOf lists the elements that some views show, as places in buffers.
func elementsOf(p *device.Program, views []device.View) map[int]bool {
	set := map[int]bool{}
	for _, v := range views {
		buffer := slices.Index(p.Buffers, p.Buffers[v.Buf])
		for i := range v.Size() {
			at, rest := v.Off, i
			for a := len(v.Shape) - 1; a >= 0; a-- {
				at += rest % v.Shape[a] * v.Strides[a]
				rest /= v.Shape[a]
			}
			set[buffer<<20+at] = true
		}
	}
	return set
}

func share(a, b map[int]bool) bool {
	for k := range a {
		if b[k] {
			return true
		}
	}
	return false
}

// Whatever the program, each instruction is in one segment, and of two that share memory which one of them writes the
// first comes first: in an earlier segment, or earlier in the same chain.
func TestScheduleKeepsTheOrder(t *testing.T) {
	d := New(2).(*Device)
	defer d.Close()
	forks := 0
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		p := &device.Program{}
		for range 12 {
			b, err := d.Alloc(device.Real, 600)
			require.NoError(t, err)
			p.Buffers = append(p.Buffers, b)
		}
		p.Buffers = append(p.Buffers, p.Buffers[0]) // the same by another number
		view := func() device.View {
			rows, cols := 1+r.IntN(4), 1+r.IntN(4)
			return device.View{Buf: r.IntN(13), Off: r.IntN(400), Shape: []int{rows, cols},
				Strides: []int{8 + r.IntN(9), r.IntN(3)}}
		}
		for range 3 + r.IntN(12) {
			in := device.Instr{Op: device.Map, In: []device.View{view(), view()}, Out: []device.View{view()}}
			switch r.IntN(6) {
			case 0, 1, 2: // a product is work enough for a chain
				in.Op, in.In[0].Shape, in.In[0].Strides = device.Gemm, []int{1, 1, 100_000}, []int{0, 0, 0}
			case 3:
				in.Op, in.In[0].Buf = device.Gather, 11
			}
			p.Code = append(p.Code, in)
		}
		type where struct{ segment, chain, place int }
		at := map[int]where{}
		for s, st := range d.schedule(p) {
			if st.fork == nil {
				at[st.instr] = where{s, 0, 0}
				continue
			}
			forks++
			for c, chain := range st.fork.chains {
				for k, i := range chain {
					at[i] = where{s, c, k}
				}
			}
		}
		require.Len(t, at, len(p.Code))
		var reads, writes []map[int]bool
		for i, in := range p.Code {
			reads, writes = append(reads, elementsOf(p, in.In)), append(writes, elementsOf(p, in.Out))
			for j := range i { // who reads the result of a Gather may read its table
				if p.Code[j].Op == device.Gather && share(writes[j], reads[i]) {
					maps.Copy(reads[i], elementsOf(p, p.Code[j].In[:1]))
				}
			}
		}
		for i := range p.Code {
			for j := range i {
				if !share(writes[j], writes[i]) && !share(writes[j], reads[i]) && !share(reads[j], writes[i]) {
					continue
				}
				ordered := at[j].segment < at[i].segment || at[j].segment == at[i].segment &&
					at[j].chain == at[i].chain && at[j].place < at[i].place
				require.True(t, ordered, "seed %d: %d before %d", seed, j, i)
			}
		}
		for _, b := range p.Buffers {
			d.Free(b)
		}
	}
	require.Greater(t, forks, 100)
}

// twoMinibatches is an iteration with two chains: rows of two tables, products with the same weights, and an update
// of those from both.
func twoMinibatches(t *testing.T, d device.Device) (p *device.Program, weights, indices device.Buffer) {
	const rows, k, n, most = 64, 784, 10, 300
	r := rand.New(rand.NewPCG(3, 4))
	buffer := func(n int) device.Buffer {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(r.NormFloat64()) / 30
		}
		b, err := d.Alloc(device.Real, n)
		require.NoError(t, err)
		require.NoError(t, d.Upload(b, 0, device.Float32s(v)))
		return b
	}
	idx := make([]int32, 2*rows)
	for i := range idx {
		idx[i] = int32(r.IntN(most))
	}
	indices, err := d.Alloc(device.Int, len(idx))
	require.NoError(t, err)
	require.NoError(t, d.Upload(indices, 0, device.Int32s(idx)))
	weights = buffer(k * n)
	buffers := []device.Buffer{buffer(most * k), buffer(most * k), indices, weights, buffer(200_000)}
	p = &device.Program{Name: "two minibatches", Buffers: buffers, Scratch: []int{4}}
	off := 0
	scratch := func(shape ...int) device.View {
		v := device.Dense(4, off, shape...)
		off += v.Size()
		return v
	}
	var gradients []device.View
	for c := range 2 {
		x, h, g := scratch(rows, k), scratch(1, rows, n), scratch(1, n, k)
		as := device.View{Buf: 4, Off: x.Off, Shape: []int{1, rows, k}, Strides: []int{0, k, 1}}
		w := device.View{Buf: 3, Shape: []int{1, k, n}, Strides: []int{0, 1, k}}
		ht := device.View{Buf: 4, Off: h.Off, Shape: []int{1, n, rows}, Strides: []int{0, 1, n}}
		p.Code = append(p.Code,
			device.Instr{Op: device.Gather, In: []device.View{device.Dense(c, 0, most, k),
				device.Dense(2, c*rows, rows)}, Out: []device.View{x}},
			device.Instr{Op: device.Gemm, Attr: device.GemmAttr{}, In: []device.View{as, w}, Out: []device.View{h}},
			device.Instr{Op: device.Gemm, Attr: device.GemmAttr{}, In: []device.View{ht, as}, Out: []device.View{g}},
		)
		gradients = append(gradients, device.Dense(4, g.Off, 1, n*k))
	}
	p.Code = append(p.Code, device.Instr{Op: device.Copy, In: []device.View{gradients[0]},
		Out: []device.View{device.Dense(3, 0, 1, n*k)}})
	p.Code = append(p.Code, device.Instr{Op: device.Copy,
		In:  []device.View{device.Dense(4, gradients[1].Off, 1, n*k/2)},
		Out: []device.View{device.Dense(3, 0, 1, n*k/2)}})
	return p, weights, indices
}

// Two chains side by side leave the bits that one thread leaves, iteration after iteration; nothing is allocated.
func TestForkBits(t *testing.T) {
	var want []float32
	for _, threads := range []int{1, 2, 3} {
		d := New(threads).(*Device)
		defer d.Close()
		p, weights, _ := twoMinibatches(t, d)
		r, err := d.Prepare(p)
		require.NoError(t, err)
		forks := 0
		for _, s := range r.(*runner).segments {
			if s.fork != nil {
				forks++
			}
		}
		require.Equal(t, threads > 1, forks > 0)
		require.NoError(t, r.Run(40))
		require.Zero(t, testing.AllocsPerRun(20, func() { r.Run(1) }))
		got := make([]float32, weights.Len())
		require.NoError(t, d.Download(device.Float32s(got), weights, 0))
		if want == nil {
			want = got
		}
		require.Equal(t, want, got, "%d threads", threads)
	}
}

// Where both chains fail, the error is that of the instruction that comes first.
func TestForkFails(t *testing.T) {
	d := New(2).(*Device)
	defer d.Close()
	p, _, indices := twoMinibatches(t, d)
	r, err := d.Prepare(p)
	require.NoError(t, err)
	require.NoError(t, d.Upload(indices, 70, device.Int32s([]int32{-3})))
	require.ErrorContains(t, r.Run(1), "instruction 3 (Gather")
	require.NoError(t, d.Upload(indices, 7, device.Int32s([]int32{1000})))
	for range 20 {
		err = r.Run(1)
		require.ErrorIs(t, err, device.ErrIndex)
		require.ErrorContains(t, err, "instruction 0 (Gather")
	}
	require.NoError(t, d.Upload(indices, 70, device.Int32s([]int32{3})))
	require.NoError(t, d.Upload(indices, 7, device.Int32s([]int32{10})))
	require.NoError(t, r.Run(3), "the device goes on")
}

// Products may read the rows of a Gather from its table, so that who writes to the table waits for them, though their
// views do not meet.
func TestTablesAreWrittenAlone(t *testing.T) {
	d := New(2).(*Device)
	defer d.Close()
	p := &device.Program{}
	for range 5 {
		b, err := d.Alloc(device.Real, 200_000)
		require.NoError(t, err)
		p.Buffers = append(p.Buffers, b)
	}
	product := func(in, out int) device.Instr {
		return device.Instr{Op: device.Gemm, In: []device.View{device.Dense(in, 0, 1, 10, 5000),
			device.Dense(4, 0, 1, 5000, 10)}, Out: []device.View{device.Dense(out, 0, 1, 10, 10)}}
	}
	p.Code = []device.Instr{
		{Op: device.Gather, In: []device.View{device.Dense(0, 0, 10, 5000), device.Dense(4, 0, 10)},
			Out: []device.View{device.Dense(1, 0, 10, 5000)}},
		{Op: device.Map, In: []device.View{device.Dense(3, 0, 200_000)},
			Out: []device.View{device.Dense(3, 0, 200_000)}}, // all meet
		product(1, 2), product(4, 0),
	}
	segments := d.schedule(p)
	require.Len(t, segments, 4)
	require.Equal(t, 3, segments[3].instr)
	p.Code[3] = product(4, 3)
	segments = d.schedule(p)
	require.Equal(t, [2][]int{{2}, {3}}, segments[2].fork.chains, "elsewhere it does not wait")
}

// However long a program is, each instruction is compared with a bounded number of others.
func TestOpenChainsAreBounded(t *testing.T) {
	d := New(2)
	defer d.Close()
	var buffers []device.Buffer
	var code []device.Instr
	for i := range 4 * horizon { // none waits for another
		b, err := d.Alloc(device.Real, 100)
		require.NoError(t, err)
		buffers = append(buffers, b)
		v := []device.View{device.Dense(i, 0, 100)}
		code = append(code, device.Instr{Op: device.Copy, In: v, Out: v})
	}
	all := 0
	for _, s := range d.(*Device).schedule(&device.Program{Buffers: buffers, Code: code}) {
		if s.fork == nil {
			all++
			continue
		}
		n := len(s.fork.chains[0]) + len(s.fork.chains[1])
		require.LessOrEqual(t, n, horizon)
		all += n
	}
	require.Equal(t, len(code), all)
}
