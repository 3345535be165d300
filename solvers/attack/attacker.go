package attack

import (
	"errors"
	"fmt"

	"bilevel/internal/philox"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// Attack is one way to look for adversarial examples. Its settings are the fields of a plain struct; those that are
// zero take the values of the paper.
type Attack interface {
	// Name is what tables call it.
	Name() string
	// plan checks the settings for a model and says what the host is to run. Its warnings are sentences.
	plan(m Model, n Norm) (p *plan, warnings []string, err error)
}

// plan is an attack as the host sees it: programs, and how often each runs.
type plan struct {
	name string
	runs int // restarts, or restarts times target classes
	// begin makes the state of a run; it sets found (1 where a row is misclassified) and adv (the point to hand out).
	begin func(b *build)
	table []float64 // what begin finds in the attacker's table
	// phases follow each other; after each the host may look at what has been found.
	phases []phase
	zero   bool // begin also sets zero: 1 for rows whose gradient is 0
	late   bool // breaking images after the last look means that there were too few steps
	blind  bool // it looks at no gradients
	// programs is a name that attacks share whose programs are the same.
	programs string
}

// phase is a stretch of a run: a program that runs several times in a row.
type phase struct {
	name   string
	step   func(b *build)
	times  int
	number float64   // what the program reads as build.number
	table  []float64 // where it is not nil, what the program finds in the attacker's table, [inputs]
	quiet  bool      // the host does not look afterwards
}

// Options are what an Attacker can be told.
type Options struct {
	Seed uint64
	// Batch is the most images that are attacked at once; 0 is all of a group (see Attacker). Results do not depend on
	// it but for the rounding of products.
	Batch int
	// Memory bounds the bytes of the compiled programs that are kept for batches of one size; 0 is 512 MiB.
	Memory int
	// AcceptProbabilities attacks a model whose outputs are probabilities, with a warning in place of an error.
	AcceptProbabilities bool
	// Progress, where it is not nil, is told after each run how far an attack is.
	Progress func(Stage)
}

// Stage is where an evaluation stands: a run of an attack is done, and so many of the images seen so far are robust.
type Stage struct {
	Attack       string
	Run, Runs    int // runs of this attack done, and all of them
	Done, Images int // images whose attacks are done or at work, and all of them
	Robust       int // of those Done
}

// Attacker attacks one model on one executor. Programs that it has compiled serve later calls too, with other images,
// other parameters and another radius; Close frees them. It is not for use by several goroutines at once.
//
// Images are attacked in groups of a fixed size, so that random numbers can be drawn on the device as functions of
// (seed, attack, run, image, step): all images of a group draw from one table, of which a batch gathers its rows.
type Attacker struct {
	Model
	o      Options
	ex     *tensor.Executor
	group  int   // images of a group
	sizes  []int // of batches, ascending
	scope  *tensor.Scope
	spaces spaces
	states map[string]*state // by the name of the programs that share it
	norm   Norm

	images, labels   *tensor.Variable // of the group
	eps, number      *tensor.Variable
	table            *tensor.Variable // numbers that the host gives a phase, [inputs]
	key, run, tick   *tensor.Variable
	keepAll, nearest bool // broken rows stay in their batch; they are attacked again, and the nearest example counts
}

// groupElements is about how many random numbers one draw makes.
const groupElements = 1 << 22

// groupSize depends on nothing but the images, since random numbers depend on it.
func groupSize(inputs int) int { return max(16, min(512, groupElements/inputs)) }

// New prepares attacks on a model.
func New(ex *tensor.Executor, m Model, o Options) (*Attacker, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	if o.Batch < 0 {
		return nil, fmt.Errorf("attack: batches of %d images: wants at least 1, or 0 for as many as a group has",
			o.Batch)
	}
	if o.Memory == 0 {
		o.Memory = 512 << 20
	}
	a := &Attacker{Model: m, o: o, ex: ex, group: groupSize(m.Inputs), scope: ex.Scope(),
		spaces: newSpaces(ex, o.Memory), states: map[string]*state{}}
	a.sizes = batchSizes(a.group, o.Batch)
	a.images = a.scope.Variable("images", tensor.Real, a.group, m.Inputs)
	a.labels = a.scope.Variable("labels", tensor.Int, a.group)
	a.eps, a.number = a.scope.Number("eps"), a.scope.Number("number")
	a.table = a.scope.Variable("table", tensor.Real, m.Inputs)
	a.key = a.scope.Variable("key", tensor.Int, 2)
	a.run, a.tick = a.scope.Variable("run", tensor.Int), a.scope.Variable("tick", tensor.Int)
	return a, nil
}

// batchSizes are those that programs are compiled for: up to the limit, parts of a group and two smaller ones.
func batchSizes(group, limit int) (sizes []int) {
	if limit == 0 || limit > group {
		limit = group
	}
	part := max(1, group/32)
	all := []int{part / 4, part / 2}
	for n := part; n <= group; n += part {
		all = append(all, n)
	}
	for _, n := range all {
		if n > 0 && n < limit {
			sizes = append(sizes, n)
		}
	}
	return append(sizes, limit)
}

// Close frees what the attacker took.
func (a *Attacker) Close() error { return errors.Join(a.spaces.close(), a.scope.Close()) }

// variable is an entry of the state of a batch of so many rows, made where it is not there.
func (a *Attacker) variable(name string, t tensor.Type, shape ...int) *tensor.Variable {
	return a.spaces.of(shape[0]).variable(name, t, shape...)
}

// build is what a program of an attack sees while it is built for a batch of so many rows.
type build struct {
	a       *Attacker
	rows    int
	state   *state
	next    map[string]*tensor.Node
	order   []string
	streams uint32
	begin   bool // the first program of a run
}

// state lists the entries that an attack keeps, with the shape of a row of each. It is made by the attack's begin.
type state struct {
	names []string
	types map[string]tensor.Type
	shape map[string][]int
}

// entry is the variable of an entry for a batch of so many rows.
func (a *Attacker) entry(s *state, name string, rows int) *tensor.Variable {
	return a.variable(name, s.types[name], append([]int{rows}, s.shape[name]...)...)
}

// get is an entry of the state as it was before.
func (b *build) get(name string) *tensor.Node {
	if _, ok := b.state.types[name]; !ok {
		tensor.Fail("attack", "the state has no entry %q", name)
	}
	return b.a.entry(b.state, name, b.rows).Node()
}

// set says what an entry becomes; begin makes the entries that it sets.
func (b *build) set(name string, n *tensor.Node) {
	b.state.add(name, n)
	if b.next[name] == nil {
		b.order = append(b.order, name)
	}
	b.next[name] = n
}

func (s *state) add(name string, n *tensor.Node) {
	if _, ok := s.types[name]; !ok {
		s.names = append(s.names, name)
		s.types[name], s.shape[name] = n.Type(), n.Shape()[1:]
	}
}

func (b *build) updates() (updates []tensor.Update) {
	for _, name := range b.order {
		updates = append(updates, tensor.Update{Var: b.a.entry(b.state, name, b.rows), Value: b.next[name]})
	}
	if !b.begin {
		updates = append(updates, tensor.Update{Var: b.a.tick, Value: b.tick().Add(tensor.IntConst(1))})
	}
	return updates
}

// slot is the place of each row in the group, Int [B]: the host writes it.
func (b *build) slot() *tensor.Node { return b.a.variable("slot", tensor.Int, b.rows).Node() }

// load takes the batch's images and labels from the group.
func (b *build) load() (x0, y *tensor.Node) {
	x0, y = tensor.Gather(b.a.images.Node(), b.slot()), tensor.Gather(b.a.labels.Node(), b.slot())
	b.set("x0", x0)
	b.set("y", y)
	return x0, y
}

// eps is the radius, number what the phase says, run the number of the run, an Int. All are scalars.
func (b *build) eps() *tensor.Node    { return b.a.eps.Node() }
func (b *build) number() *tensor.Node { return b.a.number.Node() }
func (b *build) run() *tensor.Node    { return b.a.run.Node() }

// tick is how many programs have run since begin, an Int.
func (b *build) tick() *tensor.Node { return b.a.tick.Node() }

// uniform draws numbers in [0, 1), normal standard normals, [B, columns]: functions of (seed, attack, run, image,
// tick).
func (b *build) uniform(columns int) *tensor.Node { return b.draw(tensor.RandomUniform, columns) }
func (b *build) normal(columns int) *tensor.Node  { return b.draw(tensor.RandomNormal, columns) }

func (b *build) draw(kind func(seed, step *tensor.Node, stream uint32, shape ...int) *tensor.Node,
	columns int) *tensor.Node {
	step := tensor.IntConst(0)
	if !b.begin {
		step = b.tick().Add(tensor.IntConst(1))
	}
	b.streams++
	table := kind(b.a.key.Node(), step, philox.StreamAttack+(b.streams-1)<<8, b.a.group, columns)
	return tensor.Gather(table, b.slot())
}

// project brings points into the ball and into [0, 1].
func (b *build) project(x, x0 *tensor.Node) *tensor.Node { return b.a.norm.project(x, x0, b.eps()) }

// program is a compiled program for a batch of so many rows.
func (a *Attacker) program(s *state, name string, rows int, begin bool, step func(b *build)) (*tensor.Function, error) {
	return a.spaces.program(name, rows, func() []tensor.Update {
		b := &build{a: a, rows: rows, state: s, next: map[string]*tensor.Node{}, begin: begin}
		step(b)
		return b.updates()
	})
}

// stateOf is the state of attacks that share their programs, and the name that those begin with.
func (a *Attacker) stateOf(p *plan) (s *state, id string) {
	id = fmt.Sprintf("%s %s", p.programs, a.norm)
	if a.states[id] == nil {
		a.states[id] = &state{types: map[string]tensor.Type{}, shape: map[string][]int{}}
	}
	return a.states[id], id
}

// compile makes the programs of an attack for a batch of so many rows ahead of time, so that what does not fit into the
// memory, or has no derivative, is an error before attacks begin.
func (a *Attacker) compile(p *plan, rows int) error {
	s, id := a.stateOf(p)
	_, err := a.program(s, id+" begin", rows, true, p.begin)
	for _, ph := range p.phases {
		if err == nil {
			_, err = a.program(s, id+" "+ph.name, rows, false, ph.step)
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return nil
}

// compaction moves the state of a batch to a smaller one: row i of it is row index[i] of the larger. The caller closes
// it, since the larger batch may lose its state when others need the memory.
func (a *Attacker) compaction(s *state, from, to int) (*tensor.Function, error) {
	index := a.variable("index", tensor.Int, to).Node()
	return a.ex.Compile("compaction", func() (updates []tensor.Update) {
		for _, entry := range s.names {
			updates = append(updates, tensor.Update{
				Var: a.entry(s, entry, to), Value: tensor.Gather(a.entry(s, entry, from).Node(), index)})
		}
		return updates
	})
}

// pad is the size of the batch that holds n rows.
func (a *Attacker) pad(n int) int { return problem.PadRows(n, a.sizes...) }
