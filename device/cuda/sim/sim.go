// Package sim is the CUDA driver of cards that are not there: driver.Driver on internal/ptx. Kernels run on the
// processor, under the sanitizer, and the limits of the named card hold. Faults can be ordered, to see what a program
// makes of them.
//
// Work is done when its call is made, unless Options.Late is set. An error of a kernel, however, is reported as a
// driver does: the launch itself succeeds, and every later call on the context fails.
package sim

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"bilevel/device/cuda/driver"
	"bilevel/internal/nearest"
	"bilevel/internal/ptx"
)

// Options say how kernels run. They are set before Open.
type Options struct {
	Plain   bool          // without the sanitizer: faster, and faults that hardware tolerates pass
	Float   ptx.FloatMode // how freely floating-point instructions are read
	Seed    uint64        // permutes the order of blocks, warps and nodes of graphs; 0: natural order
	Workers int           // goroutines of a plain launch; 0: one per processor
	Memory  int64         // bytes of a card; 0: the card's own
	Version int           // of the driver, 11040 is CUDA 11.4; 0: that of CUDA 12.2
	// work of streams is done when a call waits for it: what is overwritten or unloaded too early then shows
	Late bool
	// blocks of a launch that are run, so that time is known sooner; results are wrong then; 0: all
	Sample int
	Faults Faults
}

// Faults are ordered failures, each at the N-th event of its kind since Open, counted from 1; 0: never.
type Faults struct {
	Alloc  int // this cuMemAlloc finds no memory
	Launch int // this kernel is refused: too many resources
	Sticky int // this kernel faults: all cards are lost to the process, which later calls report
	Lost   int // at this call of the driver, and from then on, the card is gone
}

// Driver is a simulated driver with its cards.
type Driver struct {
	Options

	cards   []ptx.Card
	mu      sync.Mutex
	modules map[[sha256.Size]byte]*ptx.Module // by text: a text is parsed once
	calls   map[string]int
	fault   *driver.Error // what ended all use of the cards
}

var _ driver.Driver = (*Driver)(nil)

// Names lists the cards that can be simulated, in lower case.
func Names() []string {
	var names []string
	for _, c := range ptx.Cards() {
		names = append(names, strings.ToLower(c.Name))
	}
	return names
}

// New makes a driver with the named cards, in this order; without names it has the first of Names. The error of an
// unknown name lists those there are.
func New(cards ...string) (*Driver, error) {
	var list []ptx.Card
	if len(cards) == 0 {
		cards = Names()[:1]
	}
	for _, name := range cards {
		c, err := ptx.FindCard(name)
		if err != nil {
			return nil, fmt.Errorf(
				"no simulated card %q: the cards are %s%s", name, strings.Join(Names(), ", "),
				nearest.Hint(strings.ToLower(name), Names()),
			)
		}
		list = append(list, c)
	}
	return Of(list...), nil
}

// Of makes a driver with cards as described.
func Of(cards ...ptx.Card) *Driver {
	return &Driver{cards: cards, modules: map[[sha256.Size]byte]*ptx.Module{}, calls: map[string]int{}}
}

// Cards describes the cards.
func (d *Driver) Cards() ([]driver.Card, error) {
	var list []driver.Card
	for i := range d.cards {
		list = append(list, d.describe(i))
	}
	return list, nil
}

const prefix = "simulated " // of a card's name

// Simulates says whether a card is one of this package's, however it was reached.
func Simulates(c driver.Card) bool { return strings.HasPrefix(c.Name, prefix) }

// version is what the simulated driver calls itself by default: CUDA 12.2, whose PTX ISA the kernels are compiled for.
const version = 12020

func (d *Driver) describe(i int) driver.Card {
	c := &d.cards[i]
	return driver.Card{
		Name:          prefix + c.Name,
		Capability:    [2]int{c.Capability / 10, c.Capability % 10},
		Memory:        cmp.Or(d.Memory, c.MemoryBytes),
		Processors:    c.SMs,
		ClockKHz:      int(c.ClockHz / 1e3),
		MaxThreads:    ptx.MaxThreadsPerBlock,
		MaxGrid:       [3]int{1<<31 - 1, 1<<16 - 1, 1<<16 - 1},
		MaxShared:     ptx.DefaultShared,
		MaxSharedMore: c.SharedOptIn,
		DriverVersion: cmp.Or(d.Version, version),
	}
}

// Open makes a context on card number i. Contexts of one driver share nothing but parsed modules.
func (d *Driver) Open(i int) (driver.Context, error) {
	const call = "cuDevicePrimaryCtxRetain"
	d.count(call)
	if err := d.lost(call); err != nil {
		return nil, err
	}
	if i < 0 || i >= len(d.cards) {
		return nil, &driver.Error{
			Call: "cuDeviceGet", Code: driver.InvalidDevice, Detail: fmt.Sprintf("card %d of %d", i, len(d.cards)),
		}
	}
	return newContext(d, i), nil
}

// lose ends all use of the cards: a fault takes the whole process with it.
func (d *Driver) lose(fault *driver.Error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fault == nil {
		d.fault = fault
	}
}

// lost is the error of a call after a fault.
func (d *Driver) lost(call string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fault == nil {
		return nil
	}
	return &driver.Error{Call: call, Code: d.fault.Code, Detail: d.fault.Detail}
}

// Calls is how often each call of the driver's interface was made so far, on all cards, by the names of cuda.h.
func (d *Driver) Calls() map[string]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.calls)
}

func (d *Driver) count(call string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls[call]++
}

// parse gives the module of a text.
func (d *Driver) parse(text string) (*ptx.Module, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := sha256.Sum256([]byte(text))
	if m := d.modules[key]; m != nil {
		return m, nil
	}
	m, err := ptx.Load(fmt.Sprintf("module %x", key[:4]), text)
	if err != nil {
		return nil, err
	}
	for _, k := range m.Kernels() {
		err = errors.Join(err, k.Err())
	}
	if err == nil {
		d.modules[key] = m
	}
	return m, err
}

// forget drops a parsed module; contexts that have it keep it.
func (d *Driver) forget(m *ptx.Module) {
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(d.modules, func(_ [sha256.Size]byte, other *ptx.Module) bool { return other == m })
}

// runsOn says whether a card of a compute capability takes a text by its .target: sm_80 runs on that capability and all
// later ones, sm_90a on that one alone, and sm_100f on those of the same major number from it on (PTX ISA, ".target").
func runsOn(target string, capability [2]int) error {
	m := ptxTarget.FindStringSubmatch(target)
	if m == nil {
		return fmt.Errorf("the text is for %q, which is no target of the kind sm_80", target)
	}
	major, _ := strconv.Atoi(m[1])
	minor, _ := strconv.Atoi(m[2])
	wanted, own := 10*major+minor, 10*capability[0]+capability[1]
	ok := own >= wanted
	switch m[3] {
	case "a":
		ok = own == wanted
	case "f":
		ok = ok && capability[0] == major
	}
	if !ok {
		return fmt.Errorf(
			"the text is for %s, and the card has compute capability %d.%d", target, capability[0], capability[1],
		)
	}
	return nil
}

var ptxTarget = regexp.MustCompile(`^sm_(\d{1,2})(\d)([af]?)$`)

var ptxVersion = regexp.MustCompile(`(?m)^\s*\.version\s+(\d+)\.(\d+)`)

// reads says whether a driver of the version reads the text: that of CUDA 12.2 reads up to PTX ISA 8.2, and so on for
// the minor versions 0 to 5 of CUDA 11 and 12 (PTX ISA, "Release Notes").
func (d *Driver) reads(text string) error {
	var major, minor int
	if m := ptxVersion.FindStringSubmatch(text); m != nil {
		major, _ = strconv.Atoi(m[1])
		minor, _ = strconv.Atoi(m[2])
	}
	v := cmp.Or(d.Version, version)
	ownMajor, ownMinor := v/1000-4, v%1000/10
	if major > ownMajor || major == ownMajor && minor > ownMinor {
		return fmt.Errorf("the text is PTX ISA %d.%d, the driver reads up to %d.%d", major, minor, ownMajor, ownMinor)
	}
	return nil
}
