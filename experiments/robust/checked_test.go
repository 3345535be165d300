package robust

import (
	"bytes"
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// What is off by more than it may be is told, NaN included, and rows without differences are no fault.
func TestCheckedTellsWhatIsOff(t *testing.T) {
	good := CheckRow{Method: "fast-bat", Net: "relu", Dense: 1e-15, Differences: math.NaN()}
	far, wrong, nan := good, good, good
	far.Dense, wrong.Differences, nan.Dense = 1e-6, 1e-3, math.NaN()
	c := Checked{Rows: []CheckRow{good, far, wrong, nan}, Unit: 0x1p-53}
	require.Len(t, c.Broken(), 3)
	require.Empty(t, Checked{Rows: []CheckRow{good, far}, Unit: 0x1p-24}.Broken(), "in float32 three digits are enough")
	var b bytes.Buffer
	require.NoError(t, c.Write(&b))
	require.Contains(t, b.String(), "fast-bat")
	text, err := json.Marshal(Checked{Rows: []CheckRow{good, wrong}, Unit: 0x1p-53})
	require.NoError(t, err)
	require.Contains(t, string(text), `"differences":0.001`)
}
