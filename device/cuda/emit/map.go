package emit

import (
	"fmt"

	"bilevel/internal/expr"
	"bilevel/kernels"
)

// lanes is how many neighbouring points a thread takes where the arrays allow it: a load of 16 bytes each.
const lanes = 4

// longest is the number of steps beyond which a thread takes one point only, so that it has registers enough.
const longest = 48

// Map makes the kernel that computes the expression at every point of shape, which has at least one point.
func Map(e *expr.Expr, shape []int, in, out []Array) Program {
	s := newSpace(e, len(shape), in, out)
	axes := axesOf(shape, s.arrays, func(int) bool { return true })
	if len(axes) == 0 {
		axes = []axis{{1, make([]int, len(s.arrays))}}
	}
	n, last := points(axes), len(axes)-1
	w := newWriter()
	x := newIndex(w, s.wide(axes, n))
	w.note("%s", e)
	ptr := make([]string, len(s.arrays))
	var args []any
	for _, i := range s.ins {
		ptr[s.input[i]] = w.pointer(fmt.Sprintf("in%d", i))
		args = append(args, kernels.Operand{Number: i, Off: in[i].Off})
	}
	for i := range out {
		ptr[s.outs+i] = w.pointer(fmt.Sprintf("out%d", i))
		args = append(args, kernels.Operand{Number: len(in) + i, Off: out[i].Off})
	}

	per := 1
	if s.vectors(axes) && len(e.Steps) <= longest {
		per = lanes
	}
	tail := per > 1 && last == 0 && axes[0].n%lanes != 0
	threads := (n + per - 1) / per
	g := x.thread()
	w.when(w.p(x.compare("ge"), g, integer(threads)), "bra", "END")
	if per == 1 {
		s.point(x, x.coordinates(g, axes), axes, ptr)
	} else {
		groups := append([]axis(nil), axes...)
		groups[last] = axis{(axes[last].n + lanes - 1) / lanes, make([]int, len(s.arrays))}
		for v, stride := range axes[last].strides {
			groups[last].strides[v] = lanes * stride
		}
		if tail {
			w.when(w.p(x.compare("eq"), g, integer(threads-1)), "bra", "TAIL")
		}
		s.group(x, x.coordinates(g, groups), groups, axes[last], ptr)
		if tail { // the last thread's points, one by one
			w.into("bra", "END")
			w.label("TAIL")
			for i := n - n%lanes; i < n; i++ {
				c := x.op("add", "0", integer(i))
				s.point(x, []string{c}, axes, ptr)
			}
		}
	}
	w.label("END")
	entry, text := w.finish("map", 0)
	return Program{
		Plan: kernels.Plan{Launches: []kernels.Launch{{Module: entry, Entry: entry, Args: args,
			Grid: [3]int{(threads + block - 1) / block, 1, 1}, Block: [3]int{block, 1, 1}}}},
		Text: map[string]string{entry: text},
	}
}

// thread is the number of the thread in the grid.
func (x *index) thread() string {
	b, t := x.w.r("mov.u32", "%ctaid.x"), x.w.r("mov.u32", "%tid.x")
	if !x.wide {
		return x.w.r("mad.lo.u32", b, integer(block), t)
	}
	return x.w.op('d', "mad.wide.u32", b, integer(block), x.w.op('d', "cvt.u64.u32", t))
}

func (x *index) compare(how string) string {
	if x.wide {
		return "setp." + how + ".u64"
	}
	return "setp." + how + ".u32"
}

// vectors says whether groups of neighbouring points lie together in every array: along the last axis each is dense or
// repeats, and groups begin at multiples of 16 bytes. Only where that axis is the only one may its end be a part of a
// group.
func (s *space) vectors(axes []axis) bool {
	last := len(axes) - 1
	if axes[last].n < lanes || last > 0 && axes[last].n%lanes != 0 {
		return false
	}
	for v := range s.arrays {
		if stride := axes[last].strides[v]; stride > 1 {
			return false
		} else if stride == 0 || s.isIota(v) {
			continue
		}
		if s.offs[v]%lanes != 0 {
			return false
		}
		for _, x := range axes[:last] {
			if x.strides[v]%lanes != 0 {
				return false
			}
		}
	}
	return true
}

func (s *space) isIota(v int) bool { return v >= len(s.ins) && v < s.outs }

var letters = [...]byte{expr.Real: 'f', expr.Int: 'r'}
var words = [...]string{expr.Real: "f32", expr.Int: "u32"}

// counter is an iota's value as an Int.
func (x *index) counter(off string) string {
	switch {
	case off == "":
		return "0"
	case x.wide:
		return x.w.r("cvt.u32.u64", off)
	}
	return off
}

// point computes one point.
func (s *space) point(x *index, c []string, axes []axis, ptr []string) {
	w := x.w
	loaded := map[int]string{}
	outs := eval(w, s.e, s.on, func(step expr.Step) string {
		if step.Fn == expr.Iota {
			return x.counter(x.offset(c, axes, s.iotas[step.Arg]))
		}
		v := s.input[step.Arg]
		if loaded[v] == "" {
			loaded[v] = w.op(
				letters[s.types[v]], "ld.global."+words[s.types[v]], "["+x.address(ptr[v], x.offset(c, axes, v))+"]",
			)
		}
		return loaded[v]
	})
	for i, o := range outs {
		v := s.outs + i
		w.into("st.global."+words[s.types[v]], "["+x.address(ptr[v], x.offset(c, axes, v))+"]", o)
	}
}

// group computes neighbouring points along the last axis, whose strides are those of last.
func (s *space) group(x *index, c []string, axes []axis, last axis, ptr []string) {
	w := x.w
	loaded := make([][]string, len(s.arrays))
	for v := range s.outs {
		off := x.offset(c, axes, v)
		switch {
		case s.isIota(v):
			first := x.counter(off)
			for k := range lanes {
				loaded[v] = append(loaded[v], w.r("add.s32", first, integer(k*last.strides[v])))
			}
		case last.strides[v] == 0:
			one := w.op(letters[s.types[v]], "ld.global."+words[s.types[v]], "["+x.address(ptr[v], off)+"]")
			for range lanes {
				loaded[v] = append(loaded[v], one)
			}
		default:
			for range lanes {
				loaded[v] = append(loaded[v], w.reg(letters[s.types[v]]))
			}
			w.into("ld.global.v4."+words[s.types[v]], tuple(loaded[v]), "["+x.address(ptr[v], off)+"]")
		}
	}
	results := make([][]string, len(s.e.Outs))
	for k := range lanes {
		outs := eval(w, s.e, s.on, func(step expr.Step) string {
			if step.Fn == expr.Iota {
				return loaded[s.iotas[step.Arg]][k]
			}
			return loaded[s.input[step.Arg]][k]
		})
		for i, o := range outs {
			results[i] = append(results[i], o)
		}
	}
	for i, r := range results {
		v := s.outs + i
		w.into("st.global.v4."+words[s.types[v]], "["+x.address(ptr[v], x.offset(c, axes, v))+"]", tuple(r))
	}
}

func tuple(regs []string) string {
	s := "{" + regs[0]
	for _, r := range regs[1:] {
		s += ", " + r
	}
	return s + "}"
}
