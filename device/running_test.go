package device_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device"
)

type words int

func (words) Type() device.Type { return device.Int }
func (w words) Len() int        { return int(w) }

// What is wrong is told in the order in which it would matter, with all names.
func TestCheckPrepareAndRun(t *testing.T) {
	foreign := errors.New("foreign")
	own := func(b device.Buffer) error {
		if b == words(7) {
			return foreign
		}
		return nil
	}
	v := device.Dense(1, 0, 2, 3)
	p := &device.Program{
		Name: "p", Buffers: []device.Buffer{nil, words(10)},
		Code: []device.Instr{{Op: device.Copy, In: []device.View{v}, Out: []device.View{v}}},
	}
	require.NoError(t, device.CheckPrepare(p, own))
	require.NoError(t, device.CheckRun(p, 0, false, own))
	require.EqualError(t, device.CheckRun(p, -1, false, own), `device: program "p" cannot run -1 times`)
	require.EqualError(t, device.CheckRun(p, 1, true, own), `device: program "p" was closed`)
	require.NoError(t, p.Explain(0, nil))
	require.EqualError(t, p.Explain(0, foreign), `program "p", instruction 0 (Copy of [2 3], [2 3]): foreign`)
	p.Buffers[1] = words(7)
	for _, err := range []error{device.CheckPrepare(p, own), device.CheckRun(p, 1, false, own)} {
		require.ErrorIs(t, err, foreign)
		require.EqualError(t, err, `program "p", buffer 1: foreign`)
	}
	p.Buffers[1] = words(5)
	require.ErrorContains(t, device.CheckPrepare(p, own), `program "p", instruction 0 (Copy): `)
}
