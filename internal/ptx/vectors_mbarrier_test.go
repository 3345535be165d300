package ptx_test

import (
	"slices"
	"strings"
)

// objectVectors drive a barrier object of each thread's own through the phases that an instruction should give.
func objectVectors() (list []*vector) {
	add := func(op string, want uint64, body ...string) {
		v := &vector{op: op, dst: "b64", src: []string{"b64"}, in: [][]uint64{{0, 1}},
			want: func([]uint64) (uint64, bool) { return want, true }}
		v.decl = []string{".shared .align 16 .b8 sm[2048];", ".reg .b64 %e<9>;", ".reg .b32 %s<9>;",
			".reg .pred %q<9>;"}
		v.body = []string{"mov.u32 %r5, sm;", "mov.u32 %r6, %tid.x;", "mad.lo.u32 %r5, %r6, 32, %r5;",
			"cvt.u64.u32 %e8, %r5;", "cvta.shared.u64 %e8, %e8;", "mov.b64 $D, 0;"}
		at := "[%r5]"
		if !strings.Contains(op, "shared") {
			at = "[%e8]"
		}
		note := strings.NewReplacer("OP", op, "AT", at)
		for _, line := range body {
			v.body = append(v.body, note.Replace(line))
		}
		list = append(list, v)
	}
	const (
		init  = "mbarrier.init.shared.b64 [%r5], "
		state = "mbarrier.arrive.noComplete.shared.b64 %e1, [%r5], 1;\nmbarrier.pending_count.b64 %s1, %e1;\n" +
			"cvt.u64.u32 %e2, %s1;\nmad.lo.u64 $D, $D, 16, %e2;"
		over = "mbarrier.test_wait.parity.shared.b64 %q0, [%r5], 0;\nselp.u64 %e2, 1, 0, %q0;\n" +
			"mad.lo.u64 $D, $D, 16, %e2;"
	)
	local := []string{"", ".shared", ".shared::cta"}
	remote := append(slices.Clone(local), ".shared::cluster")
	for _, s := range local {
		add("mbarrier.init"+s+".b64", 5, "OP AT, 5;", state)
		add("mbarrier.inval"+s+".b64", 7, init+"3;", "OP AT;", init+"7;", state)
		for _, order := range []string{"", ".release.cta"} {
			add("mbarrier.arrive.noComplete"+order+s+".b64", 5*16+3, init+"5;", "OP %e0, AT, 2;",
				"mbarrier.pending_count.b64 %s1, %e0;", "cvt.u64.u32 $D, %s1;", state)
			// Two of five have gone for good: the next phase waits for three.
			add("mbarrier.arrive_drop.noComplete"+order+s+".b64", 1*16+3, init+"5;", "OP %e0, AT, 2;",
				"mbarrier.arrive.shared.b64 %e0, [%r5], 3;", over, state)
		}
		for _, order := range []string{"", ".acquire.cta", ".relaxed.cta", ".acquire.cluster", ".relaxed.cluster"} {
			for _, wait := range []string{"test_wait", "try_wait"} {
				put := "selp.u64 %e2, 1, 0, %q1;\nmad.lo.u64 $D, $D, 16, %e2;"
				add("mbarrier."+wait+order+s+".b64", 1, init+"2;", "mbarrier.arrive.shared.b64 %e0, [%r5];",
					"OP %q1, AT, %e0;", put, "mbarrier.arrive.shared.b64 %e1, [%r5];", "OP %q1, AT, %e0;", put)
				add("mbarrier."+wait+".parity"+order+s+".b64", 0x101, init+"1;", "OP %q1, AT, 1;", put,
					"OP %q1, AT, 0;", put, "mbarrier.arrive.shared.b64 %e0, [%r5];", "OP %q1, AT, 0;", put)
			}
		}
	}
	for _, s := range remote {
		sink := "%e0"
		if s == ".shared::cluster" {
			sink = "_"
		}
		for _, order := range []string{"", ".relaxed.cta", ".relaxed.cluster"} {
			add("mbarrier.expect_tx"+order+s+".b64", 0x01, init+"1;", "OP AT, 16;",
				"mbarrier.arrive.shared.b64 %e0, [%r5];", over, "mbarrier.complete_tx.shared.b64 [%r5], 16;", over)
			add("mbarrier.complete_tx"+order+s+".b64", 0x01, init+"1;", "mbarrier.expect_tx.shared.b64 [%r5], 16;",
				"mbarrier.arrive.shared.b64 %e0, [%r5];", over, "OP AT, 16;", over)
		}
		for _, order := range []string{"", ".release.cta", ".relaxed.cta", ".release.cluster", ".relaxed.cluster"} {
			add("mbarrier.arrive"+order+s+".b64", 0x013, init+"3;", "OP "+sink+", AT;", over,
				"mbarrier.arrive.shared.b64 %e0, [%r5], 2;", over, state)
			add("mbarrier.arrive_drop"+order+s+".b64", 0x012, init+"3;", "OP "+sink+", AT;", over,
				"mbarrier.arrive.shared.b64 %e0, [%r5], 2;", over, state)
			add("mbarrier.arrive.expect_tx"+order+s+".b64", 0x012, init+"2;", "OP "+sink+", AT, 32;",
				"mbarrier.arrive.shared.b64 %e0, [%r5];", over, "mbarrier.complete_tx.shared.b64 [%r5], 32;",
				over, state)
			add("mbarrier.arrive_drop.expect_tx"+order+s+".b64", 0x011, init+"2;", "OP "+sink+", AT, 32;",
				"mbarrier.arrive.shared.b64 %e0, [%r5];", over, "mbarrier.complete_tx.shared.b64 [%r5], 32;",
				over, state)
		}
	}
	add("mbarrier.pending_count.b64", 9, init+"9;", state)
	return append(list, copyVectors()...)
}

// copyVectors are copies that barrier objects wait for.
func copyVectors() (list []*vector) {
	begin := []string{"mov.u32 %r5, sm;", "mov.u32 %r6, %tid.x;", "mad.lo.u32 %r5, %r6, 64, %r5;",
		"mbarrier.init.shared.b64 [%r5+32], 1;"}
	fold := []string{"ld.shared.u64 $D, [%r5];", "ld.shared.u64 $T, [%r5+24];", "mad.lo.u64 $D, $T, 3, $D;",
		"selp.u64 $D, $D, 0, %q0;"}
	add := func(op string, others []string, body ...string) {
		v := &vector{op: op, others: others, dst: "b64", src: []string{"b64", "b64", "b64", "b64"}, in: row()}
		v.decl = []string{".shared .align 16 .b8 sm[4096];", ".reg .b64 %e<9>;", ".reg .pred %q<9>;"}
		v.body = slices.Concat(begin, body)
		v.want = func(x []uint64) (uint64, bool) { return x[0] + 3*x[3], true }
		list = append(list, v)
	}
	const over = "mbarrier.test_wait.parity.shared.b64 %q0, [%r5+32], 0;"
	for _, space := range []string{"", ".shared", ".shared::cta"} {
		at := "[%r5+32]"
		if space == "" {
			at = "[%e8]"
		}
		add("cp.async.mbarrier.arrive"+space+".b64", nil, slices.Concat([]string{
			"cp.async.ca.shared.global [%r5], [%d8], 16;", "cp.async.ca.shared.global [%r5+16], [%d8+16], 16;",
			"cvt.u64.u32 %e8, %r5;", "cvta.shared.u64 %e8, %e8;", "add.u64 %e8, %e8, 32;", "cp.async.mbarrier.arrive" +
				space + ".b64 " + at + ";", "mbarrier.arrive.shared.b64 %e0, [%r5+32];", over}, fold)...)
		add("cp.async.mbarrier.arrive.noinc"+space+".b64", nil, slices.Concat([]string{
			"cp.async.ca.shared.global [%r5], [%d8], 16;", "cp.async.ca.shared.global [%r5+16], [%d8+16], 16;",
			"cvt.u64.u32 %e8, %r5;", "cvta.shared.u64 %e8, %e8;", "add.u64 %e8, %e8, 32;",
			"cp.async.mbarrier.arrive.noinc" + space + ".b64 " + at + ";", over}, fold)...)
	}
	for _, hint := range []string{"", ".L2::cache_hint"} {
		operand := ""
		start := []string(nil)
		if hint != "" {
			operand, start = ", %e1", []string{"createpolicy.fractional.L2::evict_first.b64 %e1;"}
		}
		for _, space := range []string{"shared::cluster", "shared::cta"} {
			op := "cp.async.bulk." + space + ".global.mbarrier::complete_tx::bytes" + hint
			add(op, nil, slices.Concat(start, []string{"mbarrier.arrive.expect_tx.shared.b64 %e0, [%r5+32], 32;",
				op + " [%r5], [%d8], 32, [%r5+32]" + operand + ";", over}, fold)...)
		}
		op := "cp.async.bulk.global.shared::cta.bulk_group" + hint
		prefetch := "cp.async.bulk.prefetch.L2.global" + hint
		add(op, []string{"cp.async.bulk.commit_group", "cp.async.bulk.wait_group", "cp.async.bulk.wait_group.read",
			prefetch}, slices.Concat(start, []string{
			"ld.global.u64 %e2, [%d8];", "ld.global.u64 %e3, [%d8+24];", "st.shared.u64 [%r5+8], %e2;",
			"st.shared.u64 [%r5], %e3;", "fence.proxy.async.shared::cta;",
			op + " [%d8], [%r5], 16" + operand + ";", "cp.async.bulk.commit_group;", "cp.async.bulk.wait_group.read 0;",
			"cp.async.bulk.wait_group 0;",
			prefetch + " [%d8], 16" + operand + ";", "ld.global.u64 %e4, [%d8];", "ld.global.u64 %e5, [%d8+8];",
			"mad.lo.u64 $D, %e4, 3, %e5;"})...)
	}
	for _, v := range list {
		if strings.Contains(v.op, "bulk.shared::cta") {
			v.recent = true
		}
	}
	return list
}
