package syntax

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// real returns the PTX texts of compilers that the repository has.
func real(t testing.TB) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, pattern := range []string{"testdata/*.ptx", "../testdata/ptx/*.ptx"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, file := range files {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			texts[file] = string(text)
		}
	}
	require.NotEmpty(t, texts)
	return texts
}

// bare forgets the places of the text and the order in which printing changes it.
func bare(m *Module) *Module {
	c := *m
	c.Files = map[int]string{}
	c.Funcs = nil
	clear := func(vars []*Var) {
		for _, v := range vars {
			v.Line = 0
		}
	}
	clear(c.Vars)
	for _, declared := range []bool{true, false} {
		for _, f := range m.Funcs {
			if f.Declared != declared {
				continue
			}
			f.Line = 0
			clear(f.Results)
			clear(f.Params)
			clear(f.Vars)
			for _, p := range f.Prototypes {
				p.Line = 0
				clear(p.Results)
				clear(p.Params)
			}
			for i := range f.Body {
				f.Body[i].Line, f.Body[i].Loc = 0, nil
			}
			c.Funcs = append(c.Funcs, f)
		}
	}
	return &c
}

// What is printed reads back as the same tree.
func TestPrintedTextsReadBack(t *testing.T) {
	for name, text := range real(t) {
		m, err := Parse(name, text)
		require.NoError(t, err)
		printed := print(m)
		again, err := Parse("printed "+name, printed)
		require.NoError(t, err)
		require.Equal(t, bare(m), bare(again), name)
	}
}

// NVIDIA's assembler takes the printed texts, so names of nested scopes, initialisers and operands mean something.
func TestPtxasTakesPrintedTexts(t *testing.T) {
	ptxas, err := exec.LookPath("ptxas")
	if err != nil || testing.Short() {
		t.Skip("no ptxas in PATH, or -short")
	}
	for name, text := range real(t) {
		m, err := Parse(name, text)
		require.NoError(t, err)
		if m.Target[0] == "sm_90" || strings.Contains(text, "vprintf") {
			continue
		}
		m.Target = m.Target[:1] // no debug: its sections are not printed
		file := filepath.Join(t.TempDir(), "printed.ptx")
		require.NoError(t, os.WriteFile(file, []byte(print(m)), 0o666))
		out, err := exec.Command(ptxas, "-O0", "-arch="+m.Target[0], "-o", os.DevNull, file).CombinedOutput()
		require.NoError(t, err, "%s: %s", name, out)
	}
}

// The instructions of a text are as many as its lines with a semicolon that are no declaration or directive.
func TestCountsOfConstructs(t *testing.T) {
	for _, file := range []string{"testdata/constructs_nvcc13.ptx", "testdata/constructs_nvrtc12.ptx"} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		m, err := Parse(file, string(text))
		require.NoError(t, err)
		statements := 0
		for _, line := range strings.Split(string(text), "\n") {
			line, _, _ = strings.Cut(line, "//")
			for _, s := range strings.Split(line, ";") {
				s = strings.Trim(s, " \t{}")
				if strings.HasPrefix(s, "@") || s != "" && s[0] >= 'a' && s[0] <= 'z' &&
					!strings.HasPrefix(s, "prototype_") {
					statements++
				}
			}
		}
		// arguments of calls, on lines of their own
		params := strings.Count(string(text), "\n\tparam") + strings.Count(string(text), "\nparam")
		body := 0
		for _, f := range m.Funcs {
			body += len(f.Body)
		}
		require.Equal(t, statements-params, body, file)
	}
}

func find(t testing.TB, m *Module, name string) *Func {
	t.Helper()
	for _, f := range m.Funcs {
		if f.Name == name && !f.Declared {
			return f
		}
	}
	t.Fatalf("no function %s", name)
	return nil
}

// A shuffle inside two inlined functions leads to the line of the kernel.
func TestInlinedAtLeadsToTheKernel(t *testing.T) {
	text, err := os.ReadFile("testdata/constructs_nvcc13.ptx")
	require.NoError(t, err)
	m, err := Parse("constructs.ptx", string(text))
	require.NoError(t, err)
	require.Equal(t, "constructs.cu", m.Files[1])
	source, err := os.ReadFile("testdata/constructs.cu")
	require.NoError(t, err)
	lines := strings.Split(string(source), "\n")
	found := 0
	for _, in := range find(t, m, "kern").Body {
		require.NotNil(t, in.Loc)
		if in.Op != "shfl" {
			continue
		}
		found++
		require.Equal(t, "include/sm_30_intrinsics.hpp", in.Loc.File)
		require.Contains(t, in.Loc.Function, "__shfl_xor_sync")
		middle := in.Loc.Inlined
		require.Equal(t, "_Z4tinlILi3EEff", middle.Function)
		require.Contains(t, lines[middle.Line-1], "__shfl_xor_sync(0xffffffffu,x,N)")
		outer := middle.Inlined
		require.Equal(t, "constructs.cu", outer.File)
		require.Contains(t, lines[outer.Line-1], "tinl<3>(x)")
		require.Empty(t, outer.Function)
		require.Nil(t, outer.Inlined)
	}
	require.Equal(t, 1, found)
}

func BenchmarkParse(b *testing.B) {
	text := real(b)["testdata/constructs_nvcc13.ptx"]
	head, body, _ := strings.Cut(text, ".visible .entry kern(")
	body, tail, _ := strings.Cut(body, "\n\t.file")
	big := strings.Builder{}
	big.WriteString(head)
	for i := 0; big.Len() < 1<<20; i++ {
		big.WriteString(".visible .entry kern" + strings.Repeat("x", i) + "(" + body)
	}
	big.WriteString("\n\t.file" + tail)
	b.SetBytes(int64(big.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse("big.ptx", big.String()); err != nil {
			b.Fatal(err)
		}
	}
}
