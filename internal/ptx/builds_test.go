package ptx_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func digest(t testing.TB, file string) string {
	text, err := os.ReadFile(filepath.Join("testdata", file))
	require.NoError(t, err)
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// The compiled kernels are those of their sources, and each source is compiled by both compilers.
func TestBuildsAreFresh(t *testing.T) {
	compilers := map[string]map[string]bool{}
	known := map[string]bool{}
	for _, b := range builds(t) {
		const advice = "run scripts/cuda-tools build internal/ptx/testdata/manifest.json"
		require.Equal(t, b.SourceSHA256, digest(t, b.Source), "%s is older than %s: %s", b.Output, b.Source, advice)
		require.Equal(t, b.OutputSHA256, digest(t, b.Output), "%s was changed by hand: %s", b.Output, advice)
		if compilers[b.Source] == nil {
			compilers[b.Source] = map[string]bool{}
		}
		compilers[b.Source][b.Compiler] = true
		known[b.Output], known[b.Source] = true, true
	}
	for _, pattern := range []string{"kernels/*.cu", "ptx/*.ptx"} {
		files, err := filepath.Glob(filepath.Join("testdata", pattern))
		require.NoError(t, err)
		require.GreaterOrEqual(t, len(files), 25)
		for _, file := range files {
			name, err := filepath.Rel("testdata", file)
			require.NoError(t, err)
			require.True(t, known[filepath.ToSlash(name)], "%s is not in the manifest", file)
		}
	}
	for source, have := range compilers {
		require.Len(t, have, 2, source)
	}
}

// With the compilers at hand, the texts come out byte by byte as they are, and ptxas assembles them for sm_80 and
// sm_90.
func TestBuildsRepeat(t *testing.T) {
	if os.Getenv("BILEVEL_CUDA_TOOLS") == "" {
		t.Skip("BILEVEL_CUDA_TOOLS does not name the folder of scripts/cuda-tools setup")
	}
	out, err := exec.Command("../../scripts/cuda-tools", "check", "testdata/manifest.json").CombinedOutput()
	require.NoError(t, err, "%s", out)
}
