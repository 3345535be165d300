package ptx

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Resources are what ptxas assigns to a kernel.
type Resources struct {
	Registers   int `json:"registers"`    // of a thread
	Shared      int `json:"shared"`       // static, bytes
	Stack       int `json:"stack"`        // bytes of a thread
	SpillStores int `json:"spill_stores"` // bytes
	SpillLoads  int `json:"spill_loads"`
}

var (
	resourceEntry = regexp.MustCompile(`(?:Compiling entry function|Function properties for) '?([\w$]+)'?`)
	resourceField = []struct {
		pattern *regexp.Regexp
		field   func(r *Resources) *int
	}{
		{regexp.MustCompile(`[Uu]sed (\d+) registers`), func(r *Resources) *int { return &r.Registers }},
		{regexp.MustCompile(`(\d+) bytes smem`), func(r *Resources) *int { return &r.Shared }},
		{regexp.MustCompile(`(\d+) bytes stack frame`), func(r *Resources) *int { return &r.Stack }},
		{regexp.MustCompile(`(\d+) bytes spill stores`), func(r *Resources) *int { return &r.SpillStores }},
		{regexp.MustCompile(`(\d+) bytes spill loads`), func(r *Resources) *int { return &r.SpillLoads }},
	}
)

// ParseResources reads what ptxas -v prints, by kernel. It looks for the figures alone, since the sentences around them
// change with the version; what is not there stays 0.
func ParseResources(text string) map[string]Resources {
	found := map[string]Resources{}
	name := ""
	for line := range strings.Lines(text) {
		if m := resourceEntry.FindStringSubmatch(line); m != nil {
			name = m[1]
		}
		if name == "" {
			continue
		}
		r := found[name]
		for _, f := range resourceField {
			if m := f.pattern.FindStringSubmatch(line); m != nil {
				*f.field(&r), _ = strconv.Atoi(m[1])
			}
		}
		found[name] = r
	}
	return found
}

// An Estimate is a lower bound for the time of a launch by the roofline model: the slowest of its resources at the peak
// of the card's documents, but no less than the shortest kernel takes, and the time of a launch. It follows from counts
// of PTX instructions; which loads caches serve and what ptxas changes are not in it, so it compares variants of a
// kernel and is no prediction of a measurement.
type Estimate struct {
	Card      string             `json:"card"`
	Seconds   float64            `json:"estimated_seconds"`
	Limit     string             `json:"limit"`     // the resource that sets it
	Terms     map[string]float64 `json:"terms"`     // seconds by resource
	Occupancy float64            `json:"occupancy"` // resident warps of an SM over the most it holds
	Resident  int                `json:"resident"`  // blocks of an SM
	Waves     float64            `json:"waves"`     // blocks over those resident on the card
	WaveLoss  float64            `json:"wave_loss"` // factor for the last, incomplete wave
	Launch    float64            `json:"launch"`    // seconds added for the launch itself
	Source    string             `json:"source"`    // of the card's figures
	Assumed   []string           `json:"assumed"`   // inputs that no document gives, in words
}

const assumedRegisters = 32

// NewEstimate applies the model to the counters of a launch. Shared is the launch's dynamic shared memory. Without
// registers in r a thread counts as having 32, and spills are not known.
func NewEstimate(card Card, c Counters, r Resources, shared int) Estimate {
	t := card.Times
	times := fmt.Sprintf("times of a launch (%.3g µs), of the shortest kernel (%.3g µs), "+
		"of a load from DRAM (%.0f ns) and L2 (%.0f ns)", 1e6*t.Launch, 1e6*t.Least, 1e9*t.DRAM, 1e9*t.L2)
	e := Estimate{Card: card.Name, Launch: t.Launch, Source: card.Source,
		Assumed: append(slices.Clone(card.Assumed), times)}
	if r.Registers == 0 {
		r.Registers = assumedRegisters
		e.Assumed = append(e.Assumed, fmt.Sprintf("registers of a thread (%d)", assumedRegisters))
	}
	var unique uint64
	for _, n := range c.UniqueBytes {
		unique += n
	}
	sms := float64(card.SMs)
	e.Terms = map[string]float64{
		"dram": float64(unique) / card.DRAM,
		"l2":   32 * float64(c.GlobalLoads.Sectors+c.GlobalStores.Sectors) / card.AssumedL2,
	}
	onSMs := map[string]float64{
		"fp32":   float64(c.FLOP32) / card.FP32,
		"fp64":   float64(c.FLOP64) / card.FP64,
		"fp16":   float64(c.FLOP16) / card.Half,
		"tensor": (float64(c.FLOPTF32)/card.TF32 + float64(c.FLOPTensor-c.FLOPTF32)/card.FP16) / card.Warp,
		"shared": float64(c.Shared.Wavefronts) / (sms * card.ClockHz),
		"issue":  float64(c.WarpInstructions) / (4 * sms * card.ClockHz),
	}

	warps := 1
	if c.Blocks > 0 {
		warps = int(c.Warps / c.Blocks)
	}
	e.Resident = residentBlocks(card, warps, r, shared)
	e.Occupancy = float64(e.Resident*warps*warpSize) / float64(card.ThreadsPerSM)
	e.WaveLoss = 1
	if e.Resident > 0 && c.Blocks > 0 {
		e.Waves = float64(c.Blocks) / (sms * float64(e.Resident))
		full := e.Waves
		if full <= 1 { // one wave: the fullest SM sets the time
			full = float64(c.Blocks) / sms
		}
		e.WaveLoss = math.Ceil(full) / full
	}
	for name, t := range onSMs {
		e.Terms[name] = t * e.WaveLoss
	}
	e.Terms["overhead"] = t.Least
	e.Terms["latency"] = latency(card, c, unique, min(float64(c.Blocks), sms*float64(e.Resident))*float64(warps))
	for _, name := range slices.Sorted(maps.Keys(e.Terms)) {
		if t := e.Terms[name]; t > e.Seconds || e.Limit == "" {
			e.Seconds, e.Limit = t, name
		}
	}
	e.Seconds += e.Launch
	return e
}

// latency is the time that the loads of a launch take if warps do nothing but wait for them: each warp has LoadsAhead
// of them under way, and so many warps are resident on the card. By Little's law, bytes in flight are bandwidth times
// latency. Of the sectors that are loaded, those that are loaded for the first time come from DRAM.
func latency(card Card, c Counters, unique uint64, warps float64) float64 {
	if c.GlobalLoads.Sectors == 0 || warps == 0 {
		return 0
	}
	first := min(1, float64(unique)/(32*float64(c.GlobalLoads.Sectors)))
	wait := first*card.Times.DRAM + (1-first)*card.Times.L2
	return wait * float64(c.GlobalLoads.Requests) / (warps * float64(max(1, c.LoadsAhead)))
}

// residentBlocks is how many blocks an SM holds at once.
func residentBlocks(card Card, warps int, r Resources, shared int) int {
	perWarp := (r.Registers*warpSize + 255) &^ 255 // registers are given out in steps of 256 a warp
	n := min(card.BlocksPerSM, card.ThreadsPerSM/(warps*warpSize), card.Registers/(perWarp*warps))
	return min(n, card.SharedPerSM/(r.Shared+shared+reservedShared))
}
