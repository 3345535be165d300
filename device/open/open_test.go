package open

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device"
)

func TestOpen(t *testing.T) {
	for name, want := range map[string]string{"auto": "cpu", "cpu": "cpu", "ref": "ref", "cuda-sim": "cuda-sim:a100", "cuda-sim:H100": "cuda-sim:h100", "cuda-sim:rtx4090,a100": "cuda-sim:rtx4090"} {
		d, err := Open(name, 1)
		require.NoError(t, err)
		require.Equal(t, want, d.Info().Name)
		require.NoError(t, d.Close())
	}
}

func TestErrorsSayWhichKind(t *testing.T) {
	for _, c := range []struct {
		name string
		is   error
		text string
	}{
		{"cuda-sim:h10", ErrUnknown, `unknown device: no simulated card "h10": the cards are a100, h100, h200, b200, rtx4090; did you mean "h100"?`},
		{"cuda-sim:a100,", ErrUnknown, `no simulated card ""`},
		{"cuda-sim:a100,v100", ErrUnknown, `no simulated card "v100"`},
		{"cup", ErrUnknown, `unknown device "cup": the devices are auto | cpu | ref | cuda[:N] | cuda-sim[:CARD[,CARD]]; did you mean "cpu"?`},
		{"cudasim", ErrUnknown, `did you mean "cuda-sim"?`},
		{"cpu:0", ErrUnknown, `did you mean "cpu"?`},
		{"cuda:-1", ErrUnknown, `did you mean "cuda"?`},
		{"cuda:x", ErrUnknown, "cuda:x"},
		{"cuda-sim:", ErrUnknown, "cuda-sim:"},
		{"", ErrUnknown, "the devices are"},
		{"opencl", ErrUnknown, "the devices are"},
	} {
		d, err := Open(c.name, 0)
		require.Nil(t, d)
		require.True(t, errors.Is(err, c.is), "%q: %v", c.name, err)
		require.ErrorContains(t, err, c.text)
	}
	_, err := Open("cpu", -1)
	require.ErrorContains(t, err, "threads")
}

func TestListOpensWhatIsThere(t *testing.T) {
	there := map[string]bool{}
	for _, c := range List() {
		there[c.Name] = c.Err == nil
		if c.Err == nil {
			require.NotEmpty(t, c.Info.Name)
		} else {
			require.True(t, errors.Is(c.Err, device.ErrMissing), c.Err)
		}
	}
	require.Contains(t, there, "cuda")
	delete(there, "cuda") // as the machine and the build have it
	require.Equal(t, map[string]bool{"cpu": true, "ref": true, "cuda-sim": true}, there)
}
