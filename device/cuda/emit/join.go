package emit

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Joint is one kernel that does the work of several launches, each as it would alone: the same threads execute the
// same instructions, so that it gives the same bits. A small launch takes a card longer to begin than to do.
//
// The blocks of the parts Beside each other are those of the kernel, one part's after the other's; their parts do not
// depend on one another. Then come Steps, of parts with 256 threads a block that do not depend on one another either: a
// step begins when the one before is over. The last of the kernel's blocks to get there does them all, the card's
// memory counting who has come: until then the others have written all that they had to write. A kernel with nothing
// but steps is one block, with up to four groups of 256 threads that share the blocks of each step among themselves.
//
//	Beside: a (2 blocks), b (3 blocks)     Steps: {c (2 blocks), d (1 block)}, {e (1 block)}
//	blocks 0 1 | 2 3 4                     the last of the five: c0 c1 d0, then e0
type Joint struct {
	Name   string // begins that of the kernel
	Beside []Part
	Steps  [][]Part
	Teams  Teams
}

// Teams divide the blocks of a kernel whose only step has a single part, so that each team ends with a share of it: the
// number of a block modulo Columns says its column, and Width neighbouring columns are a team, of which the last block
// does Share blocks of the step. The zero value is one team.
type Teams struct{ Columns, Width, Share int }

// A Joined is a kernel made of others. Its parameters are those of the parts, in their order, and then the address of
// as many counters as it has, which are 0 before and after each launch. Where parts differ in nothing but their
// parameters, these are one parameter: those of the parts one after the other, as a C compiler lays them out.
type Joined struct {
	Entry, Text string
	Blocks      int
	Threads     int
	Counters    int
	parts       [][]Part // those that are the same
	parcels     []*parcel
}

// StepThreads is how many threads a block of a step has.
const StepThreads = block

// groups is how many groups of threads a block that does nothing but steps has at most.
const groups = 4

// maxShared is the static shared memory that a kernel may have, and maxParams the bytes of parameters that every driver
// takes.
const (
	maxShared = 48 << 10
	maxParams = 4 << 10
)

// Join makes the kernel. It fails where the text of a part is none that it knows how to move.
func Join(j Joint) (*Joined, error) {
	k := &Joined{Threads: block, Blocks: 1}
	w := &joining{Joined: k, groups: 1}
	var err error
	if len(j.Beside) > 0 {
		k.Blocks, k.Threads = 0, j.Beside[0].threads()
		for _, p := range j.Beside {
			k.Blocks += p.blocks()
			if p.threads() != k.Threads {
				return nil, errors.New("blocks of different sizes")
			}
		}
	} else {
		for _, step := range j.Steps {
			w.groups = max(w.groups, min(groups, steps(step)))
		}
		k.Threads *= w.groups
	}
	w.coherent = len(j.Steps) > 0
	if k.Blocks > most {
		return nil, errors.New("too many blocks")
	}
	if len(j.Beside) > 0 {
		w.body.WriteString("\tmov.u32 %j_at, %ctaid.x;\n\tmov.u32 %j_thread, %tid.x;\n\tmov.u32 %j_shared, joined;\n")
		err = w.choose(j.Beside, "bar.sync 0;")
		if err == nil && len(j.Steps) > 0 {
			w.gather(j.Teams)
		}
	} else {
		w.begin()
	}
	for i, step := range j.Steps {
		if err == nil {
			err = w.step(step, i+1 < len(j.Steps), j.Teams)
		}
	}
	if err != nil {
		return nil, err
	}
	return k, w.finish(j.Name)
}

func steps(parts []Part) int {
	n := 0
	for _, p := range parts {
		n += p.blocks()
	}
	return n
}

// joining writes a kernel.
type joining struct {
	*Joined
	body     strings.Builder
	groups   int
	coherent bool
	labels   int
	room     int // bytes of shared memory of a group
	params   []string
	bytes    int // of parameters
}

func (w *joining) label(name string) string {
	w.labels++
	return fmt.Sprintf("J%d_%s", w.labels, name)
}

func (w *joining) line(format string, args ...any) { fmt.Fprintf(&w.body, "\t"+format+";\n", args...) }

// begin finds out where a thread is in a block of nothing but steps.
func (w *joining) begin() {
	w.line("mov.u32 %%j_thread, %%tid.x")
	w.line("mov.u32 %%j_shared, joined")
	if w.groups > 1 {
		w.line("shr.u32 %%j_group, %%j_thread, %d", log2(block))
		w.line("and.b32 %%j_thread, %%j_thread, %d", block-1)
		w.line("add.u32 %%j_barrier, %%j_group, 1")
		w.line("mad.lo.u32 %%j_shared, %%j_group, ROOM, %%j_shared")
	}
}

// choose writes the parts one after the other; %j_at, counted through them all, says which one is done. It stays as it
// is.
func (w *joining) choose(parts []Part, barrier string) error {
	over := w.label("OVER")
	w.line("mov.u32 %%j_block, %%j_at")
	for i := 0; i < len(parts); {
		same := []Part{parts[i]}
		for i++; i < len(parts) && parts[i].same(&same[0]); i++ {
			same = append(same, parts[i])
		}
		next := w.label("NEXT")
		if i < len(parts) {
			w.line("setp.ge.u32 %%j_p, %%j_block, %d", steps(same))
			w.line("@%%j_p bra %s", next)
		}
		if err := w.part(same, barrier); err != nil {
			return err
		}
		if i < len(parts) {
			w.line("bra %s", over)
			fmt.Fprintf(&w.body, "%s:\n", next)
			w.line("sub.u32 %%j_block, %%j_block, %d", steps(same))
		}
	}
	fmt.Fprintf(&w.body, "%s:\n", over)
	return nil
}

// part writes a kernel that parts have in common.
func (w *joining) part(same []Part, barrier string) error {
	p := &same[0]
	c, err := p.open()
	if err != nil {
		return err
	}
	if p.Shared > 0 {
		return fmt.Errorf("%s: dynamic shared memory", p.Entry)
	}
	to := place{at: "%j_block", thread: "%j_thread", barrier: barrier, end: w.label("END"), reread: w.coherent}
	fmt.Fprintf(&w.body, "\t// %s, grid %v, block %v", p.Entry, p.Grid, p.Block)
	number := len(w.parcels)
	if len(same) == 1 {
		w.body.WriteString("\n")
		to.params = []string{}
		for i, x := range c.params {
			name := fmt.Sprintf("p%d_%d", number, i)
			to.params = append(to.params, name)
			w.params = append(w.params, x.before+name+x.after)
			w.bytes = aligned(w.bytes, x.align) + x.size
		}
	} else {
		fmt.Fprintf(&w.body, ": %d of them\n", len(same))
		fields, size := c.layout()
		to.fields = fields
		name := fmt.Sprintf("p%d", number)
		w.params = append(w.params, fmt.Sprintf(".param .align 8 .b8 %s[%d]", name, size*len(same)))
		w.bytes = aligned(w.bytes, 8) + size*len(same)
		quotient(&w.body, "%j_which", "%j_block", p.blocks())
		w.line("mad.lo.s32 %%j_block, %%j_which, %d, %%j_block", -p.blocks())
		w.line("mov.b64 %%j_args, %s", name)
		w.line("mad.wide.u32 %%j_args, %%j_which, %d, %%j_args", size)
	}
	w.room = max(w.room, aligned(c.room, 16))
	w.parts, w.parcels = append(w.parts, same), append(w.parcels, c)
	return c.put(&w.body, p, to)
}

func aligned(n, align int) int { return (n + align - 1) / align * align }

// layout places the parameters of a kernel in a struct.
func (c *parcel) layout() (fields []int, size int) {
	for _, x := range c.params {
		size = aligned(size, x.align)
		fields = append(fields, size)
		size += x.size
	}
	return fields, aligned(size, 8)
}

// gather ends all blocks but the last one of each team, which sees what the others have written: each of their threads
// has passed the fence before the block's first one counts, and the counter's next reader passes it too.
func (w *joining) gather(t Teams) {
	end := w.label("COUNTED")
	w.line("fence.acq_rel.gpu")
	w.line("bar.sync 0")
	w.line("setp.ne.u32 %%j_p, %%j_thread, 0")
	w.Counters = 1
	expected := integer(w.Blocks - 1)
	w.line("ld.param.u64 %%j_args, [counters]")
	w.line("cvta.to.global.u64 %%j_args, %%j_args")
	if t != (Teams{}) {
		w.Counters = (t.Columns + t.Width - 1) / t.Width
		rows := w.Blocks / t.Columns
		quotient(&w.body, "%j_which", "%j_at", t.Columns)
		w.line("mad.lo.s32 %%j_team, %%j_which, %d, %%j_at", -t.Columns)
		quotient(&w.body, "%j_team", "%j_team", t.Width)
		w.line("mad.wide.u32 %%j_args, %%j_team, 4, %%j_args")
		w.line("mad.lo.s32 %%j_which, %%j_team, %d, %d", -t.Width, t.Columns) // columns from this team on
		w.line("min.u32 %%j_which, %%j_which, %d", t.Width)
		w.line("mad.lo.s32 %%j_which, %%j_which, %d, -1", rows)
		expected = "%j_which"
	}
	w.line("@%%j_p bra %s", end)
	w.line("atom.global.inc.u32 %%j_block, [%%j_args], %s", expected)
	w.line("setp.eq.u32 %%j_p, %%j_block, %s", expected)
	w.line("selp.u32 %%j_block, 1, 0, %%j_p")
	w.line("st.shared.u32 [joined_last], %%j_block")
	fmt.Fprintf(&w.body, "%s:\n", end)
	w.line("bar.sync 0")
	w.line("ld.shared.u32 %%j_block, [joined_last]")
	w.line("setp.eq.u32 %%j_p, %%j_block, 0")
	w.line("@%%j_p ret")
	w.line("fence.acq_rel.gpu")
}

// step writes a loop over the blocks of the parts of a step.
func (w *joining) step(parts []Part, more bool, t Teams) error {
	for i := range parts {
		if parts[i].threads() != block {
			return fmt.Errorf("%s: a step of %v threads", parts[i].Entry, parts[i].Block)
		}
	}
	n := steps(parts)
	if n > most {
		return errors.New("too many blocks of a step")
	}
	barrier, first := "bar.sync 0;", "0"
	if w.groups > 1 {
		barrier, first = fmt.Sprintf("bar.sync %%j_barrier, %d;", block), "%j_group"
	}
	loop, over := w.label("STEP"), w.label("DONE")
	last := integer(n)
	if t != (Teams{}) {
		w.line("mul.lo.u32 %%j_at, %%j_team, %d", t.Share)
		w.line("add.u32 %%j_last, %%j_at, %d", t.Share)
		w.line("min.u32 %%j_last, %%j_last, %d", n)
		last = "%j_last"
	} else {
		w.line("mov.u32 %%j_at, %s", first)
	}
	fmt.Fprintf(&w.body, "%s:\n", loop)
	w.line("setp.ge.u32 %%j_p, %%j_at, %s", last)
	w.line("@%%j_p bra %s", over)
	before := len(w.parcels)
	if err := w.choose(parts, barrier); err != nil {
		return err
	}
	if n > w.groups {
		if slices.ContainsFunc(w.parcels[before:], func(c *parcel) bool { return c.room > 0 }) {
			w.body.WriteString("\t" + barrier + "\n") // before shared memory serves the next block
		}
		w.line("add.u32 %%j_at, %%j_at, %d", w.groups)
		w.line("bra %s", loop)
	}
	fmt.Fprintf(&w.body, "%s:\n", over)
	if more {
		w.line("bar.sync 0")
	}
	return nil
}

// finish gives the kernel its head and its name.
func (w *joining) finish(name string) error {
	if w.room*w.groups > maxShared-16 || w.bytes > maxParams-8 {
		return errors.New("too much shared memory, or too many parameters")
	}
	var b strings.Builder
	if w.Counters > 0 {
		w.params = append(w.params, ".param .u64 counters")
	}
	b.WriteString("\t" + strings.Join(w.params, ",\n\t"))
	fmt.Fprintf(&b, "\n)\n.maxntid %d, 1, 1\n.minnctapersm 1\n{\n", w.Threads)
	b.WriteString("\t.reg .pred %j_p;\n\t.reg .b64 %j_args;\n" +
		"\t.reg .b32 %j_at, %j_block, %j_thread, %j_shared, %j_group, %j_barrier, %j_which, %j_team, %j_last;\n")
	fmt.Fprintf(&b, "\t.shared .align 16 .b8 joined[%d];\n\t.shared .align 4 .b8 joined_last[4];\n",
		max(16, w.room*w.groups))
	b.WriteString(strings.Replace(w.body.String(), "ROOM", integer(w.room), 1))
	b.WriteString("\tret;\n}\n")
	w.Entry = fmt.Sprintf("%s_%.4x", name, sha256.Sum256([]byte(b.String())))
	var outside []string
	for _, c := range w.parcels {
		for _, line := range c.outside {
			if !slices.Contains(outside, line) {
				outside = append(outside, line)
			}
		}
	}
	head := header
	if len(outside) > 0 {
		head += strings.Join(outside, "\n") + "\n\n"
	}
	w.Text = head + ".visible .entry " + w.Entry + "(\n" + b.String()
	return nil
}

// Arguments are the parameters of the kernel, but for the counters' address, from those of its parts in the order in
// which they were given.
func (k *Joined) Arguments(parts [][][]byte) [][]byte {
	var list [][]byte
	for i, same := range k.parts {
		if len(same) == 1 {
			list, parts = append(list, parts[0]...), parts[1:]
			continue
		}
		fields, size := k.parcels[i].layout()
		all := make([]byte, size*len(same))
		for n := range same {
			for f, arg := range parts[n] {
				copy(all[n*size+fields[f]:], arg)
			}
		}
		list, parts = append(list, all), parts[len(same):]
	}
	return list
}
