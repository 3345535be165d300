package robust

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"text/tabwriter"
)

// Checked is the rows of Check with the unit round-off of the device that computed them.
type Checked struct {
	Rows []CheckRow
	Unit float64
}

// allowed is how far an update may be off: eight digits in float64, three in float32.
func (c Checked) allowed() float64 {
	if c.Unit < 1e-10 {
		return 1e-8
	}
	return 1e-3
}

// differencesAllowed is the error of the central differences themselves, which are computed in float64.
func (c Checked) differencesAllowed() float64 { return max(1e-7, c.allowed()) }

// Broken lists the updates that are off by more than they may be.
func (c Checked) Broken() (list []string) {
	for _, r := range c.Rows {
		if !(r.Dense <= c.allowed()) || r.Differences > c.differencesAllowed() {
			list = append(list, fmt.Sprintf("%s on %s (bn %s) is off by %.2g from the dense computation and by %.2g "+
				"from differences", r.Method, r.Net, r.BN, r.Dense, r.Differences))
		}
	}
	return list
}

// Write prints a line for each update.
func (c Checked) Write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "method\tnetwork\tbatch norm\tinside\ton bounds\timplicit / update\tfrom dense\tfrom differences")
	for _, r := range c.Rows {
		differences := "-"
		if !math.IsNaN(r.Differences) {
			differences = fmt.Sprintf("%.1e", r.Differences)
		}
		share := "-"
		if !math.IsNaN(r.Share) {
			share = fmt.Sprintf("%.3g", r.Share)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%d\t%s\t%.1e\t%s\n", r.Method, r.Net, r.BN, r.Free, r.Held, share, r.Dense,
			differences)
	}
	return t.Flush()
}

// MarshalJSON writes the rows, without differences where there are none.
func (c Checked) MarshalJSON() ([]byte, error) {
	rows := make([]map[string]any, len(c.Rows))
	for i, r := range c.Rows {
		rows[i] = map[string]any{"method": r.Method, "network": r.Net, "bn": r.BN, "free": r.Free, "held": r.Held,
			"dense": r.Dense}
		if !math.IsNaN(r.Share) {
			rows[i]["implicit_share"] = r.Share
		}
		if !math.IsNaN(r.Differences) {
			rows[i]["differences"] = r.Differences
		}
	}
	return json.Marshal(map[string]any{"rows": rows, "allowed": c.allowed()})
}
