//go:build cuda

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	hasCUDA      = true
	wayToTheCard = " through cgo"
)

// library is the source of a libcuda.so.1 that has only the functions which are called before a card is found.
const library = `
static int begun;
int cuDriverGetVersion(int *v) { *v = VERSION; return begun ? 0 : 3; } // NOT_INITIALIZED
int cuInit(unsigned flags) { begun = 1; return INIT; }
int cuGetErrorName(int code, const char **name) { *name = "CUDA_ERROR_OF_TEST"; return 0; }
`

// On a machine without a usable card, --device cuda is refused with the reason, and auto takes the processor and says
// why. A process opens the driver only once, so that each of the imitated machines needs a process of its own: the test
// starts itself again, and then acts as the command.
func TestCUDAMachines(t *testing.T) {
	if line := os.Getenv("BILEVEL_TEST_LINE"); line != "" {
		os.Exit(run(context.Background(), strings.Fields(line), os.Stdout, os.Stderr, os.Getenv))
	}
	compiler, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("no C compiler to make drivers with")
	}
	source := filepath.Join(t.TempDir(), "cuda.c")
	require.NoError(t, os.WriteFile(source, []byte(library), 0o600))
	for _, c := range []struct {
		name          string
		version, init int // 0: no library
		want          string
	}{
		{"no driver", 0, 0, "there is no NVIDIA driver on this machine ("},
		{"no card", 12020, 100, "the NVIDIA driver finds no card"},
		{"too old", 11040, 0, "the NVIDIA driver is too old: " +
			"it is made for CUDA 11.4, and the kernels need 12.2 (driver 535 or newer)"},
		{"not in order", 12040, 803, "cuInit failed with CUDA error 803: CUDA_ERROR_OF_TEST"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := inNewFolder(t)
			driver := filepath.Join(t.TempDir(), "libcuda.so.1")
			if c.version == 0 {
				require.NoError(t, os.WriteFile(driver, nil, 0o600)) // hides the driver that this machine may have
			} else {
				out, err := exec.Command(compiler, "-shared", "-fPIC",
					fmt.Sprintf("-DVERSION=%d", c.version), fmt.Sprintf("-DINIT=%d", c.init),
					"-o", driver, source).CombinedOutput()
				require.NoError(t, err, string(out))
			}
			command := func(line string) result {
				self := exec.Command(os.Args[0], "-test.run=^TestCUDAMachines$")
				self.Env = append(os.Environ(), "BILEVEL_TEST_LINE="+line, "LD_LIBRARY_PATH="+filepath.Dir(driver))
				var stdout, stderr bytes.Buffer
				self.Stdout, self.Stderr = &stdout, &stderr
				err := self.Run()
				var failed *exec.ExitError
				require.True(t, err == nil || errors.As(err, &failed), "%v", err)
				return result{self.ProcessState.ExitCode(), stdout.String(), stderr.String()}
			}
			want := "device not available: cuda:0: " + c.want
			refused(t, command("clean --device cuda --out out"), exitEnvironment,
				"bilevel: "+want, "; use --device cpu, or cuda-sim for a simulated card")
			require.Empty(t, listing(t, dir))

			r := command("bench scaling --seconds 0 --largest 16 --only soba")
			require.Equal(t, exitOK, r.code, r.stderr)
			require.True(t, strings.HasPrefix(r.stderr, "bilevel: running on cpu: "+want), r.stderr)
			require.Equal(t, 1, strings.Count(r.stderr, "\n"))
		})
	}
}
