package ptx

import (
	"fmt"
	"strings"
)

// A Card holds the limits and peaks of one product. Limits are CUDA's for its compute capability (CUDA C++ Programming
// Guide, "Technical Specifications per Compute Capability"); peaks are dense ones, without sparsity, of the documents
// that Source names. Assumed lists the figures that no such document gives.
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
	Half         float64 // binary16, packed, outside the tensor cores
	TF32         float64 // tensor cores
	FP16         float64 // tensor cores with binary32 sums; bfloat16 is the same
	DRAM         float64 // bytes/s
	AssumedL2    float64 // bytes/s: 2.5 times DRAM, an assumption for every card
	// Warp is the part of the peaks of tensor cores that instructions of one warp (mma.sync) reach; the rest takes
	// wgmma on Hopper and tcgen05 on Blackwell.
	Warp    float64
	Times   Times
	Source  string
	Assumed []string // figures that are assumptions, in words
}

// Times are what a launch costs beside its work, in seconds. No document gives them: they are what published
// microbenchmarks show, about the same for all cards, and are to be replaced by what a card's report says.
type Times struct {
	Launch float64 // of a kernel that the host launches by itself
	Node   float64 // of a node of a graph, from the end of the last one that it waits for
	Least  float64 // the shortest kernel
	DRAM   float64 // from a load that no cache serves to its value
	L2     float64 // from a load that the L2 cache serves to its value
}

// assumedTimes are the times of every card.
var assumedTimes = Times{Launch: 3e-6, Node: 1.3e-6, Least: 1.5e-6, DRAM: 700e-9, L2: 270e-9}

// Limits of every card from compute capability 7.5 to 10.0.
const (
	MaxThreadsPerBlock = 1024
	DefaultShared      = 48 << 10 // bytes a block may have without the opt-in attribute
	warpSize           = 32
)

const l2OverDRAM = 2.5 // vendors give no figure for the bandwidth of the L2 cache

// Cards lists the cards that are known.
func Cards() []Card {
	const (
		l2    = "L2 bandwidth (2.5 times that of DRAM)"
		clock = "clock (what the FP32 peak implies at 128 lanes an SM)"
		warp  = "part of the tensor cores' peak that mma.sync reaches (0.62, published microbenchmarks)"
	)
	cards := []Card{
		{Name: "A100", Capability: 80, SMs: 108, MemoryBytes: 80 << 30, SharedPerSM: 164 << 10, SharedOptIn: 163 << 10,
			ThreadsPerSM: 2048, BlocksPerSM: 32, Registers: 65536, ClockHz: 1.41e9,
			FP32: 19.5e12, FP64: 9.7e12, Half: 78e12, TF32: 156e12, FP16: 312e12, DRAM: 2.039e12, Warp: 1,
			Source: "NVIDIA A100 Tensor Core GPU data sheet (80 GB, SXM); NVIDIA A100 Tensor Core GPU Architecture " +
				"white paper (SMs, clock, FP16)",
			Assumed: []string{l2}},
		{Name: "H100", Capability: 90, SMs: 132, MemoryBytes: 80 << 30, SharedPerSM: 228 << 10, SharedOptIn: 227 << 10,
			ThreadsPerSM: 2048, BlocksPerSM: 32, Registers: 65536, ClockHz: 1.98e9,
			FP32: 67e12, FP64: 34e12, Half: 133.8e12, TF32: 494.7e12, FP16: 989.4e12, DRAM: 3.35e12, Warp: 0.62,
			Source: "NVIDIA H100 Tensor Core GPU data sheet (SXM); NVIDIA H100 Tensor Core GPU Architecture white " +
				"paper (SMs, FP16, dense tensor peaks)",
			Assumed: []string{l2, clock, warp}},
		{Name: "H200", Capability: 90, SMs: 132, MemoryBytes: 141e9, SharedPerSM: 228 << 10, SharedOptIn: 227 << 10,
			ThreadsPerSM: 2048, BlocksPerSM: 32, Registers: 65536, ClockHz: 1.98e9,
			FP32: 67e12, FP64: 34e12, Half: 133.8e12, TF32: 494.7e12, FP16: 989.4e12, DRAM: 4.8e12, Warp: 0.62,
			Source:  "NVIDIA H200 Tensor Core GPU data sheet (SXM); SMs and peaks of the processor as for the H100",
			Assumed: []string{l2, clock, warp}},
		{Name: "B200", Capability: 100, SMs: 148, MemoryBytes: 180e9, SharedPerSM: 228 << 10, SharedOptIn: 227 << 10,
			ThreadsPerSM: 2048, BlocksPerSM: 32, Registers: 65536, ClockHz: 1.98e9,
			FP32: 75e12, FP64: 37e12, Half: 150e12, TF32: 1100e12, FP16: 2250e12, DRAM: 7.7e12, Warp: 0.28,
			Source: "NVIDIA Blackwell data sheet (HGX B200, one of eight GPUs; the earlier Blackwell Architecture " +
				"Technical Brief has 80 TFLOP/s in FP32, 40 in FP64 and 8 TB/s)",
			Assumed: []string{l2, clock, "148 SMs (what cards report)",
				"FP32, FP64 and DRAM peaks (documents differ by 7 %)",
				"part of the tensor cores' peak that mma.sync reaches (0.28: what the H100 reaches by it)",
				"FP16 outside the tensor cores (twice FP32)"}},
		{Name: "RTX4090", Capability: 89, SMs: 128, MemoryBytes: 24 << 30, SharedPerSM: 100 << 10,
			SharedOptIn: 99 << 10, ThreadsPerSM: 1536, BlocksPerSM: 24, Registers: 65536, ClockHz: 2.52e9,
			FP32: 82.6e12, FP64: 1.29e12, Half: 82.6e12, TF32: 82.6e12, FP16: 165.2e12, DRAM: 1.008e12, Warp: 1,
			Source:  "NVIDIA Ada GPU Architecture white paper, GeForce RTX 4090 (FP64: 1/64 of FP32)",
			Assumed: []string{l2}},
	}
	for i := range cards {
		cards[i].AssumedL2 = l2OverDRAM * cards[i].DRAM
		cards[i].Times = assumedTimes
	}
	return cards
}

// FindCard finds a card by name, letter case and spaces aside.
func FindCard(name string) (Card, error) {
	plain := func(s string) string { return strings.ToLower(strings.ReplaceAll(s, " ", "")) }
	var names []string
	for _, c := range Cards() {
		if plain(c.Name) == plain(name) {
			return c, nil
		}
		names = append(names, c.Name)
	}
	return Card{}, fmt.Errorf("no card %q; there are %s", name, strings.Join(names, ", "))
}
