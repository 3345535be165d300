package ptx_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/ptx"
	"bilevel/internal/ptx/arith/exact"
)

// A vector tests one opcode with its suffixes: a kernel of one instruction, inputs, and an oracle that shares nothing
// with the simulator. Values are bits in words of 64.
type vector struct {
	op     string     // "add.rn.f32"
	dst    string     // register class of the result: pred, b16, b32, b64
	src    []string   // register classes of the operands, or "imm:N" for a constant
	in     [][]uint64 // values worth crossing, one list for each operand that is not constant
	others []string   // further opcodes that the body tests
	module []string   // declarations before the kernel; $N is its name
	decl   []string   // further declarations of the kernel
	// instead of "op dst, src…": lines with $D, $a, $b, $c, and scratch registers $T (as $D) and $P, $Q
	body    []string
	inexact bool // an approximation: want holds in the exact mode, near in the pessimistic one
	most    int  // most combinations of inputs; 0: 1024
	recent  bool // of targets after sm_90
	group   int  // with all: threads that work together, 32 or 64
	all     func(rows [][]uint64) []uint64
	want    func(x []uint64) (uint64, bool)
	near    func(x []uint64, got uint64) bool

	loaded *ptx.Module // its text, once it was asked for
}

// load decodes the vector's text.
func (v *vector) load() (_ *ptx.Module, err error) {
	if v.loaded == nil {
		v.loaded, err = ptx.Load(v.op, vectorHeader+v.text("k"))
	}
	return v.loaded, err
}

// prefixes of registers by class; PTX text of a vector declares ten of each.
var prefixes = map[string]string{"pred": "%p", "b16": "%h", "b32": "%r", "b64": "%d"}

const (
	vectorHeader = ".version 8.6\n.target sm_90\n.address_size 64\n"
	recentHeader = ".version 8.8\n.target sm_100a\n.address_size 64\n"
)

// operands lists the registers of the sources, and those that are loaded.
func (v *vector) operands() (names []string, loads [][2]string) {
	for i, class := range v.src {
		if imm, ok := strings.CutPrefix(class, "imm:"); ok {
			names = append(names, imm)
			continue
		}
		names = append(names, fmt.Sprintf("%s%d", prefixes[class], i+1))
		loads = append(loads, [2]string{names[i], class})
	}
	return names, loads
}

// text is the kernel: thread i reads its operands from in and writes its result, zero extended to 64 bits, to out.
// A body may use %r7, the thread's index in the grid, %d8, the address of its operands, and whatever it declares.
func (v *vector) text(name string) string {
	names, loads := v.operands()
	var b strings.Builder
	for _, line := range v.module {
		b.WriteString(strings.ReplaceAll(line, "$N", name) + "\n")
	}
	fmt.Fprintf(&b, ".visible .entry %s(.param .u64 out, .param .u64 in)\n{\n", name)
	b.WriteString(".reg .pred %p<10>;\n.reg .b16 %h<10>;\n.reg .b32 %r<10>;\n.reg .b64 %d<10>;\n")
	for _, line := range v.decl {
		b.WriteString(line + "\n")
	}
	b.WriteString("mov.u32 %r8, %ctaid.x;\nmov.u32 %r9, %ntid.x;\nmov.u32 %r7, %tid.x;\n" +
		"mad.lo.s32 %r7, %r8, %r9, %r7;\n")
	fmt.Fprintf(&b, "ld.param.u64 %%d8, [in];\nmul.wide.u32 %%d9, %%r7, %d;\nadd.s64 %%d8, %%d8, %%d9;\n",
		8*max(1, len(v.in)))
	b.WriteString("ld.param.u64 %d7, [out];\nmul.wide.u32 %d9, %r7, 8;\nadd.s64 %d7, %d7, %d9;\n")
	for i, l := range loads {
		if l[1] == "pred" {
			fmt.Fprintf(&b, "ld.global.u32 %%r9, [%%d8+%d];\nsetp.ne.u32 %s, %%r9, 0;\n", 8*i, l[0])
			continue
		}
		fmt.Fprintf(&b, "ld.global.%s %s, [%%d8+%d];\n", l[1], l[0], 8*i)
	}
	prefix := prefixes[v.dst]
	body := v.body
	if body == nil {
		body = []string{v.op + " $D, " + strings.Join(names, ", ") + ";"}
	}
	words := []string{"$D", prefix + "0", "$T", prefix + "9", "$P", "%p8", "$Q", "%p9", "$N", name}
	for i, n := range names {
		words = append(words, "$"+string(rune('a'+i)), n)
	}
	replace := strings.NewReplacer(words...)
	for _, line := range body {
		b.WriteString(replace.Replace(line) + "\n")
	}
	switch v.dst {
	case "pred":
		b.WriteString("selp.u32 %r0, 1, 0, %p0;\ncvt.u64.u32 %d0, %r0;\n")
	case "b16":
		b.WriteString("cvt.u64.u16 %d0, %h0;\n")
	case "b32":
		b.WriteString("cvt.u64.u32 %d0, %r0;\n")
	}
	b.WriteString("st.global.u64 [%d7], %d0;\nret;\n}\n")
	return b.String()
}

// inputs crosses the lists, all of it where that is short, else a part drawn at random.
func (v *vector) inputs(r *rand.Rand) [][]uint64 {
	most := v.most
	if most == 0 {
		most = 1024
	}
	all := 1
	for _, list := range v.in {
		all *= len(list)
	}
	var rows [][]uint64
	if v.all != nil {
		all = most
	}
	for i := range min(all, most) {
		row := make([]uint64, len(v.in))
		k := i
		for j, list := range v.in {
			if all <= most && v.all == nil {
				row[j] = list[k%len(list)]
				k /= len(list)
			} else {
				row[j] = list[r.IntN(len(list))]
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// run executes the kernel on a machine of the float mode.
func (v *vector) run(mode ptx.FloatMode, rows [][]uint64) ([]uint64, error) {
	mod, err := v.load()
	if err != nil {
		return nil, err
	}
	m := ptx.NewMachine(ptx.Options{Float: mode, Seed: 5, Workers: 1})
	n := (len(rows) + 63) / 64 * 64
	width := max(1, len(v.in))
	var data []byte
	for i := range n {
		for j := range width {
			x := uint64(0)
			if j < len(v.in) {
				x = rows[i%len(rows)][j]
			}
			data = binary.LittleEndian.AppendUint64(data, x)
		}
	}
	in, err := m.Alloc(int64(len(data)), "in")
	if err != nil {
		return nil, err
	}
	out, err := m.Alloc(int64(8*n), "out")
	if err != nil {
		return nil, err
	}
	if err := m.Write(in, data); err != nil {
		return nil, err
	}
	args := [][]byte{binary.LittleEndian.AppendUint64(nil, out), binary.LittleEndian.AppendUint64(nil, in)}
	_, err = m.Run(context.Background(),
		ptx.Launch{Kernel: mod.Kernel("k"), Grid: [3]int{n / 64, 1, 1}, Block: [3]int{64, 1, 1}, Args: args})
	if err != nil {
		return nil, err
	}
	back := make([]byte, 8*n)
	if err := m.Read(out, back); err != nil {
		return nil, err
	}
	results := make([]uint64, len(rows))
	for i := range results {
		results[i] = binary.LittleEndian.Uint64(back[8*i:])
	}
	return results, nil
}

// check runs the vector and compares.
func (v *vector) check(t *testing.T) {
	t.Helper()
	defer func() { v.loaded = nil }() // there are thousands
	rows := v.inputs(rand.New(rand.NewPCG(7, uint64(len(v.op)))))
	got, err := v.run(ptx.Exact, rows)
	if err != nil {
		t.Errorf("%s: %v", v.op, err)
		return
	}
	if v.all != nil {
		for i := 0; i < len(rows); i += v.group {
			if want := v.all(rows[i : i+v.group]); !slices.Equal(want, got[i:i+v.group]) {
				t.Errorf("%s %s of %#x is %#x, want %#x", v.op, v.decl, rows[i:i+v.group], got[i:i+v.group], want)
				return
			}
		}
		return
	}
	for i, row := range rows {
		if want, ok := v.want(row); ok && want != got[i] {
			t.Errorf("%s of %#x is %#x, want %#x", v.op, row, got[i], want)
			return
		}
	}
	if !v.inexact {
		return
	}
	got, err = v.run(ptx.Pessimistic, rows)
	require.NoError(t, err)
	moved := 0
	for i, row := range rows {
		want, ok := v.want(row)
		if ok && want != got[i] {
			moved++
			if !v.near(row, got[i]) {
				t.Errorf("%s of %#x is %#x in pessimistic mode: too far from %#x", v.op, row, got[i], want)
				return
			}
		}
	}
	if moved == 0 {
		t.Errorf("%s: the pessimistic mode moved nothing", v.op)
	}
}

// A writer makes the vector of an opcode and its suffixes; ok is false for those it does not know.
type writer func(op string, mods []string) (*vector, bool)

// writers by opcode.
func writers() map[string]writer {
	all := map[string]writer{}
	for _, part := range []map[string]writer{recentWriters(), integerWriters(), bitWriters(), floatWriters(),
		compareWriters(), convertWriters(), moveWriters()} {
		for op, w := range part {
			if before := all[op]; before != nil {
				first := before
				all[op] = func(op string, mods []string) (*vector, bool) {
					if v, ok := first(op, mods); ok {
						return v, ok
					}
					return w(op, mods)
				}
				continue
			}
			all[op] = w
		}
	}
	return all
}

// slotsOf splits a row of the instruction table; an optional slot has the empty word.
func slotsOf(row string) (op string, slots [][]string) {
	fields := strings.Fields(row)
	for _, f := range fields[1:] {
		f, optional := strings.CutSuffix(f, "?")
		words := strings.Split(f, "|")
		if optional {
			words = append([]string{""}, words...)
		}
		slots = append(slots, words)
	}
	return fields[0], slots
}

// expand lists the suffix combinations of a row of the instruction table.
func expand(row string) (op string, combinations [][]string) {
	op, slots := slotsOf(row)
	combinations = [][]string{nil}
	for _, words := range slots {
		var next [][]string
		for _, c := range combinations {
			for _, w := range words {
				d := slices.Clone(c)
				if w != "" {
					d = append(d, w)
				}
				next = append(next, d)
			}
		}
		combinations = next
	}
	return op, combinations
}

// accepted says whether the simulator decodes the vector's text.
func (v *vector) accepted() bool {
	module, err := v.load()
	if err == nil {
		err = module.Kernel("k").Err()
	}
	if err != nil {
		v.loaded = nil
	}
	return err == nil
}

// vectors makes the vector of every combination of opcode and suffixes that a writer knows; missing lists those of the
// writer's opcodes that it does not know.
func vectors() (list []*vector, missing []string) {
	all := writers()
	seen := map[string]bool{}
	for _, row := range ptx.Opcodes() {
		w := all[strings.Fields(row)[0]]
		if w == nil {
			continue
		}
		op, combinations := expand(row)
		for _, mods := range combinations {
			name := strings.Join(append([]string{op}, mods...), ".")
			if seen[name] {
				continue
			}
			seen[name] = true
			v, ok := w(op, mods)
			if !ok {
				missing = append(missing, name)
				continue
			}
			v.op = name
			list = append(list, v)
		}
	}
	return list, missing
}

// ownVectors are those that are not made from the instruction table.
func ownVectors() []*vector {
	return slices.Concat(memoryVectors(), constantVectors(), warpVectors(), quietVectors(), controlVectors(),
		addressVectors(), asyncVectors(),
		specialVectors(), packVectors(), recentVectors(), objectVectors(), matrixVectors(ptx.Opcodes()), wmmaVectors())
}

// has says whether mods holds the word, last is the type of the instruction.
func has(mods []string, word string) bool { return slices.Contains(mods, word) }

func last(mods []string) string {
	if len(mods) == 0 {
		return ""
	}
	return mods[len(mods)-1]
}

func TestInstructionVectors(t *testing.T) {
	list, _ := vectors()
	run := 0
	for _, v := range list {
		if v.accepted() {
			run++
			v.check(t)
		}
	}
	t.Logf("%d of %d combinations are instructions", run, len(list))
	require.Greater(t, run, 3000)
}

func TestOtherInstructionVectors(t *testing.T) {
	list := ownVectors()
	for _, v := range list {
		v.check(t)
	}
	t.Logf("%d vectors", len(list))
}

// Every opcode and suffix that the table accepts has a vector: those of writers by construction, loads, stores and
// atomics, whose suffixes combine in millions of ways, word by word, all others one by one.
func TestEveryOpcodeHasAVector(t *testing.T) {
	_, missing := vectors()
	require.Empty(t, missing)
	tested, words := map[string]bool{}, map[string]bool{}
	for _, v := range ownVectors() {
		for _, name := range append([]string{v.op}, v.others...) {
			tested[name] = true
			op, _, _ := strings.Cut(name, ".")
			for _, w := range strings.Split(name, ".") {
				words[op+" "+w] = true
			}
		}
	}
	elsewhere := map[string]string{
		"trap": "TestTrap",
	}
	all := writers()
	for _, row := range ptx.Opcodes() {
		op := strings.Fields(row)[0]
		switch {
		case all[op] != nil:
		case slices.Contains([]string{"ld", "ldu", "st", "atom", "red"}, op):
			_, slots := slotsOf(row)
			for _, slot := range slots {
				for _, w := range slot {
					if w != "" && !words[op+" "+w] && elsewhere[op+" "+w] == "" {
						t.Errorf("no vector of %s has .%s", op, w)
					}
				}
			}
		default:
			_, combinations := expand(row)
			for _, mods := range combinations {
				name := strings.Join(append([]string{op}, mods...), ".")
				if !tested[name] && elsewhere[op] == "" {
					t.Errorf("no vector of %s", name)
				}
			}
		}
	}
}

// registerClass is where a value of the type lives.
func registerClass(typ string) string {
	switch typ {
	case "pred":
		return "pred"
	case "f16x2", "bf16x2", "u16x2", "s16x2", "tf32":
		return "b32"
	case "e4m3x2", "e5m2x2":
		return "b16"
	}
	switch strings.TrimLeft(typ, "bufsx") {
	case "8", "16":
		return "b16"
	case "32":
		return "b32"
	}
	return "b64"
}

// sizeOf is the number of bits of a type.
func sizeOf(typ string) uint {
	switch typ {
	case "f16x2", "bf16x2", "u16x2", "s16x2", "tf32":
		return 32
	}
	n, _ := strconv.Atoi(strings.TrimLeft(typ, "bufs"))
	return uint(n)
}

// formatOf is the format of a floating-point type, and whether two numbers share a register.
func formatOf(typ string) (f exact.Format, two, ok bool) {
	typ, two = strings.CutSuffix(typ, "x2")
	f, ok = formats[typ]
	return f, two, ok
}

var formats = map[string]exact.Format{"f16": exact.F16(), "bf16": exact.BF16(), "f32": exact.F32(), "f64": exact.F64()}
