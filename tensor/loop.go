package tensor

import (
	"context"
	"fmt"
)

// Loop is a function to be repeated, split into what does not change between repetitions (Setup, whose results stay on
// the device) and what does (the body). Several bodies may share one setup, for example the first iteration of a method
// and all later ones.
//
// For conjugate gradients on a Hessian, Setup holds the network's forward and backward pass, and the body one
// Hessian-vector product and the vector updates.
type Loop struct {
	setup     *Function // nil where nothing can be split off
	bodies    []*Function
	residuals []*Variable
	bytes     int
}

// CompileLoop compiles one or more sets of updates, the bodies, that will be run again and again. Whatever depends on
// none of the variables that a body updates is computed once, by Setup.
func (ex *Executor) CompileLoop(name string, builds ...func() []Update) (*Loop, error) {
	l := &Loop{}
	var setup []Update
	bodies := make([][]Update, len(builds))
	err := Catch(func() {
		var outs, vary []*Node
		for i, build := range builds {
			bodies[i] = built(build)
			for _, u := range bodies[i] {
				outs = append(outs, u.Value)
				vary = append(vary, u.Var.Node())
			}
		}
		outs = cse(fold(centring(outs))) // equal values are one residual
		by := make(map[*Node]*Node)
		for i, r := range split(outs, vary) {
			v := ex.Variable(fmt.Sprintf("%s residual %d", name, i), r.typ, r.shape...)
			l.residuals = append(l.residuals, v)
			setup = append(setup, Update{v, r})
			by[r] = v.Node()
		}
		outs = substitute(outs, by)
		for _, body := range bodies {
			for i := range body {
				body[i].Value, outs = outs[0], outs[1:]
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("tensor: compile %s: %w", name, err)
	}
	if err := l.compile(ex, name, setup, bodies); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func (l *Loop) compile(ex *Executor, name string, setup []Update, bodies [][]Update) (err error) {
	if len(setup) > 0 {
		if l.setup, err = ex.Compile(name+" setup", func() []Update { return setup }); err != nil {
			return err
		}
	}
	for _, body := range bodies {
		f, err := ex.Compile(name, func() []Update { return body })
		if err != nil {
			return err
		}
		l.bodies = append(l.bodies, f)
	}
	for _, v := range l.residuals {
		b, err := v.buffer()
		if err != nil {
			return err
		}
		l.bytes += ex.bytes(b)
	}
	return nil
}

// Setup computes what does not change between repetitions. Run it before the first one, and again when a variable has
// changed that the bodies read and do not update.
func (l *Loop) Setup() error {
	if l.setup == nil {
		return nil
	}
	return l.setup.Run(1)
}

// Run repeats the first body n times.
func (l *Loop) Run(n int) error { return l.bodies[0].Run(n) }

// Body is body number i, in the order given to CompileLoop; SetupFunction is nil where nothing was split off.
func (l *Loop) Body(i int) *Function     { return l.bodies[i] }
func (l *Loop) SetupFunction() *Function { return l.setup }

// ResidualBytes is the memory of what Setup keeps.
func (l *Loop) ResidualBytes() int { return l.bytes }

// Close frees the functions and what Setup keeps.
func (l *Loop) Close() error {
	var err error
	for _, f := range append([]*Function{l.setup}, l.bodies...) {
		if f != nil {
			if e := f.Close(); err == nil {
				err = e
			}
		}
	}
	for _, v := range l.residuals {
		v.Free()
	}
	l.residuals = nil
	return err
}

// While repeats a loop until its stop test holds, without a host round trip per iteration: the body runs in chunks,
// and keeps the state as it is once Active is 0, by selection (Where(active, next, old)), so that a NaN that was
// computed after the end stays out.
type While struct {
	Loop   *Loop
	Active *Variable // Real scalar, 1 while the loop goes on; the host sets it before
	Steps  *Variable // Int scalar, iterations done so far; the host sets it before
	Chunk  int       // iterations between looks at Active; 0 means 1
}

// Run repeats until Active is 0 or limit iterations are done, and returns how many were. The host looks at Active
// between chunks only. On a device.Peeker it looks at the value after the chunk before, so that the device never waits
// for the host; then one more chunk runs after the end and changes nothing.
func (w While) Run(ctx context.Context, limit int) (int, error) {
	var last func() (float64, error) // looks at Active after the last chunk
	defer func() {
		if last != nil {
			last()
		}
	}()
	for done := 0; done < limit; {
		if err := ctx.Err(); err != nil {
			return done, err
		}
		n := min(max(1, w.Chunk), limit-done)
		if err := w.Loop.Run(n); err != nil {
			return done, err
		}
		done += n
		look, late, err := w.Active.peek()
		if err != nil {
			return done, err
		}
		if late {
			look, last = last, look
		}
		if look == nil {
			continue
		}
		active, err := look()
		if err != nil {
			return done, err
		}
		if active == 0 {
			break
		}
	}
	steps, err := w.Steps.ReadInts()
	if err != nil {
		return 0, err
	}
	return int(steps[0]), nil
}
