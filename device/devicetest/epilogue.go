package devicetest

import (
	"bilevel/device"
	"bilevel/internal/expr"
)

// epilogue makes the expression that the words name, and its extra inputs, for an operation with that output:
//
//	bias      y + b, b one number along the last axis; with relu: max(y + b, 0)
//	residual  y + c, c being exactly the output
//	place     y where the last index ≥ the one before, else 0, from Iota
//	factors   tanh(y)·p + q·r, three extras of different layouts
func (t *trial) epilogue(has map[string]bool, out device.View) (*expr.Expr, []device.View) {
	last := len(out.Shape) - 1
	var b builder
	y := b.input(0)
	switch {
	case has["bias"]:
		z := b.fn(expr.Add, y, b.input(1))
		if has["relu"] {
			z = b.fn(expr.Relu, z)
		}
		var others []int
		for a := range last {
			others = append(others, a)
		}
		return b.out(z), []device.View{t.input(repeated(others...), t.normal, out.Shape...)}
	case has["residual"]:
		return b.out(b.fn(expr.Add, y, b.input(1))), []device.View{out}
	case has["place"]:
		below := b.fn(expr.ILt, b.iota(last), b.iota(last-1))
		return b.out(b.fn(expr.Where, below, b.constant(0), y)), nil
	case has["factors"]:
		z := b.fn(expr.Add, b.fn(expr.Mul, b.fn(expr.Tanh, y), b.input(1)), b.fn(expr.Mul, b.input(2), b.input(3)))
		return b.out(z), []device.View{
			t.input(turned, t.normal, out.Shape...), t.input(scalar, t.normal, out.Shape...),
			t.input(repeated(last), t.normal, out.Shape...),
		}
	}
	return nil, nil
}
