package emit

import (
	"crypto/sha256"
	"fmt"
	"regexp"
	"strings"

	"bilevel/internal/expr"
	"bilevel/kernels"
)

// Fits says whether Epilogue may take the expression: it is written out for every value that a thread stores, up to 64
// of them, and its registers come on top of those that hold the values. Longer ones had better be a Map of their own.
func Fits(e *expr.Expr) bool { return len(e.Steps) <= longest }

// An Extra is an input of an epilogue beside the value itself.
type Extra struct {
	Array
	Number int // of the operand
}

// Epilogue makes, of a plan for a result of the given shape (batch, row, column), the plan that stores the expression
// of it: compiled kernels whose texts have the expression in place of their marks (kernels.Launch.Marks). Input 0 of
// the expression is the product, further ones are extras, which a thread reads just before it stores, so that one may
// be the result itself.
//
// Each expression is a module for each kernel it is put in; its name tells what is in it.
func Epilogue(e *expr.Expr, shape [3]int, extras []Extra, p kernels.Plan) Program {
	arrays := []Array{{Strides: make([]int, len(shape))}} // in place of the product, whose place nobody asks for
	for _, x := range extras {
		arrays = append(arrays, x.Array)
	}
	done := Program{Plan: kernels.Plan{Workspace: p.Workspace, Counters: p.Counters}, Text: map[string]string{}}
	for _, l := range p.Launches {
		if l.Marks != nil {
			f := &fusion{
				space: newSpace(e, len(shape), arrays, nil), axes: make([]axis, len(shape)), columns: shape[l.Marks[2]],
			}
			for i, a := range l.Marks {
				f.axes[i] = axis{shape[a], make([]int, len(f.arrays))}
				for v, strides := range f.arrays {
					if shape[a] > 1 {
						f.axes[i].strides[v] = strides[a]
					}
				}
			}
			l = f.into(l, done.Text)
			for _, n := range f.extras() {
				l.Args = append(l.Args, kernels.Operand{Number: extras[n-1].Number, Off: extras[n-1].Off})
			}
		}
		done.Launches = append(done.Launches, l)
	}
	return done
}

// A fusion is an expression about to be put in a kernel; its axes are those that marks name, in their order.
type fusion struct {
	*space
	axes    []axis
	columns int
}

// extras lists the inputs in use beside the product.
func (f *fusion) extras() []int {
	var list []int
	for _, n := range f.ins {
		if n > 0 {
			list = append(list, n)
		}
	}
	return list
}

// mark is what kernels/gemm_tile.cu leaves where it stores: registers of neighbouring values, and of the place of the
// first. It begins with words, which are found in a long text far faster than a pattern.
var mark = regexp.MustCompile(`(?m)// epilogue of \{([^}\n]*)\} at (%r\d+), (%r\d+), (%r\d+)$`)

// into makes the launch's kernel with the expression in it and adds its text. Where there is no such kernel there is no
// text either, which whoever loads it will say.
func (f *fusion) into(l kernels.Launch, texts map[string]string) kernels.Launch {
	text, err := kernels.PTX(l.Module)
	if err != nil {
		return l
	}
	before, kernel, _ := strings.Cut(text, ".visible .entry "+l.Entry+"(")
	params, body, _ := strings.Cut(kernel, "\n)\n")
	body, after, more := strings.Cut(body, ".visible .entry ")
	if more {
		after = ".visible .entry " + after
	}
	for _, n := range f.extras() {
		params += fmt.Sprintf(",\n\t.param .u64 extra%d", n)
	}
	table, sum := false, sha256.New()
	body = mark.ReplaceAllStringFunc(body, func(s string) string {
		m := mark.FindStringSubmatch(s)
		w := f.write(strings.Split(m[1], ", "), m[2:])
		table = table || w.table
		scope := "{\n" + w.registers() + w.body.String() + "\t}"
		sum.Write([]byte(scope))
		return scope
	})
	if table {
		before += digits
	}
	l.Entry = fmt.Sprintf("%s_%.4x", l.Entry, sum.Sum(nil))
	l.Module = l.Entry
	texts[l.Module] = before + ".visible .entry " + l.Entry + "(" + params + "\n)\n" + body + after
	return l
}

// write computes the expression of neighbouring values of a row, in place. Where rows are no multiple of as many, those
// beyond the end take the inputs of the last one.
func (f *fusion) write(values, at []string) *writer {
	w := newWriter()
	w.prefix = "e_"
	w.note("%s", f.e)
	points := 1
	for _, a := range f.axes {
		points *= a.n
	}
	x := newIndex(w, f.wide(f.axes, points))
	even := f.columns%len(values) == 0
	places := make([][]string, len(values)) // of each value, by axis
	for k := range values {
		column := at[2]
		if k > 0 {
			column = w.r("add.u32", at[2], integer(k))
			if !even {
				column = w.r("min.u32", column, integer(f.columns-1))
			}
		}
		for _, c := range []string{at[0], at[1], column} {
			if x.wide {
				c = w.op('d', "cvt.u64.u32", c)
			}
			places[k] = append(places[k], c)
		}
	}
	loaded := make([][]string, len(f.arrays))
	for _, n := range f.extras() {
		v := f.input[n]
		base := w.op('d', "cvta.to.global.u64", w.op('d', "ld.param.u64", fmt.Sprintf("[extra%d]", n)))
		loaded[v] = f.load(x, base, v, places, even)
	}
	for k, value := range values {
		outs := eval(w, f.e, f.on, func(step expr.Step) string {
			switch {
			case step.Fn == expr.Iota:
				return x.counter(x.offset(places[k], f.axes, f.iotas[step.Arg]))
			case step.Arg == 0:
				return value
			}
			return loaded[f.input[step.Arg]][k]
		})
		w.into("mov.f32", value, outs[0])
	}
	return w
}

// load reads an extra at every place: once where it repeats along a row, as one vector where it is dense and aligned.
func (f *fusion) load(x *index, base string, v int, places [][]string, even bool) []string {
	w, n := x.w, len(places)
	class, word := letters[f.types[v]], words[f.types[v]]
	stride := f.axes[2].strides[v]
	address := func(k int) string { return "[" + x.address(base, x.offset(places[k], f.axes, v)) + "]" }
	var list []string
	if stride == 1 && n > 1 && even && f.offs[v]%n == 0 && f.axes[0].strides[v]%n == 0 && f.axes[1].strides[v]%n == 0 {
		for range n {
			list = append(list, w.reg(class))
		}
		w.into(fmt.Sprintf("ld.global.v%d.%s", n, word), tuple(list), address(0))
		return list
	}
	for k := range n {
		if k > 0 && stride == 0 {
			list = append(list, list[0])
			continue
		}
		list = append(list, w.op(class, "ld.global."+word, address(k)))
	}
	return list
}
