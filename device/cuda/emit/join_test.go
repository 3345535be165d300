package emit_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device/cuda/emit"
	"bilevel/internal/kind"
	"bilevel/internal/ptx"
	"bilevel/kernels"
)

// card is a simulated one, under the sanitizer, with arrays of numbers in its memory.
type card struct {
	t *testing.T
	*ptx.Machine
}

func newCard(t *testing.T, seed uint64) *card {
	return &card{t, ptx.NewMachine(ptx.Options{Sanitize: true, Seed: seed, Watchdog: 1 << 20})}
}

func put[T any](c *card, values []T) uint64 {
	at, err := c.Alloc(int64(4*len(values)), "array")
	require.NoError(c.t, err)
	require.NoError(c.t, c.Write(at, words(c.t, values)))
	return at
}

func (c *card) read(at uint64, n int) []byte {
	raw := make([]byte, 4*n)
	require.NoError(c.t, c.Read(at, raw))
	return raw
}

// launch runs a kernel and gives what the sanitizer reports.
func (c *card) launch(text, entry string, blocks, threads int, args [][]byte) []string {
	m, err := ptx.Load(entry, text)
	require.NoError(c.t, err, "%s", text)
	res, err := c.Run(context.Background(), ptx.Launch{
		Kernel: m.Kernel(entry), Grid: [3]int{blocks, 1, 1}, Block: [3]int{threads, 1, 1}, Args: args,
	})
	require.NoError(c.t, err)
	var reports []string
	for _, r := range res.Reports {
		reports = append(reports, r.String())
	}
	return reports
}

// chain is x → y = x² → z = y² → s = Σ z², each of them several blocks, on memory of its own for each chain.
type chain struct {
	parts [3]emit.Part
	args  [3][][]byte
	sum   uint64
}

const links = 700

func (c *card) chain(first float32) (h chain, want float32) {
	x := make([]float32, links)
	for i := range x {
		x[i] = float32(i%2) * first
	}
	apart := []emit.Array{real(0, 2)} // no groups of four: one point a thread, and so three blocks
	at := []uint64{put(c, x), put(c, make([]float32, 2*links)), put(c, make([]float32, 2*links)),
		put(c, make([]float32, 1))}
	for i, p := range []emit.Program{
		emit.Map(square, []int{links}, []emit.Array{real(0, 1)}, apart),
		emit.Map(square, []int{links}, apart, apart),
		emit.Reduce(square, []int{links}, []int{0}, []kind.Reduce{kind.Sum}, apart, []emit.Array{{Strides: []int{0}}}),
	} {
		l := p.Launches[0]
		h.parts[i] = emit.Part{Launch: l, Text: p.Text[l.Module]}
		for _, arg := range l.Args {
			o := arg.(kernels.Operand)
			h.args[i] = append(h.args[i], words(c.t, []uint64{at[i+o.Number] + uint64(4*o.Off)}))
		}
	}
	h.sum = at[3]
	y := first * first
	z := y * y
	return h, links / 2 * z * z
}

// Three chains are joined in every way: as steps of one block, side by side, and as steps of the last of many blocks;
// they give the sums that they have alone, counters go back to 0, and the sanitizer has nothing to say in any order of
// warps.
func TestJoin(t *testing.T) {
	for seed := range uint64(4) {
		for name, steps := range map[string]bool{"steps": true, "last block": false} {
			c := newCard(t, seed)
			var a [3]chain
			var want [3]float32
			for i := range a {
				a[i], want[i] = c.chain(float32(1 + i))
			}
			j := emit.Joint{Name: "joined"}
			var args [][][]byte
			for link := range 3 {
				var parts []emit.Part
				for i := range a {
					parts = append(parts, a[i].parts[link])
					args = append(args, a[i].args[link])
				}
				if link == 0 && !steps {
					j.Beside = parts
				} else {
					j.Steps = append(j.Steps, parts)
				}
			}
			k, err := emit.Join(j)
			require.NoError(t, err)
			params := k.Arguments(args)
			counters := put(c, make([]int32, max(1, k.Counters)))
			if k.Counters > 0 {
				params = append(params, words(t, []uint64{counters}))
			}
			require.Equal(t, map[bool]int{true: 0, false: 1}[steps], k.Counters)
			for range 2 { // the counter serves again
				require.Empty(t, c.launch(k.Text, k.Entry, k.Blocks, k.Threads, params), name)
				for i := range a {
					require.Equal(t, words(t, want[i:i+1]), c.read(a[i].sum, 1), "%s, chain %d", name, i)
				}
				require.Equal(t, make([]byte, 4*max(1, k.Counters)), c.read(counters, max(1, k.Counters)))
			}
		}
	}
}

// Without one of the barriers between steps, or one of the fences before the last block begins, the sanitizer finds
// that blocks read what others have not surely written.
func TestJoinNeedsItsBarriers(t *testing.T) {
	for _, c := range []struct {
		name   string
		beside bool
	}{{"barrier", false}, {"fences", true}} {
		card := newCard(t, 1)
		h, _ := card.chain(3)
		j := emit.Joint{Name: "joined", Steps: [][]emit.Part{{h.parts[0]}, {h.parts[1]}, {h.parts[2]}}}
		if c.beside {
			j.Beside, j.Steps = j.Steps[0], j.Steps[1:]
		}
		k, err := emit.Join(j)
		require.NoError(t, err)
		params := k.Arguments(h.args[:])
		if k.Counters > 0 {
			params = append(params, words(t, []uint64{put(card, make([]int32, k.Counters))}))
		}
		text := k.Text
		if !c.beside { // before the sum; a thread of the second map reads what it wrote itself
			i := strings.LastIndex(text, "_DONE:\n\tbar.sync 0;")
			require.NotEqual(t, -1, i)
			text = text[:i] + strings.Replace(text[i:], "\tbar.sync 0;\n", "", 1)
		} else {
			require.Contains(t, text, "\tfence.acq_rel.gpu;\n")
			text = strings.ReplaceAll(text, "\tfence.acq_rel.gpu;\n", "")
		}
		require.NotEmpty(t, card.launch(text, k.Entry, k.Blocks, k.Threads, params), c.name)
	}
}

// What cannot be moved is refused, and left to a launch of its own.
func TestJoinRefuses(t *testing.T) {
	p := emit.Map(square, []int{3}, []emit.Array{real(0, 1)}, []emit.Array{real(0, 1)})
	l := p.Launches[0]
	good := emit.Part{Launch: l, Text: p.Text[l.Module]}
	for name, change := range map[string]func(*emit.Part){
		"there is no kernel": func(p *emit.Part) { p.Entry = "other" },
		"declaration":        func(p *emit.Part) { p.Text = ".extern .func f;\n" + p.Text },
		"parameter": func(p *emit.Part) {
			p.Text = strings.Replace(p.Text, ".param .u64 in0", ".param .u64 in0[x]", 1)
		},
		"dynamic":             func(p *emit.Part) { p.Shared = 4 },
		"a step of":           func(p *emit.Part) { p.Block[0] = 128 },
		"too many parameters": nil,
	} {
		parts := []emit.Part{good}
		if change != nil {
			change(&parts[0])
		} else {
			for range 300 {
				parts = append(parts, good)
			}
		}
		_, err := emit.Join(emit.Joint{Steps: [][]emit.Part{parts}})
		require.ErrorContains(t, err, name)
	}
	_, err := emit.Join(emit.Joint{Beside: []emit.Part{good, {Launch: kernels.Launch{Block: [3]int{128, 1, 1}}}}})
	require.ErrorContains(t, err, "blocks of different sizes")
}
