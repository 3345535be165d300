package exactread

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

func TestAll(t *testing.T) {
	for _, n := range []int{0, 1, 7, first - 1, first, first + 1, 5*first + 3} {
		data := bytes.Repeat([]byte("abcdefg"), n/7+1)[:n]
		for _, known := range []bool{false, true} {
			got, err := All(iotest.HalfReader(bytes.NewReader(data)), n, known)
			require.NoError(t, err)
			require.True(t, bytes.Equal(data, got), "n = %d", n)

			_, err = All(bytes.NewReader(data), n+1, known)
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
			if n > 0 {
				_, err = All(bytes.NewReader(data), n-1, known)
				require.ErrorIs(t, err, ErrTrailing)
			}
		}
	}
}

func TestAbsurdSizeCostsNothing(t *testing.T) {
	_, err := All(strings.NewReader("ten bytes."), math.MaxInt, false)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.ErrorContains(t, err, "it ends after 10 of")
}

func TestReaderFails(t *testing.T) {
	boom := errors.New("boom")
	_, err := All(iotest.ErrReader(boom), 3, false)
	require.Equal(t, boom, err)
	_, err = All(io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(boom)), 3, false)
	require.Equal(t, boom, err)
}
