package kernels_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/kind"
	"bilevel/internal/ptx"
	"bilevel/kernels"
)

// A scene is a launch that the README tells figures of: sizes that divide evenly and dense operands.
type scene struct {
	kernel, what string
	bytes, flops int // the least that the operation needs: every operand read or written once
	plan         func(r *rig) kernels.Plan
}

func (r *rig) dense(label string, n int) int { return put(r, label, r.normals(n)) }

func scenes() []scene {
	product := func(m, n, k, processors int, transA, transB, mask, odd, tensor bool) func(r *rig) kernels.Plan {
		return func(r *rig) kernels.Plan {
			g := kernels.Gemm{
				Batch: 1, M: m, N: n, K: k, Processors: processors, TensorCores: tensor,
				A:   kernels.Strided{Number: r.dense("A", m*k+1), Strides: [3]int{0, k, 1}},
				B:   kernels.Strided{Number: r.dense("B", k*n+1), Strides: [3]int{0, n, 1}},
				Out: kernels.Strided{Number: r.blank("out", m*n), Strides: [3]int{0, n, 1}},
			}
			if transA {
				g.A.Strides = [3]int{0, 1, m}
			}
			if transB {
				g.B.Strides = [3]int{0, 1, k}
			}
			if mask {
				s := g.A
				s.Number = r.dense("mask", m*k)
				g.MaskA = &s
			}
			if odd { // not vectors: the batch stride counts as one that does not fit
				g.A.Strides[0] = 1
			}
			return g.Plan()
		}
	}
	gemm := func(kernel, how string, m, n, k, processors int, transA, transB, mask, odd bool) scene {
		tensor := strings.Contains(kernel, "tf32")
		b := 4 * (m*k + k*n + m*n)
		if mask {
			b += 4 * m * k
		}
		return scene{
			kernel, fmt.Sprintf("%dx%d by %dx%d%s", m, k, k, n, how), b, 2 * m * n * k,
			product(m, n, k, processors, transA, transB, mask, odd, tensor),
		}
	}
	square := func(r *rig, label string, rows, cols int) kernels.Strided {
		return kernels.Strided{Number: r.dense(label, rows*cols), Strides: [3]int{cols, 1, 0}}
	}
	softmax := func(kernel string, what kind.Softmax, rows, cols int) scene {
		b := 8 * rows * cols
		if what == kind.CrossEntropy {
			b = 4*rows*cols + 8*rows
		}
		return scene{kernel, fmt.Sprintf("%dx%d", rows, cols), b, 0, func(r *rig) kernels.Plan {
			s := kernels.Softmax{Kind: what, Rows: rows, Cols: cols, In: square(r, "z", rows, cols)}
			s.Out = kernels.Strided{Number: r.blank("out", rows*cols), Strides: [3]int{cols, 1, 0}}
			if what == kind.CrossEntropy {
				s.Out.Strides = [3]int{1}
				s.Labels = kernels.Strided{Number: put(r, "labels", make([]int32, rows)), Strides: [3]int{1}}
			}
			return s.Plan()
		}}
	}
	random := func(kernel string, what kind.Random) scene {
		const n = 1 << 15
		return scene{kernel, "32768", 4 * n, 0, func(r *rig) kernels.Plan {
			word := kernels.Strided{Number: put(r, "seed", []int32{1, 2}), Strides: [3]int{1}}
			return kernels.Random{Kind: what, N: n, Seed: word, Step: word, Below: 10,
				Out: kernels.Strided{Number: r.blank("out", n), Strides: [3]int{1}}}.Plan()
		}}
	}
	moved := func(kernel string, cast kernels.Cast, from, to []int, off int) scene {
		const n = 256
		return scene{kernel, "256x256", 8 * n * n, 0, func(r *rig) kernels.Plan {
			return kernels.Copy{Shape: []int{n, n}, Cast: cast,
				From: kernels.View{Operand: kernels.Operand{Number: put(r, "from", make([]int32, n*n))}, Strides: from},
				To:   kernels.View{Operand: kernels.Operand{Number: r.blank("to", n*(n+off))}, Strides: to}}.Plan()
		}}
	}
	indices := func(r *rig, n, below int) kernels.Strided {
		_, idx := r.indices(n, below)
		return kernels.Strided{Number: put(r, "index", idx[:n]), Strides: [3]int{1}}
	}
	gathered := func(kernel string, cols int) scene {
		const rows, n = 512, 512
		return scene{kernel, fmt.Sprintf("512 of 512 rows of %d", cols), 4*n + 8*n*cols, 0, func(r *rig) kernels.Plan {
			fault, _ := r.fault()
			return kernels.Gather{
				Rows: rows, Cols: cols, Count: n, Fault: fault, Table: square(r, "table", rows, cols),
				Index: indices(r, n, rows),
				Out:   kernels.Strided{Number: r.blank("out", n*cols), Strides: [3]int{cols, 1, 0}},
			}.Plan()
		}}
	}
	bytes := func(kernel string, cols int) scene {
		const rows, n = 512, 512
		return scene{kernel, fmt.Sprintf("512 of 512 rows of %d", cols), 4*n + 5*n*cols, 0, func(r *rig) kernels.Plan {
			fault, _ := r.fault()
			return kernels.Gather{
				Rows: rows, Cols: cols, Count: n, Fault: fault, Bytes: true, Index: indices(r, n, rows),
				Table: kernels.Strided{Number: put(r, "table", make([]byte, rows*cols)), Strides: [3]int{cols, 1, 0}},
				Out:   kernels.Strided{Number: r.blank("out", n*cols), Strides: [3]int{cols, 1, 0}},
			}.Plan()
		}}
	}
	return []scene{
		gemm("gemm_128", ", A transposed", 512, 512, 128, 4, true, false, false, false),
		gemm("gemm_128_a", "", 512, 512, 128, 4, false, false, false, false),
		gemm("gemm_128_b", ", both transposed", 512, 512, 128, 4, true, true, false, false),
		gemm("gemm_128_any", ", B transposed", 512, 512, 128, 4, false, true, false, false),
		gemm("gemm_128_mask", "", 512, 512, 128, 4, false, false, true, false),
		gemm("gemm_64", ", A transposed", 256, 256, 128, 16, true, false, false, false),
		gemm("gemm_64_a", "", 256, 256, 128, 16, false, false, false, false),
		gemm("gemm_64_a", ", A transposed, in no groups", 256, 256, 128, 16, true, false, false, true),
		gemm("gemm_64_b", ", both transposed", 256, 256, 128, 16, true, true, false, false),
		gemm("gemm_64_any", ", B transposed", 256, 256, 128, 16, false, true, false, false),
		gemm("gemm_skinny_b", ", A transposed", 1024, 16, 256, 4, true, false, false, false),
		gemm("gemm_skinny_any", "", 1024, 16, 256, 4, false, false, false, false),
		gemm("gemm_128_tf32", ", A transposed", 512, 512, 128, 4, true, false, false, false),
		gemm("gemm_128_tf32_a", "", 512, 512, 128, 4, false, false, false, false),
		gemm("gemm_128_tf32_b", ", both transposed", 512, 512, 128, 4, true, true, false, false),
		gemm("gemm_128_tf32_any", ", B transposed", 512, 512, 128, 4, false, true, false, false),
		gemm("gemm_128_tf32_mask", "", 512, 512, 128, 4, false, false, true, false),
		gemm("gemm_128_tf32_any_mask", ", B transposed, in no groups", 512, 512, 128, 4, false, true, true, true),
		gemm("gemm_64_tf32", ", A transposed", 256, 256, 128, 16, true, false, false, false),
		gemm("gemm_64_tf32_a", "", 256, 256, 128, 16, false, false, false, false),
		gemm("gemm_64_tf32_b", ", both transposed", 256, 256, 128, 16, true, true, false, false),
		gemm("gemm_64_tf32_any", ", B transposed", 256, 256, 128, 16, false, true, false, false),
		gemm("gemm_64_tf32_mask", "", 256, 256, 128, 16, false, false, true, false),
		gemm("gemm_64_tf32_any_mask", ", B transposed, in no groups", 256, 256, 128, 16, false, true, true, true),
		softmax("softmax_short", kind.Probabilities, 512, 128), softmax("softmax_long", kind.Probabilities, 32, 1024),
		softmax("log_softmax_short", kind.LogProbabilities, 512, 128),
		softmax("log_softmax_long", kind.LogProbabilities, 32, 1024),
		softmax("cross_entropy_short", kind.CrossEntropy, 512, 128),
		softmax("cross_entropy_long", kind.CrossEntropy, 32, 1024),
		{"argmax_short", "512x128", 4*512*128 + 4*512, 0, func(r *rig) kernels.Plan {
			return kernels.ArgMax{
				Rows: 512, Cols: 128, In: square(r, "z", 512, 128),
				Out: kernels.Strided{Number: r.blank("out", 512), Strides: [3]int{1}},
			}.Plan()
		}},
		{"argmax_long", "32x2048", 4*32*2048 + 4*32, 0, func(r *rig) kernels.Plan {
			return kernels.ArgMax{
				Rows: 32, Cols: 2048, In: square(r, "z", 32, 2048),
				Out: kernels.Strided{Number: r.blank("out", 32), Strides: [3]int{1}},
			}.Plan()
		}},
		{"kth_count", "65536, first digit", 4 << 16, 0, func(r *rig) kernels.Plan { return r.chosen(1 << 16).Plan() }},
		{"kth_place", "2048 counts", 4 << 11, 0, func(r *rig) kernels.Plan { return r.chosen(1 << 16).Plan() }},
		gathered("gather_4", 128),
		gathered("gather", 65),
		bytes("gather_bytes_4", 128),
		bytes("gather_bytes", 65),
		{"scatter_add", "512 into 512 rows of 128", 4*512 + 8*512*128, 512 * 128, func(r *rig) kernels.Plan {
			fault, _ := r.fault()
			base := square(r, "out", 512, 128)
			return kernels.ScatterAdd{
				Rows: 512, Cols: 128, Count: 512, Fault: fault, Base: base, Out: base, Index: indices(r, 512, 512),
				Source: square(r, "source", 512, 128),
			}.Plan()
		}},
		random("random_bits", kind.Bits), random("random_integers", kind.Integers),
		random("random_uniforms", kind.Uniform), random("random_normals", kind.Normal),
		moved("copy_dense", kernels.Same, []int{256, 1}, []int{256, 1}, 0),
		moved("copy_turned", kernels.Same, []int{1, 256}, []int{256, 1}, 0),
		moved("copy_strided", kernels.Same, []int{256, 1}, []int{264, 1}, 8),
		moved("to_real_dense", kernels.ToReal, []int{256, 1}, []int{256, 1}, 0),
		moved("to_int_dense", kernels.ToInt, []int{256, 1}, []int{256, 1}, 0),
	}
}

// chosen is the middle one of n normal numbers.
func (r *rig) chosen(n int) kernels.KthLargest {
	one := func(number int) kernels.Strided { return kernels.Strided{Number: number, Strides: [3]int{1}} }
	fault, _ := r.fault()
	return kernels.KthLargest{K: one(put(r, "k", []int32{int32(n / 2)})), Out: one(r.blank("out", 1)), Fault: fault,
		Parts: []kernels.Part{{Strided: one(r.dense("x", n)), Size: n}}}
}

// ratio is sectors over the ideal of all requests.
func ratio(r ptx.Requests) float64 {
	if r.Ideal == 0 {
		return 1
	}
	return float64(r.Sectors) / float64(r.Ideal)
}

// The README's tables are what the simulator counts and the committed figures of ptxas say; the promises hold: sectors
// within 1.05 of the ideal and no bank conflicts in dense operands.
func TestFigures(t *testing.T) {
	assembled := resources(t)
	cards := ptx.Cards()
	var counts, estimates strings.Builder
	counts.WriteString(
		"| kernel | shape | registers | shared | blocks/SM | occupancy | loads | stores | conflicts | bytes | FLOP | " +
			"FP32 share |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n",
	)
	estimates.WriteString("| kernel | shape |")
	for _, c := range cards {
		estimates.WriteString(" " + c.Name + " |")
	}
	estimates.WriteString("\n|---|---|" + strings.Repeat("---|", len(cards)) + "\n")
	for _, s := range scenes() {
		r := newRig(t, ptx.Options{})
		plan := s.plan(r)
		r.run(plan)
		launch := slices.IndexFunc(r.launched, func(l kernels.Launch) bool { return l.Entry == s.kernel })
		require.GreaterOrEqual(t, launch, 0, "%s of %s", s.kernel, s.what)
		c, f := r.results[launch].Counters, assembled["sm_90"][s.kernel]
		require.LessOrEqual(t, ratio(c.GlobalLoads), 1.05, "loads of %s", s.kernel)
		require.LessOrEqual(t, ratio(c.GlobalStores), 1.05, "stores of %s", s.kernel)
		if s.kernel != "kth_count" { // equal digits meet in one bin
			require.Zero(t, c.Shared.Conflicts, s.kernel)
		}
		var unique uint64
		for _, n := range c.UniqueBytes {
			unique += n
		}
		flop := "–"
		if s.flops > 0 {
			flop = fmt.Sprintf("%.2f", float64(c.FLOP32+c.FLOPTensor)/float64(s.flops))
		}
		used := ptx.Resources{Registers: f.Registers, Shared: f.Shared}
		h100, err := ptx.FindCard("H100")
		require.NoError(t, err)
		e := ptx.NewEstimate(h100, c, used, 0)
		fmt.Fprintf(
			&counts, "| %s | %s | %d | %d | %d | %.0f %% | %.2f | %.2f | %d | %.2f | %s | %.0f %% |\n", s.kernel,
			s.what, f.Registers, f.Shared, e.Resident, 100*e.Occupancy, ratio(c.GlobalLoads), ratio(c.GlobalStores),
			c.Shared.Conflicts, float64(unique)/float64(s.bytes), flop,
			100*float64(c.ByClass["fp32"])/float64(c.WarpInstructions),
		)
		fmt.Fprintf(&estimates, "| %s | %s |", s.kernel, s.what)
		for _, card := range cards {
			e := ptx.NewEstimate(card, c, used, 0)
			fmt.Fprintf(&estimates, " %.2f µs, %s |", 1e6*(e.Seconds-e.Launch), e.Limit)
		}
		estimates.WriteString("\n")
	}
	var loops strings.Builder
	loops.WriteString("| kernel |")
	for _, arch := range architectures {
		loops.WriteString(" " + arch + " |")
	}
	loops.WriteString("\n|---|" + strings.Repeat("---|", len(architectures)) + "\n")
	for _, name := range strings.Fields(
		"gemm_128 gemm_128_a gemm_128_b gemm_128_any gemm_64 gemm_64_a gemm_64_b gemm_64_any gemm_skinny_b " +
			"gemm_skinny_any gemm_128_mask gemm_128_any_mask gemm_64_mask gemm_64_any_mask gemm_skinny_mask " +
			"gemm_skinny_any_mask") {
		fmt.Fprintf(&loops, "| %s |", name)
		for _, arch := range architectures {
			f := assembled[arch][name]
			fmt.Fprintf(&loops, " %.1f %%, %d registers |", 100*f.FFMA, f.Registers)
		}
		loops.WriteString("\n")
	}
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	want := string(text)
	for name, table := range map[string]string{"counts": counts.String(), "estimates": estimates.String(),
		"loops": loops.String()} {
		before, rest, found := strings.Cut(want, "<!-- "+name+" -->\n")
		_, after, end := strings.Cut(rest, "<!-- end -->")
		require.True(t, found && end, "README.md has no place for %s", name)
		want = before + "<!-- " + name + " -->\n" + table + "<!-- end -->" + after
	}
	if *update {
		require.NoError(t, os.WriteFile("README.md", []byte(want), 0o644))
		return
	}
	require.Equal(t, want, string(text), "run go test ./kernels -run Figures -update")
}
