package tensor

import (
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device"
)

// Views cost nothing where strides can say them, and one copy where they cannot.
func TestLayout(t *testing.T) {
	ex := newRef(t)
	x := filled(t, ex, 4, 6).Node()
	k := integers(t, ex, []int32{1, 0}, 2).Node()
	for name, c := range map[string]struct {
		n    *Node
		want string
	}{
		"transposed":               {x.T().Exp(), "Map"},
		"window":                   {x.Slice(0, 1, 3).Slice(1, 2, 5).T().Exp(), "Map"},
		"split axes":               {x.T().Reshape(2, 3, 2, 2).Exp(), "Map"},
		"rows of a window":         {x.Slice(1, 0, 2).Reshape(2, 2, 2).Exp(), "Map"},
		"flat transposed":          {x.T().Flatten().Exp(), "Copy Map"},
		"flat window":              {x.Slice(1, 0, 2).Flatten().Exp(), "Copy Map"},
		"flat broadcast":           {x.Slice(0, 0, 1).Expand(3, 6).Flatten().Exp(), "Copy Map"},
		"flat transposed and back": {x.T().Flatten().Reshape(6, 4).T().Exp(), "Map"},
		"transposed factors":       {x.T().MatMul(x), "Gemm"},
		"rows":                     {Gather(x, k), "Gather"},
		"columns":                  {Gather(x.T(), k), "Gather"},
		"planes":                   {Gather(x.Reshape(2, 2, 6), k), "Gather"},
		"transposed planes":        {Gather(x.Reshape(2, 2, 6).Permute(0, 2, 1), k), "Copy Gather"},
		"rows added":               {ScatterAdd(x, k, x.Slice(0, 0, 2)), "ScatterAdd"},
		"transposed planes added": {ScatterAdd(x.Reshape(2, 2, 6).Permute(0, 2, 1), k, x.Reshape(2, 6, 2)),
			"Copy ScatterAdd"},
		"a variable itself is copied":    {x, "Copy"},
		"as is its transpose":            {x.T(), "Copy"},
		"constants":                      {Full(3, 4, 6), "Copy"},
		"a counter":                      {Iota(1, 4, 6).ToReal(), "Map"},
		"softmax of the transposed rows": {x.T().Softmax(), "RowSoftmax"},
	} {
		require.Equal(t, c.want, program(t, ex, c.n), name)
	}
}

func TestRestride(t *testing.T) {
	for _, c := range []struct {
		shape, strides, to, want []int // want nil: not possible
	}{
		{[]int{4, 6}, []int{6, 1}, []int{24}, []int{1}},
		{[]int{4, 6}, []int{6, 1}, []int{2, 2, 3, 2}, []int{12, 6, 2, 1}},
		{[]int{4, 6}, []int{1, 4}, []int{24}, nil},
		{[]int{4, 6}, []int{1, 4}, []int{2, 2, 6}, []int{2, 1, 4}},
		{[]int{4, 6}, []int{8, 1}, []int{4, 2, 3}, []int{8, 3, 1}},
		{[]int{4, 6}, []int{8, 1}, []int{8, 3}, nil},
		{[]int{4, 6}, []int{0, 1}, []int{2, 2, 6}, []int{0, 0, 1}},
		{[]int{4, 6}, []int{0, 0}, []int{24}, []int{0}},
		{[]int{1, 6}, []int{99, 2}, []int{6}, []int{2}},
		{[]int{6}, []int{2}, []int{2, 1, 3}, []int{6, 6, 2}},
		{nil, nil, []int{1, 1}, []int{0, 0}},
		{[]int{1, 1}, []int{5, 7}, nil, []int{}},
		{[]int{3, 0}, []int{0, 1}, []int{0, 7}, []int{0, 0}},
	} {
		got, ok := restride(c.shape, c.strides, c.to)
		require.Equal(t, c.want != nil, ok, "%v", c)
		if !ok {
			continue
		}
		a, b := device.View{Shape: c.shape, Strides: c.strides}, device.View{Shape: c.to, Strides: got}
		require.Equal(t, offsets(a), offsets(b), "%v", c)
		require.Len(t, got, len(c.want))
	}
}
