package syntax

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"bilevel/internal/cputime"

	"github.com/stretchr/testify/require"
)

const header = ".version 8.2\n.target sm_80\n.address_size 64\n"

func parse(t *testing.T, text string) *Module {
	t.Helper()
	m, err := Parse("t.ptx", header+text)
	require.NoError(t, err)
	return m
}

// body parses the body of a kernel k(.param .u64 p) with some registers.
func body(t *testing.T, text string) *Func {
	t.Helper()
	m := parse(t, ".visible .entry k(.param .u64 p)\n{\n.reg .b32 %r<9>; .reg .b64 %rd<3>; .reg .pred %p<3>;\n"+
		text+"\n}")
	require.Len(t, m.Funcs, 1)
	return m.Funcs[0]
}

func TestHeader(t *testing.T) {
	m, err := Parse("t.ptx", "// a comment\n/* another\n one */ .version 8.2\n.target sm_90a, debug\n"+
		".address_size 64\n.file 7 \"a b.cu\", 123, 45\n\x00")
	require.NoError(t, err)
	require.Equal(t, &Module{Version: "8.2", Target: []string{"sm_90a", "debug"}, AddressSize: 64,
		Files: map[int]string{7: "a b.cu"}}, m)
	m, err = Parse("t.ptx", ".version 7.0 .target sm_75")
	require.NoError(t, err)
	require.Equal(t, 32, m.AddressSize, "PTX ISA 11.1.3: the default")
}

func integer(v int64) Operand  { return Operand{Kind: Integer, Bits: uint64(v)} }
func reg(name string) Operand  { return Operand{Kind: Register, Name: name} }
func vec(o ...Operand) Operand { return Operand{Kind: Vector, List: o} }

func TestOperands(t *testing.T) {
	for text, want := range map[string]Operand{
		"%r1": reg("%r1"), "%tid.x": reg("%tid.x"), "%laneid": reg("%laneid"), "_": reg("_"), "%r99": reg("%r99"),
		"!%p1":    {Kind: Register, Name: "%p1", Not: true},
		"-%r1":    {Kind: Register, Name: "%r1", Minus: true},
		"p":       {Kind: Symbol, Name: "p"},
		"p+4":     {Kind: Symbol, Name: "p", Offset: 4},
		"p+-4":    {Kind: Symbol, Name: "p", Offset: -4},
		"p-4+1":   {Kind: Symbol, Name: "p", Offset: -3},
		"other":   {Kind: Symbol, Name: "other"},
		"0":       integer(0),
		"12":      integer(12),
		"12U":     integer(12),
		"-12":     integer(-12),
		"0x1F":    integer(31),
		"0xffU":   integer(255),
		"0X1e":    integer(30),
		"017":     integer(15),
		"0b101":   integer(5),
		"~0":      integer(-1),
		"!7":      integer(0),
		"!0":      integer(1),
		"1<<3":    integer(8),
		"-8>>1":   integer(-4),
		"1+2*3":   integer(7),
		"2*3+1":   integer(7),
		"9-3-2":   integer(4),
		"7 % 4/2": integer(1),
		"6&3|8":   integer(10),
		"6^3":     integer(5),
		"(1<<3)":  integer(8),

		"WARP_SZ":                integer(32),
		"WARP_SZ-1":              integer(31),
		"9223372036854775808":    integer(math.MinInt64),
		"-9223372036854775808":   integer(math.MinInt64),
		"18446744073709551615":   integer(-1),
		"-81985529216486896":     integer(-81985529216486896),
		"2*(3+1)":                integer(8),
		"0f3F800000":             {Kind: Float32, Bits: 0x3f800000},
		"0FBf800000":             {Kind: Float32, Bits: 0xbf800000},
		"-0f3F800000":            {Kind: Float32, Bits: 0xbf800000},
		"0d3FF0000000000000":     {Kind: Float64, Bits: 0x3ff0000000000000},
		"1.5":                    {Kind: Float64, Bits: math.Float64bits(1.5)},
		"-1.5e-3":                {Kind: Float64, Bits: math.Float64bits(-1.5e-3)},
		"1e5":                    {Kind: Float64, Bits: math.Float64bits(1e5)},
		"1.":                     {Kind: Float64, Bits: math.Float64bits(1)},
		"[%rd1]":                 {Kind: Address, Name: "%rd1"},
		"[%rd1+16]":              {Kind: Address, Name: "%rd1", Offset: 16},
		"[%rd1+-16]":             {Kind: Address, Name: "%rd1", Offset: -16},
		"[%rd1+(-16)]":           {Kind: Address, Name: "%rd1", Offset: -16},
		"[%rd1+4*3]":             {Kind: Address, Name: "%rd1", Offset: 12},
		"[ p + 0x8 ]":            {Kind: Address, Name: "p", Offset: 8},
		"[other]":                {Kind: Address, Name: "other"},
		"[16]":                   {Kind: Address, Offset: 16},
		"[tex, {%r1, %r2}]":      {Kind: Address, Name: "tex", List: []Operand{vec(reg("%r1"), reg("%r2"))}},
		"{%r1, _, 3}":            vec(reg("%r1"), reg("_"), integer(3)),
		"{{%r1}, {}}":            vec(vec(reg("%r1")), vec()),
		"%r1|%p1":                {Kind: Pair, List: []Operand{reg("%r1"), reg("%p1")}},
		"_ | %p2":                {Kind: Pair, List: []Operand{reg("_"), reg("%p2")}},
		"(%r1, %r2)":             {Kind: List, List: []Operand{reg("%r1"), reg("%r2")}},
		"/* c */ %r1 // comment": reg("%r1"),
	} {
		f := body(t, "foo.bar "+text+"\n;")
		require.Equal(t, Instr{Op: "foo", Mods: []string{"bar"}, Args: []Operand{want}, Line: 7}, f.Body[0], text)
		again := body(t, f.Body[0].String()+";")
		require.Equal(t, f.Body[0], again.Body[0], text)
	}
}

func TestStatements(t *testing.T) {
	f := body(t,
		`L0: @%p1 ld.global.nc.L1::no_allocate.L2::128B.v4.f32 {%r1,%r2,%r3,%r4}, [%rd1]; @!%p2 bra L0; $L__BB0_1:
tex.2d .v4.f32.s32 ret; bra.uni end;
M: M2: bar.sync 0;
end:`)
	require.Equal(t, []string{
		"@%p1 ld.global.nc.L1::no_allocate.L2::128B.v4.f32 {%r1, %r2, %r3, %r4}, [%rd1]", "@!%p2 bra L0",
		"tex.2d.v4.f32.s32 ret", "bra.uni end", "bar.sync 0",
	}, texts(f))
	require.Equal(t, []string{"global", "nc", "L1::no_allocate", "L2::128B", "v4", "f32"}, f.Body[0].Mods)
	require.Equal(t, map[string]int{"L0": 0, "$L__BB0_1": 2, "M": 4, "M2": 4, "end": 5}, f.Labels)
	require.Equal(t, []int{7, 7, 8, 8, 9},
		[]int{f.Body[0].Line, f.Body[1].Line, f.Body[2].Line, f.Body[3].Line, f.Body[4].Line})
	require.Nil(t, f.Body[0].Loc)
	f.Body[0].Mods = append(f.Body[0].Mods, "x") // slices of neighbours are apart
	f.Body[0].Args = append(f.Body[0].Args, reg("x"))
	require.Equal(t, "bra L0", f.Body[1].String()[6:])
	require.Equal(t, "tex.2d.v4.f32.s32 ret", f.Body[2].String())
}

func texts(f *Func) []string {
	var s []string
	for i := range f.Body {
		s = append(s, f.Body[i].String())
	}
	return s
}

// Inline assembly repeats the same names in scopes of its own.
func TestNestedScopes(t *testing.T) {
	f := body(t, `.reg .b32 t;
{ .reg .pred q; .reg .b32 t, u<3>; setp.ne.b32 q, t, u2; @q bra DONE; LOOP: @!q bra LOOP;
  { .reg .b32 t; mov.b32 t, u1; bra DONE; } DONE: }
{ .reg .pred q; .param .b32 a; st.param.b32 [a+0], t; @q bra DONE; DONE: bra OUT; mov.b32 %r1, %r8; }
{ .reg .b32 %r<2>; mov.b32 %r1, %r2; mov.b32 t.x, s; .shared .b32 s; mov.u32 t, s; }
OUT: mov.b32 t, u2;`)
	require.Equal(t, []string{
		"setp.ne.b32 q$1, t$1, u$1_2", "@q$1 bra DONE$1", "@!q$1 bra LOOP$1", "mov.b32 t$2, u$1_1", "bra DONE$1",
		"st.param.b32 [a$3], t", "@q$3 bra DONE$3", "bra OUT", "mov.b32 %r1, %r8",
		"mov.b32 %r$4_1, %r2", "mov.b32 t.x, s", "mov.u32 t, s$4",
		"mov.b32 t, u2",
	}, texts(f))
	require.Equal(t, map[string]int{"LOOP$1": 2, "DONE$1": 5, "DONE$3": 7, "OUT": 12}, f.Labels)
	var names []string
	for _, v := range f.Vars[3:] {
		names = append(names, fmt.Sprint(v.Space, " ", v.Type, " ", v.Name, " ", v.Count))
	}
	require.Equal(t, []string{
		"reg b32 t 0", "reg pred q$1 0", "reg b32 t$1 0", "reg b32 u$1_ 3", "reg b32 t$2 0", "reg pred q$3 0",
		"param b32 a$3 0",
		"reg b32 %r$4_ 2", "shared b32 s$4 0",
	}, names)
	require.Equal(t, Register, f.Body[12].Args[0].Kind)
	require.Equal(t, Symbol, f.Body[12].Args[1].Kind, "u2 was declared in a scope that is closed")
	require.Equal(t, Address, f.Body[5].Args[0].Kind)

	// A name of the text may look like one made for a scope.
	f = body(t, `.reg .b32 t$1; { .reg .b32 t; mov.b32 t, t$1; } { .reg .b32 t$1; mov.b32 t$1, 0; }`)
	require.Equal(t, []string{"mov.b32 t$1$, t$1", "mov.b32 t$1$2, 0"}, texts(f))
}

func TestRegisterSets(t *testing.T) {
	f := body(t, `.reg .b32 a1<3>, a<20>; .reg .v4 .f32 v; op a10, a12, a13, a19, a20, a01, a0, a12.x, v.y, v;`)
	kinds := ""
	for _, o := range f.Body[0].Args {
		kinds += fmt.Sprint(o.Kind)
	}
	// a20 and a01 are no registers
	require.Equal(t, "0000110000", kinds)
	require.Equal(t, 4, f.Vars[len(f.Vars)-1].Vector)
}

func TestCalls(t *testing.T) {
	m := parse(t, `
.extern .func (.param .b32 r) vprintf(.param .b64 a, .param .b64 b);
.func (.param .align 8 .b8 out[24]) make(.param .b32 n) .noreturn;
.weak .func side(.reg .b32 x) { mov.b32 x, x; ret; }
.entry k {
{ // callseq 0, 0
.param .b32 param0; .param .align 8 .b8 retval0[24];
call.uni (retval0),
make,
(
param0
);
}
{ .param .b32 param0; .reg .b64 %rd<2>;
proto : .callprototype (.param .b32 _) _ (.param .b32 _, .param .align 4 .b8 _[12]) .noreturn;
call (param0), %rd1, (param0), proto;
call side, (1); call side;
ts: .branchtargets A, B;
A: brx.idx param0, ts;
B: }
}`)
	require.Equal(t, []string{
		"call.uni (retval0$1), make, (param0$1)", "call (param0$2), %rd$2_1, (param0$2), proto$2",
		"call side, (1)", "call side", "brx.idx param0$2, ts$2",
	}, texts(m.Funcs[3]))
	proto := m.Funcs[3].Prototypes["proto$2"]
	require.Equal(t, []*Var{{Space: Param, Type: "b32", Vector: 1, Name: "_", Line: 18}}, proto.Results)
	require.Equal(t, &Var{Space: Param, Type: "b8", Vector: 1, Name: "_", Dims: []int{12}, Align: 4, Line: 18},
		proto.Params[1])
	require.True(t, proto.NoReturn)
	require.Equal(t, map[string][]string{"ts$2": {"A$2", "B$2"}}, m.Funcs[3].Targets)
	require.Equal(t, map[string]int{"A$2": 4, "B$2": 5}, m.Funcs[3].Labels)
	require.True(t, m.Funcs[0].Extern && m.Funcs[0].Declared && m.Funcs[1].Declared && m.Funcs[1].NoReturn &&
		m.Funcs[2].Weak)
	require.Equal(t, 24, m.Funcs[1].Results[0].Size())
	require.Nil(t, m.Funcs[0].Body)
	require.NotNil(t, m.Funcs[3].Body)
	require.True(t, m.Funcs[3].Entry)
	require.Equal(t, Register, m.Funcs[2].Body[0].Args[0].Kind)
}

func TestEntry(t *testing.T) {
	m := parse(t, `.visible .entry k(
	.param .u64 .ptr .global .align 16 a, .param .align 8 .b8 b[24],
	.param .v4 .f32 c, .param .u64 .ptr d)
.maxntid 128, 2 .reqntid 32 .minnctapersm 2 .maxnreg 64 .pragma "x", "y";
{ .pragma "nounroll"; ret; }`)
	f := m.Funcs[0]
	line := f.Line + 1
	require.Equal(t, []*Var{
		{Space: Param, Type: "u64", Vector: 1, Name: "a", Line: line},
		{Space: Param, Type: "b8", Vector: 1, Name: "b", Dims: []int{24}, Align: 8, Line: line},
		{Space: Param, Type: "f32", Vector: 4, Name: "c", Line: line + 1},
		{Space: Param, Type: "u64", Vector: 1, Name: "d", Line: line + 1},
	}, f.Params)
	require.Equal(t, [3]int{128, 2, 1}, f.MaxThreads)
	require.Equal(t, [3]int{32, 1, 1}, f.ReqThreads)
	require.Equal(t, []int{2, 64}, []int{f.MinBlocks, f.MaxRegs})
	require.True(t, f.Visible && f.Entry && !f.Declared)
	require.Equal(t, []int{8, 24, 16, 8},
		[]int{f.Params[0].Size(), f.Params[1].Size(), f.Params[2].Size(), f.Params[3].Size()})
}

func TestVariables(t *testing.T) {
	f32 := func(v ...float32) (list []Init) {
		for _, x := range v {
			list = append(list, Init{Bits: uint64(math.Float32bits(x))})
		}
		return list
	}
	ints := func(v ...int64) (list []Init) {
		for _, x := range v {
			list = append(list, Init{Bits: uint64(x)})
		}
		return list
	}
	for text, want := range map[string]Var{
		".global .align 4 .u32 x": {Space: Global, Type: "u32", Vector: 1, Align: 4},
		".extern .shared .align 16 .b8 x[]": {Space: Shared, Type: "b8", Vector: 1, Align: 16, Dims: []int{-1},
			Extern: true},
		".visible .const .f64 x = 0f3FC00000": {Space: Const, Type: "f64", Vector: 1, Visible: true,
			Init: ints(int64(math.Float64bits(1.5)))},
		".weak .global .attribute(.managed) .u32 x = -7": {Space: Global, Type: "u32", Vector: 1, Weak: true,
			Init: ints(-7)},
		".common .global .f32 x = 0f7FC00001": {Space: Global, Type: "f32", Vector: 1, Weak: true,
			Init: ints(0x7fc00001)},
		".global .f32 x[2] = {1.5, -2e3}": {Space: Global, Type: "f32", Vector: 1, Dims: []int{2},
			Init: f32(1.5, -2000)},
		".global .b32 x = 0d3FF8000000000000": {Space: Global, Type: "b32", Vector: 1, Init: f32(1.5)},
		".global .f64 x = -1.5": {Space: Global, Type: "f64", Vector: 1,
			Init: ints(int64(math.Float64bits(-1.5)))},
		".global .b8 x[4] = {1, 2}": {Space: Global, Type: "b8", Vector: 1, Dims: []int{4},
			Init: ints(1, 2)},
		".global .b8 x[4] = {}": {Space: Global, Type: "b8", Vector: 1, Dims: []int{4},
			Init: []Init{}},
		".global .s16 x[] = {1, -2, 3}": {Space: Global, Type: "s16", Vector: 1, Dims: []int{3},
			Init: ints(1, -2, 3)},
		".global .u32 x[2][3] = {{1}, {4, 5, 6}}": {Space: Global, Type: "u32", Vector: 1, Dims: []int{2, 3},
			Init: ints(1, 0, 0, 4, 5, 6)},
		".global .u32 x[2][2][2] = {{{1}}, {{5, 6}, {7}}}": {Space: Global, Type: "u32", Vector: 1,
			Dims: []int{2, 2, 2}, Init: ints(1, 0, 0, 0, 5, 6, 7)},
		".global .v2 .f32 x[2] = {{1.0, 2.0}, {3.0}}": {Space: Global, Type: "f32", Vector: 2, Dims: []int{2},
			Init: f32(1, 2, 3)},
		".global .u64 x[3] = {generic(y)+12, y+4, 0}": {Space: Global, Type: "u64", Vector: 1, Dims: []int{3},
			Init: []Init{{Symbol: "y", Offset: 12, Generic: true}, {Symbol: "y", Offset: 4}, {}}},
		".global .u64 x = generic": {Space: Global, Type: "u64", Vector: 1,
			Init: []Init{{Symbol: "generic"}}},
		".const .u8 x[2] = {WARP_SZ, (1<<4)|2 /* or so */}": {Space: Const, Type: "u8", Vector: 1, Dims: []int{2},
			Init: ints(32, 18)},
		".shared .align 8 .v4 .b16 x[3]\n[5]\n\n// done\n  \n": {Space: Shared, Type: "b16", Vector: 4, Align: 8,
			Dims: []int{3, 5}},
	} {
		m := parse(t, text+";")
		want.Name, want.Line = "x", 4
		require.Equal(t, []*Var{&want}, m.Vars, text)
	}
	m := parse(t, ".global .u32 x, y = 3, z[2];")
	require.Equal(t, "xyz", m.Vars[0].Name+m.Vars[1].Name+m.Vars[2].Name)
	require.Equal(t, []int{4, 4, 8}, []int{m.Vars[0].Size(), m.Vars[1].Size(), m.Vars[2].Size()})
}

// Names of files and functions stand at the end of a text; the same place inlined twice leads to the latest.
func TestLocations(t *testing.T) {
	m := parse(t, `.entry k { ret;
.loc 1 10 2
a;
.loc 1 20 5, function_name $L__info_string0, inlined_at 1 10 2
.loc 2 30 7, function_name $L__info_string0 + 3, inlined_at 1 20 5
b;
.loc 1 11 2
.loc 1 20 5, function_name $L__info_string0, inlined_at 1 11 2
c;
.loc 2 30 7, function_name $L__info_string1, inlined_at 1 20 5
d;
.loc 3 1 1, inlined_at 1 99 1
e;
}
.entry l { a; .loc 2 7 0, inlined_at 1 20 5
f; }
.file 1 "k.cu"
.file 2 "h.cuh"
.section .debug_abbrev { .b8 1,2 .b8 3 { .b32 x } }
.section .debug_str
{
$L__info_string0:
.b8 102,111,111,95
.b8 98,0
$L__info_string1: .b8 103,0
}`)
	kernel := &Loc{File: "k.cu", Line: 10, Column: 2}
	inlined := func(f string, at *Loc) *Loc {
		return &Loc{File: "k.cu", Line: 20, Column: 5, Function: f, Inlined: at}
	}
	kernel11 := &Loc{File: "k.cu", Line: 11, Column: 2}
	body := m.Funcs[0].Body
	require.Nil(t, body[0].Loc)
	require.Equal(t, kernel, body[1].Loc)
	require.Equal(t, &Loc{"h.cuh", 30, 7, "_b", inlined("foo_b", kernel)}, body[2].Loc)
	require.Equal(t, inlined("foo_b", kernel11), body[3].Loc)
	require.Equal(t, &Loc{"h.cuh", 30, 7, "g", inlined("foo_b", kernel11)}, body[4].Loc)
	require.Equal(t, &Loc{"", 1, 1, "", &Loc{File: "k.cu", Line: 99, Column: 1}}, body[5].Loc,
		"a place without a .loc of its own")
	require.Nil(t, m.Funcs[1].Body[0].Loc, "places of the function before are forgotten")
	require.Equal(t, &Loc{"h.cuh", 7, 0, "", &Loc{File: "k.cu", Line: 20, Column: 5}}, m.Funcs[1].Body[1].Loc)
}

// hostile are texts made to hurt, about n bytes long.
func hostile(n int) map[string]string {
	many := func(s string) string { return strings.Repeat(s, n/len(s)) }
	in := func(s string) string { return header + ".entry k { .reg .b32 r<9>; " + s }
	return map[string]string{
		"open scopes":      in(many("{")),
		"open vectors":     in("mov " + many("{")),
		"open lists":       in("mov " + many("(")),
		"signs":            in("mov " + many("-")),
		"parentheses":      in("mov 1+" + many("(")),
		"braces of values": header + ".global .u8 x[1] = " + many("{"),
		"comment":          header + many("/*"),
		"digits":           in("mov r" + many("1") + ";}"),
		"zeros":            in("mov r" + many("0") + ";}"),
		"suffixes":         in("mov" + many(".x") + ";}"),
		"scopes":           in(many("{.reg .b32 t; L: bra L; bra M;}") + "M: }"),
		"nested":           in(strings.Repeat("{", 190) + many("bra L;") + strings.Repeat("}", 190) + "}"),
		"names":            in(many("{.reg .b32 t;{.reg .b32 t;} .reg .b32 t$1;}") + "}"),
		"locs":             in(many(".loc 1 1 1, inlined_at 1 1 1\n") + "}"),
		"sum":              in("mov p" + many("+1") + ";}"),
		"braces":           header + ".section .x {" + many("{"),
		"labels":           header + ".section .debug_str { " + many("a: ") + "}",
		"short rows":       header + ".global .u8 x[100000][30000] = {" + many("{},") + "{}};",
		"dimensions":       header + ".global .u8 x" + many("[1]") + ";",
		"huge rows":        header + ".global .u8 x[2][2147483648] = {{1}, {2}};",
	}
}

// Such texts take time in proportion to their length, and no stack. Processor time is compared, which other work on the
// machine changes little: eight times the text may take 32 times as long, where a quadratic algorithm takes 64, and a
// tenth of a second is nothing.
func TestHostileTextsAreFast(t *testing.T) {
	const n, times = 1 << 20, 8
	seconds := func(name, text string) float64 {
		begin := cputime.Seconds()
		if _, err := Parse(name, text); err != nil {
			require.IsType(t, &Error{}, err, name)
		}
		return cputime.Seconds() - begin
	}
	short := hostile(n / times)
	for name, text := range hostile(n) {
		require.Less(t, seconds(name, text), 0.1+4*times*seconds(name, short[name]), name)
	}
}
