package problem

import (
	"errors"
	"fmt"

	"bilevel/device/open"
	"bilevel/tensor"
)

// Bound is a problem on a device: its data are uploaded, and nodes can be built.
type Bound struct {
	*Problem
	Executor *tensor.Executor
	scope    *tensor.Scope
	tables   [2]map[string]*tensor.Node // by side
	sets     [2]Set
	alphaSet Set // of the upper level's Saddle
}

// Bind checks the problem and puts its data on the executor's device. Data that are nodes already (On) stay where they
// are. Close frees what Bind uploaded.
func (p *Problem) Bind(ex *tensor.Executor) (*Bound, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	if ex == nil {
		return nil, fmt.Errorf("problem %q: there is no executor to bind it to (nil)", p.Name)
	}
	if err := p.checkReals(ex); err != nil {
		return nil, err
	}
	b := &Bound{Problem: p, Executor: ex, scope: ex.Scope()}
	for _, side := range []Side{Lower, Upper} {
		l := p.Level(side)
		b.tables[side] = make(map[string]*tensor.Node)
		for _, name := range l.Rows.names() {
			n, err := l.Rows[name].upload(b.scope, fmt.Sprintf("%s %s", side, name))
			if err != nil {
				return nil, errors.Join(err, b.Close())
			}
			b.tables[side][name] = n
		}
		if l.Set == nil {
			continue
		}
		var err error
		if b.sets[side], err = bindSet(b.scope, l.Set, l.Start.Layout); err != nil {
			return nil, errors.Join(err, b.Close())
		}
	}
	if s := p.Upper.Saddle; s != nil && s.Set != nil {
		var err error
		if b.alphaSet, err = bindSet(b.scope, s.Set, s.Start.Layout); err != nil {
			return nil, errors.Join(err, b.Close())
		}
	}
	return b, nil
}

// Oracle makes an oracle of the problem, whose counts begin at zero.
func (b *Bound) Oracle() *Oracle { return &Oracle{b: b} }

// Set is a level's set, ready for building nodes; nil where there is none.
func (b *Bound) Set(side Side) Set { return b.sets[side] }

// All is the batch of all rows of a level.
func (b *Bound) All(side Side) Batch {
	return Batch{Rows: b.Level(side).Rows.Count(), tables: b.tables[side]}
}

// Batch is the rows of a level at an index Int [n].
func (b *Bound) Batch(side Side, index *tensor.Node) Batch {
	return Batch{Index: index, Rows: index.Size(), tables: b.tables[side]}
}

// Close frees the uploaded data.
func (b *Bound) Close() error { return b.scope.Close() }

// OpenDevice opens a device by name ("" and "auto": the first NVIDIA card that can be used, else the processor) and
// gives an executor on it, which Close ends with the device.
func OpenDevice(name string) (*OwnedExecutor, error) {
	if name == "" || name == "auto" {
		dev, _ := open.Auto(open.Options{})
		return &OwnedExecutor{tensor.NewExecutor(dev), dev}, nil
	}
	dev, err := open.Open(name, open.Options{})
	if err != nil {
		return nil, err
	}
	return &OwnedExecutor{tensor.NewExecutor(dev), dev}, nil
}

// OwnedExecutor is an executor that owns its device.
type OwnedExecutor struct {
	*tensor.Executor
	device tensor.Device
}

// Close frees everything on the device and the device.
func (o *OwnedExecutor) Close() error { return errors.Join(o.Executor.Close(), o.device.Close()) }
