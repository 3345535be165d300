package compare

import (
	"math"
	"testing"

	"bilevel/experiments"
	"bilevel/experiments/experimentstest"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/stat"
)

// onRows runs a configuration on a regularization problem of made-up rows, in float64.
func onRows(t *testing.T, c Config) *experiments.Record {
	t.Helper()
	c.Problem, c.Batch = "ijcnn1", 8
	r, err := runOn(t, "ref", c, someRows(64, 48, 4), nil, 0)
	require.NoError(t, err)
	return r
}

// On a finite sum of rows, the weights of a logistic regression above and its coefficients below, SOBA with constant
// steps falls to a floor of |∇h|² and stays there, and SABA and SRBA with the same steps fall below any floor, along a
// line: log |∇h|² over iterations has one slope in three parts of a run, and little is left of its variance beside it.
func TestRatesOnRows(t *testing.T) {
	c := Config{Iterations: 2400, Records: 60, Reg: 0.02,
		Set: Assignments{"schedule=constant", "step=0.25", "outer_step=0.3"}}
	squares := func() (out []float64) {
		for _, row := range onRows(t, c).Curve.Rows {
			out = append(out, row[5]*row[5])
		}
		return out
	}
	mean := func(v []float64) float64 { return stat.Mean(v, nil) }
	c.Algorithm = "soba"
	soba := squares()
	third, floor := mean(soba[30:45]), mean(soba[45:])
	t.Logf("soba from %.3g: %.3g, then %.3g", soba[0], third, floor)
	require.Less(t, floor, 0.1*soba[0])
	require.Less(t, floor, 3*third)
	require.Greater(t, floor, third/3)
	for _, c.Algorithm = range []string{"saba", "srba"} {
		of := squares()
		var at, logs []float64
		for i, s := range of[6:60] {
			at, logs = append(at, float64(i)), append(logs, math.Log(s))
		}
		_, slope := stat.LinearRegression(at, logs, nil, false)
		explained := math.Pow(stat.Correlation(at, logs, nil), 2)
		t.Logf("%s from %.3g to %.3g: %.3g a record, R² %.5f", c.Algorithm, of[0], of[60], slope, explained)
		require.Less(t, of[60], 1e-6*floor, c.Algorithm)
		require.Greater(t, explained, 0.99, c.Algorithm)
		for part := range 3 {
			_, of := stat.LinearRegression(at[18*part:18*part+18], logs[18*part:18*part+18], nil, false)
			require.InEpsilon(t, slope, of, 0.3, "%s, part %d", c.Algorithm, part)
		}
	}
}

// Where the steps that are chosen at the start values diverge, Tune "trial" quarters that of x until a run does not.
// The steps of y stay, and so does one of x that does not diverge.
func TestTuneByTrial(t *testing.T) {
	c := Config{Algorithm: "saba", Iterations: 1000, Records: 4, OuterFactor: 64}
	one := onRows(t, c)
	require.True(t, one.Flags["diverged"])
	c.Tune = "trial"
	other := onRows(t, c)
	require.False(t, other.Flags["diverged"])
	quarters := math.Log(one.Scalars["settings.outer_step"]/other.Scalars["settings.outer_step"]) / math.Log(4)
	t.Logf("quartered %g times", quarters)
	require.Greater(t, quarters, 0.5)
	require.InDelta(t, math.Round(quarters), quarters, 1e-9)
	require.Equal(t, one.Scalars["settings.step"], other.Scalars["settings.step"])
	require.Less(t, other.Scalars["value"], other.Curve.Rows[0][4])
	require.Equal(t, experimentstest.Untimed(other), experimentstest.Untimed(onRows(t, c)))

	c.OuterFactor = math.Pow(4, 1-math.Round(quarters)) * 64
	require.True(t, onRows(t, Config{Algorithm: "saba", Iterations: 1000, Records: 4,
		OuterFactor: c.OuterFactor}).Flags["diverged"], "a step four times as long")
	c.OuterFactor /= 4
	require.InEpsilon(t, other.Scalars["settings.outer_step"], onRows(t, c).Scalars["settings.outer_step"], 1e-12)
}
