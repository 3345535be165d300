package tensor

import (
	"context"
	"fmt"
)

// Loop is a function to be repeated, split by Split into what does not change between repetitions (Setup, whose
// results stay on the device) and what does (Body).
//
// For conjugate gradients on a Hessian, say, Setup holds the network's forward and backward pass, and Body one
// Hessian-vector product and the vector updates.
type Loop struct {
	setup     *Function // nil where nothing can be split off
	body      *Function
	residuals []*Variable
	bytes     int
}

// CompileLoop compiles updates that will be repeated. What depends on no variable that they update moves to Setup.
func (ex *Executor) CompileLoop(name string, build func() []Update) (*Loop, error) {
	l := &Loop{}
	var setup, body []Update
	err := Catch(func() {
		body = build()
		outs := make([]*Node, len(body))
		var vary []*Node
		for i, u := range body {
			outs[i] = u.Value
			vary = append(vary, u.Var.Node())
		}
		outs = cse(fold(outs)) // equal values are one residual
		by := make(map[*Node]*Node)
		for i, r := range Split(outs, append(vary, randoms(outs)...)) {
			v := ex.Variable(fmt.Sprintf("%s residual %d", name, i), r.typ, r.shape...)
			l.residuals = append(l.residuals, v)
			setup = append(setup, Update{v, r})
			by[r] = v.Node()
		}
		for i, o := range substitute(outs, by) {
			body[i].Value = o
		}
	})
	if err != nil {
		return nil, fmt.Errorf("tensor: compile %s: %w", name, err)
	}
	if len(setup) > 0 {
		l.setup, err = ex.Compile(name+" setup", func() []Update { return setup })
	}
	if err == nil {
		l.body, err = ex.Compile(name, func() []Update { return body })
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	for _, v := range l.residuals {
		b, err := v.buffer()
		if err != nil {
			l.Close()
			return nil, err
		}
		l.bytes += ex.bytes(b)
	}
	return l, nil
}

// randoms are the Random nodes: they are drawn anew in every repetition.
func randoms(outs []*Node) (r []*Node) {
	walk(outs, func(n *Node) {
		if n.op == opRandom {
			r = append(r, n)
		}
	})
	return r
}

// Setup computes what stays the same; to be run again when a variable that the loop only reads has changed.
func (l *Loop) Setup() error {
	if l.setup == nil {
		return nil
	}
	return l.setup.Run(1)
}

// Run repeats the body n times.
func (l *Loop) Run(n int) error { return l.body.Run(n) }

// Body and SetupFunction give the two functions for inspection; the latter is nil where nothing was split off.
func (l *Loop) Body() *Function          { return l.body }
func (l *Loop) SetupFunction() *Function { return l.setup }

// ResidualBytes is the memory of what Setup keeps.
func (l *Loop) ResidualBytes() int { return l.bytes }

// Close frees both functions and what Setup keeps.
func (l *Loop) Close() error {
	var err error
	for _, f := range []*Function{l.setup, l.body} {
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
// and freezes its own state on the device once it has stopped (Freeze).
type While struct {
	Loop   *Loop
	Active *Variable // Real scalar, 1 while the loop goes on; the host sets it before
	Steps  *Variable // Int scalar, iterations done so far; the host sets it before
	Chunk  int       // iterations between looks at Active; 0 means 1
}

// Run repeats until Active is 0 or limit iterations are done, and returns how many were. The host looks at Active
// between chunks only.
func (w While) Run(ctx context.Context, limit int) (int, error) {
	for done := 0; done < limit; {
		if err := ctx.Err(); err != nil {
			return done, err
		}
		n := min(max(1, w.Chunk), limit-done)
		if err := w.Loop.Run(n); err != nil {
			return done, err
		}
		done += n
		active, err := w.Active.Number()
		if err != nil {
			return done, err
		}
		if active == 0 {
			break
		}
	}
	steps, err := w.Steps.ReadInts()
	return int(steps[0]), err
}

// Freeze makes updates keep their old values unless active is 1, by selection: a frozen NaN stays out.
func Freeze(active *Node, updates []Update) []Update {
	out := make([]Update, len(updates))
	for i, u := range updates {
		old := u.Var.Node()
		if u.Var.typ == Int { // integers have no Where: old + active·(new - old)
			out[i] = Update{u.Var, old.Add(u.Value.Sub(old).Mul(active.ToInt()))}
		} else {
			out[i] = Update{u.Var, Where(active, u.Value, old)}
		}
	}
	return out
}
