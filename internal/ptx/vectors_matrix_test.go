package ptx_test

import (
	"fmt"
	"slices"
	"strings"

	"bilevel/internal/ptx/arith/exact"
)

// A matrixType is an element type of a matrix instruction.
type matrixType struct {
	name   string
	size   uint
	per    int // in a register
	f      exact.Format
	signed bool
}

var matrixTypes = map[string]matrixType{
	"f16": {name: "f16", size: 16, per: 2, f: exact.F16()}, "bf16": {name: "bf16", size: 16, per: 2, f: exact.BF16()},
	"tf32": {name: "tf32", size: 32, per: 1, f: exact.Format{Exp: 8, Frac: 10}},
	"f32":  {name: "f32", size: 32, per: 1, f: exact.F32()},
	"f64":  {name: "f64", size: 64, per: 1, f: exact.F64()}, "s32": {name: "s32", size: 32, per: 1, signed: true},
	"s8": {name: "s8", size: 8, per: 4, signed: true}, "u8": {name: "u8", size: 8, per: 4},
}

func (m matrixType) class() string {
	if m.size == 64 {
		return "b64"
	}
	return "b32"
}

// value is element e of a register.
func (m matrixType) value(register uint64, e int) exact.Value {
	u := register >> (uint(e) * m.size)
	switch {
	case m.name == "tf32":
		return m.f.Decode(u>>13&(1<<19-1), false)
	case m.f.Exp != 0:
		return m.f.Decode(u&(2*m.f.Sign()-1), false)
	}
	return exact.Int(number(u, m.size, m.signed))
}

// inputs are registers of elements with close exponents, or any bits for integers; special are those with edges among
// them.
func (m matrixType) inputs(special bool) []uint64 {
	if m.f.Exp == 0 {
		return integerEdges(m.size * uint(m.per))
	}
	var list []uint64
	bias := uint64(1<<(m.f.Exp-1) - 1)
	edges := exact.Edges(m.f)
	for i := range uint64(61) {
		var u uint64
		for e := range uint(m.per) {
			k := (i*7+uint64(e)*13)*0x9e3779b97f4a7c15 + i
			x := k>>20&(2*m.f.Sign()-1)&^m.f.Inf() | (bias-3+k>>3%6)<<m.f.Frac
			if special && k%3 == 0 {
				x = edges[k%uint64(len(edges))]
			}
			if m.name == "tf32" {
				x = x<<13 | k&0x1fff // bits that do not count
			}
			u |= x << (e * m.size)
		}
		list = append(list, u)
	}
	return list
}

// mmaVector is mma.sync: fragments as PTX ISA 9.7.14.5 lays them out, the sum exact and rounded once. The results of a
// lane are folded into one word.
func mmaVector(op string, mods []string, special bool) *vector {
	n := len(mods)
	td, ta, tb, tc := matrixTypes[mods[n-4]], matrixTypes[mods[n-3]], matrixTypes[mods[n-2]], matrixTypes[mods[n-1]]
	var M, N, K int
	fmt.Sscanf(mods[2], "m%dn%dk%d", &M, &N, &K)
	v := &vector{op: op, dst: "b64", group: 32}
	counts := []int{M * K / 32 / ta.per, K * N / 32 / tb.per, M * N / 32 / tc.per, M * N / 32 / td.per}
	var lists []string
	for i, t := range []matrixType{ta, tb, tc, td} {
		var names []string
		for r := range counts[i] {
			name := fmt.Sprintf("%%%s%d", "uvwz"[i:i+1], r)
			names = append(names, name)
			if i < 3 {
				v.body = append(v.body, fmt.Sprintf("ld.global.%s %s, [%%d8+%d];", t.class(), name, 8*len(v.in)))
				v.in = append(v.in, t.inputs(special))
			}
		}
		v.decl = append(v.decl, fmt.Sprintf(".reg .%s %%%s<8>;", t.class(), "uvwz"[i:i+1]))
		lists = append(lists, "{"+strings.Join(names, ", ")+"}")
	}
	v.body = append(v.body, fmt.Sprintf("%s %s, %s, %s, %s;", op, lists[3], lists[0], lists[1], lists[2]),
		"mov.b64 $D, 0;")
	for r := range counts[3] {
		z := fmt.Sprintf("%%z%d", r)
		if td.size != 64 {
			v.body = append(v.body, "cvt.u64.u32 $T, "+z+";")
			z = "$T"
		}
		v.body = append(v.body, fmt.Sprintf("mad.lo.u64 $D, %s, %d, $D;", z, 2*r+1))
	}
	v.all = func(rows [][]uint64) []uint64 {
		a, b, c := make([]exact.Value, M*K), make([]exact.Value, K*N), make([]exact.Value, M*N)
		for lane, x := range rows {
			g, q := lane/4, lane%4
			for r := range counts[0] {
				row, run := g, r
				if M == 16 {
					row, run = g+8*(r%2), r/2
				}
				for e := range ta.per {
					a[row*K+q*ta.per+e+run*4*ta.per] = ta.value(x[r], e)
				}
			}
			for r := range counts[1] {
				for e := range tb.per {
					b[(q*tb.per+e+r*4*tb.per)*N+g] = tb.value(x[counts[0]+r], e)
				}
			}
			for r := range counts[2] {
				for e := range tc.per {
					i := r*tc.per + e
					c[(g+8*(i/2))*N+2*q+i%2] = tc.value(x[counts[0]+counts[1]+r], e)
				}
			}
		}
		d := make([]uint64, M*N)
		for i := range d {
			sum := c[i]
			for k := range K {
				sum = exact.Add(sum, exact.Mul(a[i/N*K+k], b[k*N+i%N]), "rn")
				if td.name == "f64" { // rounded at each step
					sum = td.f.Decode(td.f.Encode(sum, "rn"), false)
				}
			}
			if td.f.Exp != 0 {
				d[i] = td.f.Encode(sum, "rn")
				continue
			}
			z, _ := sum.X.Int(nil)
			if has(mods, "satfinite") {
				z = clamped(z, 32, true)
			}
			d[i] = bitsOf(z, 32)
		}
		var out []uint64
		for lane := range rows {
			g, q := lane/4, lane%4
			var fold uint64
			for r := range counts[3] {
				var register uint64
				for e := range td.per {
					i := r*td.per + e
					register |= d[(g+8*(i/2))*N+2*q+i%2] << (uint(e) * td.size)
				}
				fold += uint64(2*r+1) * register
			}
			out = append(out, fold)
		}
		return out
	}
	return v
}

func matrixVectors(rows []string) (list []*vector) {
	for _, row := range rows {
		op, combinations := expand(row)
		for _, mods := range combinations {
			name := strings.Join(append([]string{op}, mods...), ".")
			switch op {
			case "mma":
				list = append(list, mmaVector(name, mods, false), mmaVector(name, mods, true))
			case "ldmatrix", "stmatrix":
				list = append(list, tileVector(name, mods))
			}
		}
	}
	transpose := together("movmatrix.sync.aligned.m8n8.trans.b16", 32, "b32", []string{"b32"},
		[][]uint64{integerEdges(32)},
		[]string{"movmatrix.sync.aligned.m8n8.trans.b16 $D, $a;"}, func(rows [][]uint64) (z []uint64) {
			for lane := range rows {
				var u uint64
				for e := range 2 {
					r, c := 2*(lane%4)+e, lane/4 // element e of the lane is (lane/4, 2q+e) of the transposed matrix
					u |= rows[4*r+c/2][0] >> (16 * (c % 2)) & 0xffff << (16 * e)
				}
				z = append(z, u)
			}
			return z
		})
	return append(list, transpose)
}

// tileVector is ldmatrix and stmatrix: each thread owns a row of 16 bytes in shared memory, row r of matrix i is thread
// 8i+r's.
func tileVector(op string, mods []string) *vector {
	n := map[string]int{"x1": 1, "x2": 2,
		"x4": 4}[mods[slices.IndexFunc(mods, func(m string) bool { return m[0] == 'x' })]]
	trans := has(mods, "trans")
	v := &vector{op: op, dst: "b64", group: 32, src: []string{"b64", "b64"},
		decl: []string{".shared .align 16 .b8 sm[2048];", ".reg .b32 %s<4>;"}}
	v.in = [][]uint64{integerEdges(64), integerEdges(64)}
	var names []string
	for r := range n {
		names = append(names, fmt.Sprintf("%%s%d", r))
	}
	list := "{" + strings.Join(names, ", ") + "}"
	address := "[%r5]"
	// A generic address where no space is named.
	generic := []string{}
	if !slices.ContainsFunc(mods, func(m string) bool { return strings.HasPrefix(m, "shared") }) {
		generic = []string{"cvt.u64.u32 %d6, %r5;", "cvta.shared.u64 %d6, %d6;"}
		address = "[%d6]"
	}
	start := append([]string{"mov.u32 %r5, sm;", "mov.u32 %r6, %tid.x;", "mad.lo.u32 %r5, %r6, 16, %r5;"}, generic...)
	element := func(rows [][]uint64, i, r, c int) uint64 { // of matrix i
		x := rows[8*i+r]
		return x[c/4] >> (16 * (c % 4)) & 0xffff
	}
	place := func(lane, e int) (r, c int) {
		r, c = lane/4, 2*(lane%4)+e
		if trans {
			r, c = c, r
		}
		return r, c
	}
	if strings.HasPrefix(op, "ld") {
		v.body = append(start, "st.shared.v2.u64 [%r5], {$a, $b};", "bar.warp.sync -1;", op+" "+list+", "+address+";",
			"mov.b64 $D, 0;")
		for r, s := range names {
			v.body = append(v.body, "cvt.u64.u32 $T, "+s+";", fmt.Sprintf("mad.lo.u64 $D, $T, %d, $D;", 2*r+1))
		}
		v.all = func(rows [][]uint64) (z []uint64) {
			for lane := range rows {
				var fold uint64
				for i := range n {
					for e := range 2 {
						r, c := place(lane, e)
						fold += uint64(2*i+1) * (element(rows, i, r, c) << (16 * e))
					}
				}
				z = append(z, fold)
			}
			return z
		}
		return v
	}
	// Stored elements: register i of a lane is made from its operands.
	v.body = append(start, "st.shared.v2.u64 [%r5], {$a, $b};", "bar.warp.sync -1;")
	for i, s := range names {
		v.body = append(v.body, fmt.Sprintf("shr.u64 $T, $b, %d;", 7*i), "cvt.u32.u64 "+s+", $T;")
	}
	v.body = append(v.body, op+" "+address+", "+list+";", "bar.warp.sync -1;", "ld.shared.v2.u64 {$D, $T}, [%r5];",
		"mad.lo.u64 $D, $T, 3, $D;")
	v.all = func(rows [][]uint64) (z []uint64) {
		after := make([][]uint64, 32)
		for lane, x := range rows {
			after[lane] = slices.Clone(x)
		}
		for lane, x := range rows {
			for i := range n {
				for e := range 2 {
					r, c := place(lane, e)
					w := &after[8*i+r][c/4]
					shift := 16 * (c % 4)
					*w = *w&^(0xffff<<shift) | x[1]>>(7*i)>>(16*e)&0xffff<<shift
				}
			}
		}
		for _, x := range after {
			z = append(z, x[0]+3*x[1])
		}
		return z
	}
	return v
}
