package ptx

// A Card holds the limits and peaks of one product. Limits are CUDA's for its compute capability (CUDA C++ Programming
// Guide, table "Technical Specifications per Compute Capability"); peaks are of the vendor's data sheet named in Source.
type Card struct {
	Name         string
	Capability   int // 80: compute capability 8.0
	SMs          int
	MemoryBytes  int64
	SharedPerSM  int // bytes
	SharedOptIn  int // bytes a block may have once the attribute is raised
	ThreadsPerSM int
	BlocksPerSM  int
	Registers    int     // 32-bit registers of an SM
	ClockHz      float64 // boost clock
	FP32         float64 // FLOP/s
	FP64         float64
	TF32         float64 // dense, tensor cores
	FP16         float64 // dense, tensor cores; bfloat16 is the same
	DRAM         float64 // bytes/s
	L2           float64 // bytes/s; no vendor figure: an assumption, see Source
	Source       string
}

// Limits of every card from compute capability 7.5 to 10.0.
const (
	MaxThreadsPerBlock = 1024
	DefaultShared      = 48 << 10 // bytes a block may have without the opt-in attribute
	warpSize           = 32
)
