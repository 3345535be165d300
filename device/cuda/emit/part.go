package emit

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"bilevel/kernels"
)

// A Part is a launch that becomes part of another kernel, and the text of its module.
type Part struct {
	kernels.Launch
	Text string
}

func (p *Part) blocks() int  { return p.Grid[0] * p.Grid[1] * p.Grid[2] }
func (p *Part) threads() int { return p.Block[0] * p.Block[1] * p.Block[2] }

// same says whether two parts differ in nothing but their parameters.
func (p *Part) same(q *Part) bool {
	return p.Entry == q.Entry && p.Text == q.Text && p.Grid == q.Grid && p.Block == q.Block
}

// A parcel is the text of a kernel, taken apart: what stands between its braces, what it declares, and what of its
// module it names.
type parcel struct {
	lines   []string
	params  []parcelParam
	shared  map[string]int // variables in shared memory: their places
	room    int            // bytes of shared memory
	outside []string       // declarations
	words   []string       // without one of which a line has no match of names; patterns take long to say so
	names   *regexp.Regexp // of parameters, shared variables and special registers
}

// A parcelParam is a parameter as it is declared, in two pieces, its name between them.
type parcelParam struct {
	before, name, after string
	size, align         int
}

var (
	paramLine = regexp.MustCompile(`^\s*(\.param (?:\.align (\d+) )?\.(?:u|s|b|f)(\d+) )(\w+)(?:(\[(\d+)\]))?,?$`)
	// of shared memory, where its size is given in bytes
	sharedLine = regexp.MustCompile(`^\s*\.shared \.align (\d+) \.b8 ([\w$]+)\[(\d+)\];$`)
	moduleLine = regexp.MustCompile(`^\.(?:global|const) .* ([\w$]+)(?:\[\d+\])?(?: = .*)?;$`)
	moves      = regexp.MustCompile(`^\s*mov\.([usb]\d\d)\s+(%\w+), ([\w$]+);$`)
	returns    = regexp.MustCompile(`\bret;`)
	addresses  = regexp.MustCompile(`%j_(?:shared|args)\+`)
	barriers   = regexp.MustCompile(`\bbar\.sync\s+0;`)
)

// Names of a kernel that is joined itself, which get one more letter.
var inner = regexp.MustCompile(`%j+_|\bJ+\d+_`)

const special = `%n?(?:ctaid|tid)\.[xyz]`

// open takes the kernel of a part out of its module. It fails on what it does not know how to move into another one.
func (p *Part) open() (*parcel, error) {
	before, kernel, found := strings.Cut(p.Text, ".visible .entry "+p.Entry+"(\n")
	params, body, whole := strings.Cut(kernel, "\n)\n")
	_, body, begins := strings.Cut(body, "{\n")
	body, _, ends := strings.Cut(body, "\n}\n")
	if !found || !whole || !begins || !ends {
		return nil, fmt.Errorf("there is no kernel %s", p.Entry)
	}
	c := &parcel{shared: map[string]int{}}
	var names []string
	for line := range strings.Lines(params) {
		m := paramLine.FindStringSubmatch(strings.TrimRight(line, "\n"))
		if m == nil {
			return nil, fmt.Errorf("%s: parameter %q", p.Entry, line)
		}
		bits, _ := strconv.Atoi(m[3])
		x := parcelParam{before: m[1], name: m[4], after: m[5], size: bits / 8, align: bits / 8}
		if m[6] != "" {
			x.size, _ = strconv.Atoi(m[6])
			x.align, _ = strconv.Atoi(cmp.Or(m[2], "1"))
		}
		c.params, names = append(c.params, x), append(names, x.name)
	}
	for line := range strings.Lines(body) {
		line = strings.TrimRight(line, "\n")
		switch at := strings.TrimSpace(line); {
		case at == "", strings.HasPrefix(at, ".loc"), strings.HasPrefix(at, "//"):
			continue
		case strings.HasPrefix(at, ".shared"):
			m := sharedLine.FindStringSubmatch(line)
			if m == nil {
				return nil, fmt.Errorf("%s: %s", p.Entry, at)
			}
			align, _ := strconv.Atoi(m[1])
			size, _ := strconv.Atoi(m[3])
			c.shared[m[2]] = (c.room + align - 1) / align * align
			c.room, names = c.shared[m[2]]+size, append(names, m[2])
			continue
		}
		if strings.Contains(line, "%j") || strings.Contains(line, "J") {
			line = inner.ReplaceAllStringFunc(line, func(name string) string {
				if name[0] == '%' {
					return "%j" + name[1:]
				}
				return "J" + name
			})
		}
		c.lines = append(c.lines, line)
	}
	c.words = append(slices.Clone(names), "tid.", "ctaid.")
	slices.SortFunc(names, func(a, b string) int { return len(b) - len(a) })
	for i, n := range names {
		names[i] = regexp.QuoteMeta(n)
	}
	c.names = regexp.MustCompile(special + `|\b(?:` + strings.Join(append(names, "_"), "|") + `)\b(?:\+\d+)?`)
	return c, c.declarations(before, body)
}

// declarations keeps those variables of the module that the kernel names.
func (c *parcel) declarations(before, body string) error {
	for line := range strings.Lines(before) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, ".visible"):
			return nil // another kernel of the module: what it declares comes first
		case line == "", strings.HasPrefix(strings.TrimSpace(line), "//"), strings.HasPrefix(line, ".version"),
			strings.HasPrefix(line, ".target"), strings.HasPrefix(line, ".address_size"):
			continue
		}
		m := moduleLine.FindStringSubmatch(line)
		if m == nil {
			return fmt.Errorf("declaration %q", line)
		}
		if strings.Contains(body, m[1]) {
			c.outside = append(c.outside, line)
		}
	}
	return nil
}

// A place is where a parcel is put: what stands for its parameters and registers there.
type place struct {
	params  []string // the names of the parameters, or none
	fields  []int    // where there are none: their places behind %j_args
	at      string   // the number of the block, a register
	thread  string   // the number of the thread in the block, a register
	barrier string
	end     string // a label of this place
	reread  bool   // what is read may have been written by other parts of the kernel
}

// put writes the kernel of a part in a scope of its own, at whose end every thread arrives.
func (c *parcel) put(b *strings.Builder, p *Part, to place) error {
	b.WriteString("\t{\n\t.reg .b32 %j_x, %j_y, %j_z, %j_w, %j_tx, %j_ty;\n")
	block := split(b, to.at, p.Grid, [3]string{"%j_x", "%j_y", "%j_z"})
	thread := split(b, to.thread, p.Block, [3]string{"%j_tx", "%j_ty", "%j_w"})
	registers := map[string]string{}
	for i, axis := range []string{"x", "y", "z"} {
		registers["%ctaid."+axis], registers["%tid."+axis] = block[i], thread[i]
		registers["%nctaid."+axis], registers["%ntid."+axis] = integer(p.Grid[i]), integer(p.Block[i])
	}
	var bad error
	for _, line := range c.lines {
		if strings.Contains(line, "mov.") {
			if m := moves.FindStringSubmatch(line); m != nil {
				if moved := c.move(m[1], m[2], m[3], to); moved != "" {
					b.WriteString(moved)
					continue
				}
			}
		}
		if slices.ContainsFunc(c.words, func(word string) bool { return strings.Contains(line, word) }) {
			line = c.names.ReplaceAllStringFunc(line, func(name string) string {
				return c.renamed(name, registers, to)
			})
		}
		if strings.Contains(line, "ret;") {
			line = returns.ReplaceAllString(line, "bra "+to.end+";")
		}
		if strings.Contains(line, "bar.sync") {
			line = barriers.ReplaceAllString(line, to.barrier)
		}
		if to.reread {
			line = strings.ReplaceAll(line, "ld.global.nc.", "ld.global.")
		}
		if strings.Contains(line, "mov.") && addresses.MatchString(line) {
			bad = fmt.Errorf("%s: %s", p.Entry, line)
		}
		b.WriteString(line + "\n")
	}
	b.WriteString(to.end + ":\n\t}\n")
	return bad
}

// renamed is what stands for a special register, a shared variable or a parameter, whose name may end with "+" and an
// offset.
func (c *parcel) renamed(name string, registers map[string]string, to place) string {
	if r, ok := registers[name]; ok {
		return r
	}
	name, off, _ := strings.Cut(name, "+")
	plus, _ := strconv.Atoi(off)
	if at, ok := c.shared[name]; ok {
		return fmt.Sprintf("%%j_shared+%d", at+plus)
	}
	for i, x := range c.params {
		if x.name == name && to.params != nil {
			return fmt.Sprintf("%s+%d", to.params[i], plus)
		} else if x.name == name {
			return fmt.Sprintf("%%j_args+%d", to.fields[i]+plus)
		}
	}
	return name
}

// move writes the address of a shared variable, or of a parameter behind %j_args, to a register; "" for other moves.
func (c *parcel) move(typ, register, name string, to place) string {
	if at, ok := c.shared[name]; ok && strings.HasSuffix(typ, "64") {
		return fmt.Sprintf("\tcvt.u64.u32 %s, %%j_shared;\n\tadd.s64 %s, %s, %d;\n", register, register, register, at)
	} else if ok {
		return fmt.Sprintf("\tadd.s32 %s, %%j_shared, %d;\n", register, at)
	}
	for i, x := range c.params {
		if x.name == name && to.params != nil {
			return fmt.Sprintf("\tmov.%s %s, %s;\n", typ, register, to.params[i])
		} else if x.name == name {
			return fmt.Sprintf("\tadd.s64 %s, %%j_args, %d;\n", register, to.fields[i])
		}
	}
	return ""
}

// split gives the coordinates of a number within extents, x the fastest, as registers or constants.
func split(b *strings.Builder, number string, n [3]int, to [3]string) (c [3]string) {
	last := 2
	for last > 0 && n[last] == 1 {
		c[last] = "0"
		last--
	}
	for i := range last {
		if n[i] == 1 {
			c[i] = "0"
			continue
		}
		next := to[i+1]
		quotient(b, next, number, n[i])
		fmt.Fprintf(b, "\tmad.lo.s32 %s, %s, %d, %s;\n", to[i], next, -n[i], number)
		c[i], number = to[i], next
	}
	c[last] = number
	return c
}

// most is the largest number of blocks of all parts together: products with any divisor among them stay below 2³².
const most = 1 << 15

// quotient divides a number below most by n.
func quotient(b *strings.Builder, to, number string, n int) {
	if n&(n-1) == 0 {
		fmt.Fprintf(b, "\tshr.u32 %s, %s, %d;\n", to, number, log2(n))
		return
	}
	fmt.Fprintf(b, "\tmul.hi.u32 %s, %s, %d;\n", to, number, (1<<32+n-1)/n)
}
