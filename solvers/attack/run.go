package attack

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"bilevel/internal/philox"
	"bilevel/tensor"
)

// Run attacks images in a ball, each attack those that no earlier one could change. What cannot work is refused before
// any attack starts: a radius below 0 or too large, pixels outside [0, 1], labels beyond the classes, settings that do
// not fit the model, outputs that are probabilities or not finite.
//
// The result is the worst case for each image, over restarts, targets and attacks. Before an adversarial example
// counts, it is rounded to float32 and classified once more. A radius of 0 gives the images back.
func (a *Attacker) Run(ctx context.Context, ball Ball, s Samples, attacks ...Attack) (*Result, error) {
	r, plans, err := a.prepare(ctx, ball, s, attacks)
	if err != nil {
		return nil, fmt.Errorf("attack: %w", err)
	}
	if ball.Eps == 0 { // attacks would come out with the images too, after all their steps
		for k := range plans {
			n := Count(r.Clean)
			r.Attacks[k].Attacked, r.Attacks[k].Robust = n, n
		}
		return r, nil
	}
	w := newWatch(len(plans))
	for from := 0; from < s.N(); from += a.group {
		g := &groupRun{Attacker: a, r: r, s: s, from: from, n: min(a.group, s.N()-from), watch: w}
		if err := g.upload(); err != nil {
			return nil, fmt.Errorf("attack: %w", err)
		}
		for k, p := range plans {
			if err := g.attack(ctx, k, p); err != nil {
				return nil, fmt.Errorf("attack: %s: %w", p.name, err)
			}
		}
	}
	w.write(r, plans)
	return r, nil
}

// prepare checks everything, and scores the images themselves.
func (a *Attacker) prepare(ctx context.Context, ball Ball, s Samples, attacks []Attack) (*Result, []*plan, error) {
	if err := errors.Join(ball.Check(a.Inputs), s.check(a.Model)); err != nil {
		return nil, nil, err
	}
	if len(attacks) == 0 {
		return nil, nil, errors.New("no attacks are given: Standard() lists those of AutoAttack")
	}
	n := s.N()
	r := &Result{Ball: ball, Clean: make([]bool, n), Robust: make([]bool, n), By: make([]int, n),
		Images: slices.Clone(s.Images), Loss: make([]float64, n)}
	var plans []*plan
	for _, k := range attacks {
		p, warnings, err := k.plan(a.Model, ball.Norm)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", k.Name(), err)
		}
		p.name = k.Name()
		plans = append(plans, p)
		for _, w := range warnings {
			r.Warnings = append(r.Warnings, p.name+": "+w)
		}
		r.Attacks = append(r.Attacks, Tally{Name: p.name})
	}
	a.norm = ball.Norm
	if err := a.eps.Write([]float64{ball.inner(a.ex.Info().SumError(a.Inputs), a.Inputs)}); err != nil {
		return nil, nil, err
	}
	if err := a.clean(ctx, r, s); err != nil {
		return nil, nil, err
	}
	largest := a.pad(min(n, a.sizes[len(a.sizes)-1]))
	return r, plans, a.spaces.prepare(plans, largest, a.compile)
}

// groupRun is a group of images at work.
type groupRun struct {
	*Attacker
	r       *Result
	s       Samples
	from, n int // images of the group
	watch   *watch
}

// upload puts the group's images on the device; the rest of the table is left as it is, and nobody reads it.
func (g *groupRun) upload() error {
	images, labels := make([]float32, g.group*g.Inputs), make([]int32, g.group)
	copy(images, g.s.Images[g.from*g.Inputs:(g.from+g.n)*g.Inputs])
	copy(labels, g.s.Labels[g.from:g.from+g.n])
	return errors.Join(g.images.Write32(images), g.labels.WriteInts(labels))
}

// attack runs attack k on the images of the group that are robust until now.
func (g *groupRun) attack(ctx context.Context, k int, p *plan) error {
	if err := g.spaces.turn(p); err != nil {
		return err
	}
	began, t := time.Now(), &g.r.Attacks[k]
	before := Count(g.r.Robust[g.from : g.from+g.n])
	t.Attacked += before
	for run := range p.runs {
		key := drawKey(g.o.Seed, run, g.from/g.group, p.name)
		if err := errors.Join(g.key.WriteInts([]int32{int32(key[0]), int32(key[1])}),
			g.run.WriteInts([]int32{int32(run)})); err != nil {
			return err
		}
		var left []int32
		for i := range g.n {
			if g.r.Robust[g.from+i] || g.nearest && g.r.Clean[g.from+i] {
				left = append(left, int32(i))
			}
		}
		largest := g.sizes[len(g.sizes)-1]
		for len(left) > 0 {
			b := &batchRun{groupRun: g, k: k, plan: p, slots: left[:min(largest, len(left))]}
			left = left[len(b.slots):]
			if err := b.do(ctx); err != nil {
				return err
			}
		}
		if g.o.Progress != nil {
			g.o.Progress(Stage{p.name, run + 1, p.runs, g.from + g.n, g.s.N(), Count(g.r.Robust[:g.from+g.n])})
		}
	}
	after := Count(g.r.Robust[g.from : g.from+g.n])
	t.Broken, t.Robust, t.Duration = t.Broken+before-after, t.Robust+after, t.Duration+time.Since(began)
	return nil
}

// drawKey is the key that the numbers of a run are drawn with. It depends on the attack by name, so that an attack
// draws the same in any ensemble.
func drawKey(seed uint64, run, group int, name string) [4]uint32 {
	return philox.Block(seed, uint32(run), philox.StreamAttack, uint64(group)<<32|uint64(hash(name)))
}

// hash is FNV-1a of a name, 32 bits.
func hash(name string) uint32 {
	h := uint32(2166136261)
	for i := range len(name) {
		h = (h ^ uint32(name[i])) * 16777619
	}
	return h
}

// batchRun is one run of an attack on a batch. Rows beyond the slots are copies of row 0, which nobody looks at.
type batchRun struct {
	*groupRun
	*plan
	k     int
	slots []int32
	seen  []bool // rows whose example has been taken
	state *state
	id    string // of the attack's programs
	rows  int
}

func (b *batchRun) do(ctx context.Context) error {
	b.state, b.id = b.stateOf(b.plan)
	b.rows, b.seen = b.pad(len(b.slots)), make([]bool, len(b.slots))
	if err := b.spaces.makeRoom(b.rows); err != nil {
		return err
	}
	if err := errors.Join(b.writeSlots(), b.tick.WriteInts([]int32{0})); err != nil {
		return err
	}
	if err := b.giveTable(b.plan.table); err != nil {
		return err
	}
	if err := b.execute("begin", 1, true, b.begin); err != nil {
		return err
	}
	if b.zero {
		if err := b.zeroGradients(); err != nil {
			return err
		}
	}
	for i, ph := range b.phases {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := errors.Join(b.number.Write([]float64{ph.number}), b.giveTable(ph.table)); err != nil {
			return err
		}
		if err := b.execute(ph.name, ph.times, false, ph.step); err != nil {
			return err
		}
		if ph.quiet || i == len(b.phases)-1 {
			continue
		}
		if err := b.look(false); err != nil {
			return err
		}
		if !b.keepAll && !slices.Contains(b.seen, false) {
			return nil
		}
		if err := b.compact(); err != nil {
			return err
		}
	}
	before := Count(b.seen)
	if err := b.look(true); err != nil {
		return err
	}
	b.watch.late[b.k] += Count(b.seen) - before
	return nil
}

// giveTable writes what a phase finds in the table, where it wants something.
func (b *batchRun) giveTable(values []float64) error {
	if values == nil {
		return nil
	}
	return b.Attacker.table.Write(values)
}

func (b *batchRun) execute(name string, times int, begin bool, step func(*build)) error {
	f, err := b.program(b.state, b.id+" "+name, b.rows, begin, step)
	if err != nil {
		return err
	}
	return f.Run(times)
}

// writeSlots tells the device which image each row has.
func (b *batchRun) writeSlots() error {
	return b.variable("slot", tensor.Int, b.rows).WriteInts(padded(b.slots, b.rows))
}

// padded repeats the first element up to a length.
func padded(list []int32, n int) []int32 {
	out := slices.Clone(list)
	for len(out) < n {
		out = append(out, list[0])
	}
	return out
}

// look takes the examples that were found since the last time; at the end also the points of the rows that are left.
func (b *batchRun) look(end bool) error {
	found, err := b.entry(b.state, "found", b.rows).Read()
	if err != nil {
		return err
	}
	var fresh []int
	for i := range b.slots {
		if !b.seen[i] && (end || found[i] != 0) {
			fresh = append(fresh, i)
		}
	}
	if len(fresh) == 0 || b.keepAll && !end {
		return nil
	}
	images, err := b.entry(b.state, "adv", b.rows).Read32()
	if err != nil {
		return err
	}
	z, err := b.classify(images, b.rows)
	if err != nil {
		return err
	}
	for _, i := range fresh {
		b.seen[i] = found[i] != 0
		sample := b.from + int(b.slots[i])
		v := judge(z[i*b.Classes:(i+1)*b.Classes], b.s.Labels[sample])
		image, x0 := row(images, i, b.Inputs), row(b.s.Images, sample, b.Inputs)
		if old := row(b.r.Images, sample, b.Inputs); b.nearest && !b.r.Robust[sample] {
			if v.wrong && b.norm.Distance(image, x0) < b.norm.Distance(old, x0) {
				copy(old, image)
				b.r.Loss[sample] = v.loss
			}
			continue
		}
		b.r.offer(sample, b.k, b.Inputs, image, v)
	}
	return nil
}

// compact leaves the rows whose examples have been taken, where the others fit into a batch that is smaller by an
// eighth or more: programs for another size have to be compiled.
func (b *batchRun) compact() error {
	var index, slots []int32
	for i, slot := range b.slots {
		if !b.seen[i] {
			index, slots = append(index, int32(i)), append(slots, slot)
		}
	}
	to := b.pad(len(slots))
	if 8*to > 7*b.rows || b.keepAll {
		return nil
	}
	if err := b.spaces.makeRoom(to); err != nil {
		return err
	}
	if err := b.variable("index", tensor.Int, to).WriteInts(padded(index, to)); err != nil {
		return err
	}
	f, err := b.compaction(b.state, b.rows, to)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Run(1), f.Close()); err != nil {
		return err
	}
	b.rows, b.slots, b.seen = to, slots, make([]bool, len(slots))
	return b.writeSlots()
}
