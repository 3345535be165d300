package cpu

import "bilevel/internal/expr"

// emitUniform gives a value that is the same at all points its slot, and the prelude the step that computes it.
func (c *compiler) emitUniform(v *value) {
	if v.typ == expr.Int {
		v.at = place{slot, len(c.ints)}
		c.ints = append(c.ints, int32(v.Const)) // 0 but for IConst
	} else {
		v.at = place{slot, len(c.reals)}
		c.reals = append(c.reals, float32(v.Const))
	}
	in := instr{dst: v.at}
	switch v.Fn {
	case expr.Const, expr.IConst, expr.Iota: // Iota along an axis of length 1 is 0
		return
	case expr.Input:
		in.form, in.a = formLoad, place{source, v.Arg}
		if v.typ == expr.Int {
			in.form = formLoadInt
		}
	default:
		at := c.argPlaces(v)
		in.a, in.b, in.c = at[0], at[1], at[2]
		in.fn = v.Fn
		in.form, in.k, in.ik = c.vectorForm(v.Fn)
	}
	c.prelude = append(c.prelude, in)
}

func (c *compiler) argPlaces(v *value) (at [3]place) {
	for j, a := range v.args {
		at[j] = c.values[a].at
	}
	return at
}

// vectorForm is the form of a function whose operands are all vectors.
func (c *compiler) vectorForm(f fn) (form, *realKernel, *intKernel) {
	k, ik := &c.loops.real[f], &c.loops.int[f]
	switch {
	case ik.toInt != nil:
		return formInt, nil, ik
	case ik.toReal != nil:
		return formCompare, nil, ik
	case ik.cast != nil:
		return formCast, nil, ik
	case ik.trunc != nil:
		return formTruncate, nil, ik
	case k.v != nil:
		return formV, k, nil
	case k.vv != nil:
		return formVV, k, nil
	case k.vvv != nil:
		return formVVV, k, nil
	}
	panic("cpu: no loop for " + f.String())
}

// emit writes the step that computes value i for a block.
func (c *compiler) emit(i int) {
	v := &c.values[i]
	var in instr
	in.fn = v.Fn
	in.form, in.k, in.ik = c.vectorForm(v.Fn)
	args := v.args
	if in.form == formVV || in.form == formVVV {
		in.form, args = c.scalarForm(in.k, args)
	}
	var at [3]place
	var spread []place
	for j, a := range args {
		at[j] = c.vector(a)
		if at[j].at == slot && !takesScalar(in.form, j) {
			at[j] = c.spread(at[j], c.values[a].typ)
			spread = append(spread, at[j])
		}
	}
	// Loops allow dst to be one of their operands, so registers read for the last time are free for the result.
	for _, a := range args {
		if arg := &c.values[a]; arg.last == i && arg.at.at == register {
			c.release(arg.at, arg.typ)
			arg.at = place{} // the same value may be two operands
		}
	}
	for _, s := range spread {
		c.release(s, c.values[args[0]].typ) // all operands of a function have one type
	}
	v.at = c.target(v)
	in.dst, in.a, in.b, in.c = v.at, at[0], at[1], at[2]
	c.push(in)
}

// scalarForm chooses the form that takes the most uniform operands as scalars, and the order of the operands for it.
func (c *compiler) scalarForm(k *realKernel, args []int) (form, []int) {
	u := func(j int) bool { return c.values[args[j]].uniform }
	if len(args) == 2 {
		switch {
		case u(1):
			return formVS, args
		case u(0) && k.swaps:
			return formVS, []int{args[1], args[0]}
		case u(0):
			return formSV, args
		}
		return formVV, args
	}
	switch {
	case u(1) && u(2) && k.vss != nil:
		return formVSS, args
	case u(2) && k.vvs != nil:
		return formVVS, args
	case u(1) && k.vsv != nil:
		return formVSV, args
	}
	return formVVV, args
}

// takesScalar says whether operand j of a form is a scalar.
func takesScalar(f form, j int) bool {
	switch f {
	case formVS:
		return j == 1
	case formSV:
		return j == 0
	case formVVS:
		return j == 2
	case formVSV:
		return j == 1
	case formVSS:
		return j > 0
	}
	return false
}

// vector is the place of a value that a step is about to read; a leaf that cannot be read in place is loaded now.
func (c *compiler) vector(i int) place {
	v := &c.values[i]
	if v.at.at == nowhere && len(v.args) == 0 {
		if c.inPlace(v) {
			v.at = place{source, v.Arg}
			if c.given && v.Arg == 0 {
				v.at = place{given, 0}
			}
		} else {
			c.load(v)
		}
	}
	return v.at
}

// load emits the load of a leaf.
func (c *compiler) load(v *value) {
	v.at = c.target(v)
	in := instr{form: formLoad, dst: v.at, a: place{source, v.Arg}}
	switch {
	case v.Fn == expr.Iota:
		in.form = formIota
		in.a.n = len(c.sources)
		c.sources = append(c.sources, operand{operandIter: iotaIter(c.shape, v.Arg)})
	case v.typ == expr.Int:
		in.form = formLoadInt
	}
	c.push(in)
}

// target is the place that a value is computed into: its sink, or a free register.
func (c *compiler) target(v *value) place {
	if v.direct >= 0 {
		return place{sink, v.direct}
	}
	return c.take(v.typ)
}

// spread emits the copy of a slot to all elements of a register.
func (c *compiler) spread(from place, t expr.Type) place {
	dst := c.take(t)
	c.push(spreadInstr(dst, from, t))
	return dst
}

func spreadInstr(dst, from place, t expr.Type) instr {
	if t == expr.Int {
		return instr{form: formSpreadInt, dst: dst, a: from}
	}
	return instr{form: formSpread, dst: dst, a: from}
}

// take returns a free register.
func (c *compiler) take(t expr.Type) place {
	free, count := &c.freeReal, &c.realRegs
	if t == expr.Int {
		free, count = &c.freeInt, &c.intRegs
	}
	if n := len(*free); n > 0 {
		r := (*free)[n-1]
		*free = (*free)[:n-1]
		return place{register, r}
	}
	*count++
	return place{register, *count - 1}
}

func (c *compiler) release(p place, t expr.Type) {
	if t == expr.Int {
		c.freeInt = append(c.freeInt, p.n)
	} else {
		c.freeReal = append(c.freeReal, p.n)
	}
}

func (c *compiler) push(in instr) {
	const memory = 0.3 // nanoseconds per element of a load, store or cast
	c.code = append(c.code, in)
	if in.k != nil {
		c.cost += in.k.cost
	} else {
		c.cost += memory
	}
}

// finish emits what remains when all steps are done: the stores of results that are not in their sink yet, and the
// places of kept results. All loads come before the first store, since a sink may be the memory of a source.
func (c *compiler) finish() {
	for _, o := range c.expr.Outs {
		v := &c.values[o]
		if v.live && !v.uniform && len(v.args) == 0 {
			c.leafForEnd(v, o)
		}
		if !v.live { // a product that stays two factors
			c.leafForEnd(&c.values[v.args[0]], v.args[0])
			c.leafForEnd(&c.values[v.args[1]], v.args[1])
		}
	}
	for k := range c.results {
		v := &c.values[c.expr.Outs[k]]
		switch {
		case !v.live:
			c.results[k] = result{c.values[v.args[0]].at, c.values[v.args[1]].at}
		case v.uniform:
			c.results[k] = result{a: c.spread(v.at, v.typ)}
		default:
			c.results[k] = result{a: v.at}
		}
	}
	for k := range c.sinks {
		v := &c.values[c.expr.Outs[c.kept+k]]
		from := v.at
		switch {
		case v.direct == k:
			continue
		case v.uniform && c.sinks[k].kind == dense:
			c.push(spreadInstr(place{sink, k}, from, v.typ))
			continue
		case v.uniform:
			from = c.spread(from, v.typ)
		}
		in := instr{form: formStore, dst: place{sink, k}, a: from}
		if v.typ == expr.Int {
			in.form = formStoreInt
		}
		c.push(in)
		if v.uniform {
			c.release(from, v.typ)
		}
	}
}

// leafForEnd places a leaf that is read after the last step. One that lies in place is copied to a register first if a
// store will write over it.
func (c *compiler) leafForEnd(v *value, i int) {
	if len(v.args) > 0 || v.uniform {
		return
	}
	if at := c.vector(i); at.at != source {
		return
	}
	for k := range c.sinks {
		if o := c.expr.Outs[c.kept+k]; o != i && c.out[k].overlaps(&c.in[v.Arg]) {
			c.load(v)
			return
		}
	}
}
