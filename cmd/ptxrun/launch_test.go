package main

import (
	"bytes"
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"bilevel/internal/npy"
)

// launches is a session with the kernels of launches.cu.
func launches(t *testing.T) *session {
	text, err := os.ReadFile("testdata/launches.ptx")
	require.NoError(t, err)
	s := begin(t)
	require.NoError(t, os.WriteFile("l.ptx", text, 0o666))
	return s
}

// lineIn is the line of launches.cu with that text.
func lineIn(t *testing.T, part string) string {
	text, err := os.ReadFile(filepath.Join(home, "testdata", "launches.cu"))
	require.NoError(t, err)
	for i, line := range strings.Split(string(text), "\n") {
		if strings.Contains(line, part) {
			return strconv.Itoa(i + 1)
		}
	}
	t.Fatalf("no line %q", part)
	return ""
}

const view = "i32[2]:{3,40},i32:2" // shape and stride of a View behind its pointer

func TestStructuresByValue(t *testing.T) {
	s := launches(t)
	save(s, "x.npy", ramp(20))
	const line = "-ptx l.ptx -entry scaled -grid 1 -block 32 --sanitize "
	want := func(stride int) []float32 {
		v := make([]float32, 20)
		for i := range 10 {
			v[i*stride] = 0.5*2*float32(i) + 3 + 7 + 40
		}
		return v
	}
	s.run(exitClean, line+"-arg struct:{i8:7,struct:{in:x.npy,"+view+
		"},f64:0.5,f32x4:{1,2,3,4}} -arg struct:{out:y.npy:f32:20,"+view+"} -arg i32:10")
	require.Equal(t, want(2), load[float32](s, "y.npy", 20))

	// The same from a launch file beside other folders, with named buffers.
	require.NoError(t, os.Mkdir("sub", 0o777))
	require.NoError(t, os.Rename("x.npy", "sub/x.npy"))
	require.NoError(t, os.WriteFile("sub/l.json",
		[]byte(`{"ptx": "../l.ptx", "buffers": {"x": "in:x.npy", "y": "out:y.npy:f32:20"},
		"launches": [{"entry": "scaled", "grid": 1, "block": [32],
			"args": [{"struct": ["i8:7", {"struct": ["x", "i32[2]:3,40", {"struct": ["i32:2"]}]}, "f64:0.5",
				"f32x4:{1,2,3,4}"]},
				{"struct": ["y+4", "i32[2]:{3,40}", "i32:1"]}, "i32:10"]}]}`), 0o666))
	s.run(exitClean, "-launch sub/l.json --sanitize")
	y := load[float32](s, "sub/y.npy", 20)
	require.Equal(t, append([]float32{0}, []float32{50, 51, 52, 53, 54, 55, 56, 57, 58, 59}...), y[:11])

	_, err := s.run(exitRefused, line+"-arg struct:{i8:7,struct:{in:sub/x.npy,"+view+
		"},f32:0.5,f32x4:{1,2,3,4}} -arg struct:{in:sub/x.npy,i32:3} -arg i32:10")
	require.Equal(t, "ptxrun: -arg struct:{in:sub/x.npy,i32:3} passes a structure of 16 bytes (pointer at 0, i32 at "+
		"8), but parameter 2 of scaled is a structure of 24 bytes\n", err, "float for double has the same size here")
	_, err = s.run(exitRefused, line+"-arg u64:1 -arg u64:1 -arg i32:10")
	require.Equal(t, "ptxrun: -arg u64:1 passes 8 bytes, but parameter 1 of scaled is a structure of 64 bytes\n", err)
}

func TestLaunchFilesRefused(t *testing.T) {
	s := launches(t)
	for _, c := range [][2]string{
		{``, "l.json: not a launch file: EOF"},
		{`[]`, "l.json: not a launch file: json: cannot unmarshal array into Go value of type main.launchFile"},
		{`{}`, `l.json: "ptx" is missing`},
		{`{"ptx": "l.ptx"}`, `l.json: "launches" is missing or empty`},
		{`{"ptx": "l.ptx", "lanches": []}`, `l.json: not a launch file: json: unknown field "lanches"`},
		{`{"ptx": "l.ptx", "launches": [{}]} x`, "l.json: not a launch file: text behind the object"},
		{`{"ptx": "l.ptx", "launches": [{"entry": "tell"}]}`, "l.json: launch 1: grid or block is missing"},
		{`{"ptx": "l.ptx", "launches": [{"entry": "tell", "grid": 0, "block": 1}]}`,
			"l.json: not a launch file: a grid or block is one to three whole numbers from 1 on, such as [16, 16, 1]"},
		{`{"ptx": "l.ptx", "launches": [{"entry": "tell", "grid": 1, "block": 1, "args": ["y"]}]}`,
			"-arg y: there is no -buffer y; want " + argForms},
		{`{"ptx": "l.ptx", "launches": [{"entry": "tell", "grid": 1, "block": 1, "args": ["z32:1"]}]}`,
			`l.json: launch 1, argument "z32:1": "z32" is neither in, out, inout, alloc, struct nor a type (f32 f64 ` +
				`f16 bf16 i8 i16 i32 i64 u8 u16 u32 u64 bool c64 c128); want ` + argForms},
		{`{"ptx": "l.ptx", "launches": [{"entry": "tell", "grid": 1, "block": 1, "args": [{"struct": []}]}]}`,
			`l.json: not a launch file: an argument is a text such as "i32:5", or {"struct": [fields]}`},
		{`{"ptx": "l.ptx", "buffers": {"b": "x.npy"}, "launches": [{"entry": "tell", "grid": 1, "block": 1}]}`,
			`l.json: buffer "b": want in:FILE.npy, out:FILE.npy:TYPE:SHAPE, inout:FILE.npy or alloc:TYPE:SHAPE`},
		{`{"ptx": "l.ptx", "launches": [{"entry": "tell", "grid": 1, "block": 1, "repeat": 0, "args": ["u64:0"]}]}`,
			"l.json: launch 1: -repeat 0: want a number from 1 on"},
	} {
		text, want := c[0], c[1]
		require.NoError(t, os.WriteFile("l.json", []byte(text), 0o666))
		_, err := s.run(exitRefused, "-launch l.json")
		assert.Equal(t, "ptxrun: "+want+"\n", err, text)
	}
	_, err := s.run(exitRefused, "-launch l.json -entry tell")
	require.Equal(t, "ptxrun: -entry: the launches are those of the file that -launch names\n", err)
}

func TestPrintf(t *testing.T) {
	s := launches(t)
	save(s, "x.npy", ramp(2))
	const line = "-ptx l.ptx -entry tell -grid 1 -block 2 -arg in:x.npy"
	const want = "thread 0 of 2: 0.000000 text 0.00e+00 -5%\nthread 1 of 2: 1.000000 text 1.00e+00 -5%\n"
	out, _ := s.run(exitClean, line)
	require.Equal(t, want, out)
	out, _ = s.run(exitClean, line+" --sanitize")
	require.Equal(t, want+"tell: 0 reports\n", out)
	var stdout, stderr bytes.Buffer
	require.Equal(t, exitClean, run(context.Background(), strings.Fields(line+" --json"), &stdout, &stderr))
	require.Equal(t, want, stderr.String(), "beside an object of JSON")
	require.True(t, strings.HasPrefix(stdout.String(), `{"reports":[]`))
}

func TestAssertion(t *testing.T) {
	s := launches(t)
	save(s, "x.npy", []float32{1, 1, 0, 1})
	for _, flags := range []string{"", " --sanitize"} {
		out, _ := s.run(exitReports, "-ptx l.ptx -entry positive -grid 1 -block 4 -arg in:x.npy"+flags)
		require.Contains(t, out, "trap in positive, block [0 0 0] thread [2 0 0], launches.cu:"+
			lineIn(t, "assert(x[")+",")
		require.Contains(t, out, "the assertion `x[threadIdx.x] > 0` failed at launches.cu:"+lineIn(t, "assert(x[")+
			" in void positive(const float *)")
		require.Equal(t, 1, strings.Count(out, "trap"), "said once")
	}
}

func TestCooperativeLaunch(t *testing.T) {
	s := launches(t)
	save(s, "x.npy", ramp(64))
	const arguments = " -grid 2 -block 32 -arg in:x.npy -arg out:p.npy:f32:64 -arg out:o.npy:f32:64 --sanitize"
	for _, seed := range []string{"0", "1", "2"} {
		out, _ := s.run(exitClean, "-ptx l.ptx -entry turned"+arguments+" --seed "+seed)
		require.Equal(t, "turned: 0 reports\n", out)
		for i, v := range load[float32](s, "o.npy", 64) {
			require.Equal(t, float32(2*(63-i)), v)
		}
		out, _ = s.run(exitReports, "-ptx l.ptx -entry turned_early"+arguments+" --seed "+seed)
		require.Contains(t, out, "global-race in turned_early")
	}
	_, err := s.run(exitRefused, "-ptx l.ptx -entry turned -grid 100000 -block 32 -arg u64:0 -arg u64:0 -arg u64:0")
	require.Equal(t, "ptxrun: launch of turned: a cooperative launch of 100000 blocks, A100 holds 3456 at once\n", err)
}

func TestMemoryThatNobodyHasWritten(t *testing.T) {
	s := launches(t)
	save(s, "x.npy", ramp(64))
	const line = "-ptx l.ptx -entry accumulate -grid 1 -block 64 -arg in:x.npy -arg %s -arg i32:64 --sanitize"
	out, _ := s.run(exitClean, strings.Replace(line, "%s", "out:o.npy:f32:64", 1))
	require.Equal(t, "accumulate: 0 reports\n", out)
	for _, form := range []string{"alloc:o.npy:f32:8x8", "alloc:f32:8x8"} {
		out, _ = s.run(exitReports, strings.Replace(line, "%s", form, 1))
		require.Contains(t, out, "uninitialized-read in accumulate")
		require.Contains(t, out, "element (0, 0) of ")
	}
	require.Equal(t, ramp(64), load[float32](s, "o.npy", 8, 8))

	// A kernel before it writes the memory: then it is right.
	s.run(exitClean, "-ptx l.ptx -buffer sum=alloc:s.npy:f32:64 -entry fill -grid 1 -block 64 -arg sum -arg f32:1 "+
		"-arg i32:64 --sanitize"+
		" --then -entry accumulate -grid 1 -block 64 -repeat 3 -arg in:x.npy -arg sum -arg i32:64")
	for i, v := range load[float32](s, "s.npy", 64) {
		require.Equal(t, 1+3*float32(i), v)
	}
	out, _ = s.run(exitReports,
		"-ptx l.ptx -buffer sum=alloc:f32:64 -entry fill -grid 1 -block 64 -arg sum -arg f32:1 -arg i32:63 --sanitize"+
			" --then -entry accumulate -grid 1 -block 64 -arg in:x.npy -arg sum -arg i32:64")
	require.Contains(t, out, "fill: 0 reports\n")
	require.Contains(t, out, "element 63 of sum")
}

// A file is one buffer, however it is named: a kernel that is right out of place is a race in place.
func TestOneBufferTwice(t *testing.T) {
	s := launches(t)
	save(s, "x.npy", ramp(64))
	require.NoError(t, os.Symlink("x.npy", "link.npy"))
	require.NoError(t, os.Link("x.npy", "hard.npy"))
	const line = "-ptx l.ptx -entry mean3 -grid 2 -block 32 -arg i32:64 --sanitize"
	mean := func(in, out string) string {
		return strings.Replace(line, "-arg", "-arg "+in+" -arg "+out+" -arg", 1)
	}
	s.run(exitClean, mean("in:x.npy", "out:y.npy:f32:64"))
	for _, pair := range [][2]string{{"in:x.npy", "inout:x.npy"}, {"inout:x.npy", "inout:./x.npy"},
		{"in:link.npy", "inout:x.npy"}, {"inout:hard.npy", "in:x.npy"}} {
		save(s, "x.npy", ramp(64))
		require.NoError(t, os.Remove("hard.npy"))
		require.NoError(t, os.Link("x.npy", "hard.npy"))
		out, _ := s.run(exitReports, mean(pair[0], pair[1]))
		require.Contains(t, out, "global-race in mean3", "%v", pair)
	}
	out, _ := s.run(exitReports,
		"-ptx l.ptx -buffer b=inout:x.npy -entry mean3 -grid 2 -block 32 -arg b -arg b -arg i32:64 --sanitize")
	require.Contains(t, out, "global-race in mean3")
	s.run(exitClean, "-ptx l.ptx -buffer b=alloc:f32:128 -entry fill -grid 1 -block 128 -arg b -arg f32:2 -arg "+
		"i32:128 --sanitize --then "+
		"-entry mean3 -grid 2 -block 32 -arg b -arg b+256 -arg i32:64") // two halves of one
	_, err := s.run(exitRefused, mean("in:x.npy", "out:x.npy:f32:64"))
	require.Equal(t, "ptxrun: x.npy is given as in: and as out:; both are one buffer, which inout: reads and writes\n",
		err)
	_, err = s.run(exitRefused,
		"-ptx l.ptx -buffer b=in:x.npy -entry mean3 -grid 1 -block 1 -arg b+256 -arg b+999 -arg i32:1")
	require.Equal(t, "ptxrun: -arg b+999: the buffer has 256 bytes\n", err)
}

func TestEveryNumPyType(t *testing.T) {
	s := launches(t)
	particles := "out:p.npy:{tag=i8,mass=f64,spin={x=i16,y=i16,z=i16}}:3"
	s.run(exitClean, "-ptx l.ptx -entry particles -grid 1 -block 4 --sanitize -arg "+particles+" -arg i32:3")
	a, err := npy.ReadRawFile("p.npy")
	require.NoError(t, err)
	require.Equal(t, "[('tag', '|i1'), ('', '|V7'), ('mass', '<f8'), ('spin', [('x', '<i2'), ('y', '<i2'), ('z', "+
		"'<i2')]), ('', '|V2')]", a.Type.String())
	require.Equal(t, byte(1), a.Data[18], "spin.y of the first")
	s.run(exitClean, "-ptx l.ptx -entry particles -grid 1 -block 4 --sanitize -arg inout:p.npy -arg i32:3")
	s.run(exitClean,
		"-ptx l.ptx -entry conjugate -grid 1 -block 4 --sanitize -arg out:c.npy:complex64:4 -arg out:b.npy:bool:4")
	b, err := npy.ReadRawFile("b.npy")
	require.NoError(t, err)
	require.Equal(t, []byte{1, 1, 1, 1}, b.Data)
	require.Equal(t, "|b1", b.Type.String())
	for _, typ := range []string{"f16", "bf16", "c128", "<M8[s]", "<U4", "|S3"} {
		s.run(exitClean, "-ptx kernels.ptx -entry copy -grid 1 -block 32 -arg out:t.npy:"+typ+
			":2 -arg out:u.npy:u8:1 -arg u64:0")
		c, err := npy.ReadRawFile("t.npy")
		require.NoError(t, err, typ)
		require.Equal(t, 2, c.Len())
	}
}

func TestExpectation(t *testing.T) {
	s := launches(t)
	save(s, "x.npy", ramp(12))
	want := ramp(12)
	save(s, "want.npy", want, 3, 4)
	const line = "-ptx l.ptx -entry accumulate -grid 1 -block 64 -arg in:x.npy -arg out:y.npy:f32:3x4 -arg " +
		"i32:12 --expect "
	out, _ := s.run(exitClean, line+"want.npy")
	require.Empty(t, out)
	want[6] += 0.01
	want[9] += 0.5
	save(s, "want.npy", want, 3, 4)
	out, _ = s.run(exitReports, line+"want.npy")
	require.Equal(t, "mismatch in y.npy, element (1, 2): 6, but want.npy has 6.01 (2 of 12 elements differ)\n", out)
	require.Equal(t, ramp(12), load[float32](s, "y.npy", 3, 4), "the results are there to look at")
	out, _ = s.run(exitReports, line+"y.npy=want.npy --atol 0.02")
	require.Contains(t, out, "element (2, 1): 9, but want.npy has 9.5 (1 of 12")
	s.run(exitClean, line+"want.npy --rtol 0.06")
	reports, _ := s.mismatches(line + "want.npy --json")
	require.Equal(t, map[string]any{"buffer": "y.npy", "file": "want.npy", "element": "(1, 2)", "got": "6",
		"want": "6.01", "count": 2.0, "of": 12.0}, reports)
	save(s, "short.npy", ramp(11))
	for _, c := range [][2]string{
		{"no.npy", "stat no.npy: no such file or directory"},
		{"z=want.npy", "--expect z=want.npy: there is no such buffer (there are y.npy)"},
		{"short.npy", "--expect short.npy: it holds 11 elements of float32 with shape [11], y.npy holds 12 elements " +
			"of float32 with shape [3 4]"},
		{"want.npy --rtol -1", "--rtol and --atol are numbers from 0 on"},
	} {
		flags, message := c[0], c[1]
		_, err := s.run(exitRefused, line+flags)
		require.Equal(t, "ptxrun: "+message+"\n", err)
	}
}

func (s *session) mismatches(line string) (first map[string]any, count int) {
	out, _ := s.run(exitReports, line)
	var object struct{ Mismatches []map[string]any }
	require.NoError(s.t, decode(out, &object))
	require.NotEmpty(s.t, object.Mismatches)
	return object.Mismatches[0], len(object.Mismatches)
}

func TestSeveralLaunchesInJSON(t *testing.T) {
	s := launches(t)
	save(s, "x.npy", ramp(4))
	out, _ := s.run(exitClean,
		"-ptx l.ptx --json -entry fill -grid 1 -block 4 -arg out:y.npy:f32:4 -arg f32:2 -arg i32:4 --then "+
			"-entry accumulate -grid 2 -block 4 -arg in:x.npy -arg inout:y.npy -arg i32:4")
	var object struct {
		Launches []struct {
			Kernel   string
			Reports  []any
			Counters map[string]any
		}
	}
	require.NoError(t, decode(out, &object))
	require.Len(t, object.Launches, 2)
	require.Equal(t, []string{"fill", "accumulate"}, []string{object.Launches[0].Kernel, object.Launches[1].Kernel})
	require.Equal(t, 2.0, object.Launches[1].Counters["blocks"])
	require.Equal(t, []float32{2, 3, 4, 5}, load[float32](s, "y.npy", 4))
	_, err := s.run(exitRefused, "-ptx l.ptx -entry fill -grid 1 -block 4 -arg out:y.npy:f32:4 -arg f32:2 -arg i32:4 "+
		"--then -entry fill -grid 1 -block 4 -arg out:y.npy:f32:4 -arg f32:2 -arg i32:4")
	require.Equal(t, "ptxrun: y.npy is a buffer of an earlier launch: inout:y.npy goes on with it\n", err)
	_, err = s.run(exitRefused, "-ptx l.ptx -entry fill -grid 1 -block 4 --then")
	require.Equal(t, "ptxrun: --then: the next launch is missing\n", err)
}

// Kernels that would never end: what the threads wait for cannot come, or may but does not.
func TestKernelsWithoutEnd(t *testing.T) {
	s := launches(t)
	for _, flags := range []string{"", " --sanitize"} {
		for _, grid := range []string{"1", "9"} {
			out, _ := s.run(exitReports,
				"-ptx l.ptx -entry kept -block 64 -arg out:l.npy:i32:1 -arg out:k.npy:i32:1 -grid "+grid+flags)
			require.Contains(t, out, "no-progress in kept, ")
			require.Contains(t, out, "repeat atom.global.cas.b32 (launches.cu:"+
				lineIn(t, "while (atomicCAS(lock, 0, 1) != 0)")+
				", in atomicCAS at device_atomic_functions.hpp:202) and nothing")
			require.NoFileExists(t, "k.npy")
		}
		s.run(exitClean,
			"-ptx l.ptx -entry flagged -grid 500 -block 32 -arg out:l.npy:i32:1 -arg out:c.npy:i32:500"+flags)
		out, _ := s.run(exitReports,
			"-ptx l.ptx -entry endless -grid 1 -block 1 -arg out:x.npy:i32:2 --limit 100000"+flags)
		require.Contains(t, out, "timeout in endless")
		require.Equal(t, 1, strings.Count(out, "timeout"))
	}
	s.run(exitClean, "-ptx l.ptx -entry given_back -grid 4 -block 64 -arg out:l.npy:i32:1 -arg out:c.npy:i32:1")
	require.Equal(t, []int32{256}, load[int32](s, "c.npy", 1))
	out, _ := s.run(exitReports, "-ptx l.ptx -entry endless -grid 1 -block 1 -arg out:x.npy:i32:2 --limit 50ms")
	require.Equal(t, "timeout in endless: the launch has not ended within 50ms\n", out)
	_, err := s.run(exitRefused, "-ptx l.ptx -entry endless -grid 1 -block 1 -arg out:x.npy:i32:2 --limit soon")
	require.Contains(t, err, "want a number of warp instructions, or a time such as 10s")
}

// chatter is a kernel whose threads print a number of the given width, and then run for ever.
func chatter(width string) string {
	format := strings.Trim(fmt.Sprint([]byte("%"+width+"d\x00")), "[]")
	return `.version 8.0
.target sm_80
.address_size 64
.extern .func (.param .b32 printed) vprintf(.param .b64 text, .param .b64 values);
.global .align 1 .b8 format[] = {` + strings.ReplaceAll(format, " ", ", ") + `};
.visible .entry chatter(.param .u64 x)
{
	.local .align 8 .b8 number[8];
	.reg .b64 %d<3>;
	.param .b64 text;
	.param .b64 values;
	.param .b32 printed;
	mov.u64 %d1, number;
	st.local.u32 [%d1], 7;
	cvta.local.u64 %d1, %d1;
	mov.u64 %d2, format;
	cvta.global.u64 %d2, %d2;
	st.param.b64 [text], %d2;
	st.param.b64 [values], %d1;
	call.uni (printed), vprintf, (text, values);
AGAIN:
	bra.uni AGAIN;
}
`
}

// A signal ends the process, whatever the kernel does, and leaves the files alone. It is sent when the kernel has begun
// to print.
func TestSignals(t *testing.T) {
	s := begin(t)
	binary := filepath.Join(s.dir, "ptxrun")
	build := exec.Command("go", "build", "-o", binary, "bilevel/cmd/ptxrun")
	build.Dir = home
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	// signalled ends a run of the chatter, of whose output one byte is read, and gives what it says.
	signalled := func(width, flags string, signal syscall.Signal) string {
		require.NoError(t, os.WriteFile("c.ptx", []byte(chatter(width)), 0o666))
		cmd := exec.Command(binary,
			strings.Fields("-ptx c.ptx -entry chatter -grid 1 -block 512 -arg out:x.npy:i32:2"+flags)...)
		stdout, err := cmd.StdoutPipe()
		require.NoError(t, err)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		require.NoError(t, cmd.Start())
		t.Cleanup(func() { cmd.Process.Kill() }) // where the test fails
		_, err = io.ReadFull(stdout, make([]byte, 1))
		require.NoError(t, err)
		require.NoError(t, cmd.Process.Signal(signal))
		require.Error(t, cmd.Wait())
		require.Equal(t, 128+int(signal), cmd.ProcessState.ExitCode())
		require.NoFileExists(t, "x.npy")
		return stderr.String()
	}
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		for _, flags := range []string{"", " --sanitize"} {
			require.Contains(t, signalled("1", flags, signal), "ended by a signal")
		}
	}
	// A run that hangs, here because nobody reads a text that no pipe has room for, is ended without it.
	require.Equal(t, "ptxrun: ended by a signal (terminated); each file is as it was, or new as a whole\n",
		signalled("999999", "", syscall.SIGTERM))
}

func TestElementsOutOfBounds(t *testing.T) {
	s := launches(t)
	save(s, "x.npy", ramp(60), 6, 10)
	for _, flags := range []string{"", " --sanitize"} {
		out, _ := s.run(exitReports,
			"-ptx l.ptx -entry accumulate -grid 2 -block 32 -arg in:x.npy -arg out:y.npy:f32:64 -arg i32:64"+flags)
		require.Contains(t, out, "out-of-bounds in accumulate, block [1 0 0] thread [28 0 0], launches.cu:"+
			lineIn(t, "sum[i] += x[i]"))
		require.Contains(t, out, "it would be element 60, and x.npy has 60 elements of float32")
	}
	require.NoError(t, os.WriteFile("bytes.ptx", []byte(`.version 8.0
.target sm_80
.address_size 64
.visible .entry copy_bytes(.param .u64 in, .param .u64 out)
{
	.reg .b32 %r<3>;
	.reg .b64 %d<6>;
	ld.param.u64 %d1, [in];
	ld.param.u64 %d2, [out];
	mov.u32 %r1, %tid.x;
	cvt.u64.u32 %d3, %r1;
	add.u64 %d4, %d1, %d3;
	ld.global.u8 %r2, [%d4];
	add.u64 %d5, %d2, %d3;
	st.global.u8 [%d5], %r2;
	ret;
}
`), 0o666))
	const line = "-ptx bytes.ptx -entry copy_bytes -grid 1 -sanitize "
	out, _ := s.run(exitReports, line+"-block 2 -arg out:i.npy:u8:2 -arg out:o.npy:u8:1")
	require.Contains(t, out, `store of 1 byte at 0x7f0000001201: 0 bytes past the end of "o.npy" of 1 byte; `)
	out, _ = s.run(exitReports, line+"-block 1 -arg alloc:u8:1 -arg out:o.npy:u8:1")
	require.Contains(t, out, ": 1 byte is read that neither the host nor a kernel has written")
}

func TestExplain(t *testing.T) {
	for _, e := range explanations {
		var stdout, stderr bytes.Buffer
		require.Equal(t, exitClean, run(context.Background(), []string{"explain", string(e.kind)}, &stdout, &stderr))
		require.Contains(t, stdout.String(), "The usual repair: ")
	}
	var stdout, stderr bytes.Buffer
	require.Equal(t, exitRefused, run(context.Background(), []string{"explain", "shared-rcae"}, &stdout, &stderr))
	require.Contains(t, stderr.String(), `there is no kind of report "shared-rcae"; did you mean "shared-race"?`)
}

// Every kind that package ptx can report has an explanation.
func TestEveryKindIsExplained(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../../internal/ptx/report.go", nil, 0)
	require.NoError(t, err)
	var declared, explained []string
	ast.Inspect(file, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if name, ok := v.Type.(*ast.Ident); ok && name.Name == "Kind" {
			kind, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
			require.NoError(t, err)
			declared = append(declared, kind)
		}
		return true
	})
	for _, e := range explanations {
		explained = append(explained, string(e.kind))
	}
	require.Contains(t, declared, "shared-race")
	require.ElementsMatch(t, declared, explained)
}
