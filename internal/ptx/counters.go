package ptx

// A Class groups instructions for counting.
type Class uint8

// The classes.
const (
	ClassInteger Class = iota // integer and logic
	ClassFP32
	ClassFP64
	ClassFP16    // f16, bf16 and their packed forms
	ClassSpecial // approximations: ex2, lg2, sin, rcp, …
	ClassTensor
	ClassConvert
	ClassMove // mov, selp, cvta, prmt and the like
	ClassCompare
	ClassGlobal
	ClassShared
	ClassLocal
	ClassConst // constant banks and parameters
	ClassAtomic
	ClassAsync // cp.async
	ClassWarp  // shuffles, votes, matches
	ClassBarrier
	ClassControl
	classes
)

var classNames = [classes]string{"integer", "fp32", "fp64", "fp16", "special", "tensor", "convert", "move", "compare",
	"global", "shared", "local", "const", "atomic", "async", "warp", "barrier", "control"}

func (c Class) String() string { return classNames[c] }

// Counters are of one launch. All counts are of PTX instructions; ptxas may add, merge or drop some.
type Counters struct {
	Blocks  uint64 `json:"blocks"`
	Warps   uint64 `json:"warps"`
	Threads uint64 `json:"threads"`

	WarpInstructions   uint64            `json:"warp_instructions"`
	ThreadInstructions uint64            `json:"thread_instructions"` // lanes that were active and not guarded off
	ByClass            map[string]uint64 `json:"by_class"`            // warp instructions
	Branches           uint64            `json:"branches"`
	DivergentBranches  uint64            `json:"divergent_branches"` // lanes of one group parted
	SIMTEfficiency     float64           `json:"simt_efficiency"`    // thread instructions / (32 · warp instructions)

	FLOP32     uint64 `json:"flop_f32"` // fma counts 2
	FLOP64     uint64 `json:"flop_f64"`
	FLOP16     uint64 `json:"flop_f16"`
	FLOPTensor uint64 `json:"flop_tensor"` // of all tensor formats
	FLOPTF32   uint64 `json:"flop_tf32"`   // the part of them in tf32

	GlobalLoads  Requests `json:"global_loads"`
	GlobalStores Requests `json:"global_stores"`
	Shared       Banks    `json:"shared"`

	Atomics  uint64 `json:"atomics"`     // lanes
	Barriers uint64 `json:"barriers"`    // arrivals of warps at block barriers
	Async    uint64 `json:"async_bytes"` // written by cp.async

	// LoadsAhead is a property of the kernel: the most loads that a warp may have under way at once.
	LoadsAhead int `json:"loads_ahead"`

	UniqueBytes map[string]uint64 `json:"unique_bytes"` // touched of each allocation, in whole 32-byte sectors
}

// Requests counts accesses of global memory by warps.
type Requests struct {
	Requests uint64 `json:"requests"`
	Bytes    uint64 `json:"bytes"`   // asked for by lanes
	Sectors  uint64 `json:"sectors"` // of 32 bytes, distinct within a request
	Ideal    uint64 `json:"ideal"`   // ⌈bytes/32⌉ of each request
}

// Banks counts accesses of shared memory: 32 banks of 4 bytes. An access of 8 bytes a lane is served in two phases of
// half a warp, one of 16 bytes in four phases of a quarter; lanes that read one word share it. What cp.async
// writes counts as a store of its size, zeros included.
type Banks struct {
	Requests   uint64 `json:"requests"`
	Wavefronts uint64 `json:"wavefronts"`
	Conflicts  uint64 `json:"conflicts"` // wavefronts beyond one for each phase in use
}

func (r *Requests) add(o Requests) {
	r.Requests += o.Requests
	r.Bytes += o.Bytes
	r.Sectors += o.Sectors
	r.Ideal += o.Ideal
}

func (b *Banks) add(o Banks) {
	b.Requests += o.Requests
	b.Wavefronts += o.Wavefronts
	b.Conflicts += o.Conflicts
}
