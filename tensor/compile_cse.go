package tensor

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"bilevel/internal/expr"
)

// cse eliminates common subexpressions: nodes that compute the same value become one node. Random nodes are no
// exception: the numbers they draw are a function of seed, step, stream and shape, so two nodes that agree in these
// draw the same.
func cse(outs []*Node) []*Node {
	number := make(map[*Node]int, expected(outs))
	first := make(map[string]*Node, expected(outs))
	leaves := make(map[*Variable]*Node)
	var key []byte
	add := func(values ...int) {
		for _, v := range values {
			key = binary.AppendVarint(key, int64(v))
		}
	}
	return rewrite(outs, func(_, n *Node) *Node {
		if n.op == opVar {
			if f, ok := leaves[n.v]; ok {
				return f
			}
			leaves[n.v] = n
			number[n] = len(number) + 1
			return n
		}
		key = key[:0]
		add(int(n.op), int(n.fn), int(n.typ), int(n.kind), int(n.soft))
		add(int(n.rnd.Kind), int(n.rnd.Stream), int(n.rnd.N))
		key = binary.LittleEndian.AppendUint64(key, math.Float64bits(n.num))
		if n.attr != nil {
			key = fmt.Append(key, n.attr)
		}
		add(len(n.shape))
		add(n.shape...)
		add(len(n.ints))
		add(n.ints...)
		in := make([]int, len(n.in))
		for i, p := range n.in {
			in[i] = number[p]
		}
		if n.op == opElem && (n.fn == expr.Add || n.fn == expr.Mul) {
			slices.Sort(in) // a + b is b + a, to the bit
		}
		add(in...)
		if f, ok := first[string(key)]; ok {
			return f
		}
		first[string(key)] = n
		number[n] = len(number) + 1
		return n
	})
}
