package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bilevel/internal/npy"
	"bilevel/internal/ptx"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A session is a folder in which the command runs.
type session struct {
	t   *testing.T
	dir string
}

// home is the folder of this package.
var home, _ = os.Getwd()

// decode reads an object of JSON.
func decode(text string, object any) error { return json.Unmarshal([]byte(text), object) }

func begin(t *testing.T) *session {
	t.Helper()
	kernels, err := os.ReadFile("testdata/kernels.ptx")
	require.NoError(t, err)
	s := &session{t, t.TempDir()}
	t.Chdir(s.dir)
	require.NoError(t, os.WriteFile("kernels.ptx", kernels, 0o666))
	return s
}

// run runs a command line and expects its exit status.
func (s *session) run(status int, line string) (stdout, stderr string) {
	s.t.Helper()
	var out, err bytes.Buffer
	got := run(context.Background(), strings.Fields(line), &out, &err)
	require.Equal(s.t, status, got, "%s\n%s%s", line, &out, &err)
	if status == exitRefused {
		assert.Empty(s.t, out.String())
		assert.Equal(s.t, 1, strings.Count(err.String(), "\n"), "one line: %s", &err)
	} else {
		assert.Empty(s.t, err.String())
	}
	return out.String(), err.String()
}

func save[T npy.Elem](s *session, name string, values []T, shape ...int) {
	s.t.Helper()
	if shape == nil {
		shape = []int{len(values)}
	}
	a, err := npy.New(values, shape...)
	require.NoError(s.t, err)
	require.NoError(s.t, npy.WriteFile(name, a))
}

func load[T npy.Elem](s *session, name string, shape ...int) []T {
	s.t.Helper()
	a, err := npy.ReadFile(name)
	require.NoError(s.t, err)
	require.Equal(s.t, shape, a.Shape)
	values, err := npy.Values[T](a)
	require.NoError(s.t, err)
	return values
}

// files lists the folder, so that nothing half-written hides.
func (s *session) files() []string {
	entries, err := os.ReadDir(s.dir)
	require.NoError(s.t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func ramp(n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(i)
	}
	return v
}

const axpy = "-ptx kernels.ptx -entry axpy -grid 3 -block 32 -arg i32:70 -arg f32:0.5 -arg in:x.npy -arg inout:y.npy "

func TestCleanKernel(t *testing.T) {
	for _, flags := range []string{"", "--sanitize", "--sanitize --seed 3 --float pessimistic", "--float contract"} {
		t.Run(flags, func(t *testing.T) {
			s := begin(t)
			save(s, "x.npy", ramp(70), 7, 10)
			save(s, "y.npy", ramp(70), 70)
			out, _ := s.run(exitClean, axpy+flags)
			if strings.Contains(flags, "sanitize") {
				require.Equal(t, "axpy: 0 reports\n", out)
			} else {
				require.Empty(t, out)
			}
			for i, v := range load[float32](s, "y.npy", 70) {
				require.Equal(t, 1.5*float32(i), v)
			}
			require.Equal(t, ramp(70), load[float32](s, "x.npy", 7, 10))
			require.Equal(t, []string{"kernels.ptx", "x.npy", "y.npy"}, s.files())
		})
	}
}

func TestEveryElementType(t *testing.T) {
	s := begin(t)
	const line = "-ptx kernels.ptx -entry copy -grid 1 -block 32 --sanitize "
	check := func(name string, size int, saved func(), same func()) {
		saved()
		s.run(exitClean, line+"-arg in:a.npy -arg out:b.npy:"+name+":3x2 -arg u64:"+
			map[int]string{1: "6", 2: "12", 4: "24", 8: "48"}[size])
		same()
	}
	roundTrip(s, check, "f32", 4, []float32{1, -2, 3.5, 0, 5, 6})
	roundTrip(s, check, "f64", 8, []float64{1, -2, 3.5, 0, 5, 6})
	roundTrip(s, check, "f16", 2, []npy.Float16{1, 2, 3, 4, 0x3c00, 0xffff})
	roundTrip(s, check, "i32", 4, []int32{1, -2, 3, 4, 5, 6})
	roundTrip(s, check, "i64", 8, []int64{1, -2, 3, 4, 5, 1 << 60})
	roundTrip(s, check, "u8", 1, []uint8{1, 2, 3, 4, 5, 255})
	roundTrip(s, check, "u16", 2, []uint16{1, 2, 3, 4, 5, 65535})
	roundTrip(s, check, "u32", 4, []uint32{1, 2, 3, 4, 5, 1 << 31})
	roundTrip(s, check, "u64", 8, []uint64{1, 2, 3, 4, 5, 1 << 63})
}

func roundTrip[T npy.Elem](s *session, check func(string, int, func(), func()), name string, size int, values []T) {
	check(name, size, func() { save(s, "a.npy", values) },
		func() { require.Equal(s.t, values, load[T](s, "b.npy", 3, 2), name) })
}

func TestNullPointer(t *testing.T) {
	s := begin(t)
	s.run(exitClean,
		"-ptx kernels.ptx -entry copy -grid 1 -block 4 --sanitize -arg u64:0 -arg out:b.npy:u8:5 -arg u64:3")
	require.Equal(t, []uint8{7, 7, 7, 0, 0}, load[uint8](s, "b.npy", 5), "an output starts at zero")
}

func TestConstants(t *testing.T) {
	s := begin(t)
	save(s, "scales.npy", []float32{10, 100})
	save(s, "shift.npy", []int32{-1})
	const line = "-ptx kernels.ptx -entry ramp -grid 1 -block 4 --sanitize -arg out:b.npy:f32:4 "
	s.run(exitClean, line+"-const scales=scales.npy")
	require.Equal(t, []float32{3, 103, 23, 303}, load[float32](s, "b.npy", 4))
	s.run(exitClean, line+"-const scales=scales.npy -const shift=shift.npy")
	require.Equal(t, []float32{-1, 99, 19, 299}, load[float32](s, "b.npy", 4))
	_, err := s.run(exitRefused, line+"-const scale=scales.npy")
	require.Equal(t, "ptxrun: -const scale=scales.npy: kernels.ptx: no variable \"scale\"; did you mean \"scales\"? "+
		"(there are scales, shift)\n", err)
	_, err = s.run(exitRefused, line+"-const shift=scales.npy")
	require.Equal(t,
		"ptxrun: -const shift=scales.npy: the file holds 8 bytes of float32, but the variable has 4 bytes\n", err)
}

// keys returns the keys of a JSON object.
func keys(object any) map[string]bool {
	set := map[string]bool{}
	for k := range object.(map[string]any) {
		set[k] = true
	}
	return set
}

func set(keys ...string) map[string]bool {
	s := map[string]bool{}
	for _, k := range keys {
		s[k] = true
	}
	return s
}

func (s *session) json(status int, line string) (reports []any, counters map[string]any) {
	s.t.Helper()
	out, _ := s.run(status, line+" --json")
	var object map[string]any
	d := json.NewDecoder(strings.NewReader(out))
	require.NoError(s.t, d.Decode(&object))
	require.False(s.t, d.More(), "one object")
	require.Equal(s.t, set("reports", "counters"), keys(object))
	return object["reports"].([]any), object["counters"].(map[string]any)
}

func lineOf(t *testing.T, text string) float64 {
	t.Helper()
	for i, line := range strings.Split(source, "\n") {
		if strings.Contains(line, text) {
			return float64(i + 1)
		}
	}
	t.Fatalf("no line %q", text)
	return 0
}

var source = func() string {
	text, _ := os.ReadFile("testdata/kernels.cu")
	return string(text)
}()

func TestJSONOfACleanRun(t *testing.T) {
	s := begin(t)
	save(s, "x.npy", ramp(70))
	save(s, "y.npy", ramp(70))
	reports, counters := s.json(exitClean, axpy+"--sanitize")
	require.Equal(t, []any{}, reports)
	require.Equal(t, 96.0, counters["threads"])
	require.Equal(t, 3.0, counters["blocks"])
	require.Equal(t, 140.0, counters["flop_f32"])
	loads := counters["global_loads"].(map[string]any)
	require.Equal(t, map[string]any{"requests": 6.0, "bytes": 560.0, "sectors": 18.0, "ideal": 18.0}, loads)
}

func TestRaceIsReported(t *testing.T) {
	s := begin(t)
	save(s, "x.npy", ramp(64))
	const line = "-ptx kernels.ptx -entry reverse -grid 1 -block 64 -arg in:x.npy -arg out:y.npy:f32:64 "
	reports, _ := s.json(exitReports, line+"--sanitize")
	require.NotEmpty(t, reports)
	r := reports[0].(map[string]any)
	require.Equal(t, "shared-race", r["kind"])
	require.Equal(t, "reverse", r["kernel"])
	require.Equal(t, []any{0.0, 0.0, 0.0}, r["block"])
	require.Len(t, r["thread"], 3)
	require.Equal(t, "kernels.cu", r["file"])
	require.Contains(t, []float64{lineOf(t, "tile[threadIdx.x] ="), lineOf(t, "tile[63 -")}, r["line"])
	require.Greater(t, r["ptx_line"], 1.0)
	require.NotEmpty(t, r["message"])
	for key := range keys(r) {
		require.Contains(t, []string{"kind", "kernel", "block", "thread", "file", "line", "ptx_line", "instruction",
			"message", "allocation", "offset", "count"}, key)
	}

	out, _ := s.run(exitReports, line+"--sanitize")
	require.Contains(t, out, "shared-race in reverse")
	require.Contains(t, out, "kernels.cu:")
	require.Contains(t, out, "reverse: ")
	s.run(exitClean, line) // checks run only when asked for
}

func TestOutOfBoundsIsReported(t *testing.T) {
	s := begin(t)
	save(s, "x.npy", ramp(70))
	save(s, "y.npy", ramp(70))
	const line = "-ptx kernels.ptx -entry axpy_unguarded -grid 3 -block 32 -arg f32:0.5 -arg in:x.npy -arg inout:y.npy"
	reports, _ := s.json(exitReports, line+" --sanitize")
	require.NotEmpty(t, reports)
	r := reports[0].(map[string]any)
	require.Equal(t, "out-of-bounds", r["kind"])
	require.Equal(t, []any{2.0, 0.0, 0.0}, r["block"])
	require.Equal(t, []any{6.0, 0.0, 0.0}, r["thread"])
	require.Equal(t, "kernels.cu", r["file"])
	require.Greater(t, r["line"], lineOf(t, "axpy_unguarded"))
	require.Contains(t, []any{"x.npy", "y.npy"}, r["allocation"])
	require.Equal(t, 280.0, r["offset"])
}

// What cannot be finished leaves every file as it was.
func TestTrapLeavesFilesAlone(t *testing.T) {
	s := begin(t)
	save(s, "y.npy", []int32{5})
	for _, flags := range []string{"", " --sanitize"} {
		out, _ := s.run(exitReports, "-ptx kernels.ptx -entry trapped -grid 1 -block 1 -arg inout:y.npy"+flags)
		require.Contains(t, out, "trapped")
		require.Equal(t, []int32{5}, load[int32](s, "y.npy", 1))
		require.Equal(t, []string{"kernels.ptx", "y.npy"}, s.files())
	}
}

func TestCounters(t *testing.T) {
	s := begin(t)
	save(s, "x.npy", ramp(70))
	save(s, "y.npy", ramp(70))
	out, _ := s.run(exitClean, axpy+"--counters")
	require.Regexp(t, `(?m)^threads +96 +3 blocks, 3 warps$`, out)
	require.Regexp(t, `(?m)^global loads +6 +560 bytes in 18 sectors of 32 bytes, 18 would do$`, out)
	require.Regexp(t, `(?m)^float operations +140 +f32 140, `, out)
	require.Regexp(t, `(?m)^  global +9$`, out)
	require.Regexp(t, `(?m)^touched of y.npy +288 +bytes, in whole sectors$`, out)
}

// The estimate is printed when counters and card are asked for, and called one.
func TestEstimate(t *testing.T) {
	s := begin(t)
	save(s, "x.npy", ramp(70))
	save(s, "y.npy", ramp(70))
	const line = axpy + "--counters --card h100"
	out, _ := s.run(exitClean, line)
	require.Regexp(t, `(?m)^estimated time +4\.5 µs +on H100, if \w+ were its only limit: no measurement$`, out)
	require.Regexp(t, `(?m)^  launch +3 µs$`, out)
	require.Regexp(t, `(?m)^estimated occupancy +50 % +32 blocks on an SM$`, out)
	require.Regexp(t, `(?m)^assumed +registers of a thread \(32\)$`, out)
	require.Regexp(t, `(?m)^source +NVIDIA H100`, out)

	require.NoError(t, os.WriteFile("ptxas.txt",
		[]byte("ptxas info    : Compiling entry function 'axpy' for 'sm_90'\nptxas info    : Used 255 registers\n"),
		0o666))
	out, _ = s.run(exitClean, line+" --resources ptxas.txt --json")
	var object struct {
		Estimate map[string]any
	}
	require.NoError(t, json.Unmarshal([]byte(out), &object))
	require.Equal(t, set("card", "estimated_seconds", "limit", "terms", "occupancy", "resident", "waves", "wave_loss",
		"launch", "source", "assumed"), keys(object.Estimate))
	require.Equal(t, 8.0, object.Estimate["resident"])
	require.NotContains(t, object.Estimate["assumed"], "registers of a thread (32)")

	for _, flags := range []string{"--counters", "--card h100", ""} { // helper json wants reports and counters alone
		s.json(exitClean, axpy+flags)
	}
	_, err := s.run(exitRefused, axpy+"--resources ptxas.txt --card h100")
	require.Equal(t, "ptxrun: -resources is for an estimate, which --counters and --card ask for\n", err)
	require.NoError(t, os.WriteFile("other.txt", []byte("Compiling entry function 'axpi'"), 0o666))
	_, err = s.run(exitRefused, line+" --resources other.txt")
	require.Equal(t, "ptxrun: other.txt: no registers of kernel axpy (want what ptxas -v prints)\n", err)
}

// What one kernel cannot do does not concern the others of its file.
func TestUnsupportedKernelBesideASoundOne(t *testing.T) {
	s := begin(t)
	require.NoError(t, os.WriteFile("k.ptx",
		[]byte(strings.Replace(order, ".visible .entry product",
			".visible .entry odd()\n{\n\tbrkpt;\n\tret;\n}\n.visible .entry product", 1)), 0o666))
	s.run(exitClean, "-ptx k.ptx -entry last -grid 1 -block 1 -arg out:y.npy:u32:1")
	_, err := s.run(exitRefused, "-ptx k.ptx -entry odd -grid 1 -block 1")
	require.Equal(t, "ptxrun: k.ptx: kernel odd, line 14: brkpt: unsupported opcode\n", err)
}

func TestMalformedAndUnsupportedPTX(t *testing.T) {
	s := begin(t)
	const head = ".version 8.2\n.target sm_80\n.address_size 64\n"
	for _, c := range [][2]string{
		{"__global__ void k() {}", `ptxrun: k.ptx:1:1: PTX begins with .version, not with "__global__"`},
		{head + ".visible .entry k()\n{\n.reg .b32 %r<3>;\nmov.b32 %r1 %r2;\nret;\n}",
			`ptxrun: k.ptx:7:13: expected , or ; after an operand of mov, found "%r2"`},
	} {
		text, want := c[0], c[1]
		require.NoError(t, os.WriteFile("k.ptx", []byte(text), 0o666))
		_, err := s.run(exitRefused, "-ptx k.ptx -entry k -grid 1 -block 1")
		require.Equal(t, want+"\n", err)
	}
	require.NoError(t, os.WriteFile("k.ptx",
		[]byte(head+".visible .entry k()\n{\n.reg .b32 %r<3>;\nfrobnicate.b32 %r1, %r2;\nret;\n}"), 0o666))
	_, err := s.run(exitRefused, "-ptx k.ptx -entry k -grid 1 -block 1 -arg out:y.npy:f32:1")
	require.Contains(t, err, "frobnicate")
	require.Contains(t, err, "7")
	require.Equal(t, []string{"k.ptx", "kernels.ptx"}, s.files())
}

func TestUsage(t *testing.T) {
	s := begin(t)
	save(s, "x.npy", ramp(70))
	save(s, "y.npy", ramp(70))
	require.NoError(t, os.Mkdir("folder", 0o777))
	const k = "-ptx kernels.ptx -grid 1 -block 32 -entry "
	for _, c := range [][2]string{
		{"", "-ptx is missing (ptxrun -h shows an example)"},
		{"-ptx kernels.ptx -entry axpy", "-grid is missing (ptxrun -h shows an example)"},
		{"-frob", "flag provided but not defined: -frob (ptxrun -h lists the flags)"},
		{axpy + "more", `"more": only flags are taken (ptxrun -h lists them)`},
		{axpy + "-shared -4", "-shared -4: want a number of bytes"},
		{axpy + "-float fast",
			`invalid value "fast" for flag -float: want exact, pessimistic, contract (ptxrun -h lists the flags)`},
		{axpy + "-arg int:5", `invalid value "int:5" for flag -arg: "int" is neither in, out, inout, alloc, struct ` +
			`nor a type (f32 f64 f16 bf16 i8 i16 i32 i64 u8 u16 u32 u64 bool c64 c128); want ` + argForms +
			` (ptxrun -h lists the flags)`},
		{axpy + "-grid 0", `invalid value "0" for flag -grid: want one to three whole numbers from 1 on, such as ` +
			`16,16,1 (ptxrun -h lists the flags)`},
		{k + "axpi", `kernels.ptx has no kernel "axpi"; did you mean "axpy"? (there are axpy, axpy_unguarded, ` +
			`reverse, ramp, copy, structure, trapped)`},
		{k + "axpy", "axpy takes 4 arguments (u32 of 4 bytes, f32 of 4 bytes, u64 of 8 bytes, u64 of 8 bytes); -arg " +
			"is given 0 times"},
		{k + "ramp -arg f32:1", "-arg f32:1 passes 4 bytes, but parameter 1 of ramp is u64 of 8 bytes"},
		{k + "structure -arg u64:1 -arg u64:0",
			"-arg u64:1 passes 8 bytes, but parameter 1 of structure is a structure of 12 bytes"},
		{k + "trapped -arg in:z.npy", "open z.npy: no such file or directory"},
		{k + "trapped -arg in:kernels.ptx",
			`kernels.ptx: not a usable .npy file: it begins with "//\n// ", not with "\x93NUMPY"`},
		{k + "trapped -arg out:no/z.npy:f32:1", "stat no: no such file or directory"},
		{k + "trapped -arg out:folder:f32:1", "folder is no regular file"},
		{k + "reverse -arg inout:x.npy -arg out:./x.npy:f32:64",
			"x.npy is given as inout: and as out:; both are one buffer, which inout: reads and writes"},
		{"-ptx no.ptx -entry k -grid 1 -block 1", "open no.ptx: no such file or directory"},
	} {
		line, want := c[0], c[1]
		_, err := s.run(exitRefused, line)
		assert.Equal(t, "ptxrun: "+want+"\n", err, line)
	}
	// Limits of the card; the words are those of package ptx.
	for line, want := range map[string]string{
		axpy + "-card a1000": `invalid value "a1000" for flag -card: unknown card; did you mean "A100"? ` +
			`(there are A100`,
		axpy + "-block 1025":      "1024",
		axpy + "-block 1,1,65":    "64",
		axpy + "-grid 1,65536":    "65535",
		axpy + "-shared 99999999": "shared",
	} {
		_, err := s.run(exitRefused, line)
		assert.Contains(t, err, want, line)
	}
	require.Equal(t, []string{"folder", "kernels.ptx", "x.npy", "y.npy"}, s.files())
	require.Equal(t, ramp(70), load[float32](s, "y.npy", 70))
}

func TestHelp(t *testing.T) {
	s := begin(t)
	out, _ := s.run(exitClean, "-h")
	require.Equal(t, help, out)
	set := []string{"-ptx", "-entry", "-grid", "-block", "-shared", "-arg", "-const", "--sanitize", "--counters",
		"--float", "--seed", "--card", "--resources", "--json"}
	for _, flag := range set {
		require.Contains(t, help, "\n    "+flag+" ")
	}
	_, err := parse([]string{"-h"})
	require.Error(t, err)
}

// A file that cannot be replaced stays, and so does everything else.
func TestUnwritableFolder(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("the superuser writes everywhere")
	}
	s := begin(t)
	save(s, "x.npy", ramp(64))
	require.NoError(t, os.Mkdir("closed", 0o555))
	_, err := s.run(exitRefused, "-ptx kernels.ptx -entry reverse -grid 1 -block 64 -arg in:x.npy -arg "+
		filepath.Join("out:closed", "y.npy:f32:64"))
	require.Contains(t, err, "closed")
}

const order = `.version 8.2
.target sm_80
.address_size 64
.visible .entry last(.param .u64 out)
{
	.reg .b32 %r<2>; .reg .b64 %rd<2>;
	ld.param.u64 %rd1, [out];
	mov.u32 %r1, %ctaid.x;
	st.global.u32 [%rd1], %r1;
	ret;
}
.visible .entry product(.param .u64 out, .param .f32 a, .param .f32 c)
{
	.reg .b32 %f<5>; .reg .b64 %rd<2>;
	ld.param.u64 %rd1, [out];
	ld.param.f32 %f1, [a];
	ld.param.f32 %f2, [c];
	mul.f32 %f3, %f1, %f1;
	add.f32 %f4, %f3, %f2;
	st.global.f32 [%rd1], %f4;
	ret;
}
`

// The seed changes which block writes last, and gives the same again.
func TestSeed(t *testing.T) {
	s := begin(t)
	require.NoError(t, os.WriteFile("order.ptx", []byte(order), 0o666))
	winner := func(seed string) uint32 {
		out, _ := s.run(exitReports,
			"-ptx order.ptx -entry last -grid 64 -block 1 -arg out:y.npy:u32:1 --sanitize --seed "+seed)
		require.Contains(t, out, "global-race")
		return load[uint32](s, "y.npy", 1)[0]
	}
	winners := map[uint32]bool{}
	for _, seed := range []string{"0", "1", "2", "3", "4"} {
		require.Equal(t, winner(seed), winner(seed))
		winners[winner(seed)] = true
	}
	require.Greater(t, len(winners), 2)
}

// (1+2^-12)^2 - (1+2^-11) is 2^-24, which the rounding of the product loses.
func TestFloatModes(t *testing.T) {
	s := begin(t)
	require.NoError(t, os.WriteFile("order.ptx", []byte(order), 0o666))
	for mode, want := range map[string]float32{"exact": 0, "contract": 0x1p-24} {
		s.run(exitClean, "-ptx order.ptx -entry product -grid 1 -block 1 -arg out:y.npy:f32:1 -arg f32:0x1.001p0 "+
			"-arg f32:-0x1.002p0 --float "+mode)
		require.Equal(t, want, load[float32](s, "y.npy", 1)[0], mode)
	}
}

func TestNoReportsAreAList(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, output(&out, &options{json: true}, findings{launches: []finding{{Result: &ptx.Result{}}}}))
	require.Contains(t, out.String(), `"reports":[]`)
}
