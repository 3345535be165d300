//go:build cuda

package real

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"bilevel/device/cuda/shim"
)

// library is a libcuda.so.1 as small as can be: the driver is a library that is opened at run time.
const library = `
static int begun;
int cuDriverGetVersion(int *v) { *v = VERSION; return VERSION == 0 ? 3 : begun ? 0 : 3; } // NOT_INITIALIZED
int cuInit(unsigned flags) { begun = 1; return INIT; }
int cuGetErrorName(int code, const char **name) { *name = "CUDA_ERROR_OF_TEST"; return 0; }
int cuDeviceGetCount(int *n) { *n = 1; return 0; }
int cuCtxSetCurrent(void *ctx) { return 0; }
`

// with runs the test again in a process where the library is the driver, and returns what it says there.
func with(t *testing.T, version, init int) string {
	t.Helper()
	compiler, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("no C compiler to make the library with")
	}
	dir := t.TempDir()
	source := filepath.Join(dir, "cuda.c")
	require.NoError(t, os.WriteFile(source, []byte(library), 0o600))
	out, err := exec.Command(compiler, "-shared", "-fPIC", fmt.Sprintf("-DVERSION=%d", version),
		fmt.Sprintf("-DINIT=%d", init), "-o", filepath.Join(dir, "libcuda.so.1"), source).
		CombinedOutput()
	require.NoError(t, err, string(out))

	name, _, _ := strings.Cut(t.Name(), "/")
	self := exec.Command(os.Args[0], "-test.run=^"+name+"$")
	self.Env = append(os.Environ(), "BILEVEL_TEST_DRIVER=1", "LD_LIBRARY_PATH="+dir)
	out, err = self.CombinedOutput()
	require.NoError(t, err, string(out))
	_, said, _ := strings.Cut(string(out), "says: ")
	said, _, _ = strings.Cut(said, "\n")
	return said
}

func again() bool { return os.Getenv("BILEVEL_TEST_DRIVER") != "" }

func TestDriversOfManyKinds(t *testing.T) {
	if again() {
		d, err := New()
		if err != nil {
			fmt.Println("says:", err)
			return
		}
		cards, err := d.Cards()
		fmt.Println("says:", len(cards), err)
		return
	}
	for _, c := range []struct {
		name          string
		version, init int
		want          string
	}{
		{"too old", 11040, 0,
			"the NVIDIA driver is too old: it is made for CUDA 11.4, and the kernels need 12.2 (driver 535 or newer)"},
		{"without a version", 0, 0, "the NVIDIA driver does not say which version of CUDA it is made for"},
		{"without all", 0, 803, "cuInit failed with CUDA error 803: CUDA_ERROR_OF_TEST"},
		{"too old and not in order", 11040, 803,
			"the NVIDIA driver is too old: it is made for CUDA 11.4, and the kernels need 12.2 (driver 535 or newer)"},
		{"no card", 12020, 100, "0 <nil>"},
		{"not in order", 12040, 803, "cuInit failed with CUDA error 803: CUDA_ERROR_OF_TEST"},
		{"calls missing", 12040, 0, "0 cuDeviceGet failed with CUDA error 801: card 0: CUDA_ERROR_OF_TEST"},
	} {
		t.Run(c.name, func(t *testing.T) { require.Equal(t, c.want, with(t, c.version, c.init)) })
	}
}

// Between making a context current and the call no other goroutine may have the thread.
func TestEntriesKeepTheirThread(t *testing.T) {
	if !again() {
		require.Equal(t, "kept", with(t, 12020, 0))
		return
	}
	table, err := shim.Open()
	require.NoError(t, err)
	require.NoError(t, table.Select(false, func() error { return nil }))
	runtime.GOMAXPROCS(8)
	said := make(chan string)
	for range 16 {
		go func() {
			err := (&context{d: &real{}}).do("", nil, func() error {
				thread := unix.Gettid()
				for range 2000 {
					if runtime.Gosched(); unix.Gettid() != thread {
						return fmt.Errorf("moved")
					}
				}
				return nil
			})
			if err != nil {
				said <- "moved"
				return
			}
			said <- "kept"
		}()
	}
	for range 15 {
		if s := <-said; s != "kept" {
			fmt.Println("says:", s)
			return
		}
	}
	fmt.Println("says:", <-said)
}
