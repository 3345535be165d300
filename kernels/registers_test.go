package kernels_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/kernels"
)

// entries are the names of all kernels.
func entries(t *testing.T) (names []string) {
	files, err := filepath.Glob("ptx/*.ptx")
	require.NoError(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, part := range strings.Split(string(text), ".visible .entry ")[1:] {
			name, _, _ := strings.Cut(part, "(")
			names = append(names, name)
		}
	}
	require.NotEmpty(t, names)
	return names
}

// Every kernel has its registers, no more than a thread can have, and a name with a hash those of the kernel before it.
func TestRegisters(t *testing.T) {
	for _, capability := range []int{80, 86, 90, 100, 120} {
		for _, name := range entries(t) {
			require.Positive(t, kernels.Registers(name, capability), "%s %d", name, capability)
			require.LessOrEqual(t, kernels.Registers(name, capability), 255)
		}
		require.Equal(t, kernels.Registers("gemm_64", capability), kernels.Registers("gemm_64_1a2b3c4d", capability))
		require.Zero(t, kernels.Registers("map_1a2b3c4d", capability))
	}
	require.NotEqual(t, kernels.Registers("gemm_128_a", 80), kernels.Registers("copy_dense", 80))
}
