package syntax

import (
	"fmt"
	"strconv"
	"strings"
)

// String writes the instruction as PTX, on one line without the semicolon, for messages.
func (in *Instr) String() string {
	var b strings.Builder
	switch {
	case in.Negate:
		b.WriteString("@!" + in.Guard + " ")
	case in.Guard != "":
		b.WriteString("@" + in.Guard + " ")
	}
	b.WriteString(in.Op)
	for _, m := range in.Mods {
		b.WriteString("." + m)
	}
	if len(in.Args) > 0 {
		b.WriteString(" " + join(in.Args, ", "))
	}
	return b.String()
}

// join writes operands with sep between them.
func join(list []Operand, sep string) string {
	s := make([]string, len(list))
	for i, o := range list {
		s[i] = o.String()
	}
	return strings.Join(s, sep)
}

// brackets of the kinds with a List.
var brackets = map[Kind][3]string{Vector: {"{", ", ", "}"}, Pair: {"", "|", ""}, List: {"(", ", ", ")"}}

// String writes the operand as PTX.
func (o Operand) String() string {
	sign := ""
	switch {
	case o.Not:
		sign = "!"
	case o.Minus:
		sign = "-"
	}
	switch o.Kind {
	case Integer:
		return strconv.FormatInt(int64(o.Bits), 10)
	case Float32:
		return fmt.Sprintf("0f%08X", o.Bits)
	case Float64:
		return fmt.Sprintf("0d%016X", o.Bits)
	case Address:
		inside := plus(o.Name, o.Offset)
		if len(o.List) > 0 {
			inside += ", " + join(o.List, ", ")
		}
		return "[" + inside + "]"
	case Vector, Pair, List:
		b := brackets[o.Kind]
		return b[0] + join(o.List, b[1]) + b[2]
	}
	return sign + plus(o.Name, o.Offset)
}

// plus writes name+offset, or the offset alone.
func plus(name string, offset int64) string {
	switch {
	case name == "":
		return strconv.FormatInt(offset, 10)
	case offset == 0:
		return name
	}
	return name + "+" + strconv.FormatInt(offset, 10)
}
