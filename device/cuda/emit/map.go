package emit

import (
	"fmt"

	"bilevel/internal/expr"
	"bilevel/kernels"
)

const (
	// lanes is how many neighbouring points a thread takes where the arrays allow it, a load of 16 bytes each; half as
	// many where they allow that. Other points lie apart, and a thread takes as many of a space that is large.
	lanes = 4
	// longest is the number of steps beyond which a thread takes one point only, so that it has registers enough.
	longest = 48
)

// Map makes the kernel that computes the expression at every point of shape, which has at least one point. A thread
// loads all it needs before it computes, so that its loads are on their way together.
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

	per := s.vectors(axes)
	if len(e.Steps) > longest {
		per = 1
	}
	threads := (n + per - 1) / per
	switch {
	case per > 1:
		g := x.thread(1)
		w.when(w.p(x.compare("ge"), g, integer(threads)), "bra", "END")
		groups := append([]axis(nil), axes...)
		groups[last] = axis{(axes[last].n + per - 1) / per, make([]int, len(s.arrays))}
		for v, stride := range axes[last].strides {
			groups[last].strides[v] = per * stride
		}
		if n%per > 0 {
			w.when(w.p(x.compare("eq"), g, integer(threads-1)), "bra", "TAIL")
		}
		s.group(x, x.coordinates(g, groups), groups, axes[last], per, ptr)
		if n%per > 0 { // the last thread's points, one by one
			w.into("bra", "END")
			w.label("TAIL")
			x.memo = map[string]string{} // nothing of the group was computed
			for i := n - n%per; i < n; i++ {
				s.points(x, []string{x.op("add", "0", integer(i))}, axes, ptr)
			}
		}
	case len(e.Steps) <= longest && n >= enough*block*lanes:
		threads = (n + lanes*block - 1) / (lanes * block) * block
		at := []string{x.thread(lanes)}
		for k := 1; k < lanes; k++ {
			at = append(at, x.op("add", at[0], integer(k*block)))
		}
		if n%(lanes*block) > 0 { // the last block's points, one by one
			w.when(w.p(x.compare("ge"), at[lanes-1], integer(n)), "bra", "TAIL")
		}
		s.points(x, at, axes, ptr)
		if n%(lanes*block) > 0 {
			w.into("bra", "END")
			w.label("TAIL")
			w.when(w.p(x.compare("ge"), at[0], integer(n)), "bra", "END")
			x.memo = map[string]string{} // computed anew in each turn of the loop
			s.points(x, at[:1], axes, ptr)
			w.into("add."+x.unsigned(), at[0], at[0], integer(block))
			w.into("bra", "TAIL")
		}
	default:
		g := x.thread(1)
		w.when(w.p(x.compare("ge"), g, integer(threads)), "bra", "END")
		s.points(x, []string{g}, axes, ptr)
	}
	w.label("END")
	entry, text := w.finish("map", 0)
	return Program{
		Plan: kernels.Plan{Launches: []kernels.Launch{{Module: entry, Entry: entry, Args: args,
			Grid: [3]int{(threads + block - 1) / block, 1, 1}, Block: [3]int{block, 1, 1}}}},
		Text: map[string]string{entry: text},
	}
}

// thread is the number of the thread in the grid, or of the first of several points, a block apart, that it has.
func (x *index) thread(points int) string {
	b, t := x.w.r("mov.u32", "%ctaid.x"), x.w.r("mov.u32", "%tid.x")
	if !x.wide {
		return x.w.r("mad.lo.u32", b, integer(points*block), t)
	}
	return x.w.op('d', "mad.wide.u32", b, integer(points*block), x.w.op('d', "cvt.u64.u32", t))
}

func (x *index) compare(how string) string {
	if x.wide {
		return "setp." + how + ".u64"
	}
	return "setp." + how + ".u32"
}

// vectors says how many neighbouring points lie together in every array, 4, 2 or 1: along the last axis each array is
// dense or repeats, and groups begin at multiples of their size. Only where that axis is the only one may its end be a
// part of a group.
func (s *space) vectors(axes []axis) int {
	last := len(axes) - 1
	together := func(lanes int) bool {
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
	for n := lanes; n > 1; n /= 2 {
		if together(n) {
			return n
		}
	}
	return 1
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

// points computes the points of these numbers: all that they read is loaded first.
func (s *space) points(x *index, numbers []string, axes []axis, ptr []string) {
	w := x.w
	places := make([][]string, len(numbers)) // coordinates
	loaded := make([][]string, len(numbers)) // by array
	for k, number := range numbers {
		places[k], loaded[k] = x.coordinates(number, axes), make([]string, s.outs)
		for v := range s.outs {
			off := x.offset(places[k], axes, v)
			if s.isIota(v) {
				loaded[k][v] = x.counter(off)
				continue
			}
			loaded[k][v] = w.op(letters[s.types[v]], "ld.global."+words[s.types[v]], "["+x.address(ptr[v], off)+"]")
		}
	}
	for k := range numbers {
		outs := eval(w, s.e, s.on, func(step expr.Step) string { return loaded[k][s.array(step)] })
		for i, o := range outs {
			v := s.outs + i
			w.into("st.global."+words[s.types[v]], "["+x.address(ptr[v], x.offset(places[k], axes, v))+"]", o)
		}
	}
}

// array is that of an Input or an Iota.
func (s *space) array(step expr.Step) int {
	if step.Fn == expr.Iota {
		return s.iotas[step.Arg]
	}
	return s.input[step.Arg]
}

// group computes neighbouring points along the last axis, whose strides are those of last.
func (s *space) group(x *index, c []string, axes []axis, last axis, lanes int, ptr []string) {
	w, wide := x.w, fmt.Sprintf(".global.v%d.", lanes)
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
			w.into("ld"+wide+words[s.types[v]], tuple(loaded[v]), "["+x.address(ptr[v], off)+"]")
		}
	}
	results := make([][]string, len(s.e.Outs))
	for k := range lanes {
		outs := eval(w, s.e, s.on, func(step expr.Step) string { return loaded[s.array(step)][k] })
		for i, o := range outs {
			results[i] = append(results[i], o)
		}
	}
	for i, r := range results {
		v := s.outs + i
		w.into("st"+wide+words[s.types[v]], "["+x.address(ptr[v], x.offset(c, axes, v))+"]", tuple(r))
	}
}

func tuple(regs []string) string {
	s := "{" + regs[0]
	for _, r := range regs[1:] {
		s += ", " + r
	}
	return s + "}"
}
