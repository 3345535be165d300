package cuda

import (
	"cmp"
	"slices"
	"time"

	"bilevel/device/cuda/driver"
	"bilevel/kernels"
)

// idleModules is how many modules are kept that no program uses, for the next that does: compiling one takes the driver
// longer than most programs run, and a process that prepares ever new programs must not grow.
const idleModules = 64

// module is loaded code.
type module struct {
	driver.Module
	text    string
	users   int // runners
	seconds float64
	told    bool // Options.Loaded was
}

// modules are those loaded. They are found by their text, because two emitted ones may have one name: it ends with 32
// bits of a hash.
type modules struct {
	byText map[string]*module
	idle   []*module // without users, first the one that has been so longest
}

// use gives a runner the module of this text, loaded if it is not there yet.
func (d *Device) use(r *runner, text string) (*module, error) {
	m := d.modules.byText[text]
	if m == nil {
		begin := time.Now()
		loaded, err := d.ctx.Load(text)
		if err != nil {
			return nil, err
		}
		m = &module{Module: loaded, text: text, seconds: time.Since(begin).Seconds()}
		d.modules.byText[text] = m
	}
	if !slices.Contains(r.modules, m) {
		r.modules = append(r.modules, m)
		m.users++
		d.modules.idle = slices.DeleteFunc(d.modules.idle, func(other *module) bool { return other == m })
	}
	return m, nil
}

// leave ends a runner's use of its modules.
func (d *Device) leave(r *runner) error {
	var err error
	for _, m := range r.modules {
		if m.users--; m.users == 0 {
			d.modules.idle = append(d.modules.idle, m)
		}
	}
	r.modules = nil
	if len(d.modules.idle) > idleModules { // work under way may still need them
		err = d.stream.Synchronize()
	}
	for len(d.modules.idle) > idleModules {
		m := d.modules.idle[0]
		d.modules.idle = d.modules.idle[1:]
		delete(d.modules.byText, m.text)
		err = cmp.Or(err, m.Unload())
	}
	return err
}

// function is the kernel of a launch, allowed the shared memory that it needs.
func (d *Device) function(r *runner, l *kernels.Launch, text string) (driver.Function, error) {
	m, err := d.use(r, text)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	f, err := m.Function(l.Entry)
	if err == nil && !m.told && d.given.Loaded != nil {
		d.given.Loaded(l.Module, len(m.text), m.seconds+time.Since(begin).Seconds())
	}
	m.told = true
	if err == nil && l.Shared > d.card.MaxShared {
		err = f.AllowShared(l.Shared)
	}
	return f, err
}
