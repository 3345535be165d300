package devicetest

import (
	"bilevel/device"
	"bilevel/internal/expr"
)

// Increment is the program x ← x + 1, for tests that need any program.
func Increment(x device.Buffer) *device.Program {
	e := &expr.Expr{
		Steps: []expr.Step{{}, {Fn: expr.Const, Const: 1}, {Fn: expr.Add, Args: [3]int{0, 1}}}, Outs: []int{2},
	}
	v := device.Dense(0, 0, x.Len())
	return &device.Program{Name: "increment", Buffers: []device.Buffer{x}, Code: []device.Instr{{
		Op: device.Map, Attr: device.MapAttr{Shape: v.Shape, Expr: e}, In: []device.View{v}, Out: []device.View{v},
	}}}
}
