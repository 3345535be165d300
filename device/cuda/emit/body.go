package emit

import (
	"math"

	"bilevel/internal/expr"
)

// functions says how each function of Table is written. Comparisons are in compare, leaves in body.
var functions = [expr.NumFn]func(w *writer, a, b, c string) string{
	expr.Neg:      one("neg.f32"),
	expr.Abs:      one("abs.f32"),
	expr.Sign:     sign,
	expr.Sqrt:     one("sqrt.rn.f32"),
	expr.Exp:      unary(exp),
	expr.Log:      unary(log),
	expr.Sin:      unary(sin),
	expr.Cos:      unary(cos),
	expr.Tanh:     unary(tanh),
	expr.Sigmoid:  unary(sigmoid),
	expr.Softplus: unary(softplus),
	expr.Relu:     func(w *writer, a, _, _ string) string { return w.f("max.NaN.f32", a, number(0)) },
	expr.Floor:    one("cvt.rmi.f32.f32"),
	expr.Add:      two('f', "add.rn.f32"),
	expr.Sub:      two('f', "sub.rn.f32"),
	expr.Mul:      two('f', "mul.rn.f32"),
	expr.Div:      two('f', "div.rn.f32"),
	expr.Max:      two('f', "max.NaN.f32"),
	expr.Min:      two('f', "min.NaN.f32"),
	expr.Clamp: func(w *writer, a, b, c string) string {
		return w.f("min.NaN.f32", w.f("max.NaN.f32", a, b), c)
	},
	expr.IAdd:   two('r', "add.s32"),
	expr.ISub:   two('r', "sub.s32"),
	expr.IMul:   two('r', "mul.lo.s32"),
	expr.ToReal: one("cvt.rn.f32.s32"),
	expr.ToInt:  toInt,
}

// compare lists the functions whose result is 1 or 0; Where reads their predicate.
var compare = map[expr.Fn]string{
	expr.Lt: "setp.lt.f32", expr.Le: "setp.le.f32", expr.Eq: "setp.eq.f32", expr.ILt: "setp.lt.s32",
	expr.IEq: "setp.eq.s32",
}

func unary(f func(w *writer, a string) string) func(w *writer, a, b, c string) string {
	return func(w *writer, a, _, _ string) string { return f(w, a) }
}

func one(op string) func(w *writer, a, b, c string) string {
	return func(w *writer, a, _, _ string) string { return w.f(op, a) }
}

func two(class byte, op string) func(w *writer, a, b, c string) string {
	return func(w *writer, a, b, _ string) string { return w.op(class, op, a, b) }
}

func sign(w *writer, a, _, _ string) string {
	zero, positive := w.p("setp.eq.f32", a, number(0)), w.p("setp.num.f32", a, a)
	y := w.f("copysign.f32", a, number(1))
	y = w.f("selp.f32", y, a, positive) // NaN stays
	return w.f("selp.f32", number(0), y, zero)
}

// toInt: the conversion saturates, but what does not fit gives 0.
func toInt(w *writer, a, _, _ string) string {
	p := w.p("setp.ge.f32", a, number(math.MinInt32))
	fits := w.p("setp.lt.and.f32", a, number(-math.MinInt32), p)
	return w.r("selp.b32", w.r("cvt.rzi.s32.f32", a), "0", fits)
}

// needed marks the steps that reach an output.
func needed(e *expr.Expr) []bool {
	on := make([]bool, len(e.Steps))
	for _, o := range e.Outs {
		on[o] = true
	}
	for i := len(e.Steps) - 1; i >= 0; i-- {
		if on[i] {
			for _, a := range e.Steps[i].Args[:expr.Table[e.Steps[i].Fn].Arity] {
				on[a] = true
			}
		}
	}
	return on
}

// eval writes the expression once and gives its results; leaf gives the registers of inputs and of iotas.
func eval(w *writer, e *expr.Expr, on []bool, leaf func(expr.Step) string) []string {
	vals := make([]string, len(e.Steps))
	predicates := map[int]string{}
	for i, s := range e.Steps {
		if !on[i] {
			continue
		}
		var args [3]string
		for k, a := range s.Args[:expr.Table[s.Fn].Arity] {
			args[k] = vals[a]
		}
		switch op, compares := compare[s.Fn]; {
		case s.Fn == expr.Input || s.Fn == expr.Iota:
			vals[i] = leaf(s)
		case s.Fn == expr.Const:
			vals[i] = w.f("mov.f32", number(s.Const))
		case s.Fn == expr.IConst:
			vals[i] = w.r("mov.b32", integer(int(s.Const)))
		case compares:
			predicates[i] = w.p(op, args[0], args[1])
			vals[i] = w.f("selp.f32", number(1), number(0), predicates[i])
		case s.Fn == expr.Where:
			p := predicates[s.Args[0]]
			if p == "" {
				p = w.p("setp.neu.f32", args[0], number(0))
			}
			vals[i] = w.f("selp.f32", args[1], args[2], p)
		default:
			vals[i] = functions[s.Fn](w, args[0], args[1], args[2])
		}
	}
	outs := make([]string, len(e.Outs))
	for i, o := range e.Outs {
		outs[i] = vals[o]
	}
	return outs
}
