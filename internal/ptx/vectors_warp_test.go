package ptx_test

import (
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// column is operand j of all threads.
func column(rows [][]uint64, j int) []uint64 {
	var c []uint64
	for _, x := range rows {
		c = append(c, x[j])
	}
	return c
}

// together is a vector of a warp or of a block of 64; f sees the operands of all threads.
func together(op string, group int, dst string, src []string, in [][]uint64, body []string,
	f func(rows [][]uint64) []uint64) *vector {
	return &vector{op: op, group: group, dst: dst, src: src, in: in, body: body, all: f}
}

const both = "cvt.u64.u32 $D, %s0; selp.u64 $T, 1, 0, $P; shl.b64 $T, $T, 32; or.b64 $D, $D, $T;"

var scratch = []string{".reg .b32 %s<8>;"}

func warpVectors() (list []*vector) {
	words := integerEdges(32)
	few := []uint64{3, 3, 3, 5, 1 << 31, 1<<32 - 1}
	// Shuffles: value, lane operand, clamp and segment.
	for mode := range map[string]bool{"up": true, "down": true, "bfly": true, "idx": true} {
		op := "shfl.sync." + mode + ".b32"
		v := together(op, 32, "b64", []string{"b32", "b32", "b32"},
			[][]uint64{words, {0, 1, 2, 5, 16, 31, 33}, {0, 31, 0x181f, 0x1c1f, 0x1807, 0x1f1f, 0x0c05}},
			[]string{op + " %s0|$P, $a, $b, $c, -1;", both}, func(rows [][]uint64) (z []uint64) {
				for i, x := range rows {
					lane, b, c := i, int(x[1]&31), int(x[2]&31)
					segment := int(x[2] >> 8 & 31)
					first := lane & segment
					limit := first | c&^segment
					j, ok := lane, false
					switch mode { // the text of PTX ISA 9.7.9.6
					case "up":
						j, ok = lane-b, lane-b >= limit
					case "down":
						j, ok = lane+b, lane+b <= limit
					case "bfly":
						j, ok = lane^b, lane^b <= limit
					default:
						j = first | b&^segment
						ok = j <= limit
					}
					if !ok {
						j = lane
					}
					z = append(z, rows[j][0]|flag(ok)<<32)
				}
				return z
			})
		list = append(list, v)
	}
	// Votes: mostly unanimous inputs would be rare, so one operand is constant per warp in effect.
	for _, mode := range []string{"all", "any", "uni", "ballot"} {
		for k, in := range [][]uint64{{0, 1}, {1}, {0}} {
			op := "vote.sync." + mode + ".pred"
			body := []string{op + " $P, $a, -1;", "selp.u32 $D, 1, 0, $P;"}
			if mode == "ballot" {
				op = "vote.sync.ballot.b32"
				body = []string{op + " $D, $a, -1;"}
			}
			v := together(op, 32, "b32", []string{"pred"}, [][]uint64{in}, body, func(rows [][]uint64) []uint64 {
				var ones uint64
				for i, x := range rows {
					ones |= flag(x[0] != 0) << i
				}
				z := map[string]uint64{"all": flag(ones == 1<<32-1), "any": flag(ones != 0),
					"uni": flag(ones == 0 || ones == 1<<32-1), "ballot": ones}[mode]
				return slices.Repeat([]uint64{z}, 32)
			})
			v.body = slices.Clone(v.body)
			if k > 0 {
				v.body = append(v.body, fmt.Sprintf("// inputs %v", in))
			}
			list = append(list, v)
		}
	}
	for _, typ := range []string{"b32", "b64"} {
		values := few
		if typ == "b64" {
			values = []uint64{3, 3 | 1<<32, 3, 1 << 63}
		}
		op := "match.any.sync." + typ
		list = append(list, together(op, 32, "b32", []string{typ}, [][]uint64{values}, []string{op + " $D, $a, -1;"},
			func(rows [][]uint64) (z []uint64) {
				for _, x := range rows {
					var m uint64
					for j, y := range rows {
						m |= flag(x[0] == y[0]) << j
					}
					z = append(z, m)
				}
				return z
			}))
		for _, in := range [][]uint64{values, {9}} {
			op := "match.all.sync." + typ
			v := together(op, 32, "b64", []string{typ}, [][]uint64{in}, []string{op + " %s0|$P, $a, -1;", both},
				func(rows [][]uint64) []uint64 {
					z := uint64(1<<33 - 1)
					for _, x := range rows {
						if x[0] != rows[0][0] {
							z = 0
						}
					}
					return slices.Repeat([]uint64{z}, 32)
				})
			list = append(list, v)
		}
	}
	for _, r := range []struct {
		name, typ string
		f         bigOp
	}{
		{"add", "u32", (*big.Int).Add}, {"add", "s32", (*big.Int).Add}, {"min", "u32", nil}, {"min", "s32", nil},
		{"max", "u32", nil}, {"max", "s32", nil},
		{"and", "b32", (*big.Int).And}, {"or", "b32", (*big.Int).Or}, {"xor", "b32", (*big.Int).Xor},
	} {
		op := "redux.sync." + r.name + "." + r.typ
		list = append(list, together(op, 32, "b32", []string{"b32"}, [][]uint64{words}, []string{op + " $D, $a, -1;"},
			func(rows [][]uint64) []uint64 {
				signed := r.typ == "s32"
				z := number(rows[0][0], 32, signed)
				for _, x := range rows[1:] {
					y := number(x[0], 32, signed)
					switch {
					case r.f != nil:
						z = do(r.f, z, y)
					case y.Cmp(z) < 0 == (r.name == "min"):
						z = y
					}
				}
				return slices.Repeat([]uint64{bitsOf(z, 32)}, 32)
			}))
	}
	list = append(list,
		together("elect.sync", 32, "b64", []string{"b32"}, [][]uint64{{0xfff0, 0xffffffff}},
			[]string{"elect.sync %s0|$P, -1;", both}, func(rows [][]uint64) []uint64 {
				z := make([]uint64, 32)
				z[0] = 1 << 32
				return z
			}),
		together("activemask.b32", 32, "b32", []string{"pred"}, [][]uint64{{0, 1}},
			[]string{"mov.u32 $D, 0;", "@$a activemask.b32 $D;"}, func(rows [][]uint64) (z []uint64) {
				var m uint64
				for i, x := range rows {
					m |= x[0] << i
				}
				for _, x := range rows {
					z = append(z, m*x[0])
				}
				return z
			}),
		together("bar.warp.sync", 32, "b32", []string{"b32"}, [][]uint64{words}, exchange("bar.warp.sync -1;", 1),
			swapped(1)))
	for _, v := range list {
		v.decl = append(v.decl, scratch...)
	}
	return append(list, barrierVectors()...)
}

// exchange stores each thread's operand in shared memory and reads that of the thread whose index differs in the bits
// of by.
func exchange(barrier string, by int) []string {
	return []string{
		".shared .align 4 .b8 sm[256];", "mov.u32 %r5, sm;", "mov.u32 %r6, %tid.x;", "shl.b32 $T, %r6, 2;",
		"add.u32 $T, %r5, $T;",
		"st.shared.u32 [$T], $a;", barrier, fmt.Sprintf("xor.b32 $T, %%r6, %d;", by), "shl.b32 $T, $T, 2;",
		"add.u32 $T, %r5, $T;", "ld.shared.u32 $D, [$T];",
	}
}

func swapped(by int) func(rows [][]uint64) []uint64 {
	return func(rows [][]uint64) (z []uint64) {
		for i := range rows {
			z = append(z, rows[i^by][0])
		}
		return z
	}
}

func barrierVectors() (list []*vector) {
	words := integerEdges(32)
	for _, cta := range []string{"", "cta."} {
		for _, b := range []struct{ name, aligned string }{{"bar", ""}, {"barrier", ""}, {"barrier", ".aligned"}} {
			op := b.name + "." + cta + "sync" + b.aligned
			list = append(list, together(op, 64, "b32", []string{"b32"}, [][]uint64{words}, exchange(op+" 0;", 33),
				swapped(33)))
			// One warp arrives, the other waits.
			arrive := b.name + "." + cta + "arrive" + b.aligned
			body := exchange("", 32)
			body[6] = "setp.lt.u32 $P, %r6, 32;\n@$P " + arrive + " 1, 64;\n@!$P " + op + " 1, 64;"
			body = append(body, "selp.b32 $D, 0, $D, $P;")
			list = append(list, together(arrive, 64, "b32", []string{"b32"}, [][]uint64{words}, body,
				func(rows [][]uint64) []uint64 {
					return append(make([]uint64, 32), column(rows, 0)[:32]...)
				}))
			for _, how := range []string{"popc", "and", "or"} {
				typ, body := "pred", []string(nil)
				if how == "popc" {
					typ = "u32"
				}
				op := b.name + "." + cta + "red." + how + b.aligned + "." + typ
				if typ == "u32" {
					body = []string{op + " $D, 0, $a;"}
				} else {
					body = []string{op + " $P, 0, $a;", "selp.u32 $D, 1, 0, $P;"}
				}
				for _, in := range [][]uint64{{0, 1}, {0}, {1}} {
					list = append(list, together(op, 64, "b32", []string{"pred"}, [][]uint64{in}, body,
						func(rows [][]uint64) []uint64 {
							n := 0
							for _, x := range rows {
								n += int(x[0])
							}
							z := map[string]uint64{"popc": uint64(n), "and": flag(n == 64), "or": flag(n > 0)}[how]
							return slices.Repeat([]uint64{z}, 64)
						}))
				}
			}
		}
	}
	return list
}

// quiet are instructions without effect on a single thread's results: the operand must survive them.
func quietVectors() (list []*vector) {
	add := func(op, operands string) {
		v := loop(32, 1, func(x []uint64) uint64 { return x[0] })
		v.op, v.body = op, []string{strings.TrimSpace(op+" "+operands) + ";", "mov.b32 $D, $a;"}
		v.decl = []string{".local .align 4 .b8 lm[16];"}
		list = append(list, v)
	}
	for _, s := range []string{"cta", "gl", "sys"} {
		add("membar."+s, "")
	}
	for _, s := range scopes {
		for _, how := range []string{"", "sc.", "acq_rel."} {
			add("fence."+how+s, "")
		}
	}
	for _, level := range []string{"L1", "L2"} {
		add("prefetch."+level, "[%d8]")
		add("prefetch.global."+level, "[%d8]")
		add("prefetch.local."+level, "[lm]")
	}
	add("prefetchu.L1", "[%d8]")
	for _, p := range []string{"evict_last", "evict_normal"} {
		add("prefetch.global.L2::"+p, "[%d8]")
	}
	add("applypriority.global.L2::evict_normal", "[%d8], 128")
	add("applypriority.L2::evict_normal", "[%d8], 128")
	add("nanosleep.u32", "20")
	add("griddepcontrol.launch_dependents", "")
	add("griddepcontrol.wait", "")
	add("fence.proxy.alias", "")
	for _, s := range []string{"", ".global", ".shared::cta"} {
		add("fence.proxy.async"+s, "")
	}
	return list
}

// controlVectors are branches and ends of threads.
func controlVectors() (list []*vector) {
	add := func(op string, body ...string) {
		v := loop(32, 1, func(x []uint64) uint64 {
			if x[0]&1 == 1 {
				return x[0] * 3
			}
			return x[0] + 7
		})
		v.op = op
		v.body = append([]string{"and.b32 $T, $a, 1;", "setp.ne.u32 $P, $T, 0;"}, body...)
		list = append(list, v)
	}
	add("bra", "@$P bra ODD;", "add.u32 $D, $a, 7;", "bra.uni END;", "ODD:", "mul.lo.u32 $D, $a, 3;", "END:")
	add("bra.uni", "mul.lo.u32 $D, $a, 3;", "@!$P add.u32 $D, $a, 7;", "bra.uni END;", "mov.u32 $D, 0;", "END:")
	// A thread that ends early has stored its result before.
	for _, end := range []string{"ret", "ret.uni", "exit"} {
		add(end, "mul.lo.u32 $D, $a, 3;", "cvt.u64.u32 %d0, $D;", "st.global.u64 [%d7], %d0;", "@$P bra LEAVE;",
			"add.u32 $D, $a, 7;", "bra GO;", "LEAVE:", end+";", "GO:")
	}
	return list
}

// addressVectors are cvta and isspacep: the operand is stored by an address of the space and read back by the generic
// one.
func addressVectors() (list []*vector) {
	for _, s := range []struct{ space, decl, at string }{
		{"shared", ".shared .align 8 .b8 sm[512];", "sm"}, {"shared::cta", ".shared .align 8 .b8 sm[512];", "sm"},
		{"local", ".local .align 8 .b8 lm[512];", "lm"}, {"global", "", ""},
	} {
		start := []string{"mov.u32 %r6, %tid.x;", "mul.wide.u32 %e0, %r6, 8;", "mov.u64 %e1, " + s.at + ";",
			"add.u64 %e0, %e0, %e1;"}
		if s.space == "global" {
			start = []string{"mov.u64 %e0, %d8;"}
		}
		decl := []string{".reg .b64 %e<6>;", s.decl}
		there := loop(64, 1, func(x []uint64) uint64 { return x[0] })
		there.op, there.decl = "cvta."+s.space+".u64", decl
		there.body = append(slices.Clone(start), "st."+s.space+".u64 [%e0], $a;", there.op+" %e2, %e0;",
			"ld.u64 $D, [%e2];")
		back := loop(64, 1, func(x []uint64) uint64 { return x[0] })
		back.op, back.decl = "cvta.to."+s.space+".u64", decl
		back.body = append(slices.Clone(start), "cvta."+s.space+".u64 %e2, %e0;", "st.u64 [%e2], $a;",
			back.op+" %e3, %e2;", "ld."+s.space+".u64 $D, [%e3];")
		list = append(list, there, back)
		for _, asked := range []string{"global", "shared", "shared::cta", "local", "const", "param"} {
			v := loop(64, 1, func([]uint64) uint64 {
				return flag(strings.TrimSuffix(asked, "::cta") == strings.TrimSuffix(s.space, "::cta"))
			})
			v.op, v.dst, v.decl = "isspacep."+asked, "pred", decl
			v.body = append(slices.Clone(start), "cvta."+s.space+".u64 %e2, %e0;", v.op+" $D, %e2;")
			list = append(list, v)
		}
	}
	bank := loop(64, 1, func(x []uint64) uint64 { return x[0] + 0x0807060504030201 })
	bank.module = []string{".const .align 8 .b8 cm$N[8] = {1, 2, 3, 4, 5, 6, 7, 8};"}
	bank.op, bank.others, bank.decl = "cvta.const.u64", []string{"cvta.to.const.u64"}, []string{".reg .b64 %e<6>;"}
	bank.body = []string{"mov.u64 %e0, cm$N;", "cvta.const.u64 %e1, %e0;", "ld.u64 %e2, [%e1];",
		"cvta.to.const.u64 %e3, %e1;", "ld.const.u64 %e4, [%e3];",
		"xor.b64 %e5, %e2, %e4;", "add.u64 $D, $a, %e2;", "add.u64 $D, $D, %e5;"}
	parameter := loop(64, 1, func(x []uint64) uint64 { return x[0] })
	parameter.op, parameter.others, parameter.decl = "cvta.param.u64", []string{"cvta.to.param.u64"},
		[]string{".reg .b64 %e<6>;"}
	parameter.body = []string{"mov.b64 %e0, in;", "cvta.param.u64 %e1, %e0;", "ld.u64 %e2, [%e1];",
		"cvta.to.param.u64 %e3, %e1;", "ld.param.u64 %e4, [in];",
		"sub.u64 %e5, %e3, %e0;", "sub.u64 %e2, %e2, %e4;", "add.u64 $D, $a, %e2;", "add.u64 $D, $D, %e5;"}
	return append(list, bank, parameter)
}

// asyncVectors copy the operands to shared memory: all of them, or a part with zeros behind it.
func asyncVectors() (list []*vector) {
	for _, c := range []struct {
		words string
		sizes []int
	}{{"ca", []int{4, 8, 16}}, {"cg", []int{16}}} {
		for _, space := range []string{"shared", "shared::cta"} {
			for _, hint := range []string{"", ".L2::64B", ".L2::128B", ".L2::256B"} {
				for _, size := range c.sizes {
					for _, keep := range []int{-1, 0, 3, size} {
						v := &vector{op: "cp.async." + c.words + "." + space + ".global" + hint, dst: "b64",
							src: []string{"b64", "b64", "b64", "b64"}, in: row()}
						v.decl = []string{".shared .align 16 .b8 sm[2048];"}
						part := ""
						n := size
						if keep >= 0 {
							part, n = fmt.Sprintf(", %d", keep), keep
						}
						v.body = []string{"mov.u32 %r5, sm;", "mov.u32 %r6, %tid.x;", "mad.lo.u32 %r5, %r6, 32, %r5;",
							"st.shared.u64 [%r5], -1;", "st.shared.u64 [%r5+8], -1;",
							fmt.Sprintf("%s [%%r5], [%%d8], %d%s;", v.op, size, part)}
						wait := [][]string{{"cp.async.commit_group;", "cp.async.wait_group 0;"},
							{"cp.async.wait_all;"}}[len(list)%2]
						v.body = append(v.body, wait...)
						v.body = append(v.body, "ld.shared.u64 $D, [%r5];", "ld.shared.u64 $T, [%r5+8];",
							"mad.lo.u64 $D, $T, 3, $D;")
						v.want = func(x []uint64) (uint64, bool) {
							b := bytesOf([]uint64{1<<64 - 1, 1<<64 - 1})
							copy(b, make([]byte, size))
							copy(b, bytesOf(x)[:n])
							return little(b[:8]) + 3*little(b[8:]), true
						}
						list = append(list, v)
					}
				}
			}
		}
	}
	// A group that is waited for has landed; one behind it may not have: in this simulator it has not.
	v := &vector{op: "cp.async.wait_group", dst: "b64", src: []string{"b64", "b64", "b64", "b64"}, in: row(),
		decl: []string{".shared .align 16 .b8 sm[2048];"}}
	v.body = []string{"mov.u32 %r5, sm;", "mov.u32 %r6, %tid.x;", "mad.lo.u32 %r5, %r6, 32, %r5;",
		"st.shared.u64 [%r5], 0;", "st.shared.u64 [%r5+8], 0;",
		"cp.async.ca.shared.global [%r5], [%d8], 8;", "cp.async.commit_group;",
		"cp.async.ca.shared.global [%r5+8], [%d8+8], 8;", "cp.async.commit_group;",
		"cp.async.wait_group 1;", "ld.shared.u64 $D, [%r5];", "ld.shared.u64 $T, [%r5+8];", "cp.async.wait_group 0;",
		"mad.lo.u64 $D, $T, 3, $D;",
		"ld.shared.u64 $T, [%r5+8];", "mad.lo.u64 $D, $T, 5, $D;"}
	v.want = func(x []uint64) (uint64, bool) { return x[0] + 5*x[1], true }
	commit := *v
	commit.op = "cp.async.commit_group"
	all := *v
	all.op = "cp.async.wait_all"
	return append(list, v, &commit, &all)
}

// specialVectors read special registers; the block has 64 threads in a line, the kernel 16 blocks.
func specialVectors() (list []*vector) {
	for name, f := range map[string]func(i uint64) uint64{
		"%tid.x": func(i uint64) uint64 { return i % 64 }, "%tid.y": func(uint64) uint64 { return 0 },
		"%ntid.x": func(uint64) uint64 { return 64 }, "%ntid.z": func(uint64) uint64 { return 1 },
		"%ctaid.x": func(i uint64) uint64 { return i / 64 }, "%ctaid.z": func(uint64) uint64 { return 0 },
		"%nctaid.y": func(uint64) uint64 { return 1 }, "%laneid": func(i uint64) uint64 { return i % 32 },
		"%warpid":            func(i uint64) uint64 { return i % 64 / 32 },
		"%lanemask_eq":       func(i uint64) uint64 { return 1 << (i % 32) },
		"%lanemask_lt":       func(i uint64) uint64 { return 1<<(i%32) - 1 },
		"%lanemask_le":       func(i uint64) uint64 { return 2<<(i%32) - 1 },
		"%lanemask_ge":       func(i uint64) uint64 { return 1<<32 - 1<<(i%32) },
		"%lanemask_gt":       func(i uint64) uint64 { return 1<<32 - 2<<(i%32) },
		"%dynamic_smem_size": func(uint64) uint64 { return 0 },
	} {
		v := &vector{op: "mov.u32", dst: "b32", src: []string{"b32"}, in: [][]uint64{{0}}, group: 1024}
		v.decl = []string{"// " + name}
		v.body = []string{"mov.u32 $D, " + name + ";", "add.u32 $D, $D, $a;"}
		v.all = func(rows [][]uint64) (z []uint64) {
			for i := range rows {
				z = append(z, f(uint64(i)))
			}
			return z
		}
		list = append(list, v)
	}
	return list
}

// packVectors are the vector forms of mov.
func packVectors() (list []*vector) {
	for _, p := range []struct {
		typ, part string
		n         int
	}{{"b32", "b16", 2}, {"b64", "b32", 2}, {"b64", "b16", 4}} {
		size := sizeOf(p.part)
		pack := &vector{op: "mov." + p.typ, dst: registerClass(p.typ)}
		unpack := loop(sizeOf(p.typ), 1, nil)
		unpack.op, unpack.dst = "mov."+p.typ, "b64"
		var names, parts []string
		for i := range p.n {
			pack.src, pack.in = append(pack.src, p.part), append(pack.in, integerEdges(size))
			names = append(names, "$"+string(rune('a'+i)))
			parts = append(parts, fmt.Sprintf("%%s%d", i))
		}
		pack.body = []string{pack.op + " $D, {" + strings.Join(names, ", ") + "};"}
		pack.want = func(x []uint64) (z uint64, ok bool) {
			for i, u := range x {
				z |= u << (uint(i) * size)
			}
			return z, true
		}
		unpack.decl = []string{".reg ." + p.part + " %s<4>;"}
		unpack.body = []string{unpack.op + " {" + strings.Join(parts, ", ") + "}, $a;", "mov.b64 $D, 0;"}
		for i, s := range parts {
			unpack.body = append(unpack.body, "cvt.u64.u"+p.part[1:]+" $T, "+s+";",
				fmt.Sprintf("mad.lo.u64 $D, $T, %d, $D;", 2*i+1))
		}
		unpack.want = func(x []uint64) (z uint64, ok bool) {
			for i := range p.n {
				z += uint64(2*i+1) * (x[0] >> (uint(i) * size) & (1<<size - 1))
			}
			return z, true
		}
		list = append(list, pack, unpack)
	}
	return list
}
