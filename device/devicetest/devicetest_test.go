package devicetest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device"
	"bilevel/device/ref"
	"bilevel/internal/expr"
)

// TestReference: the reference device conforms to itself, which checks the suite's own bookkeeping; its arithmetic has
// tests of its own in device/ref.
func TestReference(t *testing.T) {
	d := ref.New()
	for _, c := range Cases() {
		if err := c.Run(d); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
	}
}

// TestNarrow: float64 arithmetic whose results are rounded to float32 is as good as a float32 device can be, and the
// bounds for 32 bits must let it pass.
func TestNarrow(t *testing.T) {
	d := narrow{ref.New()}
	for _, c := range Cases() {
		if err := c.Run(d); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
	}
}

func TestNamesAreUnique(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Cases() {
		require.False(t, seen[c.Name], c.Name)
		require.NotContains(t, c.Name, " /")
		seen[c.Name] = true
	}
}

func TestNothingIsForgotten(t *testing.T) {
	has := func(prefix string) bool {
		for _, c := range Cases() {
			if c.Name == prefix || strings.HasPrefix(c.Name, prefix+"/") {
				return true
			}
		}
		return false
	}
	for op := range device.NumOp {
		require.NotNil(t, tolerances[op], "%s has no tolerance", op)
		require.True(t, has(op.String()), "%s has no case", op)
	}
	for f := range expr.NumFn {
		require.True(t, has("Fn/"+f.String()), "%s has no case", f)
		if row := expr.Table[f]; row.Eval != nil {
			require.NotNil(t, spread[f], "%s has no rule for its arguments' errors", f)
		}
	}
}

// TestRandomExpressionsSayMuch: bounds that allow anything check nothing. Nearly all results of random expressions must
// have a bound far below their size.
func TestRandomExpressionsSayMuch(t *testing.T) {
	m := machineOf(device.Info{RealBits: 32, SumBlock: 32})
	checked, total := 0, 0
	for seed := range 100 {
		tr := newTrial(fmt.Sprint(seed))
		tr.randomMap()
		in := &tr.code[0]
		want, err := tr.reference(1)
		require.NoError(t, err)
		for i, bounds := range mapBounds(tr, in, m) {
			n := 0
			points(in.Out[i].Shape, func(idx []int) {
				v := want[in.Out[i].Buf].real[place(in.Out[i], idx...)]
				if bounds[n] <= 1e-4*max(1, v, -v) {
					checked++
				}
				n++
			})
			total += n
		}
	}
	t.Logf("%d of %d results have tight bounds", checked, total)
	require.Greater(t, float64(checked), 0.95*float64(total))
}

func TestNear(t *testing.T) {
	m := machineOf(device.Info{RealBits: 32})
	nan, inf := edges[13], edges[11]
	zero, minus := edges[0], edges[1]
	for _, c := range []struct {
		got, want, bound float64
		near             bool
	}{
		{1, 1, 0, true}, {1, 1.5, 0.5, true}, {1, 1.5, 0.4, false}, {1.5, 1, 0.4, false},
		{nan, nan, 0, true}, {nan, 1, 1e9, false}, {1, nan, 1e9, false},
		{inf, inf, 0, true}, {-inf, inf, 0, false}, {inf, 1, 1, false}, {1, inf, 1, false},
		{zero, zero, 0, true}, {minus, zero, 0, false}, {minus, zero, 1e-9, true}, {zero, minus, 0, false},
		{inf, 1e39, 0, true}, {inf, 3e38, 0, false}, {-inf, 1e39, 0, false}, {inf, 3.4e38, 1e36, true},
		{nan, 7, inf, true},
	} {
		require.Equal(t, c.near, m.near(c.got, c.want, c.bound), "%+v", c)
	}
}

func TestUlp(t *testing.T) {
	m := machineOf(device.Info{RealBits: 32})
	for _, c := range []struct{ x, ulp float64 }{
		{1, 0x1p-23}, {1.99, 0x1p-23}, {2, 0x1p-22}, {-1, 0x1p-23}, {0x1p-126, 0x1p-149}, {0x1p-149, 0x1p-149},
		{0, 0x1p-149}, {0.75, 0x1p-24},
	} {
		require.Equal(t, c.ulp, m.ulp(c.x), "ulp(%v)", c.x)
	}
	require.Equal(t, 0x1p-52, machineOf(device.Info{RealBits: 64}).ulp(1))
}

func TestLayouts(t *testing.T) {
	for _, l := range append(whole(), scalar, repeated(0), repeated(1, 2)) {
		v, n := l.view(0, []int{3, 4, 5})
		seen, last := map[int]bool{}, 0
		points(v.Shape, func(idx []int) {
			p := place(v, idx...)
			seen[p], last = true, max(last, p)
		})
		require.Equal(t, last+1+trail, n, l.name)
		if l.repeat == 0 {
			require.Len(t, seen, 60, "%s repeats elements", l.name)
		}
	}
}
