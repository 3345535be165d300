package cuda

import (
	"bilevel/device"
	"bilevel/device/cuda/driver"
)

// span is the memory from the first to the last byte of a view.
type span struct{ first, last driver.Ptr }

func (s span) meets(o span) bool { return s.first <= o.last && o.first <= s.last }

// spans are those of the views that have elements. They are of addresses: a buffer may be in a program more than once.
func (r *runner) spans(views []device.View) []span {
	var list []span
	for _, v := range views {
		if v.Size() == 0 {
			continue
		}
		b := r.program.Buffers[v.Buf].(*buffer)
		last := v.Off
		for a, n := range v.Shape {
			last += (n - 1) * v.Strides[a]
		}
		list = append(list, span{b.address(v.Off), b.address(last+1) - 1})
	}
	return list
}

func meet(a, b []span) bool {
	for _, x := range a {
		for _, y := range b {
			if x.meets(y) {
				return true
			}
		}
	}
	return false
}

// dependences says of each instruction which earlier ones must be over before it begins: those that write what it reads
// or writes, and those that read what it writes. Those that others of the list wait for already are left out.
type dependences struct {
	after  [][]int
	before [][]bool // before[i][j]: j is over when i begins
}

func (r *runner) dependences() dependences {
	code := r.program.Code
	d := dependences{make([][]int, len(code)), make([][]bool, len(code))}
	in, out := make([][]span, len(code)), make([][]span, len(code))
	for i := range code {
		in[i], out[i] = r.spans(code[i].In), r.spans(code[i].Out)
		d.before[i] = make([]bool, i)
		for j := i - 1; j >= 0; j-- {
			if d.before[i][j] || !meet(out[j], in[i]) && !meet(out[j], out[i]) && !meet(in[j], out[i]) {
				continue
			}
			d.after[i] = append(d.after[i], j)
			d.before[i][j] = true
			for k, before := range d.before[j] {
				d.before[i][k] = d.before[i][k] || before
			}
		}
	}
	return d
}

// room places the scratch memory of each instruction: two instructions share a place only where one is over when the
// other begins. It gives the place of each, and the size of all.
func (d dependences) room(bytes []int64) (at []int64, size int64) {
	at = make([]int64, len(bytes))
	for i, n := range bytes {
		for moved := true; moved && n > 0; {
			moved = false
			for j := range i {
				if bytes[j] > 0 && !d.before[i][j] && at[i] < at[j]+bytes[j] && at[j] < at[i]+n {
					at[i] = at[j] + bytes[j]
					moved = true
				}
			}
		}
		size = max(size, at[i]+n)
	}
	return at, size
}
