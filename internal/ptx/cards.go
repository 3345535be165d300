package ptx

import (
	"fmt"
	"strings"
)

// Cards lists the cards whose limits and peaks are known. Peaks are those of the data sheet without sparsity; the clock
// follows from the FP32 peak (2 · 128 lanes an SM, 64 for the A100). Shared memory and thread limits: CUDA C++ Programming
// Guide, table of technical specifications per compute capability.
func Cards() []Card {
	const l2 = 2.5 // L2 bandwidth over DRAM bandwidth: an assumption, vendors give no figure
	cards := []Card{
		{Name: "A100", Capability: 80, SMs: 108, MemoryBytes: 80 << 30, SharedPerSM: 164 << 10, SharedOptIn: 163 << 10,
			ThreadsPerSM: 2048, BlocksPerSM: 32, Registers: 65536, ClockHz: 1.41e9,
			FP32: 19.5e12, FP64: 9.7e12, TF32: 156e12, FP16: 312e12, DRAM: 2.039e12,
			Source: "NVIDIA A100 Tensor Core GPU data sheet (A100 80GB SXM)"},
		{Name: "H100", Capability: 90, SMs: 132, MemoryBytes: 80 << 30, SharedPerSM: 228 << 10, SharedOptIn: 227 << 10,
			ThreadsPerSM: 2048, BlocksPerSM: 32, Registers: 65536, ClockHz: 1.98e9,
			FP32: 67e12, FP64: 34e12, TF32: 494.5e12, FP16: 989.5e12, DRAM: 3.35e12,
			Source: "NVIDIA H100 Tensor Core GPU data sheet (H100 SXM)"},
		{Name: "H200", Capability: 90, SMs: 132, MemoryBytes: 141e9, SharedPerSM: 228 << 10, SharedOptIn: 227 << 10,
			ThreadsPerSM: 2048, BlocksPerSM: 32, Registers: 65536, ClockHz: 1.98e9,
			FP32: 67e12, FP64: 34e12, TF32: 494.5e12, FP16: 989.5e12, DRAM: 4.8e12,
			Source: "NVIDIA H200 Tensor Core GPU data sheet (H200 SXM)"},
		{Name: "B200", Capability: 100, SMs: 148, MemoryBytes: 180e9, SharedPerSM: 228 << 10, SharedOptIn: 227 << 10,
			ThreadsPerSM: 2048, BlocksPerSM: 32, Registers: 65536, ClockHz: 1.98e9,
			FP32: 75e12, FP64: 37e12, TF32: 1100e12, FP16: 2250e12, DRAM: 7.7e12,
			Source: "NVIDIA Blackwell data sheet and DGX B200 data sheet (one of eight GPUs)"},
		{Name: "RTX4090", Capability: 89, SMs: 128, MemoryBytes: 24 << 30, SharedPerSM: 100 << 10, SharedOptIn: 99 << 10,
			ThreadsPerSM: 1536, BlocksPerSM: 24, Registers: 65536, ClockHz: 2.52e9,
			FP32: 82.6e12, FP64: 1.29e12, TF32: 82.6e12, FP16: 165.2e12, DRAM: 1.008e12,
			Source: "NVIDIA Ada GPU Architecture whitepaper, GeForce RTX 4090 (FP16 with FP32 accumulation)"},
	}
	for i := range cards {
		cards[i].L2 = l2 * cards[i].DRAM
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
