package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bilevel/internal/nearest"
	"bilevel/internal/npy"
	"bilevel/internal/ptx"
)

// A buffer is memory of the machine that arguments point to. Arguments that name the same file share one buffer,
// whatever way they write its name.
type buffer struct {
	spec   bufferSpec // the first that asked for it
	label  string
	info   os.FileInfo // nil: there is no such file yet
	launch int         // the one that asked first; -1: a -buffer
	writes bool
	array  *npy.Raw // what the file holds, or will hold
	addr   uint64
}

// A pool holds the buffers of all launches.
type pool struct {
	list  []*buffer
	named map[string]*buffer
	byArg map[*bufferSpec]*buffer
}

// newPool finds the buffers that the launches need, and refuses what contradicts itself.
func newPool(opt *options) (*pool, error) {
	p := &pool{named: map[string]*buffer{}, byArg: map[*bufferSpec]*buffer{}}
	for i := range opt.buffers {
		n := &opt.buffers[i]
		if p.named[n.name] != nil {
			return nil, fmt.Errorf("-buffer %s is given twice", n.name)
		}
		b, err := p.find(&n.spec, -1)
		if err != nil {
			return nil, err
		}
		p.named[n.name] = b
		if b.spec.path == "" {
			b.label = n.name
		}
	}
	for i := range opt.launches {
		for k := range opt.launches[i].args {
			var err error
			opt.launches[i].args[k].visit(func(a *argument) {
				switch {
				case err != nil:
				case a.buffer != nil:
					p.byArg[a.buffer], err = p.find(a.buffer, i)
				case a.name != "" && p.named[a.name] == nil:
					err = fmt.Errorf("-arg %s: there is no -buffer %s%s; want %s", a.text, a.name,
						nearest.Hint(a.name, p.names()), argForms)
				}
			})
			if err != nil {
				return nil, err
			}
		}
	}
	return p, nil
}

func (p *pool) names() (list []string) {
	for name := range p.named {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// find returns the buffer of a file that a launch asks for.
func (p *pool) find(s *bufferSpec, launch int) (*buffer, error) {
	if s.path == "" {
		b := &buffer{spec: *s, label: s.text, launch: launch}
		p.list = append(p.list, b)
		return b, nil
	}
	info, _ := os.Stat(s.path)
	if err := writable(s, info); err != nil {
		return nil, err
	}
	for _, b := range p.list {
		if !b.same(s.path, info) {
			continue
		}
		fresh := !s.reads // s describes what the buffer holds at first, which another argument did already
		switch began := !b.spec.reads; {
		case fresh && began && b.launch == launch && b.spec.word == s.word &&
			b.spec.dtype.String() == s.dtype.String() && slices.Equal(b.spec.shape, s.shape):
		case fresh && b.launch < launch:
			return nil, fmt.Errorf("%s is a buffer of an earlier launch: inout:%s goes on with it", s.path, s.path)
		case fresh, began && b.launch == launch:
			return nil, fmt.Errorf("%s is given as %s: and as %s:; both are one buffer, which inout: reads and writes",
				s.path, b.spec.word, s.word)
		}
		b.writes = b.writes || s.writes
		return b, nil
	}
	b := &buffer{spec: *s, label: s.path, info: info, launch: launch, writes: s.writes}
	p.list = append(p.list, b)
	return b, nil
}

// same says whether the buffer is that of the file.
func (b *buffer) same(path string, info os.FileInfo) bool {
	if b.spec.path == "" {
		return false
	}
	if b.info != nil && info != nil {
		return os.SameFile(b.info, info)
	}
	one, err1 := filepath.Abs(b.spec.path)
	other, err2 := filepath.Abs(path)
	return b.info == nil && info == nil && err1 == nil && err2 == nil && one == other
}

// writable refuses a file that could not be written in the end, before a kernel runs.
func writable(s *bufferSpec, info os.FileInfo) error {
	if !s.writes {
		return nil
	}
	dir := filepath.Dir(s.path)
	if at, err := os.Stat(dir); err != nil {
		return err
	} else if !at.IsDir() {
		return fmt.Errorf("%s is no folder", dir)
	}
	if info != nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file", s.path)
	}
	return nil
}

// load puts all buffers into the machine's memory.
func (p *pool) load(m *ptx.Machine) (err error) {
	for _, b := range p.list {
		if b.spec.reads {
			b.array, err = npy.ReadRawFile(b.spec.path)
		} else {
			b.array, err = npy.Zeros(b.spec.dtype, b.spec.shape)
		}
		if err != nil {
			return err
		}
		if b.addr, err = m.Alloc(int64(len(b.array.Data)), b.label); err != nil {
			return fmt.Errorf("%s: %w", b.spec.text, err)
		}
		if b.spec.blank {
			continue
		}
		if b.spec.reads {
			err = m.Write(b.addr, b.array.Data)
		} else {
			err = m.Fill(b.addr, 0, int64(len(b.array.Data)))
		}
		if err != nil {
			return fmt.Errorf("%s: %w", b.spec.text, err)
		}
	}
	return nil
}

// pointer is the address that an argument passes.
func (p *pool) pointer(a *argument) (uint64, error) {
	b := p.named[a.name]
	if a.buffer != nil {
		b = p.byArg[a.buffer]
	}
	if a.offset > int64(len(b.array.Data)) {
		return 0, fmt.Errorf("-arg %s: the buffer has %d bytes", a.text, len(b.array.Data))
	}
	return b.addr + uint64(a.offset), nil
}

// values are the bytes of a launch's parameters.
func (p *pool) values(k *ptx.Kernel, args []argument) (values [][]byte, err error) {
	for i := range args {
		data, _, err := args[i].layout(p.pointer)
		if err != nil {
			return nil, err
		}
		for len(data) < k.Params[i].Size { // the end of an aligned structure
			data = append(data[:len(data):len(data)], 0)
		}
		values = append(values, data)
	}
	return values, nil
}

// read fetches what the kernels have left in the buffers.
func (p *pool) read(m *ptx.Machine) error {
	for _, b := range p.list {
		if err := m.Read(b.addr, b.array.Data); err != nil {
			return err
		}
	}
	return nil
}

// store writes the files of the buffers that kernels may have written.
func (p *pool) store() error {
	for _, b := range p.list {
		if b.writes && b.spec.path != "" {
			if err := npy.WriteRawFile(b.spec.path, b.array); err != nil {
				return err
			}
		}
	}
	return nil
}

// explain adds to a report which element of which array it is about.
func (p *pool) explain(r *ptx.Report) {
	if r.Offset == nil {
		return
	}
	for _, b := range p.list {
		if b.label != r.Allocation {
			continue
		}
		size, n := int64(b.array.Type.Size), b.array.Len()
		i := *r.Offset / size
		switch name := typeName(b.array.Type); {
		case *r.Offset < 0 || i >= int64(n):
			r.Message += fmt.Sprintf("; it would be element %d, and %s has %s of %s", i, b.label,
				plural(n, "element"), name)
		default:
			r.Message += fmt.Sprintf("; element %s of %s", index(int(i), b.array.Shape), b.label)
		}
		return
	}
}

// index writes the index of the i-th element of an array of that shape.
func index(i int, shape []int) string {
	if len(shape) < 2 {
		return fmt.Sprint(i)
	}
	words := make([]string, len(shape))
	for k := len(shape) - 1; k >= 0; k-- {
		words[k] = fmt.Sprint(i % shape[k])
		i /= shape[k]
	}
	return "(" + strings.Join(words, ", ") + ")"
}
