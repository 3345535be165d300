package ptx_test

import (
	"fmt"
	"strings"

	"bilevel/internal/ptx/arith/exact"
)

// A wmmaCase is a whole product: fragments are opaque, so loads, product and store are tested together.
type wmmaCase struct {
	shape                  string
	in, acc, out           string // types
	layoutA, layoutB       string
	layoutC, layoutD       string
	space                  string // "" for generic
	m, n, k                int
	registersA, registersB int
}

func wmmaVectors() (list []*vector) {
	number := 0
	add := func(shape, in, acc, out string, regsA, regsB int) {
		for _, la := range []string{"row", "col"} {
			for _, lb := range []string{"row", "col"} {
				for _, space := range []string{"", "global", "shared", "shared::cta"} {
					c := wmmaCase{shape: shape, in: in, acc: acc, out: out, layoutA: la, layoutB: lb, space: space,
						registersA: regsA, registersB: regsB}
					c.layoutC, c.layoutD = lb, la
					fmt.Sscanf(shape, "m%dn%dk%d", &c.m, &c.n, &c.k)
					list = append(list, c.vector(number%5 == 0))
					number++
				}
			}
		}
	}
	add("m16n16k8", "tf32", "f32", "f32", 4, 4)
	for _, s := range []struct {
		shape string
		a, b  int
	}{{"m16n16k16", 4, 4}, {"m32n8k16", 8, 2}, {"m8n32k16", 2, 8}} {
		add(s.shape, "bf16", "f32", "f32", s.a, s.b)
		for _, acc := range []string{"f16", "f32"} {
			for _, out := range []string{"f16", "f32"} {
				add(s.shape, "f16", acc, out, 8, 8)
			}
		}
	}
	return list
}

const wmmaColumns = 10 // operands of a thread: the warp has 2560 bytes of matrices, A, B and C one behind the other

// vector is the product. Its op is the mma; the loads and the store are its others.
func (c wmmaCase) vector(special bool) *vector {
	in, acc, out := matrixTypes[c.in], matrixTypes[c.acc], matrixTypes[c.out]
	word := func(space string) string {
		if space != "" {
			return "." + space
		}
		return ""
	}
	names := []string{
		"wmma.load.a.sync.aligned." + c.layoutA + "." + c.shape + word(c.space) + "." + c.in,
		"wmma.load.b.sync.aligned." + c.layoutB + "." + c.shape + word(c.space) + "." + c.in,
		"wmma.load.c.sync.aligned." + c.layoutC + "." + c.shape + word(c.space) + "." + c.acc,
		"wmma.mma.sync.aligned." + c.layoutA + "." + c.layoutB + "." + c.shape + "." + c.out + "." + c.in + "." + c.in +
			"." + c.acc,
		"wmma.store.d.sync.aligned." + c.layoutD + "." + c.shape + word(c.space) + "." + c.out,
	}
	if c.in == "f16" {
		names[3] = "wmma.mma.sync.aligned." + c.layoutA + "." + c.layoutB + "." + c.shape + "." + c.out + "." + c.acc
	}
	v := &vector{dst: "b64", group: 32}
	for range wmmaColumns {
		v.in = append(v.in, nil)
	}
	bytesA, bytesB := c.m*c.k*int(in.size)/8, c.k*c.n*int(in.size)/8
	// Inputs by column do not respect the borders of A, B and C; all types have edges and close exponents in 64 random
	// bits alike, where they are drawn in the format of the factors.
	drawn := in.inputs(special)
	for j := range v.in {
		for i, u := range drawn {
			next := drawn[(i*3+j)%len(drawn)]
			if in.size == 32 || in.per == 2 {
				u = u&0xffffffff | next<<32
			}
			v.in[j] = append(v.in[j], u)
		}
	}
	regs := func(prefix string, n int) string {
		var r []string
		for i := range n {
			r = append(r, fmt.Sprintf("%%%s%d", prefix, i))
		}
		return "{" + strings.Join(r, ", ") + "}"
	}
	countC, countD := 8/acc.per, 8/out.per
	stride := func(layout string, rows, cols int) int {
		if layout == "row" {
			return cols
		}
		return rows
	}
	// Every warp has its own part of shared memory, 4096 bytes, with the operands and, behind them, the result.
	v.decl = []string{".shared .align 128 .b8 sm[8192];", ".reg .b32 %u<8>;", ".reg .b32 %v<8>;", ".reg .b32 %w<8>;",
		".reg .b32 %z<8>;", ".reg .b64 %e<6>;", ".reg .b32 %s<8>;"}
	v.body = []string{
		"mov.u32 %s0, %laneid;", "mov.u32 %s1, %tid.x;", "shr.u32 %s1, %s1, 5;", "mov.u32 %s2, sm;",
		"mad.lo.u32 %s2, %s1, 4096, %s2;",
		fmt.Sprintf("mad.lo.u32 %%s3, %%s0, %d, %%s2;", 8*wmmaColumns),
	}
	for j := range wmmaColumns {
		v.body = append(v.body, fmt.Sprintf("ld.global.u64 %%e0, [%%d8+%d];", 8*j),
			fmt.Sprintf("st.shared.u64 [%%s3+%d], %%e0;", 8*j))
	}
	v.body = append(v.body, "bar.warp.sync -1;", "cvt.u64.u32 %e1, %s2;")
	result := "%e2"
	// %e1: the warp's operands; the result goes to global memory only by way of a barrier, so it is always shared
	switch c.space {
	case "":
		v.body = append(v.body, "cvta.shared.u64 %e1, %e1;", "add.u64 %e2, %e1, 2560;")
	case "global": // lane 0's operands; the result goes over them and is copied
		v.body = append(v.body, fmt.Sprintf("mul.wide.u32 %%e3, %%s0, %d;", 8*wmmaColumns), "sub.u64 %e1, %d8, %e3;",
			"mov.u64 %e2, %e1;")
	default:
		v.body = append(v.body, "add.u64 %e2, %e1, 2560;")
	}
	v.body = append(v.body,
		fmt.Sprintf("%s %s, [%%e1], %d;", names[0], regs("u", c.registersA), stride(c.layoutA, c.m, c.k)),
		fmt.Sprintf("%s %s, [%%e1+%d], %d;", names[1], regs("v", c.registersB), bytesA, stride(c.layoutB, c.k, c.n)),
		fmt.Sprintf("%s %s, [%%e1+%d], %d;", names[2], regs("w", countC), bytesA+bytesB, stride(c.layoutC, c.m, c.n)),
		fmt.Sprintf("%s %s, %s, %s, %s;", names[3], regs("z", countD), regs("u", c.registersA), regs("v", c.registersB),
			regs("w", countC)),
		fmt.Sprintf("%s [%s], %s, %d;", names[4], result, regs("z", countD), stride(c.layoutD, c.m, c.n)),
		// 8 elements a lane
		"bar.warp.sync -1;", fmt.Sprintf("mul.wide.u32 %%e3, %%s0, %d;", out.size), "add.u64 %e2, %e2, %e3;",
		"mov.b64 $D, 0;")
	load := "ld" + word(c.space)
	for i := range int(out.size) / 8 {
		v.body = append(v.body, fmt.Sprintf("%s.u64 $T, [%%e2+%d];", load, 8*i),
			fmt.Sprintf("mad.lo.u64 $D, $T, %d, $D;", 2*i+1))
	}
	v.all = func(rows [][]uint64) []uint64 {
		var memory []byte
		for _, x := range rows {
			memory = append(memory, bytesOf(x)...)
		}
		read := func(t matrixType, at int, layout string, rows, cols int) func(r, c int) exact.Value {
			return func(r, col int) exact.Value {
				i := r*cols + col
				if layout == "col" {
					i = col*rows + r
				}
				size := int(t.size) / 8
				return t.value(little(memory[at+i*size:at+(i+1)*size]), 0)
			}
		}
		a, b := read(in, 0, c.layoutA, c.m, c.k), read(in, bytesA, c.layoutB, c.k, c.n)
		start := read(acc, bytesA+bytesB, c.layoutC, c.m, c.n)
		store := make([]byte, 256*int(out.size)/8)
		for i := range c.m {
			for j := range c.n {
				sum := start(i, j)
				for k := range c.k {
					sum = exact.Add(sum, exact.Mul(a(i, k), b(k, j)), "rn")
				}
				at := i*c.n + j
				if c.layoutD == "col" {
					at = j*c.m + i
				}
				size := int(out.size) / 8
				copy(store[at*size:(at+1)*size], bytesOf([]uint64{out.f.Encode(sum, "rn")}))
			}
		}
		var z []uint64
		for lane := range rows {
			var fold uint64
			for i := range int(out.size) / 8 {
				fold += uint64(2*i+1) * little(store[lane*int(out.size)+8*i:][:8])
			}
			z = append(z, fold)
		}
		return z
	}
	v.op, v.others, v.most = names[3], append([]string{names[4]}, names[:3]...), 64
	return v
}
