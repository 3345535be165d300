package driver

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCheckVersion(t *testing.T) {
	require.EqualError(
		t, CheckVersion(11040),
		"the NVIDIA driver is too old: it is made for CUDA 11.4, and the kernels need 12.2 (driver 535 or newer)",
	)
	require.EqualError(
		t, CheckVersion(12010),
		"the NVIDIA driver is too old: it is made for CUDA 12.1, and the kernels need 12.2 (driver 535 or newer)",
	)
	require.EqualError(
		t, CheckVersion(Unasked), "the NVIDIA driver does not say which version of CUDA it is made for",
	)
	require.NoError(t, CheckVersion(12020))
	require.NoError(t, CheckVersion(13000))
}

// After these cuda.h says that the process must be ended, that the card itself has failed, or nothing (999).
func TestSticky(t *testing.T) {
	sticky := map[Code]bool{}
	for _, c := range []Code{46, 214, 220, 226, 700, 702, 709, 710, 721, 805, 999} {
		sticky[c] = true
	}
	for c := Code(714); c <= 719; c++ {
		sticky[c] = true
	}
	for c := range Code(1000) {
		require.Equal(t, sticky[c], (&Error{Code: c}).Sticky(), "%d", c)
	}
	require.EqualError(
		t, &Error{Call: "cuLaunchKernel", Code: MisalignedAddress, Detail: "gather"},
		"cuLaunchKernel failed: a misaligned address: gather",
	)
	require.EqualError(t, &Error{Call: "cuInit", Code: 803}, "cuInit failed with CUDA error 803")
}

func TestCheckLaunch(t *testing.T) {
	c := &Card{Name: "a card", MaxThreads: 1000, MaxGrid: [3]int{100, 10, 5}, MaxSharedMore: 2000}
	most := func() Launch {
		return Launch{
			Grid: c.MaxGrid, Block: [3]int{10, 2, 50}, Shared: 2000,
			Args: [][]byte{make([]byte, 32756), make([]byte, 8)},
		}
	}
	require.NoError(t, c.Check(most()))
	for want, beyond := range map[string]func(*Launch){
		"0 blocks along x: a card takes 1 to 100": func(l *Launch) { l.Grid[0] = 0 },
		"11 blocks along y: a card takes 1 to 10": func(l *Launch) { l.Grid[1] = 11 },
		"6 blocks along z: a card takes 1 to 5":   func(l *Launch) { l.Grid[2] = 6 },
		"65 threads of a block along z: a card takes 1 to 64": func(l *Launch) {
			l.Block = [3]int{1, 1, 65}
		},
		"-1 threads of a block along x: a card takes 1 to 1024": func(l *Launch) { l.Block[0] = -1 },
		"1001 threads of a block: a card takes at most 1000": func(l *Launch) {
			l.Block = [3]int{1001, 1, 1}
		},
		"2001 bytes of shared memory of a block: a card takes at most 2000": func(l *Launch) { l.Shared++ },
		"32765 bytes of parameters: a card takes at most 32764": func(l *Launch) {
			l.Args[1] = make([]byte, 9)
		},
	} {
		l := most()
		beyond(&l)
		require.EqualError(t, c.Check(l), want)
	}
}
