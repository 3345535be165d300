package ptx

import (
	"math"
	"regexp"
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

// An Estimate is a lower bound for the time of a launch by the roofline model: the slowest of its resources at the data
// sheet's peak. It is an estimate from counts of PTX instructions; caches, latencies and what ptxas changes are not in it,
// so it compares variants of a kernel and is no prediction of a measurement.
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
}

const launchSeconds = 3e-6 // an empty kernel's time on a current driver, roughly

// NewEstimate applies the model to the counters of a launch. Shared is the launch's dynamic shared memory; resources
// without registers count as 32.
func NewEstimate(card Card, c Counters, r Resources, shared int) Estimate {
	e := Estimate{Card: card.Name, Launch: launchSeconds, Terms: map[string]float64{}}
	var unique uint64
	for _, n := range c.UniqueBytes {
		unique += n
	}
	sms := float64(card.SMs)
	e.Terms["dram"] = float64(unique) / card.DRAM
	e.Terms["l2"] = 32 * float64(c.GlobalLoads.Sectors+c.GlobalStores.Sectors) / card.L2
	e.Terms["fp32"] = float64(c.FLOP32) / card.FP32
	e.Terms["fp64"] = float64(c.FLOP64) / card.FP64
	e.Terms["fp16"] = float64(c.FLOP16) / (2 * card.FP32) // packed, on the ordinary lanes
	e.Terms["tensor"] = float64(c.FLOPTF32)/card.TF32 + float64(c.FLOPTensor-c.FLOPTF32)/card.FP16
	e.Terms["shared"] = float64(c.Shared.Wavefronts) / (sms * card.ClockHz)
	e.Terms["issue"] = float64(c.WarpInstructions) / (4 * sms * card.ClockHz)

	warps := 1.0
	if c.Blocks > 0 {
		warps = float64(c.Warps) / float64(c.Blocks)
	}
	e.Resident = residentBlocks(card, int(warps), r, shared)
	e.Occupancy = float64(e.Resident) * warps * warpSize / float64(card.ThreadsPerSM)
	e.WaveLoss = 1
	if e.Resident > 0 && c.Blocks > 0 {
		e.Waves = float64(c.Blocks) / (sms * float64(e.Resident))
		if e.Waves > 1 {
			e.WaveLoss = math.Ceil(e.Waves) / e.Waves
		} else { // the fullest SM sets the time
			e.WaveLoss = math.Ceil(float64(c.Blocks)/sms) / (float64(c.Blocks) / sms)
		}
	}
	onSMs := map[string]bool{"fp32": true, "fp64": true, "fp16": true, "tensor": true, "shared": true, "issue": true}
	for name, t := range e.Terms {
		if onSMs[name] {
			t *= e.WaveLoss
			e.Terms[name] = t
		}
		if t > e.Seconds || t == e.Seconds && name < e.Limit {
			e.Seconds, e.Limit = t, name
		}
	}
	e.Seconds += e.Launch
	return e
}

// residentBlocks is how many blocks an SM holds at once.
func residentBlocks(card Card, warps int, r Resources, shared int) int {
	registers := r.Registers
	if registers == 0 {
		registers = 32
	}
	perWarp := (registers*warpSize + 255) &^ 255 // registers are given out in steps of 256 a warp
	n := min(card.BlocksPerSM, card.ThreadsPerSM/(warps*warpSize), card.Registers/(perWarp*warps))
	return min(n, card.SharedPerSM/(r.Shared+shared+1024)) // the system keeps 1 KiB for each block
}
