package tensor

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device"
	reference "bilevel/device/ref"
)

func newRef(t testing.TB) *Executor {
	dev := reference.New()
	ex := NewExecutor(dev)
	t.Cleanup(func() {
		require.NoError(t, ex.Close())
		require.NoError(t, dev.Close())
	})
	return ex
}

// filled is a variable of standard normals, the same in each test run.
func filled(t testing.TB, ex *Executor, shape ...int) *Variable {
	r := rand.New(rand.NewPCG(uint64(len(ex.vars)), 7))
	values := make([]float64, device.Size(shape))
	for i := range values {
		values[i] = r.NormFloat64()
	}
	v := ex.Variable("x", Real, shape...)
	require.NoError(t, v.Write(values))
	return v
}

// holding is a variable of given values; no shape means a vector.
func holding(t testing.TB, ex *Executor, values []float64, shape ...int) *Variable {
	if len(shape) == 0 {
		shape = []int{len(values)}
	}
	v := ex.Variable("x", Real, shape...)
	require.NoError(t, v.Write(values))
	return v
}

func integers(t testing.TB, ex *Executor, values []int32, shape ...int) *Variable {
	v := ex.Variable("k", Int, shape...)
	require.NoError(t, v.WriteInts(values))
	return v
}

func compiled(t testing.TB, ex *Executor, updates ...Update) *Function {
	t.Helper()
	f, err := ex.Compile("test", func() []Update { return updates })
	require.NoError(t, err)
	return f
}

// values evaluates nodes on the executor's device.
func values(t testing.TB, ex *Executor, nodes ...*Node) (out [][]float64) {
	t.Helper()
	var updates []Update
	for _, n := range nodes {
		updates = append(updates, Update{ex.Variable("out", n.typ, n.shape...), n})
	}
	f := compiled(t, ex, updates...)
	require.NoError(t, f.Run(1))
	for _, u := range updates {
		out = append(out, contents(t, u.Var))
	}
	require.NoError(t, f.Close())
	return out
}

// contents reads a variable of either type.
func contents(t testing.TB, v *Variable) []float64 {
	t.Helper()
	if v.typ == Real {
		out, err := v.Read()
		require.NoError(t, err)
		return out
	}
	ints, err := v.ReadInts()
	require.NoError(t, err)
	out := make([]float64, len(ints))
	for i, k := range ints {
		out[i] = float64(k)
	}
	return out
}

// network is a loss of two layers in one flat parameter vector.
func network(t *testing.T, ex *Executor) (loss *Node, p *Variable) {
	x := filled(t, ex, 6, 4)
	p = filled(t, ex, 4*5+5*3)
	h := x.Node().MatMul(p.Node().Slice(0, 0, 20).Reshape(4, 5)).Tanh()
	z := h.MatMul(p.Node().Slice(0, 20, 35).Reshape(5, 3))
	return CrossEntropy(z, Iota(0, 6).ToReal().Scale(0.4).ToInt()).Mean(), p
}

func requireClose(t *testing.T, want, got []float64, msg ...any) {
	t.Helper()
	require.Len(t, got, len(want), msg...)
	for i := range want {
		require.InDelta(t, want[i], got[i], 1e-13, msg...)
	}
}

// ops lists the operations of a function's program: "Gemm Map Reduce".
func ops(f *Function) string {
	var names []string
	for _, in := range f.Program().Code {
		names = append(names, in.Op.String())
	}
	return strings.Join(names, " ")
}

// program lists the operations that compute a node.
func program(t testing.TB, ex *Executor, nodes ...*Node) string {
	t.Helper()
	var updates []Update
	for _, n := range nodes {
		updates = append(updates, Update{ex.Variable("out", n.typ, n.shape...), n})
	}
	return ops(compiled(t, ex, updates...))
}

// times counts an operation in such a list.
func times(op, program string) (n int) {
	for _, o := range strings.Fields(program) {
		if o == op {
			n++
		}
	}
	return n
}
