package tensor_test

import (
	"testing"

	"bilevel/device"
	"bilevel/device/null"
	. "bilevel/tensor"

	"github.com/stretchr/testify/require"
)

// image is a byte of a made-up set of images.
func image(i int) byte { return byte(i*i + 7*i) }

// Images stay bytes on the device; minibatches of them are numbers, with all that numbers have.
func TestTablesOfBytes(t *testing.T) {
	onDevices(t, func(t *testing.T, ex *Executor) {
		const n, h, w = 7, 3, 5
		pixels := make([]byte, n*h*w)
		for i := range pixels {
			pixels[i] = image(i)
		}
		images, index := ex.Variable("images", Byte, n, h, w), ex.Variable("index", Int, 4)
		require.NoError(t, images.WriteBytes(pixels))
		require.NoError(t, index.WriteInts([]int32{6, 0, 3, 3}))
		back, err := images.ReadBytes()
		require.NoError(t, err)
		require.Equal(t, pixels, back)

		weight := variable(t, ex, []float64{0.5, -1, 2}, h)
		batch := Gather(images.Node(), index.Node())
		require.Equal(t, Real, batch.Type())
		loss := batch.Permute(0, 2, 1).Reshape(4*w, h).MatMul(weight.Node().Reshape(h, 1)).Square().Sum()
		rows := Gather(images.Node().Reshape(n*h, w).Slice(0, 2, n*h), IntConst(1).Expand(2)) // a view of the table
		out := run(t, ex, batch, images.Node().ToReal(), rows, Grad(loss, weight.Node())[0],
			images.Node().Flatten().Slice(0, 2, 3).Reshape().ToReal())
		for i, v := range out[0] {
			row := []int{6, 0, 3, 3}[i/(h*w)]
			require.EqualValues(t, image(row*h*w+i%(h*w)), v)
		}
		for i, v := range out[1] {
			require.EqualValues(t, image(i), v)
		}
		require.EqualValues(t, image(2), out[4][0])
		for i, v := range out[2] {
			require.EqualValues(t, image(3*w+i%w), v)
		}
		want := make([]float64, h)
		for r := range 4 {
			for x := range w {
				at := func(y int) float64 { return out[0][(r*h+y)*w+x] }
				s := 0.5*at(0) - at(1) + 2*at(2)
				for y := range h {
					want[y] += 2 * s * at(y)
				}
			}
		}
		for y := range h {
			require.InEpsilon(t, want[y], out[3][y], 1e-5)
		}

		require.NoError(t, index.WriteInts([]int32{6, 0, 7, 3}))
		f, err := ex.Compile("bad", func() []Update {
			return []Update{{Var: ex.Variable("out", Real, 4, h, w), Value: batch}}
		})
		require.NoError(t, err)
		err = f.Run(1)
		if err == nil {
			err = ex.Sync()
		}
		require.ErrorIs(t, err, device.ErrIndex)
		require.NoError(t, f.Close())
	})
}

// What bytes are not for is refused in a sentence.
func TestBytesAreTables(t *testing.T) {
	ex := newRef(t)
	b, r := ex.Variable("b", Byte, 2, 3), ex.Variable("r", Real, 2, 3)
	for what, f := range map[string]func(){
		"want":    func() { b.Node().Add(r.Node()) },
		"wants":   func() { b.Node().MatMul(r.Node().T()) },
		"Concat":  func() { Concat(0, b.Node(), b.Node()) },
		"written": func() { Gather(b.Node().Reshape(1, 2, 3).Permute(0, 2, 1), IntConst(0).Expand(1)) },
		"Real":    func() { Grad(r.Node().Sum(), b.Node()) },
	} {
		require.ErrorContains(t, Catch(f), what)
	}
	_, err := ex.Compile("bytes", func() []Update { return []Update{{Var: b, Value: b.Node()}} })
	require.ErrorContains(t, err, "variable b holds bytes, which the host writes and no function changes")
	require.ErrorContains(t, b.Write32(make([]float32, 6)), "6 Real elements for Byte [2 3]")
	require.ErrorContains(t, r.WriteBytes(make([]byte, 6)), "6 Byte elements for Real [2 3]")
}

// 50,000 images of CIFAR take 153.6 MB, and a minibatch nothing more than itself.
func TestBytesTakeAByteEach(t *testing.T) {
	dev := null.New()
	ex := NewExecutor(dev)
	images, index := ex.Variable("images", Byte, 50_000, 32, 32, 3), ex.Variable("index", Int, 64)
	out := ex.Variable("out", Real, 64, 32, 32, 3)
	f, err := ex.Compile("batch", func() []Update {
		return []Update{{Var: out, Value: Gather(images.Node(), index.Node())}}
	})
	require.NoError(t, err)
	batch := 4 * 64 * 32 * 32 * 3
	require.Equal(t, Memory{Variables: 50_000*32*32*3 + 4*64 + batch}, f.Memory())
	require.Equal(t, f.Memory().Variables, dev.Stats().LiveBytes)
	require.NoError(t, ex.Close())
}
