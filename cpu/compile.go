package cpu

import "bilevel/internal/expr"

// spec is what compile makes a program of.
type spec struct {
	level Level
	expr  *expr.Expr
	shape []int
	in    []Array
	out   []Array // of the results that are stored: the last len(out) of the expression's
	// given says that input 0 is not an array: the caller of run hands over its values.
	given bool
	// dots allows a kept result that is a product to stay two factors.
	dots bool
}

// value is one step of the expression during compilation.
type value struct {
	expr.Step
	args    []int
	typ     expr.Type
	live    bool // some output needs it
	uniform bool // the same at all points
	uses    int  // by live steps and outputs
	last    int  // the last step that reads it during a block; end for one that leaves the expression
	at      place
	direct  int // the sink that this value is computed into, or -1
}

// compiler holds the state of one compilation.
type compiler struct {
	*program
	spec
	values   []value
	kept     int // number of results that are kept
	end      int // position after the last step
	lastRead []int
	freeReal []int
	freeInt  []int
}

// compile makes a program of an expression that expr.Types has accepted. It panics on one that it has not.
func compile(s spec) *program {
	c := &compiler{program: &program{points: size(s.shape), loops: loopsOf(s.level)}, spec: s}
	c.kept = len(s.expr.Outs) - len(s.out)
	c.end = len(s.expr.Steps)
	for i := range s.in {
		a := &s.in[i]
		c.sources = append(c.sources, operand{newOperandIter(s.shape, a.Strides, a.Off), a.Real, a.Int})
	}
	for i := range s.out {
		a := &s.out[i]
		c.sinks = append(c.sinks, operand{iterOf(a), a.Real, a.Int})
	}
	c.analyse()
	c.fuse()
	c.lifetimes()
	c.chooseDirect()
	for i := range c.values {
		if v := &c.values[i]; v.live && v.uniform {
			c.emitUniform(v)
		}
	}
	for i := range c.values {
		if v := &c.values[i]; v.live && !v.uniform && len(v.args) > 0 {
			c.emit(i)
		}
	}
	c.finish()
	c.far = c.isFar()
	return c.program
}

// isFar says whether a prefetch pays: more steps than one or two loops that read memory all the time, and more data
// than a cache of one core or its share of a larger one holds.
func (c *compiler) isFar() bool {
	const manySteps, manyBytes = 4, 32 << 20
	return c.loops.prefetch != nil && len(c.code) >= manySteps && 4*c.points*len(c.sources) >= manyBytes
}

// analyse finds types, the values that are needed, and those that are the same at all points.
func (c *compiler) analyse() {
	types, err := c.expr.Types(typesOf(c.in), len(c.shape))
	if err != nil {
		panic("cpu: " + err.Error())
	}
	c.values = make([]value, len(types))
	for i, step := range c.expr.Steps {
		v := &c.values[i]
		*v = value{Step: step, typ: types[i], direct: -1}
		v.args = v.Step.Args[:expr.Table[step.Fn].Arity]
		v.uniform = c.uniformStep(v)
	}
	for _, o := range c.expr.Outs {
		c.values[o].live = true
	}
	for i := len(c.values) - 1; i >= 0; i-- {
		if c.values[i].live {
			for _, a := range c.values[i].args {
				c.values[a].live = true
			}
		}
	}
}

func (c *compiler) uniformStep(v *value) bool {
	switch v.Fn {
	case expr.Const, expr.IConst:
		return true
	case expr.Input:
		return !(c.given && v.Arg == 0) && c.sources[v.Arg].kind == uniform
	case expr.Iota:
		return c.points != 1 && c.shape[v.Arg] == 1
	}
	for _, a := range v.args {
		if !c.values[a].uniform {
			return false
		}
	}
	return true
}

// fuse turns a sum of a product that nothing else needs into one step.
func (c *compiler) fuse() {
	c.countUses()
	for i := range c.values {
		v := &c.values[i]
		if !v.live || v.uniform || v.Fn != expr.Add && v.Fn != expr.Sub {
			continue
		}
		a, b := v.args[0], v.args[1]
		switch {
		case c.fusible(b, a) && v.Fn == expr.Sub:
			c.fuseInto(v, subMul, b, a)
		case c.fusible(b, a):
			c.fuseInto(v, mulAdd, b, a)
		case c.fusible(a, b) && v.Fn == expr.Add:
			c.fuseInto(v, mulAdd, a, b)
		}
	}
}

func (c *compiler) countUses() {
	for _, o := range c.expr.Outs {
		c.values[o].uses++
	}
	for i := range c.values {
		if c.values[i].live {
			for _, a := range c.values[i].args {
				c.values[a].uses++
			}
		}
	}
}

// fusible says whether the product is a step of its own that only one other step reads, and the summand no scalar.
func (c *compiler) fusible(product, summand int) bool {
	p := &c.values[product]
	return p.Fn == expr.Mul && !p.uniform && p.uses == 1 && !c.values[summand].uniform
}

func (c *compiler) fuseInto(v *value, f fn, product, summand int) {
	p := &c.values[product]
	p.live = false
	x, y := p.args[0], p.args[1]
	if c.values[x].uniform {
		x, y = y, x
	}
	v.Fn, v.args = f, []int{x, y, summand}
}

// lifetimes finds the last step that reads each value and each source.
func (c *compiler) lifetimes() {
	c.results = make([]result, c.kept)
	for i := range c.values {
		if v := &c.values[i]; v.live && !v.uniform {
			for _, a := range v.args {
				c.values[a].last = i
			}
		}
	}
	for i, o := range c.expr.Outs {
		v := &c.values[o]
		v.last = c.end
		if i < c.kept && c.dots && v.Fn == expr.Mul && v.uses == 1 && !c.values[v.args[0]].uniform &&
			!c.values[v.args[1]].uniform {
			v.live = false // the caller takes the factors
			c.values[v.args[0]].last, c.values[v.args[1]].last = c.end, c.end
		}
	}
	c.lastRead = make([]int, len(c.in))
	for i := range c.values {
		if v := &c.values[i]; v.Fn == expr.Input && v.live {
			c.lastRead[v.Arg] = max(c.lastRead[v.Arg], v.last)
		}
	}
}

// chooseDirect lets a value be computed right into a sink that is dense, unless a later step still reads the memory
// under the sink: an output may be exactly one of the inputs.
func (c *compiler) chooseDirect() {
	for k := range c.sinks {
		o := c.expr.Outs[c.kept+k]
		v := &c.values[o]
		if v.uniform || v.direct >= 0 || c.sinks[k].kind != dense || c.inPlace(v) {
			continue
		}
		safe := true
		for j := range c.in {
			if c.out[k].overlaps(&c.in[j]) && !(c.given && j == 0) {
				safe = safe && c.lastRead[j] <= c.definedAt(o)
			}
		}
		if safe {
			v.direct = k
		}
	}
}

// inPlace says whether a leaf can be read where it lies.
func (c *compiler) inPlace(v *value) bool {
	return v.Fn == expr.Input && (c.given && v.Arg == 0 || c.sources[v.Arg].kind == dense)
}

// definedAt is the step at which a value is written: a leaf is loaded where it is first read, which may be before any
// step, and the safe answer for it is -1.
func (c *compiler) definedAt(i int) int {
	if len(c.values[i].args) == 0 {
		return -1
	}
	return i
}
